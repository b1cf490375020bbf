//! What servers get of an environment, whoever started the daemon: an editor with a poor PATH, Codex with its seven
//! variables, or a shell with everything.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use tokio::process::Command;

use crate::daemon::Place;
use crate::host::Host;
use crate::said::run;

/// The environments of three hosts, besides HOME.
fn hosts() -> [Vec<(&'static str, &'static str)>; 3] {
    let editor = vec![("PATH", "/usr/bin:/bin"), ("XPC_FLAGS", "0x0")];
    let codex = vec![
        ("LANG", "C"),
        ("PATH", "/opt/codex/vendor:/usr/bin:/bin"),
        ("SHELL", "/bin/dash"),
        ("TERM", "dumb"),
        ("TMPDIR", "/var/tmp"),
        ("USER", "me"),
    ];
    let shell = vec![
        ("LANG", "de_DE.UTF-8"),
        ("PATH", "/home/me/.nvm/bin:/usr/bin:/bin"),
        ("PROBE_KEY", "of the shell"),
        ("SHELL", "/bin/bash"),
        ("SSH_AUTH_SOCK", "/tmp/agent"),
        ("TERM", "xterm"),
        ("USER", "me"),
        ("XDG_RUNTIME_DIR", "/run/user/1"),
        ("http_proxy", "http://localhost:1"),
    ];
    [editor, codex, shell]
}

/// The binary, run by somebody with these variables and HOME alone.
fn with(place: &Place, args: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = place.mcpool(args);
    command.env_clear().env("HOME", place.home()).envs(variables.iter().copied());
    command
}

/// Runs it to its end: its exit code and all that it printed.
async fn said(command: Command) -> (Option<i32>, String) {
    let said = run(command).await;
    (said.code, said.out + &said.err)
}

/// The variables of a server whose daemon was started by somebody with these.
async fn probed(place: &Place, variables: &[(&str, &str)]) -> Vec<String> {
    let mut host = Host::start(with(place, &["connect", "echo"], variables));
    host.open().await;
    host.call("echo", json!({})).await;
    let server = place.servers().await[0];
    let environ = fs::read(format!("/proc/{server}/environ")).expect("its environment");
    place.kill().await;
    crate::daemon::gone(server).await;
    let all = environ.split(|byte| *byte == 0).map(|one| String::from_utf8_lossy(one).into_owned());
    let mut all: Vec<String> = all.filter(|one| !one.is_empty() && !one.starts_with("MCPOOL_INSTANCE=")).collect();
    all.sort();
    all
}

#[tokio::test]
async fn without_a_word_the_first_host_decides() {
    let place = Place::new();
    let [editor, _, shell] = hosts();
    assert_ne!(probed(&place, &editor).await, probed(&place, &shell).await);
    let (_, checked) = said(with(&place, &["check"], &editor)).await;
    assert!(checked.contains("whoever started the daemon"), "{checked}");
}

