//! A legacy caller of a modern server is asked in the middle of its call, however the server puts its questions.

use serde_json::{Value, json};

use crate::support::{
    Answer, Caller, Heard, Say, Script, after, elicitation, elicitation_by_url, everything, modern, modern_script,
    obliging, play, proxy, sample, sampling, seconds, settled,
};

const REVISION: &str = "2025-11-25";
const ELICIT: &str = "elicitation/create";
const SAMPLE: &str = "sampling/createMessage";

fn form(message: &str) -> Value {
    let schema = json!({"type": "object", "properties": {"answer": {"type": "string"}}});
    json!({"method": ELICIT, "params": {"mode": "form", "message": message, "requestedSchema": schema}})
}

fn sampling_of(text: &str) -> Value {
    let message = json!({"role": "user", "content": {"type": "text", "text": text}});
    json!({"method": SAMPLE, "params": {"messages": [message], "maxTokens": 1}})
}

/// A server that asks that, and then tells what it was answered.
fn asking(requests: Value) -> Script {
    modern_script().on("tools/call", move |call, say| match call.value["params"].get("requestState") {
        None => ask(call, say, &requests),
        Some(_) => {
            let text = call.value["params"]["inputResponses"].to_string();
            say.result(call, json!({"resultType": "complete", "content": [{"type": "text", "text": text}]}));
        }
    })
}

fn ask(call: &Heard, say: &Say, requests: &Value) {
    let state = "\"verbatim\" \\ é\u{1F980}";
    say.result(call, json!({"resultType": "input_required", "inputRequests": requests, "requestState": state}));
}

#[test]
fn a_question_in_an_answer_becomes_one_to_the_caller_and_its_answer_goes_into_the_retry() {
    play(async {
        let proxy = proxy().server("new", asking(json!({"k\"1": form("name?")})).into()).start().await;
        let caller = proxy.legacy(REVISION).with(elicitation()).connect("new").await;
        let params = json!({"name": "x", "arguments": {"n": 1}, "_meta": {"com.example/k": 1}});
        let call = caller.request("tools/call", params);
        let ask = caller.asked(ELICIT).await;
        assert_eq!(ask.request["params"], form("name?")["params"]);
        ask.answer(json!({"action": "accept", "content": {"answer": "Ada"}}));
        let told = json!({"k\"1": {"action": "accept", "content": {"answer": "Ada"}}});
        assert_eq!(call.answer().await.json(), told);
        let sent = proxy.got("new", "tools/call");
        assert_eq!((sent.len(), &sent[1]["params"]["requestState"]), (2, &json!("\"verbatim\" \\ é\u{1F980}")));
        assert_ne!(sent[0]["id"], sent[1]["id"]);
        assert_eq!(sent[1]["params"]["arguments"], json!({"n": 1}));
        assert_eq!(sent[1]["params"]["_meta"]["com.example/k"], 1);
        caller.hears_nothing().await;
    });
}

