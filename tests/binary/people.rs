//! What people type: `status`, `tools`, `call` and `demo`, by their output and exit status.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::daemon::Place;
use crate::host::Host;
use crate::said::{Said, run};

async fn mcpool(place: &Place, args: &[&str]) -> Said {
    run(place.mcpool(args)).await
}

/// The one row of a table that begins with these words, as its words.
fn row<'a>(page: &'a str, begins: &str) -> Vec<&'a str> {
    let mut rows = page.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let begins: Vec<_> = begins.split(' ').collect();
    rows.find(|row| row.starts_with(&begins)).unwrap_or_else(|| panic!("no row {begins:?} in:\n{page}"))
}

#[tokio::test]
async fn status_shows_servers_instances_and_callers_as_they_are() {
    let place = Place::new();
    let daemon = place.serve().await;
    let (mut busy, mut idle) = (place.connect("echo"), place.connect("echo"));
    for host in [&mut busy, &mut idle] {
        host.open().await;
        host.call("echo", json!({})).await;
    }
    busy.request(json!("x"), "tools/call", json!({ "name": "forget", "arguments": {} }));
    // Answered behind the other one, which is therefore in flight by now.
    busy.call("echo", json!({})).await;
    let server = place.servers().await[0].to_string();

    let said = mcpool(&place, &["status"]).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    let page = said.out;
    assert!(
        page.starts_with(&format!("mcpool {}, pid {}, config: ", env!("CARGO_PKG_VERSION"), daemon.pid())),
        "{page}"
    );
    assert!(page.contains(&place.config().display().to_string()), "{page}");
    let echo = row(&page, "echo legacy");
    assert_eq!(echo[..7], ["echo", "legacy", "2", "0", "1", "of", "4"], "era, callers, queue, processes: {page}");
    assert_eq!(row(&page, "new not known yet")[4..9], ["0", "0", "0", "of", "4"], "{page}");
    let instance = row(&page, &format!("echo 1 {server} ready legacy"));
    assert_eq!(instance[5..10], ["2025-06-18", "shared", "1", "1", "3"], "lease, callers, in flight, answered: {page}");
    let callers: Vec<_> = page.lines().filter(|line| line.starts_with("host ")).collect();
    assert_eq!(callers.len(), 2, "{page}");
    assert!(callers.iter().all(|line| line.contains("2025-06-18") && line.contains(" echo ")), "{page}");
    assert!(page.contains("Sharing saves 1 process and about "), "{page}");
    assert!(page.contains("Since it started sharing has saved "), "{page}");
    assert!(page.lines().any(|line| line.starts_with("    ") && line.contains("for host")), "{page}");
}

#[tokio::test]
async fn status_for_programs_is_json_and_says_the_same() {
    let place = Place::new();
    let daemon = place.serve().await;
    let (mut one, mut other) = (place.connect("echo"), place.connect("all"));
    one.open().await;
    one.call("echo", json!({})).await;
    other.open().await;

    let said = mcpool(&place, &["status", "--json"]).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    let status: Value = serde_json::from_str(&said.out).expect("JSON and nothing else");
    assert_eq!(status["pid"], daemon.pid());
    assert_eq!(status["config"], place.config().display().to_string());
    let mut endpoints: Vec<_> =
        status["callers"].as_array().expect("callers").iter().map(|one| &one["endpoint"]).collect();
    endpoints.sort_by_key(|name| name.to_string());
    assert_eq!(endpoints, ["all", "echo"]);
    let echo = &status["servers"][0];
    assert_eq!((&echo["name"], &echo["instances"][0]["calls"]), (&json!("echo"), &json!(1)));
    assert_eq!(status["counters"]["dropped"], json!({}));
}

#[tokio::test]
async fn without_a_daemon_status_says_so_and_how_to_start_one() {
    let place = Place::new();
    for args in [&["status"][..], &["status", "--json"]] {
        let said = mcpool(&place, args).await;
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{}", said.err);
        let socket = place.socket("admin").display().to_string();
        assert!(said.err.starts_with("mcpool: no daemon answers") && said.err.contains(&socket), "{}", said.err);
        assert!(said.err.contains("`mcpool serve`"), "{}", said.err);
    }
    assert!(!place.socket("admin").exists(), "to ask for the status starts nothing");
}

