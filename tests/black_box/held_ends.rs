//! How a held call ends when its caller does not just come back: it is late, gone, or one of too many, or the server
//! does not wait. Whatever happens, nothing stays behind at the server or in mcpool.

use serde_json::{Value, json};

use crate::support::{
    Proxy, Script, after, elicitation, legacy, obliging, play, proxy, sampling, script, seconds, settled,
};

const SAMPLE: &str = "sampling/createMessage";

fn question() -> Value {
    json!({"message": "?"})
}

fn nothing_is_held(proxy: &Proxy) {
    assert_eq!((&proxy.status()["held"], &proxy.server("old")["held"]), (&json!(0), &json!(0)));
    for instance in proxy.instances("old") {
        assert_eq!((&instance["in_flight"], &instance["asks"]), (&json!(0), &json!(0)), "{instance}");
    }
}

/// A server that asks in every call.
fn curious() -> Script {
    script().on("tools/call", |_, say| say.ask("q", SAMPLE, json!({"messages": [], "maxTokens": 1})))
}

/// What process 0 was answered to its question.
fn told(proxy: &Proxy) -> Vec<Value> {
    let lines = proxy.process("old", 0).lines();
    let messages = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages.filter(|message| message.get("method").is_none() && message["id"] == "q").collect()
}

fn cancelled(proxy: &Proxy) -> bool {
    let (calls, cancelled) = (proxy.got("old", "tools/call"), proxy.got("old", "notifications/cancelled"));
    cancelled.iter().any(|it| it["params"]["requestId"] == calls[0]["id"])
}

#[test]
fn nobody_comes_back_for_a_held_call_whose_input_has_ended() {
    play(async {
        let slow = script().on("tools/call", |call, say| {
            if call.value["params"]["name"] == "q" {
                say.ask("q", SAMPLE, json!({"messages": [], "maxTokens": 1}));
            }
        });
        let proxy = proxy().server("old", slow.into()).start().await;
        proxy.lingers();
        let caller = proxy.modern().with(sampling()).connect("old").await;
        let first = caller.call("q", json!({})).await;
        first.asks();
        let _other = caller.begin("never", json!({}));
        settled().await;
        caller.end_input();
        settled().await;
        assert_eq!((&proxy.status()["held"], told(&proxy).len()), (&json!(0), 1));
        assert!(told(&proxy)[0].get("error").is_some() && cancelled(&proxy));

        // A question that comes when the input has ended already is refused at once.
        let proxy = crate::support::proxy().server("old", curious().into()).start().await;
        proxy.lingers();
        let caller = proxy.modern().with(sampling()).connect("old").await;
        let late = caller.begin("q", json!({}));
        caller.end_input();
        after(seconds(1)).await;
        let answers = told(&proxy);
        assert!(answers.iter().all(|it| it.get("error").is_some()) && proxy.status()["held"] == 0, "{answers:?}");
        drop(late);
    });
}

#[test]
fn a_call_whose_caller_never_comes_back_is_cancelled_in_the_end() {
    play(async {
        let proxy = proxy().server("old", legacy(|_| {})).set(|server| server.timeout.ask = seconds(100)).start().await;
        let caller = proxy.modern().with(elicitation()).connect("old").await;
        let first = caller.call("ask_elicit", question()).await;
        after(seconds(95)).await;
        assert!(!cancelled(&proxy));
        assert_eq!(proxy.status()["held"], 1);
        after(seconds(20)).await;
        assert!(cancelled(&proxy));
        nothing_is_held(&proxy);
        let late = caller.retry("ask_elicit", question(), &first, first.answers(obliging)).answer().await;
        assert_eq!(late.code(), -32602);
        assert!(late.message().contains("requestState has expired"), "{}", late.raw);
        caller.call("echo", json!({})).await.result();
    });
}

#[test]
fn a_call_whose_caller_hangs_up_is_cancelled_at_once() {
    play(async {
        let proxy = proxy().server("old", curious().into()).start().await;
        let caller = proxy.modern().with(sampling()).connect("old").await;
        caller.call("x", json!({})).await.asks();
        caller.hang_up().await;
        assert!(cancelled(&proxy));
        let told = told(&proxy);
        assert!(told.len() == 1 && told[0].get("error").is_some(), "{told:?}");
        assert_eq!(proxy.status()["held"], 0);
    });
}

#[test]
fn a_server_that_dies_while_a_call_is_held_is_reported_to_the_retry() {
    play(async {
        let proxy = proxy().server("old", legacy(|_| {})).start().await;
        let caller = proxy.modern().with(elicitation()).connect("old").await;
        let first = caller.call("ask_elicit", question()).await;
        proxy.process("old", 0).crash().await;
        caller.hears_nothing().await;
        let retry = caller.retry("ask_elicit", question(), &first, first.answers(obliging)).answer().await;
        assert_eq!((retry.code(), retry.reason()), (502, Some("server_died")));
        nothing_is_held(&proxy);
        caller.call("echo", json!({})).await.result();
    });
}

