//! A sick server's calls are refused at once instead of waiting for what will not come, and one call at a time finds
//! out whether it works again.

use std::num::NonZeroU32;
use std::time::Duration;

use mcpool::config::{Breaker, Rate, Server};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    Answer, Behaviour, Caller, Proxy, after, moody, named, play, proxy, sampling, seconds, settled, unstartable,
};

const REVISION: &str = "2025-06-18";

/// A server that is sick after so many failures in a row.
pub async fn server(behaviour: Behaviour, failures: u32, set: impl FnOnce(&mut Server)) -> Proxy {
    let breaker =
        Breaker { failures: NonZeroU32::new(failures), open: seconds(10), open_max: seconds(40), per_tool: false };
    let set = |server: &mut Server| {
        server.breaker = breaker;
        set(server);
    };
    proxy().server("moody", behaviour).set(set).start().await
}

pub async fn caller(proxy: &Proxy) -> Caller {
    proxy.legacy(REVISION).connect("moody").await
}

pub fn state(proxy: &Proxy) -> (String, u64) {
    let breaker = &proxy.server("moody")["breaker"];
    (breaker["state"].as_str().expect("a state").to_owned(), breaker["trips"].as_u64().expect("a number"))
}

/// The same for the one client whose calls alone are refused, if there is one.
pub fn alone(proxy: &Proxy) -> (String, u64) {
    assert_eq!(state(proxy).0, "closed", "nobody else is refused");
    let state = &proxy.server("moody")["breaker"]["clients"][0]["state"];
    (state.as_str().unwrap_or("closed").to_owned(), self::state(proxy).1)
}

pub fn is(state: &str, trips: u64) -> (String, u64) {
    (state.to_owned(), trips)
}

/// The tools that were called, in order.
pub fn called(proxy: &Proxy) -> Vec<String> {
    let name = |call: Value| call["params"]["name"].as_str().unwrap_or_default().to_owned();
    proxy.got("moody", "tools/call").into_iter().map(name).collect()
}

/// A call that is refused because of the breaker, and in no time.
pub async fn refused(caller: &Caller, tool: &str) -> Answer {
    let clock = Instant::now();
    let answer = caller.call(tool, json!({})).await;
    assert_eq!((answer.code(), answer.reason()), (503, Some("breaker_open")), "{}", answer.raw);
    assert_eq!(clock.elapsed(), Duration::ZERO);
    answer
}

#[test]
fn internal_errors_in_a_row_open_it_and_the_refusal_says_why_and_for_how_long() {
    play(async {
        let proxy = server(moody().into(), 2, |_| {}).await;
        let caller = caller(&proxy).await;
        for tool in ["sick", "ok", "sick"] {
            caller.call(tool, json!({})).await;
        }
        assert_eq!(alone(&proxy), is("closed", 0));
        assert_eq!(caller.call("sick", json!({})).await.code(), -32603);
        let answer = refused(&caller, "ok").await;
        assert!(answer.message().contains("internal error"), "{}", answer.raw);
        assert!((7_500..=12_500).contains(&answer.retry_after().as_millis()), "{}", answer.raw);
        assert_eq!(alone(&proxy), is("open", 1));
        assert_eq!(called(&proxy), ["sick", "ok", "sick", "sick"]);
        after(answer.retry_after()).await;
        assert_eq!(caller.call("ok", json!({})).await.text(), "ok");
        assert_eq!(alone(&proxy), is("closed", 1));
    });
}

#[test]
fn what_says_nothing_against_the_server_does_not_open_it() {
    play(async {
        let proxy = server(moody().into(), 1, |server| {
            (server.concurrency, server.instances.max, server.queue.size) = (1, 1, 1);
            let rate = Rate { count: NonZeroU32::MIN, per: seconds(60) };
            server.rate_limit.tools.insert("rare".to_owned(), rate);
        })
        .await;
        let caller = caller(&proxy).await;
        for code in [-32600, -32601, -32602, -32000, 1] {
            assert_eq!(caller.call("wrong", json!({"code": code})).await.code(), code);
        }
        assert_eq!(caller.call("fail", json!({})).await.result()["isError"], true);
        caller.call("rare", json!({})).await;
        assert_eq!(caller.call("rare", json!({})).await.reason(), Some("rate_limited"));
        let (hanging, waiting) = (caller.begin("hang", json!({})), caller.begin("ok", json!({})));
        assert_eq!(caller.call("ok", json!({})).await.reason(), Some("pool_exhausted"));
        hanging.cancel();
        assert_eq!(waiting.answer().await.text(), "ok");
        assert_eq!(state(&proxy), is("closed", 0));
    });
}