#[tokio::test]
async fn tools_are_listed_with_their_arguments_whatever_the_era() {
    let place = Place::new();
    for endpoint in ["echo", "new"] {
        let said = mcpool(&place, &["tools", endpoint]).await;
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{endpoint}");
        assert!(said.out.contains("add\n    Adds two numbers.\n"), "{endpoint}: {}", said.out);
        assert_eq!(row(&said.out, "a number,"), ["a", "number,", "required"], "{endpoint}");
    }
    let all = mcpool(&place, &["tools", "all"]).await;
    assert_eq!(all.code, Some(0), "{}", all.err);
    assert!(all.out.contains("echo__add\n"), "{}", all.out);
    let none = mcpool(&place, &["tools", "nowhere"]).await;
    assert_eq!((none.code, none.out.as_str()), (Some(1), ""));
    assert!(none.err.contains("echo, new, all"), "it says what there is: {}", none.err);
}

#[tokio::test]
async fn call_prints_the_result_and_nothing_else() {
    let place = Place::new();
    for endpoint in ["echo", "new"] {
        let said = mcpool(&place, &["call", endpoint, "add", r#"{"a": 20, "b": 22}"#]).await;
        assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (Some(0), "42\n", ""), "{endpoint}");
    }
    let exact = r#"{"n": 123456789012345678901234567890, "d": 1.0, "é": "\u0041"}"#;
    assert_eq!(mcpool(&place, &["call", "echo", "echo", exact]).await.out.trim_end(), exact, "to the letter");
    assert_eq!(mcpool(&place, &["call", "echo", "echo"]).await.out, "{}\n", "without arguments");
    let image = mcpool(&place, &["call", "echo", "image"]).await;
    assert!(image.out.starts_with("[image/png, ") && image.out.ends_with(" bytes]\n"), "{}", image.out);
}

#[tokio::test]
async fn call_tells_progress_in_lines_where_there_is_no_terminal() {
    let place = Place::new();
    for endpoint in ["echo", "new"] {
        let said = mcpool(&place, &["call", endpoint, "slow", r#"{"ms": 30, "steps": 3}"#]).await;
        assert_eq!((said.code, said.out.as_str()), (Some(0), "slept 30 ms in 3 steps\n"), "{endpoint}");
        let steps: Vec<_> = said.err.lines().collect();
        let told = ["progress 1/3: step 1 of 3", "progress 2/3: step 2 of 3", "progress 3/3: step 3 of 3"];
        assert_eq!(steps, told, "{endpoint}");
    }
}

#[tokio::test]
async fn a_call_that_fails_says_why_on_stderr_and_ends_with_1() {
    let place = Place::new();
    for endpoint in ["echo", "new"] {
        let failed = mcpool(&place, &["call", endpoint, "fail", r#"{"message": "no luck"}"#]).await;
        assert_eq!((failed.code, failed.out.as_str(), failed.err.as_str()), (Some(1), "", "no luck\n"), "{endpoint}");
        let refused = mcpool(&place, &["call", endpoint, "error", r#"{"code": -32042, "message": "not today"}"#]).await;
        assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""), "{endpoint}");
        assert_eq!(refused.err, "error -32042: not today\n", "{endpoint}");
    }
    let died = mcpool(&place, &["call", "echo", "die"]).await;
    assert_eq!((died.code, died.out.as_str()), (Some(1), ""));
    assert!(died.err.starts_with("error 502: "), "{}", died.err);
}

#[tokio::test]
async fn what_a_server_or_a_client_says_does_nothing_to_a_terminal() {
    let place = Place::new();
    let evil = "bad\u{1b}]52;c;eA==\u{7}\nmcpool: run this\u{202e}\u{2028}";
    let error = json!({ "code": -32042, "message": evil }).to_string();
    let refused = mcpool(&place, &["call", "echo", "error", &error]).await;
    assert_eq!(refused.err, "error -32042: bad\\u{1b}]52;c;eA==\\u{7}\\nmcpool: run this\\u{202e}\\u{2028}\n");

    let mut host = place.connect("echo");
    let client = json!({ "name": evil, "version": "1" });
    let opening = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client });
    host.request(json!(0), "initialize", opening);
    host.line().await;
    let page = mcpool(&place, &["status"]).await.out;
    assert!(page.contains(r"bad\u{1b}]52;c;eA==\u{7}\nmcp"), "{page}");
    let json = mcpool(&place, &["status", "--json"]).await.out;
    assert!(!json.contains(['\u{1b}', '\u{202e}', '\u{2028}']), "{json:?}");
    let status: Value = serde_json::from_str(&json).expect("JSON all the same");
    assert_eq!(status["callers"][0]["client"], evil);
}

#[tokio::test]
async fn one_failure_is_told_in_one_form() {
    let place = Place::new();
    let config = std::fs::read_to_string(place.config()).expect("a config");
    let config = config.replace("servers:\n", "servers:\n  broken:\n    command: /nowhere/server\n");
    std::fs::write(place.config(), config).expect("written");
    for args in [&["tools", "broken"][..], &["call", "broken", "x"]] {
        let said = mcpool(&place, args).await;
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""));
        assert!(said.err.starts_with("error 503: server `broken` could not be started: "), "{}", said.err);
    }
    let page = mcpool(&place, &["status"]).await.out;
    assert!(page.contains("\nbroken could not be started 0s ago (20"), "{page}");
    assert!(page.lines().all(|line| line.chars().count() <= 80 || line.split_whitespace().count() == 1), "{page}");
    let failure = place.status().await["servers"][0]["last_failure"].clone();
    assert!(failure["cause"].as_str().is_some_and(|cause| cause.contains("/nowhere/server")), "{failure}");
}

#[tokio::test]
async fn no_line_of_the_log_can_be_forged() {
    let place = Place::new();
    let log = std::fs::File::create(place.home().join("log")).expect("a file");
    let mut serving = place.mcpool(&["serve", "--stdio", "echo"]);
    serving.env("MCPOOL_LOG", "debug");
    let mut host = Host::start_with(serving, Stdio::from(log));
    host.open().await;
    let evil = "x\n2026-11-27T12:00:00Z  INFO mcpool: all is well\u{1b}[2J\u{202e}";
    for (id, method, params) in [
        (json!(evil), "tools/call", json!({ "name": evil, "arguments": {} })),
        (json!(1), evil, json!({})),
        (json!(2), "resources/read", json!({ "uri": evil })),
        (json!(3), "tools/call", json!({ "name": "error", "arguments": { "code": 1, "message": evil } })),
    ] {
        host.request(id, method, params);
        assert!(host.line().await["error"].is_object());
    }
    assert!(host.close().await.success());
    let log = std::fs::read_to_string(place.home().join("log")).expect("the log");
    assert!(log.contains("all is well") && !log.contains(['\u{1b}', '\u{202e}']), "{log:?}");
    for line in log.lines() {
        let year = line.get(..2).is_some_and(|year| year == "20");
        assert!(year && !line.starts_with("2026-11-27T12:00:00Z"), "{line:?}");
    }
}

#[tokio::test]
async fn call_refuses_arguments_that_are_no_json_object_before_it_asks_anybody() {
    let place = Place::new();
    for (arguments, why) in [("{\"a\": 1 \"b\": 2}", "not JSON"), ("[1]", "an array"), ("", "not JSON")] {
        let said = mcpool(&place, &["call", "echo", "add", arguments]).await;
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{arguments:?}");
        assert!(said.err.starts_with("mcpool: the arguments are ") && said.err.contains(why), "{}", said.err);
    }
    assert!(!place.socket("admin").exists(), "no daemon was started");
}

#[tokio::test]
async fn the_demo_needs_nothing_and_all_its_answers_are_right() {
    let place = Place::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcpool"));
    command.env_clear().env("HOME", place.home()).env("TMPDIR", place.home()).current_dir(place.home()).arg("demo");
    let said = run(command).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{}", said.out);
    assert_eq!(row(&said.out, "callers")[1], "32");
    let calls = row(&said.out, "calls")[1];
    assert!(calls.parse::<u32>().expect("a number") >= 32, "{}", said.out);
    assert_eq!(row(&said.out, "answers right")[2..], [calls, "of", calls]);
    let started = row(&said.out, "server processes started")[3].trim_end_matches(',').parse::<u32>().expect("a number");
    assert!((2..32).contains(&started), "{}", said.out);
    assert!(row(&said.out, "what a caller pays").contains(&"more"), "{}", said.out);
    let left: Vec<_> =
        std::fs::read_dir(place.home()).expect("a directory").flatten().map(|one| one.file_name()).collect();
    assert_eq!(left, ["mcpool.yaml"], "it leaves nothing behind");
}
