//! JSON-RPC batches exist in revision 2025-03-26 alone (its page "Overview").

use serde_json::{Value, json};

use crate::support::{legacy, play, proxy, script};

const WITH: &str = "2025-03-26";

fn call(id: u64, tool: &str, arguments: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
}

#[test]
fn a_batch_is_answered_as_one_when_its_last_call_is() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy(WITH).connect("echo").await;
        let note = json!({"jsonrpc": "2.0", "method": "notifications/whatever"});
        let batch = json!([call(10, "slow", json!({"ms": 50})), note, call(11, "add", json!({"a": 1, "b": 1})), {"jsonrpc": "2.0", "id": 12, "method": "ping"}]);
        caller.send(&batch.to_string());
        let answers = caller.line().await.value;
        let mut ids: Vec<u64> =
            answers.as_array().expect("a batch").iter().filter_map(|answer| answer["id"].as_u64()).collect();
        ids.sort_unstable();
        assert_eq!(ids, [10, 11, 12]);
        caller.hears_nothing().await;
    });
}

#[test]
fn a_batch_of_notifications_is_answered_with_nothing() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy(WITH).connect("echo").await;
        caller.send(r#"[{"jsonrpc":"2.0","method":"notifications/a"},{"jsonrpc":"2.0","method":"notifications/b"}]"#);
        caller.hears_nothing().await;
        assert_eq!(caller.call("echo", json!({})).await.text(), "{}");
    });
}

#[test]
fn what_is_wrong_in_a_batch_is_said_in_its_answer() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy(WITH).connect("echo").await;
        caller.send(r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"id":2},7]"#);
        let answers = caller.line().await.value;
        let answers = answers.as_array().expect("a batch");
        let codes: Vec<_> =
            answers.iter().map(|answer| (answer["id"].clone(), answer["error"]["code"].clone())).collect();
        assert_eq!(codes.len(), 3, "{answers:?}");
        for expected in [(json!(1), json!(null)), (json!(2), json!(-32600)), (json!(null), json!(-32600))] {
            assert!(codes.contains(&expected), "{expected:?} is not in {answers:?}");
        }
    });
}

#[test]
fn a_cancelled_call_does_not_hold_up_its_batch() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy(WITH).connect("echo").await;
        caller.send(&json!([call(10, "forget", json!({})), call(11, "add", json!({"a": 1, "b": 1}))]).to_string());
        caller.notify("notifications/cancelled", json!({"requestId": 10}));
        let answers = caller.line().await.value;
        assert_eq!(answers.as_array().map(Vec::len), Some(1));
        assert_eq!(answers[0]["id"], 11);
    });
}

#[test]
fn in_every_other_revision_each_request_of_a_batch_is_refused() {
    play(async {
        for revision in ["2024-11-05", "2025-06-18", "2025-11-25"] {
            let proxy = proxy().server("echo", legacy(|_| {})).start().await;
            let caller = proxy.legacy(revision).connect("echo").await;
            caller.send(r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"notifications/x"},{"jsonrpc":"2.0","id":2,"method":"ping"}]"#);
            for id in [1, 2] {
                let refused = caller.line().await;
                assert_eq!((refused.code(), &refused.value["id"]), (-32600, &json!(id)), "{revision}");
            }
            caller.hears_nothing().await;
            assert_eq!(caller.call("echo", json!({})).await.text(), "{}");
        }
    });
}

#[test]
fn an_empty_batch_is_refused_and_one_of_too_many_ends_the_connection() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy(WITH).connect("echo").await;
        caller.send("[]");
        let refused = caller.line().await;
        assert_eq!((refused.code(), &refused.value["id"]), (-32600, &Value::Null));
        let many: Vec<Value> = (0..10_000).map(|id| json!({"jsonrpc": "2.0", "id": id, "method": "ping"})).collect();
        caller.send(&json!(many).to_string());
        assert_eq!(caller.line().await.value["id"], Value::Null);
        caller.closed().await;
    });
}

#[test]
fn what_nobody_waits_for_is_left_out_of_the_answer_to_a_batch() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy(WITH).connect("echo").await;
        caller.send(r#"[{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}},{"jsonrpc":"2.0","method":"notifications/x","params":[]},{"jsonrpc":"2.0","id":1,"method":"ping","params":null}]"#);
        assert_eq!(caller.line().await.value, json!([{"jsonrpc": "2.0", "id": 1, "result": {}}]));
        assert_eq!(proxy.dropped("malformed"), 2);
    });
}

#[test]
fn a_server_may_answer_in_batches_too() {
    play(async {
        let held = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let batching = script().on("tools/call", move |call, say| {
            held.borrow_mut().push(json!({"jsonrpc": "2.0", "id": call.id(), "result": {"content": []}}));
            if held.borrow().len() == 2 {
                say.line(&json!(*held.borrow()).to_string());
            }
        });
        let proxy = proxy().server("batching", batching.into()).start().await;
        let a = proxy.legacy(WITH).connect("batching").await;
        let b = proxy.legacy(WITH).connect("batching").await;
        let (mine, theirs) = (a.begin("x", json!({})), b.begin("x", json!({})));
        mine.answer().await.result();
        theirs.answer().await.result();
    });
}
