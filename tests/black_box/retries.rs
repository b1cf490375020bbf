//! What becomes of calls whose instance dies: what does no harm is sent again, the rest fails at once, and the service
//! is back before anybody has to ask twice.

use std::collections::BTreeMap;

use mcpool::config::Server;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    Answer, Behaviour, Caller, Proxy, Script, after, elicitation, fragile, legacy, modern, modern_script, moody, play,
    proxy, script, seconds, settled, tools,
};

const REVISION: &str = "2025-06-18";

pub async fn server(behaviour: Behaviour, set: impl FnOnce(&mut Server)) -> Proxy {
    let set = |server: &mut Server| {
        server.breaker.failures = None;
        set(server);
    };
    proxy().server("x", behaviour).set(set).start().await
}

/// A caller that has seen the tools.
async fn caller(proxy: &Proxy) -> Caller {
    let caller = proxy.legacy(REVISION).connect("x").await;
    caller.ask("tools/list", json!({})).await.result();
    caller
}

/// Each process of it answers every call.
fn well() -> Behaviour {
    moody().on("tools/call", |call, say| say.text(call, "well")).into()
}

fn safe(tools: &[&str]) -> impl FnOnce(&mut Server) {
    let tools = safe_tools(tools);
    move |server| server.retry.tools = tools
}

/// Tools that may be carried out twice.
pub fn safe_tools(tools: &[&str]) -> BTreeMap<String, u8> {
    tools.iter().map(|tool| ((*tool).to_owned(), 1)).collect()
}

pub fn died(answer: &Answer) {
    assert_eq!((answer.code(), answer.reason()), (502, Some("server_died")), "{}", answer.raw);
}

fn names(calls: Vec<Value>) -> Vec<Value> {
    calls.into_iter().map(|call| call["params"]["name"].clone()).collect()
}

#[test]
fn what_only_reads_is_sent_again() {
    play(async {
        let tool = |name: &str| ("tools/call", json!({"name": name, "arguments": {}}));
        let completion = json!({"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": "b"}});
        for (method, params) in [
            ("resources/read", json!({"uri": "file:///a"})),
            ("prompts/get", json!({"name": "p"})),
            ("completion/complete", completion),
            ("x/list", json!({})),
            tool("reading"),
            tool("steady"),
            tool("blessed"),
        ] {
            let proxy = server(fragile(1).into(), safe(&["blessed"])).await;
            let caller = caller(&proxy).await;
            let clock = Instant::now();
            caller.ask(method, params).await.result();
            assert_eq!((proxy.got("x", method).len(), proxy.started("x")), (2, 2), "{method}");
            assert_eq!(proxy.server("x")["retries"], 1);
            assert!(clock.elapsed() < seconds(1), "after {:?}", clock.elapsed());
            caller.hears_nothing().await;
        }
    });
}

#[test]
fn what_may_do_something_is_not() {
    play(async {
        let tool = |name: &str| ("tools/call", json!({"name": name, "arguments": {}}));
        for (method, params) in [tool("writing"), tool("denying"), tool("ok"), tool("unlisted"), ("x/do", json!({}))] {
            let proxy = server(fragile(1).into(), |_| {}).await;
            let caller = caller(&proxy).await;
            died(&caller.ask(method, params.clone()).await);
            after(seconds(60)).await;
            assert_eq!(proxy.got("x", method).len(), 1);
            caller.ask(method, params).await.result();
            caller.hears_nothing().await;
        }
    });
}

#[test]
fn a_tool_that_nobody_has_described_is_believed_to_do_something() {
    play(async {
        let proxy = server(fragile(1).into(), |_| {}).await;
        let caller = proxy.legacy(REVISION).connect("x").await;
        died(&caller.call("reading", json!({})).await);
    });
}

#[test]
fn a_call_that_was_told_of_progress_is_not_sent_again() {
    play(async {
        let telling = moody().on("tools/call", |call, say| {
            if !call.token().is_null() {
                say.notify("notifications/progress", json!({"progressToken": call.token(), "progress": 1}));
            }
        });
        let proxy = server(telling.into(), |_| {}).await;
        let caller = caller(&proxy).await;
        let told = caller.begin_telling(json!("mine"), "reading", json!({}));
        let untold = caller.begin("reading", json!({}));
        caller.heard("notifications/progress").await;
        proxy.teach("x", well());
        proxy.process("x", 0).crash().await;
        died(&told.answer().await);
        assert_eq!(untold.answer().await.text(), "well");
        assert_eq!(proxy.process("x", 1).got("tools/call").len(), 1);
    });
}

