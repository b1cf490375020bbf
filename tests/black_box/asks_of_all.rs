//! Callers of both eras at once, on shared servers of both eras, all of them asked in the middle of their calls: each
//! hears its own questions and no others, and each answer reaches the call that it is for.

use std::rc::Rc;

use serde_json::{Value, json};
use tokio::task::spawn_local;

use crate::support::{Caller, Proxy, both_eras, everything, legacy, modern, obliging, play, proxy, seconds};

const CALLERS: usize = 20;

async fn crowd(proxy: &Proxy, server: &str) -> Vec<Rc<Caller>> {
    let mut callers = Vec::new();
    for number in 0..CALLERS {
        let client = if number % 2 == 0 { proxy.modern() } else { proxy.legacy("2025-11-25") };
        callers.push(Rc::new(client.with(everything()).connect(server).await));
    }
    callers
}

/// Everything that can be asked, with the name of who is asked in it where the server lets that through.
async fn be_asked(caller: &Caller, name: &str) {
    let mine = |method: &str, params: &Value| {
        let text = params.to_string();
        let anonymous = method == "roots/list" || params["mode"] == "url" || text.contains(" of ");
        assert!(anonymous || text.contains(name), "{name} was asked {text}");
        match method {
            "roots/list" => json!({"roots": [{"uri": format!("file:///{name}")}]}),
            "elicitation/create" if text.contains(" of ") => json!({"action": "accept", "content": {"answer": name}}),
            _ => obliging(method, params),
        }
    };
    let filled = caller.converse("ask_elicit", json!({"message": name}), mine).await;
    assert_eq!(filled.json()["content"]["answer"], name);
    let sampled = caller.converse("ask_sampling", json!({"prompt": name}), mine).await;
    assert_eq!(sampled.json()["content"]["text"], name);
    let rounds = caller.converse("ask_rounds", json!({"n": 3}), mine).await.json();
    assert_eq!(
        rounds.as_array().expect("rounds").iter().map(|it| &it["content"]["answer"]).collect::<Vec<_>>(),
        [name; 3]
    );
    let kinds = json!({"kinds": ["elicit", "elicit"]});
    let two = caller.converse("ask_two", kinds, mine).await.json();
    assert_eq!((&two[0]["content"]["answer"], &two[1]["content"]["answer"]), (&json!(name), &json!(name)));
    let visited = caller.converse("ask_url", json!({}), mine).await;
    assert_eq!(visited.json()["action"], "accept");
    let roots = caller.converse("ask_roots", json!({}), mine).await;
    assert_eq!(roots.json()["roots"][0]["uri"], format!("file:///{name}"));
    let echoed = caller.converse("echo", json!({"me": name}), mine).await;
    assert_eq!(echoed.json()["me"], name);
}

async fn all_are_asked(proxy: Proxy, server: &str) {
    let callers = crowd(&proxy, server).await;
    // Once a server was seen to ask, nobody's question can be taken for another's.
    for caller in &callers[..2] {
        caller.converse("ask_elicit", json!({"message": "first"}), obliging).await.result();
    }
    let busy: Vec<_> = callers
        .iter()
        .enumerate()
        .map(|(number, caller)| {
            let caller = caller.clone();
            spawn_local(async move { be_asked(&caller, &format!("caller-{number:02}")).await })
        })
        .collect();
    for one in busy {
        one.await.expect("all right");
    }
    for caller in &callers {
        let late = caller.leftovers().await;
        // The end of a page comes a little after its call, to its own caller.
        assert!(late.iter().all(|line| line.contains("elicitation/complete")), "{late:?}");
    }
    assert_eq!(proxy.status()["held"], 0);
    let (most, total) = (proxy.instances(server).len(), proxy.server(server)["total"].as_u64());
    assert!(total.is_some_and(|total| most as u64 <= total), "{most} instances of {total:?}");
}

#[test]
fn a_server_that_was_never_seen_to_ask_may_refuse_a_crowd_once() {
    play(async {
        let proxy = proxy().server("old", legacy(|_| {})).set(|server| server.instances.max = 4).start().await;
        let callers = crowd(&proxy, "old").await;
        let asked = |number: usize, caller: Rc<Caller>| async move {
            let name = format!("caller-{number:02}");
            let mine = |method: &str, params: &Value| {
                assert!(params.to_string().contains(&name), "{name} was asked {params}");
                obliging(method, params)
            };
            (caller.converse("ask_elicit", json!({"message": name}), mine).await, name.clone())
        };
        let clock = tokio::time::Instant::now();
        for attempt in 0..2 {
            let all = callers.iter().cloned().enumerate().map(|(number, caller)| spawn_local(asked(number, caller)));
            for one in all.collect::<Vec<_>>() {
                let (answer, name) = one.await.expect("an answer");
                if answer.result()["isError"] == true {
                    assert_eq!(attempt, 0, "{}", answer.raw);
                    assert!(answer.raw.contains("several calls are in flight"), "{}", answer.raw);
                } else {
                    assert_eq!(answer.json()["content"]["answer"], name);
                }
            }
            assert!(clock.elapsed() < seconds(25), "after {:?}", clock.elapsed());
        }
        assert_eq!(proxy.status()["held"], 0);
    });
}

#[test]
fn twenty_callers_of_both_eras_on_a_legacy_server() {
    play(async {
        all_are_asked(
            proxy().server("old", legacy(|_| {})).set(|server| server.instances.max = 4).start().await,
            "old",
        )
        .await;
    });
}

#[test]
fn twenty_callers_of_both_eras_on_a_modern_server() {
    play(async {
        all_are_asked(
            proxy().server("new", modern(|_| {})).set(|server| server.instances.max = 4).start().await,
            "new",
        )
        .await;
    });
}

#[test]
fn twenty_callers_of_both_eras_on_a_server_of_both() {
    play(async {
        // Room for an instance each, before and after their roots are known: one that gives way between two rounds
        // takes its states with it.
        let max = CALLERS + 4;
        all_are_asked(
            proxy().server("both", both_eras()).set(move |server| server.instances.max = max).start().await,
            "both",
        )
        .await;
    });
}

#[test]
fn callers_with_different_roots_each_get_their_own_told() {
    play(async {
        let proxy = proxy()
            .server("files", legacy(|options| options.ask_roots = true))
            .set(|server| server.instances.max = 8)
            .start()
            .await;
        let told = |answer: crate::support::Answer| answer.json()["roots"]["roots"].clone();
        let [a, b] = [proxy.modern(), proxy.modern()].map(|client| client.with(json!({"roots": {}})));
        let (a, b) = (a.connect("files").await, b.connect("files").await);
        let old = proxy.legacy("2025-11-25").with_roots(&["file:///old"]).connect("files").await;
        let none = proxy.modern().connect("files").await;
        // Whose question it is, is certain only when the server has been seen to ask.
        old.call("echo", json!({})).await.result();
        for _ in 0..2 {
            for (caller, uri) in [(&a, "file:///a"), (&b, "file:///b")] {
                let roots = |_: &str, _: &Value| json!({"roots": [{"uri": uri}]});
                assert_eq!(told(caller.converse("whoami", json!({}), roots).await), json!([{"uri": uri}]));
            }
            assert_eq!(told(old.call("whoami", json!({})).await), json!([{"uri": "file:///old"}]));
            let roots = none.call("whoami", json!({})).await.json()["roots"].clone();
            assert_eq!(roots, Value::Null);
        }
        a.ask("tools/list", json!({})).await.result();
    });
}
