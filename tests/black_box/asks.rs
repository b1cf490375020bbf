//! What servers ask in the middle of a call comes to the caller that it is about and to no other; what cannot be
//! proven to be anybody's is refused.

use serde_json::{Value, json};

use crate::support::{
    Proxy, after, elicitation, elicitation_by_url, legacy, play, proxy, sampling, script, seconds, settled,
};

const REVISION: &str = "2025-11-25";

/// The answer to a sampling ask, with that text.
fn sample(text: &str) -> Value {
    json!({"role": "assistant", "content": {"type": "text", "text": text}, "model": "test", "stopReason": "endTurn"})
}

async fn shared() -> Proxy {
    let shared = mcpool::config::LeaseChoice::Shared;
    proxy().server("echo", legacy(|_| {})).set(|server| server.lease = shared).start().await
}

#[test]
fn a_sample_is_asked_of_the_caller_whose_call_it_is() {
    play(async {
        let proxy = shared().await;
        let a = proxy.legacy(REVISION).with(sampling()).connect("echo").await;
        let b = proxy.legacy(REVISION).with(sampling()).connect("echo").await;
        b.call("echo", json!({})).await;
        let call = a.begin("ask_sampling", json!({"prompt": "how are you?"}));
        let ask = a.asked("sampling/createMessage").await;
        assert_eq!(ask.request["params"]["messages"][0]["content"]["text"], "how are you?");
        ask.answer(sample("well"));
        assert_eq!(call.answer().await.json()["content"]["text"], "well");
        b.hears_nothing().await;
        assert_eq!(proxy.started("echo"), 1);
    });
}

#[test]
fn who_says_nothing_more_is_asked_nothing_and_hears_the_answers_to_its_calls() {
    play(async {
        let proxy = shared().await;
        proxy.lingers();
        let caller = proxy.legacy(REVISION).with(sampling()).connect("echo").await;
        caller.call("echo", json!({})).await;
        let clock = tokio::time::Instant::now();
        let (asked, late) =
            (caller.begin("ask_sampling", json!({"prompt": "?"})), caller.begin("slow", json!({"ms": 3000})));
        caller.asked("sampling/createMessage").await;
        caller.end_input();
        let answer = asked.answer().await;
        assert!(answer.text().contains("input has ended") && clock.elapsed() < seconds(1), "{}", answer.raw);
        late.answer().await.result();
        caller.closed().await;

        let caller = proxy.legacy(REVISION).with(sampling()).connect("echo").await;
        caller.call("echo", json!({})).await;
        // Its question comes when the input has ended already.
        let asked = caller.begin("ask_sampling", json!({"prompt": "?"}));
        caller.end_input();
        let answer = asked.answer().await;
        assert!(answer.text().contains("input has ended") && clock.elapsed() < seconds(10), "{}", answer.raw);
        caller.hears_nothing().await;
    });
}

