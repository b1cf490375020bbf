//! Whoever takes much of what all share leaves room for those who take little, however many connections it has.

use std::num::NonZeroU32;

use mcpool::config::{Rate, RateLimit};
use serde_json::{Value, json};

use crate::support::{Answer, Caller, Proxy, after, legacy, play, proxy, script, seconds, settled};

const REVISION: &str = "2025-06-18";

/// Two servers, one of which answers no calls, and totals of a hundred.
async fn tight() -> Proxy {
    proxy()
        .server("quiet", script().on("tools/call", |_, _| {}).into())
        .server("echo", legacy(|_| {}))
        .set(|server| server.concurrency = 1000)
        .config(|config| (config.limits.in_flight, config.limits.in_flight_total) = (60, 100))
        .start()
        .await
}

async fn passes(caller: &Caller) {
    let answer = caller.call("echo", json!({})).await;
    assert_eq!(answer.text(), "{}", "{}", answer.raw);
}

fn is_overload(answer: &Answer) -> bool {
    (answer.code(), answer.reason()) == (429, Some("caller_overloaded"))
}

#[test]
fn two_greedy_callers_leave_the_last_tenth_of_all_calls_to_those_who_have_none() {
    play(async {
        let proxy = tight().await;
        let greedy = [(); 2].map(|()| proxy.legacy(REVISION).of_process(7));
        let mut calls = Vec::new();
        let greedy = {
            let [one, other] = greedy;
            [one.connect("quiet").await, other.connect("quiet").await]
        };
        for caller in &greedy {
            calls.extend((0..60).map(|_| caller.begin("x", json!({}))));
        }
        settled().await;
        let modest = proxy.legacy(REVISION).of_process(8).connect("echo").await;
        passes(&modest).await;
        assert_eq!(proxy.server("quiet")["refused"]["caller_overloaded"], 30);
        // Neither needs what mcpool answers itself a place.
        greedy[1].ask("ping", json!({})).await.result();
        assert!(!modest.ask("tools/list", json!({})).await.names().is_empty());
    });
}

#[test]
fn what_mcpool_answers_itself_needs_no_permit_until_it_has_to_wait() {
    play(async {
        let proxy = proxy()
            .server("quiet", script().on("tools/call", |_, _| {}).on("prompts/list", |_, _| {}).into())
            .config(|config| config.limits.in_flight = 2)
            .start()
            .await;
        let caller = proxy.legacy(REVISION).connect("quiet").await;
        let calls = [(); 2].map(|()| caller.begin("x", json!({})));
        assert!(is_overload(&caller.call("x", json!({})).await));
        for _ in 0..10 {
            caller.ask("ping", json!({})).await.result();
        }
        assert!(is_overload(&caller.ask("prompts/list", json!({})).await), "it has to wait for its server");
        calls[0].cancel();
        settled().await;
        let list = caller.request("prompts/list", json!({}));
        settled().await;
        assert!(is_overload(&caller.call("x", json!({})).await), "and is one of its calls then");
        drop(list);
    });
}

#[test]
fn an_opening_for_which_there_is_no_place_may_be_tried_again() {
    play(async {
        let proxy = proxy()
            .server("quiet", script().on("tools/call", |_, _| {}).into())
            .server("echo", legacy(|_| {}))
            .config(|config| config.limits.in_flight_total = 1)
            .start()
            .await;
        let busy = proxy.legacy(REVISION).connect("quiet").await;
        let call = busy.begin("x", json!({}));
        settled().await;
        let caller = proxy.dial("echo");
        let opening =
            json!({ "protocolVersion": REVISION, "capabilities": {}, "clientInfo": { "name": "c", "version": "1" } });
        assert!(is_overload(&caller.ask("initialize", opening.clone()).await));
        call.cancel();
        settled().await;
        caller.ask("initialize", opening).await.result();
    });
}

#[test]
fn a_method_of_the_other_era_is_a_call_as_any_other() {
    play(async {
        let proxy = rated(rate(2, 60), None).await;
        let caller = proxy.modern().connect("echo").await;
        for number in 0..3 {
            let answer = caller.ask("ping", json!({})).await;
            assert_eq!(answer.reason() == Some("rate_limited"), number >= 2, "{number}: {}", answer.raw);
        }
    });
}

fn rate(count: u32, secs: u64) -> Option<Rate> {
    NonZeroU32::new(count).map(|count| Rate { count, per: seconds(secs) })
}

