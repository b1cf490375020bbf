//! Who shares a process with whom: by profile and by lease.

use mcpool::config::LeaseChoice;
use serde_json::json;
use tokio::time::Instant;

use crate::support::{after, elicitation, legacy, modern, obliging, play, proxy, sampling, seconds, settled};

const REVISION: &str = "2025-06-18";

#[test]
fn callers_of_equal_profile_share_one_process() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        for _ in 0..5 {
            let caller = proxy.legacy(REVISION).connect("echo").await;
            let told = caller.call("whoami", json!({})).await.json();
            assert_eq!((&told["instance"], &told["initializes"]), (&json!("echo-0"), &json!(1)));
        }
        assert_eq!(proxy.started("echo"), 1);
    });
}

#[test]
fn a_process_is_told_exactly_what_its_callers_are() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let plain = proxy.legacy("2024-11-05").connect("echo").await;
        let newer = proxy.legacy("2025-11-25").connect("echo").await;
        let asked = proxy.legacy("2025-11-25").with(sampling()).connect("echo").await;
        let mut seen = Vec::new();
        for (caller, revision, capabilities) in
            [(&plain, "2024-11-05", json!({})), (&newer, "2025-11-25", json!({})), (&asked, "2025-11-25", sampling())]
        {
            let told = caller.call("whoami", json!({})).await.json();
            assert_eq!(told["protocolVersion"], revision);
            assert_eq!(told["capabilities"], capabilities);
            assert!(!seen.contains(&told["instance"]));
            seen.push(told["instance"].clone());
        }
    });
}

#[test]
fn under_a_session_lease_a_process_is_one_callers_until_it_leaves() {
    play(async {
        let proxy =
            proxy().server("shell", legacy(|_| {})).set(|server| server.lease = LeaseChoice::Session).start().await;
        let a = proxy.legacy(REVISION).connect("shell").await;
        let b = proxy.legacy(REVISION).connect("shell").await;
        let (first, second) = (a.instance().await, b.instance().await);
        assert_ne!(first, second);
        assert_eq!((a.instance().await, b.instance().await), (first.clone(), second.clone()));
        a.hang_up().await;
        let c = proxy.legacy(REVISION).connect("shell").await;
        let third = c.instance().await;
        assert!(third != first && third != second, "what a caller left in its process is nobody else's business");
    });
}

#[test]
fn under_a_call_lease_a_process_is_one_callers_as_long_as_it_has_calls() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).set(|server| server.lease = LeaseChoice::Call).start().await;
        let a = proxy.legacy(REVISION).connect("echo").await;
        let b = proxy.legacy(REVISION).connect("echo").await;
        let held = a.begin("slow", json!({"ms": 100}));
        settled().await;
        assert_eq!(a.instance().await, "echo-0", "its own calls share it");
        assert_eq!(b.instance().await, "echo-1");
        held.answer().await;
        b.hang_up().await;
        let c = proxy.legacy(REVISION).connect("echo").await;
        assert_eq!((c.instance().await, proxy.started("echo")), ("echo-0".to_owned(), 2));
    });
}

#[test]
fn under_a_call_lease_answers_go_to_the_process_that_asked_though_another_caller_has_calls_there() {
    play(async {
        let proxy = proxy().server("new", modern(|_| {})).set(|server| server.lease = LeaseChoice::Call).start().await;
        let (old, new) = (proxy.legacy("2025-11-25"), proxy.modern());
        let (old, new) = (old.with(elicitation()).connect("new").await, new.with(elicitation()).connect("new").await);
        let question = json!({"message": "?"});
        let call = old.begin("ask_elicit", question.clone());
        let ask = old.asked("elicitation/create").await;
        let first = new.call("ask_elicit", question.clone()).await;
        first.asks();
        let other = proxy.modern().connect("new").await;
        let busy = other.begin("slow", json!({"ms": 100}));
        settled().await;
        ask.answer(json!({"action": "accept", "content": {"answer": "Ada"}}));
        assert_eq!(call.answer().await.json()["action"], "accept");
        let retried = new.retry("ask_elicit", question, &first, first.answers(obliging)).answer().await;
        assert_eq!(retried.json()["action"], "accept");
        busy.answer().await;
        let sent = proxy.process("new", 0).got("tools/call");
        let retries = sent.iter().filter(|call| call["params"].get("requestState").is_some()).count();
        assert_eq!((sent.len(), retries), (5, 2), "no other process could read the states");
    });
}

