//! Starts that take long, or never come to an end: what they cost, what whoever waits is told, and who is served by them.

use std::time::Duration;

use mcpool::config::{LeaseChoice, Server};
use serde_json::{Value, json};
use tokio::task::spawn_local;
use tokio::time::Instant;

use crate::support::{
    Answer, Heard, Proxy, Say, Script, after, modern_script, mute, play, proxy, script, seconds, settled,
};

const REVISION: &str = "2025-06-18";

fn opened(id: &Value) -> String {
    let info = json!({"name": "n", "version": "1"});
    let result = json!({"protocolVersion": REVISION, "capabilities": {"tools": {}}, "serverInfo": info});
    json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string()
}

/// Does something once a second after it was asked to open, and opens after so many seconds.
fn opens_after(count: u64, meanwhile: impl Fn(u64, &Say) + Clone + 'static) -> Script {
    script().on("tools/call", |it, say| say.text(it, "at last")).on("initialize", move |it, say| {
        let (id, say, meanwhile) = (it.id().clone(), say.clone(), meanwhile.clone());
        spawn_local(async move {
            for second in 0..count {
                meanwhile(second, &say);
                after(seconds(1)).await;
            }
            say.line(&opened(&id));
        });
    })
}

/// A server that shows how far its download is.
fn downloads(count: u64) -> Script {
    // Not too much of it, since lines of garbage in a row are bounded.
    opens_after(count, move |second, say| {
        if count < 100 || second % 5 == 0 {
            say.line(&format!("downloading: {second}"));
        }
    })
}

async fn with(server: impl Into<crate::support::Behaviour>, set: impl FnOnce(&mut Server)) -> Proxy {
    let times = |server: &mut Server| {
        server.timeout.start = seconds(10);
        server.timeout.discover = seconds(2);
        set(server);
    };
    proxy().server("s", server.into()).set(times).start().await
}

/// A caller's opening is refused after so long, in words that hold these.
async fn refused(proxy: &Proxy, time: u64, words: &[&str]) -> Answer {
    let clock = Instant::now();
    let (_caller, answer) = proxy.legacy(REVISION).open("s").await;
    let answer = answer.expect("an answer");
    assert_eq!((answer.code(), answer.reason()), (503, Some("start_failed")), "{}", answer.raw);
    assert!(
        clock.elapsed().abs_diff(seconds(time)) < Duration::from_millis(300),
        "{:?} {}",
        clock.elapsed(),
        answer.raw
    );
    words.iter().for_each(|word| assert!(answer.message().contains(word), "no {word:?} in {}", answer.raw));
    answer
}

#[test]
fn a_server_that_never_says_a_word_costs_one_start_and_its_time() {
    play(async {
        let proxy = with(mute(), |_| {}).await;
        refused(&proxy, 10, &["within 10s (`timeout.start`)"]).await;
        assert_eq!(proxy.started("s"), 1);

        let proxy = with(mute(), |_| {}).await;
        let clock = Instant::now();
        let answer = proxy.modern().connect("s").await.ask("server/discover", json!({})).await;
        assert!(answer.message().contains("within 10s (`timeout.start`)"), "{}", answer.raw);
        assert_eq!((clock.elapsed().as_secs(), proxy.started("s")), (10, 1));
        // Silence may mean that it is a legacy one, so the same process was asked in the other words.
        let asked = |method| proxy.got("s", method).len();
        assert_eq!((asked("server/discover"), asked("initialize")), (1, 1));
    });
}

#[test]
fn a_server_that_keeps_silent_is_asked_in_the_other_era_while_there_is_time_however_short_that_is() {
    play(async {
        let silent = script().on("server/discover", |_, _| {}).on("initialize", |it, say| {
            let (id, say) = (it.id().clone(), say.clone());
            spawn_local(async move {
                after(Duration::from_millis(300)).await;
                say.result(&Heard { value: json!({"id": id}) }, crate::recycling::introduction());
            });
        });
        let proxy = with(silent, |server| server.timeout.start = seconds(1)).await;
        let answer = proxy.modern().connect("s").await.ask("server/discover", json!({})).await;
        answer.result();
        assert_eq!(proxy.started("s"), 1);
    });
}

#[test]
fn a_modern_server_that_answers_late_is_used_as_one_all_the_same() {
    play(async {
        for refuses in [true, false] {
            late_modern(refuses).await;
        }
    });
}

