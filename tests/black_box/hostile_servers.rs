//! Servers that mean harm, or do harm without meaning it: no list, stream or flood of theirs costs more than it may,
//! and the callers of other servers do not notice.

use mcpool::config::LeaseChoice;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Caller, after, legacy, modern_script, play, proxy, sampling, script, seconds, settled};

const REVISION: &str = "2025-06-18";
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
const UPDATED: &str = "notifications/resources/updated";

/// The messages that a process got and that are answers of this id.
fn answers(lines: &[String], is: impl Fn(&Value) -> bool) -> Vec<Value> {
    let messages = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages.filter(|message| message.get("method").is_none() && is(&message["id"])).collect()
}

#[test]
fn templates_made_to_be_slow_are_matched_all_the_same() {
    play(async {
        let odd = script()
            .capable(json!({"resources": {}}))
            .on("resources/list", |list, say| say.result(list, json!({"resources": []})))
            .on("resources/templates/list", |list, say| {
                let (many, steep) = ("{a}".repeat(30_000), "{a}x".repeat(12));
                let templates = json!([{"name": "many", "uriTemplate": many}, {"name": "steep", "uriTemplate": steep}]);
                say.result(list, json!({"resourceTemplates": templates}));
            })
            .on("resources/read", |it, say| {
                let uri = &it.value["params"]["uri"];
                say.result(it, json!({"contents": [{"uri": uri, "text": "odd"}]}));
            });
        let proxy = proxy().server("echo", legacy(|_| {})).server("odd", odd.into()).start().await;
        let caller = proxy.legacy(REVISION).connect("all").await;
        let other = proxy.legacy(REVISION).connect("echo").await;
        assert_eq!(caller.ask("resources/templates/list", json!({})).await.names().len(), 3);
        let uri = format!("{}y", "x".repeat(5_000));
        let (mine, theirs) = (caller.request("resources/read", json!({"uri": uri})), other.begin("echo", json!({})));
        assert_eq!(theirs.answer().await.text(), "{}");
        assert_eq!(mine.answer().await.result()["contents"][0]["text"], "odd");
        let note = caller.ask("resources/read", json!({"uri": "demo://note/1"})).await;
        assert_eq!(note.result()["contents"][0]["uri"], "demo://note/1");
    });
}

#[test]
fn a_server_that_dies_of_every_stream_is_not_started_again_and_again() {
    play(async {
        // Ends its process, as a crash does.
        let mortal =
            modern_script().on("subscriptions/listen", |_, _| std::panic::resume_unwind(Box::new("it crashed")));
        let proxy = proxy().server("mortal", mortal.into()).start().await;
        let caller = proxy.modern().connect("mortal").await;
        let clock = Instant::now();
        let stream = caller.request("subscriptions/listen", json!({"notifications": {"toolsListChanged": true}}));
        let end = stream.answer().await;
        assert!(clock.elapsed() < seconds(10), "{} after {:?}", end.raw, clock.elapsed());
        after(seconds(10)).await;
        assert!(proxy.started("mortal") <= 3, "{} were started", proxy.started("mortal"));
    });
}

