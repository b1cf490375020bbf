//! What a server says to one caller is shown to those to whom it would say the same, and to no other; what is known to be
//! old is not shown as if it were new.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;

use mcpool::config::LeaseChoice;
use serde_json::{Value, json};

use crate::support::{Script, after, legacy, modern, modern_script, play, proxy, script, seconds, settled};

const REVISION: &str = "2025-11-25";

fn tool(name: &str) -> Value {
    json!({"name": name, "inputSchema": {"type": "object"}})
}

/// A server that asks for roots before it lists what lies below them.
fn rooted() -> Script {
    let asked = Rc::new(RefCell::new(Vec::<Value>::new()));
    let waiting = asked.clone();
    script()
        .capable(json!({"resources": {"listChanged": true}}))
        .on("resources/list", move |list, say| {
            asked.borrow_mut().push(list.id().clone());
            say.ask("r", "roots/list", json!({}));
        })
        .on("", move |answer, say| {
            let root = answer.value["result"]["roots"][0]["uri"].as_str().unwrap_or("none:").to_owned();
            for id in waiting.borrow_mut().drain(..) {
                let item = json!({"name": "notes", "uri": format!("{root}/notes.txt")});
                say.line(&json!({"jsonrpc": "2.0", "id": id, "result": {"resources": [item]}}).to_string());
            }
        })
}

#[test]
fn lists_of_a_server_that_asks_for_roots_are_shown_to_those_of_the_same_roots() {
    play(async {
        let place = std::env::temp_dir().join(format!("mcpool-rooted-{}-{:x}", std::process::id(), fastrand::u64(..)));
        for _ in 0..2 {
            // The second time from what is on disk.
            let proxy = proxy().server("files", rooted().into()).catalogue(&place).start().await;
            for endpoint in ["files", "files", "all"] {
                for root in ["file:///home/b", "file:///home/a"] {
                    let caller = proxy.legacy(REVISION).with_roots(&[root]).connect(endpoint).await;
                    let list = caller.ask("resources/list", json!({})).await;
                    assert_eq!(list.result()["resources"][0]["uri"], format!("{root}/notes.txt"), "{endpoint}");
                }
            }
            let asked = proxy.got("files", "resources/list").len();
            let again = proxy.legacy(REVISION).with_roots(&["file:///home/b"]).connect("files").await;
            let list = again.ask("resources/list", json!({})).await;
            assert_eq!(list.result()["resources"][0]["uri"], "file:///home/b/notes.txt");
            assert_eq!(proxy.got("files", "resources/list").len(), asked, "who has the same roots shares the list");
            after(seconds(2)).await;
        }
        let kept = files(&place).into_iter().map(|file| std::fs::read_to_string(file).expect("a file"));
        kept.for_each(|kept| assert!(!kept.contains("/home/a") && !kept.contains("/home/b"), "{kept}"));
        let _ = std::fs::remove_dir_all(&place);
    });
}

fn files(dir: &PathBuf) -> Vec<PathBuf> {
    std::fs::read_dir(dir).expect("a directory").flatten().map(|entry| entry.path()).collect()
}

#[test]
fn what_a_caller_added_to_an_instance_of_its_own_is_shown_to_it_alone() {
    play(async {
        let own = legacy(|_| {});
        let proxy = proxy().server("shell", own).set(|server| server.lease = LeaseChoice::Session).start().await;
        let (a, b) = (proxy.legacy(REVISION).connect("shell").await, proxy.legacy(REVISION).connect("shell").await);
        let names = async |caller: &crate::support::Caller| {
            let list = caller.ask("tools/list", json!({})).await;
            list.names().contains(&"extra")
        };
        assert!(!names(&a).await && !names(&b).await);
        b.instance().await;
        a.call("change_lists", json!({})).await;
        for kind in ["tools", "prompts", "resources"] {
            a.heard(&format!("notifications/{kind}/list_changed")).await;
        }
        settled().await;
        b.hears_nothing().await;
        assert!(names(&a).await && !names(&b).await);
        let c = proxy.legacy(REVISION).connect("shell").await;
        assert!(!names(&c).await);
    });
}

