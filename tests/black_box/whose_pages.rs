//! What a person did on a web page is told to the caller that was sent there, whatever ids other processes and callers
//! have.

use mcpool::config::LeaseChoice;
use serde_json::{Value, json};

use crate::support::{Caller, Script, elicitation_by_url, play, proxy, script};

const COMPLETE: &str = "notifications/elicitation/complete";

/// A server whose every page has the id that the call names, and that says on `done` that one is done.
fn paged() -> Script {
    script().on("tools/call", |call, say| {
        let id = &call.value["params"]["arguments"]["page"];
        match call.value["params"]["name"].as_str() {
            Some("done") => say.notify(COMPLETE, json!({ "elicitationId": id })),
            _ => {
                let params = json!({"mode": "url", "message": "?", "url": "https://x.invalid", "elicitationId": id});
                say.ask("q", "elicitation/create", params);
            }
        }
        say.text(call, "");
    })
}

async fn visits(caller: &Caller, page: &str) {
    let call = caller.begin("open", json!({ "page": page }));
    caller.asked("elicitation/create").await.answer(json!({"action": "accept"}));
    call.answer().await.result();
}

async fn is_told(caller: &Caller, page: &str) {
    caller.call("done", json!({ "page": page })).await.result();
    assert_eq!(caller.heard(COMPLETE).await["params"]["elicitationId"], page);
}

fn sessions(server: &mut mcpool::config::Server) {
    server.lease = LeaseChoice::Session;
}

#[test]
fn pages_of_two_processes_with_one_id_are_two_pages() {
    play(async {
        let proxy = proxy().server("paged", paged().into()).set(sessions).start().await;
        let a = proxy.legacy("2025-11-25").with(elicitation_by_url()).connect("paged").await;
        let b = proxy.legacy("2025-11-25").with(elicitation_by_url()).connect("paged").await;
        visits(&a, "1").await;
        visits(&b, "1").await;
        is_told(&b, "1").await;
        a.hears_nothing().await;
        is_told(&a, "1").await;
        b.hears_nothing().await;
        assert_eq!(proxy.started("paged"), 2);
    });
}

#[test]
fn who_visits_many_pages_has_nobody_elses_forgotten() {
    play(async {
        let proxy = proxy().server("paged", paged().into()).set(sessions).start().await;
        let modest = proxy.legacy("2025-11-25").with(elicitation_by_url()).connect("paged").await;
        let greedy = proxy.legacy("2025-11-25").with(elicitation_by_url()).connect("paged").await;
        visits(&modest, "mine").await;
        for page in 0..1100 {
            visits(&greedy, &page.to_string()).await;
        }
        is_told(&modest, "mine").await;
        let done: Value = json!({"page": "0"});
        greedy.call("done", done).await.result();
        greedy.hears_nothing().await;
    });
}
