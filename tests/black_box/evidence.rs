//! What one client meets or causes is its own trouble: whoever calls the same server beside it is never refused for that.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::rc::Rc;

use mcpool::config::{Breaker, Server};
use serde_json::{Value, json};

use crate::support::{Behaviour, Caller, Heard, Proxy, Say, after, moody, play, proxy, seconds, settled};

const REVISION: &str = "2025-06-18";

async fn server(behaviour: Behaviour, set: impl FnOnce(&mut Server)) -> Proxy {
    let set = |server: &mut Server| {
        (server.timeout.call, server.recycle.idle) = (seconds(1), seconds(3600));
        set(server);
    };
    proxy().server("x", behaviour).set(set).start().await
}

async fn caller(proxy: &Proxy) -> Caller {
    proxy.legacy(REVISION).connect("x").await
}

fn breaker(proxy: &Proxy) -> Value {
    proxy.server("x")["breaker"].clone()
}

async fn is_served(caller: &Caller) {
    assert_eq!(caller.call("ok", json!({})).await.text(), "ok");
}

#[test]
fn internal_errors_that_one_client_alone_meets_are_no_sick_server() {
    play(async {
        let proxy = server(moody().into(), |_| {}).await;
        let (a, b) = (caller(&proxy).await, caller(&proxy).await);
        for _ in 0..5 {
            assert_eq!(a.call("sick", json!({})).await.code(), -32603);
            is_served(&b).await;
        }
        let refused = a.call("sick", json!({})).await;
        assert_eq!(refused.reason(), Some("breaker_open"));
        assert!(refused.message().contains("for this client"), "{}", refused.raw);
        is_served(&b).await;
        let breaker = breaker(&proxy);
        assert_eq!((&breaker["state"], &breaker["clients"][0]["state"]), (&json!("closed"), &json!("open")));
        let (metrics, measured) = proxy.mux.with(|mux| (mux.metrics.clone(), mux.measure()));
        let text = metrics.exporter().render(&metrics, &measured);
        assert!(text.contains(r#"mcpool_client_breakers{server="x",state="open"} 1"#), "{text}");
        after(refused.retry_after()).await;
        is_served(&a).await;
        assert_eq!(self::breaker(&proxy)["clients"], json!([]));
    });
}

/// What SDKs answer with an internal error although it is their caller's doing.
fn mistakes() -> [(&'static str, Value); 9] {
    [
        ("tools/call", json!({"arguments": {}})),
        ("tools/call", json!({"name": "ok", "arguments": "text"})),
        ("tools/call", json!({"name": 7})),
        ("prompts/get", json!({"name": "unknown"})),
        ("prompts/get", json!({"name": "greeting", "arguments": {}})),
        ("resources/read", json!({})),
        ("resources/read", json!({"uri": "demo://text/none"})),
        ("completion/complete", json!({"ref": {"type": "ref/prompt", "name": "unknown"}})),
        ("x/do", json!({})),
    ]
}

async fn makes_mistakes(caller: &Caller) {
    for (method, params) in mistakes() {
        let answer = caller.ask(method, params).await;
        assert_eq!(answer.code(), -32603, "{}", answer.raw);
    }
}

#[test]
fn mistakes_of_several_clients_are_no_sick_server() {
    play(async {
        let refuse = |it: &Heard, say: &Say| say.error(it, json!({"code": -32603, "message": "Internal error"}));
        let others = ["prompts/get", "resources/read", "completion/complete", "x/do"];
        let strict = others.into_iter().fold(moody(), |server, method| server.on(method, refuse));
        let strict = strict.on("tools/call", move |it, say| match it.value["params"]["name"].as_str() {
            Some("ok") if it.value["params"]["arguments"].is_object() => say.text(it, "ok"),
            _ => refuse(it, say),
        });
        let proxy = server(strict.into(), |_| {}).await;
        let callers = [caller(&proxy).await, caller(&proxy).await, caller(&proxy).await];
        for caller in &callers {
            makes_mistakes(caller).await;
        }
        assert_eq!((breaker(&proxy)["trips"].clone(), breaker(&proxy)["clients"].clone()), (json!(0), json!([])));
        for caller in &callers {
            is_served(caller).await;
        }
    });
}

#[test]
fn a_server_that_answers_everything_with_an_internal_error_is_found_sick_by_calls_of_its_tools() {
    play(async {
        let refuse = |it: &Heard, say: &Say| say.error(it, json!({"code": -32603, "message": "Internal error"}));
        let others = ["prompts/get", "resources/read", "completion/complete", "x/do"];
        let sick = others.into_iter().fold(moody(), |server, method| server.on(method, refuse));
        let well = Rc::new(Cell::new(false));
        let is_well = well.clone();
        let sick =
            sick.on("tools/call", move |it, say| if is_well.get() { say.text(it, "ok") } else { refuse(it, say) });
        let proxy = server(sick.into(), |_| {}).await;
        let (a, b) = (caller(&proxy).await, caller(&proxy).await);
        for caller in [&a, &b, &a, &b, &a] {
            makes_mistakes(caller).await;
            assert_eq!(caller.call("ok", json!({})).await.code(), -32603);
        }
        let refused = b.call("ok", json!({})).await;
        assert_eq!((refused.reason(), breaker(&proxy)["state"].clone()), (Some("breaker_open"), json!("open")));
        // Once it works again, a mistake shows nothing, and does not keep others from trying.
        well.set(true);
        after(refused.retry_after()).await;
        assert_eq!(b.ask("prompts/get", json!({"name": "unknown"})).await.code(), -32603);
        is_served(&b).await;
        assert_eq!(breaker(&proxy)["state"], "closed");
    });
}

#[test]
fn slow_calls_of_one_client_neither_refuse_others_nor_end_the_instance() {
    play(async {
        let proxy = server(moody().into(), |_| {}).await;
        let (a, b) = (caller(&proxy).await, caller(&proxy).await);
        // Fourteen seconds and on, whatever becomes of its trials.
        for _ in 0..60 {
            let slow = [(); 6].map(|()| a.begin("hang", json!({})));
            is_served(&b).await;
            for call in slow {
                assert!(matches!(call.answer().await.reason(), Some("call_timeout" | "breaker_open")));
            }
            is_served(&b).await;
            after(seconds(1)).await;
        }
        assert_eq!((proxy.started("x"), breaker(&proxy)["state"].clone()), (1, json!("closed")));
    });
}

#[test]
fn starts_that_one_odd_kind_of_client_kills_are_not_held_against_others() {
    play(async {
        let fragile = moody().on("initialize", |opening, say| {
            if opening.value["params"]["capabilities"]["experimental"].is_object() {
                say.crash();
            } else {
                say.result(opening, crate::recycling::introduction());
            }
        });
        let proxy = server(fragile.into(), |_| {}).await;
        let modest = caller(&proxy).await;
        is_served(&modest).await;
        for number in 0..8 {
            let client = json!({"name": "odd", "version": "1"});
            let capabilities = json!({"experimental": {"odd": {"number": number}}});
            let opening = json!({"protocolVersion": REVISION, "capabilities": capabilities, "clientInfo": client});
            let refused = proxy.dial("x").ask("initialize", opening).await;
            assert_eq!(refused.reason(), Some("start_failed"), "{}", refused.raw);
            is_served(&modest).await;
        }
        assert_eq!((breaker(&proxy)["state"].clone(), breaker(&proxy)["trips"].clone()), (json!("closed"), json!(0)));
    });
}

#[test]
fn calls_of_one_client_that_kill_the_server_are_refused_to_that_client() {
    play(async {
        let proxy = server(moody().into(), |_| {}).await;
        let (a, b) = (caller(&proxy).await, caller(&proxy).await);
        while a.call("die", json!({})).await.reason() == Some("server_died") {
            is_served(&b).await;
        }
        assert_eq!(proxy.got("x", "tools/call").iter().filter(|call| call["params"]["name"] == "die").count(), 5);
        is_served(&b).await;
        assert_eq!(breaker(&proxy)["state"], "closed");
    });
}

#[test]
fn with_breakers_for_tools_too_one_client_closes_no_tool_to_others() {
    play(async {
        let proxy = server(moody().into(), |server| {
            server.breaker.per_tool = true;
            server.breaker.failures = NonZeroU32::new(2);
        })
        .await;
        let (a, b) = (caller(&proxy).await, caller(&proxy).await);
        for _ in 0..2 {
            assert_eq!(a.call("sick", json!({})).await.code(), -32603);
        }
        assert_eq!(a.call("sick", json!({})).await.reason(), Some("breaker_open"));
        is_served(&a).await;
        assert_eq!(b.call("sick", json!({})).await.code(), -32603);
        // Two have met it now.
        assert_eq!(caller(&proxy).await.call("sick", json!({})).await.reason(), Some("breaker_open"));
    });
}

#[test]
fn who_lost_the_last_trial_is_not_given_the_next_one() {
    play(async {
        let once = Breaker { failures: NonZeroU32::new(1), open_max: seconds(10), ..Breaker::default() };
        let proxy = server(moody().into(), |server| server.breaker = once).await;
        let (a, b, c) = (caller(&proxy).await, caller(&proxy).await, caller(&proxy).await);
        for one in [&a, &b] {
            assert_eq!(one.call("sick", json!({})).await.code(), -32603);
        }
        let wait = c.call("ok", json!({})).await.retry_after();
        after(wait.max(a.call("ok", json!({})).await.retry_after())).await;
        assert_eq!(a.call("sick", json!({})).await.code(), -32603);
        let wait = c.call("ok", json!({})).await.retry_after();
        after(wait).await;
        assert_eq!(a.call("sick", json!({})).await.reason(), Some("breaker_open"));
        is_served(&c).await;
        assert_eq!(breaker(&proxy)["state"], "closed");
    });
}

#[test]
fn time_in_which_a_server_says_nothing_is_not_erased_by_a_client_that_gives_up() {
    play(async {
        let hung = moody().on("ping", |_, _| {}).on("tools/list", |_, _| {});
        let proxy = server(hung.into(), |server| {
            (server.timeout.call, server.probe.every) = (seconds(3), Some(seconds(1)));
            (server.probe.timeout, server.probe.failures) = (std::time::Duration::from_millis(500), 2);
        })
        .await;
        let caller = caller(&proxy).await;
        settled().await;
        for _ in 0..2 {
            let call = caller.begin("hang", json!({}));
            after(std::time::Duration::from_millis(2800)).await;
            call.cancel();
            settled().await;
        }
        is_served(&caller).await;
        assert_eq!(proxy.started("x"), 2);
        assert_eq!(proxy.server("x")["last_failure"]["what"], "unresponsive");
    });
}
