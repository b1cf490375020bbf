//! A modern caller tells its roots in the middle of a call: for a server that decides by them it is asked once, not in each
//! call, and not for what no server could carry out.

use serde_json::{Value, json};

use crate::support::{Answer, Caller, Proxy, after, legacy, obliging, play, proxy, seconds, settled};

const MINE: &str = "file:///mine";

/// A server that is known to want roots.
async fn files() -> Proxy {
    let proxy = proxy().server("files", legacy(|options| options.ask_roots = true)).start().await;
    let known = proxy.legacy("2025-11-25").with_roots(&["file:///known"]).connect("files").await;
    known.call("echo", json!({})).await.result();
    known.hang_up().await;
    proxy
}

async fn modern(proxy: &Proxy) -> Caller {
    proxy.modern().with(json!({"roots": {}})).connect("files").await
}

fn is_asked(answer: &Answer) -> bool {
    answer.value["result"]["resultType"] == "input_required"
}

fn roots_of(answer: &Answer) -> Value {
    answer.json()["roots"]["roots"].clone()
}

#[test]
fn a_modern_caller_is_asked_for_its_roots_once_in_a_while() {
    play(async {
        let proxy = files().await;
        let caller = modern(&proxy).await;
        let first = caller.converse("whoami", json!({}), obliging).await;
        assert_eq!(roots_of(&first), json!([{"uri": MINE}]));
        after(seconds(29)).await;
        assert_eq!(roots_of(&caller.call("whoami", json!({})).await), json!([{"uri": MINE}]));
        after(seconds(1)).await;
        let again = caller.call("whoami", json!({})).await;
        assert_eq!(again.only_ask().1["method"], "roots/list");
        let moved = |_: &str, _: &Value| json!({"roots": [{"uri": "file:///elsewhere"}]});
        let answer = caller.retry("whoami", json!({}), &again, again.answers(moved)).answer().await;
        assert_eq!(roots_of(&answer), json!([{"uri": "file:///elsewhere"}]));
    });
}

#[test]
fn calls_that_come_at_once_wait_for_the_one_in_which_the_caller_is_asked() {
    play(async {
        let proxy = files().await;
        let caller = modern(&proxy).await;
        let first = caller.begin("whoami", json!({})).answer().await;
        assert!(is_asked(&first));
        let others: Vec<_> = (0..50).map(|_| caller.begin("whoami", json!({}))).collect();
        settled().await;
        caller.hears_nothing().await;
        let answer = caller.retry("whoami", json!({}), &first, first.answers(obliging)).answer().await;
        assert_eq!(roots_of(&answer), json!([{"uri": MINE}]));
        for other in others {
            assert_eq!(roots_of(&other.answer().await), json!([{"uri": MINE}]));
        }
    });
}

#[test]
fn where_the_caller_does_not_come_back_with_its_roots_another_of_its_calls_asks() {
    play(async {
        let proxy = files().await;
        let caller = modern(&proxy).await;
        let first = caller.call("whoami", json!({})).await;
        assert!(is_asked(&first));
        let clock = tokio::time::Instant::now();
        let late = caller.begin("whoami", json!({})).answer().await;
        assert!(is_asked(&late) && clock.elapsed() == seconds(10), "after {:?}", clock.elapsed());
        let waiting = caller.begin("whoami", json!({}));
        // Who comes back without an answer is asked again.
        let retry = caller.retry("whoami", json!({}), &late, json!({}));
        assert!(is_asked(&retry.answer().await));
        caller.hears_nothing().await;
        assert!(is_asked(&waiting.answer().await) && clock.elapsed() <= seconds(20), "after {:?}", clock.elapsed());
    });
}

#[test]
fn a_malformed_call_is_refused_and_nobody_is_asked_for_roots() {
    play(async {
        let proxy = files().await;
        let caller = modern(&proxy).await;
        for (method, params) in [
            ("tools/call", json!({"arguments": {}})),
            ("tools/call", json!({"name": "echo", "arguments": "text"})),
            ("resources/read", json!({})),
        ] {
            assert_eq!(caller.ask(method, params.clone()).await.code(), -32602, "{method} {params}");
        }
    });
}

#[test]
fn what_may_not_ask_goes_where_the_caller_has_told_its_roots() {
    play(async {
        let proxy = files().await;
        let caller = modern(&proxy).await;
        caller.converse("whoami", json!({}), obliging).await.result();
        let started = proxy.started("files");
        let params = json!({"ref": {"type": "ref/prompt", "name": "greet"}, "argument": {"name": "name", "value": ""}});
        caller.ask("completion/complete", params).await.result();
        assert_eq!(proxy.started("files"), started);
    });
}
