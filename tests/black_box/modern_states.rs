//! A modern server's question carries a state that goes back to the process that asked. On its way through the caller it
//! is sealed: nobody reaches another caller's process with it, and it is good for its caller and request alone.

use mcpool::config::LeaseChoice;
use serde_json::{Value, json};

use crate::support::{Answer, Caller, Proxy, after, elicitation, legacy, modern, obliging, play, proxy, seconds};

const REVISION: &str = "2025-11-25";

fn question() -> Value {
    json!({"message": "?"})
}

async fn new() -> Proxy {
    let ask = |server: &mut mcpool::config::Server| server.timeout.ask = seconds(100);
    let servers = proxy().server("new", modern(|_| {})).set(ask).server("other", modern(|_| {})).set(ask);
    servers.server("browser", legacy(|_| {})).set(|server| server.lease = LeaseChoice::Session).start().await
}

async fn asked(proxy: &Proxy) -> (Caller, Answer) {
    let caller = proxy.modern().with(elicitation()).connect("new").await;
    let first = caller.call("ask_elicit", question()).await;
    first.asks();
    (caller, first)
}

async fn with_state(caller: &Caller, first: &Answer, state: &str) -> Answer {
    let params = json!({"name": "ask_elicit", "arguments": question(), "inputResponses": first.answers(obliging), "requestState": state});
    caller.ask("tools/call", params).await
}

#[track_caller]
fn refused(answer: &Answer, why: &str) {
    assert_eq!(answer.code(), -32602, "{}", answer.raw);
    assert!(answer.message().contains("requestState") && answer.message().contains(why), "{why}: {}", answer.raw);
}

#[test]
fn a_made_up_state_never_reaches_the_process_of_another_caller() {
    play(async {
        let proxy = new().await;
        let victim = proxy.legacy(REVISION).connect("browser").await;
        let its = victim.instance().await;
        let (attacker, first) = asked(&proxy).await;
        let forged = ["mcpool.c0cea123.1.x", "mcpool.asked.1.x", "mcpool.asked.AAAA", first.state()];
        let legacy = proxy.legacy(REVISION).connect("browser").await;
        let modern = proxy.modern().connect("browser").await;
        for state in forged {
            let params = json!({"name": "whoami", "arguments": {}, "requestState": state});
            let own = legacy.ask("tools/call", params.clone()).await.json()["instance"].clone();
            assert_ne!(own, json!(its), "with {state}");
            refused(&modern.ask("tools/call", params).await, "is not one of mcpool's");
        }
        assert_eq!(with_state(&attacker, &first, first.state()).await.json()["action"], "accept");
        assert_eq!(proxy.process("browser", 0).got("tools/call").len(), 1, "nothing but the victim's own call");
    });
}

#[test]
fn a_state_that_was_changed_or_made_up_reaches_no_server() {
    play(async {
        let proxy = new().await;
        let (caller, first) = asked(&proxy).await;
        let state = first.state();
        let at = state.len() / 2;
        let other = if &state[at..=at] == "A" { "B" } else { "A" };
        let changed = [
            format!("{}{other}{}", &state[..at], &state[at + 1..]),
            format!("{state}AAAA"),
            state[..at].to_owned(),
            format!("mcpool.held.{}", &state["mcpool.asked.".len()..]),
            "mcpool.asked.".to_owned(),
            "mcpool.0badcafe.1.x".to_owned(),
        ];
        for wrong in &changed {
            refused(&with_state(&caller, &first, wrong).await, "is not one of mcpool's or was changed");
        }
        assert_eq!(proxy.got("new", "tools/call").len(), 1);
        assert_eq!(with_state(&caller, &first, state).await.json()["action"], "accept");
    });
}

#[test]
fn a_state_is_good_for_its_caller_server_and_request_alone() {
    play(async {
        let proxy = new().await;
        let (caller, first) = asked(&proxy).await;
        let thief = proxy.modern().with(elicitation()).connect("new").await;
        refused(&with_state(&thief, &first, first.state()).await, "belongs to another caller");
        let roof = proxy.modern().with(elicitation()).connect("all").await;
        let there = roof.call("new__ask_elicit", question()).await;
        let elsewhere = roof.retry("other__ask_elicit", question(), &there, there.answers(obliging)).answer().await;
        refused(&elsewhere, "belongs to another request");
        let other = caller.retry("ask_elicit", json!({"message": "!"}), &first, first.answers(obliging)).answer().await;
        refused(&other, "belongs to another request");
        let prompt = caller.come_back("prompts/get", json!({"name": "plain"}), &first, json!({})).answer().await;
        refused(&prompt, "belongs to another request");
        for (caller, tool, first) in [(&caller, "ask_elicit", &first), (&roof, "new__ask_elicit", &there)] {
            let done = caller.retry(tool, question(), first, first.answers(obliging)).answer().await;
            assert_eq!(done.json()["action"], "accept");
        }
    });
}

#[test]
fn the_servers_own_state_is_not_shown_to_the_caller_and_comes_back_as_it_was() {
    play(async {
        let proxy = new().await;
        let (caller, first) = asked(&proxy).await;
        with_state(&caller, &first, first.state()).await;
        let came = proxy.got("new", "tools/call").pop().expect("the retry")["params"]["requestState"].clone();
        assert!(
            !came.as_str().expect("a text").contains("mcpool.") && !first.raw.contains(came.as_str().expect("a text"))
        );
    });
}

#[test]
fn a_state_expires_with_the_time_to_answer() {
    play(async {
        let proxy = new().await;
        let (caller, first) = asked(&proxy).await;
        after(seconds(99)).await;
        assert_eq!(with_state(&caller, &first, first.state()).await.json()["action"], "accept");
        after(seconds(2)).await;
        refused(&with_state(&caller, &first, first.state()).await, "has expired");
    });
}

#[test]
fn a_cursor_is_good_for_its_caller_and_list_alone() {
    play(async {
        let proxy = new().await;
        let caller = proxy.legacy(REVISION).connect("new").await;
        for cursor in ["mcpool.1", "mcpool.page.", "mcpool.page.AAAA", "1"] {
            let refused = caller.ask("tools/list", json!({ "cursor": cursor })).await;
            assert_eq!(refused.code(), -32602, "{cursor}");
            assert!(refused.message().contains("cursor") && refused.message().contains("list anew"), "{}", refused.raw);
        }
    });
}

#[test]
fn the_process_that_asked_is_kept_for_the_one_who_comes_back() {
    play(async {
        let soon = |server: &mut mcpool::config::Server| server.recycle.idle = seconds(1);
        let proxy = proxy().server("new", modern(|_| {})).set(soon).start().await;
        let (caller, first) = asked(&proxy).await;
        after(seconds(5)).await;
        assert_eq!(with_state(&caller, &first, first.state()).await.json()["action"], "accept");
        assert_eq!(proxy.started("new"), 1, "it went back to the process that asked");
        // Who never comes back keeps it for a while only.
        asked(&proxy).await.1.asks();
        after(seconds(30)).await;
        assert_eq!(proxy.instances("new").len(), 0);
    });
}
