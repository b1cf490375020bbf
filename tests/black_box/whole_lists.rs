//! Many hosts read the first page of a list and no other: what fits into one message is one page.

use serde_json::{Value, json};

use crate::support::{Script, modern_script, play, proxy, script};

const REVISION: &str = "2025-11-25";

/// Tools of these names with descriptions of so many bytes.
fn tools(names: &[String], size: usize) -> Value {
    let tool =
        |name: &String| json!({"name": name, "description": "d".repeat(size), "inputSchema": {"type": "object"}});
    names.iter().map(tool).collect()
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("t{number}")).collect()
}

/// A server with so many tools with descriptions of so many bytes, all in one page.
fn whole(count: usize, size: usize) -> Script {
    script().on("tools/list", move |list, say| say.result(list, json!({"tools": tools(&numbered(count), size)})))
}

/// A server that lists its tools in pages.
fn paged(count: usize, page: usize, size: usize) -> Script {
    script().on("tools/list", move |list, say| {
        let from: usize = list.value["params"]["cursor"].as_str().map_or(0, |cursor| cursor.parse().expect("a number"));
        let to = (from + page).min(count);
        let mut result = json!({"tools": tools(&numbered(count)[from..to], size)});
        if to < count {
            result["nextCursor"] = json!(to.to_string());
        }
        say.result(list, result);
    })
}

#[test]
fn what_a_server_lists_in_one_page_comes_in_one_page() {
    play(async {
        // 9.6 MiB and many small ones: neither size nor number cuts.
        let servers = proxy().server("large", whole(1600, 6200).into()).server("many", whole(20_000, 10).into());
        let servers = servers.server("paged", paged(200, 50, 1000).into());
        let proxy = servers
            .config(|config| (config.limits.list_items, config.limits.list_bytes) = (20_000, 10 << 20))
            .start()
            .await;
        for (server, count) in [("large", 1600), ("many", 20_000), ("paged", 200)] {
            let list = proxy.legacy(REVISION).connect(server).await.ask("tools/list", json!({})).await;
            assert_eq!(list.names().len(), count, "{server}");
            assert!(list.result().get("nextCursor").is_none(), "{server}");
            let modern = proxy.modern().connect(server).await.ask("tools/list", json!({})).await;
            assert_eq!((modern.names().len(), modern.result().get("nextCursor")), (count, None), "{server}");
        }
    });
}

#[test]
fn under_one_roof_too() {
    play(async {
        let servers = proxy().server("a", whole(300, 6000).into()).server("b", paged(200, 50, 6000).into());
        let proxy = servers.start().await;
        let list = proxy.legacy(REVISION).connect("all").await.ask("tools/list", json!({})).await;
        assert_eq!((list.names().len(), list.result().get("nextCursor")), (500, None));
    });
}

#[test]
fn what_does_not_fit_into_one_message_comes_in_as_few_pages_as_can_be_and_whole() {
    play(async {
        let limit = 1 << 20;
        let proxy = proxy()
            .server("a", paged(400, 100, 3000).into())
            .server("b", paged(400, 100, 3000).into())
            .config(move |config| config.limits.message = limit)
            .start()
            .await;
        for (endpoint, count, pages) in [("a", 400, 2), ("all", 800, 3)] {
            for modern in [false, true] {
                let client = if modern { proxy.modern() } else { proxy.legacy(REVISION) };
                let caller = client.connect(endpoint).await;
                let (mut names, mut lines, mut params) = (Vec::new(), 0, json!({}));
                loop {
                    let page = caller.ask("tools/list", params).await;
                    assert!(page.raw.len() <= limit, "{} bytes", page.raw.len());
                    names.extend(page.names().into_iter().map(str::to_owned));
                    lines += 1;
                    match page.result().get("nextCursor") {
                        Some(next) => params = json!({"cursor": next}),
                        None => break,
                    }
                }
                assert_eq!((names.len(), lines), (count, pages), "{endpoint}");
                names.sort();
                names.dedup();
                assert_eq!(names.len(), count, "{endpoint}");
            }
        }
    });
}

#[test]
fn of_two_tools_with_one_name_the_first_counts_under_one_roof() {
    play(async {
        let twice = || {
            let list = |what: &str| json!({"name": "same", "description": what, "inputSchema": {"type": "object"}});
            let tools = json!([list("first"), list("second"), {"name": "other", "inputSchema": {"type": "object"}}]);
            script().on("tools/list", move |it, say| say.result(it, json!({"tools": tools})))
        };
        let proxy = proxy().server("a", twice().into()).server("b", twice().into()).start().await;
        let all = proxy.legacy(REVISION).connect("all").await.ask("tools/list", json!({})).await;
        assert_eq!(all.names(), ["a__same", "a__other", "b__same", "b__other"]);
        assert_eq!(all.result()["tools"][0]["description"], "first");
        let alone = proxy.legacy(REVISION).connect("a").await.ask("tools/list", json!({})).await;
        assert_eq!(alone.names(), ["same", "same", "other"]);
    });
}