async fn late_modern(refuses: bool) {
    let slow = modern_script().on("server/discover", |it, say| {
            let (id, say) = (it.id().clone(), say.clone());
            spawn_local(async move {
                after(seconds(5)).await;
                let result = json!({"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "ttlMs": 0, "cacheScope": "private"});
                say.line(&json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string());
            });
        });
    let slow = slow
        .on("initialize", move |it, say| {
            if refuses {
                let (id, say) = (it.id().clone(), say.clone());
                spawn_local(async move {
                    after(seconds(5)).await;
                    say.line(
                        &json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32022, "message": "no"}}).to_string(),
                    );
                });
            }
        })
        .on("tools/call", |call, say| {
            say.result(call, json!({"resultType": "complete", "content": [{"type": "text", "text": "hi"}]}));
        });
    let proxy = with(slow, |_| {}).await;
    let caller = proxy.modern().connect("s").await;
    assert_eq!(caller.call("x", json!({})).await.text(), "hi");
    after(seconds(60)).await;
    assert_eq!((proxy.started("s"), proxy.server("s")["eras"].clone()), (1, json!(["modern"])));
}

#[test]
fn a_server_of_both_eras_that_answers_late_is_used_in_the_one_that_it_was_initialised_in() {
    play(async {
        // It reads both at once, when it is there at last.
        let late = |it: &Heard, say: &Say, time: u64, result: Value| {
            let (id, say) = (it.id().clone(), say.clone());
            spawn_local(async move {
                after(seconds(time)).await;
                say.line(&json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string());
            });
        };
        let modern = json!({"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "ttlMs": 0, "cacheScope": "private"});
        let legacy = json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "n", "version": "1"}});
        let both = script().on("server/discover", move |it, say| late(it, say, 5, modern.clone()));
        let both = both.on("initialize", move |it, say| late(it, say, 3, legacy.clone()));
        // It would refuse what carries the modern `_meta`.
        let both = both.on("tools/call", |it, say| match it.value["params"].get("_meta") {
            None => say.text(it, "legacy"),
            Some(_) => say.error(it, json!({"code": -32600, "message": "bound to the other era"})),
        });
        let proxy = with(both, |server| server.timeout.start = seconds(20)).await;
        let caller = proxy.modern().connect("s").await;
        assert_eq!(caller.call("x", json!({})).await.text(), "legacy");
        assert_eq!(proxy.started("s"), 1);
    });
}

#[test]
fn a_start_that_writes_goes_on_without_those_who_waited_and_serves_the_next() {
    play(async {
        let proxy = with(downloads(45), |_| {}).await;
        let words =
            ["still starting", "10s (`timeout.start`)", "5m (`timeout.start_max`)", "again in 5s", "downloading: 9"];
        let answer = refused(&proxy, 10, &words).await;
        assert_eq!(answer.retry_after(), seconds(5));
        after(seconds(5)).await;
        // Whoever comes meanwhile waits as long as anybody, and no other process is started for that.
        refused(&proxy, 10, &["still starting"]).await;
        after(seconds(13)).await;
        let clock = Instant::now();
        let caller = proxy.legacy(REVISION).connect("s").await;
        assert_eq!((caller.call("x", json!({})).await.text(), clock.elapsed().as_secs()), ("at last", 7));
        assert_eq!((proxy.started("s"), proxy.got("s", "initialize").len()), (1, 1));
        assert_eq!(proxy.server("s")["breaker"]["state"], "closed");
    });
}

#[test]
fn each_is_told_when_it_has_waited_long_enough_itself() {
    play(async {
        let proxy = with(downloads(15), |_| {}).await;
        let first = async { refused(&proxy, 10, &["still starting"]).await };
        let second = async {
            after(seconds(8)).await;
            proxy.legacy(REVISION).connect("s").await.call("x", json!({})).await.text().to_owned()
        };
        assert_eq!(tokio::join!(first, second).1, "at last");
    });
}

#[test]
fn a_start_of_six_minutes_is_a_matter_of_the_config() {
    play(async {
        for (longest, served) in [(5 * 60, false), (10 * 60, true)] {
            let proxy = with(downloads(6 * 60), |server| server.timeout.start_max = seconds(longest)).await;
            refused(&proxy, 10, &["still starting"]).await;
            after(seconds(longest.min(6 * 60) - 15)).await;
            if served {
                proxy.legacy(REVISION).connect("s").await.call("x", json!({})).await.text();
            } else {
                refused(&proxy, 5, &["within 5m (`timeout.start_max`)", "downloading: "]).await;
                settled().await;
                assert_eq!(proxy.instances("s").len(), 0);
            }
            assert_eq!(proxy.started("s"), 1);
        }
    });
}

#[test]
fn one_that_falls_silent_is_given_up_when_that_was_as_long_as_a_start_may_take() {
    play(async {
        let silent = opens_after(1000, |second, say| {
            if second < 15 {
                say.line("working")
            }
        });
        let proxy = with(silent, |_| {}).await;
        refused(&proxy, 10, &["still starting"]).await;
        after(seconds(11)).await;
        refused(&proxy, 9, &["within 30s, and wrote nothing in the last 10s (`timeout.start`)", "working"]).await;
        assert_eq!(proxy.started("s"), 1);
    });
}

#[test]
fn with_the_two_limits_alike_nothing_goes_on() {
    play(async {
        let proxy = with(downloads(45), |server| server.timeout.start_max = server.timeout.start).await;
        refused(&proxy, 10, &["could not be started", "within 10s (`timeout.start`)", "downloading: 9"]).await;
        settled().await;
        assert_eq!(proxy.instances("s").len(), 0);
    });
}