#[test]
fn samples_forms_pages_and_roots_are_asked_for() {
    play(async {
        let proxy = proxy().server("new", modern(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).with(everything()).connect("new").await;
        let sampled = caller.converse("ask_sampling", json!({"prompt": "p"}), obliging).await;
        assert_eq!(sampled.json()["content"]["text"], "p");
        let filled = caller.converse("ask_elicit", json!({"message": "m"}), obliging).await;
        assert_eq!(filled.json()["content"]["answer"], "m");
        let roots = caller.converse("ask_roots", json!({}), obliging).await;
        assert_eq!(roots.json(), json!({"roots": [{"uri": "file:///mine"}]}));
        let several = caller.converse("ask_rounds", json!({"n": 3}), obliging).await;
        let answers: Vec<_> =
            several.json().as_array().expect("answers").iter().map(|it| it["content"]["answer"].clone()).collect();
        assert_eq!(answers, ["round 1 of 3", "round 2 of 3", "round 3 of 3"]);
    });
}

#[test]
fn the_end_of_a_page_is_told_when_the_call_has_ended_well() {
    play(async {
        let proxy = proxy().server("new", modern(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).with(elicitation_by_url()).connect("new").await;
        let call = caller.begin("ask_url", json!({}));
        let ask = caller.asked(ELICIT).await;
        assert_eq!(ask.request["params"]["mode"], "url");
        let id = ask.request["params"]["elicitationId"].clone();
        assert!(id.is_string(), "{}", ask.request);
        ask.answer(json!({"action": "accept"}));
        call.answer().await.result();
        assert_eq!(caller.heard("notifications/elicitation/complete").await["params"], json!({"elicitationId": id}));
        caller.hears_nothing().await;
    });
}

#[test]
fn two_questions_are_asked_at_once_and_answered_in_any_order() {
    play(async {
        let proxy = proxy().server("new", modern(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).with(everything()).connect("new").await;
        let call = caller.begin("ask_two", json!({}));
        let (form, sampled) = (caller.asked(ELICIT).await, caller.asked(SAMPLE).await);
        form.answer(json!({"action": "decline"}));
        settled().await;
        assert_eq!(proxy.got("new", "tools/call").len(), 1, "not before all are answered");
        sampled.answer(sample("s"));
        let answers = call.answer().await.json();
        assert_eq!((&answers[0]["content"]["text"], &answers[1]["action"]), (&json!("s"), &json!("decline")));
        assert_eq!(proxy.got("new", "tools/call").len(), 2);
    });
}

#[test]
fn a_refused_form_is_cancelled_and_a_refused_sample_fails_the_call() {
    play(async {
        let proxy = proxy()
            .server("form", asking(json!({"k": form("?")})).into())
            .server("sample", asking(json!({"k": sampling_of("?")})).into())
            .start()
            .await;
        let caller = proxy.legacy(REVISION).with(everything()).connect("form").await;
        let call = caller.begin("x", json!({}));
        caller.asked(ELICIT).await.refuse(-1, "no");
        assert_eq!(call.answer().await.json(), json!({"k": {"action": "cancel"}}));
        let caller = proxy.legacy(REVISION).with(everything()).connect("sample").await;
        let call = caller.begin("x", json!({}));
        caller.asked(SAMPLE).await.refuse(-1, "the user said no");
        let failed = call.answer().await;
        assert_eq!(failed.code(), -32603);
        assert!(failed.message().contains("the user said no"), "{}", failed.raw);
        assert_eq!(proxy.got("sample", "tools/call").len(), 1);
    });
}

#[test]
fn who_cannot_be_asked_is_not() {
    play(async {
        let page = json!({"method": ELICIT, "params": {"mode": "url", "message": "m", "url": "https://x.invalid"}});
        let roots = json!({"method": "roots/list"});
        let all = [("form", form("?")), ("page", page), ("sample", sampling_of("?")), ("roots", roots)];
        let setup = all.iter().fold(proxy(), |setup, (name, it)| setup.server(name, asking(json!({"k": it})).into()));
        let proxy = setup.start().await;
        for (name, _) in &all {
            let client = proxy.legacy(REVISION);
            let client = if *name == "page" { client.with(elicitation()) } else { client };
            let caller = client.connect(name).await;
            let answer = caller.call("x", json!({})).await;
            match *name {
                "form" | "page" => assert_eq!(answer.json(), json!({"k": {"action": "cancel"}})),
                _ => assert_eq!(answer.code(), -32603, "{}", answer.raw),
            }
            caller.hears_nothing().await;
        }
    });
}

#[test]
fn a_person_who_never_answers_ends_the_call_and_the_time_till_then_does_not_count() {
    play(async {
        let proxy = proxy()
            .server("new", modern(|_| {}))
            .set(|server| (server.timeout.call, server.timeout.ask) = (seconds(5), seconds(300)))
            .start()
            .await;
        let caller = proxy.legacy(REVISION).with(elicitation()).connect("new").await;
        let call = caller.begin("ask_elicit", json!({"message": "?"}));
        let ask = caller.asked(ELICIT).await;
        after(seconds(200)).await;
        ask.answer(json!({"action": "decline"}));
        assert_eq!(call.answer().await.json()["action"], "decline");
        let call = caller.begin("ask_elicit", json!({"message": "?"}));
        let ask = caller.asked(ELICIT).await;
        let late = call.answer().await;
        assert_eq!((late.code(), late.reason()), (504, Some("ask_timeout")));
        assert_eq!(caller.heard("notifications/cancelled").await["params"]["requestId"], ask.request["id"]);
        ask.answer(json!({"action": "decline"}));
        caller.hears_nothing().await;
    });
}

#[test]
fn a_server_that_does_not_stop_asking_is_stopped() {
    play(async {
        let endless = modern_script().on("tools/call", |call, say| ask(call, say, &json!({"k": form("again?")})));
        let proxy = proxy().server("new", endless.into()).config(|config| config.limits.rounds = 3).start().await;
        let caller = proxy.legacy(REVISION).with(elicitation()).connect("new").await;
        let answer = caller.converse("x", json!({}), obliging).await;
        assert_eq!((answer.code(), answer.reason()), (502, Some("server_misbehaved")));
        assert!((3..=4).contains(&proxy.got("new", "tools/call").len()));
    });
}

#[test]
fn an_answer_that_requires_nothing_is_retried_at_once() {
    play(async {
        let pausing =
            modern_script().on("tools/call", |call, say| match call.value["params"]["requestState"].as_str() {
                None => say.result(call, json!({"resultType": "input_required", "requestState": "s"})),
                Some(state) => {
                    say.result(call, json!({"resultType": "complete", "content": [{"type": "text", "text": state}]}))
                }
            });
        let proxy = proxy().server("new", pausing.into()).start().await;
        let caller = proxy.legacy(REVISION).connect("new").await;
        assert_eq!(caller.call("x", json!({})).await.text(), "s");
    });
}

#[test]
fn asks_come_in_prompts_and_resources_too_and_in_nothing_else() {
    play(async {
        fn step(call: &Heard, say: &Say, result: Value) {
            match call.value["params"].get("requestState") {
                None => ask(call, say, &json!({"k": form("?")})),
                Some(_) => say.result(call, result),
            }
        }
        let curious = modern_script()
            .capable(json!({"prompts": {}, "resources": {}, "completions": {}, "tools": {}}))
            .on("prompts/get", |it, say| step(it, say, json!({"resultType": "complete", "messages": []})))
            .on("resources/read", |it, say| {
                step(it, say, json!({"resultType": "complete", "contents": [], "ttlMs": 0, "cacheScope": "private"}))
            })
            .on("completion/complete", |it, say| ask(it, say, &json!({"k": form("?")})));
        let proxy = proxy().server("new", curious.into()).start().await;
        let caller = proxy.legacy(REVISION).with(elicitation()).connect("new").await;
        for (method, params) in [("prompts/get", json!({"name": "p"})), ("resources/read", json!({"uri": "x:1"}))] {
            let call = caller.request(method, params);
            caller.asked(ELICIT).await.answer(json!({"action": "decline"}));
            call.answer().await.result();
        }
        let params = json!({"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": ""}});
        let refused = caller.ask("completion/complete", params).await;
        assert_eq!((refused.code(), refused.reason()), (502, Some("server_misbehaved")));
        caller.hears_nothing().await;
    });
}

async fn waiting<'a>(caller: &'a Caller) -> (crate::support::Pending<'a>, crate::support::Ask<'a>) {
    let call = caller.begin("ask_elicit", json!({"message": "?"}));
    (call, caller.asked(ELICIT).await)
}

#[test]
fn a_cancelled_call_takes_its_questions_back_and_is_not_retried() {
    play(async {
        let proxy = proxy().server("new", modern(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).with(elicitation()).connect("new").await;
        let (call, ask) = waiting(&caller).await;
        call.cancel();
        assert_eq!(caller.heard("notifications/cancelled").await["params"]["requestId"], ask.request["id"]);
        ask.answer(json!({"action": "decline"}));
        caller.hears_nothing().await;
        assert_eq!(proxy.got("new", "tools/call").len(), 1);
    });
}

#[test]
fn an_answer_goes_back_to_the_process_that_asked_and_fails_if_that_is_gone() {
    play(async {
        let proxy = proxy()
            .server("new", modern(|_| {}))
            .set(|server| (server.concurrency, server.instances.max) = (1, 2))
            .start()
            .await;
        let a = proxy.legacy(REVISION).with(elicitation()).connect("new").await;
        let b = proxy.legacy(REVISION).with(sampling()).connect("new").await;
        let (call, ask) = waiting(&a).await;
        let busy = b.begin("slow", json!({"ms": 100}));
        settled().await;
        ask.answer(json!({"action": "decline"}));
        assert_eq!(call.answer().await.json()["action"], "decline");
        busy.answer().await.result();
        let asked = proxy.process("new", 0).got("tools/call").len();
        let (call, ask) = waiting(&a).await;
        let at = usize::from(proxy.process("new", 0).got("tools/call").len() == asked);
        proxy.process("new", at).crash().await;
        ask.answer(json!({"action": "decline"}));
        let answer: Answer = call.answer().await;
        assert!(answer.value.get("error").is_some(), "its state died with it: {}", answer.raw);
        a.call("echo", json!({})).await.result();
    });
}