#[test]
fn under_a_call_lease_a_task_is_there_for_its_owner_though_another_caller_has_calls_there() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).set(|server| server.lease = LeaseChoice::Call).start().await;
        let (a, b) = (proxy.legacy("2025-11-25"), proxy.legacy("2025-11-25"));
        let (a, b) = (a.connect("echo").await, b.connect("echo").await);
        let slow = json!({"name": "slow", "arguments": {"ms": 500}, "task": {"ttl": 60_000}});
        let created = a.ask("tools/call", slow).await;
        let busy = b.begin("slow", json!({"ms": 1000}));
        settled().await;
        let about = json!({"taskId": created.result()["task"]["taskId"]});
        assert_eq!(a.ask("tasks/get", about).await.result()["status"], "working");
        busy.answer().await;
        assert_eq!(proxy.started("echo"), 1);
    });
}

#[test]
fn a_known_stateful_package_gets_sessions_unless_the_config_says_otherwise() {
    play(async {
        let browser =
            |server: &mut mcpool::config::Server| server.args = vec!["npx".into(), "@playwright/mcp@latest".into()];
        let proxy = proxy()
            .server("browser", legacy(|_| {}))
            .set(browser)
            .server("shared", legacy(|_| {}))
            .set(browser)
            .set(|server| server.lease = LeaseChoice::Shared)
            .start()
            .await;
        assert_eq!(proxy.server("browser")["lease"]["kind"], "session");
        assert_eq!(proxy.server("shared")["lease"], json!({"kind": "shared", "why": "configured"}));
    });
}

#[test]
fn an_idle_process_of_another_profile_gives_way_and_a_busy_one_after_a_while() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).set(|server| server.instances.max = 1).start().await;
        let a = proxy.legacy("2024-11-05").connect("echo").await;
        a.call("echo", json!({})).await;
        let b = proxy.legacy("2025-11-25").connect("echo").await;
        // The one that introduced itself was there for that alone.
        assert_eq!(b.instance().await, "echo-2");
        let held = b.begin("slow", json!({"ms": 5000}));
        settled().await;
        let waiting = a.begin("whoami", json!({}));
        assert_eq!(held.answer().await.text(), "slept 5000 ms in 1 steps", "what runs is not cut");
        assert_eq!(waiting.answer().await.json()["protocolVersion"], "2024-11-05");
        settled().await;
        assert_eq!(proxy.instances("echo").len(), 1);
    });
}

#[test]
fn who_is_to_make_room_and_cannot_soon_keeps_nobody_of_its_own_waiting_for_long() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).set(|server| server.instances.max = 1).start().await;
        let other = proxy.legacy("2024-11-05").connect("echo").await;
        let busy = proxy.legacy("2025-11-25").connect("echo").await;
        let long = busy.begin("slow", json!({"ms": 50_000}));
        after(seconds(2)).await;
        let in_vain = other.begin("whoami", json!({}));
        after(seconds(2)).await;
        assert_eq!(proxy.instances("echo")[0]["state"], "draining");
        let fellow = proxy.legacy("2025-11-25").connect("echo").await;
        for _ in 0..3 {
            let clock = Instant::now();
            assert_eq!(fellow.call("echo", json!({})).await.text(), "{}");
            assert!(clock.elapsed() <= seconds(16), "after {:?}", clock.elapsed());
            after(seconds(6)).await;
        }
        assert_eq!(in_vain.answer().await.reason(), Some("queue_timeout"));
        assert_eq!(long.answer().await.text(), "slept 50000 ms in 1 steps", "what runs is not cut");
        assert_eq!(other.call("whoami", json!({})).await.json()["protocolVersion"], "2024-11-05");
    });
}

#[test]
fn under_a_call_lease_who_goes_on_calling_lets_another_have_its_turn() {
    play(async {
        let proxy = proxy()
            .server("echo", legacy(|_| {}))
            .set(|server| (server.lease, server.instances.max) = (LeaseChoice::Call, 1))
            .start()
            .await;
        let greedy = std::rc::Rc::new(proxy.legacy(REVISION).connect("echo").await);
        let modest = proxy.legacy(REVISION).connect("echo").await;
        let on = std::rc::Rc::new(std::cell::Cell::new(true));
        // Two that overlap, so that it always has one there.
        let lines = [0, 350].map(|later| {
            let (greedy, on) = (greedy.clone(), on.clone());
            tokio::task::spawn_local(async move {
                after(std::time::Duration::from_millis(later)).await;
                while on.get() {
                    greedy.call("slow", json!({ "ms": 700 })).await.result();
                }
            })
        });
        after(seconds(1)).await;
        let clock = Instant::now();
        assert_eq!(modest.call("echo", json!({})).await.text(), "{}");
        assert!(clock.elapsed() < seconds(1), "after {:?}", clock.elapsed());
        on.set(false);
        for line in lines {
            line.await.expect("answers");
        }
        assert_eq!(proxy.started("echo"), 1);
    });
}
