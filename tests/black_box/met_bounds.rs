//! A caller that has too much already is told which bound it met, and by which key that can be raised.

use serde_json::{Value, json};

use crate::support::{Answer, legacy, modern_script, play, proxy, script};

const REVISION: &str = "2025-06-18";

fn names(refused: &Answer, key: &str) {
    assert_eq!((refused.code(), refused.reason()), (429, Some("caller_overloaded")), "{}", refused.raw);
    let named = refused.message().split('`').nth(1);
    assert_eq!(named, Some(key), "{}", refused.raw);
}

#[test]
fn of_calls_in_flight() {
    play(async {
        let quiet = script().on("tools/call", |_, _| {});
        let proxy = proxy().server("s", quiet.into()).config(|config| config.limits.in_flight = 1).start().await;
        let caller = proxy.legacy(REVISION).connect("s").await;
        let _first = caller.begin("x", json!({}));
        names(&caller.call("x", json!({})).await, "limits.in_flight");
    });
}

#[test]
fn of_subscriptions_and_streams() {
    play(async {
        let proxy = proxy()
            .server("old", legacy(|_| {}))
            .server("new", modern_script().into())
            .config(|config| config.limits.subscriptions = 1)
            .start()
            .await;
        let caller = proxy.legacy(REVISION).connect("old").await;
        let subscribe =
            |number: u32| caller.ask("resources/subscribe", json!({"uri": format!("demo://note/{number}")}));
        assert_eq!(*subscribe(1).await.result(), json!({}));
        names(&subscribe(2).await, "limits.subscriptions");
        let wants: Value = json!({"resourceSubscriptions": ["demo://note/1", "demo://note/2"]});
        let caller = proxy.modern().connect("new").await;
        names(&caller.ask("subscriptions/listen", json!({"notifications": wants})).await, "limits.subscriptions");
    });
}
