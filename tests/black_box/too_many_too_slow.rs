//! Callers that are too many, or that read slowly or not at all: who reads slowly loses no answer without a word and no
//! connection, and nobody else loses anything.

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};

use crate::support::{Proxy, Script, after, legacy, play, proxy, script, seconds, settled};

const REVISION: &str = "2025-06-18";

/// A caller that reads only when it is asked to.
struct Slow(BufReader<DuplexStream>);

impl Slow {
    async fn connect(proxy: &Proxy, endpoint: &str, revision: &str) -> Slow {
        let mut slow = Slow(BufReader::new(proxy.stream(endpoint)));
        let client = json!({"name": "slow", "version": "1"});
        slow.say(0, "initialize", json!({"protocolVersion": revision, "capabilities": {}, "clientInfo": client})).await;
        assert_eq!(slow.line().await["id"], 0);
        slow.write(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
        slow
    }

    async fn write(&mut self, line: &str) {
        self.0.write_all(format!("{line}\n").as_bytes()).await.expect("written");
        settled().await;
    }

    async fn say(&mut self, id: u64, method: &str, params: Value) {
        self.write(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()).await;
    }

    async fn call(&mut self, id: u64, tool: &str, arguments: Value) {
        self.say(id, "tools/call", json!({"name": tool, "arguments": arguments, "_meta": {"progressToken": id}})).await;
    }

    async fn line(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).await.expect("a line");
        assert!(!line.is_empty(), "it was disconnected");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line:.200}"))
    }

    /// Reads so many answers, by their ids, and everything else that comes before the last of them.
    async fn answers(&mut self, count: usize) -> (Vec<Value>, Vec<Value>) {
        let (mut answers, mut others) = (Vec::new(), Vec::new());
        while answers.len() < count {
            let line = self.line().await;
            if line["id"].is_null() { others.push(line) } else { answers.push(line) }
        }
        answers.sort_by_key(|answer| answer["id"].as_u64());
        (answers, others)
    }
}

/// Answers `tools/call` with as much text as it is told, and with nothing where that is `hang`.
fn lavish() -> Script {
    script().on("tools/call", |call, say| {
        if let Some(n) = call.value["params"]["arguments"]["n"].as_u64() {
            say.text(call, &"x".repeat(n as usize));
        }
    })
}

fn waiting(proxy: &Proxy) -> u64 {
    let status = proxy.status();
    status["callers"].as_array().expect("callers").iter().filter_map(|one| one["buffered"].as_u64()).sum()
}

fn text(answer: &Value) -> usize {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text: {answer:.300}")).len()
}

#[test]
fn a_caller_that_does_something_else_for_a_while_finds_every_answer() {
    play(async {
        let proxy =
            proxy().server("x", lavish().into()).config(|config| config.limits.outgoing = 4 << 20).start().await;
        let mut slow = Slow::connect(&proxy, "x", REVISION).await;
        for id in 1..=8 {
            slow.call(id, "big", json!({"n": 900_000})).await;
        }
        after(seconds(4)).await;
        assert!(waiting(&proxy) < 4 << 20, "{} bytes wait", waiting(&proxy));
        let (answers, _) = slow.answers(8).await;
        assert!(answers.iter().all(|answer| text(answer) == 900_000));
        slow.call(9, "big", json!({"n": 5})).await;
        assert_eq!(text(&slow.line().await), 5);
    });
}

#[test]
fn what_does_not_fit_for_a_caller_that_does_not_read_is_an_error_under_its_id() {
    play(async {
        let proxy =
            proxy().server("x", lavish().into()).config(|config| config.limits.outgoing = 4 << 20).start().await;
        // Who shares the instance does not wait until others have read.
        let fellow = proxy.legacy(REVISION).connect("x").await;
        let hangs = fellow.begin("hang", json!({}));
        let mut slow = Slow::connect(&proxy, "x", REVISION).await;
        let call = |id| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "big", "arguments": {"n": 900_000}}});
        slow.write(&(1..=8).map(|id| call(id).to_string()).collect::<Vec<_>>().join("\n")).await;
        assert_eq!(fellow.call("big", json!({"n": 3})).await.text(), "xxx");
        assert!(waiting(&proxy) < 4 << 20, "{} bytes wait", waiting(&proxy));
        let (answers, _) = slow.answers(8).await;
        let (whole, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer["result"].is_object());
        assert_eq!((whole.len(), lost.len()), (4, 4));
        assert!(whole.iter().all(|answer| text(answer) == 900_000));
        for answer in lost {
            assert_eq!(answer["error"]["code"], 413);
            assert_eq!(answer["error"]["data"]["mcpool"]["reason"], "not_read");
            let message = answer["error"]["message"].as_str().expect("a message");
            assert!(message.contains("limits.outgoing") && message.contains("carried out"), "{message}");
        }
        slow.call(9, "big", json!({"n": 5})).await;
        assert_eq!(text(&slow.line().await), 5);
        hangs.cancel();
        assert_eq!(proxy.status()["counters"]["callers_dropped"], json!({}));
    });
}

