//! Where the config and its daemon are found, and that nothing is run or believed because of where it lies.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::json;
use tokio::process::Command;

use crate::daemon::Place;
use crate::host::Host;
use crate::said::run;

/// The binary as somebody types it in a directory: without a config that is named, and with nothing of the environment.
fn typed(place: &Place, cwd: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcpool"));
    command.args(args).current_dir(cwd).env_clear().env("HOME", place.home()).env("PATH", "/usr/bin:/bin");
    command
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
}

/// Makes the config the one in the place's config directory.
fn make_usual(place: &Place) -> PathBuf {
    let usual = place.home().join(".config/mcpool/mcpool.yaml");
    fs::create_dir_all(usual.parent().expect("a directory")).expect("a directory");
    fs::rename(place.config(), &usual).expect("moved");
    usual
}

#[tokio::test]
async fn nothing_of_a_repositorys_config_is_run() {
    let place = Place::new();
    let repository = place.home().join("clone");
    fs::create_dir(&repository).expect("a directory");
    let trace = place.home().join("pwned");
    let hostile = json!({ "servers": { "echo": { "command": "touch", "args": [trace] } }, "sockets": { "dir": place.home().join("x") } });
    for name in ["mcpool.yaml", "mcpool.yml", "mcpool.json"] {
        fs::write(repository.join(name), hostile.to_string()).expect("written");
    }
    // With no other config there is none; one's own, if there is one, is what counts.
    for has_own in [false, true] {
        if has_own {
            make_usual(&place);
        }
        for args in [
            &["tools", "echo"][..],
            &["call", "echo", "add"],
            &["status"],
            &["check"],
            &["connect", "echo"],
            &["serve", "--stdio"],
        ] {
            let said = run(typed(&place, &repository, args)).await;
            if !has_own {
                assert_eq!(said.code, Some(1), "{args:?}: {}", said.out);
            }
            if !has_own && args[0] != "status" {
                assert!(
                    said.err.contains(".config/mcpool/mcpool.yaml") && said.err.contains("is not taken"),
                    "{}",
                    said.err
                );
            }
        }
        assert!(!trace.exists() && !place.home().join("x").exists(), "something of it was run");
    }
    let mut host = Host::start(typed(&place, &repository, &["connect", "echo"]));
    host.open().await;
    assert_eq!(host.call("add", json!({"a": 1, "b": 2})).await["result"]["content"][0]["text"], "3");
    assert!(!trace.exists());
}