#[tokio::test]
async fn with_a_record_servers_get_the_same_whoever_started_the_daemon() {
    let place = Place::new();
    place.edit(
        "    args: [demo-server, legacy]",
        "    args: [demo-server, legacy]\n    env: { K: \"${env:PROBE_KEY}\" }",
    );
    let [editor, codex, shell] = hosts();
    let (code, told) = said(with(&place, &["env", "record"], &shell)).await;
    assert_eq!(code, Some(0), "{told}");
    let record = place.home().join("mcpool.yaml.env");
    assert!(told.contains(&record.display().to_string()) && told.contains("PATH=/home/me/.nvm/bin"), "{told}");
    assert!(told.contains("PROBE_KEY=***") && !told.contains("of the shell"), "{told}");
    assert!(told.contains("of this session alone, and so not recorded: TERM, XDG_RUNTIME_DIR"), "{told}");
    assert_eq!(fs::metadata(&record).expect("a record").permissions().mode() & 0o777, 0o600);

    let first = probed(&place, &editor).await;
    for wanted in ["PATH=/home/me/.nvm/bin:/usr/bin:/bin", "K=of the shell", "LANG=de_DE.UTF-8", "SHELL=/bin/bash"] {
        assert!(first.iter().any(|one| one == wanted), "no {wanted} in {first:?}");
    }
    let strange = |one: &String| ["TERM=", "XPC_FLAGS=", "PROBE_KEY="].iter().any(|name| one.starts_with(name));
    assert!(!first.iter().any(strange), "{first:?}");
    assert_eq!(probed(&place, &codex).await, first);
    assert_eq!(probed(&place, &shell).await, first);

    let (_, shown) = said(with(&place, &["env", "show"], &editor)).await;
    assert!(shown.contains("the record") && shown.contains("PATH=/home/me/.nvm/bin"), "{shown}");
    let (_, checked) = said(with(&place, &["check"], &editor)).await;
    assert!(checked.contains(&format!("the record {}", record.display())), "{checked}");
    let _daemon = place.serve().await;
    assert_eq!(place.status().await["environment"]["source"], "record");
    fs::set_permissions(&record, fs::Permissions::from_mode(0o644)).expect("changed");
    let (code, told) = said(with(&place, &["check"], &editor)).await;
    assert!(code == Some(1) && told.contains("chmod 600"), "{told}");
}

#[tokio::test]
async fn what_the_config_says_of_variables_holds_for_every_host() {
    let place = Place::new();
    fs::write(place.home().join("keys"), "PROBE_KEY='of the file'\nTZ=Europe/Berlin\n").expect("written");
    fs::write(place.home().join("more"), "MINE=1\nTHEIRS=2\n").expect("written");
    place.edit(
        "    args: [demo-server, legacy]",
        "    args: [demo-server, legacy]\n    env_file: more\n    env: { K: \"${env:PROBE_KEY}\", THEIRS: \"3\" }",
    );
    place.edit(
        "sockets:",
        "environment:\n  env_file: keys\n  path: [\"${env:HOME}/bin\", /bin]\n  variables: { TZ: UTC }\nsockets:",
    );
    let [editor, codex, shell] = hosts();
    let first = probed(&place, &editor).await;
    let home = place.home().display();
    let path = format!("PATH={home}/bin:/bin");
    for wanted in [path.as_str(), "K=of the file", "TZ=UTC", "MINE=1", "THEIRS=3", &format!("HOME={home}")] {
        assert!(first.iter().any(|one| one == wanted), "no {wanted} in {first:?}");
    }
    assert_eq!(probed(&place, &codex).await, first);
    assert_eq!(probed(&place, &shell).await, first);
    let _daemon = place.serve().await;
    assert_eq!(place.status().await["environment"]["source"], "config");
}

#[tokio::test]
async fn codex_with_its_six_variables_is_served() {
    let place = Place::new();
    let [_, codex, _] = hosts();
    assert_eq!(codex.len(), 6);
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcpool"));
    command.env_clear().envs(codex).args(["connect", "echo", "--config"]).arg(place.config());
    let mut host = Host::start(command);
    host.open().await;
    assert_eq!(host.call("echo", json!({})).await["result"]["content"][0]["text"], "{}");
}

#[tokio::test]
async fn the_catalogue_lies_in_the_cache_directory_that_the_environment_names() {
    let place = Place::new();
    let cache = place.home().join("xdg");
    place.edit(&format!("catalogue:\n  dir: {:?}\n", place.home().join("cache")), "");
    let mut host =
        Host::start(with(&place, &["connect", "echo"], &[("XDG_CACHE_HOME", cache.to_str().expect("UTF-8"))]));
    host.open().await;
    let told = place.status().await;
    let dir = told["catalogue_dir"].as_str().unwrap_or_else(|| panic!("{told}"));
    assert!(dir.starts_with(cache.join("mcpool").to_str().expect("UTF-8")), "{dir}");
    host.call("echo", json!({})).await;
    place.kill().await;
    assert!(fs::read_dir(dir).expect("a directory").next().is_some(), "nothing is kept there");
}
