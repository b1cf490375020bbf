//! A reload in the middle of everything: whatever a call waits for, wherever it is, it is answered once, and nothing of
//! what was there before is kept for ever.

use serde_json::{Value, json};

use crate::support::{
    after, elicitation, legacy, modern, mute, named, play, proxy, sampling, script, seconds, settled, unstartable,
};

const REVISION: &str = "2025-06-18";
const UPDATED: &str = "notifications/resources/updated";
const NOTE: &str = "demo://note/1";

#[test]
fn a_caller_that_opens_while_its_server_hangs_is_served_by_the_new_one() {
    play(async {
        for new in [false, true] {
            let proxy = proxy().server("echo", mute()).start().await;
            let opening = proxy.legacy(REVISION).open("echo");
            let heal = async {
                settled().await;
                proxy.replace("echo", if new { modern(|_| {}) } else { legacy(|_| {}) }).await;
            };
            let ((caller, answer), ()) = tokio::join!(opening, heal);
            assert_eq!(answer.expect("an answer").result()["serverInfo"]["name"], "mcpool-demo");
            caller.notify("notifications/initialized", json!({}));
            assert_eq!(caller.instance().await, "echo-1");
        }
    });
}

#[test]
fn a_list_of_all_does_not_wait_for_a_server_that_was_removed() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).server("hangs", mute()).start().await;
        proxy.reload_exactly(|config| config.endpoints[2].patience = seconds(20)).await;
        let opening = proxy.legacy(REVISION).open("all");
        let remove = async {
            settled().await;
            proxy
                .reload_exactly(|config| {
                    config.servers.remove(1);
                    config.endpoints.remove(1);
                    config.endpoints[1].servers.pop();
                })
                .await;
        };
        let start = tokio::time::Instant::now();
        let ((caller, answer), ()) = tokio::join!(opening, remove);
        assert!(start.elapsed() < seconds(1), "{:?}", start.elapsed());
        assert!(answer.expect("an answer").result()["capabilities"]["tools"].is_object());
        assert!(caller.ask("tools/list", json!({})).await.names().iter().all(|name| name.starts_with("echo__")));
    });
}

#[test]
fn a_call_that_waits_for_roots_goes_to_the_new_server() {
    play(async {
        let proxy = proxy().server("echo", legacy(|options| options.ask_roots = true)).start().await;
        let first = proxy.legacy(REVISION).with_roots(&["file:///a"]).connect("echo").await;
        assert_eq!(first.instance().await, "echo-0");
        let shy = proxy.legacy(REVISION).with(json!({"roots": {}})).connect("echo").await;
        let waiting = shy.begin("whoami", json!({}));
        let asked = shy.asked("roots/list").await;
        proxy.replace("echo", legacy(|options| options.ask_roots = true)).await;
        asked.answer(json!({"roots": [{"uri": "file:///b"}]}));
        let told = waiting.answer().await.json();
        assert_ne!(told["instance"], "echo-0");
        after(seconds(15)).await;
        let answer = shy.call("whoami", json!({})).await.json();
        assert_eq!(answer["roots"]["roots"][0]["uri"], "file:///b");
    });
}

#[test]
fn what_a_retired_server_asks_is_answered_by_its_caller() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).with(sampling()).connect("echo").await;
        let running = caller.begin("ask_sampling", json!({"prompt": "p"}));
        let asked = caller.asked("sampling/createMessage").await;
        proxy.replace("echo", legacy(|_| {})).await;
        asked.answer(json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": "yes"}}));
        assert_eq!(running.answer().await.json()["content"]["text"], "yes");
        settled().await;
        assert_eq!(proxy.status()["servers"].as_array().map(Vec::len), Some(1));
    });
}

#[test]
fn a_legacy_callers_answers_go_to_the_modern_process_that_asked() {
    play(async {
        let proxy = proxy().server("echo", modern(|_| {})).start().await;
        let caller = proxy.legacy("2025-11-25").with(elicitation()).connect("echo").await;
        let running = caller.begin("ask_elicit", json!({"message": "m"}));
        let asked = caller.asked("elicitation/create").await;
        proxy.replace("echo", modern(|_| {})).await;
        asked.answer(json!({"action": "accept", "content": {"answer": "x"}}));
        assert_eq!(running.answer().await.json()["content"]["answer"], "x");
        after(seconds(11)).await;
        assert_eq!(proxy.status()["servers"].as_array().map(Vec::len), Some(1));
    });
}

