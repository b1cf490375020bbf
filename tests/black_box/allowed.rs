//! An endpoint that names something allows that and nothing else, whatever a caller calls it; who knocks beside it at an
//! endpoint that names nothing is not concerned.

use std::num::NonZeroU32;

use mcpool::config::{Endpoint, Grants, Roots, Rule, Who};
use serde_json::{Value, json};

use crate::breaker::refused;
use crate::support::{Answer, Caller, Proxy, elicitation, legacy, modern, modern_script, play, proxy, script, settled};

const REVISION: &str = "2025-11-25";

fn patterns(patterns: &[&str]) -> Option<Vec<String>> {
    Some(patterns.iter().map(|pattern| (*pattern).to_owned()).collect())
}

/// An endpoint `pub` beside the usual ones, for the only server.
fn published(change: impl FnOnce(&mut Endpoint) + 'static) -> impl FnOnce(&mut mcpool::config::Config) {
    move |config| {
        let mut endpoint = Endpoint::new("pub", vec![config.servers[0].name.clone()]);
        change(&mut endpoint);
        config.endpoints.push(endpoint);
    }
}

#[track_caller]
fn forbidden(answer: &Answer) {
    assert_eq!((answer.code(), answer.reason()), (403, Some("forbidden")), "{}", answer.raw);
}

async fn only_echo() -> Proxy {
    proxy().server("echo", legacy(|_| {})).config(published(|it| it.tools = patterns(&["echo"]))).start().await
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
            (it.prompts, it.resources) = (patterns(&["plain"]), patterns(&["demo://note/*"]));
            it.methods = patterns(&["vendor/*", "notifications/vendor"]);
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
            proxy().server("s", server.into()).config(published(|it| it.tools = patterns(&["*"]))).start().await;
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
                endpoint.tools = patterns(&["s__b*"]);
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
            proxy().server("s", server.into()).config(published(|it| it.tools = patterns(&["*"]))).start().await;
        let caller = proxy.legacy(REVISION).connect("pub").await;
        forbidden(&caller.call("x", json!({})).await);
        let mute = script().on("tools/list", |_, _| {});
        let silent =
            crate::support::proxy().server("s", mute.into()).config(published(|it| it.tools = patterns(&["*"])));
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
        let proxy = proxy.config(published(|it| it.tools = patterns(&["*"]))).start().await;
        let caller = proxy.legacy(REVISION).connect("pub").await;
        let early = caller.begin("x", json!({}));
        settled().await;
        assert_eq!(proxy.legacy(REVISION).connect("s").await.call("x", json!({})).await.code(), -32603);
        let late = refused(&caller, "x").await;
        assert!(late.message().contains("internal error"), "{}", late.raw);
        assert_eq!(early.answer().await.reason(), Some("call_timeout"));
        assert_eq!(proxy.got("s", "tools/list").len(), 1);
    });
}

async fn told_roots(roots: Option<Roots>) -> Value {
    let set = move |it: &mut Endpoint| (it.tools, it.roots) = (patterns(&["*"]), roots);
    let server = legacy(|options| options.ask_roots = true);
    let proxy = proxy().server("files", server).config(published(set)).start().await;
    let caller = proxy.legacy(REVISION).with_roots(&["file:///home/owner"]).connect("pub").await;
    caller.call("echo", json!({})).await;
    caller.notify("notifications/roots/list_changed", json!({}));
    caller.call("whoami", json!({})).await.json()["roots"].clone()
}

#[test]
fn roots_of_a_restricted_caller_are_told_only_if_the_endpoint_says_so() {
    play(async {
        assert_eq!(told_roots(None).await, json!(null));
        assert_eq!(told_roots(Some(Roots::Withheld)).await, json!(null));
        assert_eq!(told_roots(Some(Roots::Client)).await["roots"], json!([{"uri": "file:///home/owner"}]));
        let fixed = told_roots(Some(Roots::Fixed(vec!["file:///srv/docs".into()]))).await;
        assert_eq!(fixed["roots"], json!([{"uri": "file:///srv/docs"}]));
    });
}

#[test]
fn fixed_roots_hold_for_modern_callers_too() {
    play(async {
        let set = |it: &mut Endpoint| {
            (it.tools, it.roots) = (patterns(&["*"]), Some(Roots::Fixed(vec!["file:///srv".into()])));
        };
        let server = legacy(|options| options.ask_roots = true);
        let proxy = proxy().server("files", server).config(published(set)).start().await;
        let caller = proxy.modern().with_roots(&["file:///home/owner"]).connect("pub").await;
        caller.call("echo", json!({})).await;
        let told = caller.call("whoami", json!({})).await;
        assert_eq!(told.json()["roots"]["roots"], json!([{"uri": "file:///srv"}]), "{}", told.raw);
    });
}

