//! Roots are a security boundary: a server that asks for them is told those of the caller it was started for, and
//! serves nobody with others.

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Caller, legacy, play, proxy, script, seconds, settled};

const REVISION: &str = "2025-06-18";

/// What the process that serves a caller was told, after a first call.
async fn told(caller: &Caller) -> Value {
    caller.call("echo", json!({})).await;
    caller.call("whoami", json!({})).await.json()
}

#[test]
fn a_server_that_wants_roots_has_them_before_its_first_call() {
    play(async {
        let proxy = proxy().server("files", legacy(|options| options.ask_roots = true)).start().await;
        let caller = proxy.legacy(REVISION).with_roots(&["file:///a"]).connect("files").await;
        let told = told(&caller).await;
        assert_eq!(told["roots"]["roots"], json!([{"uri": "file:///a"}]));
    });
}

#[test]
fn callers_with_equal_roots_share_and_others_get_an_instance_of_their_own() {
    play(async {
        let proxy = proxy().server("files", legacy(|options| options.ask_roots = true)).start().await;
        let a = proxy.legacy(REVISION).with_roots(&["file:///a"]).connect("files").await;
        let same = proxy.legacy(REVISION).with_roots(&["file:///a"]).connect("files").await;
        let b = proxy.legacy(REVISION).with_roots(&["file:///b"]).connect("files").await;
        let none = proxy.legacy(REVISION).connect("files").await;
        let first = a.instance().await;
        assert_eq!(same.instance().await, first);
        assert_ne!(b.instance().await, first);
        assert_eq!(b.call("whoami", json!({})).await.json()["roots"]["roots"], json!([{"uri": "file:///b"}]));
        assert_eq!(a.call("whoami", json!({})).await.json()["roots"]["roots"], json!([{"uri": "file:///a"}]));
        assert_ne!(none.instance().await, first);
        assert_eq!(none.call("whoami", json!({})).await.json()["roots"], json!(null));
    });
}

#[test]
fn callers_with_other_roots_that_come_at_once_are_kept_apart_from_the_first_call_on() {
    play(async {
        let proxy = proxy().server("files", legacy(|options| options.ask_roots = true)).start().await;
        let (a, b) = tokio::join!(
            proxy.legacy(REVISION).with_roots(&["file:///a"]).connect("files"),
            proxy.legacy(REVISION).with_roots(&["file:///b"]).connect("files"),
        );
        let (mine, theirs) = (a.begin("whoami", json!({})), b.begin("whoami", json!({})));
        assert_ne!(mine.answer().await.json()["instance"], theirs.answer().await.json()["instance"]);
        assert_eq!(told(&a).await["roots"]["roots"], json!([{"uri": "file:///a"}]));
        assert_eq!(told(&b).await["roots"]["roots"], json!([{"uri": "file:///b"}]));
    });
}

#[test]
fn a_caller_whose_roots_change_moves_and_the_others_stay_as_they_are() {
    play(async {
        let proxy = proxy().server("files", legacy(|options| options.ask_roots = true)).start().await;
        let a = proxy.legacy(REVISION).with_roots(&["file:///a"]).connect("files").await;
        let b = proxy.legacy(REVISION).with_roots(&["file:///a"]).connect("files").await;
        let shared = a.instance().await;
        assert_eq!(b.instance().await, shared);
        b.has_roots(json!([{"uri": "file:///elsewhere"}]));
        b.notify("notifications/roots/list_changed", json!({}));
        let moved = told(&b).await;
        assert_ne!(moved["instance"], json!(shared));
        assert_eq!(moved["roots"]["roots"], json!([{"uri": "file:///elsewhere"}]));
        let stayed = a.call("whoami", json!({})).await.json();
        assert_eq!(stayed["instance"], json!(shared));
        assert_eq!(stayed["roots"]["roots"], json!([{"uri": "file:///a"}]));
        assert_eq!(proxy.process("files", 0).got("notifications/roots/list_changed").len(), 0);
    });
}