#[test]
fn a_call_is_sent_again_as_often_as_configured() {
    play(async {
        for (attempts, survives) in [(0, false), (1, false), (2, true)] {
            let proxy = server(fragile(2).into(), |server| server.retry.attempts = attempts).await;
            let caller = caller(&proxy).await;
            let answer = caller.call("reading", json!({})).await;
            if survives {
                answer.result();
            } else {
                died(&answer);
            }
            assert_eq!(proxy.got("x", "tools/call").len(), usize::from(attempts) + 1);
        }
    });
}

#[test]
fn only_a_part_of_all_calls_is_sent_again() {
    play(async {
        for (budget, again) in [(0, 0), (10, 12)] {
            let proxy = server(moody().into(), |server| {
                server.retry.budget = budget;
                server.retry.tools = safe_tools(&["hang"]);
            })
            .await;
            let caller = proxy.legacy(REVISION).connect("x").await;
            // A few to begin with, and a tenth of these.
            let calls: Vec<_> = (0..20).map(|_| caller.begin("hang", json!({}))).collect();
            settled().await;
            proxy.teach("x", well());
            proxy.process("x", 0).crash().await;
            let mut answered = 0;
            for call in calls {
                let answer = call.answer().await;
                if answer.value["result"].is_object() { answered += 1 } else { died(&answer) }
            }
            assert_eq!((answered, proxy.server("x")["retries"].clone()), (again, json!(again)));
        }
    });
}

#[test]
fn a_call_of_which_the_server_has_seen_nothing_is_sent_again_whatever_it_does() {
    play(async {
        let proxy = server(moody().deaf_after("notifications/initialized").into(), |_| {}).await;
        let caller = proxy.legacy(REVISION).connect("x").await;
        let long = caller.begin("writing", json!({"text": "x".repeat(300_000)}));
        settled().await;
        let behind = [caller.begin("writing", json!({})), caller.begin("writing", json!({}))];
        settled().await;
        proxy.teach("x", well());
        proxy.process("x", 0).crash().await;
        died(&long.answer().await);
        for call in behind {
            assert_eq!(call.answer().await.text(), "well");
        }
        assert_eq!(proxy.process("x", 1).got("tools/call").len(), 2);
    });
}

#[test]
fn on_the_endpoint_of_all_servers_it_has_the_servers_own_name_the_second_time_too() {
    play(async {
        let proxy = proxy().server("x", fragile(1).into()).server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).connect("all").await;
        caller.ask("tools/list", json!({})).await.result();
        assert_eq!(caller.call("x__reading", json!({"a": 1})).await.text(), "reading");
        let calls = proxy.got("x", "tools/call");
        assert_eq!(names(calls.clone()), ["reading", "reading"]);
        assert_eq!((&calls[0]["params"], calls.len()), (&calls[1]["params"], 2));
    });
}

#[test]
fn a_modern_callers_call_is_sent_again_to_a_modern_server() {
    play(async {
        let mortal = modern_script().on("tools/call", |_, say| say.crash());
        let proxy = server(mortal.into(), safe(&["add"])).await;
        let caller = proxy.modern().connect("x").await;
        caller.ask("server/discover", json!({})).await.result();
        proxy.teach("x", modern(|_| {}));
        let answer = caller.call("add", json!({"a": 1, "b": 2})).await;
        assert_eq!(answer.text(), "3");
        assert_eq!((proxy.started("x"), proxy.got("x", "tools/call").len()), (2, 2));
    });
}

/// Two processes died with a call; the third is not started at once, and the call waits for it.
async fn between_death_and_retry() -> Proxy {
    server(fragile(2).into(), |server| server.retry.attempts = 5).await
}

#[test]
fn what_is_cancelled_before_it_is_sent_again_is_not_sent() {
    play(async {
        let proxy = between_death_and_retry().await;
        let caller = caller(&proxy).await;
        let call = caller.begin("reading", json!({}));
        settled().await;
        assert_eq!((proxy.server("x")["queue"].clone(), proxy.got("x", "tools/call").len()), (json!(1), 2));
        call.cancel();
        caller.hears_nothing().await;
        after(seconds(10)).await;
        assert_eq!((proxy.started("x"), proxy.got("x", "tools/call").len()), (2, 2));
        assert_eq!(caller.call("writing", json!({})).await.text(), "writing");
    });
}

#[test]
fn what_was_sent_again_is_not_sent_more_often_when_its_server_is_replaced() {
    play(async {
        let proxy = server(fragile(2).into(), |server| server.retry.tools = [("reading".to_owned(), 2)].into()).await;
        let caller = caller(&proxy).await;
        let call = caller.begin("reading", json!({}));
        settled().await;
        assert_eq!((proxy.server("x")["queue"].clone(), proxy.got("x", "tools/call").len()), (json!(1), 2));
        proxy.replace("x", fragile(2).into()).await;
        died(&call.answer().await);
        assert_eq!(proxy.got("x", "tools/call").len(), 3);
    });
}

