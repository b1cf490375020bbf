//! A line means the same to mcpool and to every peer: what could be read in two ways passes in neither direction.

use serde_json::{Value, json};

use crate::support::{Proxy, everything, legacy, modern, play, proxy, sampling, script, settled};

const REVISION: &str = "2025-11-25";
const WITH_BATCHES: &str = "2025-03-26";

/// A call of `safe` that holds a whole message between two carriage returns.
fn smuggling(inner: &Value) -> String {
    format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/call\",\"params\":{{\"name\":\"safe\",\"arguments\":{{\"x\":[\r{inner}\r]}}}}}}"
    )
}

/// A server that answers each call with its own id, and what it got.
async fn naming() -> Proxy {
    let naming = script()
        .on("tools/list", |it, say| say.result(it, json!({"tools": []})))
        .on("tools/call", |it, say| say.text(it, &format!("{} {}", it.value["params"]["name"], it.id())))
        .on("vendor/x", |it, say| say.result(it, json!({})));
    proxy().server("s", naming.into()).start().await
}

/// No line that a server got ends anywhere but at its end.
fn all_lines_are_one(proxy: &Proxy, server: &str) {
    for number in 0..proxy.started(server) {
        let lines = proxy.process(server, number).lines();
        assert!(lines.iter().all(|line| !line.contains('\r')), "{lines:?}");
    }
}

#[test]
fn a_message_between_carriage_returns_reaches_no_server() {
    play(async {
        let proxy = naming().await;
        let victim = proxy.legacy(REVISION).connect("s").await;
        let attacker = proxy.legacy(REVISION).connect("s").await;
        victim.call("safe", json!({})).await;
        let calls = proxy.got("s", "tools/call").len();
        // Another tool, the call of another caller, and the answer to another caller's question.
        for inner in [
            json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "danger"}}),
            json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}}),
            json!({"jsonrpc": "2.0", "id": "q", "result": {"action": "accept"}}),
        ] {
            attacker.send(&smuggling(&inner));
            let answer = attacker.line().await;
            assert_eq!((answer.code(), &answer.value["id"]), (-32700, &json!(7)), "{}", answer.raw);
            assert!(answer.message().contains("bare CR"), "{}", answer.raw);
        }
        settled().await;
        assert_eq!(proxy.got("s", "tools/call").len(), calls);
        assert!(attacker.call("safe", json!({})).await.text().starts_with("\"safe\""), "the connection stays");
        victim.hears_nothing().await;
        all_lines_are_one(&proxy, "s");
    });
}

#[test]
fn a_carriage_return_passes_nowhere_but_at_the_end_of_a_line() {
    play(async {
        for line in [
            "\r{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"ping\"}",
            "{\"jsonrpc\":\"2.0\",\r\"id\":7,\"method\":\"ping\"}",
            "{\"jsonrpc\":\"2.0\",\"id\":7\r,\"method\":\"ping\"}",
            "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"ping\"}\r\r",
            "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"ping\"}\r{\"jsonrpc\":\"2.0\",\"id\":8,\"method\":\"ping\"}",
            "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/call\",\"params\":{\"name\":\"a\rb\"}}",
            "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/call\",\"params\":{\"_meta\":{\r}}}",
        ] {
            let proxy = naming().await;
            let caller = proxy.legacy(REVISION).connect("s").await;
            caller.send(line);
            let answer = caller.line().await;
            assert_eq!((answer.code(), &answer.value["id"]), (-32700, &json!(7)), "{line:?}");
            caller.send_bytes(b"\r\n\n  \r\n{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"ping\"}\r\n");
            assert_eq!(*caller.line().await.result(), json!({}));
        }
    });
}

#[test]
fn what_is_embedded_raw_holds_no_carriage_return() {
    play(async {
        // What a caller says of itself.
        let proxy = proxy().server("new", modern(|_| {})).server("old", legacy(|_| {})).start().await;
        let caller = proxy.dial("new");
        caller.send("{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-11-25\",\"capabilities\":{},\"clientInfo\":{\"name\":\"a\",\r\"version\":\"1\"}}}");
        assert_eq!(caller.line().await.code(), -32700);

        // The elements of a batch.
        let caller = proxy.legacy(WITH_BATCHES).connect("old").await;
        caller.send("[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"vendor/x\"},\r{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"vendor/x\"}]");
        let refused = [caller.line().await, caller.line().await];
        assert_eq!(
            refused.each_ref().map(|answer| (answer.code(), answer.value["id"].clone())),
            [(-32700, json!(1)), (-32700, json!(2))]
        );

        // Answers of modern callers to what they were asked, and their capabilities.
        let caller = proxy.dial("old");
        let meta = "{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",\"io.modelcontextprotocol/clientCapabilities\":{}}";
        caller.send(&format!("{{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"tools/call\",\"params\":{{\"_meta\":{meta},\"name\":\"x\",\"inputResponses\":{{\"a\":{{\r}}}}}}}}"));
        assert_eq!(caller.line().await.code(), -32700);
        assert_eq!(proxy.got("new", "tools/call").len() + proxy.got("old", "tools/call").len(), 0);
    });
}