#[test]
fn who_says_no_more_keeps_the_roots_that_it_told_and_without_them_no_call_goes_out() {
    play(async {
        let proxy = proxy().server("files", legacy(|options| options.ask_roots = true)).start().await;
        proxy.lingers();
        let untold = async || {
            let caller = proxy.legacy(REVISION).with(json!({"roots": {}})).connect("files").await;
            let (clock, calls) = (Instant::now(), proxy.got("files", "tools/call").len());
            let call = caller.begin("whoami", json!({}));
            caller.end_input();
            let answer = call.answer().await;
            assert!(answer.code() == -32603 && answer.raw.contains("roots/list"), "{}", answer.raw);
            assert!(answer.raw.contains("input has ended") && clock.elapsed() < seconds(5), "{}", answer.raw);
            assert_eq!(proxy.got("files", "tools/call").len(), calls);
            caller.closed().await;
        };
        // When the server is not known to want roots, and when it is.
        untold().await;
        untold().await;
        let caller = proxy.legacy(REVISION).with_roots(&["file:///a"]).connect("files").await;
        told(&caller).await;
        let calls: Vec<_> = (0..100).map(|_| caller.begin("whoami", json!({}))).collect();
        caller.end_input();
        for call in calls {
            assert_eq!(call.answer().await.json()["roots"]["roots"], json!([{"uri": "file:///a"}]));
        }
        caller.closed().await;
    });
}

#[test]
fn roots_that_a_tool_asks_for_come_from_its_caller() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let a = proxy.legacy(REVISION).with_roots(&["file:///a"]).connect("echo").await;
        let b = proxy.legacy(REVISION).with_roots(&["file:///b"]).connect("echo").await;
        assert_eq!(a.call("ask_roots", json!({})).await.json()["roots"], json!([{"uri": "file:///a"}]));
        // By now it is known to ask, and whoever has other roots gets an instance of its own.
        let (mine, theirs) = (a.begin("ask_roots", json!({})), b.begin("ask_roots", json!({})));
        assert_eq!(mine.answer().await.json()["roots"], json!([{"uri": "file:///a"}]));
        assert_eq!(theirs.answer().await.json()["roots"], json!([{"uri": "file:///b"}]));
    });
}

#[test]
fn a_caller_is_asked_for_its_roots_once_however_often_servers_ask() {
    play(async {
        let proxy = proxy().server("files", legacy(|options| options.ask_roots = true)).start().await;
        let (caller, _) = proxy.legacy(REVISION).with(json!({"roots": {}})).open("files").await;
        caller.hears_nothing().await;
        caller.notify("notifications/initialized", json!({}));
        caller.asked("roots/list").await.answer(json!({"roots": [{"uri": "file:///a"}]}));
        assert_eq!(caller.call("ask_roots", json!({})).await.json()["roots"][0]["uri"], "file:///a");
        assert_eq!(caller.call("ask_roots", json!({})).await.json()["roots"][0]["uri"], "file:///a");
        caller.hears_nothing().await;
    });
}

#[test]
fn a_session_of_its_own_is_told_of_changed_roots_like_any_server() {
    play(async {
        let proxy = proxy()
            .server("files", legacy(|options| options.ask_roots = true))
            .set(|server| server.lease = mcpool::config::LeaseChoice::Session)
            .start()
            .await;
        let caller = proxy.legacy(REVISION).with_roots(&["file:///a"]).connect("files").await;
        let before = caller.call("whoami", json!({})).await.json();
        caller.has_roots(json!([{"uri": "file:///b"}]));
        caller.notify("notifications/roots/list_changed", json!({}));
        settled().await;
        let now = told(&caller).await;
        assert_eq!(now["instance"], before["instance"]);
        assert_eq!(now["roots"]["roots"], json!([{"uri": "file:///b"}]));
    });
}

#[test]
fn a_server_that_never_answers_the_ping_behind_initialized_is_used_all_the_same() {
    play(async {
        let silent = script().on("ping", |_, _| {}).on("tools/call", |call, say| say.text(call, "here"));
        let proxy = proxy().server("silent", silent.into()).start().await;
        let caller = proxy.legacy(REVISION).with_roots(&["file:///a"]).connect("silent").await;
        assert_eq!(caller.call("x", json!({})).await.text(), "here");
    });
}