#[test]
fn what_does_not_fit_into_the_answer_to_a_batch_is_an_error_in_it() {
    play(async {
        let proxy =
            proxy().server("x", lavish().into()).config(|config| config.limits.outgoing = 2 << 20).start().await;
        let mut slow = Slow::connect(&proxy, "x", "2025-03-26").await;
        let one = |id: u64| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "big", "arguments": {"n": 900_000}}});
        slow.write(&json!([one(1), one(2), one(3)]).to_string()).await;
        let answers = slow.line().await;
        let answers = answers.as_array().expect("a batch");
        let ids: Vec<_> = answers.iter().map(|answer| answer["id"].as_u64()).collect();
        assert_eq!(ids, [Some(1), Some(2), Some(3)]);
        assert_eq!(answers.iter().filter(|answer| answer["error"]["code"] == 413).count(), 1);
        assert_eq!(waiting(&proxy), 0);
    });
}

#[test]
fn a_flood_of_one_server_costs_a_slow_caller_of_all_nothing_of_another() {
    play(async {
        let flood = script().on("tools/call", |call, say| {
            for progress in 1..=50_000 {
                let token = call.token().clone();
                say.notify(
                    "notifications/progress",
                    json!({"progressToken": token, "progress": progress, "message": "x".repeat(900)}),
                );
            }
        });
        let calm = script().on("tools/call", |call, say| {
            let token = call.token().clone();
            say.notify("notifications/progress", json!({"progressToken": token, "progress": 1}));
            say.text(call, "calm");
        });
        let tools = |it: &crate::support::Heard, say: &crate::support::Say| {
            say.result(it, json!({"tools": [{"name": "t", "inputSchema": {"type": "object"}}]}));
        };
        let proxy = proxy()
            .server("x", flood.on("tools/list", tools).into())
            .server("y", calm.on("tools/list", tools).into())
            .start()
            .await;
        let mut slow = Slow::connect(&proxy, "all", REVISION).await;
        slow.say(1, "tools/list", json!({})).await;
        slow.line().await;
        slow.call(2, "x__t", json!({})).await;
        after(seconds(5)).await;
        assert!(waiting(&proxy) < 3 << 20, "{} bytes wait", waiting(&proxy));
        slow.call(3, "y__t", json!({})).await;
        let (answers, progress) = slow.answers(1).await;
        assert_eq!((&answers[0]["id"], text(&answers[0])), (&json!(3), 4));
        assert!(progress.iter().any(|line| line["params"]["progressToken"] == 3), "y's progress was lost");
        // The last one says what those before it said.
        let last = slow.line().await;
        assert_eq!(last["params"]["progress"], 50_000, "{last}");
        assert!(proxy.server("x")["unheard"].as_u64() > Some(40_000), "{}", proxy.server("x"));
        assert_eq!(proxy.server("y")["unheard"], 0);
    });
}

#[test]
fn a_caller_that_reads_nothing_is_left_after_its_time_and_nobody_waits_for_it() {
    play(async {
        let proxy =
            proxy().server("echo", legacy(|_| {})).config(|config| config.limits.outgoing = 1 << 20).start().await;
        let fellow = proxy.legacy(REVISION).connect("echo").await;
        let mut deaf = Slow::connect(&proxy, "echo", REVISION).await;
        for id in 1..=20 {
            let call = json!({"name": "echo", "arguments": {"text": "x".repeat(100_000)}});
            let line = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": call}).to_string() + "\n";
            // It is not read from for as long as it does not read.
            let _ = tokio::time::timeout(seconds(1), deaf.0.write_all(line.as_bytes())).await;
            assert_eq!(fellow.call("echo", json!({})).await.text(), "{}");
            assert!(waiting(&proxy) <= 1 << 20, "{} bytes wait", waiting(&proxy));
        }
        let callers = || proxy.status()["callers"].as_array().map(Vec::len);
        assert_eq!(callers(), Some(2));
        after(seconds(60)).await;
        assert_eq!(callers(), Some(1));
        let status = proxy.status();
        assert_eq!(status["counters"]["callers_dropped"], json!({"does_not_read": 1}));
        assert_eq!((&status["calls"], &proxy.instances("echo")[0]["in_flight"]), (&json!(0), &json!(0)));
        assert_eq!(fellow.call("echo", json!({})).await.text(), "{}");
    });
}

