//! Servers of both eras under one roof, for callers of both eras.

use serde_json::json;

use crate::support::{
    Caller, Proxy, both_eras, everything, legacy, modern, modern_script, obliging, play, proxy, script,
};

const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
const UPDATED: &str = "notifications/resources/updated";

async fn mixed() -> Proxy {
    proxy().server("old", legacy(|_| {})).server("new", modern(|_| {})).server("both", both_eras()).start().await
}

async fn callers(proxy: &Proxy) -> [Caller; 3] {
    let new = proxy.modern().with(everything()).connect("all").await;
    let old = proxy.legacy("2025-11-25").with(everything()).connect("all").await;
    let oldest = proxy.legacy("2024-11-05").with(everything()).connect("all").await;
    [new, old, oldest]
}

#[test]
fn all_tools_are_listed_and_called() {
    play(async {
        let proxy = mixed().await;
        for caller in callers(&proxy).await {
            let list = caller.ask("tools/list", json!({})).await;
            for server in ["old", "new", "both"] {
                let echo = format!("{server}__echo");
                assert!(list.names().contains(&echo.as_str()), "{echo} in {:?}", list.names());
                let answer = caller.call(&echo, json!({"to": server})).await;
                assert_eq!(answer.json(), json!({"to": server}));
            }
            assert!(caller.ask("prompts/list", json!({})).await.names().contains(&"new__greet"));
            let prompt = caller.ask("prompts/get", json!({"name": "old__plain"})).await;
            assert_eq!(prompt.result()["messages"][0]["content"]["text"], "Say something plain.");
            // Which server a URI belongs to is told by the lists.
            caller.ask("resources/templates/list", json!({})).await.result();
            let note = caller.ask("resources/read", json!({"uri": "demo://note/3"})).await;
            assert_eq!(note.result()["contents"][0]["uri"], "demo://note/3");
        }
    });
}

#[test]
fn a_server_of_both_eras_is_used_in_the_callers_own() {
    play(async {
        let proxy = mixed().await;
        let [new, old, _] = callers(&proxy).await;
        let era = |told: crate::support::Answer| told.json()["era"].as_str().expect("an era").to_owned();
        for (server, of_new, of_old) in
            [("old", "legacy", "legacy"), ("new", "modern", "modern"), ("both", "modern", "legacy")]
        {
            let tool = format!("{server}__whoami");
            assert_eq!(era(new.call(&tool, json!({})).await), of_new, "{server}");
            assert_eq!(era(old.call(&tool, json!({})).await), of_old, "{server}");
        }
    });
}

#[test]
fn every_server_can_ask_every_caller() {
    play(async {
        let proxy = mixed().await;
        let [new, old, _] = callers(&proxy).await;
        for caller in [&new, &old] {
            for server in ["old", "new", "both"] {
                let message = format!("of {server}");
                let filled =
                    caller.converse(&format!("{server}__ask_elicit"), json!({"message": message}), obliging).await;
                assert_eq!(filled.json()["content"]["answer"], format!("[{server}] {message}"));
                let two = caller.converse(&format!("{server}__ask_two"), json!({}), obliging).await.json();
                assert_eq!(two[0]["content"]["text"], "first of two");
                let rounds = caller.converse(&format!("{server}__ask_rounds"), json!({"n": 3}), obliging).await.json();
                assert_eq!(rounds[2]["content"]["answer"], format!("[{server}] round 3 of 3"));
            }
            caller.hears_nothing().await;
        }
        assert_eq!(proxy.status()["held"], 0);
    });
}

#[test]
fn the_introductions_show_what_there_is_in_the_callers_revision() {
    play(async {
        let proxy = mixed().await;
        let [new, old, oldest] = callers(&proxy).await;
        let found = new.ask("server/discover", json!({})).await.result().clone();
        assert_eq!((&found["resultType"], &found["supportedVersions"]), (&json!("complete"), &json!(["2026-07-28"])));
        for (capabilities, completions) in [
            (&found["capabilities"], true),
            (&old.introduction["capabilities"], true),
            (&oldest.introduction["capabilities"], false),
        ] {
            assert_eq!(capabilities["tools"]["listChanged"], true);
            assert_eq!(capabilities["resources"]["subscribe"], true);
            assert_eq!(capabilities.get("completions").is_some(), completions, "{capabilities}");
        }
        assert_eq!(old.introduction["protocolVersion"], "2025-11-25");
        assert_eq!(old.introduction["capabilities"].get("extensions"), None);
        assert_eq!(found["capabilities"].get("tasks"), None);
    });
}

