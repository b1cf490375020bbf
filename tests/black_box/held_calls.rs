//! A modern caller of a legacy server that asks in the middle of a call: the call is held until its caller comes back
//! with the answers, and nothing that is held is forgotten, mixed up or kept for ever.

use serde_json::{Value, json};

use crate::support::{
    Answer, Caller, Launched, Proxy, after, elicitation, everything, legacy, obliging, play, proxy, sample, sampling,
    script, seconds, settled,
};

const ELICIT: &str = "elicitation/create";
const SAMPLE: &str = "sampling/createMessage";

async fn old() -> Proxy {
    proxy().server("old", legacy(|_| {})).start().await
}

/// How many calls are held: in all, of the first caller, at the server.
fn held(proxy: &Proxy) -> (Value, Value, Value) {
    let status = proxy.status();
    (status["held"].clone(), status["callers"][0]["held"].clone(), proxy.server("old")["held"].clone())
}

/// The answers that a process got to what it asked under that id.
fn answers(process: &Launched, id: &str) -> Vec<Value> {
    let lines = process.lines();
    let messages = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages.filter(|message| message.get("method").is_none() && message["id"] == id).collect()
}

/// The caller of a call that asks about what is its own comes back with the answer.
async fn comes_back(caller: &Caller, first: &Answer) {
    let again = caller.retry("ask_elicit", json!({"message": "mine"}), first, first.answers(obliging));
    assert_eq!(again.answer().await.json()["content"]["answer"], "mine");
}

