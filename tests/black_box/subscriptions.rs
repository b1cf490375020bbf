//! Who subscribes hears of it, once, under its own name for it, also after a crash; who does not, hears nothing.

use serde_json::{Value, json};

use crate::support::{Caller, legacy, modern, play, proxy, seconds, settled};

const REVISION: &str = "2025-06-18";
const UPDATED: &str = "notifications/resources/updated";
const NOTE: &str = "demo://note/1";
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

async fn subscribe(caller: &Caller, uri: &str) {
    caller.ask("resources/subscribe", json!({"uri": uri})).await.result();
}

/// Opens a stream of that id and waits until it is acknowledged; what was granted.
async fn listen(caller: &Caller, id: Value, wants: Value) -> Value {
    caller.request_as(id.clone(), "subscriptions/listen", json!({"notifications": wants}));
    let first = caller.line().await.value;
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged", "the acknowledgement is the first message");
    assert_eq!(first["params"]["_meta"][SUBSCRIPTION], id);
    first["params"]["notifications"].clone()
}

#[test]
fn only_subscribers_hear_of_an_update_and_the_server_is_subscribed_once() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let a = proxy.legacy(REVISION).connect("echo").await;
        let b = proxy.legacy(REVISION).connect("echo").await;
        let c = proxy.legacy(REVISION).connect("echo").await;
        subscribe(&a, NOTE).await;
        subscribe(&b, NOTE).await;
        subscribe(&b, NOTE).await;
        subscribe(&c, "demo://note/2").await;
        c.call("touch", json!({"uri": NOTE})).await;
        for caller in [&a, &b] {
            assert_eq!(caller.heard(UPDATED).await["params"]["uri"], NOTE);
            caller.hears_nothing().await;
        }
        c.hears_nothing().await;
        assert_eq!(proxy.got("echo", "resources/subscribe").len(), 2);
    });
}

#[test]
fn the_server_is_unsubscribed_when_the_last_one_leaves_and_not_before() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let a = proxy.legacy(REVISION).connect("echo").await;
        let b = proxy.legacy(REVISION).connect("echo").await;
        let c = proxy.legacy(REVISION).connect("echo").await;
        for caller in [&a, &b, &c] {
            subscribe(caller, NOTE).await;
        }
        a.ask("resources/unsubscribe", json!({"uri": NOTE})).await.result();
        b.hang_up().await;
        assert_eq!(proxy.got("echo", "resources/unsubscribe").len(), 0);
        a.call("touch", json!({"uri": NOTE})).await;
        c.heard(UPDATED).await;
        a.hears_nothing().await;
        c.ask("resources/unsubscribe", json!({"uri": NOTE})).await.result();
        assert_eq!(proxy.got("echo", "resources/unsubscribe").len(), 1);
    });
}

#[test]
fn a_refused_subscription_is_none() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        assert_eq!(caller.ask("resources/subscribe", json!({"uri": "demo://none"})).await.code(), -32002);
        assert_eq!(proxy.instances("echo")[0]["subscriptions"], 0);
    });
}

#[test]
fn a_new_process_takes_the_subscriptions_of_a_crashed_one_over() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let a = proxy.legacy(REVISION).connect("echo").await;
        let b = proxy.legacy(REVISION).connect("echo").await;
        subscribe(&a, NOTE).await;
        subscribe(&b, NOTE).await;
        proxy.process("echo", 0).crash().await;
        settled().await;
        b.call("touch", json!({"uri": NOTE})).await;
        a.heard(UPDATED).await;
        b.heard(UPDATED).await;
        a.hears_nothing().await;
        b.hears_nothing().await;
        assert_eq!(proxy.started("echo"), 2);
        assert_eq!(proxy.process("echo", 1).got("resources/subscribe").len(), 1, "refcounted there too");
    });
}

#[test]
fn a_process_that_somebody_is_subscribed_through_is_not_stopped_as_idle() {
    play(async {
        let proxy =
            proxy().server("echo", legacy(|_| {})).set(|server| server.recycle.idle = seconds(10)).start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        subscribe(&caller, NOTE).await;
        crate::support::after(seconds(60)).await;
        assert_eq!(proxy.instances("echo").len(), 1);
        caller.hang_up().await;
        crate::support::after(seconds(60)).await;
        assert_eq!(proxy.instances("echo").len(), 0);
    });
}

