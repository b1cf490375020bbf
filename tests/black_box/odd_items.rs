//! Clients check a list as a whole. On an endpoint of several servers an item that one of them wrote against the
//! specification hides nothing of the others; alone a server is shown as it is.

use serde_json::{Value, json};

use crate::support::{Proxy, Script, modern_script, play, proxy, script};

const REVISION: &str = "2025-06-18";

/// A server whose list holds these items, as they are written.
fn lists(method: &'static str, member: &'static str, items: impl Into<String>) -> Script {
    let (items, result) = (items.into(), if method == "tools/list" { "a tool" } else { "no tool" });
    let capabilities = json!({"tools": {}, "prompts": {}, "resources": {}});
    let script = script().capable(capabilities).on(method, move |list, say| {
        say.line(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"{member}":[{items}]}}}}"#, list.id()));
    });
    script.on("tools/call", move |call, say| say.text(call, result))
}

fn tools(items: impl Into<String>) -> Script {
    lists("tools/list", "tools", items)
}

const GOOD: &str = r#"{"name":"good","inputSchema":{"type":"object"}}"#;

async fn beside_a_good_one(odd: &str) -> Proxy {
    proxy().server("odd", tools(odd).into()).server("other", tools(GOOD).into()).start().await
}

#[test]
fn what_is_null_is_left_out_among_several() {
    play(async {
        for odd in [
            r#""description":null"#,
            r#""outputSchema":null"#,
            r#""icons":null,"title":null"#,
            r#""annotations":null,"_meta":null"#,
        ] {
            let proxy = beside_a_good_one(&GOOD.replace("}}", &format!("}},{odd}}}"))).await;
            let all = proxy.legacy(REVISION).connect("all").await.ask("tools/list", json!({})).await;
            let plain = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
            assert_eq!(all.result()["tools"], json!([plain("odd__good"), plain("other__good")]), "{odd}");
            let modern = proxy.modern().connect("all").await.ask("tools/list", json!({})).await;
            assert_eq!(modern.result()["tools"], all.result()["tools"], "{odd}");
        }
    });
}

#[test]
fn an_item_that_no_client_could_read_hides_nothing_of_others() {
    play(async {
        for odd in [
            "5",
            "null",
            "[]",
            r#"{"name":"odd"}"#,
            r#"{"name":"odd","inputSchema":{}}"#,
            r#"{"name":"odd","inputSchema":{"type":["object","null"]}}"#,
            r#"{"name":7,"inputSchema":{"type":"object"}}"#,
            r#"{"name":"odd","description":"\ud800","inputSchema":{"type":"object"}}"#,
            r#"{"name":"odd","name":"other__good","inputSchema":{"type":"object"}}"#,
        ] {
            let proxy = beside_a_good_one(&format!("{odd},{GOOD}")).await;
            let caller = proxy.legacy(REVISION).connect("all").await;
            let all = caller.ask("tools/list", json!({})).await;
            assert_eq!(all.names(), ["odd__good", "other__good"], "{odd}");
            assert_eq!(caller.call("odd__good", json!({})).await.text(), "a tool", "{odd}");
        }
    });
}