#[test]
fn a_question_that_would_take_the_room_of_answers_is_refused() {
    play(async {
        let asking = lavish().on("tools/call", |call, say| match call.value["params"]["arguments"]["n"].as_u64() {
            Some(n) => say.text(call, &"x".repeat(n as usize)),
            None => say.ask(
                "q",
                "elicitation/create",
                json!({"message": "x".repeat(900_000), "requestedSchema": {"type": "object", "properties": {}}}),
            ),
        });
        let asking = asking.on("", |answer, say| say.notify("notifications/refused", answer.value["error"].clone()));
        let proxy = proxy().server("x", asking.into()).config(|config| config.limits.outgoing = 2 << 20).start().await;
        let mut slow = Slow(BufReader::new(proxy.stream("x")));
        let client = json!({"name": "slow", "version": "1"});
        let params = json!({"protocolVersion": REVISION, "capabilities": {"elicitation": {}}, "clientInfo": client});
        slow.say(0, "initialize", params).await;
        slow.line().await;
        slow.write(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
        slow.call(1, "big", json!({"n": 400_000})).await;
        slow.call(2, "ask", json!({})).await;
        assert_eq!(text(&slow.line().await), 400_000);
        let refused = slow.line().await;
        let message = refused["params"]["message"].as_str().expect("a message");
        assert!(message.contains("does not read"), "{refused}");
    });
}

#[test]
fn a_server_that_asks_on_and_on_and_reads_nothing_takes_little_and_harms_nobody() {
    play(async {
        let flood = script().deaf_after("tools/call").on("tools/call", |_, say| {
            for id in 0..100_000 {
                say.ask(&id.to_string(), "ping", json!({}));
            }
        });
        let proxy = proxy().server("x", flood.into()).server("y", lavish().into()).start().await;
        let other = proxy.legacy(REVISION).connect("y").await;
        let caller = proxy.legacy(REVISION).connect("x").await;
        let hangs = caller.begin("x", json!({}));
        settled().await;
        assert_eq!(other.call("big", json!({"n": 3})).await.text(), "xxx");
        after(seconds(1)).await;
        assert!(proxy.server("x")["unheard"].as_u64() > Some(30_000), "{}", proxy.server("x"));
        assert_eq!(proxy.instances("x")[0]["state"], "ready");
        hangs.cancel();
    });
}

#[test]
fn a_server_keeps_nobody_waiting_and_no_memory_with_half_a_line() {
    play(async {
        let dawdler = script().on("tools/call", |call, say| {
            let text = "x".repeat(200_000);
            let line =
                json!({"jsonrpc": "2.0", "id": call.id(), "result": {"content": [{"type": "text", "text": text}]}});
            say.bytes(line.to_string()[..150_000].to_owned().into_bytes());
        });
        let proxy = proxy().server("x", dawdler.into()).config(|config| config.limits.line = seconds(5)).start().await;
        let caller = proxy.legacy(REVISION).connect("x").await;
        let call = caller.begin("x", json!({}));
        settled().await;
        // One that goes on at a rate is waited for.
        after(seconds(4)).await;
        proxy.process("x", 0).say_bytes(&[b'x'; 1000]);
        after(seconds(2)).await;
        proxy.process("x", 0).say_bytes(b"xxx\"}]}}\n");
        let answer = call.answer().await;
        assert_eq!((answer.code(), answer.reason()), (502, Some("server_misbehaved")));
        assert!(answer.message().contains("`limits.line`"), "{}", answer.message());
        assert_eq!(*caller.ask("ping", json!({})).await.result(), json!({}));
    });
}

#[test]
fn who_sends_much_in_one_go_has_its_turn_and_no_more() {
    play(async {
        let proxy = proxy().server("x", lavish().into()).server("y", lavish().into()).start().await;
        let bystander = proxy.legacy(REVISION).connect("y").await;
        assert_eq!(bystander.call("big", json!({"n": 1})).await.text(), "x");
        let mut greedy = Slow::connect(&proxy, "x", "2025-03-26").await;
        let accepted = || proxy.status()["counters"]["calls"].as_u64().expect("a count");
        let ping = |id: u64| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
        let lines: String = (1..=1300).map(|id| ping(id) + "\n").collect();
        let batch = format!("[{}]\n", (1..=1000).map(ping).collect::<Vec<_>>().join(","));
        for (burst, messages) in [(lines, 1300), (batch, 1000)] {
            let before = accepted();
            greedy.0.write_all(burst.as_bytes()).await.expect("written");
            assert_eq!(bystander.call("big", json!({"n": 2})).await.text(), "xx");
            let meanwhile = accepted() - before;
            assert!((1..messages).contains(&meanwhile), "{meanwhile} of {messages} before a bystander had its turn");
            settled().await;
        }
    });
}

#[test]
fn one_caller_too_many_is_turned_away_until_another_leaves() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).config(|config| config.limits.callers = 2).start().await;
        let one = proxy.legacy(REVISION).connect("echo").await;
        let other = proxy.legacy(REVISION).connect("echo").await;
        proxy.dial("echo").closed().await;
        assert_eq!(proxy.status()["counters"]["callers_refused"], 1);
        assert_eq!(other.call("echo", json!({})).await.text(), "{}");
        one.hang_up().await;
        settled().await;
        let next = proxy.legacy(REVISION).connect("echo").await;
        assert_eq!(next.call("echo", json!({})).await.text(), "{}");
    });
}