#[test]
fn roots_and_answers_with_a_carriage_return_are_told_to_no_server() {
    play(async {
        let asking = script()
            .on("tools/list", |it, say| say.result(it, json!({"tools": []})))
            .on("tools/call", |it, say| {
                say.ask(&format!("q{}", it.id()), "sampling/createMessage", json!({"messages": [], "maxTokens": 1}));
            })
            .on("", |it, say| {
                let call = it.id().as_str().unwrap_or_default().trim_start_matches('q').to_owned();
                let text = it.value["error"]["message"].to_string();
                say.line(&format!(
                    r#"{{"jsonrpc":"2.0","id":{call},"result":{{"content":[{{"type":"text","text":{text}}}]}}}}"#
                ));
            });
        let proxy = proxy().server("s", asking.into()).start().await;
        let caller = proxy.legacy(REVISION).with(sampling()).connect("s").await;
        let call = caller.begin("x", json!({}));
        let ask = caller.asked("sampling/createMessage").await;
        caller.send(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{{\r}}}}", ask.request["id"]));
        let told = call.answer().await;
        assert!(told.text().contains("unusable") && told.text().contains("bare CR"), "{}", told.raw);
        all_lines_are_one(&proxy, "s");

        let files = proxy_with_roots().await;
        let caller = files.legacy(REVISION).with(everything()).connect("files").await;
        let call = caller.begin("whoami", json!({}));
        let ask = caller.asked("roots/list").await;
        caller.send(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{{\"roots\":[\r]}}}}", ask.request["id"]));
        call.answer().await.result();
        all_lines_are_one(&files, "files");
    });
}

async fn proxy_with_roots() -> Proxy {
    proxy().server("files", legacy(|options| options.ask_roots = true)).start().await
}

#[test]
fn a_message_between_carriage_returns_in_an_answer_costs_that_call_and_reaches_nobody() {
    play(async {
        let evil =
            script().on("tools/list", |it, say| say.result(it, json!({"tools": []}))).on("tools/call", |it, say| {
                let forged = r#"{"jsonrpc":"2.0","id":100,"result":{"content":[]}}"#;
                say.line(
                    r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":[CR]}}"#
                        .replace("CR", "\r")
                        .as_str(),
                );
                say.line(&format!(
                    "{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{{\"content\":[\r{forged}\r]}}}}",
                    it.id()
                ));
            });
        let proxy = proxy().server("evil", evil.into()).server("good", legacy(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).connect("all").await;
        let good = caller.request_as(json!(100), "tools/call", json!({"name": "good__slow", "arguments": {"ms": 500}}));
        let answer = caller.call("evil__x", json!({})).await;
        assert_eq!((answer.code(), answer.reason()), (502, Some("server_misbehaved")));
        assert!(answer.message().contains("bare CR"), "{}", answer.raw);
        assert_eq!(good.answer().await.text(), "slept 500 ms in 1 steps");
        assert!(proxy.dropped("malformed") >= 2);
        caller.hears_nothing().await;
    });
}

#[test]
fn a_server_that_ends_its_lines_as_windows_does_is_understood() {
    play(async {
        let windows =
            script().on("tools/list", |it, say| say.result(it, json!({"tools": []}))).on("tools/call", |it, say| {
                let result = r#"{"content":[{"type":"text","text":"fine"}]}"#;
                say.bytes(format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{result}}}\r\n", it.id()).into_bytes());
            });
        let proxy = proxy().server("s", windows.into()).start().await;
        for revision in [REVISION, WITH_BATCHES] {
            let caller = proxy.legacy(revision).connect("s").await;
            let answer = caller.call("x", json!({})).await;
            assert_eq!(answer.text(), "fine");
            assert!(!answer.raw.contains('\r'), "{:?}", answer.raw);
        }
    });
}