#[test]
fn a_list_that_is_known_to_be_old_is_not_shown_when_its_server_has_ended() {
    play(async {
        let new = Rc::new(Cell::new(false));
        let is_new = new.clone();
        let server = script()
            .capable(json!({"tools": {"listChanged": true}}))
            .on("tools/list", move |list, say| {
                let name = if is_new.get() { "new" } else { "old" };
                say.result(list, json!({"tools": [tool(name)]}));
            })
            .on("tools/call", move |call, say| {
                say.text(call, "bye");
                if !new.replace(true) {
                    say.notify("notifications/tools/list_changed", json!({}));
                }
            });
        let proxy = proxy().server("s", server.into()).start().await;
        let (a, b) = (proxy.legacy(REVISION).connect("s").await, proxy.legacy(REVISION).connect("s").await);
        for caller in [&a, &b] {
            assert_eq!(caller.ask("tools/list", json!({})).await.names(), ["old"]);
        }
        a.call("x", json!({})).await;
        for caller in [&a, &b] {
            caller.heard("notifications/tools/list_changed").await;
        }
        proxy.process("s", 0).crash().await;
        settled().await;
        assert_eq!(a.ask("tools/list", json!({})).await.names(), ["new"]);
        settled().await;
        // It was told already.
        b.hears_nothing().await;
        a.hears_nothing().await;
    });
}

#[test]
fn who_comes_after_a_change_was_told_hears_of_the_next_one() {
    play(async {
        let server = script()
            .capable(json!({"tools": {"listChanged": true}}))
            .on("tools/list", |list, say| say.result(list, json!({"tools": [tool("a")]})))
            .on("tools/call", |call, say| {
                say.notify("notifications/tools/list_changed", json!({}));
                say.text(call, "changed");
            });
        let proxy = proxy().server("s", server.into()).start().await;
        let early = proxy.legacy(REVISION).connect("s").await;
        assert_eq!(early.ask("tools/list", json!({})).await.names(), ["a"]);
        early.call("a", json!({})).await;
        early.heard("notifications/tools/list_changed").await;
        let late = proxy.legacy(REVISION).connect("s").await;
        late.call("a", json!({})).await;
        late.heard("notifications/tools/list_changed").await;
    });
}

#[test]
fn a_server_that_says_at_its_start_that_its_list_has_changed_tells_nobody_news_if_it_has_not() {
    play(async {
        let server = script()
            .capable(json!({"tools": {"listChanged": true}}))
            .on("notifications/initialized", |_, say| say.notify("notifications/tools/list_changed", json!({})))
            .on("tools/list", |list, say| say.result(list, json!({"tools": [tool("a")]})))
            .on("tools/call", |call, say| say.text(call, "done"));
        let proxy = proxy().server("s", server.into()).start().await;
        let caller = proxy.legacy(REVISION).connect("s").await;
        assert_eq!(caller.ask("tools/list", json!({})).await.names(), ["a"]);
        proxy.process("s", 0).crash().await;
        settled().await;
        assert_eq!(caller.call("a", json!({})).await.text(), "done");
        settled().await;
        caller.hears_nothing().await;
        assert_eq!(caller.ask("tools/list", json!({})).await.names(), ["a"]);
    });
}

#[test]
fn a_list_that_lacks_a_late_server_is_old_at_once_and_streams_hear_when_it_comes() {
    play(async {
        let late = script()
            .on("initialize", |opening, say| {
                let (opening, say) = (opening.id().clone(), say.clone());
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(seconds(5)).await;
                    let result = json!({"protocolVersion": REVISION, "capabilities": {"tools": {"listChanged": true}},
                        "serverInfo": {"name": "late", "version": "1"}});
                    say.line(&json!({"jsonrpc": "2.0", "id": opening, "result": result}).to_string());
                });
            })
            .on("tools/list", |list, say| say.result(list, json!({"tools": [tool("late")]})));
        let there = modern(|options| options.ttl = seconds(600));
        let proxy = proxy().server("m", there).server("l", late.into()).start().await;
        let caller = proxy.modern().connect("all").await;
        let _stream = caller.request("subscriptions/listen", json!({"notifications": {"toolsListChanged": true}}));
        caller.heard("notifications/subscriptions/acknowledged").await;
        let list = caller.ask("tools/list", json!({})).await;
        assert!(list.names().contains(&"m__echo") && !list.names().contains(&"l__late"), "{}", list.raw);
        assert_eq!(list.result()["ttlMs"], 0);
        caller.heard("notifications/tools/list_changed").await;
        let list = caller.ask("tools/list", json!({})).await;
        assert!(list.names().contains(&"m__echo") && list.names().contains(&"l__late"), "{}", list.raw);
        assert_ne!(list.result()["ttlMs"], 0);
    });
}

#[test]
fn capabilities_of_modern_callers_are_bounded_as_those_of_others_are() {
    play(async {
        let proxy = proxy().server("s", modern_script().into()).start().await;
        let large = json!({"experimental": {"x": {"y": "z".repeat(20 << 10)}}});
        let caller = proxy.modern().with(large).connect("s").await;
        let refused = caller.ask("tools/list", json!({})).await;
        assert_eq!(refused.code(), -32602);
        assert!(refused.message().contains("16 KiB"), "{}", refused.raw);
    });
}