fn with_tasks() -> Script {
    let tool = |name: &str, support: Option<&str>| {
        let mut tool = json!({"name": name, "inputSchema": {"type": "object"}});
        if let Some(support) = support {
            tool["execution"] = json!({"taskSupport": support});
        }
        tool
    };
    let tools = json!([
        tool("plain", None),
        tool("research", Some("required")),
        tool("either", Some("optional")),
        tool("x.y", Some("required"))
    ]);
    script()
        .capable(json!({"tools": {}, "tasks": {"requests": {"tools": {"call": {}}}}}))
        .on("tools/list", move |it, say| say.result(it, json!({"tools": tools})))
        .on("tools/call", |it, say| say.text(it, it.value["params"]["name"].as_str().unwrap_or_default()))
}

#[test]
fn tools_that_demand_tasks_are_not_offered_where_tasks_do_not_cross() {
    play(async {
        let proxy = proxy().server("s", with_tasks().into()).server("m", modern_script().into()).start().await;
        let own = proxy.legacy(REVISION).connect("s").await.ask("tools/list", json!({})).await;
        assert_eq!(own.names(), ["plain", "research", "either", "x.y"]);
        for (endpoint, before) in [("s", ""), ("all", "s__")] {
            let modern = proxy.modern().connect(endpoint).await;
            let shown = modern.ask("tools/list", json!({})).await;
            assert_eq!(shown.names(), [format!("{before}plain"), format!("{before}either")]);
            let demanding =
                if before.is_empty() { "x.y".to_owned() } else { mcpool::caller::names::exposed("s", "x.y") };
            for tool in [format!("{before}research"), demanding] {
                let refused = modern.call(&tool, json!({})).await;
                assert_eq!(refused.code(), -32601);
                assert!(refused.message().contains(&tool) && refused.message().contains("task"), "{}", refused.raw);
            }
            assert_eq!(modern.call(&format!("{before}either"), json!({})).await.text(), "either");
        }
        let called: Vec<Value> =
            proxy.got("s", "tools/call").into_iter().map(|it| it["params"]["name"].clone()).collect();
        assert_eq!(called, ["either", "either"]);
    });
}

#[test]
fn a_cursor_that_one_caller_was_given_is_of_no_use_to_another_and_for_no_other_list() {
    play(async {
        let server = paged(400, 100, 3000).on("prompts/list", |it, say| say.result(it, json!({"prompts": []}))).into();
        let proxy = proxy().server("a", server).config(|config| config.limits.message = 1 << 20).start().await;
        let (one, other) = (proxy.legacy(REVISION).connect("a").await, proxy.legacy(REVISION).connect("a").await);
        let first = one.ask("tools/list", json!({})).await;
        let given = json!({"cursor": first.result()["nextCursor"]});
        assert!(given["cursor"].is_string(), "there is more");
        for (caller, list) in [(&other, "tools/list"), (&one, "prompts/list")] {
            let refused = caller.ask(list, given.clone()).await;
            assert_eq!(refused.code(), -32602, "{list}: {}", refused.raw);
        }
        assert!(!one.ask("tools/list", given).await.names().is_empty());
    });
}

#[test]
fn a_list_that_is_too_long_is_cut_off_and_the_operator_is_told() {
    play(async {
        let proxy = proxy()
            .server("many", whole(30, 10).into())
            .server("large", paged(30, 4, 1000).into())
            .server("well", whole(20, 10).into())
            .config(|config| (config.limits.list_items, config.limits.list_bytes) = (20, 8 << 10))
            .start()
            .await;
        for (server, count, cut) in [("many", 20, 1), ("large", 7, 1), ("well", 20, 0)] {
            let list = proxy.legacy(REVISION).connect(server).await.ask("tools/list", json!({})).await;
            assert_eq!((list.names().len(), list.result().get("nextCursor")), (count, None), "{server}");
            assert_eq!(proxy.server(server)["lists_cut"], cut, "{server}");
        }
        // A server is not asked for pages that nobody would see.
        assert_eq!(proxy.got("large", "tools/list").len(), 2);
    });
}