#[test]
fn a_refusal_of_the_caller_reaches_the_server_as_it_is() {
    play(async {
        let proxy = shared().await;
        let caller = proxy.legacy(REVISION).with(sampling()).connect("echo").await;
        let call = caller.begin("ask_sampling", json!({"prompt": "?"}));
        caller.asked("sampling/createMessage").await.refuse(-1, "the user said no");
        let answer = call.answer().await;
        assert!(answer.text().contains(r#""code":-1"#) && answer.text().contains("the user said no"), "{}", answer.raw);
    });
}

#[test]
fn forms_and_pages_are_put_to_their_user_and_the_end_of_a_page_is_told_to_its_owner_alone() {
    play(async {
        let proxy = shared().await;
        let a = proxy.legacy(REVISION).with(elicitation_by_url()).connect("echo").await;
        let b = proxy.legacy(REVISION).with(elicitation_by_url()).connect("echo").await;
        b.call("echo", json!({})).await;

        let form = a.begin("ask_elicit", json!({"message": "your name?"}));
        let ask = a.asked("elicitation/create").await;
        assert_eq!(
            (&ask.request["params"]["mode"], &ask.request["params"]["message"]),
            (&json!("form"), &json!("your name?"))
        );
        ask.answer(json!({"action": "accept", "content": {"answer": "Ada"}}));
        assert_eq!(form.answer().await.json()["content"]["answer"], "Ada");

        let page = a.begin("ask_url", json!({}));
        let ask = a.asked("elicitation/create").await;
        assert_eq!(ask.request["params"]["mode"], "url");
        ask.answer(json!({"action": "accept"}));
        page.answer().await;
        let complete = a.heard("notifications/elicitation/complete").await;
        assert_eq!(complete["params"]["elicitationId"], ask.request["params"]["elicitationId"]);
        b.hears_nothing().await;
    });
}

#[test]
fn an_ask_among_calls_of_several_waits_until_one_caller_remains() {
    play(async {
        let proxy = shared().await;
        let a = proxy.legacy(REVISION).with(sampling()).connect("echo").await;
        let b = proxy.legacy(REVISION).with(sampling()).connect("echo").await;
        let others = b.begin("slow", json!({"ms": 3000}));
        let asking = a.begin("ask_sampling", json!({"prompt": "?"}));
        a.hears_nothing().await;
        b.hears_nothing().await;
        let elsewhere = b.instance().await;
        assert_eq!(elsewhere, "echo-1", "nothing new goes to an instance that holds an ask");
        others.answer().await;
        a.asked("sampling/createMessage").await.answer(sample("yes"));
        assert_eq!(asking.answer().await.json()["content"]["text"], "yes");
        b.hears_nothing().await;
    });
}

#[test]
fn a_question_that_may_be_anothers_is_held_for_as_long_as_that_ones_calls_run() {
    play(async {
        let proxy = shared().await;
        let a = proxy.legacy(REVISION).with(sampling()).connect("echo").await;
        let b = proxy.legacy(REVISION).with(sampling()).connect("echo").await;
        let others = b.begin("slow", json!({"ms": 60_000}));
        let asking = a.begin("ask_sampling", json!({"prompt": "?"}));
        after(seconds(59)).await;
        assert_eq!(proxy.instances("echo")[0]["asks"], 1);
        others.answer().await.result();
        a.asked("sampling/createMessage").await.answer(sample("yes"));
        assert_eq!(asking.answer().await.json()["content"]["text"], "yes");
        b.hears_nothing().await;
    });
}

#[test]
fn where_all_wait_for_answers_the_oldest_question_is_refused_nothing_is_guessed_and_the_next_becomes_clear() {
    play(async {
        let proxy = shared().await;
        let a = proxy.legacy(REVISION).with(sampling()).connect("echo").await;
        let b = proxy.legacy(REVISION).with(sampling()).connect("echo").await;
        b.call("echo", json!({})).await;
        let clock = tokio::time::Instant::now();
        let (mine, theirs) =
            (a.begin("ask_sampling", json!({"prompt": "a"})), b.begin("ask_sampling", json!({"prompt": "b"})));
        let refused = mine.answer().await;
        assert!(refused.text().contains("mcpool refused `sampling/createMessage`"), "{}", refused.raw);
        assert!(clock.elapsed() >= seconds(10) && clock.elapsed() < seconds(11), "after {:?}", clock.elapsed());
        b.asked("sampling/createMessage").await.answer(sample("for b"));
        assert_eq!(theirs.answer().await.json()["content"]["text"], "for b");
        a.hears_nothing().await;
    });
}

#[test]
fn on_a_server_that_nobody_knows_callers_that_are_asked_at_the_same_time_answer_both() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let a = proxy.legacy(REVISION).with(sampling()).connect("echo").await;
        let b = proxy.legacy(REVISION).with(sampling()).connect("echo").await;
        let lease = proxy.server("echo")["lease"].clone();
        assert_eq!(lease["kind"], "call");
        assert!(
            lease["why"].as_str().is_some_and(|why| why.contains("after 100 calls without a question, 0 so far")),
            "{lease}"
        );

        let (mine, theirs) =
            (a.begin("ask_sampling", json!({"prompt": "a"})), b.begin("ask_sampling", json!({"prompt": "b"})));
        let (to_a, to_b) = (a.asked("sampling/createMessage").await, b.asked("sampling/createMessage").await);
        assert_eq!(to_a.request["params"]["messages"][0]["content"]["text"], "a");
        assert_eq!(to_b.request["params"]["messages"][0]["content"]["text"], "b");
        to_b.answer(sample("for b"));
        to_a.answer(sample("for a"));
        assert_eq!(mine.answer().await.json()["content"]["text"], "for a");
        assert_eq!(theirs.answer().await.json()["content"]["text"], "for b");
        assert_eq!(proxy.started("echo"), 2);
        let lease = proxy.server("echo")["lease"].clone();
        assert_eq!((&lease["kind"], &lease["why"]), (&json!("call"), &json!("the server asks its client in mid-call")));
    });
}