#[test]
fn a_held_call_is_come_back_for_at_the_server_that_asked() {
    play(async {
        let proxy = proxy().server("stays", legacy(|_| {})).server("old", legacy(|_| {})).start().await;
        for (endpoint, tool, gone) in [("old", "ask_elicit", false), ("all", "old__ask_elicit", true)] {
            let caller = proxy.modern().with(elicitation()).connect(endpoint).await;
            let first = caller.call(tool, json!({"message": "name?"})).await;
            if gone {
                proxy.remove("old").await;
            } else {
                proxy.replace("old", modern(|_| {})).await;
            }
            let (key, _) = first.only_ask();
            let answers = json!({key: {"action": "accept", "content": {"answer": "Ada"}}});
            let answer = caller.retry(tool, json!({"message": "name?"}), &first, answers).answer().await;
            assert_eq!(answer.json()["content"]["answer"], "Ada");
            if !gone {
                proxy.replace("old", legacy(|_| {})).await;
            }
        }
        settled().await;
        assert_eq!(proxy.status()["servers"].as_array().map(Vec::len), Some(1));
    });
}

#[test]
fn a_held_call_that_nobody_comes_back_for_ends_with_the_drain() {
    play(async {
        let proxy = proxy().server("old", legacy(|_| {})).start().await;
        let caller = proxy.modern().with(elicitation()).connect("old").await;
        let first = caller.call("ask_elicit", json!({"message": "name?"})).await;
        proxy.replace("old", legacy(|_| {})).await;
        after(seconds(11)).await;
        let (key, _) = first.only_ask();
        let answers = json!({key: {"action": "accept", "content": {"answer": "Ada"}}});
        let late = caller.retry("ask_elicit", json!({"message": "name?"}), &first, answers).answer().await;
        assert_eq!(late.code(), 503, "{}", late.raw);
        settled().await;
        assert_eq!(proxy.status()["servers"].as_array().map(Vec::len), Some(1));
    });
}

#[test]
fn a_task_lives_on_in_the_old_process_until_the_drain_is_over() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy("2025-11-25").connect("echo").await;
        let params = json!({"name": "slow", "arguments": {"ms": 2000}, "task": {"ttl": 60_000}});
        let created = caller.ask("tools/call", params).await;
        let task = created.result()["task"]["taskId"].as_str().expect("a task").to_owned();
        proxy.replace("echo", legacy(|_| {})).await;
        assert_eq!(caller.instance().await, "echo-1");
        let result = caller.ask("tasks/result", json!({"taskId": task})).await;
        assert_eq!(result.text(), "slept 2000 ms in 1 steps");
        after(seconds(11)).await;
        assert_eq!(proxy.status()["servers"].as_array().map(Vec::len), Some(1));
        assert_eq!(caller.ask("tasks/get", json!({"taskId": task})).await.code(), -32602);
    });
}

#[test]
fn subscriptions_go_over_to_the_new_server() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let (old, new) = (proxy.legacy("2025-11-25").connect("echo").await, proxy.modern().connect("echo").await);
        // Told the same as what a modern caller's process is told, so that they share one.
        old.ask("resources/subscribe", json!({"uri": NOTE})).await.result();
        let wants = json!({"notifications": {"toolsListChanged": true, "resourceSubscriptions": [NOTE]}});
        new.request_as(json!("mine"), "subscriptions/listen", wants);
        new.heard("notifications/subscriptions/acknowledged").await;
        proxy.replace("echo", legacy(|_| {})).await;
        settled().await;
        assert_eq!(
            new.heard("notifications/tools/list_changed").await["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
            "mine"
        );
        old.leftovers().await;
        new.leftovers().await;
        old.call("touch", json!({"uri": NOTE})).await;
        for caller in [&old, &new] {
            assert_eq!(caller.heard(UPDATED).await["params"]["uri"], NOTE);
            caller.hears_nothing().await;
        }
        assert_eq!(
            proxy.instances("echo").iter().map(|one| one["subscriptions"].as_u64()).sum::<Option<u64>>(),
            Some(1)
        );
    });
}

#[test]
fn streams_of_modern_servers_go_over_too() {
    play(async {
        let proxy = proxy().server("echo", modern(|_| {})).start().await;
        let (old, new) = (proxy.legacy(REVISION).connect("echo").await, proxy.modern().connect("echo").await);
        old.ask("resources/subscribe", json!({"uri": NOTE})).await.result();
        new.request_as(
            json!("mine"),
            "subscriptions/listen",
            json!({"notifications": {"resourceSubscriptions": [NOTE]}}),
        );
        new.heard("notifications/subscriptions/acknowledged").await;
        proxy.replace("echo", modern(|_| {})).await;
        settled().await;
        old.leftovers().await;
        assert_eq!(proxy.status()["servers"].as_array().map(Vec::len), Some(1), "nobody listens to the old one");
        old.call("touch", json!({"uri": NOTE})).await;
        for caller in [&old, &new] {
            assert_eq!(caller.heard(UPDATED).await["params"]["uri"], NOTE);
            caller.hears_nothing().await;
        }
    });
}

