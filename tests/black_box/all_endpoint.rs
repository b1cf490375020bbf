//! The endpoint of all servers: one roof, names that tell whose they are, and patience with those that are late.

use serde_json::{Value, json};

use crate::support::{Script, Setup};
use crate::support::{after, legacy, modern, mute, play, proxy, script, seconds, settled, unstartable};

const REVISION: &str = "2025-06-18";

/// A server of these tools, which answers each call with its own name and that of the tool.
fn tools(server: &'static str, tools: &'static [&'static str]) -> Script {
    script()
        .on("tools/list", move |list, say| {
            let tools: Vec<Value> =
                tools.iter().map(|name| json!({"name": name, "inputSchema": {"type": "object"}})).collect();
            say.result(list, json!({"tools": tools}));
        })
        .on("tools/call", move |call, say| {
            say.text(call, &format!("{server} {}", call.value["params"]["name"].as_str().unwrap_or_default()));
        })
}

fn two() -> Setup {
    proxy().server("one", legacy(|_| {})).server("two", legacy(|_| {}))
}

#[test]
fn tools_and_prompts_are_called_by_server_and_name() {
    play(async {
        let proxy = two().start().await;
        let caller = proxy.legacy(REVISION).connect("all").await;
        let tools = caller.ask("tools/list", json!({})).await;
        assert!(tools.names().contains(&"one__echo") && tools.names().contains(&"two__echo"));
        assert!(tools.names().iter().all(|name| name.contains("__")));
        for server in ["one", "two"] {
            let told = caller.call(&format!("{server}__whoami"), json!({})).await.json();
            assert_eq!(told["instance"], format!("{server}-0"));
        }
        let prompts = caller.ask("prompts/list", json!({})).await;
        assert_eq!(prompts.names(), ["one__greet", "one__plain", "two__greet", "two__plain"]);
        let prompt = caller.ask("prompts/get", json!({"name": "two__greet", "arguments": {"name": "Ada"}})).await;
        assert_eq!(prompt.result()["messages"][0]["content"]["text"], "Greet Ada in a friendly tone.");
        assert_eq!(proxy.got("two", "prompts/get").pop().expect("asked")["params"]["name"], "greet");
    });
}

#[test]
fn on_an_endpoint_of_its_own_nothing_is_renamed() {
    play(async {
        let proxy = two().start().await;
        let caller = proxy.legacy(REVISION).connect("one").await;
        assert!(caller.ask("tools/list", json!({})).await.names().contains(&"echo"));
        assert_eq!(caller.call("one__echo", json!({})).await.code(), -32602);
    });
}

#[test]
fn names_that_hosts_would_not_take_are_shortened_and_still_found() {
    play(async {
        const LONG: &str = "a_tool_whose_name_alone_is_as_long_as_the_longest_that_is_allowed_and_longer_1";
        const LONGER: &str = "a_tool_whose_name_alone_is_as_long_as_the_longest_that_is_allowed_and_longer_2";
        let names: &[&str] = &[LONG, LONGER, "with.dot", "with/slash", "with_dot", "__odd__"];
        let proxy = proxy().server("odd", tools("odd", names).into()).start().await;
        let caller = proxy.legacy(REVISION).connect("all").await;
        let list = caller.ask("tools/list", json!({})).await;
        let shown = list.names();
        assert_eq!(shown.len(), names.len());
        for (shown, real) in shown.iter().zip(names) {
            assert!(
                shown.len() <= 64 && shown.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)),
                "{shown}"
            );
            assert_eq!(caller.call(shown, json!({})).await.text(), format!("odd {real}"));
        }
        let mut apart = shown.clone();
        apart.sort_unstable();
        apart.dedup();
        assert_eq!(apart.len(), names.len());
    });
}

#[test]
fn names_of_servers_whose_parts_look_alike_do_not_collide() {
    play(async {
        let proxy =
            proxy().server("a", tools("a", &["b__c"]).into()).server("a_b", tools("a_b", &["c"]).into()).start().await;
        let caller = proxy.legacy(REVISION).connect("all").await;
        let list = caller.ask("tools/list", json!({})).await;
        let mut answers = Vec::new();
        for name in list.names() {
            answers.push(caller.call(name, json!({})).await.text().to_owned());
        }
        assert_eq!(answers, ["a b__c", "a_b c"]);
    });
}