#[test]
fn an_ask_ends_the_request_and_the_retry_answers_it_and_gets_the_result() {
    play(async {
        let proxy = old().await;
        let caller = proxy.modern().with(elicitation()).connect("old").await;
        let first = caller.call("ask_elicit", json!({"message": "name?"})).await;
        let (key, ask) = first.only_ask();
        assert!(key.starts_with("ask-") && first.state().starts_with("mcpool.held."), "{}", first.raw);
        assert_eq!(first.result()["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "mcpool-demo");
        assert_eq!((&ask["method"], &ask["params"]["message"]), (&json!(ELICIT), &json!("name?")));
        assert_eq!(held(&proxy), (json!(1), json!(1), json!(1)));
        let answers = json!({key: {"action": "accept", "content": {"answer": "Ada"}}});
        let answer = caller.retry("ask_elicit", json!({"message": "name?"}), &first, answers).answer().await;
        assert_eq!(answer.json(), json!({"action": "accept", "content": {"answer": "Ada"}}));
        assert_eq!(answer.result()["resultType"], "complete");
        assert_eq!(held(&proxy), (json!(0), json!(0), json!(0)));
        assert_eq!(proxy.got("old", "tools/call").len(), 1, "the retry resumes the call, it does not repeat it");
        caller.hears_nothing().await;
    });
}

#[test]
fn every_kind_of_ask_crosses() {
    play(async {
        let proxy = old().await;
        let caller = proxy.modern().with(everything()).connect("old").await;
        let sampled = caller.converse("ask_sampling", json!({"prompt": "p"}), obliging).await;
        assert_eq!(sampled.json()["content"]["text"], "p");
        let filled = caller.converse("ask_elicit", json!({"message": "m"}), obliging).await;
        assert_eq!(filled.json()["content"]["answer"], "m");
        let visited = caller.converse("ask_url", json!({}), |method, params| {
            assert!(params.get("elicitationId").is_none(), "the modern era has none: {params}");
            obliging(method, params)
        });
        assert_eq!(visited.await.json()["action"], "accept");
        let roots = caller.converse("ask_roots", json!({}), obliging).await;
        assert_eq!(roots.json()["roots"], json!([{"uri": "file:///mine"}]));
        caller.hears_nothing().await;
    });
}

#[test]
fn two_asks_go_into_one_answer_under_keys_of_their_own() {
    play(async {
        let proxy = old().await;
        let caller = proxy.modern().with(everything()).connect("old").await;
        let first = caller.call("ask_two", json!({})).await;
        assert_eq!(first.asks().len(), 2, "{}", first.raw);
        let answers = first.answers(obliging);
        let answer = caller.retry("ask_two", json!({}), &first, answers).answer().await.json();
        assert_eq!(answer[0]["content"]["text"], "first of two");
        assert_eq!(answer[1]["content"]["answer"], "second of two");
    });
}

#[test]
fn what_was_not_answered_is_asked_again_and_what_was_not_asked_is_ignored() {
    play(async {
        let proxy = old().await;
        let caller = proxy.modern().with(everything()).connect("old").await;
        let first = caller.call("ask_two", json!({})).await;
        let asks = first.asks();
        let (form, sampled) = if asks[0].1["method"] == ELICIT { (&asks[0], &asks[1]) } else { (&asks[1], &asks[0]) };
        let some = json!({form.0.clone(): {"action": "decline"}, "ask-999": {"action": "cancel"}, "x": sample("x")});
        let second = caller.retry("ask_two", json!({}), &first, some).answer().await;
        assert_eq!(second.only_ask(), sampled.clone(), "under the same key, and it alone");
        assert_ne!(second.state(), first.state());
        let none = caller.retry("ask_two", json!({}), &second, json!({})).answer().await;
        assert_eq!(none.only_ask(), sampled.clone());
        let rest = json!({sampled.0.clone(): sample("s")});
        let answer = caller.retry("ask_two", json!({}), &none, rest).answer().await.json();
        assert_eq!((&answer[0]["content"]["text"], &answer[1]), (&json!("s"), &json!({"action": "decline"})));
    });
}

#[test]
fn an_answer_that_is_no_object_is_refused_and_the_call_stays_held() {
    play(async {
        let proxy = old().await;
        let caller = proxy.modern().with(elicitation()).connect("old").await;
        let first = caller.call("ask_elicit", json!({"message": "?"})).await;
        let key = first.only_ask().0;
        for wrong in [json!("yes"), json!(null), json!([1])] {
            let refused = caller.retry("ask_elicit", json!({"message": "?"}), &first, json!({key.clone(): wrong}));
            assert_eq!(refused.answer().await.code(), -32602);
        }
        let right = json!({key: {"action": "decline"}});
        let answer = caller.retry("ask_elicit", json!({"message": "?"}), &first, right).answer().await;
        assert_eq!(answer.json()["action"], "decline");
    });
}

#[test]
fn three_rounds_are_three_answers_and_one_call() {
    play(async {
        let proxy = old().await;
        let caller = proxy.modern().with(elicitation()).connect("old").await;
        let (arguments, mut keys) = (json!({"n": 3}), Vec::new());
        let mut answer = caller.call("ask_rounds", arguments.clone()).await;
        for round in 1..=3 {
            let (key, ask) = answer.only_ask();
            assert_eq!(ask["params"]["message"], format!("round {round} of 3"));
            keys.push(key);
            answer = caller.retry("ask_rounds", arguments.clone(), &answer, answer.answers(obliging)).answer().await;
        }
        assert_eq!(answer.json()[2]["content"]["answer"], "round 3 of 3");
        keys.dedup();
        assert_eq!((keys.len(), proxy.got("old", "tools/call").len()), (3, 1));
    });
}

#[test]
fn progress_after_the_retry_comes_under_the_token_of_the_retry() {
    play(async {
        let telling = script()
            .on("tools/call", |call, say| {
                say.notify("notifications/progress", json!({"progressToken": call.token(), "progress": 1}));
                say.ask(&format!("q {}|{}", call.id(), call.token()), ELICIT, json!({"message": "?", "requestedSchema": {"type": "object", "properties": {}}}));
            })
            .on("", |answer, say| {
                let id = answer.id().as_str().expect("its id")[2..].to_owned();
                let (call, token) = id.split_once('|').expect("both");
                say.line(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":2}}}}"#));
                say.line(&format!(r#"{{"jsonrpc":"2.0","id":{call},"result":{{"content":[]}}}}"#));
            });
        let proxy = proxy().server("old", telling.into()).start().await;
        let caller = proxy.modern().with(elicitation()).connect("old").await;
        let first = caller.begin_telling(json!("one"), "x", json!({})).answer().await;
        assert_eq!(
            caller.heard("notifications/progress").await["params"],
            json!({"progressToken": "one", "progress": 1})
        );
        let params = json!({"name": "x", "arguments": {}, "_meta": {"progressToken": "two"}});
        caller.come_back("tools/call", params, &first, first.answers(obliging)).answer().await.result();
        assert_eq!(
            caller.heard("notifications/progress").await["params"],
            json!({"progressToken": "two", "progress": 2})
        );
        caller.hears_nothing().await;
    });
}

#[test]
fn prompts_and_resources_ask_too_and_whatever_else_asks_is_refused() {
    play(async {
        let curious = script()
            .capable(json!({"prompts": {}, "resources": {}, "completions": {}, "tools": {}}))
            .on("prompts/get", |_, say| say.ask("p", SAMPLE, json!({"messages": [], "maxTokens": 1})))
            .on("resources/read", |_, say| say.ask("r", SAMPLE, json!({"messages": [], "maxTokens": 1})))
            .on("completion/complete", |it, say| {
                say.ask("c", SAMPLE, json!({"messages": [], "maxTokens": 1}));
                say.result(it, json!({"completion": {"values": []}}));
            });
        let proxy = proxy().server("old", curious.into()).start().await;
        let caller = proxy.modern().with(sampling()).connect("old").await;
        let params = json!({"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": ""}});
        caller.ask("completion/complete", params).await.result();
        settled().await;
        assert!(answers(&proxy.process("old", 0), "c")[0].get("error").is_some());
        for (id, method, params) in
            [("p", "prompts/get", json!({"name": "p"})), ("r", "resources/read", json!({"uri": "x:1"}))]
        {
            let first = caller.ask(method, params.clone()).await;
            assert_eq!(first.only_ask().1["method"], SAMPLE);
            let retry = caller.come_back(method, params, &first, first.answers(obliging));
            settled().await;
            let told: Vec<_> =
                (0..proxy.started("old")).flat_map(|at| answers(&proxy.process("old", at), id)).collect();
            assert_eq!(told.iter().map(|it| &it["result"]["role"]).collect::<Vec<_>>(), ["assistant"], "{method}");
            retry.cancel();
        }
    });
}

#[test]
fn who_declared_no_such_capability_is_not_asked() {
    play(async {
        let curious = script()
            .on("tools/call", |_, say| say.ask("q", SAMPLE, json!({"messages": [], "maxTokens": 1})))
            .on("", |answer, say| {
                if answer.id() == "q" {
                    say.line(r#"{"jsonrpc":"2.0","id":"told","method":"ping"}"#);
                }
            });
        let proxy = proxy().server("old", curious.into()).start().await;
        let caller = proxy.modern().with(elicitation()).connect("old").await;
        let _call = caller.begin("x", json!({}));
        settled().await;
        let process = proxy.process("old", 0);
        let told = answers(&process, "q");
        assert_eq!((told.len(), told[0].get("error").is_some()), (1, true));
        assert_eq!(answers(&process, "told").len(), 1);
        caller.hears_nothing().await;
    });
}

#[test]
fn a_cancelled_retry_cancels_the_call_that_it_took_over() {
    play(async {
        let slow = script().on("tools/call", |_, say| say.ask("q", SAMPLE, json!({"messages": [], "maxTokens": 1})));
        let proxy = proxy().server("old", slow.into()).start().await;
        let caller = proxy.modern().with(sampling()).connect("old").await;
        let first = caller.call("x", json!({})).await;
        let retry = caller.retry("x", json!({}), &first, first.answers(obliging));
        settled().await;
        retry.cancel();
        settled().await;
        let cancelled = proxy.got("old", "notifications/cancelled");
        assert_eq!(cancelled[0]["params"]["requestId"], proxy.got("old", "tools/call")[0]["id"]);
        caller.hears_nothing().await;
    });
}

#[test]
fn calls_of_one_caller_that_may_be_asked_run_side_by_side_and_are_asked_in_the_oldest() {
    play(async {
        let proxy = old().await;
        let caller = proxy.modern().with(elicitation()).connect("old").await;
        caller.converse("ask_elicit", json!({"message": "first"}), obliging).await.result();
        assert_eq!(proxy.server("old")["lease"]["kind"], "call");
        let (a, b) =
            (caller.begin("ask_elicit", json!({"message": "a"})), caller.begin("ask_elicit", json!({"message": "b"})));
        let first = a.answer().await;
        let mut asked: Vec<_> = first.asks().into_iter().map(|(_, ask)| ask["params"]["message"].clone()).collect();
        asked.sort_by_key(ToString::to_string);
        assert_eq!(asked, ["a", "b"]);
        let a = caller.retry("ask_elicit", json!({"message": "a"}), &first, first.answers(obliging)).answer().await;
        assert_eq!(a.json()["content"]["answer"], "a");
        assert_eq!(b.answer().await.json()["content"]["answer"], "b", "each answer is that to its own question");
        assert_eq!(proxy.started("old"), 1);
    });
}

#[test]
fn fifty_calls_of_one_caller_run_at_once_and_a_fast_one_does_not_wait_for_slow_ones() {
    play(async {
        let proxy = old().await;
        let caller = proxy.modern().with(everything()).connect("old").await;
        caller.converse("ask_elicit", json!({"message": "first"}), obliging).await.result();
        let clock = tokio::time::Instant::now();
        let slow: Vec<_> = (0..50).map(|_| caller.begin("slow", json!({"ms": 1000}))).collect();
        caller.call("echo", json!({})).await.result();
        assert!(clock.elapsed() < seconds(1), "after {:?}", clock.elapsed());
        for call in slow {
            call.answer().await.result();
        }
        assert!(clock.elapsed() < seconds(2), "after {:?}", clock.elapsed());
        assert_eq!(proxy.started("old"), 2, "32 on each");
    });
}

#[test]
fn a_question_that_may_belong_to_either_of_two_calls_waits_a_moment_for_the_one_that_remains() {
    play(async {
        let proxy = old().await;
        let caller = proxy.modern().with(elicitation()).connect("old").await;
        let fast = caller.begin("slow", json!({"ms": 50}));
        let asking = caller.begin("ask_elicit", json!({"message": "mine"}));
        fast.answer().await.result();
        let first = asking.answer().await;
        assert_eq!(first.only_ask().1["params"]["message"], "mine");
        comes_back(&caller, &first).await;
        assert_eq!(proxy.started("old"), 1);
    });
}

#[test]
fn a_question_that_was_put_in_another_call_is_answered_though_that_call_is_over_by_then() {
    play(async {
        let proxy = old().await;
        let caller = proxy.modern().with(elicitation()).connect("old").await;
        let slow = caller.begin("slow", json!({"ms": 3000}));
        let asking = caller.begin("ask_elicit", json!({"message": "mine"}));
        let first = slow.answer().await;
        assert_eq!(first.only_ask().1["params"]["message"], "mine");
        after(seconds(5)).await;
        let over = caller.retry("slow", json!({"ms": 3000}), &first, first.answers(obliging)).answer().await;
        assert_eq!(over.text(), "slept 3000 ms in 1 steps");
        assert_eq!(asking.answer().await.json()["content"]["answer"], "mine");
    });
}

#[test]
fn a_question_that_was_put_in_a_call_that_is_given_up_goes_to_the_next() {
    play(async {
        let proxy = old().await;
        let caller = proxy.modern().with(elicitation()).connect("old").await;
        let slow = caller.begin("slow", json!({"ms": 105}));
        let asking = caller.begin("ask_elicit", json!({"message": "mine"}));
        // It ends while its caller is about to be asked in it.
        slow.answer().await.result();
        let first = asking.answer().await;
        comes_back(&caller, &first).await;
    });
}
