//! Who listens in one era to a server of the other hears the same as its own would tell it, under its own names.

use serde_json::{Value, json};

use crate::support::{Caller, after, legacy, modern, modern_script, play, proxy, script, seconds, settled};

const REVISION: &str = "2025-06-18";
const UPDATED: &str = "notifications/resources/updated";
const CHANGED: &str = "notifications/tools/list_changed";
const NOTE: &str = "demo://note/1";
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// Opens a stream of that id and waits until it is acknowledged; what was granted.
async fn listen(caller: &Caller, id: Value, wants: Value) -> Value {
    caller.request_as(id.clone(), "subscriptions/listen", json!({"notifications": wants}));
    let first = caller.line().await.value;
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged", "{first}");
    assert_eq!(first["params"]["_meta"][SUBSCRIPTION], id);
    first["params"]["notifications"].clone()
}

async fn subscribe(caller: &Caller, uri: &str) {
    assert_eq!(*caller.ask("resources/subscribe", json!({"uri": uri})).await.result(), json!({}));
}

#[test]
fn a_stream_from_a_legacy_server_is_acknowledged_with_what_the_server_has() {
    play(async {
        let proxy = proxy().server("old", legacy(|_| {})).server("bare", script().into()).start().await;
        let caller = proxy.modern().connect("old").await;
        let wants = json!({"toolsListChanged": true, "promptsListChanged": true, "resourceSubscriptions": [NOTE, "demo://none"]});
        let granted = json!({"toolsListChanged": true, "promptsListChanged": true, "resourceSubscriptions": [NOTE]});
        assert_eq!(listen(&caller, json!("l"), wants.clone()).await, granted, "what the server refused is not granted");
        let bare = proxy.modern().connect("bare").await;
        assert_eq!(listen(&bare, json!("l"), wants).await, json!({}));
        assert_eq!(proxy.got("bare", "resources/subscribe"), Vec::<Value>::new());
    });
}

#[test]
fn each_modern_caller_of_a_legacy_server_hears_under_its_own_id() {
    play(async {
        let proxy = proxy().server("old", legacy(|_| {})).start().await;
        let a = proxy.modern().connect("old").await;
        let b = proxy.modern().connect("old").await;
        let c = proxy.modern().connect("old").await;
        listen(&a, json!("listen:0"), json!({"resourceSubscriptions": [NOTE]})).await;
        listen(&b, json!(7), json!({"toolsListChanged": true, "resourceSubscriptions": [NOTE]})).await;
        c.call("touch", json!({"uri": NOTE})).await;
        for (caller, id) in [(&a, json!("listen:0")), (&b, json!(7))] {
            let heard = caller.heard(UPDATED).await;
            assert_eq!((&heard["params"]["uri"], &heard["params"]["_meta"][SUBSCRIPTION]), (&json!(NOTE), &id));
        }
        c.call("change_lists", json!({})).await;
        assert_eq!(b.heard(CHANGED).await["params"]["_meta"][SUBSCRIPTION], 7);
        for caller in [&a, &b, &c] {
            caller.hears_nothing().await;
        }
        assert_eq!(proxy.got("old", "resources/subscribe").len(), 1);
    });
}

#[test]
fn the_last_stream_that_ends_unsubscribes() {
    play(async {
        let proxy = proxy().server("old", legacy(|_| {})).start().await;
        let a = proxy.modern().connect("old").await;
        let b = proxy.modern().connect("old").await;
        let old = proxy.legacy("2025-11-25").connect("old").await;
        for caller in [&a, &b] {
            listen(caller, json!(1), json!({"resourceSubscriptions": [NOTE]})).await;
        }
        subscribe(&old, "demo://note/2").await;
        a.notify("notifications/cancelled", json!({"requestId": 1}));
        settled().await;
        old.call("touch", json!({"uri": NOTE})).await;
        b.heard(UPDATED).await;
        a.hears_nothing().await;
        old.hears_nothing().await;
        assert_eq!(proxy.got("old", "resources/unsubscribe").len(), 0);
        b.hang_up().await;
        let gone = proxy.got("old", "resources/unsubscribe");
        assert_eq!(gone.iter().map(|it| &it["params"]["uri"]).collect::<Vec<_>>(), [NOTE]);
    });
}

