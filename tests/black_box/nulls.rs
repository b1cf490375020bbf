//! `null` stands for what is left out, in both directions: serialisers of Rust, Java, C#, PHP and Go write it so.

use serde_json::{Value, json};

use crate::support::{Behaviour, Caller, Proxy, Say, elicitation, legacy, modern, play, proxy, script, settled};

const REVISION: &str = "2025-06-18";

async fn open(proxy: &Proxy, endpoint: &str, params: Value) -> Caller {
    let caller = proxy.dial(endpoint);
    caller.ask("initialize", params).await.result();
    caller
}

fn opening(capabilities: Value, info: Value) -> Value {
    json!({"protocolVersion": REVISION, "capabilities": capabilities, "clientInfo": info, "_meta": null})
}

#[test]
fn an_editor_that_writes_params_null_is_served() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        for endpoint in ["echo", "all"] {
            let caller = open(&proxy, endpoint, opening(json!({}), json!({"name": "zed", "version": "1"}))).await;
            caller.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized","params":null}"#);
            caller.ask("tools/list", json!({})).await.result();
        }
    });
}

#[test]
fn requests_may_have_null_for_whatever_they_leave_out() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        for (endpoint, tool) in [("echo", "echo"), ("all", "echo__echo")] {
            let caller = proxy.legacy(REVISION).connect(endpoint).await;
            for (method, params) in [
                ("tools/list", json!(null)),
                ("prompts/list", json!({"cursor": null})),
                ("resources/list", json!({"_meta": null, "cursor": null})),
                ("ping", json!(null)),
                ("tools/call", json!({"name": tool, "arguments": null})),
                ("tools/call", json!({"name": tool, "arguments": {}, "_meta": null, "task": null})),
                ("tools/call", json!({"name": tool, "arguments": {}, "_meta": {"progressToken": null}})),
                ("tools/call", json!({"name": tool, "requestState": null, "inputResponses": null})),
                ("logging/setLevel", json!({"level": "info", "_meta": null})),
            ] {
                let request = json!({"jsonrpc": "2.0", "id": 50, "method": method, "params": params, "error": null, "result": null});
                caller.send(&request.to_string());
                let answer = caller.line().await;
                assert_eq!(answer.value["id"], 50);
                answer.result();
            }
        }
    });
}

#[test]
fn notifications_may_have_null_for_whatever_they_leave_out() {
    play(async {
        let proxy = proxy().server("s", script().on("x", |it, say| say.result(it, json!({}))).into()).start().await;
        let caller = proxy.legacy(REVISION).connect("s").await;
        caller.ask("x", json!({})).await.result();
        for line in [
            r#"{"jsonrpc":"2.0","id":null,"method":"notifications/cancelled","params":null}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"notifications/cancelled","params":{"requestId":null,"reason":null}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed","params":null,"error":null}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":null,"progress":1}}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"notifications/vendor","params":null,"result":null}"#,
        ] {
            caller.send(line);
        }
        caller.hears_nothing().await;
        assert_eq!(proxy.got("s", "notifications/vendor").len(), 1);
        caller.ask("x", json!({})).await.result();
    });
}

