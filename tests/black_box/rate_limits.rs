//! Who calls too often is told when to come back, before anything of it reaches a server, and nobody else pays for it.

use std::num::NonZeroU32;
use std::time::Duration;

use mcpool::config::{Rate, RateLimit};
use serde_json::json;
use tokio::time::Instant;

use crate::support::{Answer, Behaviour, Caller, Proxy, after, legacy, modern, moody, play, proxy, seconds, settled};

const REVISION: &str = "2025-06-18";

fn rate(count: u32, secs: u64) -> Option<Rate> {
    NonZeroU32::new(count).map(|count| Rate { count, per: seconds(secs) })
}

fn limits(per_caller: Option<Rate>, total: Option<Rate>) -> RateLimit {
    RateLimit { per_caller, total, tools: Default::default(), kinds: None }
}

async fn limited(behaviour: Behaviour, limits: RateLimit) -> Proxy {
    proxy().server("echo", behaviour).set(|server| server.rate_limit = limits).start().await
}

async fn refused(caller: &Caller, tool: &str) -> Answer {
    let clock = Instant::now();
    let answer = caller.call(tool, json!({})).await;
    assert_eq!((answer.code(), answer.reason()), (429, Some("rate_limited")), "{}", answer.raw);
    assert_eq!(clock.elapsed(), Duration::ZERO);
    answer
}

async fn passes(caller: &Caller, tool: &str) {
    let answer = caller.call(tool, json!({})).await;
    assert!(answer.value["result"].is_object(), "{}", answer.raw);
}

#[test]
fn a_caller_that_had_its_share_is_told_when_there_is_more_and_others_have_theirs() {
    play(async {
        let proxy = limited(legacy(|_| {}), limits(rate(2, 10), None)).await;
        let greedy = proxy.legacy(REVISION).connect("echo").await;
        let modest = proxy.legacy(REVISION).connect("echo").await;
        passes(&greedy, "echo").await;
        passes(&greedy, "echo").await;
        let wait = refused(&greedy, "echo").await.retry_after();
        assert!(wait > seconds(4) && wait <= seconds(5), "{wait:?}");
        for _ in 0..20 {
            refused(&greedy, "echo").await;
        }
        passes(&modest, "echo").await;
        passes(&modest, "echo").await;
        assert_eq!(proxy.got("echo", "tools/call").len(), 4);
        // Who was refused has not lost anything by asking.
        after(wait).await;
        passes(&greedy, "echo").await;
        refused(&greedy, "echo").await;
        assert_eq!(proxy.server("echo")["refused"]["rate_limited"], 22);
    });
}

#[test]
fn all_callers_together_have_a_share_too() {
    play(async {
        let proxy = limited(legacy(|_| {}), limits(rate(2, 10), rate(3, 30))).await;
        let (a, b) = (proxy.legacy(REVISION).connect("echo").await, proxy.legacy(REVISION).connect("echo").await);
        passes(&a, "echo").await;
        passes(&a, "echo").await;
        // What it is refused for its own sake uses up nothing of all.
        refused(&a, "echo").await;
        passes(&b, "echo").await;
        let wait = refused(&b, "echo").await.retry_after();
        assert!(wait > seconds(9) && wait <= seconds(10), "{wait:?}");
        after(wait).await;
        passes(&b, "echo").await;
    });
}

#[test]
fn a_tool_has_one_share_by_whatever_name_it_is_called() {
    play(async {
        let tools = [("echo".to_owned(), rate(2, 60).expect("a rate"))].into();
        let limits = RateLimit { tools, ..limits(None, None) };
        let proxy = limited(legacy(|_| {}), limits).await;
        let own = proxy.legacy(REVISION).connect("echo").await;
        let all = proxy.legacy(REVISION).connect("all").await;
        let new = proxy.modern().connect("echo").await;
        passes(&own, "echo").await;
        passes(&all, "echo__echo").await;
        refused(&own, "echo").await;
        refused(&all, "echo__echo").await;
        let wait = refused(&new, "echo").await.retry_after();
        passes(&own, "whoami").await;
        passes(&all, "echo__whoami").await;
        after(wait).await;
        passes(&new, "echo").await;
        refused(&all, "echo__echo").await;
    });
}

