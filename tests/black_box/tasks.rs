//! A task belongs to who created it, lives in the process that runs it, and is nobody else's business.

use mcpool::config::{Config, Server};
use serde_json::{Value, json};

use crate::support::{Answer, Caller, Proxy, after, legacy, modern, play, proxy, sampling, seconds, settled, tasks};

const REVISION: &str = "2025-11-25";

/// Creates a legacy task that works for so long.
async fn begin(caller: &Caller, ms: u64) -> String {
    let params = json!({"name": "slow", "arguments": {"ms": ms}, "task": {"ttl": 60_000}});
    let created = caller.ask("tools/call", params).await;
    created.result()["task"]["taskId"].as_str().expect("a task").to_owned()
}

async fn about(caller: &Caller, what: &str, task: &str) -> Answer {
    caller.ask(&format!("tasks/{what}"), json!({"taskId": task})).await
}

async fn echo() -> Proxy {
    proxy().server("echo", legacy(|_| {})).start().await
}

/// A server of which two copies run, each with room for one call.
async fn of_two() -> Proxy {
    let narrow = |server: &mut Server| (server.concurrency, server.instances.max) = (1, 2);
    proxy().server("echo", legacy(|_| {})).set(narrow).start().await
}

/// Begins a task while another call keeps the process busy that its caller used last.
async fn begin_beside(busy: &Caller, caller: &Caller) -> String {
    let held = busy.begin("slow", json!({"ms": 100}));
    settled().await;
    let task = begin(caller, 5000).await;
    held.answer().await;
    task
}

#[test]
fn a_task_is_followed_to_its_result() {
    play(async {
        let proxy = echo().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let task = begin(&caller, 500).await;
        assert_eq!(about(&caller, "get", &task).await.result()["status"], "working");
        assert_eq!(about(&caller, "result", &task).await.text(), "slept 500 ms in 1 steps");
        assert_eq!(about(&caller, "get", &task).await.result()["status"], "completed");
        assert_eq!(caller.heard("notifications/tasks/status").await["params"]["taskId"], json!(task));
    });
}

#[test]
fn the_task_of_another_caller_does_not_exist() {
    play(async {
        let proxy = echo().await;
        let a = proxy.legacy(REVISION).connect("echo").await;
        let b = proxy.legacy(REVISION).connect("echo").await;
        let task = begin(&a, 500).await;
        for what in ["get", "result", "cancel"] {
            assert_eq!(about(&b, what, &task).await.code(), -32602);
        }
        assert_eq!(about(&b, "get", "never was").await.code(), -32602);
        assert_eq!(about(&a, "result", &task).await.text(), "slept 500 ms in 1 steps");
        b.hears_nothing().await;
    });
}

#[test]
fn a_list_of_tasks_shows_only_ones_own() {
    play(async {
        let proxy = echo().await;
        let a = proxy.legacy(REVISION).connect("echo").await;
        let b = proxy.legacy(REVISION).connect("echo").await;
        let stranger = proxy.legacy(REVISION).connect("echo").await;
        let (first, second, other) = (begin(&a, 500).await, begin(&a, 500).await, begin(&b, 500).await);
        let shown = |list: &Answer| {
            let tasks = list.result()["tasks"].as_array().expect("tasks").clone();
            tasks.into_iter().map(|task| task["taskId"].clone()).collect::<Vec<Value>>()
        };
        assert_eq!(shown(&a.ask("tasks/list", json!({})).await), [json!(first), json!(second)]);
        assert_eq!(shown(&b.ask("tasks/list", json!({})).await), [json!(other)]);
        assert_eq!(shown(&stranger.ask("tasks/list", json!({})).await), Vec::<Value>::new());
    });
}

#[test]
fn a_task_is_cancelled_by_its_owner() {
    play(async {
        let proxy = echo().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let task = begin(&caller, 50_000).await;
        assert_eq!(about(&caller, "cancel", &task).await.result()["status"], "cancelled");
        assert_eq!(about(&caller, "get", &task).await.result()["status"], "cancelled");
    });
}

