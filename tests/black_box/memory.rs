//! Whoever makes mcpool keep much for it, in requests, unread answers or half lines, leaves memory for those who keep little.

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::support::{Caller, Proxy, after, legacy, play, proxy, script, seconds, settled};

const REVISION: &str = "2025-06-18";
const MIB: usize = 1 << 20;

async fn passes(caller: &Caller) {
    let answer = caller.call("echo", json!({})).await;
    assert_eq!(answer.text(), "{}", "{}", answer.raw);
}

/// The bytes that are kept for all.
fn kept(proxy: &Proxy) -> u64 {
    proxy.status()["shares"]["memory_bytes"]["taken"].as_u64().expect("a number")
}

/// A call with an argument of so many bytes.
fn large(bytes: usize) -> Value {
    json!({ "text": "x".repeat(bytes) })
}

#[test]
fn who_keeps_much_memory_is_refused_more_and_others_are_served() {
    play(async {
        let proxy = proxy()
            .server("quiet", script().on("tools/call", |_, _| {}).into())
            .server("echo", legacy(|_| {}))
            .config(|config| config.limits.memory = Some(16 * MIB))
            .start()
            .await;
        let greedy = proxy.legacy(REVISION).connect("quiet").await;
        let modest = proxy.legacy(REVISION).connect("echo").await;
        let calls: Vec<_> = (0..20).map(|_| greedy.begin("x", large(MIB))).collect();
        let last = calls[19].answer().await;
        assert_eq!((last.code(), last.reason()), (429, Some("memory_full")), "{}", last.raw);
        assert!(kept(&proxy) <= 15 * MIB as u64, "{}", kept(&proxy));
        assert_eq!(modest.call("echo", large(MIB / 4)).await.reason(), None);
        passes(&modest).await;
        greedy.ask("ping", json!({})).await.result();
        let largest = proxy.status()["shares"]["largest"][0].clone();
        assert!(largest["bytes"].as_u64() > Some(10 * MIB as u64), "{largest}");
        drop(calls);
        greedy.hang_up().await;
        settled().await;
        assert!(kept(&proxy) < MIB as u64, "{}", kept(&proxy));
    });
}

#[test]
fn half_lines_are_kept_up_to_a_share_and_refused_under_their_ids() {
    play(async {
        let proxy =
            proxy().server("echo", legacy(|_| {})).config(|config| config.limits.memory = Some(32 * MIB)).start().await;
        let modest = proxy.legacy(REVISION).connect("echo").await;
        let begun = format!(r#"{{"jsonrpc":"2.0","id":"mine","method":"ping","params":{{"x":"{}"#, "x".repeat(4 * MIB));
        let mut halves = Vec::new();
        for _ in 0..12 {
            let mut stream = proxy.stream("echo");
            let begun = begun.clone();
            halves.push(tokio::task::spawn_local(async move {
                stream.write_all(begun.as_bytes()).await.expect("it is read all the same");
                stream
            }));
        }
        after(seconds(1)).await;
        assert!(kept(&proxy) <= 32 * MIB as u64, "{}", kept(&proxy));
        passes(&modest).await;
        after(seconds(20)).await;
        let mut refused = 0;
        for half in halves {
            let mut stream = half.await.expect("written");
            stream.write_all(b"\"}}\n").await.expect("written");
            let answer = Caller::on(stream, None, None).line().await;
            assert_eq!(answer.value["id"], "mine");
            refused += usize::from(answer.reason() == Some("memory_full"));
        }
        assert!(refused >= 3, "{refused}");
        settled().await;
        assert!(kept(&proxy) < MIB as u64, "{}", kept(&proxy));
    });
}

#[test]
fn answers_that_nobody_reads_are_kept_up_to_a_share_and_then_refused_one_by_one() {
    play(async {
        let proxy = proxy()
            .server("lavish", script().on("tools/call", |call, say| say.text(call, &"x".repeat(2 * MIB))).into())
            .server("echo", legacy(|_| {}))
            .config(|config| config.limits.memory = Some(16 * MIB))
            .start()
            .await;
        let modest = proxy.legacy(REVISION).connect("echo").await;
        let client = json!({ "name": "c", "version": "1" });
        let opening = json!({ "protocolVersion": REVISION, "capabilities": {}, "clientInfo": client });
        let opens = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": opening });
        let calls = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "x" } });
        let mut silent = Vec::new();
        for _ in 0..12 {
            let mut stream = proxy.stream("lavish");
            stream.write_all(format!("{opens}\n{calls}\n").as_bytes()).await.expect("written");
            settled().await;
            silent.push(stream);
        }
        assert!(kept(&proxy) <= 15 * MIB as u64, "{}", kept(&proxy));
        assert_eq!(modest.call("echo", large(MIB / 8)).await.reason(), None);
        let mut refused = 0;
        for stream in silent {
            let mut lines = BufReader::new(stream).lines();
            lines.next_line().await.expect("the introduction");
            let answer = lines.next_line().await.expect("an answer").expect("an answer");
            refused += usize::from(answer.contains(r#""reason":"not_read""#));
        }
        assert!((4..8).contains(&refused), "{refused}");
        settled().await;
        assert!(kept(&proxy) < MIB as u64, "{}", kept(&proxy));
    });
}

#[test]
fn a_lower_limit_ends_the_largest_calls_of_who_keeps_most_and_no_others() {
    play(async {
        let proxy = proxy()
            .server("quiet", script().on("tools/call", |_, _| {}).into())
            .config(|config| config.limits.memory = Some(64 * MIB))
            .start()
            .await;
        let greedy = proxy.legacy(REVISION).connect("quiet").await;
        let modest = proxy.legacy(REVISION).connect("quiet").await;
        let calls: Vec<_> = (0..10).map(|n| greedy.begin("x", large(MIB + n))).collect();
        let call = modest.begin("x", large(MIB / 4));
        settled().await;
        proxy.reload(|config| config.limits.memory = Some(8 * MIB)).await;
        after(seconds(1)).await;
        let kept = kept(&proxy) as usize;
        assert!((6 * MIB..8 * MIB).contains(&kept), "{kept}");
        for call in &calls[7..] {
            assert_eq!(call.answer().await.reason(), Some("memory_full"));
        }
        assert_eq!(proxy.status()["shares"]["in_flight"]["taken"], 8);
        call.cancel();
        greedy.ask("ping", json!({})).await.result();
    });
}

#[test]
fn who_keeps_too_much_is_answered_still_what_mcpool_answers_itself() {
    play(async {
        let proxy = proxy()
            .server("quiet", script().on("tools/call", |_, _| {}).into())
            .config(|config| config.limits.memory = Some(16 * MIB))
            .start()
            .await;
        let greedy = proxy.legacy(REVISION).connect("quiet").await;
        let calls: Vec<_> = (0..20).map(|_| greedy.begin("x", large(MIB))).collect();
        calls[19].answer().await;
        // Fills what is left of its share.
        let small: Vec<_> = (0..40).map(|_| greedy.begin("x", large(100_000))).collect();
        small[39].answer().await;
        greedy.ask("ping", json!({})).await.result();
        assert!(!greedy.ask("tools/list", json!({})).await.raw.contains("memory_full"));
    });
}