#[test]
fn a_stream_outlives_the_legacy_process_behind_it() {
    play(async {
        let proxy = proxy().server("old", legacy(|_| {})).start().await;
        let caller = proxy.modern().connect("old").await;
        listen(&caller, json!("l"), json!({"resourceSubscriptions": [NOTE], "toolsListChanged": true})).await;
        after(seconds(5)).await;
        proxy.process("old", 0).crash().await;
        after(seconds(5)).await;
        caller.call("touch", json!({"uri": NOTE})).await;
        assert_eq!(caller.heard(UPDATED).await["params"]["_meta"][SUBSCRIPTION], "l");
        caller.call("change_lists", json!({})).await;
        assert_eq!(caller.heard(CHANGED).await["params"]["_meta"][SUBSCRIPTION], "l");
        assert_eq!(proxy.process("old", 1).got("resources/subscribe").len(), 1);
        caller.hears_nothing().await;
    });
}

#[test]
fn a_stream_from_a_legacy_server_ends_with_a_result_when_mcpool_ends() {
    play(async {
        let proxy = proxy().server("old", legacy(|_| {})).start().await;
        let caller = proxy.modern().connect("old").await;
        listen(&caller, json!("l"), json!({"toolsListChanged": true})).await;
        proxy.mux.with(mcpool::mux::Mux::shut_down);
        let end = caller.line().await.value;
        assert_eq!((&end["id"], &end["result"]["_meta"][SUBSCRIPTION]), (&json!("l"), &json!("l")));
        caller.closed().await;
    });
}

#[test]
fn legacy_subscribers_of_a_modern_server_share_one_stream() {
    play(async {
        let proxy = proxy().server("new", modern(|_| {})).start().await;
        let a = proxy.legacy(REVISION).connect("new").await;
        let b = proxy.legacy(REVISION).connect("new").await;
        let c = proxy.legacy(REVISION).connect("new").await;
        subscribe(&a, NOTE).await;
        subscribe(&b, NOTE).await;
        subscribe(&b, NOTE).await;
        subscribe(&c, "demo://note/2").await;
        c.call("touch", json!({"uri": NOTE})).await;
        for caller in [&a, &b] {
            assert_eq!(caller.heard(UPDATED).await["params"], json!({"uri": NOTE}), "without a subscriptionId");
            caller.hears_nothing().await;
        }
        c.hears_nothing().await;
        assert_eq!(proxy.got("new", "resources/subscribe"), Vec::<Value>::new());
        let (opened, closed) =
            (proxy.got("new", "subscriptions/listen").len(), proxy.got("new", "notifications/cancelled").len());
        assert_eq!(opened - closed, 1, "one stream is open at a time");
        assert_eq!(*a.ask("resources/unsubscribe", json!({"uri": NOTE})).await.result(), json!({}));
        c.call("touch", json!({"uri": NOTE})).await;
        b.heard(UPDATED).await;
        a.hears_nothing().await;
    });
}

#[test]
fn the_stream_ends_with_its_last_subscriber() {
    play(async {
        let proxy = proxy().server("new", modern(|_| {})).set(|server| server.recycle.idle = seconds(10)).start().await;
        let a = proxy.legacy(REVISION).connect("new").await;
        subscribe(&a, NOTE).await;
        after(seconds(60)).await;
        assert_eq!(proxy.instances("new").len(), 1, "a subscription keeps a process");
        a.ask("resources/unsubscribe", json!({"uri": NOTE})).await.result();
        after(seconds(60)).await;
        assert_eq!(proxy.instances("new").len(), 0);
        subscribe(&a, NOTE).await;
        a.hang_up().await;
        after(seconds(60)).await;
        assert_eq!(proxy.instances("new").len(), 0);
    });
}