#[test]
fn what_mcpool_answers_itself_is_nobodys_share() {
    play(async {
        for behaviour in [legacy(|_| {}), modern(|_| {})] {
            let proxy = limited(behaviour, limits(rate(2, 60), rate(10, 60))).await;
            let caller = proxy.legacy(REVISION).connect("echo").await;
            for _ in 0..20 {
                assert!(!caller.ask("tools/list", json!({})).await.names().is_empty());
                caller.ask("ping", json!({})).await.result();
            }
            passes(&caller, "echo").await;
            passes(&caller, "echo").await;
            refused(&caller, "echo").await;
        }
    });
}

#[test]
fn subscribing_and_leaving_again_and_again_is_limited_as_calls_are() {
    play(async {
        for behaviour in [legacy(|_| {}), modern(|_| {})] {
            let proxy = limited(behaviour, limits(rate(10, 60), None)).await;
            let caller = proxy.legacy(REVISION).connect("echo").await;
            let mut refused = 0;
            for _ in 0..20 {
                for method in ["resources/subscribe", "resources/unsubscribe"] {
                    let answer = caller.ask(method, json!({"uri": "demo://note/1"})).await;
                    refused += usize::from(answer.reason() == Some("rate_limited"));
                }
            }
            assert_eq!(refused, 30);
        }
    });
}

#[test]
fn all_callers_together_have_so_many_calls_in_flight() {
    play(async {
        let proxy = proxy()
            .server("echo", legacy(|_| {}))
            .config(|config| (config.limits.in_flight, config.limits.in_flight_total) = (3, 4))
            .start()
            .await;
        let (a, b) = (proxy.legacy(REVISION).connect("echo").await, proxy.legacy(REVISION).connect("echo").await);
        let first = [(); 3].map(|()| a.begin("forget", json!({})));
        passes(&b, "echo").await;
        let _fourth = b.begin("forget", json!({}));
        let refused = b.call("echo", json!({})).await;
        assert_eq!((refused.code(), refused.reason()), (429, Some("caller_overloaded")));
        assert!(refused.message().contains("all callers"), "{}", refused.raw);
        first[0].cancel();
        crate::support::settled().await;
        passes(&b, "echo").await;
        // Those of a caller that hangs up are free again too.
        a.hang_up().await;
        let _more = [(); 2].map(|()| b.begin("forget", json!({})));
        let c = proxy.legacy(REVISION).connect("echo").await;
        passes(&c, "echo").await;
        assert_eq!(proxy.status()["callers"].as_array().map(Vec::len), Some(2));
    });
}

#[test]
fn a_call_counts_once_also_if_its_server_has_to_introduce_itself_or_lacks_the_era() {
    play(async {
        for server in [modern(|_| {}), legacy(|_| {})] {
            let proxy = limited(server, limits(rate(1, 10), None)).await;
            let caller = proxy.modern().connect("echo").await;
            passes(&caller, "echo").await;
            refused(&caller, "echo").await;
        }
    });
}

#[test]
fn a_level_counts_like_a_call() {
    play(async {
        let proxy = limited(legacy(|_| {}), limits(rate(2, 60), None)).await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        for level in ["debug", "info"] {
            caller.ask("logging/setLevel", json!({"level": level})).await.result();
        }
        let refused = caller.ask("logging/setLevel", json!({"level": "debug"})).await;
        assert_eq!((refused.code(), refused.reason()), (429, Some("rate_limited")), "{}", refused.raw);
    });
}

#[test]
fn a_notification_that_comes_too_fast_is_dropped_unless_mcpool_needs_it_itself() {
    play(async {
        let proxy = limited(moody().into(), limits(rate(3, 60), None)).await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let call = caller.begin("hang", json!({}));
        settled().await;
        (0..5).for_each(|n| caller.notify("notifications/x/hint", json!({"n": n})));
        call.cancel();
        settled().await;
        assert_eq!((proxy.got("echo", "notifications/x/hint").len(), proxy.dropped("rate_limited")), (2, 3));
        assert_eq!(proxy.got("echo", "notifications/cancelled").len(), 1);
    });
}
