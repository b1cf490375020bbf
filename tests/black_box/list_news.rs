//! What is told of lists is news, and nobody is asked again and again for the same: neither a server by mcpool, nor mcpool by a
//! client that looks at a list whenever it is told of one.

use std::cell::Cell;
use std::rc::Rc;

use serde_json::{Value, json};

use crate::support::{Caller, Proxy, Script, legacy, modern_script, play, proxy, script, settled};

const REVISION: &str = "2025-06-18";
const CHANGED: &str = "notifications/tools/list_changed";
const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";

/// A modern server whose list is old at once, and holds one tool that is called as `version` says.
fn of_the_moment(version: impl Fn() -> u32 + 'static) -> Script {
    modern_script()
        .on("tools/list", move |list, say| {
            let tool = json!({"name": format!("v{}", version()), "inputSchema": {"type": "object"}});
            say.result(list, json!({"resultType": "complete", "ttlMs": 0, "cacheScope": "public", "tools": [tool]}));
        })
        .on("subscriptions/listen", |it, say| {
            let (id, granted) = (it.id().clone(), it.value["params"]["notifications"].clone());
            let meta = json!({"io.modelcontextprotocol/subscriptionId": id});
            say.notify(ACKNOWLEDGED, json!({"_meta": meta, "notifications": granted}));
        })
}

/// A caller with a stream on which it would hear of tools.
async fn listener(proxy: &Proxy) -> Caller {
    let caller = proxy.modern().connect("x").await;
    caller.request("subscriptions/listen", json!({"notifications": {"toolsListChanged": true}}));
    caller.heard(ACKNOWLEDGED).await;
    caller
}

async fn tools(caller: &Caller) -> Value {
    caller.ask("tools/list", json!({})).await.result()["tools"][0]["name"].clone()
}

#[test]
fn of_a_list_that_is_old_at_once_callers_are_told_only_when_it_differs() {
    play(async {
        let version = Rc::new(Cell::new(1));
        let now = version.clone();
        let proxy = proxy().server("x", of_the_moment(move || now.get()).into()).start().await;
        let (caller, other) = (listener(&proxy).await, listener(&proxy).await);
        for asked in 1..4 {
            assert_eq!((tools(&caller).await, tools(&other).await), (json!("v1"), json!("v1")));
            assert_eq!(proxy.got("x", "tools/list").len(), asked * 2);
            settled().await;
        }
        caller.hears_nothing().await;
        version.set(2);
        // It has what it would be told of.
        assert_eq!(tools(&other).await, "v2");
        caller.heard(CHANGED).await;
        assert_eq!(tools(&caller).await, "v2");
        caller.hears_nothing().await;
        other.hears_nothing().await;
    });
}

#[test]
fn who_asks_for_a_list_that_is_another_each_time_is_not_told_of_what_it_was_just_shown() {
    play(async {
        let asked = Rc::new(Cell::new(0));
        let count = move || {
            asked.set(asked.get() + 1);
            asked.get()
        };
        let proxy = proxy().server("x", of_the_moment(count).into()).start().await;
        let (caller, other) = (listener(&proxy).await, listener(&proxy).await);
        assert_eq!(tools(&other).await, "v1");
        for version in ["v2", "v3", "v4"] {
            assert_eq!(tools(&caller).await, version);
            settled().await;
        }
        caller.hears_nothing().await;
        other.heard(CHANGED).await;
    });
}

#[test]
fn a_server_that_refuses_its_templates_is_not_asked_for_them_with_each_list_of_resources() {
    play(async {
        let templates = "resources/templates/list";
        let refusing = script()
            .capable(json!({"tools": {}, "resources": {"listChanged": true}}))
            .on("tools/call", |call, say| say.text(call, "done"))
            .on("resources/list", |list, say| say.result(list, json!({"resources": []})))
            .on(templates, |list, say| say.error(list, json!({"code": -32601, "message": "Method not found"})));
        let proxy = proxy().server("x", refusing.into()).server("y", legacy(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).connect("all").await;
        let look = async || {
            caller.ask("resources/list", json!({})).await.result();
            settled().await;
        };
        for _ in 0..4 {
            look().await;
        }
        assert_eq!(proxy.got("x", templates).len(), 1);
        // It may have them by now.
        proxy.process("x", 0).say(r#"{"jsonrpc":"2.0","method":"notifications/resources/list_changed"}"#);
        settled().await;
        for _ in 0..4 {
            look().await;
        }
        assert_eq!(proxy.got("x", templates).len(), 2);
        // So may another process.
        proxy.process("x", 0).crash().await;
        assert_eq!(caller.call("x__do", json!({})).await.text(), "done");
        for _ in 0..4 {
            look().await;
        }
        assert_eq!(proxy.got("x", templates).len(), 3);
    });
}