#[test]
fn a_stream_is_acknowledged_first_and_each_caller_hears_under_its_own_id() {
    play(async {
        let proxy = proxy().server("echo", modern(|_| {})).start().await;
        let a = proxy.modern().connect("echo").await;
        let b = proxy.modern().connect("echo").await;
        let c = proxy.modern().connect("echo").await;
        assert_eq!(
            listen(&a, json!("listen:0"), json!({"resourceSubscriptions": [NOTE]})).await,
            json!({"resourceSubscriptions": [NOTE]})
        );
        assert_eq!(
            listen(&b, json!(7), json!({"toolsListChanged": true, "resourceSubscriptions": [NOTE]})).await["toolsListChanged"],
            true
        );
        c.call("touch", json!({"uri": NOTE})).await;
        for (caller, id) in [(&a, json!("listen:0")), (&b, json!(7))] {
            let heard = caller.heard(UPDATED).await;
            assert_eq!((&heard["params"]["uri"], &heard["params"]["_meta"][SUBSCRIPTION]), (&json!(NOTE), &id));
        }
        c.call("change_lists", json!({})).await;
        assert_eq!(b.heard("notifications/tools/list_changed").await["params"]["_meta"][SUBSCRIPTION], 7);
        for caller in [&a, &b, &c] {
            caller.hears_nothing().await;
        }
    });
}

#[test]
fn the_streams_of_many_callers_are_one_towards_the_server() {
    play(async {
        let proxy = proxy().server("echo", modern(|_| {})).start().await;
        let mut callers = Vec::new();
        for _ in 0..5 {
            let caller = proxy.modern().connect("echo").await;
            listen(&caller, json!("l"), json!({"toolsListChanged": true})).await;
            callers.push(caller);
        }
        assert_eq!(proxy.got("echo", "subscriptions/listen").len(), 1);
        while let Some(caller) = callers.pop() {
            caller.hang_up().await;
        }
        assert_eq!(proxy.got("echo", "notifications/cancelled").len(), 1, "closed with the last one");
    });
}

#[test]
fn a_cancelled_stream_is_silent_and_the_others_go_on() {
    play(async {
        let proxy = proxy().server("echo", modern(|_| {})).start().await;
        let a = proxy.modern().connect("echo").await;
        let b = proxy.modern().connect("echo").await;
        listen(&a, json!(1), json!({"resourceSubscriptions": [NOTE]})).await;
        listen(&b, json!(1), json!({"resourceSubscriptions": [NOTE]})).await;
        a.notify("notifications/cancelled", json!({"requestId": 1}));
        settled().await;
        b.call("touch", json!({"uri": NOTE})).await;
        b.heard(UPDATED).await;
        a.hears_nothing().await;
    });
}

#[test]
fn a_stream_outlives_the_process_behind_it() {
    play(async {
        let proxy = proxy().server("echo", modern(|_| {})).start().await;
        let caller = proxy.modern().connect("echo").await;
        listen(&caller, json!("l"), json!({"resourceSubscriptions": [NOTE]})).await;
        crate::support::after(seconds(5)).await;
        proxy.process("echo", 0).crash().await;
        settled().await;
        caller.call("touch", json!({"uri": NOTE})).await;
        assert_eq!(caller.heard(UPDATED).await["params"]["_meta"][SUBSCRIPTION], "l");
        caller.hears_nothing().await;
    });
}

#[test]
fn a_stream_ends_with_a_result_when_mcpool_ends() {
    play(async {
        let proxy = proxy().server("echo", modern(|_| {})).start().await;
        let caller = proxy.modern().connect("echo").await;
        listen(&caller, json!("l"), json!({"toolsListChanged": true})).await;
        proxy.mux.with(mcpool::mux::Mux::shut_down);
        let end = caller.line().await.value;
        assert_eq!((&end["id"], &end["result"]["_meta"][SUBSCRIPTION]), (&json!("l"), &json!("l")));
        caller.closed().await;
    });
}

#[test]
fn a_stream_that_wants_nothing_is_acknowledged_all_the_same() {
    play(async {
        let proxy = proxy().server("echo", modern(|_| {})).start().await;
        let caller = proxy.modern().connect("echo").await;
        assert_eq!(listen(&caller, json!("l"), json!({})).await, json!({}));
    });
}
