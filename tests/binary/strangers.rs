//! Several users of one machine: whose sockets one uses, and whose config one believes. Only root can be several users, so
//! nothing is tried without.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::json;
use tokio::process::Command;

use crate::daemon::Place;
use crate::host::Host;
use crate::said::run;

/// Two users that own nothing.
const ANN: u32 = 65_534;
const BOB: u32 = 65_533;

/// A place of Ann's, with a program that everybody can run; None where this is not to be had.
fn anns() -> Option<(Place, PathBuf)> {
    if !rustix::process::getuid().is_root() {
        return None;
    }
    let place = Place::new();
    let program = place.home().join("mcpool");
    fs::copy(env!("CARGO_BIN_EXE_mcpool"), &program).expect("copied");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("changed");
    let config = fs::read_to_string(place.config()).expect("a config");
    let config = config.replace(env!("CARGO_BIN_EXE_mcpool"), program.to_str().expect("a path"));
    fs::write(place.config(), config + "endpoints: { echo: { users: [0], tools: [add] } }\n").expect("written");
    for path in [place.home(), &place.config()] {
        chown(path, Some(ANN), Some(ANN)).expect("given away");
    }
    fs::set_permissions(place.home(), fs::Permissions::from_mode(0o755)).expect("changed");
    Some((place, program))
}

/// The program as somebody runs it.
fn by(user: u32, place: &Place, program: &PathBuf, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).uid(user).gid(user).current_dir("/").env_clear().env("HOME", place.home());
    command.env("PATH", "/usr/bin:/bin").stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn refused(command: Command) -> String {
    let said = run(command).await;
    assert_eq!(said.code, Some(1));
    said.err
}

#[tokio::test]
async fn whoever_listens_is_looked_at_and_may_be_named() {
    let Some((place, program)) = anns() else { return };
    let config = place.config().display().to_string();
    let mut daemon = by(ANN, &place, &program, &["serve", "--config", &config]);
    let _daemon = daemon.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
    while !place.socket("admin").exists() {
        tokio::task::yield_now().await;
    }
    let (shared, private) = (place.socket("echo").display().to_string(), place.socket("new").display().to_string());
    // Root goes in everywhere, and is told whose it is.
    let told = refused(by(0, &place, &program, &["connect", "echo", "--socket", &shared])).await;
    assert!(told.contains(&format!("user {ANN} listens there, not you")), "{told}");
    assert!(told.contains(&format!("--peer-uid {ANN}")), "{told}");
    let told = refused(by(0, &place, &program, &["connect", "echo", "--socket", &shared, "--peer-uid", "7"])).await;
    assert!(told.contains("not user 7"), "{told}");
    let uid = ANN.to_string();
    let mut host = Host::start(by(0, &place, &program, &["connect", "echo", "--socket", &shared, "--peer-uid", &uid]));
    host.open().await;
    let answer = host.call("add", json!({"a": 1, "b": 2})).await;
    assert_eq!(answer["result"]["content"][0]["text"], "3", "{answer}");
    // Somebody whom the config does not name is told whom to ask for what.
    let told = refused(by(BOB, &place, &program, &["connect", "new", "--socket", &private])).await;
    assert!(told.contains(&format!("belongs to user {ANN}")) && told.contains(&format!("users: [{BOB}]")), "{told}");
}

#[tokio::test]
async fn a_config_of_another_user_is_refused_with_what_to_type() {
    let Some((place, program)) = anns() else { return };
    let config = place.config().display().to_string();
    for args in [&["check"][..], &["tools", "echo"], &["serve"]] {
        let told = refused(by(0, &place, &program, &[args, &["--config", &config]].concat())).await;
        assert!(told.contains(&format!("belongs to user {ANN}, who is neither you nor root")), "{told}");
        assert!(told.contains("chown 0 "), "{told}");
    }
    assert!(!place.sockets().exists());
}

#[tokio::test]
async fn the_sockets_of_an_impostor_are_not_used() {
    let Some((place, program)) = anns() else { return };
    // Bob was quicker than Ann's daemon, in a directory where everybody may write.
    fs::create_dir(place.sockets()).expect("a directory");
    let script =
        "import socket,sys,time\ns=socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen()\ntime.sleep(60)";
    fs::set_permissions(place.sockets(), fs::Permissions::from_mode(0o777)).expect("changed");
    let mut impostor = Command::new("python3");
    impostor.args(["-c", script]).arg(place.socket("admin")).uid(BOB).gid(BOB).kill_on_drop(true);
    let _impostor = impostor.stdin(Stdio::null()).spawn().expect("it runs");
    while !place.socket("admin").exists() {
        tokio::task::yield_now().await;
    }
    // What others can write into is refused for that, and what is Bob's within is refused all the same.
    fs::set_permissions(place.socket("admin"), fs::Permissions::from_mode(0o666)).expect("changed");
    let config = place.config().display().to_string();
    for args in [&["tools", "echo"][..], &["status"], &["drain"]] {
        let told = refused(by(ANN, &place, &program, &[args, &["--config", &config]].concat())).await;
        assert!(told.contains(&format!("user {BOB} listens there, not you")), "{told}");
    }
}
