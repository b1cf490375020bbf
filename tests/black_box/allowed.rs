//! An endpoint that names something allows that and nothing else, whatever a caller calls it; who knocks beside it at an
//! endpoint that names nothing is not concerned.

use std::num::NonZeroU32;

use mcpool::config::Endpoint;
use serde_json::{Value, json};

use crate::breaker::refused;
use crate::support::{Answer, Proxy, legacy, modern, play, proxy, script, settled};

const REVISION: &str = "2025-11-25";

pub fn patterns(patterns: &[&str]) -> Option<Vec<String>> {
    Some(patterns.iter().map(|pattern| (*pattern).to_owned()).collect())
}

/// An endpoint `pub` beside the usual ones, for the only server.
pub fn published(change: impl FnOnce(&mut Endpoint) + 'static) -> impl FnOnce(&mut mcpool::config::Config) {
    move |config| {
        let mut endpoint = Endpoint::new("pub", vec![config.servers[0].name.clone()]);
        change(&mut endpoint);
        config.endpoints.push(endpoint);
    }
}

#[track_caller]
pub fn forbidden(answer: &Answer) {
    assert_eq!((answer.code(), answer.reason()), (403, Some("forbidden")), "{}", answer.raw);
}

async fn only_echo() -> Proxy {
    proxy().server("echo", legacy(|_| {})).config(published(|it| it.grants.tools = patterns(&["echo"]))).start().await
}

#[test]
fn what_is_not_named_reaches_no_server() {
    play(async {
        let proxy = only_echo().await;
        let narrow = proxy.legacy(REVISION).connect("pub").await;
        let modest = proxy.legacy(REVISION).connect("echo").await;
        assert_eq!(narrow.call("echo", json!({})).await.value["error"], json!(null));
        for (method, params) in [
            ("tools/call", json!({"name": "add", "arguments": {"a": 1, "b": 1}})),
            ("tools/call", json!({"arguments": {}})),
            ("resources/read", json!({"uri": "file:///etc/shadow"})),
            ("resources/subscribe", json!({"uri": "demo://note/1"})),
            ("resources/unsubscribe", json!({"uri": "demo://note/1"})),
            ("prompts/get", json!({"name": "plain"})),
            (
                "completion/complete",
                json!({"ref": {"type": "ref/prompt", "name": "plain"}, "argument": {"name": "a", "value": ""}}),
            ),
            ("vendor/x", json!({})),
        ] {
            forbidden(&narrow.ask(method, params).await);
            if method != "tools/call" {
                assert!(proxy.got("echo", method).is_empty(), "{method}");
            }
        }
        narrow.notify("notifications/vendor", json!({}));
        settled().await;
        assert_eq!((proxy.dropped("forbidden"), proxy.got("echo", "notifications/vendor").len()), (1, 0));
        for method in ["ping", "prompts/list", "resources/list", "resources/templates/list"] {
            let answer = narrow.ask(method, json!({})).await;
            let shown = answer.result().as_object().and_then(|it| it.values().find_map(Value::as_array));
            assert!(shown.is_none_or(Vec::is_empty), "{}", answer.raw);
        }
        assert_eq!(modest.ask("resources/read", json!({"uri": "demo://note/1"})).await.value["error"], json!(null));
        modest.notify("notifications/vendor", json!({}));
        settled().await;
        assert_eq!(modest.call("add", json!({"a": 1, "b": 1})).await.text(), "2");
    });
}

#[test]
fn what_is_named_may_be_used() {
    play(async {
        let all = |it: &mut Endpoint| {
            (it.grants.prompts, it.grants.resources) = (patterns(&["plain"]), patterns(&["demo://note/*"]));
            it.grants.methods = patterns(&["vendor/*", "notifications/vendor"]);
        };
        let proxy = proxy().server("echo", legacy(|_| {})).config(published(all)).start().await;
        let caller = proxy.legacy(REVISION).connect("pub").await;
        assert_eq!(caller.ask("resources/read", json!({"uri": "demo://note/1"})).await.value["error"], json!(null));
        assert_eq!(caller.ask("prompts/get", json!({"name": "plain"})).await.value["error"], json!(null));
        assert_ne!(caller.ask("vendor/x", json!({})).await.code(), 403);
        caller.notify("notifications/vendor", json!({}));
        settled().await;
        assert_eq!(proxy.got("echo", "notifications/vendor").len(), 1);
        forbidden(&caller.ask("resources/read", json!({"uri": "demo://note/../other"})).await);
        forbidden(&caller.call("echo", json!({})).await);
        let names = caller.ask("prompts/list", json!({})).await;
        assert_eq!(names.result()["prompts"].as_array().map(Vec::len), Some(1), "{}", names.raw);
    });
}

#[test]
fn users_alone_name_nothing() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).config(published(|it| it.users = vec![1000])).start().await;
        let caller = proxy.legacy(REVISION).connect("pub").await;
        assert!(caller.ask("tools/list", json!({})).await.names().is_empty());
        forbidden(&caller.call("echo", json!({})).await);
    });
}

#[test]
fn a_tool_that_the_server_does_not_list_is_forbidden() {
    play(async {
        let server = script().on("tools/list", |list, say| {
            say.result(list, json!({"tools": [{"name": "good", "inputSchema": {"type": "object"}}]}));
        });
        let server = server.on("tools/call", |call, say| say.text(call, "done"));
        let proxy =
            proxy().server("s", server.into()).config(published(|it| it.grants.tools = patterns(&["*"]))).start().await;
        let caller = proxy.legacy(REVISION).connect("pub").await;
        for name in ["secret", "Good", "good ", "", "g\u{200b}ood"] {
            forbidden(&caller.call(name, json!({})).await);
        }
        assert_eq!(caller.call("good", json!({})).await.text(), "done");
        assert_eq!((proxy.got("s", "tools/call").len(), proxy.got("s", "tools/list").len()), (1, 1));
        assert_eq!(proxy.legacy(REVISION).connect("s").await.call("secret", json!({})).await.text(), "done");
    });
}

