//! An idle instance is asked now and then whether it still answers; what does not is replaced before a call finds out.

use mcpool::config::Server;
use serde_json::json;

use crate::support::{
    Behaviour, Caller, Proxy, after, legacy, modern, modern_script, moody, play, proxy, script, seconds, settled, tools,
};

const REVISION: &str = "2025-06-18";

async fn server(behaviour: Behaviour, set: impl FnOnce(&mut Server)) -> Proxy {
    let set = |server: &mut Server| {
        server.recycle.idle = seconds(3600);
        set(server);
    };
    proxy().server("x", behaviour).set(set).start().await
}

async fn caller(proxy: &Proxy) -> Caller {
    proxy.legacy(REVISION).connect("x").await
}

fn count(proxy: &Proxy, method: &str) -> usize {
    proxy.got("x", method).len()
}

#[test]
fn an_instance_is_asked_when_it_has_said_nothing_for_a_while() {
    play(async {
        let proxy = server(legacy(|_| {}), |server| server.timeout.call = seconds(600)).await;
        let caller = caller(&proxy).await;
        let before = count(&proxy, "ping");
        after(seconds(29)).await;
        assert_eq!(count(&proxy, "ping"), before);
        after(seconds(2)).await;
        assert_eq!(count(&proxy, "ping"), before + 1);
        // A call that tells how far it is shows that it is worked on.
        let telling = caller.begin_telling(json!("t"), "slow", json!({"ms": 200_000, "steps": 20}));
        after(seconds(199)).await;
        assert_eq!(count(&proxy, "ping"), before + 1);
        for _ in 0..20 {
            caller.heard("notifications/progress").await;
        }
        telling.answer().await;
        let silent = caller.begin("slow", json!({"ms": 200_000}));
        after(seconds(199)).await;
        let asked = count(&proxy, "ping");
        assert!((before + 6..=before + 8).contains(&asked), "{asked} of {before}");
        silent.answer().await;
        after(seconds(28)).await;
        assert!(count(&proxy, "ping") <= asked + 1);
        assert_eq!(proxy.started("x"), 1);
        caller.hears_nothing().await;
    });
}

#[test]
fn a_modern_instance_is_asked_what_it_can() {
    play(async {
        let proxy = server(modern(|_| {}), |_| {}).await;
        let caller = proxy.modern().connect("x").await;
        caller.call("echo", json!({})).await;
        let before = count(&proxy, "server/discover");
        after(seconds(31)).await;
        assert_eq!((count(&proxy, "server/discover"), count(&proxy, "ping")), (before + 1, 0));
        after(seconds(300)).await;
        assert_eq!(proxy.instances("x").len(), 1);
    });
}

#[test]
fn who_ignores_pings_but_shows_a_list_lives_and_is_asked_for_lists() {
    play(async {
        let proxy = server(moody().on("ping", |_, _| {}).into(), |_| {}).await;
        let caller = caller(&proxy).await;
        after(seconds(31)).await;
        assert_eq!((count(&proxy, "ping"), count(&proxy, "tools/list")), (1, 0));
        after(seconds(5)).await;
        assert_eq!((count(&proxy, "ping"), count(&proxy, "tools/list")), (1, 1));
        after(seconds(600)).await;
        assert_eq!(count(&proxy, "ping"), 1);
        assert!(count(&proxy, "tools/list") >= 18, "{}", count(&proxy, "tools/list"));
        assert_eq!((proxy.started("x"), proxy.instances("x")[0]["missed"].clone()), (1, json!(0)));
        assert_eq!(caller.call("ok", json!({})).await.text(), "ok");
        assert_eq!(proxy.started("x"), 1);
    });
}

#[test]
fn an_error_is_an_answer_too() {
    play(async {
        let rude = moody().on("ping", |it, say| say.error(it, json!({"code": -32601, "message": "no"})));
        let proxy = server(rude.into(), |_| {}).await;
        let _caller = caller(&proxy).await;
        after(seconds(600)).await;
        assert_eq!((proxy.started("x"), count(&proxy, "tools/list")), (1, 0));
        assert_eq!(proxy.server("x")["breaker"]["state"], "closed");
    });
}

/// Silent about everything but `initialize`.
fn silent() -> Behaviour {
    script().on("ping", |_, _| {}).into()
}

#[test]
fn who_answers_neither_three_times_is_replaced_and_the_breaker_counts_it_once() {
    play(async {
        let proxy = server(silent(), |server| {
            (server.instances.min, server.instances.max) = (1, 2);
            server.breaker.failures = std::num::NonZeroU32::new(1);
        })
        .await;
        let _caller = caller(&proxy).await;
        after(seconds(30 + 5 + 30 + 5 + 30 + 9)).await;
        let breaker = |proxy: &Proxy| proxy.server("x")["breaker"].clone();
        assert_eq!((proxy.started("x"), breaker(&proxy)["trips"].clone()), (1, json!(0)));
        assert_eq!(proxy.instances("x")[0]["missed"], 2);
        after(seconds(2)).await;
        assert_eq!((proxy.started("x"), breaker(&proxy)["trips"].clone()), (2, json!(1)));
        assert!(breaker(&proxy)["cause"].as_str().is_some_and(|cause| cause.contains("probes")));
        // There is never none: the new one is there while the old one ends.
        assert_eq!(proxy.instances("x").iter().filter(|one| one["state"] == "ready").count(), 1);
    });
}

