//! The legacy server.

use serde_json::{Value, json};

use super::super::Options;
use super::{Client, options, text, with_legacy};

async fn with(capabilities: Value, script: impl AsyncFnOnce(&mut Client)) {
    let revision = "2025-11-25";
    with_legacy(options(), async |client| {
        client.request("initialize", json!({ "protocolVersion": revision, "capabilities": capabilities })).await;
        script(client).await;
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn each_revision_is_spoken_and_the_newest_is_offered_to_others() {
    for revision in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"] {
        with_legacy(options(), async |client| {
            let hello = json!({ "protocolVersion": revision, "capabilities": {} });
            let answer = client.request("initialize", hello).await;
            let agreed = answer["result"]["protocolVersion"].as_str().unwrap();
            assert_eq!(agreed, revision.min("2025-11-25"));
            let echo = client.call("echo", json!({})).await;
            assert_eq!(echo["result"].get("structuredContent").is_some(), agreed >= "2025-06-18");
            let list = client.request("tools/list", json!({})).await;
            assert_eq!(list["result"]["tools"][0].get("annotations").is_some(), agreed >= "2025-03-26");
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn nothing_but_ping_is_served_before_initialize() {
    with_legacy(options(), async |client| {
        assert_eq!(client.request("tools/list", json!({})).await["error"]["code"], -32600);
        assert_eq!(client.request("server/discover", json!({})).await["error"]["code"], -32601);
        assert_eq!(client.request("ping", json!({})).await["result"], json!({}));
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn echo_gives_back_every_byte() {
    with(json!({}), async |client| {
        let arguments = r#"{ "z":1.0,"z":1e400, "n":123456789012345678901234567890,"s":"\ud800\/" }"#;
        let params = format!(r#"{{"name":"echo","arguments":{arguments}}}"#);
        client.write(&format!(r#"{{"params":{params},"jsonrpc":"2.0","id":"\u0022","method":"tools/call"}}"#)).await;
        let line = client.read_line().await;
        assert!(line.contains(&format!(r#""structuredContent":{arguments}"#)), "{line}");
        assert!(line.contains(r#""id":"\u0022""#), "{line}");
        let as_text = serde_json::to_string(arguments).unwrap();
        assert!(line.contains(&format!(r#""text":{as_text}"#)), "{line}");
    })
    .await;
}

#[tokio::test]
async fn lists_come_in_pages() {
    let options = Options { page: 7, ..options() };
    with_legacy(options, async |client| {
        client.request("initialize", json!({ "protocolVersion": "2025-06-18", "capabilities": {} })).await;
        let (mut names, mut params) = (Vec::new(), json!({}));
        loop {
            let page = client.request("tools/list", params).await["result"].take();
            let tools = page["tools"].as_array().unwrap();
            assert!(tools.len() <= 7);
            names.extend(tools.iter().map(|tool| tool["name"].clone()));
            let Some(cursor) = page.get("nextCursor") else { break };
            params = json!({ "cursor": cursor });
        }
        assert_eq!((names.len(), &names[0], &names[18]), (19, &json!("echo"), &json!("die")));
        assert_eq!(client.request("tools/list", json!({ "cursor": "?" })).await["error"]["code"], -32602);
    })
    .await
    .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_tells_its_progress_and_can_be_cancelled() {
    with(json!({}), async |client| {
        let slow = json!({ "name": "slow", "arguments": { "ms": 1000, "steps": 2 }, "_meta": { "progressToken": 0 } });
        let id = client.start("tools/call", slow.clone()).await;
        for step in 1..=2 {
            let progress = client.read().await["params"].take();
            assert_eq!((&progress["progressToken"], &progress["progress"]), (&json!(0), &json!(step)));
        }
        assert_eq!(client.read().await["id"], id);
        let id = client.start("tools/call", slow).await;
        client.read().await;
        client.notify("notifications/cancelled", json!({ "requestId": id })).await;
        assert!(client.is_silent().await);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn asks_go_out_together_and_are_withdrawn_with_their_call() {
    with(json!({ "sampling": {}, "elicitation": {} }), async |client| {
        let ask = json!({ "name": "ask_two", "arguments": {} });
        let id = client.start("tools/call", ask.clone()).await;
        let (first, second) = (client.read().await, client.read().await);
        assert_eq!((&first["method"], &first["id"]), (&json!("sampling/createMessage"), &json!(0)));
        assert_eq!(second["method"], "elicitation/create");
        client.send(json!({ "jsonrpc": "2.0", "id": second["id"], "result": { "action": "decline" } })).await;
        client.send(json!({ "jsonrpc": "2.0", "id": first["id"], "result": { "model": 1.0 } })).await;
        let answer = client.read().await;
        assert_eq!((&answer["id"], text(&answer)), (&json!(id), r#"[{"model":1.0},{"action":"decline"}]"#.to_owned()));

        let id = client.start("tools/call", ask).await;
        let asked = [client.read().await["id"].take(), client.read().await["id"].take()];
        client.notify("notifications/cancelled", json!({ "requestId": id })).await;
        for ask in asked {
            let cancelled = client.read().await;
            assert_eq!(cancelled["method"], "notifications/cancelled");
            assert_eq!(cancelled["params"]["requestId"], ask);
        }
        let refused = client.call("ask_roots", json!({})).await;
        assert_eq!(refused["result"]["isError"], true);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_page_that_was_visited_is_announced_later() {
    with(json!({ "elicitation": { "url": {} } }), async |client| {
        let id = client.start("tools/call", json!({ "name": "ask_url" })).await;
        let ask = client.read().await;
        client.send(json!({ "jsonrpc": "2.0", "id": ask["id"], "result": { "action": "accept" } })).await;
        assert_eq!(client.read().await["id"], id);
        let complete = client.read().await;
        assert_eq!(complete["method"], "notifications/elicitation/complete");
        assert_eq!(complete["params"]["elicitationId"], ask["params"]["elicitationId"]);
    })
    .await;
}

#[tokio::test]
async fn roots_are_asked_for_after_initialized() {
    let options = Options { ask_roots: true, ..options() };
    with_legacy(options, async |client| {
        let hello = json!({ "protocolVersion": "2025-06-18", "capabilities": { "roots": {} } });
        client.request("initialize", hello).await;
        client.notify("notifications/initialized", json!({})).await;
        let ask = client.read().await;
        assert_eq!(ask["method"], "roots/list");
        client.send(json!({ "jsonrpc": "2.0", "id": ask["id"], "result": { "roots": [] } })).await;
        // The answer is handed on before the next line is looked at, but taken up only by its own task.
        client.request("ping", json!({})).await;
        let who: Value = serde_json::from_str(&client.text("whoami", json!({})).await).unwrap();
        assert_eq!((&who["initializes"], &who["roots"]), (&json!(1), &json!({ "roots": [] })));
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn log_lines_and_updates_come_to_who_wants_them() {
    with(json!({}), async |client| {
        assert_eq!(client.text("log", json!({ "level": "debug" })).await, "logged 1 lines at debug");
        client.request("logging/setLevel", json!({ "level": "debug" })).await;
        client.start("tools/call", json!({ "name": "log", "arguments": { "level": "debug" } })).await;
        assert_eq!(client.read().await["method"], "notifications/message");
        client.read().await;

        let uri = json!({ "uri": "demo://note/77" });
        client.call("touch", uri.clone()).await;
        client.request("resources/subscribe", uri.clone()).await;
        client.start("tools/call", json!({ "name": "touch", "arguments": uri })).await;
        assert_eq!(client.read().await["params"], uri);
        client.read().await;
        let note = client.request("resources/read", uri).await;
        let text = note["result"]["contents"][0]["text"].as_str().unwrap();
        assert!(text.ends_with("touched 2 times."), "{text}");
        assert_eq!(client.request("resources/read", json!({ "uri": "x:y" })).await["error"]["code"], -32002);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn tasks_run_on_their_own() {
    with(json!({}), async |client| {
        let call = json!({ "name": "slow", "arguments": { "ms": 5000 }, "task": { "ttl": 9000 } });
        let created = client.request("tools/call", call.clone()).await["result"]["task"].take();
        assert_eq!(
            (&created["status"], &created["createdAt"]),
            (&json!("working"), &json!("1970-01-01T00:00:00.000Z"))
        );
        let named = json!({ "taskId": created["taskId"] });
        let asked = client.start("tasks/result", named.clone()).await;
        let said = [client.read().await, client.read().await];
        let result = said.iter().find(|message| message["id"] == asked).unwrap();
        assert_eq!(text(result), "slept 5000 ms in 1 steps");
        let status = said.iter().find(|message| message["method"] == "notifications/tasks/status").unwrap();
        assert_eq!(status["params"]["lastUpdatedAt"], "1970-01-01T00:00:05.000Z");
        assert_eq!(client.request("tasks/cancel", named.clone()).await["error"]["code"], -32602);

        client.text("slow", json!({ "ms": 4001 })).await;
        assert_eq!(client.request("tasks/get", named).await["error"]["code"], -32602, "its time is over");

        let named = json!({ "taskId": client.request("tools/call", call).await["result"]["task"]["taskId"] });
        client.start("tasks/cancel", named).await;
        assert_eq!(client.read().await["method"], "notifications/tasks/status");
        assert_eq!(client.read().await["result"]["status"], "cancelled");
        assert!(client.is_silent().await);
    })
    .await;
}

#[tokio::test]
async fn errors_are_exactly_as_told_and_die_ends_the_server() {
    let ended = with_legacy(options(), async |client| {
        client.request("initialize", json!({ "protocolVersion": "2025-11-25", "capabilities": {} })).await;
        let error = json!({ "code": 7, "message": "no", "data": null });
        assert_eq!(client.call("error", error.clone()).await["error"], error);
        assert_eq!(client.call("extra", json!({})).await["error"]["code"], -32602);
        client.start("tools/call", json!({ "name": "die" })).await;
        assert!(client.lines.next_line().await.unwrap().is_none());
    })
    .await;
    assert!(ended.is_err());
}
