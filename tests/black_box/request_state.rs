//! The state that a modern caller carries for a held call is good once, for the caller and the request that it was
//! given for, until it expires; anything else is refused with the reason, and harms nothing.

use serde_json::{Value, json};

use crate::support::{Answer, Caller, Proxy, elicitation, legacy, modern, obliging, play, proxy, seconds};

fn question() -> Value {
    json!({"message": "?"})
}

async fn old() -> Proxy {
    let servers = proxy().server("old", legacy(|_| {})).server("other", legacy(|_| {}));
    servers.set(|server| server.timeout.ask = seconds(100)).start().await
}

/// A caller with a held call.
async fn holding(proxy: &Proxy) -> (Caller, Answer) {
    let caller = proxy.modern().with(elicitation()).connect("old").await;
    let first = caller.call("ask_elicit", question()).await;
    first.asks();
    (caller, first)
}

/// The same call with another state.
async fn with_state(caller: &Caller, first: &Answer, state: &str) -> Answer {
    let answers = first.answers(obliging);
    let params =
        json!({"name": "ask_elicit", "arguments": question(), "inputResponses": answers, "requestState": state});
    caller.ask("tools/call", params).await
}

#[track_caller]
fn refused(answer: &Answer, why: &str) {
    assert_eq!(answer.code(), -32602, "{}", answer.raw);
    assert!(answer.message().contains("requestState") && answer.message().contains(why), "{why}: {}", answer.raw);
}

/// The held call is none the worse.
async fn still_good(proxy: &Proxy, caller: &Caller, first: &Answer) {
    let calls = proxy.got("old", "tools/call").len();
    let done = caller.retry("ask_elicit", question(), first, first.answers(obliging)).answer().await;
    assert_eq!(done.json()["action"], "accept");
    assert_eq!(proxy.got("old", "tools/call").len(), calls);
    assert_eq!(proxy.status()["held"], 0);
}

#[test]
fn a_state_that_was_changed_or_made_up_is_refused() {
    play(async {
        let proxy = old().await;
        let (caller, first) = holding(&proxy).await;
        let state = first.state();
        let at = state.len() - 3;
        let changed = format!("{}{}{}", &state[..at], if &state[at..=at] == "A" { "B" } else { "A" }, &state[at + 1..]);
        let cut = &state[..state.len() - 4];
        let longer = format!("{state}AAAA");
        for wrong in
            [changed.as_str(), cut, &longer, "mcpool.held.", "mcpool.held.AAAA", "mcpool.held.é", "someone else's", ""]
        {
            refused(&with_state(&caller, &first, wrong).await, "is not one of mcpool's or was changed");
        }
        assert_eq!(proxy.got("old", "tools/call").len(), 1, "none of them reached the server");
        still_good(&proxy, &caller, &first).await;
    });
}

#[test]
fn a_state_is_good_once() {
    play(async {
        let proxy = old().await;
        let (caller, first) = holding(&proxy).await;
        still_good(&proxy, &caller, &first).await;
        refused(&with_state(&caller, &first, first.state()).await, "was used already");
        assert_eq!(proxy.got("old", "tools/call").len(), 1);
    });
}

#[test]
fn each_round_has_a_state_of_its_own() {
    play(async {
        let proxy = old().await;
        let caller = proxy.modern().with(elicitation()).connect("old").await;
        let rounds = json!({"n": 2});
        let first = caller.call("ask_rounds", rounds.clone()).await;
        let second = caller.retry("ask_rounds", rounds.clone(), &first, first.answers(obliging)).answer().await;
        let replayed = caller.retry("ask_rounds", rounds.clone(), &first, first.answers(obliging)).answer().await;
        refused(&replayed, "was used already");
        let done = caller.retry("ask_rounds", rounds, &second, second.answers(obliging)).answer().await;
        assert_eq!(done.json().as_array().map(Vec::len), Some(2));
    });
}

