//! Sockets that somebody takes away under a running daemon: cleaners of `/tmp` and `/run`, or `rm -rf`.

use std::fs;

use rustix::process::Signal;
use serde_json::json;

use crate::daemon::Place;

async fn is_served(place: &Place) {
    let mut host = place.connect("echo");
    host.open().await;
    assert_eq!(host.call("add", json!({"a": 1, "b": 2})).await["result"]["content"][0]["text"], "3");
    assert!(host.close().await.success());
}

#[tokio::test]
async fn whatever_is_swept_away_the_daemon_is_found_again_and_goes_on() {
    let place = Place::new();
    let daemon = place.serve().await;
    let mut host = place.connect("echo");
    host.open().await;
    let all = || fs::remove_dir_all(place.sockets()).expect("removed");
    let one = || fs::remove_file(place.socket("echo")).expect("removed");
    let admin = || fs::remove_file(place.socket("admin")).expect("removed");
    let another = || {
        fs::rename(place.sockets(), place.home().join("old")).expect("moved");
        fs::create_dir(place.sockets()).expect("made");
    };
    for sweep in [&all as &dyn Fn(), &one, &admin, &another] {
        sweep();
        place.until(|status| status["pid"] == daemon.pid()).await;
        let there = async {
            while !place.socket("echo").exists() || !place.socket("new").exists() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(crate::PATIENCE, there).await.expect("they are not there again");
        is_served(&place).await;
        assert_eq!(place.status().await["pid"], daemon.pid(), "no other daemon took its place");
    }
    // Who was there all the time noticed nothing.
    assert_eq!(host.call("add", json!({"a": 2, "b": 2})).await["result"]["content"][0]["text"], "4");
}

#[tokio::test]
async fn a_daemon_whose_place_another_has_taken_ends_gently() {
    let place = Place::new();
    let mut first = place.serve().await;
    // So that it does not notice before the other one is there.
    first.signal(Signal::STOP);
    fs::remove_dir_all(place.sockets()).expect("removed");
    let second = place.serve().await;
    first.signal(Signal::CONT);
    assert!(first.ended().await.success());
    is_served(&place).await;
    assert_eq!(place.status().await["pid"], second.pid());
}