#[test]
fn requests_about_a_task_go_to_the_process_that_has_it() {
    play(async {
        let proxy = of_two().await;
        let a = proxy.legacy(REVISION).connect("echo").await;
        let b = proxy.legacy(REVISION).connect("echo").await;
        let task = begin_beside(&a, &b).await;
        let held = b.begin("slow", json!({"ms": 100}));
        settled().await;
        assert_eq!(about(&b, "get", &task).await.result()["status"], "working");
        assert_eq!(about(&b, "result", &task).await.text(), "slept 5000 ms in 1 steps");
        held.answer().await;
        assert_eq!(
            (proxy.process("echo", 0).got("tasks/get").len(), proxy.process("echo", 1).got("tasks/get").len()),
            (0, 1)
        );
    });
}

#[test]
fn progress_of_a_task_goes_on_behind_the_answer_that_created_it() {
    play(async {
        let proxy = echo().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let meta = json!({"progressToken": 0});
        let params = json!({"name": "slow", "arguments": {"ms": 300, "steps": 3}, "task": {}, "_meta": meta});
        caller.ask("tools/call", params).await.result();
        for step in 1..=3 {
            let progress = caller.heard("notifications/progress").await;
            assert_eq!(
                (&progress["params"]["progressToken"], &progress["params"]["progress"]),
                (&json!(0), &json!(step))
            );
        }
    });
}

#[test]
fn a_process_with_a_task_is_not_stopped_as_idle() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).set(|server| server.recycle.idle = seconds(5)).start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let task = begin(&caller, 40_000).await;
        after(seconds(30)).await;
        assert_eq!(about(&caller, "result", &task).await.text(), "slept 40000 ms in 1 steps");
        after(seconds(120)).await;
        assert_eq!(proxy.instances("echo").len(), 0, "the time of the task is over");
    });
}

#[test]
fn a_task_that_died_with_its_process_is_gone() {
    play(async {
        let proxy = echo().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let task = begin(&caller, 5000).await;
        proxy.process("echo", 0).crash().await;
        assert!(matches!(about(&caller, "get", &task).await.code(), -32602 | 502));
        assert_eq!(caller.call("echo", json!({})).await.text(), "{}");
    });
}

#[test]
fn a_task_of_the_extension_is_its_creators_too() {
    play(async {
        let proxy = proxy().server("echo", modern(|_| {})).start().await;
        let a = proxy.modern().with(tasks()).connect("echo").await;
        let b = proxy.modern().with(tasks()).connect("echo").await;
        let created = a.call("slow", json!({"ms": 500, "task": true})).await;
        assert_eq!(created.result()["resultType"], "task");
        let task = created.result()["taskId"].as_str().expect("a task").to_owned();
        assert_eq!(about(&b, "get", &task).await.code(), -32602);
        assert_eq!(about(&b, "cancel", &task).await.code(), -32602);
        assert_eq!(about(&a, "get", &task).await.result()["status"], "working");
        after(seconds(1)).await;
        let done = about(&a, "get", &task).await;
        assert_eq!(done.result()["status"], "completed");
        assert_eq!(done.result()["result"]["content"][0]["text"], "slept 500 ms in 1 steps");
    });
}

#[test]
fn an_instance_that_gives_way_first_ends_the_task_that_lives_in_it() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).set(|server| server.instances.max = 1).start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let other = proxy.legacy(REVISION).with(sampling()).connect("echo").await;
        caller.call("echo", json!({})).await;
        let task = begin(&caller, 5000).await;
        let waiting = other.begin("whoami", json!({}));
        after(seconds(3)).await;
        assert_eq!(about(&caller, "get", &task).await.result()["status"], "working");
        after(seconds(3)).await;
        assert_eq!(about(&caller, "result", &task).await.text(), "slept 5000 ms in 1 steps");
        assert!(waiting.answer().await.text().contains("echo-"));
    });
}

#[test]
fn an_instance_that_is_restarted_first_ends_the_task_that_lives_in_it() {
    play(async {
        let proxy = echo().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let task = begin(&caller, 5000).await;
        assert_eq!(proxy.mux.with(|mux| mux.restart_server("echo")), Ok(1));
        after(seconds(2)).await;
        assert_eq!(about(&caller, "get", &task).await.result()["status"], "working");
        assert_eq!(caller.instance().await, "echo-1");
        after(seconds(5)).await;
        assert_eq!(about(&caller, "result", &task).await.text(), "slept 5000 ms in 1 steps");
        settled().await;
        assert_eq!(proxy.instances("echo").len(), 1, "its result was fetched");
    });
}