#[test]
fn an_unknown_name_says_how_names_are_made() {
    play(async {
        let proxy = two().start().await;
        let caller = proxy.legacy(REVISION).connect("all").await;
        for name in ["echo", "three__echo", ""] {
            let answer = caller.call(name, json!({})).await;
            assert_eq!(answer.code(), -32602);
            assert!(answer.message().contains("SERVER__NAME"), "{}", answer.raw);
        }
    });
}

#[test]
fn resources_are_found_by_who_lists_or_matches_them() {
    play(async {
        let files = script().capable(json!({"resources": {}})).on("resources/list", |list, say| {
            say.result(
                list,
                json!({"resources": [{"uri": "file:///x", "name": "x"}, {"uri": "demo://note/1", "name": "taken"}]}),
            );
        });
        let files = files.on("resources/read", |it, say| {
            say.result(it, json!({"contents": [{"uri": it.value["params"]["uri"], "text": "files"}]}))
        });
        let proxy = proxy().server("files", files.into()).server("notes", legacy(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).connect("all").await;
        let list = caller.ask("resources/list", json!({})).await;
        assert_eq!(
            list.names(),
            ["x", "taken", "note-2", "note-3", "note-4", "note-5"],
            "a collision goes to the first"
        );
        caller.ask("resources/templates/list", json!({})).await;
        for (uri, text) in [
            ("file:///x", "files"),
            ("demo://note/1", "files"),
            ("demo://note/2", "touched 0"),
            ("demo://note/77", "touched 0"),
        ] {
            let read = caller.ask("resources/read", json!({"uri": uri})).await;
            assert!(read.result()["contents"][0]["text"].as_str().is_some_and(|it| it.contains(text)), "{}", read.raw);
        }
        assert_eq!(caller.ask("resources/read", json!({"uri": "other://x"})).await.code(), -32002);
        caller.ask("resources/subscribe", json!({"uri": "demo://note/2"})).await.result();
        caller.call("notes__touch", json!({"uri": "demo://note/2"})).await;
        assert_eq!(caller.heard("notifications/resources/updated").await["params"]["uri"], "demo://note/2");
    });
}

#[test]
fn completion_goes_to_who_has_the_prompt_or_the_template() {
    play(async {
        let proxy = two().start().await;
        let caller = proxy.legacy(REVISION).connect("all").await;
        for list in ["prompts/list", "resources/templates/list"] {
            caller.ask(list, json!({})).await;
        }
        let by_prompt =
            json!({"ref": {"type": "ref/prompt", "name": "two__greet"}, "argument": {"name": "tone", "value": "f"}});
        let values = caller.ask("completion/complete", by_prompt).await.result()["completion"]["values"].clone();
        assert_eq!(values, json!(["formal", "friendly", "funny"]));
        assert_eq!(proxy.got("two", "completion/complete")[0]["params"]["ref"]["name"], "greet");
        let by_uri = json!({"ref": {"type": "ref/resource", "uri": "demo://note/{n}"}, "argument": {"name": "n", "value": "100"}});
        let values = caller.ask("completion/complete", by_uri).await.result()["completion"]["values"].clone();
        assert_eq!(values, json!(["100", "1000"]));
    });
}

#[test]
fn capabilities_are_united_and_instructions_stand_under_their_names() {
    play(async {
        let plain = script().capable(json!({"prompts": {}, "experimental": {"x": {}}}));
        let proxy = proxy().server("plain", plain.into()).server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).connect("all").await;
        let capabilities = &caller.introduction["capabilities"];
        assert_eq!(capabilities["resources"]["subscribe"], true);
        assert_eq!(capabilities["tools"]["listChanged"], true);
        assert_eq!(capabilities["experimental"], json!({"x": {}}));
        let instructions = caller.introduction["instructions"].as_str().expect("instructions");
        assert!(
            instructions.contains("echo") && instructions.contains("A server to try mcpool with"),
            "{instructions}"
        );
        assert_eq!(caller.introduction["serverInfo"]["name"], "mcpool");
    });
}

