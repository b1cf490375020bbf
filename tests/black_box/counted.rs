//! Everything that happens to a request is counted once and logged once, whatever happens; what is counted is shown.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::{Arc, LazyLock, Mutex};

use serde_json::{Value, json};
use tracing::Dispatch;
use tracing::subscriber::NoSubscriber;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{Proxy, after, legacy, modern, play, proxy, script, seconds, settled, unstartable};

const REVISION: &str = "2025-06-18";

/// What Prometheus reads.
fn read(proxy: &Proxy) -> String {
    let (metrics, measured) = proxy.mux.with(|mux| (mux.metrics.clone(), mux.measure()));
    metrics.exporter().render(&metrics, &measured)
}

/// The value of a series; 0 if there is none.
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().expect("a number"))
}

/// The sum over all series of a metric.
fn sum(text: &str, metric: &str) -> f64 {
    let values = text.lines().filter_map(|line| line.strip_prefix(metric)?.strip_prefix('{')?.rsplit(' ').next());
    values.map(|value| value.parse::<f64>().expect("a number")).sum()
}

#[test]
fn every_request_ends_in_one_count_whatever_becomes_of_it() {
    play(async {
        let refusing = script().on("tools/call", |call, say| say.error(call, json!({"code": -32000, "message": "no"})));
        let proxy = proxy()
            .server("echo", legacy(|_| {}))
            .server("no", refusing.into())
            .server("bad", unstartable())
            .server("dies", legacy(|_| {}))
            .server("new", modern(|_| {}))
            .start()
            .await;
        let echo = proxy.legacy(REVISION).connect("echo").await;
        assert_eq!(echo.call("add", json!({"a": 1, "b": 2})).await.text(), "3");
        let cancelled = echo.begin("forget", json!({}));
        settled().await;
        cancelled.cancel();
        let left = echo.begin("forget", json!({}));
        settled().await;
        drop(left);
        echo.hang_up().await;
        let no = proxy.legacy(REVISION).connect("no").await;
        assert_eq!(no.call("x", json!({})).await.code(), -32000);
        let bad = proxy.dial("bad");
        let refused = bad.request("tools/list", json!({})).answer().await;
        assert_eq!(refused.code(), -32602);
        bad.send("no json");
        assert_eq!(bad.line().await.code(), -32700);
        let dies = proxy.legacy(REVISION).connect("dies").await;
        let lost = dies.begin("forget", json!({}));
        settled().await;
        proxy.process("dies", 0).crash().await;
        assert_eq!(lost.answer().await.reason(), Some("server_died"));
        let new = proxy.modern().connect("all").await;
        new.ask("tools/list", json!({})).await;
        assert_eq!(new.call("new__add", json!({"a": 1, "b": 2})).await.text(), "3");
        new.ask("invented/method", json!({})).await;
        settled().await;

        let text = read(&proxy);
        assert_eq!(value(&text, "mcpool_requests_total"), sum(&text, "mcpool_calls_total"), "{text}");
        for (series, count) in [
            (r#"mcpool_calls_total{server="echo",method="initialize",outcome="ok"}"#, 1.0),
            (r#"mcpool_calls_total{server="echo",method="tools/call",outcome="ok"}"#, 1.0),
            (r#"mcpool_calls_total{server="echo",method="tools/call",outcome="cancelled"}"#, 2.0),
            (r#"mcpool_calls_total{server="no",method="tools/call",outcome="error"}"#, 1.0),
            (r#"mcpool_calls_total{server="bad",method="tools/list",outcome="refused"}"#, 1.0),
            (r#"mcpool_refusals_total{server="bad",reason="invalid_params"}"#, 1.0),
            (r#"mcpool_refusals_total{server="(mcpool)",reason="parse_error"}"#, 1.0),
            (r#"mcpool_refusals_total{server="dies",reason="server_died"}"#, 1.0),
            (r#"mcpool_stops_total{server="dies",reason="ended"}"#, 1.0),
            (r#"mcpool_calls_total{server="(mcpool)",method="tools/list",outcome="ok"}"#, 1.0),
            (r#"mcpool_calls_total{server="new",method="tools/call",outcome="ok"}"#, 1.0),
            (r#"mcpool_calls_total{server="(mcpool)",method="other",outcome="refused"}"#, 1.0),
            (r#"mcpool_leases_total{server="echo",kind="new"}"#, 1.0),
            (r#"mcpool_leases_total{server="echo",kind="reused"}"#, 2.0),
            (r#"mcpool_callers{endpoint="all"}"#, 1.0),
            (r#"mcpool_callers{endpoint="echo"}"#, 0.0),
        ] {
            assert_eq!(value(&text, series), count, "{series} in\n{text}");
        }
        assert!(!text.contains("new__add") && !text.contains("invented"), "nothing that callers choose is a label");
        let status = proxy.mux.with(|mux| mux.status());
        assert_eq!(status["counters"]["calls"], value(&text, "mcpool_requests_total"));
        let refused: f64 =
            status["counters"]["refused"].as_object().expect("reasons").values().filter_map(|n| n.as_f64()).sum();
        assert_eq!(refused, sum(&text, "mcpool_refusals_total"));
    });
}

#[test]
fn time_in_the_queue_and_with_the_server_are_told_apart() {
    play(async {
        let proxy = proxy()
            .server("echo", legacy(|_| {}))
            .set(|server| (server.instances.max, server.concurrency) = (1, 1))
            .start()
            .await;
        // Times are kept from the first reading on.
        read(&proxy);
        let caller = proxy.legacy(REVISION).connect("echo").await;
        let calls = [1, 2].map(|_| caller.begin("slow", json!({"ms": 400})));
        settled().await;
        let text = read(&proxy);
        assert_eq!(value(&text, r#"mcpool_queue_length{server="echo"}"#), 1.0);
        assert_eq!(value(&text, r#"mcpool_in_flight{server="echo"}"#), 1.0);
        assert_eq!(value(&text, r#"mcpool_instances{server="echo",state="ready"}"#), 1.0);
        for call in &calls {
            call.answer().await;
        }
        let text = read(&proxy);
        let near = |series: &str, seconds: f64| {
            let shown = value(&text, series);
            assert!((shown - seconds).abs() < 0.05, "{series} {shown}");
        };
        near(r#"mcpool_queue_seconds_sum{server="echo"}"#, 0.4);
        near(r#"mcpool_queue_seconds_count{server="echo"}"#, 2.0);
        near(r#"mcpool_call_seconds_sum{server="echo",method="tools/call"}"#, 0.8);
        near(r#"mcpool_call_seconds_bucket{server="echo",method="tools/call",le="0.25"}"#, 0.0);
        near(r#"mcpool_call_seconds_bucket{server="echo",method="tools/call",le="0.5"}"#, 2.0);
    });
}

#[test]
fn bytes_are_those_on_the_wire() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let caller = proxy.dial("echo");
        let question = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        caller.send(question);
        let answer = caller.line().await.raw;
        let text = read(&proxy);
        let bytes = |direction| value(&text, &format!(r#"mcpool_bytes_total{{direction="{direction}"}}"#));
        assert_eq!(bytes("from_caller"), question.len() as f64 + 1.0);
        assert_eq!(bytes("to_caller"), answer.trim_end().len() as f64 + 1.0);
        assert_eq!((bytes("from_server"), bytes("to_server")), (0.0, 0.0));
    });
}

#[test]
fn an_instance_that_idles_out_says_so() {
    play(async {
        let proxy =
            proxy().server("echo", legacy(|_| {})).set(|server| server.recycle.idle = seconds(60)).start().await;
        let log = Log::default();
        let _subscribed = log.subscribe("info");
        let caller = proxy.legacy(REVISION).connect("echo").await;
        caller.call("add", json!({"a": 1, "b": 2})).await;
        after(seconds(100)).await;
        let text = read(&proxy);
        assert_eq!(value(&text, r#"mcpool_stops_total{server="echo",reason="idle"}"#), 1.0, "{text}");
        assert_eq!(sum(&text, "mcpool_instances"), 0.0);
        let lines = log.lines();
        let changes = ["starting", "ready", "stopping", "stopped"]
            .map(|change| lines.iter().filter(|line| line.contains(&format!(": {change} "))).count());
        assert_eq!(changes, [1, 1, 1, 1], "one line for each change: {lines:#?}");
        assert!(lines.iter().any(|line| line.contains("stopping") && line.contains("recycle.idle")), "{lines:#?}");
    });
}

#[test]
fn every_request_has_one_line_when_it_ends() {
    play(async {
        let log = Log::default();
        let _subscribed = log.subscribe("debug");
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        caller.call("add", json!({"a": 1, "b": 2})).await;
        caller.ask("tools/list", json!({})).await;
        caller.ask("tools/call", json!({"name": "nothing"})).await;
        let forgotten = caller.begin("forget", json!({}));
        settled().await;
        forgotten.cancel();
        settled().await;
        let ended: Vec<String> = log.lines().into_iter().filter(|line| line.contains(": ended ")).collect();
        let requests = proxy.mux.with(|mux| mux.metrics.calls.get());
        assert_eq!(ended.len() as u64, requests, "{ended:#?}");
        let add = ended.iter().find(|line| line.contains(r#"method="tools/call""#)).expect("a line of a call");
        for part in ["call{", r#"server="echo""#, r#"outcome="ok""#, "queued_ms=", "took_ms="] {
            assert!(add.contains(part), "no {part} in {add}");
        }
        assert!(ended.iter().any(|line| line.contains(r#"outcome="cancelled""#) && line.contains("changed my mind")));
    });
}

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn subscribe(&self, level: &str) -> tracing::subscriber::DefaultGuard {
        // While there is one subscriber alone, the thread that comes to a line first decides for all threads whether it is
        // wanted, and that may be one of another test, which wants none.
        static ANOTHER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::default()));
        LazyLock::force(&ANOTHER);
        let subscriber = tracing_subscriber::fmt().with_env_filter(level).with_ansi(false).with_writer(self.clone());
        tracing::subscriber::set_default(subscriber.finish())
    }

    fn lines(&self) -> Vec<String> {
        let bytes = self.0.lock().expect("one thread");
        String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("one thread").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

#[test]
fn of_a_crowd_the_first_are_told_of_one_by_one_and_all_are_counted() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).server("other", legacy(|_| {})).start().await;
        let mut callers = vec![proxy.legacy(REVISION).connect("all").await];
        for _ in 0..520 {
            callers.push(proxy.legacy(REVISION).connect("echo").await);
        }
        callers.last().expect("a caller").call("whoami", json!({})).await;
        let status = proxy.status();
        assert_eq!(status["callers"].as_array().map(Vec::len), Some(500));
        assert_eq!(status["callers_left_out"], 21);
        assert_eq!([&proxy.server("echo")["callers"], &proxy.server("other")["callers"]], [521, 1]);
        assert_eq!(proxy.instances("echo")[0]["hosts"], json!(["test"]));
        assert_eq!(proxy.mux.with(|mux| mux.callers_at(&["echo", "all", "other"])), [520, 1, 0]);
    });
}

/// The names of all members of a value, but not of maps from reasons, kinds and outcomes to counts.
fn names(value: &Value, all: &mut BTreeSet<String>) {
    const COUNTS: [&str; 10] =
        ["stopped", "starts", "refused", "probes", "leases", "dropped", "ended", "callers_dropped", "reloads", "bytes"];
    match value {
        Value::Object(members) => members.iter().for_each(|(name, member)| {
            all.insert(name.clone());
            if !COUNTS.contains(&name.as_str()) {
                names(member, all);
            }
        }),
        Value::Array(items) => items.iter().for_each(|item| names(item, all)),
        _ => {}
    }
}

#[test]
fn the_manual_tells_of_every_member_of_the_status() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).server("bad", unstartable()).start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        caller.call("whoami", json!({})).await;
        proxy.dial("bad").request("tools/list", json!({})).answer().await;
        let manual = include_str!("../../docs/operating.md");
        let (_, told) = manual.split_once("\n## Status\n").expect("a section");
        let (told, _) = told.split_once("\n## ").expect("a section behind it");
        let mut all = BTreeSet::new();
        names(&proxy.status(), &mut all);
        let code = told.split('`').skip(1).step_by(2);
        let told: BTreeSet<&str> =
            code.flat_map(|code| code.split(|c: char| !c.is_alphanumeric() && c != '_')).collect();
        let untold: Vec<&String> = all.iter().filter(|name| !told.contains(name.as_str())).collect();
        assert!(untold.is_empty(), "docs/operating.md, \"Status\", does not tell of {untold:?}");
    });
}