#[test]
fn calls_that_run_out_of_time_open_it_and_whoever_waits_is_refused_then() {
    play(async {
        let proxy = server(moody().into(), 2, |server| {
            (server.concurrency, server.instances.max) = (2, 1);
            server.timeout.call = seconds(5);
        })
        .await;
        let caller = caller(&proxy).await;
        let other = proxy.legacy(REVISION).connect("moody").await;
        let hanging = [caller.begin("hang", json!({})), caller.begin("hang", json!({}))];
        let waiting = [caller.begin("ok", json!({})), other.begin("ok", json!({}))];
        let clock = Instant::now();
        for call in hanging {
            assert_eq!(call.answer().await.reason(), Some("call_timeout"));
        }
        for call in waiting {
            // One may have taken the room that the first of them left.
            let answer = call.answer().await;
            assert!(answer.value["result"].is_object() || answer.reason() == Some("breaker_open"), "{}", answer.raw);
        }
        assert!(clock.elapsed() < seconds(6), "after {:?}", clock.elapsed());
        assert_eq!(alone(&proxy), is("open", 1));
    });
}

#[test]
fn who_waits_for_a_busy_server_is_refused_when_it_opens() {
    play(async {
        let proxy = server(moody().into(), 1, |server| {
            (server.concurrency, server.instances.max) = (2, 1);
        })
        .await;
        let (busy, other) = (caller(&proxy).await, caller(&proxy).await);
        let _hanging = busy.begin("hang", json!({}));
        let late = other.begin("late", json!({"ms": 1000}));
        settled().await;
        let waiting = [busy.begin("ok", json!({})), other.begin("ok", json!({}))];
        settled().await;
        proxy.process("moody", 0).crash().await;
        assert_eq!(late.answer().await.reason(), Some("server_died"));
        for call in waiting {
            assert_eq!(call.answer().await.reason(), Some("breaker_open"));
        }
        assert_eq!((alone(&proxy), proxy.server("moody")["queue"].clone()), (is("open", 1), json!(0)));
    });
}

#[test]
fn an_instance_that_dies_counts_once_however_many_calls_it_takes_along() {
    play(async {
        let proxy = server(moody().into(), 2, |_| {}).await;
        let caller = caller(&proxy).await;
        let calls = [(); 5].map(|()| caller.begin("hang", json!({})));
        assert_eq!(caller.call("die", json!({})).await.reason(), Some("server_died"));
        for call in calls {
            assert_eq!(call.answer().await.reason(), Some("server_died"));
        }
        assert_eq!(alone(&proxy), is("closed", 0));
        caller.call("die", json!({})).await;
        assert_eq!(alone(&proxy), is("open", 1));
        let answer = refused(&caller, "ok").await;
        assert!(answer.message().contains("ended by itself"), "{}", answer.raw);
    });
}