#[test]
fn a_task_keeps_an_instance_that_is_to_end_no_longer_than_a_call_may_take() {
    play(async {
        let limited = |server: &mut Server| server.timeout.max = seconds(100);
        let proxy = proxy().server("echo", legacy(|_| {})).set(limited).start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let params = json!({"name": "slow", "arguments": {"ms": 5_000_000}, "task": {"ttl": 9_000_000}});
        caller.ask("tools/call", params).await.result();
        assert_eq!(proxy.mux.with(|mux| mux.restart_server("echo")), Ok(1));
        after(seconds(95)).await;
        assert_eq!(proxy.instances("echo")[0]["state"], "draining");
        after(seconds(10)).await;
        assert_eq!(proxy.instances("echo").len(), 0);
    });
}

/// The answer to a call that is to become a task.
async fn create(caller: &Caller, ms: u64) -> Answer {
    caller.ask("tools/call", json!({"name": "slow", "arguments": {"ms": ms}, "task": {"ttl": 60_000}})).await
}

#[test]
fn what_works_is_not_forgotten_for_more_and_what_is_over_is() {
    play(async {
        for (each, all) in [(2, 100), (100, 2)] {
            let limited = move |config: &mut Config| (config.limits.tasks, config.limits.tasks_total) = (each, all);
            let proxy = proxy().server("echo", legacy(|_| {})).config(limited).start().await;
            let caller = proxy.legacy(REVISION).connect("echo").await;
            let (quick, long) = (begin(&caller, 1000).await, begin(&caller, 20_000).await);
            let refused = create(&caller, 10).await;
            assert_eq!((refused.code(), refused.reason()), (429, Some("caller_overloaded")), "{}", refused.raw);
            assert_eq!(proxy.got("echo", "tools/call").len(), 2);
            after(seconds(2)).await;
            let another = begin(&caller, 20_000).await;
            for (task, known) in [(&long, true), (&another, true), (&quick, false)] {
                let answer = about(&caller, "get", task).await;
                assert_eq!(answer.value["result"].is_object(), known, "{}", answer.raw);
            }
        }
    });
}

#[test]
fn who_connects_again_and_again_leaves_no_tasks_behind() {
    play(async {
        let limited = |config: &mut Config| config.limits.tasks_total = 2;
        let proxy = proxy().server("echo", legacy(|_| {})).config(limited).start().await;
        let mut left = Vec::new();
        for _ in 0..5 {
            let caller = proxy.legacy(REVISION).connect("echo").await;
            left.push(begin(&caller, 50_000).await);
            caller.hang_up().await;
        }
        let stranger = proxy.legacy(REVISION).connect("echo").await;
        for task in &left {
            assert_eq!(about(&stranger, "get", task).await.code(), -32602);
        }
        assert_eq!(proxy.got("echo", "tasks/get").len(), 0, "they are nobody's");
        assert_eq!(about(&stranger, "get", "no task at all").await.code(), -32602);
        assert_eq!(proxy.got("echo", "tasks/get").len(), 1, "the server has its own words for what was never there");
    });
}

#[test]
fn the_tasks_of_a_caller_at_several_processes_are_listed_together() {
    play(async {
        let proxy = of_two().await;
        let a = proxy.legacy(REVISION).connect("echo").await;
        let b = proxy.legacy(REVISION).connect("echo").await;
        let first = begin_beside(&a, &b).await;
        let second = begin_beside(&b, &b).await;
        begin(&a, 5000).await;
        let answer = b.ask("tasks/list", json!({})).await;
        let listed = answer.result()["tasks"].as_array().expect("a list");
        let mut listed: Vec<&str> = listed.iter().filter_map(|task| task["taskId"].as_str()).collect();
        listed.sort_unstable();
        let mut own = vec![first.as_str(), second.as_str()];
        own.sort_unstable();
        assert_eq!(listed, own);
        assert!((0..2).all(|number| proxy.process("echo", number).got("tasks/list").len() == 1));
    });
}
