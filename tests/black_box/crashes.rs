//! An instance that dies is replaced before anybody has to ask twice, but not over and over again.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::retries::{died, server};
use crate::support::{legacy, moody, play, proxy, script, seconds, settled};

const REVISION: &str = "2025-06-18";

#[test]
fn after_a_crash_the_next_instance_is_started_at_once_and_later_ones_after_pauses() {
    play(async {
        let proxy = server(moody().into(), |_| {}).await;
        let caller = proxy.legacy(REVISION).connect("x").await;
        for round in 0..2 {
            for (least, most) in [(0, 0), (0, 0), (187, 313), (375, 625), (750, 1250)] {
                let clock = Instant::now();
                died(&caller.call("die", json!({})).await);
                let waited = clock.elapsed().as_millis();
                assert!((least..=most + 25).contains(&waited), "{waited} ms in round {round}");
            }
            // An answer, and all is forgotten.
            assert_eq!(caller.call("ok", json!({})).await.text(), "ok");
        }
    });
}

#[test]
fn a_crash_under_load_is_answered_at_once_and_the_service_is_back_within_a_second() {
    play(async {
        let proxy = proxy().server("x", legacy(|_| {})).set(|server| server.concurrency = 100).start().await;
        let mut callers = Vec::new();
        for _ in 0..10 {
            callers.push(proxy.legacy(REVISION).connect("x").await);
        }
        for _ in 0..3 {
            let calls: Vec<_> =
                callers.iter().flat_map(|caller| [(); 4].map(|()| caller.begin("forget", json!({})))).collect();
            settled().await;
            let clock = Instant::now();
            proxy.process("x", proxy.started("x") - 1).crash().await;
            for call in &calls {
                died(&call.answer().await);
            }
            assert!(clock.elapsed() < Duration::from_millis(200), "after {:?}", clock.elapsed());
            for caller in &callers {
                assert_eq!(caller.call("echo", json!({})).await.text(), "{}");
            }
            assert!(clock.elapsed() < seconds(1), "after {:?}", clock.elapsed());
        }
        for caller in &callers {
            caller.hears_nothing().await;
        }
        assert_eq!(proxy.status()["calls"], 0);
    });
}

#[test]
fn nothing_new_goes_to_a_server_that_reads_no_more() {
    play(async {
        // It answers the third call at once and those before not by itself, and closes its stdin after the first.
        let closing = script().closes_after("tools/call").on("tools/call", |call, say| {
            if call.value["params"]["name"] == "third" {
                say.text(call, "heard");
            }
        });
        let proxy = proxy().server("closing", closing.into()).start().await;
        let caller = proxy.legacy(REVISION).connect("closing").await;
        let first = caller.begin("first", json!({}));
        settled().await;
        let second = caller.begin("second", json!({}));
        settled().await;
        assert_eq!(proxy.instances("closing")[0]["state"], "draining");
        let since = Instant::now();
        assert_eq!(caller.call("third", json!({})).await.text(), "heard");
        assert!(since.elapsed() < seconds(1), "after {:?}", since.elapsed());
        assert_eq!(proxy.started("closing"), 2);
        // What it had got it may still answer.
        let id = proxy.process("closing", 0).got("tools/call")[0]["id"].clone();
        let answer = json!({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": "late"}]}});
        proxy.process("closing", 0).say(&answer.to_string());
        assert_eq!(first.answer().await.text(), "late");
        assert_eq!(second.answer().await.reason(), Some("server_died"));
        assert!(since.elapsed() < seconds(6), "after {:?}", since.elapsed());
        assert_eq!(proxy.server("closing")["stopped"], json!({"ended": 1}));
    });
}