/// Clients take it, and model APIs take the name that it gets here.
#[test]
fn a_tool_without_any_letter_in_its_name_can_be_called() {
    play(async {
        let proxy = beside_a_good_one(r#"{"name":"","inputSchema":{"type":"object"}}"#).await;
        let caller = proxy.legacy(REVISION).connect("all").await;
        let list = caller.ask("tools/list", json!({})).await;
        let names = list.names();
        let [nameless, good] = &names[..] else { panic!("{names:?}") };
        assert!(nameless.starts_with("odd_") && *good == "other__good", "{names:?}");
        assert_eq!(caller.call(nameless, json!({})).await.text(), "a tool");
        assert_eq!(proxy.got("odd", "tools/call")[0]["params"]["name"], "");
    });
}

#[test]
fn alone_a_server_is_shown_as_it_writes() {
    play(async {
        let odd = r#"{"name":"odd","title":5, "description":null},{"title":"no name"}"#;
        let proxy = beside_a_good_one(&format!("{odd},{GOOD}")).await;
        let alone = proxy.legacy(REVISION).connect("odd").await.ask("tools/list", json!({})).await;
        assert!(alone.raw.contains(&format!("[{odd},{GOOD}]")), "{}", alone.raw);
    });
}

#[test]
fn what_is_no_object_is_no_item_of_any_list() {
    play(async {
        let proxy = beside_a_good_one(&format!(r#"5,{GOOD},null,[],"text",true"#)).await;
        for (endpoint, names) in [("odd", vec!["good"]), ("all", vec!["odd__good", "other__good"])] {
            let caller = proxy.legacy(REVISION).connect(endpoint).await;
            assert_eq!(caller.ask("tools/list", json!({})).await.names(), names, "{endpoint}");
        }
    });
}

#[test]
fn a_call_of_what_was_left_out_is_told_why() {
    play(async {
        let proxy = beside_a_good_one(r#"{"name":"odd"}"#).await;
        let caller = proxy.legacy(REVISION).connect("all").await;
        caller.ask("tools/list", json!({})).await;
        let refused = caller.call("odd__odd", json!({})).await;
        assert_eq!(refused.code(), -32602);
        assert!(refused.message().contains("has no `inputSchema`"), "{}", refused.raw);
        assert!(proxy.got("odd", "tools/call").is_empty());
        let alone = proxy.legacy(REVISION).connect("odd").await;
        assert_eq!(alone.call("odd", json!({})).await.text(), "a tool");
        let odd = &proxy.status()["servers"][0]["odd_items"];
        assert_eq!(odd, &json!([{"list": "tools", "item": "odd", "why": "has no `inputSchema`", "left_out": true}]));
    });
}

#[test]
fn a_tool_is_called_though_another_item_of_its_name_is_left_out() {
    play(async {
        let proxy = beside_a_good_one(&format!(r#"{{"name":"good"}},{GOOD}"#)).await;
        let caller = proxy.legacy(REVISION).connect("all").await;
        assert_eq!(caller.ask("tools/list", json!({})).await.names(), ["odd__good", "other__good"]);
        assert_eq!(caller.call("odd__good", json!({})).await.text(), "a tool");
    });
}

#[test]
fn a_resource_belongs_to_the_first_that_lists_it_so_that_it_can_be_read() {
    play(async {
        let odd = r#"{"uri":"a:b"},{"uri":"a:only"},{"name":"no address"},{"uri":"a:c","name":"c","size":null}"#;
        let reads = |script: Script, who: &'static str| {
            script.on("resources/read", move |read, say| say.result(read, json!({"contents": [{"text": who}]})))
        };
        let odd =
            reads(lists("resources/list", "resources", odd), "odd").on("resources/templates/list", |list, say| {
                say.result(list, json!({"resourceTemplates": [{"uriTemplate": "a:{x}"}]}));
            });
        let other = reads(lists("resources/list", "resources", r#"{"uri":"a:b","name":"b"}"#), "other");
        let proxy = proxy().server("odd", odd.into()).server("other", other.into()).start().await;
        let caller = proxy.legacy(REVISION).connect("all").await;
        caller.ask("resources/templates/list", json!({})).await;
        let list = caller.ask("resources/list", json!({})).await;
        assert_eq!(list.result()["resources"], json!([{"uri": "a:c", "name": "c"}, {"uri": "a:b", "name": "b"}]));
        for (uri, who) in [("a:b", "other"), ("a:c", "odd")] {
            let read = caller.ask("resources/read", json!({"uri": uri})).await;
            assert_eq!(read.result()["contents"][0]["text"], who, "{uri}");
        }
        let refused = caller.ask("resources/read", json!({"uri": "a:only"})).await;
        assert!(refused.code() == -32002 && refused.message().contains("has no `name`"), "{}", refused.raw);
    });
}

#[test]
fn a_prompt_of_which_only_a_part_is_wrong_is_shown_without_that() {
    play(async {
        let odd = r#"{"name":"p","arguments":null},{"name":"q","title":5,"arguments":[{"name":"n","required":null}]}"#;
        let proxy = proxy().server("odd", lists("prompts/list", "prompts", odd).into()).start().await;
        let list = proxy.legacy(REVISION).connect("all").await.ask("prompts/list", json!({})).await;
        let shown: Value = json!([{"name": "odd__p"}, {"name": "odd__q", "arguments": [{"name": "n"}]}]);
        assert_eq!(list.result()["prompts"], shown);
    });
}

#[test]
fn an_output_that_is_no_object_is_told_to_modern_callers_of_modern_servers_only() {
    play(async {
        let tool = json!({"name": "t", "inputSchema": {"type": "object"}, "outputSchema": {"type": "array"}});
        let result = json!({"tools": [tool], "resultType": "complete", "ttlMs": 0, "cacheScope": "public"});
        let modern = modern_script().on("tools/list", move |list, say| say.result(list, result.clone()));
        let legacy = tools(tool.to_string());
        let proxy = proxy().server("modern", modern.into()).server("legacy", legacy.into()).start().await;
        let has = |list: &Value| -> Vec<bool> {
            let tools = list["tools"].as_array().expect("a list").iter();
            tools.map(|tool| tool.get("outputSchema").is_some()).collect()
        };
        let list = proxy.modern().connect("all").await.ask("tools/list", json!({})).await;
        assert_eq!(has(list.result()), [true, false]);
        let list = proxy.legacy(REVISION).connect("all").await.ask("tools/list", json!({})).await;
        assert_eq!(has(list.result()), [false, false]);
    });
}

#[test]
fn a_list_whose_next_page_has_an_empty_name_is_over() {
    play(async {
        let odd = script().on("tools/list", |list, say| {
            let tool = json!({"name": "t", "inputSchema": {"type": "object"}});
            say.result(list, json!({"tools": [tool], "nextCursor": ""}));
        });
        let proxy = proxy().server("odd", odd.into()).start().await;
        for endpoint in ["all", "odd"] {
            let list = proxy.legacy(REVISION).connect(endpoint).await.ask("tools/list", json!({})).await;
            assert_eq!(list.names().len(), 1, "{}", list.raw);
        }
        assert_eq!(proxy.got("odd", "tools/list").len(), 1);
    });
}