#[test]
fn two_retries_at_once_are_one_too_many() {
    play(async {
        let proxy = old().await;
        let (caller, first) = holding(&proxy).await;
        let one = caller.retry("ask_elicit", question(), &first, first.answers(obliging));
        let two = caller.retry("ask_elicit", question(), &first, first.answers(obliging));
        assert_eq!(one.answer().await.json()["action"], "accept");
        refused(&two.answer().await, "was used already");
    });
}

#[test]
fn a_state_expires() {
    play(async {
        let proxy = proxy().server("old", legacy(|_| {})).set(|server| server.timeout.ask = seconds(100)).start().await;
        let (caller, first) = holding(&proxy).await;
        crate::support::after(seconds(120)).await;
        refused(&with_state(&caller, &first, first.state()).await, "has expired");
    });
}

#[test]
fn a_state_is_good_for_its_caller_alone() {
    play(async {
        let proxy = old().await;
        let (caller, first) = holding(&proxy).await;
        let thief = proxy.modern().with(elicitation()).connect("old").await;
        refused(&with_state(&thief, &first, first.state()).await, "belongs to another caller");
        let elsewhere = proxy.modern().with(elicitation()).connect("other").await;
        refused(&with_state(&elsewhere, &first, first.state()).await, "belongs to another caller");
        still_good(&proxy, &caller, &first).await;
    });
}

#[test]
fn a_state_is_good_for_its_request_alone() {
    play(async {
        let proxy = old().await;
        let (caller, first) = holding(&proxy).await;
        let answers = first.answers(obliging);
        for (tool, arguments) in
            [("ask_elicit", json!({"message": "!"})), ("ask_elicit", json!({})), ("echo", question())]
        {
            let wrong = caller.retry(tool, arguments, &first, answers.clone()).answer().await;
            refused(&wrong, "belongs to another request");
        }
        for (method, params) in
            [("prompts/get", json!({"name": "plain"})), ("resources/read", json!({"uri": "demo://note/1"}))]
        {
            let wrong = caller.come_back(method, params, &first, answers.clone()).answer().await;
            refused(&wrong, "belongs to another request");
        }
        still_good(&proxy, &caller, &first).await;
    });
}

#[test]
fn the_same_request_may_be_written_otherwise() {
    play(async {
        let proxy = old().await;
        let (caller, first) = holding(&proxy).await;
        let (key, _) = first.only_ask();
        let meta = r#""io.modelcontextprotocol/clientCapabilities":{"elicitation":{}},"io.modelcontextprotocol/protocolVersion":"2026-07-28""#;
        let responses = format!(r#"{{"{key}":{{"action":"decline"}}}}"#);
        caller.send(&format!(
            r#"{{"method":"tools/call","params":{{"inputResponses":{responses}, "arguments" : {{ "message":"?"}},"name":"ask_elicit","requestState":"{}","_meta":{{{meta},"x":1}}}},"id":"again","jsonrpc":"2.0"}}"#,
            first.state()
        ));
        let done = caller.line().await;
        assert_eq!((&done.value["id"], &done.json()["action"]), (&json!("again"), &json!("decline")));
    });
}

#[test]
fn a_state_that_is_no_text_is_refused() {
    play(async {
        let proxy = old().await;
        let (caller, first) = holding(&proxy).await;
        let params = json!({"name": "ask_elicit", "arguments": question(), "requestState": 7});
        assert_eq!(caller.ask("tools/call", params).await.code(), -32602);
        still_good(&proxy, &caller, &first).await;
    });
}

#[test]
fn the_states_of_modern_servers_are_not_touched_by_any_of_this() {
    play(async {
        let proxy = proxy().server("new", modern(|_| {})).start().await;
        let caller = proxy.modern().with(elicitation()).connect("new").await;
        let first = caller.call("ask_elicit", question()).await;
        assert!(!first.state().starts_with("mcpool.held."));
        for _ in 0..2 {
            let done = caller.retry("ask_elicit", question(), &first, first.answers(obliging)).answer().await;
            assert_eq!(done.json()["action"], "accept", "a modern server's own state is good as often as it says");
        }
    });
}