#[test]
fn a_server_that_never_starts_delays_a_list_only_so_long() {
    play(async {
        let proxy =
            proxy().server("mute", mute()).server("broken", unstartable()).server("echo", legacy(|_| {})).start().await;
        let clock = tokio::time::Instant::now();
        let caller = proxy.legacy(REVISION).connect("all").await;
        assert!(clock.elapsed() <= seconds(3), "initialize after {:?}", clock.elapsed());
        let list = caller.ask("tools/list", json!({})).await;
        assert!(list.names().contains(&"echo__echo"));
        assert!(clock.elapsed() <= seconds(5), "tools/list after {:?}", clock.elapsed());
        assert_eq!(caller.call("echo__add", json!({"a": 1, "b": 1})).await.text(), "2");
        assert_eq!(caller.call("broken__x", json!({})).await.reason(), Some("start_failed"));
    });
}

#[test]
fn a_server_that_is_late_joins_by_list_changed() {
    play(async {
        let late = script().capable(json!({"tools": {}})).on("initialize", |opening, say| {
            let (id, say) = (opening.id().clone(), say.clone());
            tokio::task::spawn_local(async move {
                after(seconds(5)).await;
                let result = json!({"protocolVersion": REVISION, "capabilities": {"tools": {}}, "serverInfo": {"name": "late", "version": "1"}});
                say.line(&json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string());
            });
        });
        let late = late.on("tools/list", |list, say| {
            say.result(list, json!({"tools": [{"name": "x", "inputSchema": {"type": "object"}}]}))
        });
        let proxy = proxy().server("late", late.into()).server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).connect("all").await;
        assert!(!caller.ask("tools/list", json!({})).await.names().contains(&"late__x"));
        caller.heard("notifications/tools/list_changed").await;
        assert!(caller.ask("tools/list", json!({})).await.names().contains(&"late__x"));
    });
}

#[test]
fn what_an_endpoint_may_not_use_is_neither_shown_nor_called() {
    play(async {
        let proxy = two()
            .config(|config| {
                let patterns = |patterns: &[&str]| Some(patterns.iter().map(|it| (*it).to_owned()).collect());
                for endpoint in &mut config.endpoints {
                    endpoint.grants.tools = match endpoint.name.as_str() {
                        "all" => patterns(&["one__*", "two__add"]),
                        "two" => patterns(&["ec*"]),
                        _ => None,
                    };
                }
            })
            .start()
            .await;
        let caller = proxy.legacy(REVISION).connect("all").await;
        let list = caller.ask("tools/list", json!({})).await;
        assert!(list.names().contains(&"one__echo") && list.names().contains(&"two__add"));
        assert!(!list.names().contains(&"two__echo"));
        let refused = caller.call("two__echo", json!({})).await;
        assert_eq!((refused.code(), refused.reason()), (403, Some("forbidden")));
        assert_eq!(proxy.got("two", "tools/call").len(), 0);
        let narrow = proxy.legacy(REVISION).connect("two").await;
        assert_eq!(narrow.ask("tools/list", json!({})).await.names(), ["echo"]);
        assert_eq!(narrow.call("add", json!({"a": 1, "b": 1})).await.code(), 403);
    });
}

#[test]
fn a_change_of_one_server_is_announced_on_the_roof_and_not_to_the_others() {
    play(async {
        let proxy = two().start().await;
        let roof = proxy.legacy(REVISION).connect("all").await;
        let other = proxy.legacy(REVISION).connect("two").await;
        roof.ask("tools/list", json!({})).await;
        roof.leftovers().await;
        roof.call("one__change_lists", json!({})).await;
        roof.heard("notifications/tools/list_changed").await;
        assert!(roof.ask("tools/list", json!({})).await.names().contains(&"one__extra"));
        other.hears_nothing().await;
    });
}

#[test]
fn modern_callers_see_every_server_under_the_roof() {
    play(async {
        let proxy = proxy().server("old", legacy(|_| {})).server("new", modern(|_| {})).start().await;
        let caller = proxy.modern().connect("all").await;
        let discovered = caller.ask("server/discover", json!({})).await;
        assert_eq!(discovered.result()["supportedVersions"], json!(["2026-07-28"]));
        let list = caller.ask("tools/list", json!({})).await;
        assert!(list.names().contains(&"new__echo") && list.names().contains(&"old__echo"));
        assert_eq!(list.result()["resultType"], "complete");
        for tool in ["new__add", "old__add"] {
            assert_eq!(caller.call(tool, json!({"a": 1, "b": 1})).await.text(), "2");
        }
        settled().await;
    });
}
