//! What is counted is what is rendered; what is rendered is documented.

use std::time::Duration;

use super::prometheus::METRICS;
use super::*;

fn rendered(metrics: &Metrics, measured: &Measured) -> String {
    metrics.exporter().render(metrics, measured)
}

/// The value of a series.
#[track_caller]
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in:\n{text}")).parse().unwrap()
}

#[test]
fn counts_are_rendered_as_they_are_shown() {
    let metrics = Metrics::default();
    let files = metrics.server("files");
    metrics.callers.one();
    files.started("call");
    files.stopped("idle");
    files.leased(true);
    files.leased(false);
    files.probed(Probe::Missed);
    files.refused(reason(&Error::Draining));
    metrics.refused(&Error::Parse("x".into()));
    metrics.dropped("late_answer");
    metrics.reloaded(Reload::Refused);
    metrics.bytes.to_callers.wrote(7);
    files.call_ended(Method::named("tools/call"), Outcome::Ok, None, None);
    files.call_ended(Method::named("tools/invented"), Outcome::Error, None, None);
    assert_eq!(metrics.all_refused().into_iter().collect::<Vec<_>>(), [("draining", 1), ("parse_error", 1)]);
    for _ in 0..2 {
        // Reading changes nothing.
        let text = rendered(&metrics, &Measured::default());
        for series in [
            "mcpool_callers_total",
            r#"mcpool_starts_total{server="files",reason="call"}"#,
            r#"mcpool_stops_total{server="files",reason="idle"}"#,
            r#"mcpool_leases_total{server="files",kind="new"}"#,
            r#"mcpool_leases_total{server="files",kind="reused"}"#,
            r#"mcpool_probes_total{server="files",outcome="missed"}"#,
            r#"mcpool_refusals_total{server="files",reason="draining"}"#,
            r#"mcpool_refusals_total{server="(mcpool)",reason="parse_error"}"#,
            r#"mcpool_dropped_messages_total{reason="late_answer"}"#,
            r#"mcpool_reloads_total{outcome="refused"}"#,
            r#"mcpool_calls_total{server="files",method="tools/call",outcome="ok"}"#,
            r#"mcpool_calls_total{server="files",method="other",outcome="error"}"#,
        ] {
            assert_eq!(value(&text, series), 1.0, "{series}");
        }
        assert_eq!(value(&text, r#"mcpool_bytes_total{direction="to_caller"}"#), 7.0);
        assert_eq!(value(&text, r#"mcpool_retries_total{server="files"}"#), 0.0);
    }
}

#[test]
fn what_alerts_look_at_is_there_before_it_grows() {
    let metrics = Metrics::default();
    metrics.server("files");
    let text = rendered(&metrics, &Measured::default());
    for series in [
        r#"mcpool_reloads_total{outcome="applied"}"#,
        r#"mcpool_reloads_total{outcome="refused"}"#,
        r#"mcpool_stops_total{server="files",reason="ended"}"#,
        r#"mcpool_stops_total{server="files",reason="misbehaved"}"#,
        r#"mcpool_stops_total{server="files",reason="unresponsive"}"#,
        r#"mcpool_stops_total{server="files",reason="gives_way"}"#,
        r#"mcpool_start_failures_total{server="files"}"#,
        r#"mcpool_refusals_total{server="files",reason="server_died"}"#,
        r#"mcpool_refusals_total{server="(mcpool)",reason="forbidden"}"#,
        r#"mcpool_calls_total{server="files",method="tools/call",outcome="ok"}"#,
        r#"mcpool_calls_total{server="files",method="tools/call",outcome="refused"}"#,
        r#"mcpool_queue_seconds_count{server="files"}"#,
    ] {
        assert_eq!(value(&text, series), 0.0, "{series}");
    }
    assert_eq!(metrics.server("files").stops().len() + metrics.reloads().len(), 0, "`status` shows what happened");
}

#[test]
fn times_fall_into_buckets() {
    let metrics = Metrics::default();
    let files = metrics.server("files");
    let (queued, took) = (Some(Duration::from_millis(3)), Some(Duration::from_secs(2)));
    files.call_ended(Method::named("tools/call"), Outcome::Ok, queued, took);
    files.call_ended(Method::named("ping"), Outcome::Ok, None, None);
    let text = rendered(&metrics, &Measured::default());
    assert_eq!(value(&text, r#"mcpool_queue_seconds_bucket{server="files",le="0.0025"}"#), 0.0);
    assert_eq!(value(&text, r#"mcpool_queue_seconds_bucket{server="files",le="0.005"}"#), 1.0);
    assert_eq!(value(&text, r#"mcpool_queue_seconds_count{server="files"}"#), 1.0);
    assert_eq!(value(&text, r#"mcpool_call_seconds_sum{server="files",method="tools/call"}"#), 2.0);
    assert!(!text.contains("method=\"ping\"} 2"), "{text}");
}

#[test]
fn what_is_gone_is_not_there_any_more() {
    let metrics = Metrics::default();
    metrics.server("files");
    let server = MeasuredServer { name: "files".into(), ready: 2, queue: 3, ..MeasuredServer::default() };
    let measured =
        Measured { callers: vec![("files".into(), 4)], held: 1, servers: vec![server], ..Measured::default() };
    let text = rendered(&metrics, &measured);
    assert_eq!(value(&text, r#"mcpool_instances{server="files",state="ready"}"#), 2.0);
    assert_eq!(value(&text, r#"mcpool_callers{endpoint="files"}"#), 4.0);
    assert_eq!(value(&text, "mcpool_held_calls"), 1.0);
    let text = rendered(&metrics, &Measured::default());
    assert_eq!(value(&text, r#"mcpool_instances{server="files",state="ready"}"#), 0.0);
    assert_eq!(value(&text, r#"mcpool_queue_length{server="files"}"#), 0.0);
    assert_eq!(value(&text, r#"mcpool_callers{endpoint="files"}"#), 0.0);
}

#[test]
fn every_metric_is_in_the_manual_and_follows_the_conventions() {
    let manual = include_str!("../../docs/operating.md");
    for (name, kind, help) in METRICS {
        let counter = kind == prometheus::Kind::Counter;
        assert!(name.starts_with("mcpool_") && name.ends_with("_total") == counter && help.ends_with('.'), "{name}");
        let row = manual.lines().find(|line| line.starts_with(&format!("| `{name}` | {} |", kind.as_str())));
        assert!(row.is_some(), "docs/operating.md has no row for {name}");
    }
    let shown = manual.lines().filter(|line| line.starts_with("| `mcpool_")).count();
    assert_eq!(shown, METRICS.len(), "docs/operating.md tells of metrics that there are not");
}

#[test]
fn every_metric_of_dashboards_and_alerts_exists() {
    for text in [include_str!("../../config/alerts.yaml"), include_str!("../../config/dashboards/mcpool.json")] {
        let parts = text.split("mcpool_").skip(1);
        for rest in parts {
            let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(rest.len());
            let name = format!("mcpool_{}", &rest[..end]);
            let name = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
            assert!(METRICS.iter().any(|(known, ..)| *known == name), "{name}");
        }
    }
}