#[test]
fn changed_lists_of_a_modern_server_are_told_to_its_legacy_callers() {
    play(async {
        let proxy = proxy().server("new", modern(|_| {})).start().await;
        let a = proxy.legacy(REVISION).connect("new").await;
        let b = proxy.legacy(REVISION).connect("new").await;
        let before = a.ask("tools/list", json!({})).await.names().len();
        b.ask("tools/list", json!({})).await.result();
        b.call("change_lists", json!({})).await;
        for caller in [&a, &b] {
            let heard = caller.heard(CHANGED).await;
            assert!(heard["params"].get("_meta").is_none(), "{heard}");
        }
        assert_eq!(a.ask("tools/list", json!({})).await.names().len(), before + 1);
    });
}

#[test]
fn subscriptions_outlive_the_modern_process_behind_them() {
    play(async {
        let proxy = proxy().server("new", modern(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).connect("new").await;
        subscribe(&caller, NOTE).await;
        caller.call("echo", json!({})).await.result();
        after(seconds(5)).await;
        proxy.process("new", 0).crash().await;
        after(seconds(5)).await;
        caller.call("touch", json!({"uri": NOTE})).await;
        assert_eq!(caller.heard(UPDATED).await["params"]["uri"], NOTE);
        caller.hears_nothing().await;
    });
}

#[test]
fn a_process_is_not_started_to_hear_of_changed_lists() {
    play(async {
        let proxy = proxy().server("new", modern(|_| {})).set(|server| server.recycle.idle = seconds(10)).start().await;
        let caller = proxy.legacy(REVISION).connect("new").await;
        caller.call("echo", json!({})).await.result();
        after(seconds(120)).await;
        assert_eq!((proxy.instances("new").len(), proxy.started("new")), (0, 1));
        drop(caller);
    });
}

#[test]
fn a_server_that_has_no_subscriptions_gives_none() {
    play(async {
        let proxy = proxy().server("bare", modern_script().capable(json!({"resources": {}})).into()).start().await;
        let caller = proxy.legacy(REVISION).connect("bare").await;
        assert_eq!(caller.ask("resources/subscribe", json!({"uri": NOTE})).await.code(), -32601);
        assert_eq!(proxy.got("bare", "subscriptions/listen"), Vec::<Value>::new());
    });
}

#[test]
fn a_server_that_never_opens_its_stream_keeps_nobody_else_from_listening_and_joins_when_it_does() {
    play(async {
        let waiting = std::rc::Rc::new(std::cell::RefCell::new(None));
        let asked = waiting.clone();
        let late = modern_script().on("subscriptions/listen", move |it, say| {
            asked.replace(Some((it.id().clone(), it.value["params"]["notifications"].clone(), say.clone())));
        });
        let proxy = proxy().server("late", late.into()).server("old", legacy(|_| {})).start().await;
        let clock = tokio::time::Instant::now();
        let caller = proxy.modern().connect("all").await;
        assert_eq!(
            listen(&caller, json!("l"), json!({"toolsListChanged": true})).await,
            json!({"toolsListChanged": true})
        );
        assert!(clock.elapsed() < seconds(10), "after {:?}", clock.elapsed());
        caller.call("old__change_lists", json!({})).await.result();
        assert_eq!(caller.heard(CHANGED).await["params"]["_meta"][SUBSCRIPTION], "l");
        caller.hears_nothing().await;
        let (id, wanted, say) = waiting.take().expect("it was asked");
        let tag = json!({ SUBSCRIPTION: id });
        let acknowledged = "notifications/subscriptions/acknowledged";
        say.notify(acknowledged, json!({"_meta": tag, "notifications": wanted}));
        assert_eq!(caller.heard(CHANGED).await["params"]["_meta"][SUBSCRIPTION], "l", "its lists may have changed");
        say.notify(CHANGED, json!({"_meta": tag}));
        assert_eq!(caller.heard(CHANGED).await["params"]["_meta"][SUBSCRIPTION], "l");
    });
}