#[test]
fn a_server_is_told_nothing_for_params_that_are_null() {
    play(async {
        let server = script().on("x", |it, say| say.result(it, json!({})));
        let proxy = proxy().server("s", server.into()).start().await;
        let caller = proxy.legacy(REVISION).connect("s").await;
        caller.send(r#"{"params":null,"jsonrpc":"2.0","id":"a","method":"x","extra":null}"#);
        caller.line().await.result();
        caller.send(r#"{"jsonrpc":"2.0","id":null,"method":"notifications/z","params" : null }"#);
        settled().await;
        let lines = proxy.process("s", 0).lines();
        let request = lines.iter().find(|line| line.contains(r#""method":"x""#)).expect("a request");
        assert!(
            request.starts_with(r#"{"jsonrpc":"2.0","id":"#) && request.ends_with(r#","extra":null}"#),
            "{request}"
        );
        assert!(lines.contains(&r#"{"jsonrpc":"2.0","method":"notifications/z" }"#.to_owned()), "{lines:?}");
        caller.send(r#"{"jsonrpc":"2.0","id":"b","method":"x","params":{"name":"n","arguments":null,"cursor":null,"_meta":{"progressToken":null,"k":null}}}"#);
        caller.line().await.result();
        let last = proxy.got("s", "x").pop().expect("a request");
        assert_eq!(last["params"], json!({"name": "n", "_meta": {"k": null}}));
    });
}

#[test]
fn an_answer_has_the_outcome_that_is_not_null() {
    play(async {
        let java = script()
            .on("initialize", |it, say| {
                let result = json!({
                    "protocolVersion": it.value["params"]["protocolVersion"],
                    "capabilities": {"tools": {"listChanged": null}, "logging": null, "resources": null, "experimental": {"x": null}},
                    "serverInfo": {"name": "java", "version": "1", "title": null},
                    "instructions": null,
                    "_meta": null,
                });
                say.line(&json!({"jsonrpc": "2.0", "id": it.id(), "result": result, "error": null}).to_string());
            })
            .on("tools/list", |it, say| {
                let result = json!({"tools": null, "nextCursor": null, "_meta": null, "ttlMs": null});
                say.line(&json!({"jsonrpc": "2.0", "id": it.id(), "result": result, "error": null}).to_string());
            })
            .on("tools/call", |it, say| match it.value["params"]["name"].as_str() {
                Some("good") => {
                    let result = json!({"content": [{"type": "text", "text": "fine"}], "structuredContent": null, "isError": null});
                    say.line(&json!({"jsonrpc": "2.0", "id": it.id(), "result": result, "error": null}).to_string());
                }
                _ => say.line(
                    &json!({"jsonrpc": "2.0", "id": it.id(), "result": null, "error": {"code": -32050, "message": "no luck", "data": null}}).to_string(),
                ),
            });
        let proxy = proxy().server("java", java.into()).start().await;
        let caller = proxy.legacy(REVISION).connect("java").await;
        assert_eq!(
            caller.introduction["capabilities"],
            json!({"tools": {}, "experimental": {}}),
            "what is null is not offered"
        );
        assert_eq!(caller.introduction["serverInfo"], json!({"name": "java", "version": "1"}));
        assert_eq!(*caller.ask("tools/list", json!({})).await.result(), json!({"tools": []}));
        let good = caller.call("good", json!({})).await;
        assert_eq!(good.text(), "fine");
        assert!(good.value.get("error").is_none(), "{}", good.raw);
        let bad = caller.call("bad", json!({})).await;
        assert_eq!((bad.code(), bad.reason()), (-32050, None));
        assert!(bad.value.get("result").is_none(), "{}", bad.raw);
    });
}

#[test]
fn capabilities_that_are_null_are_not_declared() {
    play(async {
        let proxy = proxy().server("old", legacy(|_| {})).server("new", modern(|_| {})).start().await;
        let info = json!({"name": "kotlin", "version": "1", "title": null, "icons": null});
        let nulls = json!({"roots": null, "sampling": null, "elicitation": null, "experimental": null, "tasks": null});
        for (endpoint, capabilities, info) in [
            ("old", nulls.clone(), info.clone()),
            ("old", json!(null), json!(null)),
            ("new", nulls, info),
            ("new", json!({}), json!(null)),
            ("new", json!({}), json!({"name": null, "version": null})),
        ] {
            let caller = open(&proxy, endpoint, opening(capabilities, info)).await;
            caller.notify("notifications/initialized", json!(null));
            caller.call("echo", json!({})).await.result();
        }
        assert_eq!(proxy.started("old"), 1, "those are equal profiles");
        assert!(proxy.got("new", "tools/call").iter().all(|call| {
            let info = &call["params"]["_meta"]["io.modelcontextprotocol/clientInfo"];
            info["name"].is_string() && info["version"].is_string() && info.get("title").is_none()
        }));
    });
}

#[test]
fn a_caller_s_answer_has_the_outcome_that_is_not_null() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).with(crate::support::sampling()).connect("echo").await;
        let sample = json!({"role": "assistant", "content": {"type": "text", "text": "well"}, "model": "m"});
        for (result, error, text) in
            [(sample, Value::Null, "well"), (Value::Null, json!({"code": -1, "message": "said no"}), "said no")]
        {
            let call = caller.begin("ask_sampling", json!({"prompt": "?"}));
            let ask = caller.asked("sampling/createMessage").await;
            caller.send(
                &json!({"jsonrpc": "2.0", "id": ask.request["id"], "method": null, "params": null, "result": result, "error": error})
                    .to_string(),
            );
            assert!(call.answer().await.text().contains(text));
        }
    });
}

#[test]
fn a_modern_server_may_write_null_too() {
    play(async {
        let nulls = crate::support::modern_script()
            .on("tools/list", |it, say| {
                say.result(it, json!({"tools": [{"name": "x", "inputSchema": {"type": "object"}, "outputSchema": null}], "nextCursor": null, "ttlMs": null, "cacheScope": null, "resultType": "complete"}));
            })
            .on("tools/call", |it, say| {
                let result = json!({"content": [{"type": "text", "text": "fine"}], "structuredContent": null, "_meta": null, "resultType": "complete", "requestState": null, "inputRequests": null});
                say.line(&json!({"jsonrpc": "2.0", "id": it.id(), "result": result, "error": null}).to_string());
            });
        let proxy = proxy().server("s", nulls.into()).start().await;
        let caller = proxy.legacy(REVISION).connect("s").await;
        assert_eq!(caller.ask("tools/list", json!({})).await.names(), ["x"]);
        let answer = caller.call("x", json!({})).await;
        assert_eq!(answer.text(), "fine");
        assert_eq!(answer.result().get("structuredContent"), None);
    });
}

#[test]
fn a_request_whose_id_is_null_is_no_notification() {
    play(async {
        let proxy =
            proxy().server("s", script().on("tools/call", |_, _| panic!("it was passed on")).into()).start().await;
        let caller = proxy.legacy(REVISION).connect("s").await;
        caller.send(r#"{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{"name":"x"}}"#);
        let refused = caller.line().await;
        assert_eq!((refused.code(), &refused.value["id"]), (-32600, &Value::Null));
        // Nobody can wait for it under another id, and other calls are not lost with it.
        assert_eq!(*caller.ask("ping", json!({})).await.result(), json!({}));
    });
}

/// What a server says of its own accord during a call, in which some members are `null`.
fn talkative(says: fn(&Say)) -> Behaviour {
    let server = script().capable(json!({"tools": {}, "resources": {"subscribe": true}}));
    let server = server
        .on("resources/list", |it, say| say.result(it, json!({"resources": [{"uri": "x://r", "name": "r"}]})))
        .on("resources/templates/list", |it, say| say.result(it, json!({"resourceTemplates": []})))
        .on("resources/subscribe", |it, say| say.result(it, json!({})))
        .on("tools/call", move |it, say| {
            says(say);
            say.text(it, "said");
        });
    server.into()
}

#[test]
fn a_question_under_one_roof_may_have_null_beside_what_is_changed_in_it() {
    play(async {
        let server = talkative(|say| {
            for (id, nulls) in [
                ("a", json!({"_meta": null})),
                ("b", json!({"_meta": {"progressToken": null}, "task": null})),
                ("c", json!({"mode": null, "cursor": null, "_meta": {"progressToken": null, "k": 1}})),
            ] {
                let mut params = json!({"message": "?", "requestedSchema": {"type": "object", "properties": {}}});
                params.as_object_mut().expect("an object").extend(nulls.as_object().cloned().expect("an object"));
                say.ask(id, "elicitation/create", params);
            }
        });
        let proxy = proxy().server("s", server).server("other", legacy(|_| {})).start().await;
        let caller = proxy.legacy("2025-11-25").with(elicitation()).connect("all").await;
        let call = caller.begin("s__x", json!({}));
        for _ in 0..3 {
            let asked = caller.asked("elicitation/create").await;
            assert_eq!(asked.request["params"]["message"], "[s] ?");
            asked.answer(json!({"action": "cancel"}));
        }
        assert_eq!(call.answer().await.text(), "said");
    });
}

#[test]
fn an_update_may_have_null_where_a_listener_has_its_tag_put_in() {
    play(async {
        let server = talkative(|say| {
            for nulls in [
                r#""_meta":null,"uri":"x://r""#,
                r#""uri":"x://r","_meta":null"#,
                r#""cursor":null,"uri":"x://r""#,
                r#""name":null,"_meta":{"progressToken":null},"uri":"x://r""#,
                r#""_meta":{"progressToken":null,"k":1},"uri":"x://r""#,
            ] {
                say.line(&format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{{nulls}}}}}"#
                ));
            }
        });
        let proxy = proxy().server("s", server).start().await;
        let caller = proxy.modern().connect("s").await;
        let _listening =
            caller.request("subscriptions/listen", json!({"notifications": {"resourceSubscriptions": ["x://r"]}}));
        caller.heard("notifications/subscriptions/acknowledged").await;
        assert_eq!(caller.call("x", json!({})).await.text(), "said");
        for _ in 0..5 {
            let update = caller.heard("notifications/resources/updated").await;
            assert_eq!(update["params"]["uri"], "x://r");
            assert!(!update["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"].is_null(), "{update}");
        }
    });
}