#[test]
fn a_flood_of_asks_is_held_up_to_a_bound_and_the_rest_refused_at_once() {
    play(async {
        let flood = script().on("tools/call", |call, say| {
            if call.value["params"]["name"] == "flood" {
                let ask = |id| json!({"jsonrpc": "2.0", "id": id, "method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}});
                (0..1_000).for_each(|id| say.line(&ask(format!("ask-{id}")).to_string()));
            }
        });
        let proxy =
            proxy().server("flood", flood.into()).set(|server| server.lease = LeaseChoice::Shared).start().await;
        let a = proxy.legacy(REVISION).with(sampling()).connect("flood").await;
        let b = proxy.legacy(REVISION).with(sampling()).connect("flood").await;
        let _waiting = a.begin("wait", json!({}));
        settled().await;
        let _flooding = b.begin("flood", json!({}));
        settled().await;
        assert_eq!((&proxy.instances("flood")[0]["in_flight"], proxy.started("flood")), (&json!(2), 1));
        assert_eq!(proxy.instances("flood")[0]["asks"], 64);
        let lines = proxy.process("flood", 0).lines();
        let refused = answers(&lines, |id| id.as_str().is_some_and(|id| id.starts_with("ask-")));
        assert_eq!(refused.iter().filter(|answer| answer["error"].is_object()).count(), 1_000 - 64);
    });
}

#[test]
fn two_processes_may_give_their_tasks_the_same_name() {
    play(async {
        let task = |status: &str| json!({"taskId": "task-1", "status": status, "createdAt": "2026-01-01T00:00:00Z", "lastUpdatedAt": "2026-01-01T00:00:00Z", "ttl": 60_000});
        let counting = script()
            .capable(json!({"tools": {}, "tasks": {"requests": {"tools": {"call": {}}}}}))
            .on("tools/call", move |call, say| say.result(call, json!({"task": task("working")})))
            .on("tasks/get", move |it, say| say.result(it, task("working")));
        let proxy = proxy()
            .server("counting", counting.into())
            .set(|server| (server.lease, server.instances.max) = (LeaseChoice::Session, 2))
            .start()
            .await;
        let a = proxy.legacy("2025-11-25").connect("counting").await;
        let b = proxy.legacy("2025-11-25").connect("counting").await;
        for caller in [&a, &b] {
            let created =
                caller.ask("tools/call", json!({"name": "x", "arguments": {}, "task": {"ttl": 60_000}})).await;
            assert_eq!(created.result()["task"]["taskId"], "task-1");
        }
        for (number, caller, other) in [(0, &a, &b), (1, &b, &a)] {
            let process = proxy.process("counting", number);
            let mut params = task("completed");
            params["statusMessage"] = json!(format!("of process {number}"));
            process
                .say(&json!({"jsonrpc": "2.0", "method": "notifications/tasks/status", "params": params}).to_string());
            let heard = caller.heard("notifications/tasks/status").await;
            assert_eq!(heard["params"]["statusMessage"], format!("of process {number}"));
            other.hears_nothing().await;
            caller.ask("tasks/get", json!({"taskId": "task-1"})).await.result();
            assert_eq!(process.got("tasks/get").len(), 1);
        }
    });
}

async fn listen(caller: &Caller, id: &str, uri: &str) {
    let wants = json!({"notifications": {"resourceSubscriptions": [uri]}});
    caller.request_as(json!(id), "subscriptions/listen", wants);
    caller.heard("notifications/subscriptions/acknowledged").await;
}

#[test]
fn a_stream_about_a_letter_does_not_hear_of_all_that_begins_with_it() {
    play(async {
        let telling = modern_script().on("subscriptions/listen", |it, say| {
            let about = json!({SUBSCRIPTION: it.id()});
            let granted = &it.value["params"]["notifications"];
            say.notify("notifications/subscriptions/acknowledged", json!({"_meta": about, "notifications": granted}));
            say.notify(UPDATED, json!({"_meta": about, "uri": "file:///x"}));
        });
        let proxy = proxy().server("telling", telling.into()).start().await;
        let (nosy, entitled) = (proxy.modern().connect("telling").await, proxy.modern().connect("telling").await);
        listen(&nosy, "n", "f").await;
        nosy.hears_nothing().await;
        listen(&entitled, "e", "file:///x").await;
        assert_eq!(entitled.heard(UPDATED).await["params"]["_meta"][SUBSCRIPTION], "e");
        nosy.hears_nothing().await;
    });
}

#[test]
fn a_server_that_asks_for_roots_where_there_are_none_is_told_so_and_stays_shared() {
    play(async {
        let curious = script().on("tools/call", |call, say| {
            say.line(r#"{"jsonrpc":"2.0","id":"r","method":"roots/list"}"#);
            if call.value["params"]["name"] != "wait" {
                say.text(call, "done");
            }
        });
        let proxy = proxy().server("curious", curious.into()).start().await;
        let a = proxy.legacy(REVISION).connect("curious").await;
        let b = proxy.legacy(REVISION).connect("curious").await;
        let _waiting = a.begin("wait", json!({}));
        settled().await;
        assert_eq!(b.call("x", json!({})).await.text(), "done");
        let refused = answers(&proxy.process("curious", 0).lines(), |id| id == "r");
        assert_eq!(refused.iter().map(|it| &it["error"]["code"]).collect::<Vec<_>>(), [-32601, -32601]);
        let c = proxy.legacy(REVISION).with_roots(&["file:///a"]).connect("curious").await;
        let d = proxy.legacy(REVISION).connect("curious").await;
        assert_eq!(d.call("x", json!({})).await.text(), "done");
        drop(c);
        assert_eq!(proxy.process("curious", 0).got("tools/call").len(), 3, "all without roots share it");
        let lease = proxy.server("curious")["lease"].clone();
        assert!(lease["why"].as_str().is_some_and(|why| why.starts_with("not known")), "{lease}");
    });
}

#[test]
fn news_of_a_list_are_told_once_until_somebody_looks() {
    play(async {
        let noisy = script()
            .capable(json!({"tools": {"listChanged": true}}))
            .on("tools/list", |list, say| say.result(list, json!({"tools": []})));
        let proxy = proxy().server("noisy", noisy.into()).start().await;
        let caller = proxy.legacy(REVISION).connect("noisy").await;
        caller.ask("tools/list", json!({})).await.result();
        for _ in 0..2 {
            for _ in 0..100 {
                proxy.process("noisy", 0).say(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
            }
            caller.heard("notifications/tools/list_changed").await;
            caller.hears_nothing().await;
            caller.ask("tools/list", json!({})).await.result();
        }
    });
}