#[test]
fn a_server_that_cannot_be_started_is_refused_at_once_and_tried_by_one_start() {
    play(async {
        let proxy = server(unstartable(), 3, |_| {}).await;
        let opening =
            json!({"protocolVersion": REVISION, "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}});
        let caller = proxy.dial("moody");
        for _ in 0..3 {
            let failed = caller.ask("initialize", opening.clone()).await;
            assert_eq!(failed.reason(), Some("start_failed"), "{}", failed.raw);
            after(failed.retry_after()).await;
        }
        let clock = Instant::now();
        let open = caller.ask("initialize", opening.clone()).await;
        assert_eq!((open.reason(), clock.elapsed()), (Some("breaker_open"), Duration::ZERO), "{}", open.raw);
        assert!(open.message().contains("no such command"), "{}", open.raw);
        proxy.teach("moody", moody().into());
        after(open.retry_after()).await;
        assert!(caller.ask("initialize", opening).await.value["result"].is_object());
        caller.notify("notifications/initialized", json!({}));
        assert_eq!(caller.call("ok", json!({})).await.text(), "ok");
        assert_eq!((state(&proxy), proxy.started("moody")), (is("closed", 1), 1));
    });
}

#[test]
fn lists_that_are_known_are_shown_while_it_is_open() {
    play(async {
        let proxy = server(moody().into(), 1, |server| server.recycle.idle = seconds(3600)).await;
        let first = caller(&proxy).await;
        let names = ["ok", "reading", "steady", "writing", "denying"];
        assert_eq!(first.ask("tools/list", json!({})).await.names(), names);
        // Too old to be believed while there is an instance to ask.
        after(seconds(600)).await;
        first.call("sick", json!({})).await;
        refused(&first, "ok").await;
        assert_eq!(first.ask("tools/list", json!({})).await.names(), names);
        assert_eq!(caller(&proxy).await.ask("tools/list", json!({})).await.names(), names);
        assert_eq!(alone(&proxy), is("open", 1));
    });
}

#[test]
fn a_server_that_asks_and_then_dies_is_sick_all_the_same() {
    play(async {
        let asks_and_dies = moody().on("", |_, say| say.crash()).on("x/ask", |_, say| {
            say.ask("q", "sampling/createMessage", json!({"messages": [], "maxTokens": 1}));
        });
        let proxy = server(asks_and_dies.into(), 2, |_| {}).await;
        let caller = proxy.legacy(REVISION).with(sampling()).connect("moody").await;
        for _ in 0..2 {
            let call = caller.request("x/ask", json!({}));
            caller.asked("sampling/createMessage").await.answer(crate::support::sample("me"));
            assert_eq!(call.answer().await.reason(), Some("server_died"));
        }
        assert_eq!(alone(&proxy), is("open", 1));
    });
}

#[test]
fn a_server_that_lists_well_and_dies_in_every_call_is_sick() {
    play(async {
        let proxy = server(moody().into(), 3, |_| {}).await;
        let caller = caller(&proxy).await;
        caller.ask("tools/list", json!({})).await.result();
        for _ in 0..3 {
            assert_eq!(caller.call("die", json!({})).await.reason(), Some("server_died"));
        }
        assert_eq!(alone(&proxy), is("open", 1));
        assert!(proxy.got("moody", "tools/list").len() > 1, "each new instance is asked for what it has");
    });
}

#[test]
fn a_server_that_takes_subscriptions_well_and_dies_in_every_call_is_sick() {
    play(async {
        let able = moody().capable(json!({"tools": {}, "resources": {"subscribe": true}}));
        let able = able.on("resources/subscribe", |it, say| say.result(it, json!({})));
        let able = able.on("resources/unsubscribe", |it, say| say.result(it, json!({})));
        let proxy = server(able.into(), 3, |_| {}).await;
        let caller = caller(&proxy).await;
        for _ in 0..3 {
            for method in ["resources/subscribe", "resources/unsubscribe"] {
                caller.ask(method, json!({"uri": "moody://r"})).await.result();
            }
            assert_eq!(caller.call("die", json!({})).await.reason(), Some("server_died"));
        }
        assert_eq!(alone(&proxy), is("open", 1));
    });
}

#[test]
fn what_is_refused_to_an_odd_client_is_not_held_against_the_server() {
    play(async {
        let choosy = moody().on("initialize", |opening, say| {
            if opening.value["params"]["capabilities"]["experimental"].is_object() {
                say.error(opening, json!({"code": -32602, "message": "what is that?"}));
            } else {
                say.result(opening, crate::recycling::introduction());
            }
        });
        let proxy = server(choosy.into(), 2, |_| {}).await;
        let caller = caller(&proxy).await;
        assert_eq!(caller.call("ok", json!({})).await.text(), "ok");
        for number in 0..5 {
            let capabilities = json!({"experimental": {"odd": {"number": number}}});
            let client = json!({"name": "odd", "version": "1"});
            let opening = json!({"protocolVersion": REVISION, "capabilities": capabilities, "clientInfo": client});
            let refused = proxy.dial("moody").ask("initialize", opening).await;
            assert_eq!(refused.reason(), Some("start_failed"), "{}", refused.raw);
            assert!(refused.message().contains("what is that?"), "{}", refused.raw);
        }
        assert_eq!(state(&proxy), is("closed", 0));
        assert_eq!(caller.call("ok", json!({})).await.text(), "ok");
    });
}

#[test]
fn a_reload_closes_it_only_if_it_is_about_the_breaker() {
    play(async {
        let proxy = server(moody().into(), 1, |_| {}).await;
        let caller = caller(&proxy).await;
        caller.call("sick", json!({})).await;
        refused(&caller, "ok").await;
        proxy.reload(|config| named(config, "moody").retry.attempts = 0).await;
        refused(&caller, "ok").await;
        proxy.reload(|config| named(config, "moody").breaker.failures = NonZeroU32::new(2)).await;
        assert_eq!(caller.call("ok", json!({})).await.text(), "ok");
    });
}
