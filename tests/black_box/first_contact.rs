//! Servers that are slow on their first day, that change their era or take their time, and callers that leave
//! meanwhile: no wrong belief stays behind, and no more processes are started than are of use.

use std::cell::Cell;
use std::rc::Rc;

use serde_json::{Value, json};
use tokio::task::spawn_local;

use crate::support::{
    Heard, Say, Script, after, everything, legacy, modern_script, obliging, play, proxy, script, seconds, settled,
};

const REVISION: &str = "2025-11-25";
const LISTEN: &str = "subscriptions/listen";
const NOTE: &str = "demo://note/1";

fn refusal() -> Value {
    json!({"code": -32601, "message": "Method not found"})
}

/// A modern server whose first process says nothing when it is asked what it is.
fn slow() -> Script {
    let asked = Rc::new(Cell::new(0));
    let found = move |it: &Heard, say: &Say| {
        asked.set(asked.get() + 1);
        if asked.get() > 1 {
            say.result(it, json!({"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "ttlMs": 0, "cacheScope": "private"}));
        }
    };
    modern_script().on("server/discover", found).on("tools/call", |call, say| {
        say.result(call, json!({"resultType": "complete", "content": [{"type": "text", "text": "hi"}]}));
    })
}

/// A server that asks for roots when it opens, and takes its time for that.
fn rooted() -> Script {
    script()
        .capable(json!({"tools": {}, "resources": {"subscribe": true}}))
        .on("initialize", |it, say| {
            let (say, id, capabilities) = (say.clone(), it.id().clone(), json!({"tools": {}, "resources": {"subscribe": true}}));
            spawn_local(async move {
                after(seconds(1)).await;
                let result = json!({"protocolVersion": REVISION, "capabilities": capabilities, "serverInfo": {"name": "n", "version": "1"}});
                say.line(&json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string());
            });
        })
        .on("notifications/initialized", |_, say| say.line(r#"{"jsonrpc":"2.0","id":"r","method":"roots/list"}"#))
        .on("tools/call", |it, say| say.text(it, "hi"))
        .on("tools/list", |it, say| say.result(it, json!({"tools": []})))
        .on("resources/subscribe", |it, say| say.result(it, json!({})))
}

#[test]
fn a_modern_server_that_is_slow_on_its_first_start_is_used_all_the_same() {
    play(async {
        for modern_first in [true, false] {
            let proxy = proxy().server("new", slow().into()).start().await;
            let caller = if modern_first { proxy.modern() } else { proxy.legacy(REVISION) };
            let (caller, answer) = caller.open("new").await;
            if let Some(answer) = answer {
                answer.result();
                caller.notify("notifications/initialized", json!({}));
            }
            assert_eq!(caller.call("x", json!({})).await.text(), "hi", "modern first: {modern_first}");
        }
    });
}

/// A server that answers `server/discover`, and with this `initialize`, so many seconds after it was asked.
fn late(times: [u64; 2], opened: Value) -> Script {
    let modern = json!({"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "ttlMs": 0, "cacheScope": "private"});
    let words = [("server/discover", json!({"result": modern})), ("initialize", opened)];
    words.into_iter().zip(times).fold(script(), |script, ((method, word), time)| {
        script.on(method, move |it: &Heard, say: &Say| {
            let (say, mut word) = (say.clone(), word.clone());
            (word["jsonrpc"], word["id"]) = (json!("2.0"), it.id().clone());
            spawn_local(async move {
                after(seconds(time)).await;
                say.line(&word.to_string());
            });
        })
    })
}

#[test]
fn who_opens_beside_a_caller_of_the_other_era_waits_for_its_own_introduction() {
    play(async {
        let legacy = json!({"protocolVersion": REVISION, "capabilities": {"tools": {}}, "serverInfo": {"name": "n", "version": "7"}});
        let proxy = proxy().server("it", late([1, 3], json!({"result": legacy})).into()).start().await;
        let new = proxy.modern().connect("it").await;
        let found = new.request("server/discover", json!({}));
        let old = proxy.legacy(REVISION).connect("it").await;
        assert_eq!(old.introduction["serverInfo"], json!({"name": "n", "version": "7"}));
        assert_eq!(found.answer().await.result()["supportedVersions"], json!(["2026-07-28"]));
        assert_eq!(proxy.started("it"), 2);
    });
}

#[test]
fn who_opens_is_not_refused_because_the_server_did_not_open_in_the_other_era() {
    play(async {
        let refusal = json!({"error": {"code": -32000, "message": "not today"}});
        let proxy = proxy().server("it", late([3, 1], refusal).into()).start().await;
        let new = proxy.modern().connect("it").await;
        let found = new.request("server/discover", json!({}));
        let client = json!({"name": "old", "version": "1"});
        let opening = json!({"protocolVersion": REVISION, "capabilities": {}, "clientInfo": client});
        assert_eq!(proxy.dial("it").ask("initialize", opening).await.reason(), Some("start_failed"));
        assert_eq!(found.answer().await.result()["supportedVersions"], json!(["2026-07-28"]));
    });
}

#[test]
fn calls_that_come_while_an_era_is_only_suspected_wait_until_it_is_known() {
    play(async {
        let slow = slow().on("initialize", |it, say| {
            let (say, id) = (say.clone(), it.id().clone());
            spawn_local(async move {
                after(seconds(2)).await;
                say.line(&json!({"jsonrpc": "2.0", "id": id, "error": refusal()}).to_string());
            });
        });
        let proxy = proxy().server("new", slow.into()).start().await;
        let (a, b) = (proxy.modern().connect("new").await, proxy.modern().connect("new").await);
        let first = a.begin("x", json!({}));
        after(seconds(9)).await;
        // The first process was silent; the second has not said yet what it thinks of `initialize`.
        let second = b.begin("x", json!({}));
        assert_eq!((first.answer().await.text(), second.answer().await.text()), ("hi", "hi"));
    });
}

#[test]
fn who_leaves_while_a_server_is_found_out_leaves_no_wrong_belief_behind() {
    play(async {
        let proxy = proxy().server("new", slow().into()).start().await;
        let first = proxy.modern().connect("new").await;
        first.begin("x", json!({}));
        settled().await;
        first.hang_up().await;
        // Until that start was given up, and the pause after it is over.
        after(seconds(31)).await;
        let second = proxy.modern().connect("new").await;
        assert_eq!(second.call("x", json!({})).await.text(), "hi");
    });
}

#[test]
fn a_caller_that_leaves_while_mcpool_works_for_it_starts_no_storm_of_processes() {
    play(async {
        for (method, params) in
            [("tools/list", json!({})), (LISTEN, json!({"notifications": {"resourceSubscriptions": [NOTE]}}))]
        {
            let proxy = proxy().server("files", rooted().into()).set(|server| server.instances.max = 2).start().await;
            let caller = proxy.modern().with(json!({"roots": {}})).connect("files").await;
            caller.ask("server/discover", json!({})).await.result();
            after(seconds(5)).await;
            proxy.process("files", proxy.started("files") - 1).crash().await;
            after(seconds(5)).await;
            let before = proxy.started("files");
            caller.request(method, params);
            after(std::time::Duration::from_millis(100)).await;
            caller.hang_up().await;
            after(seconds(60)).await;
            let started = proxy.started("files") - before;
            assert!(started <= 2, "{method}: {started} processes were started");
        }
    });
}

#[test]
fn callers_that_may_be_asked_get_a_process_each_and_no_more() {
    play(async {
        let proxy = proxy().server("old", legacy(|_| {})).set(|server| server.instances.max = 60).start().await;
        let mut callers = Vec::new();
        for _ in 0..10 {
            callers.push(proxy.legacy(REVISION).with(everything()).connect("old").await);
        }
        callers[0].converse("ask_elicit", json!({"message": "first"}), obliging).await.result();
        let calls: Vec<_> = callers.iter().map(|caller| caller.begin("slow", json!({"ms": 1000}))).collect();
        for call in calls {
            call.answer().await.result();
        }
        assert!(proxy.started("old") <= 11, "{} processes were started for 10 callers", proxy.started("old"));
    });
}

#[test]
fn a_list_is_refused_in_time_when_its_server_changed_its_era_meanwhile() {
    play(async {
        let starts = Rc::new(Cell::new(0));
        let changed = script().on("initialize", move |it, say| {
            starts.set(starts.get() + 1);
            if starts.get() > 1 {
                return say.error(it, refusal());
            }
            say.result(it, json!({"protocolVersion": REVISION, "capabilities": {"tools": {}}, "serverInfo": {"name": "n", "version": "1"}}));
        });
        let proxy = proxy().server("it", changed.into()).start().await;
        let caller = proxy.modern().connect("it").await;
        caller.ask("server/discover", json!({})).await.result();
        proxy.process("it", proxy.started("it") - 1).crash().await;
        after(seconds(1)).await;
        let clock = tokio::time::Instant::now();
        let answer = caller.ask("tools/list", json!({})).await;
        assert!(matches!(answer.code(), 500..=599), "{}", answer.raw);
        assert!(clock.elapsed() < seconds(20), "after {:?}", clock.elapsed());
    });
}
