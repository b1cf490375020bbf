//! Callers of an endpoint that names something: whether their roots are taken, and whether they are asked.

use mcpool::config::{Endpoint, Roots};
use serde_json::{Value, json};

use crate::allowed::{patterns, published};
use crate::support::{Caller, elicitation, legacy, modern, modern_script, play, proxy, script, settled};

const REVISION: &str = "2025-11-25";

async fn told_roots(roots: Option<Roots>) -> Value {
    let set = move |it: &mut Endpoint| (it.grants.tools, it.grants.roots) = (patterns(&["*"]), roots);
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
            (it.grants.tools, it.grants.roots) = (patterns(&["*"]), Some(Roots::Fixed(vec!["file:///srv".into()])));
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
            let set = move |it: &mut Endpoint| {
                (it.grants.tools, it.grants.asks, it.grants.roots) = (patterns(&["*"]), asks, told)
            };
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
        let set = move |it: &mut Endpoint| (it.grants.tools, it.grants.asks) = (patterns(&["*"]), asks);
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
        let set = |it: &mut Endpoint| it.grants.tools = patterns(&["*"]);
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
fn a_caller_that_may_not_be_asked_any_more_is_left_and_others_are_not() {
    play(async {
        let set = |it: &mut Endpoint| (it.grants.tools, it.grants.asks) = (patterns(&["echo"]), Some(true));
        let proxy = proxy().server("echo", legacy(|_| {})).config(published(set)).start().await;
        let asked = proxy.legacy(REVISION).with(elicitation()).connect("pub").await;
        let other = proxy.legacy(REVISION).connect("pub").await;
        for caller in [&asked, &other] {
            caller.call("echo", json!({})).await;
        }
        proxy.reload_exactly(|config| config.endpoints.last_mut().expect("pub").grants.asks = None).await;
        asked.closed().await;
        assert_eq!(other.call("echo", json!({})).await.value["error"], json!(null));
    });
}

#[test]
fn a_web_page_that_a_server_wants_visited_is_a_question_too() {
    play(async {
        let page = json!({"mode": "url", "elicitationId": "e1", "url": "https://a.example", "message": "sign in"});
        let error = json!({"code": -32042, "message": "sign in first", "data": {"elicitations": [page]}});
        let server = || {
            let error = error.clone();
            let tool = json!({"tools": [{"name": "t", "inputSchema": {"type": "object"}}]});
            let lists = script().on("tools/list", move |list, say| say.result(list, tool.clone()));
            lists.on("tools/call", move |call, say| say.error(call, error.clone()))
        };
        for (asks, passes) in [(None, false), (Some(false), false), (Some(true), true)] {
            let set = move |it: &mut Endpoint| (it.grants.tools, it.grants.asks) = (patterns(&["*"]), asks);
            let proxy = proxy().server("s", server().into()).config(published(set)).start().await;
            for (endpoint, passes) in [("pub", passes), ("s", true)] {
                let caller = proxy.legacy(REVISION).with(elicitation()).connect(endpoint).await;
                let answer = caller.call("t", json!({})).await;
                assert_eq!(answer.raw.contains("a.example"), passes, "{endpoint} {asks:?}: {}", answer.raw);
                assert_eq!(answer.reason(), (!passes).then_some("server_misbehaved"), "{}", answer.raw);
            }
            let able = json!({"elicitation": {"form": {}, "url": {}}});
            let modern = proxy.modern().with(able).connect("pub").await.call("t", json!({})).await;
            assert_eq!(modern.raw.contains("a.example"), passes, "{asks:?}: {}", modern.raw);
        }
    });
}

#[test]
fn a_question_without_an_id_is_passed_on_to_nobody() {
    play(async {
        let methods =
            ["sampling/createMessage", "elicitation/create", "elicitation\\/create", "roots/list", "ping", "tasks/get"];
        let server = || {
            script().on("tools/call", move |call, say| {
                for method in methods {
                    say.line(&format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"message":"password?"}}}}"#));
                }
                say.notify("vendor/news", json!({}));
                say.text(call, "done");
            })
        };
        let set = |it: &mut Endpoint| it.grants.methods = patterns(&["*"]);
        for asks in [None, Some(true)] {
            let set = move |it: &mut Endpoint| {
                set(it);
                it.grants.asks = asks;
            };
            let proxy = proxy().server("s", server().into()).config(published(set)).start().await;
            for (done, endpoint) in ["s", "all"].into_iter().enumerate() {
                let caller = proxy.legacy(REVISION).with(elicitation()).connect(endpoint).await;
                let name = if endpoint == "all" { "s__t" } else { "t" };
                caller.call(name, json!({})).await.text();
                let heard = caller.leftovers().await;
                assert!(heard.iter().all(|line| line.contains("vendor/news")), "{heard:?}");
                assert_eq!(proxy.dropped("ambiguous"), (methods.len() * (done + 1)) as u64);
            }
        }
    });
}