#[test]
fn members_that_stand_twice_or_differ_in_capital_letters_only_reach_no_server() {
    play(async {
        let proxy = naming().await;
        let caller = proxy.legacy(REVISION).connect("s").await;
        caller.call("safe", json!({})).await;
        let lines = proxy.process("s", 0).lines().len();
        for (line, code) in [
            (r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"safe","Name":"danger"}}"#, -32602),
            (r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"NAME":"danger"}}"#, -32602),
            (r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"safe","n\u0041me":"danger"}}"#, -32602),
            (r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"safe","name":"danger"}}"#, -32602),
            (r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":null,"name":"danger"}}"#, -32602),
            (r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"safe","tas\u212a":{}}}"#, -32602),
            (
                r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"safe","arguments":{},"arguments":{"a":1}}}"#,
                -32602,
            ),
            (
                r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"safe","arguments":{},"Arguments":{}}}"#,
                -32602,
            ),
            // Who looks at the method alone would cancel another's call, or carry this one out.
            (r#"{"jsonrpc":"2.0","id":7,"method":"notifications/cancelled","params":{"requestId":1}}"#, -32600),
            (
                r#"{"jsonrpc":"2.0","id":7,"method":"x","params":{"_meta":{"progressToken":1,"progresstoken":2}}}"#,
                -32602,
            ),
            (r#"{"jsonrpc":"2.0","id":7,"method":"x","params":{"_meta":{},"_Meta":{}}}"#, -32602),
            (
                r#"{"jsonrpc":"2.0","id":7,"method":"vendor/x","Method":"tools/call","params":{"name":"danger"}}"#,
                -32600,
            ),
            (r#"{"jsonrpc":"2.0","id":7,"Id":4,"method":"tools/call","params":{"name":"safe"}}"#, -32600),
            (r#"{"jsonrpc":"2.0","ID":4,"id":7,"method":"tools/call","params":{"name":"safe"}}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":7,"method":"vendor/x","Param\u017f":{"name":"danger"},"params":{}}"#, -32600),
            // What is double inside does not hide what is double outside.
            (
                r#"{"jsonrpc":"2.0","id":7,"method":"vendor/x","method":"tools/call","params":{"name":"a","name":"b"}}"#,
                -32600,
            ),
            (r#"{"params":{"uri":"a","uri":"b"},"jsonrpc":"2.0","id":7,"id":8,"method":"vendor/x"}"#, -32600),
        ] {
            caller.send(line);
            let answer = caller.line().await;
            assert_eq!((answer.code(), &answer.value["id"]), (code, &json!(7)), "{line}");
        }
        for method in ["tools/call", "tasks/cancel", "initialize", "logging/setLevel", "completion/complete"] {
            caller.notify(method, json!({"name": "safe", "taskId": "a", "level": "debug"}));
        }
        settled().await;
        assert_eq!((proxy.process("s", 0).lines().len(), proxy.dropped("ambiguous")), (lines, 5));
        // What nobody acts on is the peers' affair.
        caller.send(r#"{"jsonrpc":"2.0","id":7,"method":"vendor/x","params":{"arguments":{"name":1,"Name":2},"x":1,"X":2,"x":3}}"#);
        caller.line().await.result();
    });
}

#[test]
fn notifications_that_could_be_read_in_two_ways_are_dropped_and_counted() {
    play(async {
        let telling = script()
            .on("tools/list", |it, say| say.result(it, json!({"tools": []})))
            .on("tools/call", |it, say| {
                let token = it.token();
                say.line(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progresstoken":9,"progress":1}}}}"#));
                say.line(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":7,"progressToken":{token},"progress":1}}}}"#));
                say.line(r#"{"jsonrpc":"2.0","method":"notifications/message","Method":"x","params":{"level":"info","data":1}}"#);
                say.text(it, "done");
            });
        let proxy = proxy().server("s", telling.into()).start().await;
        let caller = proxy.legacy(REVISION).connect("s").await;
        assert_eq!(caller.begin_telling(json!("t"), "x", json!({})).answer().await.text(), "done");
        caller.hears_nothing().await;
        assert_eq!((proxy.dropped("ambiguous"), proxy.dropped("malformed")), (2, 1));

        let lines = proxy.process("s", 0).lines().len();
        for line in [
            r#"{"jsonrpc":"2.0","method":"notifications/x","params":{"name":1,"Name":2}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"requestId":2}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/x","METHOD":"tools/call"}"#,
        ] {
            caller.send(line);
        }
        caller.hears_nothing().await;
        assert_eq!(proxy.process("s", 0).lines().len(), lines);
        assert_eq!((proxy.dropped("ambiguous"), proxy.dropped("malformed")), (4, 2));
    });
}

#[test]
fn answers_and_questions_that_could_be_read_in_two_ways_are_refused() {
    play(async {
        let odd = script()
            .on("tools/list", |it, say| say.result(it, json!({"tools": []})))
            .on("tools/call", |it, say| {
                let id = it.id();
                match it.value["params"]["name"].as_str() {
                    Some("id") => say.line(&format!(r#"{{"jsonrpc":"2.0","id":{id},"Id":99,"result":{{}}}}"#)),
                    Some("result") => say.line(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}},"Result":{{}}}}"#)),
                    Some("type") => say.line(&format!(
                        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","ResultType":"task"}}}}"#
                    )),
                    Some("code") => say.line(&format!(
                        r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":1,"message":"x","Code":2}}}}"#
                    )),
                    _ => {
                        say.line(r#"{"jsonrpc":"2.0","id":"q","method":"sampling/createMessage","params":{"_meta":{"progressToken":1},"_META":{}}}"#);
                    }
                }
            })
            .on("", |it, say| {
                assert_eq!((it.id(), &it.value["error"]["code"]), (&json!("q"), &json!(-32602)));
                say.notify("notifications/message", json!({"level": "info", "data": "refused"}));
            });
        let proxy = proxy().server("s", odd.into()).start().await;
        let caller = proxy.legacy(REVISION).with(sampling()).connect("s").await;
        for name in ["id", "result", "type", "code"] {
            let answer = caller.call(name, json!({})).await;
            assert_eq!((answer.code(), answer.reason()), (502, Some("server_misbehaved")), "{name}: {}", answer.raw);
        }
        let _asking = caller.begin("ask", json!({}));
        assert_eq!(caller.heard("notifications/message").await["params"]["data"], "refused");
    });
}
