//! mcpool ends gently: nothing new is begun, and what was begun ends as it would have, if it does so in time.

use mcpool::error::Error;
use mcpool::mux::Mux;
use serde_json::json;

use crate::support::{Proxy, after, elicitation, legacy, modern, play, proxy, seconds, settled};

const REVISION: &str = "2025-06-18";

async fn echo() -> Proxy {
    proxy().server("echo", legacy(|_| {})).start().await
}

/// Whether nothing runs any more within that time.
async fn drained(proxy: &Proxy, within: u64) -> bool {
    let drained = proxy.mux.with(|mux| mux.drained.clone());
    tokio::time::timeout(seconds(within), drained.notified()).await.is_ok()
}

#[test]
fn while_it_drains_what_runs_ends_and_what_is_new_is_refused() {
    play(async {
        let proxy = echo().await;
        let (a, b) = (proxy.legacy(REVISION).connect("echo").await, proxy.legacy(REVISION).connect("echo").await);
        let running = a.begin("slow", json!({"ms": 3000}));
        settled().await;
        proxy.mux.with(Mux::begin_drain);
        for caller in [&a, &b] {
            let refused = caller.call("echo", json!({})).await;
            assert_eq!((refused.code(), refused.reason()), (503, Some("draining")));
        }
        proxy.dial("echo").closed().await;
        assert_eq!(proxy.mux.with(|mux| mux.running()), 1);
        assert!(!drained(&proxy, 2).await);
        assert!(drained(&proxy, 2).await);
        assert_eq!(running.answer().await.text(), "slept 3000 ms in 1 steps");
        proxy.mux.with(Mux::shut_down);
        a.closed().await;
    });
}

#[test]
fn what_waits_for_room_is_still_served() {
    play(async {
        let one_at_a_time = |server: &mut mcpool::config::Server| {
            server.instances.max = 1;
            server.concurrency = 1;
        };
        let proxy = proxy().server("echo", legacy(|_| {})).set(one_at_a_time).start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let running = [(); 3].map(|()| caller.begin("slow", json!({"ms": 1000})));
        settled().await;
        proxy.mux.with(Mux::begin_drain);
        assert!(drained(&proxy, 4).await);
        for call in running {
            assert_eq!(call.answer().await.text(), "slept 1000 ms in 1 steps");
        }
    });
}

#[test]
fn without_calls_it_is_drained_at_once() {
    play(async {
        let proxy = echo().await;
        let _caller = proxy.legacy(REVISION).connect("echo").await;
        proxy.mux.with(Mux::begin_drain);
        assert!(drained(&proxy, 0).await);
    });
}

#[test]
fn what_does_not_end_in_time_is_answered_with_an_error() {
    play(async {
        let proxy = echo().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let stuck = caller.begin("forget", json!({}));
        settled().await;
        proxy.mux.with(Mux::begin_drain);
        assert!(!drained(&proxy, 10).await);
        proxy.mux.with(Mux::shut_down);
        let refused = stuck.answer().await;
        assert_eq!((refused.code(), refused.message()), (503, Error::Drained.to_string().as_str()));
        caller.closed().await;
    });
}

#[test]
fn a_held_call_may_be_come_back_for_and_a_stream_is_ended() {
    play(async {
        let proxy = proxy().server("old", legacy(|_| {})).server("new", modern(|_| {})).start().await;
        let caller = proxy.modern().with(elicitation()).connect("old").await;
        let listener = proxy.modern().connect("new").await;
        let stream = listener.request("subscriptions/listen", json!({"notifications": {"toolsListChanged": true}}));
        listener.heard("notifications/subscriptions/acknowledged").await;
        let first = caller.call("ask_elicit", json!({"message": "name?"})).await;
        proxy.mux.with(Mux::begin_drain);
        assert_eq!(stream.answer().await.result()["resultType"], "complete");
        assert!(!drained(&proxy, 1).await, "a held call is not over");
        let (key, _) = first.only_ask();
        let answers = json!({key: {"action": "accept", "content": {"answer": "Ada"}}});
        let answer = caller.retry("ask_elicit", json!({"message": "name?"}), &first, answers).answer().await;
        assert_eq!(answer.json()["content"]["answer"], "Ada");
        assert!(drained(&proxy, 1).await);
    });
}

#[test]
fn a_restarted_server_ends_its_calls_in_the_old_process_and_begins_them_in_a_new_one() {
    play(async {
        let proxy = echo().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let running = caller.begin("slow", json!({"ms": 1000}));
        settled().await;
        assert_eq!(proxy.mux.with(|mux| mux.restart_server("echo")), Ok(1));
        settled().await;
        assert_eq!(caller.instance().await, "echo-1");
        assert_eq!(running.answer().await.text(), "slept 1000 ms in 1 steps");
        after(seconds(1)).await;
        assert_eq!(proxy.instances("echo").len(), 1);
        let unknown = proxy.mux.with(|mux| mux.restart_server("ecco"));
        assert!(unknown.is_err_and(|why| why.contains("there are: echo")));
    });
}

#[test]
fn a_server_that_is_restarted_while_it_starts_serves_who_waits() {
    play(async {
        let proxy = proxy().server("echo", crate::support::mute()).start().await;
        let client = proxy.legacy(REVISION);
        let opening = client.open("echo");
        let heal = async {
            settled().await;
            proxy.teach("echo", legacy(|_| {}));
            assert_eq!(proxy.mux.with(|mux| mux.restart_server("echo")), Ok(1));
        };
        let ((_caller, answer), ()) = tokio::join!(opening, heal);
        assert_eq!(answer.expect("an answer").result()["serverInfo"]["name"], "mcpool-demo");
        assert_eq!(proxy.started("echo"), 2);
    });
}

#[test]
fn a_restart_forgets_that_starts_failed() {
    play(async {
        let proxy = proxy().server("echo", crate::support::unstartable()).start().await;
        let (caller, refused) = proxy.legacy(REVISION).open("echo").await;
        assert_eq!(refused.expect("an answer").code(), 503);
        drop(caller);
        proxy.teach("echo", legacy(|_| {}));
        assert_eq!(proxy.mux.with(|mux| mux.restart_server("echo")), Ok(0));
        let caller = proxy.legacy(REVISION).connect("echo").await;
        assert_eq!(caller.instance().await, "echo-0");
    });
}