#[test]
fn who_may_not_be_asked_answers_nothing_unasked() {
    play(async {
        let roots = json!({"r": {"roots": [{"uri": "file:///"}]}});
        let accept = json!({"q": {"action": "accept", "content": {"sure": true}}});
        let fixed = Some(Roots::Fixed(vec!["file:///srv".into()]));
        for (asks, told, extra, refused) in [
            (None, None, json!({"inputResponses": roots}), true),
            (None, fixed.clone(), json!({"inputResponses": roots}), true),
            (None, None, json!({"inputResponses": accept, "requestState": "approved=1"}), true),
            (None, None, json!({"requestState": "approved=1"}), true),
            (None, Some(Roots::Client), json!({"inputResponses": accept}), true),
            (Some(true), None, json!({"inputResponses": roots}), true),
            (Some(true), fixed, json!({"requestState": "approved=1"}), true),
            (Some(true), None, json!({"inputResponses": accept}), false),
            (Some(true), Some(Roots::Client), json!({"inputResponses": roots, "requestState": "approved=1"}), false),
        ] {
            let set = move |it: &mut Endpoint| (it.tools, it.asks, it.roots) = (patterns(&["*"]), asks, told);
            let proxy = proxy().server("s", modern(|_| {})).config(published(set)).start().await;
            let caller = proxy.modern().with(elicitation()).connect("pub").await;
            let mut params = json!({"name": "echo", "arguments": {}});
            params.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
            let answer = caller.ask("tools/call", params.clone()).await;
            if refused {
                assert_eq!(
                    (answer.code(), answer.message().contains("anew")),
                    (-32602, true),
                    "{extra}: {}",
                    answer.raw
                );
            }
            assert_eq!(proxy.got("s", "tools/call").len(), usize::from(!refused), "{extra}: {}", answer.raw);
            let own = proxy.modern().with(elicitation()).connect("s").await;
            own.ask("tools/call", params).await;
            assert_eq!(proxy.got("s", "tools/call").len(), 1 + usize::from(!refused), "its owner: {extra}");
        }
    });
}

/// What servers of both eras are told that callers of an endpoint can be asked.
async fn declared(asks: Option<bool>) -> Vec<Value> {
    let mut told = Vec::new();
    for behaviour in [legacy(|_| {}), modern(|_| {})] {
        let set = move |it: &mut Endpoint| (it.tools, it.asks) = (patterns(&["*"]), asks);
        let proxy = proxy().server("s", behaviour).config(published(set)).start().await;
        let old = proxy.legacy(REVISION).with(elicitation()).with(json!({"sampling": {}})).connect("pub").await;
        let new = proxy.modern().with(elicitation()).with(json!({"sampling": {}})).connect("pub").await;
        for caller in [&old, &new] {
            caller.call("echo", json!({})).await;
        }
        told.extend(proxy.got("s", "initialize").iter().map(|it| it["params"]["capabilities"].clone()));
        let meta = "io.modelcontextprotocol/clientCapabilities";
        told.extend(proxy.got("s", "tools/call").iter().filter_map(|it| it["params"]["_meta"].get(meta).cloned()));
    }
    told
}

#[test]
fn a_restricted_caller_is_asked_only_if_the_endpoint_says_so() {
    play(async {
        let may = |told: &Value| told.get("elicitation").is_some() && told.get("sampling").is_some();
        let may_not = |told: &Value| told.get("elicitation").is_none() && told.get("sampling").is_none();
        let (usual, asks) = (declared(None).await, declared(Some(true)).await);
        assert!(usual.len() >= 3 && usual.iter().all(may_not), "{usual:?}");
        assert!(asks.len() >= 3 && asks.iter().all(may), "{asks:?}");
    });
}