#[test]
fn a_server_that_asks_nothing_in_a_hundred_calls_is_shared_from_then_on() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let a = proxy.legacy(REVISION).with(sampling()).connect("echo").await;
        let b = proxy.legacy(REVISION).with(sampling()).connect("echo").await;
        let plain = proxy.legacy(REVISION).connect("echo").await;
        for _ in 0..99 {
            a.call("echo", json!({})).await;
        }
        plain.call("echo", json!({})).await;
        a.ask(
            "completion/complete",
            json!({"ref": {"type": "ref/prompt", "name": "greet"}, "argument": {"name": "name", "value": ""}}),
        )
        .await;
        let busy = a.begin("slow", json!({"ms": 100}));
        settled().await;
        let elsewhere = b.instance().await;
        busy.answer().await.result();
        assert_eq!(proxy.server("echo")["lease"]["kind"], "shared");
        let busy = a.begin("slow", json!({"ms": 100}));
        settled().await;
        let own = a.instance().await;
        assert_eq!(b.instance().await, elsewhere, "the one that it used last");
        busy.answer().await.result();
        let busy = b.begin("slow", json!({"ms": 100}));
        settled().await;
        let c = proxy.legacy(REVISION).with(sampling()).connect("echo").await;
        assert!([own, elsewhere].contains(&c.instance().await));
        busy.answer().await.result();
    });
}

#[test]
fn callers_that_cannot_be_asked_still_share_an_instance_of_a_server_that_asks() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let asked = proxy.legacy(REVISION).with(sampling()).connect("echo").await;
        let call = asked.begin("ask_sampling", json!({"prompt": "?"}));
        asked.asked("sampling/createMessage").await.answer(sample("x"));
        call.answer().await;
        let a = proxy.legacy(REVISION).connect("echo").await;
        let b = proxy.legacy(REVISION).connect("echo").await;
        let held = a.begin("slow", json!({"ms": 100}));
        settled().await;
        assert_eq!(b.instance().await, "echo-1");
        held.answer().await;
        assert_eq!(a.instance().await, "echo-1");
    });
}

#[test]
fn an_ask_of_a_cancelled_call_is_taken_back() {
    play(async {
        let proxy = shared().await;
        let caller = proxy.legacy(REVISION).with(sampling()).connect("echo").await;
        let call = caller.begin("ask_sampling", json!({"prompt": "?"}));
        let ask = caller.asked("sampling/createMessage").await;
        call.cancel();
        let cancelled = caller.heard("notifications/cancelled").await;
        assert_eq!(cancelled["params"]["requestId"], ask.request["id"]);
        ask.answer(sample("too late"));
        caller.hears_nothing().await;
        assert_eq!(caller.call("echo", json!({})).await.text(), "{}");
    });
}

#[test]
fn an_ask_of_a_dead_server_is_taken_back() {
    play(async {
        let proxy = shared().await;
        let caller = proxy.legacy(REVISION).with(sampling()).connect("echo").await;
        let call = caller.begin("ask_sampling", json!({"prompt": "?"}));
        let ask = caller.asked("sampling/createMessage").await;
        proxy.process("echo", 0).crash().await;
        assert_eq!(call.answer().await.reason(), Some("server_died"));
        assert_eq!(caller.heard("notifications/cancelled").await["params"]["requestId"], ask.request["id"]);
        ask.answer(sample("too late"));
        caller.hears_nothing().await;
    });
}

#[test]
fn the_server_gets_to_know_when_the_caller_that_it_asked_is_gone() {
    play(async {
        let asking = script().on("tools/call", |call, say| {
            let params = json!({"messages": [], "maxTokens": 1});
            say.line(
                &json!({"jsonrpc": "2.0", "id": "q", "method": "sampling/createMessage", "params": params}).to_string(),
            );
            let _ = call;
        });
        let proxy = proxy().server("asking", asking.into()).start().await;
        let caller = proxy.legacy(REVISION).with(sampling()).connect("asking").await;
        caller.begin("x", json!({}));
        caller.asked("sampling/createMessage").await;
        caller.hang_up().await;
        let answers: Vec<Value> =
            proxy.process("asking", 0).lines().iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let told = answers.iter().filter(|message| message["id"] == "q" && message.get("error").is_some()).count();
        assert_eq!(told, 1, "{answers:?}");
    });
}