#[test]
fn under_one_roof_a_tool_has_one_name() {
    play(async {
        let server = script().on("tools/list", |list, say| {
            say.result(list, json!({"tools": [{"name": "b.c", "inputSchema": {"type": "object"}}]}));
        });
        let server = server.on("tools/call", |call, say| say.text(call, "done"));
        let set = |config: &mut mcpool::config::Config| {
            for endpoint in config.endpoints.iter_mut().filter(|it| it.name == "all") {
                endpoint.grants.tools = patterns(&["s__b*"]);
            }
        };
        let proxy = proxy().server("s", server.into()).server("t", legacy(|_| {})).config(set).start().await;
        let caller = proxy.legacy(REVISION).connect("all").await;
        let list = caller.ask("tools/list", json!({})).await;
        let [name] = list.names()[..] else { panic!("one tool: {}", list.raw) };
        assert_eq!(caller.call(name, json!({})).await.text(), "done");
        for other in ["s__b.c", "s__b_c", "t__echo", "S__b.c"] {
            forbidden(&caller.call(other, json!({})).await);
        }
        assert_eq!(proxy.got("s", "tools/call").len(), 1);
    });
}

#[test]
fn tasks_of_nobody_are_not_asked_about() {
    play(async {
        let proxy = only_echo().await;
        let caller = proxy.legacy(REVISION).connect("pub").await;
        for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
            assert_eq!(caller.ask(method, json!({"taskId": "1"})).await.code(), -32602);
        }
        forbidden(&caller.ask("tasks/vendor", json!({"taskId": "1"})).await);
        assert!(proxy.got("echo", "tasks/get").is_empty());
    });
}

#[test]
fn a_restricted_caller_that_tries_everything_costs_a_modest_one_nothing() {
    play(async {
        let proxy = only_echo().await;
        let (hostile, modest) =
            (proxy.legacy(REVISION).connect("pub").await, proxy.legacy(REVISION).connect("echo").await);
        modest.call("echo", json!({})).await;
        let before = proxy.got("echo", "tools/list").len();
        for n in 0..500 {
            hostile.notify("notifications/vendor", json!({ "n": n }));
            drop(hostile.begin(&format!("tool{n}"), json!({})));
            drop(hostile.request("resources/read", json!({"uri": format!("x://{n}")})));
        }
        assert_eq!(modest.call("add", json!({"a": 1, "b": 1})).await.text(), "2");
        settled().await;
        assert_eq!((proxy.dropped("forbidden"), proxy.got("echo", "tools/list").len()), (500, before));
        assert_eq!((proxy.started("echo"), proxy.got("echo", "tools/call").len()), (1, 2));
    });
}

#[test]
fn a_server_without_lists_or_that_cannot_be_asked_is_refused_once() {
    play(async {
        let server = script().on("tools/list", |list, say| say.error(list, json!({"code": -32601, "message": "no"})));
        let proxy =
            proxy().server("s", server.into()).config(published(|it| it.grants.tools = patterns(&["*"]))).start().await;
        let caller = proxy.legacy(REVISION).connect("pub").await;
        forbidden(&caller.call("x", json!({})).await);
        let mute = script().on("tools/list", |_, _| {});
        let silent =
            crate::support::proxy().server("s", mute.into()).config(published(|it| it.grants.tools = patterns(&["*"])));
        let silent = silent.start().await;
        let caller = silent.legacy(REVISION).connect("pub").await;
        assert_eq!(caller.call("x", json!({})).await.code(), 504);
    });
}

#[test]
fn who_would_wait_for_a_list_is_refused_at_once_while_the_breaker_is_open() {
    play(async {
        let hangs = script().on("tools/list", |_, _| {}).on("tools/call", |call, say| {
            say.error(call, json!({"code": -32603, "message": "sick"}));
        });
        let proxy = proxy().server("s", hangs.into()).set(|server| server.breaker.failures = NonZeroU32::new(1));
        let proxy = proxy.config(published(|it| it.grants.tools = patterns(&["*"]))).start().await;
        let caller = proxy.legacy(REVISION).connect("pub").await;
        let early = caller.begin("x", json!({}));
        settled().await;
        for _ in 0..2 {
            assert_eq!(proxy.legacy(REVISION).connect("s").await.call("x", json!({})).await.code(), -32603);
        }
        let late = refused(&caller, "x").await;
        assert!(late.message().contains("internal error"), "{}", late.raw);
        assert_eq!(early.answer().await.reason(), Some("call_timeout"));
        assert_eq!(proxy.got("s", "tools/list").len(), 1);
    });
}

#[test]
fn a_stream_tells_of_allowed_resources_alone() {
    play(async {
        let set = |it: &mut Endpoint| it.grants.resources = patterns(&["demo://note/1"]);
        let proxy = proxy().server("new", modern(|_| {})).config(published(set)).start().await;
        let caller = proxy.modern().connect("pub").await;
        let wants = json!({"notifications": {"resourceSubscriptions": ["demo://note/1", "demo://note/2"]}});
        let _stream = caller.request("subscriptions/listen", wants);
        let granted = caller.heard("notifications/subscriptions/acknowledged").await;
        assert_eq!(granted["params"]["notifications"]["resourceSubscriptions"], json!(["demo://note/1"]));
        let asked = proxy.got("new", "subscriptions/listen");
        assert!(!asked.is_empty() && !json!(asked).to_string().contains("note/2"));
    });
}