#[test]
fn a_server_that_asks_all_the_same_gets_no_answer() {
    play(async {
        let tools = |list: &crate::support::Heard, say: &crate::support::Say| {
            say.result(list, json!({"tools": [{"name": "x", "inputSchema": {"type": "object"}}]}));
        };
        let old = script().on("tools/list", tools).on("tools/call", |_, say| {
            say.ask(
                "q",
                "elicitation/create",
                json!({"message": "?", "requestedSchema": {"type": "object", "properties": {}}}),
            );
        });
        let new = modern_script().on("tools/list", |list, say| {
            say.result(list, json!({"tools": [{"name": "x", "inputSchema": {"type": "object"}}], "resultType": "complete", "ttlMs": 0, "cacheScope": "public"}));
        });
        let new = new.on("tools/call", |call, say| {
            let ask = json!({"q": {"method": "elicitation/create", "params": {"message": "?", "requestedSchema": {"type": "object", "properties": {}}}}});
            // A word is the same however it is escaped.
            let id = call.id();
            say.line(&format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"input\u005frequired","inputRequests":{ask},"requestState":"s"}}}}"#
            ));
        });
        let set = |it: &mut Endpoint| it.tools = patterns(&["*"]);
        let old = proxy().server("s", old.into()).config(published(set)).start().await;
        let caller = old.legacy(REVISION).with(elicitation()).connect("pub").await;
        let call = caller.begin("x", json!({}));
        settled().await;
        assert!(caller.leftovers().await.is_empty());
        assert_eq!(old.dropped("ask_refused"), 1);
        drop(call);
        let new = proxy().server("s", new.into()).config(published(set)).start().await;
        let caller: Caller = new.modern().with(elicitation()).connect("pub").await;
        let refused = caller.call("x", json!({})).await;
        assert_eq!(refused.reason(), Some("server_misbehaved"), "{}", refused.raw);
    });
}

#[test]
fn a_stream_tells_of_allowed_resources_alone() {
    play(async {
        let set = |it: &mut Endpoint| it.resources = patterns(&["demo://note/1"]);
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

fn rule(who: Who, tools: &[&str]) -> Rule {
    Rule { who, grants: Grants { tools: patterns(tools), ..Grants::default() }, callers: None, in_flight: None }
}

fn uid(uid: u32) -> Who {
    Who { uids: Some(vec![uid]), ..Who::default() }
}

#[test]
fn the_first_rule_that_fits_a_caller_says_what_it_may() {
    play(async {
        let set = |it: &mut Endpoint| {
            it.tools = patterns(&["whoami"]);
            it.callers = vec![rule(uid(7), &["*"]), rule(uid(1000), &["echo"]), rule(uid(1000), &["add"])];
        };
        let proxy = proxy().server("echo", legacy(|_| {})).config(published(set)).start().await;
        let caller = proxy.legacy(REVISION).connect("pub").await;
        assert_eq!(caller.ask("tools/list", json!({})).await.names(), ["echo"]);
        forbidden(&caller.call("add", json!({})).await);
        forbidden(&caller.call("whoami", json!({})).await);
        assert_eq!(proxy.status()["callers"][0]["rule"], 2);
        proxy.reload_exactly(|config| config.endpoints.last_mut().expect("pub").callers.clear()).await;
        caller.heard("notifications/tools/list_changed").await;
        assert_eq!(caller.ask("tools/list", json!({})).await.names(), ["whoami"]);
        forbidden(&caller.call("echo", json!({})).await);
    });
}

#[test]
fn a_rule_bounds_how_many_come_and_what_each_has_in_flight() {
    play(async {
        let set = |it: &mut Endpoint| {
            let tight = Rule { callers: Some(1), in_flight: Some(1), ..rule(uid(1000), &["*"]) };
            it.callers = vec![tight];
        };
        let proxy = proxy().server("echo", legacy(|_| {})).config(published(set)).start().await;
        let caller = proxy.legacy(REVISION).connect("pub").await;
        caller.call("echo", json!({})).await;
        let slow = caller.begin("slow", json!({"ms": 100}));
        assert_eq!(caller.call("echo", json!({})).await.reason(), Some("caller_overloaded"));
        slow.answer().await;
        proxy.dial("pub").closed().await;
        let other = proxy.legacy(REVISION).connect("echo").await;
        assert_eq!(other.call("add", json!({"a": 1, "b": 1})).await.text(), "2");
        caller.hang_up().await;
        let next = proxy.legacy(REVISION).connect("pub").await;
        assert_eq!(next.call("add", json!({"a": 1, "b": 1})).await.text(), "2");
    });
}

#[test]
fn a_caller_that_may_not_be_asked_any_more_is_left_and_others_are_not() {
    play(async {
        let set = |it: &mut Endpoint| (it.tools, it.asks) = (patterns(&["echo"]), Some(true));
        let proxy = proxy().server("echo", legacy(|_| {})).config(published(set)).start().await;
        let asked = proxy.legacy(REVISION).with(elicitation()).connect("pub").await;
        let other = proxy.legacy(REVISION).connect("pub").await;
        for caller in [&asked, &other] {
            caller.call("echo", json!({})).await;
        }
        proxy.reload_exactly(|config| config.endpoints.last_mut().expect("pub").asks = None).await;
        asked.closed().await;
        assert_eq!(other.call("echo", json!({})).await.value["error"], json!(null));
    });
}
