//! The alert rules, by the program that Prometheus comes with for this. It is in Debian's package `prometheus`, and
//! `scripts/peers` gets it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where it is: on the PATH, or where `scripts/peers` puts it.
fn promtool() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let peers = std::env::var_os("MCPOOL_PEERS").map_or_else(|| root.join("target/peers"), PathBuf::from);
    let own = peers.join("promtool");
    if own.exists() { own } else { "promtool".into() }
}

fn passes(args: &[&str]) {
    let mut command = Command::new(promtool());
    let checked = command.args(args).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/config")).output();
    let checked = checked.expect("promtool: run scripts/peers, or install Debian's package `prometheus`");
    assert!(checked.status.success(), "{args:?}: {checked:#?}");
}

#[test]
fn the_alert_rules_can_be_loaded_and_fire_when_they_are_to() {
    passes(&["check", "rules", "alerts.yaml"]);
    passes(&["test", "rules", "alerts_test.yaml"]);
}

#[test]
fn every_alert_is_tested_both_ways() {
    let tests = include_str!("../../config/alerts_test.yaml");
    let alerts =
        include_str!("../../config/alerts.yaml").lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    for alert in alerts {
        let name = format!("alertname: {alert}\n");
        let after = tests.split(&name).skip(1);
        let expected: Vec<&str> = after.filter_map(|rest| rest.lines().next()).map(str::trim).collect();
        for wanted in ["exp_alerts:", "exp_alerts: []"] {
            assert!(expected.contains(&wanted), "alerts_test.yaml has no `{wanted}` for {alert}");
        }
    }
}