#[test]
fn where_there_may_be_one_only_the_next_is_started_when_its_place_is_free() {
    play(async {
        let proxy = server(silent(), |server| (server.instances.min, server.instances.max) = (1, 1)).await;
        let _caller = caller(&proxy).await;
        after(seconds(122)).await;
        assert_eq!((proxy.started("x"), proxy.instances("x").len()), (2, 1));
        assert_eq!(proxy.instances("x")[0]["state"], "ready");
    });
}

#[test]
fn missed_probes_are_forgotten_when_something_is_answered() {
    play(async {
        let proxy = server(moody().on("ping", |_, _| {}).on("tools/list", |_, _| {}).into(), |_| {}).await;
        let caller = caller(&proxy).await;
        for _ in 0..4 {
            after(seconds(90)).await;
            assert_eq!(proxy.instances("x")[0]["missed"], 2);
            assert_eq!(caller.call("ok", json!({})).await.text(), "ok");
            assert_eq!(proxy.instances("x")[0]["missed"], 0);
        }
        assert_eq!(proxy.started("x"), 1);
    });
}

#[test]
fn a_call_goes_to_an_instance_that_is_being_asked_and_has_all_the_room_there_is() {
    play(async {
        let quiet = moody().on("ping", |_, _| {}).on("tools/list", |_, _| {});
        let proxy = server(quiet.into(), |server| (server.instances.max, server.concurrency) = (1, 1)).await;
        let caller = caller(&proxy).await;
        after(seconds(31)).await;
        assert_eq!(count(&proxy, "ping"), 1);
        let call = caller.begin("late", json!({"ms": 20_000}));
        settled().await;
        assert_eq!((proxy.got("x", "tools/call").len(), proxy.server("x")["queue"].clone()), (1, json!(0)));
        after(seconds(15)).await;
        // Who works is asked nothing more, and what it was asked before is not held against it.
        assert_eq!((count(&proxy, "tools/list"), proxy.instances("x")[0]["missed"].clone()), (0, json!(0)));
        assert_eq!(call.answer().await.text(), "late");
    });
}

#[test]
fn being_asked_does_not_keep_an_instance_from_being_idle() {
    play(async {
        for behaviour in [moody().into(), silent()] {
            let proxy = server(behaviour, |server| server.recycle.idle = seconds(75)).await;
            let _caller = caller(&proxy).await;
            after(seconds(74)).await;
            assert_eq!(proxy.instances("x").len(), 1);
            after(seconds(2)).await;
            assert_eq!(proxy.instances("x").len(), 0);
        }
    });
}

#[test]
fn an_instance_that_is_listened_to_is_asked_as_well() {
    play(async {
        let listening = modern_script().on("tools/list", |list, say| say.result(list, tools())).on(
            "subscriptions/listen",
            |it, say| {
                let about = json!({"io.modelcontextprotocol/subscriptionId": it.id()});
                let granted = &it.value["params"]["notifications"];
                say.notify(
                    "notifications/subscriptions/acknowledged",
                    json!({"_meta": about, "notifications": granted}),
                );
            },
        );
        let proxy = server(listening.into(), |_| {}).await;
        let caller = proxy.modern().connect("x").await;
        caller.request("subscriptions/listen", json!({"notifications": {"toolsListChanged": true}}));
        caller.heard("notifications/subscriptions/acknowledged").await;
        let before = count(&proxy, "server/discover");
        after(seconds(100)).await;
        assert_eq!(count(&proxy, "server/discover"), before + 3);
    });
}

#[test]
fn nobody_is_asked_where_probes_are_off() {
    play(async {
        let proxy = server(silent(), |server| server.probe.every = None).await;
        let _caller = caller(&proxy).await;
        after(seconds(3000)).await;
        assert_eq!((count(&proxy, "ping"), proxy.started("x")), (0, 1));
    });
}

#[test]
fn who_answered_a_call_meanwhile_need_not_answer_a_probe() {
    play(async {
        let proxy = server(moody().on("ping", |_, _| {}).on("tools/list", |_, _| {}).into(), |_| {}).await;
        let caller = caller(&proxy).await;
        after(seconds(32)).await;
        assert_eq!(caller.call("ok", json!({})).await.text(), "ok");
        after(seconds(20)).await;
        assert_eq!((count(&proxy, "ping"), count(&proxy, "tools/list")), (1, 0));
        after(seconds(18)).await;
        assert_eq!((count(&proxy, "ping"), count(&proxy, "tools/list")), (2, 1));
    });
}