#[test]
fn a_subscription_of_a_removed_server_is_over() {
    play(async {
        let proxy = proxy().server("stays", legacy(|_| {})).server("goes", modern(|_| {})).start().await;
        let all = proxy.modern().connect("all").await;
        let wants = json!({"notifications": {"toolsListChanged": true}});
        let stream = all.request_as(json!("mine"), "subscriptions/listen", wants);
        all.heard("notifications/subscriptions/acknowledged").await;
        let alone = proxy.modern().connect("goes").await;
        let ended = alone.request("subscriptions/listen", json!({"notifications": {"toolsListChanged": true}}));
        alone.heard("notifications/subscriptions/acknowledged").await;
        proxy.remove("goes").await;
        assert_eq!(ended.answer().await.result()["resultType"], "complete");
        alone.closed().await;
        all.heard("notifications/tools/list_changed").await;
        proxy.add("comes", modern(|_| {})).await;
        all.heard("notifications/tools/list_changed").await;
        assert_eq!(all.call("comes__add", json!({"a": 1, "b": 1})).await.text(), "2");
        assert_eq!(all.call("comes__change_lists", json!({})).await.result()["resultType"], "complete");
        all.heard("notifications/tools/list_changed").await;
        all.hears_nothing().await;
        stream.cancel();
    });
}

#[test]
fn two_reloads_at_once_leave_the_last_one_in_force() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let running = caller.begin("slow", json!({"ms": 1000}));
        settled().await;
        for word in ["one", "two", "three"] {
            let change = |config: &mut mcpool::config::Config| named(config, "echo").args.push(word.into());
            proxy.mux.with(|mux| {
                let mut config = (*mux.config).clone();
                change(&mut config);
                mux.reload(config);
            });
        }
        let calls = [(); 4].map(|()| caller.begin("echo", json!({})));
        for call in calls {
            assert_eq!(call.answer().await.text(), "{}");
        }
        assert_eq!(running.answer().await.text(), "slept 1000 ms in 1 steps");
        after(seconds(1)).await;
        assert_eq!(proxy.instances("echo").len(), 1);
        assert_eq!(proxy.status()["servers"].as_array().map(Vec::len), Some(1));
    });
}

#[test]
fn what_comes_from_a_retired_process_after_its_call_is_nobodys() {
    play(async {
        let chatty = script().on("tools/call", |call, say| {
            say.text(call, "done");
            say.notify("notifications/message", json!({"level": "error", "data": "late"}));
        });
        let proxy = proxy().server("echo", chatty.into()).start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        caller.call("x", json!({})).await;
        caller.leftovers().await;
        let old = proxy.process("echo", 0);
        proxy.replace("echo", legacy(|_| {})).await;
        caller.leftovers().await;
        old.say(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"ghost"}}"#);
        old.say(r#"{"jsonrpc":"2.0","id":2,"result":{}}"#);
        caller.hears_nothing().await;
    });
}

#[test]
fn a_retired_process_that_dies_costs_its_own_calls_only() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let lost = caller.begin("forget", json!({}));
        settled().await;
        proxy.replace("echo", legacy(|_| {})).await;
        let fine = caller.begin("slow", json!({"ms": 1000}));
        settled().await;
        proxy.process("echo", 0).crash().await;
        assert_eq!(lost.answer().await.code(), 502);
        assert_eq!(fine.answer().await.text(), "slept 1000 ms in 1 steps");
        assert_eq!(proxy.status()["servers"].as_array().map(Vec::len), Some(1));
    });
}

#[test]
fn a_server_that_cannot_be_started_any_more_costs_its_callers_and_nobody_else() {
    play(async {
        let proxy = proxy().server("fine", legacy(|_| {})).server("echo", legacy(|_| {})).start().await;
        let (caller, other) =
            (proxy.legacy(REVISION).connect("echo").await, proxy.legacy(REVISION).connect("fine").await);
        let running = caller.begin("slow", json!({"ms": 1000}));
        settled().await;
        proxy.replace("echo", unstartable()).await;
        assert_eq!(caller.call("echo", json!({})).await.code(), 503);
        assert_eq!(other.instance().await, "fine-0");
        assert_eq!(running.answer().await.text(), "slept 1000 ms in 1 steps", "what runs is not its fault");
        proxy.replace("echo", legacy(|_| {})).await;
        assert_eq!(caller.call("echo", json!({})).await.text(), "{}");
    });
}

#[test]
fn a_thousand_reloads_take_up_no_more_than_one() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        for round in 0..1000 {
            proxy.reload(|config| named(config, "echo").args = vec![format!("{round}")]).await;
            if round % 100 == 0 {
                assert_eq!(caller.call("echo", json!({})).await.text(), "{}");
            }
            caller.leftovers().await;
        }
        assert!(proxy.mux.with(|mux| mux.places()) <= 4, "{}", proxy.mux.with(|mux| mux.places()));
        assert_eq!(proxy.status()["servers"].as_array().map(Vec::len), Some(1));
        assert_eq!(caller.call("echo", json!({})).await.text(), "{}");
        assert_eq!(proxy.status()["calls"], Value::from(0));
    });
}
