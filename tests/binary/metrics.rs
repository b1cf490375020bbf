//! What Prometheus and supervisors read over HTTP, with a real daemon; and that nobody who reads harms anybody.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::PATIENCE;
use crate::daemon::{Daemon, Place};

/// Has metrics served on an address.
fn configure(place: &Place, address: &str) {
    let mut config = OpenOptions::new().append(true).open(place.config()).expect("a config");
    write!(config, "admin:\n  metrics: \"{address}\"\n").expect("written");
}

/// A daemon that serves metrics on a free port, and its address.
async fn serve(place: &Place) -> (Daemon, String) {
    configure(place, "127.0.0.1:0");
    let daemon = place.serve().await;
    let address = place.status().await["metrics"].as_str().expect("an address").to_owned();
    assert!(!address.ends_with(":0"), "{address} is the bound one");
    (daemon, address)
}

/// What is answered to a request's head.
async fn ask(address: &str, head: &str) -> (u16, String) {
    ask_as(address, head, "Host: localhost").await
}

/// What is answered to a request's first line with other headers.
async fn ask_as(address: &str, head: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(format!("{head}\r\n{headers}\r\n\r\n").as_bytes()).await.expect("written");
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("it closes").expect("UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

#[tokio::test]
async fn prometheus_reads_what_status_shows() {
    let place = Place::new();
    let (_daemon, address) = serve(&place).await;
    let mut host = place.connect("echo");
    host.open().await;
    host.call("echo", json!({})).await;
    let (code, text) = ask(&address, "GET /metrics HTTP/1.1").await;
    assert_eq!(code, 200);
    let version = env!("CARGO_PKG_VERSION");
    for line in [
        "# TYPE mcpool_calls_total counter",
        r#"mcpool_calls_total{server="echo",method="tools/call",outcome="ok"} 1"#,
        r#"mcpool_instances{server="echo",state="ready"} 1"#,
        r#"mcpool_instances{server="new",state="ready"} 0"#,
        r#"mcpool_callers{endpoint="echo"} 1"#,
        r#"mcpool_call_seconds_count{server="echo",method="tools/call"} 1"#,
        &format!(r#"mcpool_build_info{{version="{version}"}} 1"#),
    ] {
        assert!(text.lines().any(|other| other == line), "no {line} in:\n{text}");
    }
    let status = place.status().await;
    let requests = format!("mcpool_requests_total {}", status["counters"]["calls"]);
    assert!(text.lines().any(|line| line == requests), "no {requests} in:\n{text}");
}

#[tokio::test]
async fn only_what_is_there_can_be_read() {
    let place = Place::new();
    let (_daemon, address) = serve(&place).await;
    for path in ["/live", "/ready"] {
        assert_eq!(ask(&address, &format!("GET {path} HTTP/1.1")).await, (200, "ok\n".into()));
    }
    let (code, body) = ask(&address, "HEAD /metrics HTTP/1.1").await;
    assert_eq!((code, body.as_str()), (200, ""));
    assert_eq!(ask(&address, "GET /status HTTP/1.1").await.0, 404);
    assert_eq!(ask(&address, "POST /metrics HTTP/1.1").await.0, 405);
    let long = format!("GET /live HTTP/1.1\r\nX: {}", "x".repeat(20_000));
    assert_eq!(ask(&address, &long).await.0, 431, "a request's size is bounded");
}

#[tokio::test]
async fn silent_clients_take_nothing_away() {
    let place = Place::new();
    let (_daemon, address) = serve(&place).await;
    let mut silent = Vec::new();
    for half in [&b""[..], b"GET /metr"] {
        for _ in 0..64 {
            let mut stream = TcpStream::connect(&address).await.expect("it listens");
            stream.write_all(half).await.expect("written");
            silent.push(stream);
        }
        let asked = tokio::time::Instant::now();
        assert_eq!(ask(&address, "GET /live HTTP/1.1").await.0, 200);
        assert!(asked.elapsed() < std::time::Duration::from_secs(2), "it does not wait for the others' time-outs");
    }
    let mut host = place.connect("echo");
    host.open().await;
    host.call("echo", json!({})).await;
    for mut stream in silent {
        // Closed by the daemon: at once, at the end, or because it was in the middle of a request.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.expect("it is given up");
    }
    assert_eq!(ask(&address, "GET /live HTTP/1.1").await.0, 200);
}

#[tokio::test]
async fn a_web_page_whose_name_leads_here_is_told_nothing() {
    let place = Place::new();
    let (_daemon, address) = serve(&place).await;
    let port = address.rsplit(':').next().expect("a port");
    for own in
        ["localhost", "LocalHost:1", "127.0.0.1", "[::1]", &format!("127.0.0.1:{port}"), &format!("[::1]:{port}")]
    {
        assert_eq!(ask_as(&address, "GET /live HTTP/1.1", &format!("Host: {own}")).await.0, 200, "{own}");
    }
    for other in [
        "evil.example",
        "evil.example:80",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "",
    ] {
        for path in ["/live", "/metrics", "/nothing"] {
            let (code, body) = ask_as(&address, &format!("GET {path} HTTP/1.1"), &format!("Host: {other}")).await;
            assert_eq!(code, 421, "{other}: {body}");
            assert!(!body.contains("mcpool_"), "{body}");
        }
    }
    assert_eq!(ask_as(&address, "GET /live HTTP/1.1", "Host: localhost\r\nHost: evil.example").await.0, 421);
    assert_eq!(ask_as(&address, "GET http://evil.example/live HTTP/1.1", "Host: localhost").await.0, 421);
    assert_eq!(ask_as(&address, "GET /live HTTP/1.1", "X: y").await.0, 421);
    assert_eq!(ask_as(&address, "GET /live HTTP/1.0", "X: y").await.0, 200, "no browser speaks it");
}

#[tokio::test]
async fn metrics_can_be_served_on_a_socket_for_its_user_alone() {
    let place = Place::new();
    let socket = place.home().join("metrics.sock");
    configure(&place, &format!("unix:{}", socket.display()));
    let _daemon = place.serve().await;
    assert_eq!(place.status().await["metrics"], format!("unix:{}", socket.display()));
    assert_eq!(std::fs::metadata(&socket).expect("a socket").permissions().mode() & 0o777, 0o600);
    let mut stream = UnixStream::connect(&socket).await.expect("it listens");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: anything\r\n\r\n").await.expect("written");
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("it closes").expect("UTF-8");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("mcpool_callers_total"), "{answer}");
}

#[tokio::test]
async fn a_socket_of_metrics_that_is_swept_away_is_there_again() {
    let place = Place::new();
    let directory = place.home().join("metrics");
    let socket = directory.join("metrics.sock");
    configure(&place, &format!("unix:{}", socket.display()));
    let _daemon = place.serve().await;
    let with_lock = || std::fs::remove_dir_all(&directory).expect("removed");
    let alone = || std::fs::remove_file(&socket).expect("removed");
    for sweep in [&alone as &dyn Fn(), &with_lock] {
        // Who reads at that moment is served to the end.
        let mut reading = UnixStream::connect(&socket).await.expect("it listens");
        reading.write_all(b"GET /live HTTP/1.1\r\n").await.expect("written");
        sweep();
        let there = async {
            while !socket.exists() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, there).await.expect("it is not there again");
        assert_eq!(std::fs::metadata(&socket).expect("a socket").permissions().mode() & 0o777, 0o600);
        let mut next = UnixStream::connect(&socket).await.expect("it listens");
        next.write_all(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("written");
        reading.write_all(b"Host: x\r\n\r\n").await.expect("written");
        for stream in [&mut reading, &mut next] {
            let mut answer = String::new();
            timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("it closes").expect("UTF-8");
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    }
    assert_eq!(place.status().await["metrics"], format!("unix:{}", socket.display()));
}

#[tokio::test]
async fn a_socket_of_metrics_that_another_has_by_now_costs_no_caller_anything() {
    let place = Place::new();
    let socket = place.home().join("metrics.sock");
    configure(&place, &format!("unix:{}", socket.display()));
    let daemon = place.serve().await;
    daemon.signal(Signal::STOP);
    std::fs::remove_file(&socket).expect("removed");
    let other = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
    daemon.signal(Signal::CONT);
    place.until(|status| status["metrics"].is_null()).await;
    drop(other);
    place.until(|status| status["metrics"] == format!("unix:{}", socket.display())).await;
    let mut stream = UnixStream::connect(&socket).await.expect("it listens");
    stream.write_all(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("written");
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("it closes").expect("UTF-8");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_served_on_as_soon_as_it_is_free() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    configure(&place, &address.to_string());
    let _daemon = place.serve().await;
    assert!(place.status().await["metrics"].is_null(), "it is not served yet");
    drop(taken);
    place.until(|status| status["metrics"] == address.to_string()).await;
    assert_eq!(ask(&address.to_string(), "GET /live HTTP/1.1").await.0, 200);
}

#[tokio::test]
async fn metrics_go_over_to_the_next_daemon_with_their_port() {
    let place = Place::new();
    let (mut first, address) = serve(&place).await;
    // The next one is to have the same.
    place.edit("127.0.0.1:0", &address);
    let mut host = place.host(&["connect", "echo", "--socket", &place.socket("echo").display().to_string()]);
    host.open().await;
    host.request(json!("x"), "tools/call", json!({"name": "forget", "arguments": {}}));
    place.until(|status| status["servers"][0]["instances"][0]["in_flight"] == 1).await;
    first.signal(Signal::TERM);
    while place.socket("admin").exists() {
        tokio::task::yield_now().await;
    }
    let second = place.serve().await;
    assert_eq!(place.mcpool(&["call", "echo", "echo"]).output().await.expect("it runs").stdout, b"{}\n");
    assert_eq!(ask(&address, "GET /ready HTTP/1.1").await.0, 503, "it is the first one's still");
    // The second signal ends the waiting.
    first.signal(Signal::TERM);
    assert_eq!(host.line().await["error"]["code"], 503);
    assert_eq!(first.ended().await.code(), Some(0));
    let status = place.until(|status| status["metrics"] == address).await;
    assert_eq!(status["pid"], second.pid());
    assert_eq!(ask(&address, "GET /ready HTTP/1.1").await.0, 200);
    assert!(ask(&address, "GET /metrics HTTP/1.1").await.1.contains("mcpool_callers_total"));
}

#[tokio::test]
async fn an_ending_daemon_is_not_ready() {
    let place = Place::new();
    let (mut daemon, address) = serve(&place).await;
    let mut host = place.connect("echo");
    host.open().await;
    host.call("echo", json!({})).await;
    let server = place.servers().await[0];
    // A server that stands still makes the end take its time.
    let server = Pid::from_raw(server.cast_signed()).expect("a pid");
    kill_process(server, Signal::STOP).expect("stopped");
    let pid = Pid::from_raw(daemon.pid().cast_signed()).expect("a pid");
    kill_process(pid, Signal::TERM).expect("told");
    let draining = async {
        while ask(&address, "GET /ready HTTP/1.1").await.0 == 200 {
            tokio::task::yield_now().await;
        }
        assert_eq!(ask(&address, "GET /ready HTTP/1.1").await, (503, "draining\n".into()));
        assert_eq!(ask(&address, "GET /live HTTP/1.1").await.0, 200);
    };
    timeout(PATIENCE, draining).await.expect("it is never said that it drains");
    // The second signal ends the waiting.
    assert_eq!(daemon.terminate().await.code(), Some(0));
}