#[tokio::test]
async fn two_configs_live_side_by_side() {
    let (one, other) = (Place::new(), Place::new());
    for place in [&one, &other] {
        // Where it follows from the path alone.
        let text = fs::read_to_string(place.config()).expect("a config");
        fs::write(place.config(), text.replace("sockets:\n  dir:", "sockets: {}\n#  dir:")).expect("written");
    }
    let called = |config: PathBuf, args: &[&str]| {
        let mut command = typed(&one, Path::new("/"), &["--config"]);
        command.arg(config).args(args);
        command
    };
    let mut pids = Vec::new();
    for place in [&one, &other] {
        let said = run(called(place.config(), &["call", "echo", "add", r#"{"a": 1, "b": 2}"#])).await;
        assert_eq!((said.out.as_str(), said.code), ("3\n", Some(0)), "{}", said.err);
        let said = run(called(place.config(), &["status", "--json"])).await;
        let status: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
        assert_eq!(status["config"], json!(place.config()));
        pids.push(status["pid"].clone());
    }
    assert_ne!(pids[0], pids[1]);
    let said = run(called(PathBuf::from("/no/such.yaml"), &["drain"])).await;
    assert!(said.code == Some(1) && said.err.contains(&one.config().display().to_string()), "{}", said.err);
    for place in [&one, &other] {
        let said = run(called(place.config(), &["drain"])).await;
        assert_eq!((said.out.lines().last(), said.code), (Some("the daemon has ended"), Some(0)), "{}", said.err);
    }
}

#[tokio::test]
async fn the_daemon_of_another_config_is_refused_whoever_asks() {
    let place = Place::new();
    let daemon = place.serve().await;
    let twin = place.home().join("twin.yaml");
    fs::copy(place.config(), &twin).expect("copied");
    for args in
        [&["connect", "echo"][..], &["tools", "echo"], &["call", "echo", "add"], &["reload"], &["drain"], &["status"]]
    {
        let mut command = typed(&place, Path::new("/"), args);
        command.arg("--config").arg(&twin);
        let said = run(command).await;
        assert_eq!(said.code, Some(1), "{args:?}");
        let (theirs, ours) = (place.config().display().to_string(), twin.display().to_string());
        assert!(
            said.err.contains(&theirs) && said.err.contains(&ours) && said.err.contains("sockets.dir"),
            "{}",
            said.err
        );
    }
    assert_eq!(place.status().await["pid"], daemon.pid(), "it goes on");
}

#[tokio::test]
async fn a_running_daemon_is_found_whatever_has_become_of_its_config() {
    let place = Place::new();
    let usual = make_usual(&place);
    let mut first = Host::start(typed(&place, Path::new("/"), &["connect", "echo"]));
    first.open().await;
    let fates: [fn(&Path); 3] = [
        |file| {
            fs::write(file, fs::read_to_string(file).expect("a config").replace("command:", "comand:"))
                .expect("written")
        },
        |file| fs::write(file, "servers: [\n").expect("written"),
        |file| fs::remove_file(file).expect("removed"),
    ];
    for fate in fates {
        fate(&usual);
        let mut host = Host::start(typed(&place, Path::new("/"), &["connect", "echo"]));
        host.open().await;
        assert_eq!(host.call("add", json!({"a": 1, "b": 2})).await["result"]["content"][0]["text"], "3");
        let said = run(typed(&place, Path::new("/"), &["status"])).await;
        assert!(said.out.contains(&format!("config: {}", usual.display())), "{}{}", said.out, said.err);
    }
    let said = run(typed(&place, Path::new("/"), &["restart", "echo"])).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    let said = run(typed(&place, Path::new("/"), &["drain"])).await;
    assert!(said.code == Some(0) && said.err.contains(&usual.display().to_string()), "{}", said.err);
}

#[tokio::test]
async fn a_host_needs_none_of_the_variables_that_the_config_names() {
    let place = Place::new();
    place.edit("args: [demo-server, modern]", "args: [demo-server, modern]\n    env: { KEY: \"${env:PLACES_KEY}\" }");
    let mut serve = place.mcpool(&["serve"]);
    let mut daemon = serve.env("PLACES_KEY", "x").stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
    place.until(|_| true).await;
    for args in [&["tools", "echo"][..], &["tools", "new"], &["call", "new", "add", r#"{"a": 1, "b": 2}"#]] {
        let mut command = typed(&place, Path::new("/"), args);
        command.arg("--config").arg(place.config());
        let said = run(command).await;
        assert_eq!(said.code, Some(0), "{args:?}: {}", said.err);
    }
    daemon.kill().await.expect("killed");
}

#[tokio::test]
async fn a_config_that_others_can_write_is_refused_and_the_one_before_stays_in_force() {
    let place = Place::new();
    let _daemon = place.serve().await;
    place.edit("  new:\n", "  newer:\n");
    place.until(|status| status["servers"][1]["name"] == "newer").await;
    chmod(&place.config(), 0o666);
    let said = run(place.mcpool(&["reload"])).await;
    let remedy = format!("chmod go-w {}", place.config().display());
    assert!(said.code == Some(1) && said.err.contains(&remedy), "{}", said.err);
    let status = place.status().await;
    assert!(status["in_force"]["refused"]["mistakes"].as_str().is_some_and(|told| told.contains(&remedy)), "{status}");
    for args in [&["check"][..], &["serve"]] {
        let said = run(place.mcpool(args)).await;
        assert!(said.code == Some(1) && said.err.contains(&remedy), "{}", said.err);
    }
    assert_eq!(place.status().await["servers"][1]["name"], "newer");
    chmod(&place.config(), 0o600);
    place.until(|status| status["in_force"]["refused"].is_null()).await;
}

#[tokio::test]
async fn a_directory_of_sockets_that_others_can_write_is_refused() {
    let place = Place::new();
    fs::create_dir(place.sockets()).expect("a directory");
    chmod(&place.sockets(), 0o777);
    let precious = place.home().join("precious");
    fs::write(&precious, "x").expect("written");
    std::os::unix::fs::symlink(&precious, place.sockets().join("daemon.log")).expect("a link");
    for args in [&["serve"][..], &["tools", "echo"]] {
        let said = run(place.mcpool(args)).await;
        let remedy = format!("chmod go-w {}", place.sockets().display());
        assert!(said.code == Some(1) && said.err.contains(&remedy), "{}", said.err);
    }
    chmod(&place.sockets(), 0o700);
    let said = run(place.mcpool(&["tools", "echo"])).await;
    assert!(said.code == Some(1) && said.err.contains("symbolic link"), "{}", said.err);
    assert_eq!(fs::read_to_string(precious).expect("it is there"), "x");
}

#[tokio::test]
async fn options_may_stand_before_the_command() {
    let place = Place::new();
    let mut command = typed(&place, Path::new("/"), &["--config"]);
    command.arg(place.config()).arg("check");
    assert_eq!(run(command).await.code, Some(0));
}

#[tokio::test]
async fn a_home_that_is_relative_is_refused_and_a_missing_one_is_looked_up() {
    let place = Place::new();
    let mut command = typed(&place, place.home(), &["check"]);
    command.env("HOME", "rel");
    let said = run(command).await;
    assert!(said.code == Some(1) && said.err.contains("`rel`"), "{}", said.err);
    let mut command = typed(&place, place.home(), &["check", "--config"]);
    command.arg(place.config()).env_remove("HOME");
    assert_eq!(run(command).await.code, Some(0));
}

#[tokio::test]
async fn a_variable_that_is_missing_costs_its_server_and_is_named_wherever_one_looks() {
    let place = Place::new();
    place.edit("args: [demo-server, modern]", "args: [demo-server, modern]\n    env: { KEY: \"${env:PLACES_KEY}\" }");
    let mut host = Host::start({
        let mut command = typed(&place, Path::new("/"), &["connect", "echo", "--config"]);
        command.arg(place.config());
        command
    });
    host.open().await;
    assert_eq!(host.call("add", json!({"a": 1, "b": 2})).await["result"]["content"][0]["text"], "3");
    let told = |text: &str| text.contains("`PLACES_KEY` is not set");
    let said = run(place.mcpool(&["call", "new", "add", "{}"])).await;
    assert!(said.code == Some(1) && said.err.contains("503") && told(&said.err), "{}", said.err);
    assert!(said.err.contains("mcpool drain") && said.err.contains("`new`"), "{}", said.err);
    let said = run(place.mcpool(&["status"])).await;
    assert!(said.out.contains("new cannot be started: ") && told(&said.out), "{}", said.out);
    let said = run(place.mcpool(&["check"])).await;
    assert!(told(&said.out), "{}", said.out);
}

#[tokio::test]
async fn why_a_daemon_does_not_start_is_told_even_if_its_log_cannot_be_written() {
    let place = Place::new();
    fs::create_dir_all(place.sockets()).expect("a directory");
    chmod(&place.sockets(), 0o700);
    // Whatever is written there is lost, as on a full disk.
    let taken = std::os::unix::net::UnixListener::bind(place.socket("echo")).expect("a socket");
    let said = run(place.mcpool(&["tools", "echo"])).await;
    drop(taken);
    assert_eq!(said.code, Some(1));
    let reason = said.err.split("the daemon did not start: ").nth(1).unwrap_or_else(|| panic!("{}", said.err));
    assert!(reason.contains("is listened on by another program"), "{}", said.err);
}

#[tokio::test]
async fn tools_and_call_work_at_once_after_the_daemon_was_killed() {
    let place = Place::new();
    for _ in 0..3 {
        assert_eq!(run(place.mcpool(&["tools", "echo"])).await.code, Some(0));
        let pid = place.status().await["pid"].as_i64().expect("a pid");
        // Without waiting for its end, as somebody's hands would.
        let pid = rustix::process::Pid::from_raw(pid.try_into().expect("a pid")).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
        let said = run(place.mcpool(&["call", "echo", "add", r#"{"a": 1, "b": 2}"#])).await;
        assert_eq!((said.out.as_str(), said.code), ("3\n", Some(0)), "{}", said.err);
    }
}