#[test]
fn a_bar_that_never_ends_its_line_is_written_too() {
    play(async {
        let bar =
            opens_after(25, |second, say| say.bytes(format!("\r{second} of 25 (eta {})", 25 - second).into_bytes()));
        let proxy = with(bar.on("tools/call", |it, say| say.text(it, "done")), |_| {}).await;
        // Which looks like a question, but for the carriage return of the next second.
        let (_, first) = proxy.legacy(REVISION).open("s").await;
        let first = first.expect("an answer");
        assert!(first.message().contains("its stdout ends with: 9 of 25 (eta 16)"), "{}", first.raw);
    });
}

#[test]
fn a_question_on_stdout_is_shown_and_nobody_waits_for_an_answer_to_it() {
    play(async {
        let asks = opens_after(1000, |second, say| {
            if second == 0 {
                say.bytes(b"Need to install x@1.2.3\nOk to proceed? (y) ".to_vec());
            }
        });
        let proxy = with(asks, |_| {}).await;
        let words =
            ["within 10s (`timeout.start`)", "wait for an answer", "Need to install x@1.2.3 | Ok to proceed? (y)"];
        refused(&proxy, 10, &words).await;
        settled().await;
        assert_eq!((proxy.started("s"), proxy.instances("s").len()), (1, 0));
    });
}

#[test]
fn what_sends_back_what_it_is_told_is_no_server() {
    play(async {
        let echo = |it: &Heard, say: &Say| say.line(&it.value.to_string());
        let cat = || script().on("initialize", echo).on("server/discover", echo).on("", echo);
        let proxy = with(cat(), |_| {}).await;
        refused(&proxy, 0, &["sends back what it is told", "`cat`", "no MCP server"]).await;
        let proxy = with(cat(), |_| {}).await;
        let modern = proxy.modern().connect("s").await.ask("server/discover", json!({})).await;
        assert!(modern.message().contains("sends back what it is told"), "{}", modern.raw);
    });
}

#[test]
fn what_knows_neither_opening_is_no_server_either() {
    play(async {
        let no = |it: &Heard, say: &Say| say.error(it, json!({"code": -32601, "message": "nope"}));
        let proxy = with(script().on("initialize", no).on("server/discover", no), |_| {}).await;
        refused(&proxy, 0, &["neither `initialize` nor `server/discover`"]).await;
    });
}

#[test]
fn the_start_for_one_session_serves_another_if_its_caller_has_left() {
    play(async {
        let proxy = with(downloads(15), |server| server.lease = LeaseChoice::Session).await;
        let (gone, refused) = proxy.legacy(REVISION).open("s").await;
        assert!(refused.expect("an answer").message().contains("still starting"));
        gone.hang_up().await;
        let (a, b) = (proxy.legacy(REVISION).connect("s").await, proxy.legacy(REVISION).connect("s").await);
        assert_eq!(a.call("x", json!({})).await.text(), "at last");
        assert_eq!(proxy.started("s"), 1);
        // And nobody else from then on.
        let other = b.begin("x", json!({}));
        settled().await;
        assert_eq!(proxy.started("s"), 2);
        assert_eq!(other.answer().await.text(), "at last");
    });
}

#[test]
fn under_one_roof_a_start_that_goes_on_joins_later() {
    play(async {
        let times = |server: &mut Server| server.timeout.start = seconds(10);
        let tools = |it: &Heard, say: &Say| {
            say.result(it, json!({"tools": [{"name": "t", "inputSchema": {"type": "object"}}]}))
        };
        let proxy = proxy()
            .server("quick", script().on("tools/list", tools).into())
            .server("slow", downloads(25).on("tools/list", tools).into())
            .set(times)
            .start()
            .await;
        let caller = proxy.legacy(REVISION).connect("all").await;
        assert_eq!(caller.ask("tools/list", json!({})).await.names(), ["quick__t"]);
        caller.heard("notifications/tools/list_changed").await;
        assert_eq!(caller.ask("tools/list", json!({})).await.names(), ["quick__t", "slow__t"]);
        assert_eq!(proxy.started("slow"), 1);
    });
}

#[test]
fn a_call_that_a_slow_start_kept_for_too_long_leaves_the_queue() {
    play(async {
        let proxy = with(opens_after(0, |_, _| {}), |_| {}).await;
        let caller = proxy.legacy(REVISION).connect("s").await;
        proxy.teach("s", downloads(30).into());
        proxy.process("s", 0).crash().await;
        let call = caller.begin("t", json!({}));
        settled().await;
        assert_eq!(proxy.server("s")["queue"], 1);
        assert_eq!(call.answer().await.reason(), Some("start_failed"));
        assert_eq!(proxy.server("s")["queue"], 0, "it was refused, and nobody waits");
    });
}