async fn rated(per_caller: Option<Rate>, total: Option<Rate>) -> Proxy {
    let limits = RateLimit { per_caller, total, ..RateLimit::default() };
    proxy().server("echo", legacy(|_| {})).set(|server| server.rate_limit = limits).start().await
}

#[test]
fn another_connection_of_a_process_brings_no_more_of_a_rate_also_when_the_first_has_left() {
    play(async {
        let proxy = rated(rate(2, 60), None).await;
        for number in 0..4 {
            let caller = proxy.legacy(REVISION).of_process(7).connect("echo").await;
            let answer = caller.call("echo", json!({})).await;
            assert_eq!(answer.reason() == Some("rate_limited"), number >= 2, "{number}: {}", answer.raw);
            caller.hang_up().await;
            settled().await;
        }
        passes(&proxy.legacy(REVISION).of_process(8).connect("echo").await).await;
        after(seconds(60)).await;
        passes(&proxy.legacy(REVISION).of_process(7).connect("echo").await).await;
    });
}

#[test]
fn the_last_tenth_of_a_rate_is_for_those_who_had_none_for_a_while() {
    play(async {
        let proxy = rated(None, rate(100, 100)).await;
        let greedy = proxy.legacy(REVISION).connect("echo").await;
        let modest = proxy.legacy(REVISION).connect("echo").await;
        let mut passed = 0;
        for _ in 0..200 {
            passed += usize::from(greedy.call("echo", json!({})).await.reason().is_none());
        }
        assert_eq!(passed, 90);
        passes(&modest).await;
    });
}

#[test]
fn lists_that_come_too_fast_are_refused_and_take_nothing_of_what_calls_may_have() {
    play(async {
        let proxy = rated(rate(10, 1), None).await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let mut refused = 0;
        for _ in 0..1400 {
            refused += usize::from(caller.ask("tools/list", json!({})).await.reason() == Some("rate_limited"));
        }
        assert!(refused >= 1290, "{refused}");
        for _ in 0..10 {
            passes(&caller).await;
        }
    });
}

#[test]
fn one_process_leaves_the_last_places_of_an_endpoint_to_others() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).config(|config| config.limits.callers = 10).start().await;
        let mut crowd = Vec::new();
        for _ in 0..9 {
            crowd.push(proxy.legacy(REVISION).of_process(7).connect("echo").await);
        }
        proxy.legacy(REVISION).of_process(7).turned_away("echo").await;
        let modest = proxy.legacy(REVISION).of_process(8).connect("echo").await;
        passes(&modest).await;
    });
}

/// What of all calls in flight is taken.
fn taken(proxy: &Proxy) -> Value {
    proxy.status()["shares"]["in_flight"]["taken"].clone()
}

#[test]
fn calls_that_run_go_on_beyond_a_lower_total_and_no_more_are_taken_until_there_is_room() {
    play(async {
        let proxy = tight().await;
        let greedy = proxy.legacy(REVISION).of_process(7).connect("quiet").await;
        let modest = proxy.legacy(REVISION).of_process(8).connect("echo").await;
        let calls: Vec<_> = (0..20).map(|_| greedy.begin("x", json!({}))).collect();
        settled().await;
        proxy.reload(|config| (config.limits.in_flight, config.limits.in_flight_total) = (10, 10)).await;
        assert!(is_overload(&modest.call("echo", json!({})).await));
        calls[..11].iter().for_each(|call| call.cancel());
        settled().await;
        assert_eq!(taken(&proxy), 9);
        passes(&modest).await;
        assert!(is_overload(&greedy.call("x", json!({})).await));
    });
}

#[test]
fn who_hangs_up_gives_everything_back_and_the_other_connections_of_the_process_go_on() {
    play(async {
        let proxy = tight().await;
        let one = proxy.legacy(REVISION).of_process(7).connect("quiet").await;
        let other = proxy.legacy(REVISION).of_process(7).connect("quiet").await;
        (0..60).for_each(|_| drop(one.begin("x", json!({}))));
        let calls: Vec<_> = (0..30).map(|_| other.begin("x", json!({}))).collect();
        settled().await;
        assert_eq!(taken(&proxy), 90);
        one.hang_up().await;
        settled().await;
        assert_eq!(taken(&proxy), 30);
        drop(calls);
        (0..30).for_each(|_| drop(other.begin("x", json!({}))));
        settled().await;
        assert_eq!(taken(&proxy), 60);
        proxy.mux.with(mcpool::mux::Mux::shut_down);
        other.hang_up().await;
        settled().await;
        assert_eq!(taken(&proxy), 0);
    });
}