#[test]
fn resources_are_listened_to_across_the_eras() {
    play(async {
        // Each has resources of its own.
        let noted = |uri: &'static str, modern: bool| {
            let (made, era) = if modern {
                (modern_script(), json!({"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}))
            } else {
                (script(), json!({}))
            };
            let list = move |key: &str, items: serde_json::Value| {
                let mut list = era.clone();
                list[key] = items;
                list
            };
            let (resources, templates) =
                (list("resources", json!([{"uri": uri, "name": uri}])), list("resourceTemplates", json!([])));
            made.capable(json!({"resources": {"subscribe": true}}))
                .on("resources/list", move |it, say| say.result(it, resources.clone()))
                .on("resources/templates/list", move |it, say| say.result(it, templates.clone()))
                .on("resources/subscribe", |it, say| say.result(it, json!({})))
                .on("subscriptions/listen", |it, say| {
                    let (id, granted) = (it.id().clone(), it.value["params"]["notifications"].clone());
                    say.notify(
                        "notifications/subscriptions/acknowledged",
                        json!({"_meta": {SUBSCRIPTION: id}, "notifications": granted}),
                    );
                    for uri in granted["resourceSubscriptions"].as_array().into_iter().flatten() {
                        say.notify(UPDATED, json!({"uri": uri, "_meta": {SUBSCRIPTION: id}}));
                    }
                })
        };
        let proxy = proxy()
            .server("old", noted("old://1", false).into())
            .server("new", noted("new://1", true).into())
            .start()
            .await;
        let [new, old, _] = callers(&proxy).await;
        for caller in [&new, &old] {
            caller.ask("resources/list", json!({})).await.result();
        }
        for uri in ["old://1", "new://1"] {
            assert_eq!(*old.ask("resources/subscribe", json!({"uri": uri})).await.result(), json!({}));
        }
        assert_eq!(old.heard(UPDATED).await["params"], json!({"uri": "new://1"}));
        new.request_as(
            json!("l"),
            "subscriptions/listen",
            json!({"notifications": {"resourceSubscriptions": ["old://1", "new://1"]}}),
        );
        let granted = new.heard("notifications/subscriptions/acknowledged").await["params"]["notifications"].clone();
        assert_eq!(granted["resourceSubscriptions"].as_array().map(Vec::len), Some(2), "{granted}");
        new.leftovers().await;
        let told = json!({"jsonrpc": "2.0", "method": UPDATED, "params": {"uri": "old://1"}}).to_string();
        for number in 0..proxy.started("old") {
            if !proxy.process("old", number).got("resources/subscribe").is_empty() {
                proxy.process("old", number).say(&told);
            }
        }
        assert_eq!(old.heard(UPDATED).await["params"], json!({"uri": "old://1"}));
        let heard = new.heard(UPDATED).await["params"].clone();
        assert_eq!(heard, json!({"uri": "old://1", "_meta": {SUBSCRIPTION: "l"}}));
    });
}

#[test]
fn one_connection_may_probe_and_then_open_a_session() {
    play(async {
        let proxy = mixed().await;
        let caller = proxy.modern().connect("all").await;
        caller.ask("server/discover", json!({})).await.result();
        let info = json!({"name": "both", "version": "1"});
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info});
        caller.send(&json!({"jsonrpc": "2.0", "id": 100, "method": "initialize", "params": params}).to_string());
        assert_eq!(caller.line().await.result()["protocolVersion"], "2025-11-25");
        caller.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        for (id, tool) in [(101, "new__add"), (102, "old__add")] {
            let params = json!({"name": tool, "arguments": {"a": 1, "b": 2}});
            caller.send(&json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string());
            let answer = caller.line().await;
            assert_eq!((answer.text(), answer.result().get("resultType")), ("3", None));
        }
    });
}