#[test]
fn an_answer_that_the_server_gives_without_waiting_is_for_the_retry() {
    play(async {
        let hasty = script().on("tools/call", |call, say| {
            say.ask("q", SAMPLE, json!({"messages": [], "maxTokens": 1}));
            let (say, id) = (say.clone(), call.id().clone());
            tokio::task::spawn_local(async move {
                after(seconds(5)).await;
                let result = json!({"content": [{"type": "text", "text": "never mind"}]});
                say.line(&json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string());
            });
        });
        let proxy = proxy().server("old", hasty.into()).start().await;
        let caller = proxy.modern().with(sampling()).connect("old").await;
        let first = caller.call("x", json!({})).await;
        after(seconds(10)).await;
        caller.hears_nothing().await;
        let retry = caller.retry("x", json!({}), &first, first.answers(obliging)).answer().await;
        assert_eq!((retry.text(), &retry.result()["resultType"]), ("never mind", &json!("complete")));
        nothing_is_held(&proxy);
    });
}

#[test]
fn an_ask_that_the_server_takes_back_need_not_be_answered() {
    play(async {
        let fickle = script().on("tools/call", |call, say| {
            say.ask("q", SAMPLE, json!({"messages": [], "maxTokens": 1}));
            let (say, id) = (say.clone(), call.id().clone());
            tokio::task::spawn_local(async move {
                after(seconds(5)).await;
                say.notify("notifications/cancelled", json!({"requestId": "q"}));
                let result = json!({"content": [{"type": "text", "text": "never mind"}]});
                say.line(&json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string());
            });
        });
        let proxy = proxy().server("old", fickle.into()).start().await;
        let caller = proxy.modern().with(sampling()).connect("old").await;
        let first = caller.call("x", json!({})).await;
        after(seconds(10)).await;
        let retry = caller.retry("x", json!({}), &first, first.answers(obliging)).answer().await;
        assert_eq!(retry.text(), "never mind");
        assert_eq!(told(&proxy), Vec::<Value>::new());
    });
}

#[test]
fn one_caller_has_only_so_many_calls_held() {
    play(async {
        let proxy = proxy()
            .server("old", legacy(|_| {}))
            .set(|server| server.instances.max = 4)
            .config(|config| config.limits.held = 2)
            .start()
            .await;
        let caller = proxy.modern().with(elicitation()).connect("old").await;
        let other = proxy.modern().with(elicitation()).connect("old").await;
        let first = caller.call("ask_elicit", question()).await;
        caller.call("ask_elicit", question()).await.asks();
        let beyond = caller.call("ask_elicit", question()).await;
        assert_eq!(beyond.result()["isError"], true, "the ask was refused upstream: {}", beyond.raw);
        other.call("ask_elicit", question()).await.asks();
        assert_eq!(proxy.status()["held"], 3);
        caller.retry("ask_elicit", question(), &first, first.answers(obliging)).answer().await.result();
        caller.call("ask_elicit", question()).await.asks();
    });
}

#[test]
fn all_callers_together_have_only_so_many_calls_held() {
    play(async {
        let proxy = proxy()
            .server("old", legacy(|_| {}))
            .set(|server| server.instances.max = 4)
            .config(|config| config.limits.held_total = 2)
            .start()
            .await;
        let mut callers = Vec::new();
        for number in 0..3 {
            let caller = proxy.modern().with(elicitation()).connect("old").await;
            let answer = caller.call("ask_elicit", question()).await;
            assert_eq!(answer.result()["isError"] == true, number == 2, "{}", answer.raw);
            callers.push(caller);
        }
    });
}

#[test]
fn a_held_call_is_not_bounded_by_the_time_for_a_call() {
    play(async {
        let proxy = proxy().server("old", legacy(|_| {})).set(|server| server.timeout.call = seconds(5)).start().await;
        let caller = proxy.modern().with(elicitation()).connect("old").await;
        let first = caller.call("ask_elicit", question()).await;
        after(seconds(60)).await;
        let retry = caller.retry("ask_elicit", question(), &first, first.answers(obliging)).answer().await;
        assert_eq!(retry.json()["action"], "accept");
    });
}

#[test]
fn a_retry_without_a_state_is_a_new_call() {
    play(async {
        let proxy = proxy().server("old", legacy(|_| {})).start().await;
        let caller = proxy.modern().with(elicitation()).connect("old").await;
        let first = caller.call("ask_elicit", question()).await;
        let params = json!({"name": "ask_elicit", "arguments": question(), "inputResponses": first.answers(obliging)});
        let again = caller.ask("tools/call", params).await;
        again.asks();
        assert_ne!(again.state(), first.state());
        assert!(proxy.got("old", "tools/call").iter().all(|call| call["params"].get("inputResponses").is_none()));
        settled().await;
    });
}