#[test]
fn a_question_that_nobody_can_answer_is_given_up_though_the_server_answers_pings() {
    play(async {
        let asking = script().on("tools/call", |call, say| {
            if call.value["params"]["name"] == "ask" {
                say.ask("q", "sampling/createMessage", json!({"messages": [], "maxTokens": 1}));
            }
        });
        let set = |server: &mut mcpool::config::Server| {
            (server.lease, server.probe.every) = (mcpool::config::LeaseChoice::Shared, Some(seconds(2)));
        };
        let proxy = proxy().server("asking", asking.into()).set(set).start().await;
        let a = proxy.legacy(REVISION).with(sampling()).connect("asking").await;
        let b = proxy.legacy(REVISION).with(sampling()).connect("asking").await;
        b.begin("x", json!({})).cancel();
        a.begin("ask", json!({}));
        settled().await;
        a.hang_up().await;
        assert_eq!(proxy.instances("asking")[0]["asks"], 1);
        after(seconds(11)).await;
        assert_eq!(proxy.instances("asking")[0]["asks"], 0);
        assert!(proxy.got("asking", "ping").len() > 3);
    });
}

#[test]
fn progress_of_an_ask_goes_back_under_the_servers_own_token() {
    play(async {
        let asking = script()
            .on("tools/call", |_, say| {
                let params = json!({"messages": [], "maxTokens": 1, "_meta": {"progressToken": "theirs"}});
                say.line(
                    &json!({"jsonrpc": "2.0", "id": "q", "method": "sampling/createMessage", "params": params})
                        .to_string(),
                );
            })
            .on("notifications/progress", |_, _| {});
        let proxy = proxy().server("asking", asking.into()).start().await;
        let caller = proxy.legacy(REVISION).with(sampling()).connect("asking").await;
        caller.begin("x", json!({}));
        let ask = caller.asked("sampling/createMessage").await;
        let token = &ask.request["params"]["_meta"]["progressToken"];
        caller.notify("notifications/progress", json!({"progressToken": token, "progress": 0.5}));
        caller.notify("notifications/progress", json!({"progressToken": "made up", "progress": 1}));
        settled().await;
        let told = proxy.got("asking", "notifications/progress");
        assert_eq!(told.len(), 1);
        assert_eq!(told[0]["params"], json!({"progressToken": "theirs", "progress": 0.5}));
    });
}

#[test]
fn an_answer_to_nothing_is_dropped() {
    play(async {
        let proxy = shared().await;
        let a = proxy.legacy(REVISION).with(sampling()).connect("echo").await;
        let b = proxy.legacy(REVISION).with(sampling()).connect("echo").await;
        let call = a.begin("ask_sampling", json!({"prompt": "?"}));
        let ask = a.asked("sampling/createMessage").await;
        b.send(&json!({"jsonrpc": "2.0", "id": ask.request["id"], "result": sample("forged")}).to_string());
        settled().await;
        assert_eq!(proxy.dropped("answer_to_no_ask"), 1);
        ask.answer(sample("real"));
        assert_eq!(call.answer().await.json()["content"]["text"], "real");
    });
}

#[test]
fn a_call_waits_for_a_person_longer_than_for_a_server() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).set(|server| server.timeout.call = seconds(5)).start().await;
        let caller = proxy.legacy(REVISION).with(elicitation()).connect("echo").await;
        let call = caller.begin("ask_elicit", json!({"message": "?"}));
        let ask = caller.asked("elicitation/create").await;
        after(seconds(120)).await;
        ask.answer(json!({"action": "decline"}));
        assert_eq!(call.answer().await.json()["action"], "decline");
        let call = caller.begin("ask_elicit", json!({"message": "?"}));
        caller.asked("elicitation/create").await;
        assert!(call.answer().await.text().contains("did not answer"), "an ask has a deadline too");
    });
}
