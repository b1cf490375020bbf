//! What mcpool has no reason to change passes as it was written.

use serde_json::json;

use crate::support::{modern, play, proxy, script, settled};

const REVISION: &str = "2025-06-18";

#[test]
fn unknown_methods_and_notifications_pass_to_the_letter() {
    play(async {
        let odd = script()
            .on("x/y", |it, say| say.error(it, json!({"code": 7, "message": "seven"})))
            .on("notifications/z", |_, _| {});
        let proxy = proxy().server("odd", odd.into()).start().await;
        let caller = proxy.legacy(REVISION).connect("odd").await;
        assert_eq!(caller.ask("x/y", json!({"b": 1, "a": 2})).await.code(), 7);
        caller.send(r#"{"params":{"n":1.00},"method":"notifications/z","jsonrpc":"2.0"}"#);
        settled().await;
        assert!(
            proxy
                .process("odd", 0)
                .lines()
                .contains(&r#"{"params":{"n":1.00},"method":"notifications/z","jsonrpc":"2.0"}"#.to_owned())
        );
    });
}

#[test]
fn params_and_results_come_out_byte_for_byte() {
    play(async {
        let result =
            r#"{"z":1,"a":1.0,"a":1e400,"big":123456789012345678901234567890,"s":"\ud800\u0041\/","_meta":{"k":[ ]}}"#;
        let exact = script()
            .on("x", move |it, say| say.line(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, it.id())));
        let proxy = proxy().server("exact", exact.into()).start().await;
        let caller = proxy.legacy(REVISION).connect("exact").await;
        let request = r#"{"method":"x","id":5,"params":{"d":1,"d":2,"f":1.0,"s":"\ud800","_meta":{"q":1}},"jsonrpc":"2.0","more":[1,2]}"#;
        caller.send(request);
        assert_eq!(caller.line().await.raw, format!(r#"{{"jsonrpc":"2.0","id":5,"result":{result}}}"#));
        let sent = proxy
            .process("exact", 0)
            .lines()
            .into_iter()
            .find(|line| line.contains(r#""method":"x""#))
            .expect("it was sent");
        let (before, behind) = request.split_once("\"id\":5").expect("an id");
        assert!(sent.starts_with(before) && sent.ends_with(behind), "{sent}");
    });
}

#[test]
fn what_a_modern_call_carries_reaches_the_last_hop() {
    play(async {
        let proxy = proxy().server("new", modern(|_| {})).start().await;
        let caller = proxy.modern().connect("new").await;
        let extra = json!({"com.example/trace": {"z": 1, "a": [2]}});
        let params = json!({"name": "echo", "arguments": {}, "_meta": extra, "inputResponses": {"k": {"v": 1}}, "requestState": "opaque"});
        caller.ask("tools/call", params).await;
        let sent = proxy.got("new", "tools/call").pop().expect("a call");
        assert_eq!(sent["params"]["_meta"]["com.example/trace"], extra["com.example/trace"]);
        assert_eq!(sent["params"]["inputResponses"], json!({"k": {"v": 1}}));
        assert_eq!(sent["params"]["requestState"], "opaque");
    });
}
