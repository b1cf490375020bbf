//! An instance that dies is replaced before anybody has to ask twice, but not over and over again.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::retries::{died, server};
use crate::support::{legacy, moody, play, proxy, seconds, settled};

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
