//! An endpoint that says which roots its callers have says so itself, also to a modern server, which asks within a result.

use mcpool::config::{Config, Endpoint, Roots};
use serde_json::{Value, json};

use crate::support::{Script, elicitation, modern_script, play, proxy};

/// A modern server that calls of its tool tell roots, and a person's word where it wants that, before it answers with what it was told.
fn curious(state: Option<Value>, wants_a_word: bool) -> Script {
    let tool = json!({"name": "t", "inputSchema": {"type": "object"}});
    let list = json!({"tools": [tool], "resultType": "complete", "ttlMs": 60_000, "cacheScope": "public"});
    let lists = modern_script().on("tools/list", move |it, say| say.result(it, list.clone()));
    lists.on("tools/call", move |call, say| {
        let params = &call.value["params"];
        let told = &params["inputResponses"];
        if told["r"].is_null() {
            let mut result = json!({"resultType": "input_required", "inputRequests": {"r": {"method": "roots/list"}}});
            if wants_a_word {
                let schema = json!({"type": "object", "properties": {}});
                let question = json!({"mode": "form", "message": "sure?", "requestedSchema": schema});
                result["inputRequests"]["q"] = json!({"method": "elicitation/create", "params": question});
            }
            if let Some(state) = &state {
                result["requestState"] = state.clone();
            }
            return say.result(call, result);
        }
        let declared = &params["_meta"]["io.modelcontextprotocol/clientCapabilities"]["roots"];
        let seen =
            json!({"told": told, "state": params.get("requestState"), "roots": declared, "tool": params["name"]});
        say.result(call, json!({"content": [{"type": "text", "text": seen.to_string()}], "resultType": "complete"}));
    })
}

/// An endpoint of the first server, and one of both.
fn fixed(asks: Option<bool>) -> impl FnOnce(&mut Config) {
    move |config| {
        for (name, servers) in [("pub", vec!["s".to_owned()]), ("both", vec!["s".to_owned(), "other".to_owned()])] {
            let mut endpoint = Endpoint::new(name, servers);
            endpoint.grants.tools = Some(vec!["*".to_owned()]);
            endpoint.grants.roots = Some(Roots::Fixed(vec!["file:///srv".into()]));
            endpoint.grants.asks = asks;
            config.endpoints.push(endpoint);
        }
    }
}

fn roots() -> Value {
    json!({"roots": [{"uri": "file:///srv"}]})
}

#[test]
fn the_endpoint_answers_a_modern_server_and_nobody_is_asked() {
    play(async {
        for state in [None, Some(Value::Null), Some(json!(r#"my "state""#))] {
            for asks in [None, Some(true)] {
                let proxy = proxy()
                    .server("s", curious(state.clone(), false).into())
                    .server("other", curious(None, false).into())
                    .config(fixed(asks))
                    .start()
                    .await;
                for (endpoint, tool) in [("pub", "t"), ("both", "s__t")] {
                    let caller = proxy.modern().with_roots(&["file:///home/owner"]).connect(endpoint).await;
                    let seen = caller.call(tool, json!({})).await.json();
                    let expected = json!({"told": {"r": roots()}, "state": state, "roots": {}, "tool": "t"});
                    assert_eq!(seen, expected, "{endpoint} {asks:?}");
                }
                assert_eq!(proxy.got("s", "tools/call").len(), 4);
            }
        }
    });
}

#[test]
fn its_caller_is_asked_what_else_there_is_and_no_roots() {
    play(async {
        for state in [None, Some(Value::Null), Some(json!(r#"my "state""#))] {
            let proxy = proxy()
                .server("s", curious(state.clone(), true).into())
                .server("other", curious(None, false).into())
                .config(fixed(Some(true)))
                .start()
                .await;
            for (endpoint, tool) in [("pub", "t"), ("both", "s__t")] {
                let caller = proxy.modern().with(elicitation()).connect(endpoint).await;
                let asked = caller.call(tool, json!({})).await;
                let asked = asked.result();
                let questions: Vec<&String> = asked["inputRequests"].as_object().expect("questions").keys().collect();
                assert_eq!(questions, ["q"]);
                let accept = json!({"action": "accept", "content": {}});
                let forged = json!({"q": accept, "r": {"action": "decline"}});
                for responses in [json!({"q": accept}), forged] {
                    let again = json!({"name": tool, "arguments": {}, "inputResponses": responses, "requestState": asked["requestState"]});
                    let seen = caller.ask("tools/call", again.clone()).await.json();
                    let told = json!({"q": accept, "r": roots()});
                    assert_eq!(seen, json!({"told": told, "state": state, "roots": {}, "tool": "t"}), "{endpoint}");
                    let stranger = proxy.modern().with(elicitation()).connect(endpoint).await;
                    assert_eq!(stranger.ask("tools/call", again).await.code(), -32602);
                }
            }
        }
    });
}

#[test]
fn who_may_not_be_asked_what_else_there_is_is_not() {
    play(async {
        let proxy = proxy()
            .server("s", curious(None, true).into())
            .server("other", curious(None, true).into())
            .config(fixed(None))
            .start()
            .await;
        let answer = proxy.modern().with(elicitation()).connect("pub").await.call("t", json!({})).await;
        assert_eq!(answer.reason(), Some("server_misbehaved"), "{}", answer.raw);
    });
}

#[test]
fn a_server_that_never_has_enough_of_roots_is_told_so_often_and_no_more() {
    play(async {
        let greedy = modern_script().on("tools/call", |call, say| {
            say.result(call, json!({"resultType": "input_required", "inputRequests": {"r": {"method": "roots/list"}}}));
        });
        let limit = |config: &mut Config| {
            config.limits.rounds = 3;
            let mut endpoint = Endpoint::new("pub", vec!["s".to_owned()]);
            endpoint.grants.roots = Some(Roots::Fixed(vec!["file:///srv".into()]));
            config.endpoints.push(endpoint);
        };
        let proxy = proxy().server("s", greedy.into()).config(limit).start().await;
        let answer = proxy.modern().connect("pub").await.call("t", json!({})).await;
        assert_eq!(answer.reason(), Some("server_misbehaved"), "{}", answer.raw);
        assert_eq!(proxy.got("s", "tools/call").len(), 4);
    });
}