#[test]
fn nothing_is_sent_again_for_a_caller_that_is_gone() {
    play(async {
        let proxy = between_death_and_retry().await;
        let (leaving, staying) = (caller(&proxy).await, caller(&proxy).await);
        leaving.begin("reading", json!({}));
        settled().await;
        assert_eq!(proxy.server("x")["queue"], 1);
        leaving.hang_up().await;
        after(seconds(10)).await;
        assert_eq!((proxy.started("x"), proxy.got("x", "tools/call").len()), (2, 2));
        assert_eq!(staying.call("writing", json!({})).await.text(), "writing");
        assert_eq!(proxy.status()["calls"], 0);
    });
}

#[test]
fn a_call_whose_second_try_comes_too_late_is_answered_at_its_deadline() {
    play(async {
        let dying = script()
            .on("tools/list", |list, say| say.result(list, crate::support::tools()))
            .on("tools/call", |_, say| say.crash());
        let proxy = server(dying.into(), |server| {
            server.retry.attempts = 100;
            server.retry.budget = 100;
            server.queue.timeout = seconds(3);
        })
        .await;
        let caller = caller(&proxy).await;
        let clock = Instant::now();
        let answer = caller.call("reading", json!({})).await;
        assert!(matches!(answer.code(), 502 | 504), "{}", answer.raw);
        assert!(clock.elapsed() < seconds(60), "after {:?}", clock.elapsed());
        after(seconds(60)).await;
        let started = proxy.started("x");
        after(seconds(600)).await;
        assert_eq!(proxy.started("x"), started, "nobody calls, nothing is started");
        caller.hears_nothing().await;
    });
}

/// What a server says in the middle of a call that could be sent again, and what the caller hears of it.
async fn is_not_sent_again(saying: Script, heard: &str) {
    let able = json!({"tools": {}, "logging": {}});
    let saying = saying.capable(able).on("tools/list", |list, say| say.result(list, tools()));
    let proxy = server(saying.into(), |_| {}).await;
    let caller = proxy.legacy(REVISION).with(elicitation()).connect("x").await;
    caller.ask("tools/list", json!({})).await.result();
    let call = caller.begin("reading", json!({}));
    let said = caller.line().await;
    assert_eq!(said.value["method"], heard);
    if said.value.get("id").is_some() {
        let accept = json!({"action": "accept", "content": {}});
        caller.send(&json!({"jsonrpc": "2.0", "id": said.value["id"], "result": accept}).to_string());
        settled().await;
    }
    proxy.process("x", 0).crash().await;
    died(&call.answer().await);
    assert_eq!(proxy.got("x", "tools/call").len(), 1);
    caller.hears_nothing().await;
}

#[test]
fn a_call_in_which_a_person_was_asked_is_not_sent_again() {
    play(async {
        let form = json!({"message": "?", "requestedSchema": {"type": "object", "properties": {}}});
        let asks = script().on("tools/call", move |_, say| say.ask("q", "elicitation/create", form.clone()));
        is_not_sent_again(asks, "elicitation/create").await;
    });
}

#[test]
fn a_call_about_which_a_line_was_logged_is_not_sent_again() {
    play(async {
        let logs = script().on("tools/call", |_, say| {
            say.notify("notifications/message", json!({"level": "error", "data": "once"}));
        });
        is_not_sent_again(logs, "notifications/message").await;
    });
}

#[test]
fn a_call_about_which_the_server_said_something_of_its_own_is_not_sent_again() {
    play(async {
        let hints = script().on("tools/call", |_, say| say.notify("notifications/x/hint", json!({})));
        is_not_sent_again(hints, "notifications/x/hint").await;
    });
}

#[test]
fn what_is_sent_again_earns_nothing() {
    play(async {
        let dying =
            script().on("tools/list", |list, say| say.result(list, tools())).on("tools/call", |_, say| say.crash());
        let proxy = server(dying.into(), |server| {
            (server.retry.attempts, server.retry.budget) = (100, 100);
            server.queue.timeout = seconds(600);
        })
        .await;
        let caller = caller(&proxy).await;
        died(&caller.call("reading", json!({})).await);
        // Those that are there to begin with, and one for the call itself.
        assert_eq!(proxy.server("x")["retries"], 11);
    });
}

#[test]
fn how_often_a_tool_is_sent_again_can_be_said_of_it_alone() {
    play(async {
        for (tool, sent) in [("blessed", 3), ("reading", 2), ("writing", 1), ("steady", 1)] {
            let proxy = server(fragile(9).into(), |server| {
                server.retry.tools = [("blessed".to_owned(), 2), ("steady".to_owned(), 0)].into();
            })
            .await;
            let caller = caller(&proxy).await;
            died(&caller.call(tool, json!({})).await);
            assert_eq!(proxy.got("x", "tools/call").len(), sent, "{tool}");
        }
    });
}
