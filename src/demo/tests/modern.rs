//! The modern server.

use serde_json::{Value, json};

use super::{Client, options, text, with_modern};

async fn with(capabilities: Value, script: impl AsyncFnOnce(&mut Client)) {
    with_modern(capabilities, script).await.unwrap();
}

/// Calls a tool with answers to what it asked, if anything; gives the result.
async fn round(client: &mut Client, tool: &str, arguments: Value, asked: Option<(&Value, Value)>) -> Value {
    let mut params = json!({ "name": tool, "arguments": arguments });
    if let Some((asked, answers)) = asked {
        params["requestState"] = asked["result"]["requestState"].clone();
        params["inputResponses"] = answers;
    }
    client.request("tools/call", params).await
}

#[tokio::test]
async fn every_request_says_its_revision() {
    with(json!({}), async |client| {
        let discover = client.request("server/discover", json!({})).await["result"].take();
        assert_eq!(discover["supportedVersions"], json!(["2026-07-28"]));
        let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": {} });
        let refused = client.request("initialize", hello).await["error"].take();
        assert_eq!(refused["data"], json!({ "supported": ["2026-07-28"], "requested": "2025-11-25" }));
        client.meta = Some(json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28" }));
        assert_eq!(client.request("tools/list", json!({})).await["error"]["code"], -32602);
        let other = json!({ "io.modelcontextprotocol/protocolVersion": "2027-01-01", "io.modelcontextprotocol/clientCapabilities": {} });
        client.meta = Some(other);
        assert_eq!(client.request("tools/list", json!({})).await["error"]["code"], -32022);
    })
    .await;
}

#[tokio::test]
async fn a_retry_with_the_answers_completes_the_call() {
    with(json!({ "sampling": {}, "elicitation": { "form": {} } }), async |client| {
        let asked = round(client, "ask_two", json!({}), None).await;
        assert_eq!(asked["result"]["resultType"], "input_required");
        assert_eq!(asked["result"]["inputRequests"]["ask-1"]["method"], "elicitation/create");
        let asked = round(client, "ask_two", json!({}), Some((&asked, json!({ "ask-1": { "b": 1.0 } })))).await;
        let open: Vec<_> = asked["result"]["inputRequests"].as_object().unwrap().keys().collect();
        assert_eq!(open, ["ask-0"], "what is missing is asked again");
        let done = round(client, "ask_two", json!({}), Some((&asked, json!({ "ask-0": { "a": 1 } })))).await;
        assert_eq!(text(&done), r#"[{"a":1},{"b":1.0}]"#);
        assert_eq!(client.call("ask_roots", json!({})).await["error"]["code"], -32021);
    })
    .await;
}

#[tokio::test]
async fn rounds_follow_each_other() {
    with(json!({ "roots": {} }), async |client| {
        let arguments = json!({ "n": 3, "kind": "roots" });
        let mut said = round(client, "ask_rounds", arguments.clone(), None).await;
        for n in 0..3 {
            let answers = json!({ format!("ask-{n}"): { "n": n } });
            said = round(client, "ask_rounds", arguments.clone(), Some((&said, answers))).await;
        }
        assert_eq!(text(&said), r#"[{"n":0},{"n":1},{"n":2}]"#);
    })
    .await;
}

#[tokio::test]
async fn a_state_is_good_for_its_call_and_its_process_only() {
    let capabilities = json!({ "roots": {} });
    let mut asked = Value::Null;
    with(capabilities.clone(), async |client| {
        asked = round(client, "ask_rounds", json!({ "n": 1, "kind": "roots" }), None).await;
        let other = round(client, "ask_rounds", json!({ "n": 2, "kind": "roots" }), Some((&asked, json!({})))).await;
        assert_eq!(other["error"]["code"], -32602);
    })
    .await;
    with(capabilities, async |client| {
        asked["result"]["requestState"] = json!(format!("0{}", asked["result"]["requestState"].as_str().unwrap()));
        let forged = round(client, "ask_rounds", json!({ "n": 1, "kind": "roots" }), Some((&asked, json!({})))).await;
        assert_eq!(forged["error"]["code"], -32602);
    })
    .await;
    let seal = |seed| super::super::seal::Seal::new(&mut fastrand::Rng::with_seed(seed));
    let state = seal(options().seed).close("x", &Default::default());
    assert!(seal(options().seed).open("x", &state).is_ok());
    assert!(seal(options().seed + 1).open("x", &state).is_err());
}

#[tokio::test]
async fn streams_hear_what_they_asked_for_under_their_id() {
    with(json!({}), async |client| {
        let filter = json!({ "toolsListChanged": true, "promptsListChanged": false, "resourceSubscriptions": ["demo://note/1"] });
        let id = client.start("subscriptions/listen", json!({ "notifications": filter })).await;
        let first = client.read().await;
        assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
        let agreed = json!({ "toolsListChanged": true, "resourceSubscriptions": ["demo://note/1"] });
        assert_eq!(first["params"]["notifications"], agreed);
        client.start("tools/call", json!({ "name": "change_lists" })).await;
        client.start("tools/call", json!({ "name": "touch", "arguments": { "uri": "demo://note/2" } })).await;
        client.start("tools/call", json!({ "name": "touch", "arguments": { "uri": "demo://note/1" } })).await;
        let mut heard = Vec::new();
        for _ in 0..5 {
            let message = client.read().await;
            if let Some(method) = message["method"].as_str() {
                assert_eq!(message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], id);
                heard.push(method.to_owned());
            }
        }
        assert_eq!(heard, ["notifications/tools/list_changed", "notifications/resources/updated"]);
        client.notify("notifications/cancelled", json!({ "requestId": id })).await;
        assert_eq!(client.text("touch", json!({ "uri": "demo://note/1" })).await, "touched demo://note/1");
    })
    .await;
}

#[tokio::test]
async fn log_lines_are_for_the_request_that_wants_them() {
    with(json!({}), async |client| {
        client.text("log", json!({ "level": "emergency" })).await;
        let meta = json!({ "io.modelcontextprotocol/logLevel": "error" });
        let log = |level| json!({ "name": "log", "arguments": { "level": level }, "_meta": meta });
        client.request("tools/call", log("warning")).await;
        client.start("tools/call", log("error")).await;
        assert_eq!(client.read().await["method"], "notifications/message");
        client.read().await;
        let loud = json!({ "_meta": { "io.modelcontextprotocol/logLevel": "loud" } });
        assert_eq!(client.request("tools/list", loud).await["error"]["code"], -32602);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_call_becomes_a_task_for_a_client_that_takes_tasks() {
    with(json!({ "extensions": { "io.modelcontextprotocol/tasks": {} } }), async |client| {
        let created = client.call("slow", json!({ "ms": 5000, "task": true })).await["result"].take();
        assert_eq!((&created["resultType"], &created["status"]), (&json!("task"), &json!("working")));
        let filter = json!({ "taskIds": [created["taskId"]] });
        client.start("subscriptions/listen", json!({ "notifications": filter })).await;
        client.read().await;
        let changed = client.read().await;
        assert_eq!(changed["method"], "notifications/tasks");
        let task = client.request("tasks/get", json!({ "taskId": created["taskId"] })).await;
        assert_eq!(
            (&task["result"]["status"], &task["result"]["resultType"]),
            (&json!("completed"), &json!("complete"))
        );
        assert_eq!(text(&task["result"]), text(&changed["params"]));
    })
    .await;
    with(json!({}), async |client| {
        assert_eq!(client.text("slow", json!({ "ms": 5000, "task": true })).await, "slept 5000 ms in 1 steps");
    })
    .await;
}
