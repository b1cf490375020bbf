//! What is known of a server is answered without it: from memory, and from disk without one process started.

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;
use std::rc::Rc;

use serde_json::{Value, json};

use crate::support::{Script, after, legacy, modern, modern_script, play, proxy, sampling, script, seconds, settled};

const REVISION: &str = "2025-06-18";
const LISTS: [&str; 4] = ["tools/list", "prompts/list", "resources/list", "resources/templates/list"];

/// A directory that is gone when the test is over.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let path = std::env::temp_dir().join(format!("mcpool-{name}-{}-{:x}", std::process::id(), fastrand::u64(..)));
        fs::create_dir_all(&path).expect("a directory");
        Place(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_caller_connects_and_lists_without_one_process_being_started() {
    play(async {
        let place = Place::new("cold");
        let first = proxy().server("echo", legacy(|_| {})).catalogue(&place.0).start().await;
        let caller = first.legacy(REVISION).connect("echo").await;
        let mut lists = Vec::new();
        for list in LISTS {
            lists.push(caller.ask(list, json!({})).await.result().clone());
        }
        // What changes is written once a second.
        after(seconds(2)).await;
        let second = proxy().server("echo", legacy(|_| {})).catalogue(&place.0).start().await;
        let later = second.legacy(REVISION).connect("echo").await;
        assert_eq!(later.introduction, caller.introduction);
        assert_eq!(later.introduction["serverInfo"]["name"], "mcpool-demo");
        for (list, known) in LISTS.into_iter().zip(lists) {
            assert_eq!(*later.ask(list, json!({})).await.result(), known);
        }
        assert_eq!(second.started("echo"), 0);
        assert_eq!(later.call("add", json!({"a": 2, "b": 2})).await.text(), "4");
        assert_eq!(second.started("echo"), 1);
    });
}

#[test]
fn a_modern_server_is_discovered_without_one_process_being_started() {
    play(async {
        let place = Place::new("discover");
        let first = proxy().server("echo", modern(|_| {})).catalogue(&place.0).start().await;
        let known = first.modern().connect("echo").await.ask("server/discover", json!({})).await;
        settled().await;
        let second = proxy().server("echo", modern(|_| {})).catalogue(&place.0).start().await;
        let again = second.modern().connect("echo").await.ask("server/discover", json!({})).await;
        assert_eq!(again.result(), known.result());
        assert_eq!(again.result()["supportedVersions"], json!(["2026-07-28"]));
        assert_eq!(second.started("echo"), 0);
    });
}

#[test]
fn what_is_kept_is_kept_for_its_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    play(async {
        let place = Place::new("mode");
        let dir = place.0.join("below");
        let proxy = proxy().server("echo", legacy(|_| {})).catalogue(&dir).start().await;
        proxy.legacy(REVISION).connect("echo").await;
        settled().await;
        let mode = |path: &std::path::Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o700);
        for file in fs::read_dir(&dir).expect("a directory").flatten() {
            assert_eq!(mode(&file.path()), 0o600, "{:?}", file.path());
        }
    });
}

#[test]
fn a_damaged_catalogue_is_as_good_as_none() {
    play(async {
        let place = Place::new("damaged");
        let first = proxy().server("echo", legacy(|_| {})).catalogue(&place.0).start().await;
        first.legacy(REVISION).connect("echo").await;
        settled().await;
        for damage in ["", "{\"lacks\":[", "null", "[1]", "{\"variants\":7}", "\0\0"] {
            for file in fs::read_dir(&place.0).expect("a directory").flatten() {
                fs::write(file.path(), damage).expect("written");
            }
            let again = proxy().server("echo", legacy(|_| {})).catalogue(&place.0).start().await;
            let caller = again.legacy(REVISION).connect("echo").await;
            assert_eq!(caller.introduction["serverInfo"]["name"], "mcpool-demo");
            assert_eq!(again.started("echo"), 1);
            settled().await;
        }
    });
}

#[test]
fn another_command_line_is_another_server() {
    play(async {
        let place = Place::new("changed");
        let first = proxy().server("echo", legacy(|_| {})).catalogue(&place.0).start().await;
        first.legacy(REVISION).connect("echo").await;
        settled().await;
        let second = proxy()
            .server("echo", legacy(|_| {}))
            .set(|server| server.args.push("--more".into()))
            .catalogue(&place.0)
            .start()
            .await;
        second.legacy(REVISION).connect("echo").await;
        assert_eq!(second.started("echo"), 1);
    });
}

#[test]
fn all_pages_of_every_list_are_there() {
    play(async {
        for modern_era in [false, true] {
            let (whole, paged) = if modern_era {
                (modern(|_| {}), modern(|options| options.page = 2))
            } else {
                (legacy(|_| {}), legacy(|options| options.page = 2))
            };
            let proxy = proxy().server("whole", whole).server("paged", paged).start().await;
            let client = || if modern_era { proxy.modern() } else { proxy.legacy(REVISION) };
            let (one, other) = (client().connect("whole").await, client().connect("paged").await);
            for list in LISTS {
                let (all, pages) = (one.ask(list, json!({})).await, other.ask(list, json!({})).await);
                assert_eq!(all.names(), pages.names());
                assert!(pages.result().get("nextCursor").is_none(), "{}", pages.raw);
            }
        }
    });
}

#[test]
fn a_server_that_repeats_its_cursor_does_not_go_round_for_ever() {
    play(async {
        let stuck = script().on("tools/list", |list, say| {
            say.result(
                list,
                json!({"tools": [{"name": "a", "inputSchema": {"type": "object"}}], "nextCursor": "same"}),
            );
        });
        let round = script().on("tools/list", |list, say| {
            let next = if list.value["params"]["cursor"] == "one" { "two" } else { "one" };
            say.result(list, json!({"tools": [{"name": "a", "inputSchema": {"type": "object"}}], "nextCursor": next}));
        });
        let proxy = proxy().server("stuck", stuck.into()).server("round", round.into()).start().await;
        let caller = proxy.legacy(REVISION).connect("stuck").await;
        assert_eq!(caller.ask("tools/list", json!({})).await.names(), ["a"]);
        assert!(proxy.got("stuck", "tools/list").len() <= 2);
        let caller = proxy.legacy(REVISION).connect("round").await;
        assert_eq!(caller.ask("tools/list", json!({})).await.names(), ["a"]);
        assert!(proxy.got("round", "tools/list").len() <= 3);
    });
}

#[test]
fn an_empty_cursor_is_none() {
    play(async {
        let item = json!({"name": "a", "uri": "x://a", "uriTemplate": "y://{a}", "inputSchema": {"type": "object"}});
        let listing = |script: Script, around: Value| {
            LISTS.into_iter().fold(script, |script, list| {
                let member = list.trim_end_matches("/list").replace("resources/templates", "resourceTemplates");
                let mut page = around.clone();
                (page[&member], page["nextCursor"]) = (json!([item]), json!(""));
                script.on(list, move |asked, say| say.result(asked, page.clone()))
            })
        };
        let capable = json!({"tools": {}, "prompts": {}, "resources": {}});
        let of_era = json!({"resultType": "complete", "cacheScope": "public", "ttlMs": 1000});
        let old = listing(script(), json!({})).capable(capable.clone());
        let new = listing(modern_script(), of_era).capable(capable);
        let proxy = proxy().server("old", old.into()).server("new", new.into()).start().await;
        for server in ["old", "new"] {
            for caller in [proxy.legacy(REVISION).connect(server).await, proxy.modern().connect(server).await] {
                for list in LISTS {
                    for params in [json!({}), json!({"cursor": ""})] {
                        let answer = caller.ask(list, params).await;
                        assert_eq!(answer.names(), ["a"], "{server} {list}: {}", answer.raw);
                    }
                }
            }
            for list in LISTS {
                let asked = proxy.got(server, list);
                assert!(asked.iter().all(|asked| asked["params"].get("cursor").is_none()), "{server}: {asked:?}");
            }
        }
    });
}

#[test]
fn a_cursor_of_somebody_else_is_refused() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let caller = proxy.legacy(REVISION).connect("echo").await;
        assert_eq!(caller.ask("tools/list", json!({"cursor": "made up"})).await.code(), -32602);
    });
}

#[test]
fn a_list_is_asked_for_once_however_many_callers_want_it() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let a = proxy.legacy(REVISION).connect("echo").await;
        let b = proxy.legacy(REVISION).connect("echo").await;
        let wanted: Vec<_> =
            [&a, &b, &a, &b].into_iter().map(|caller| caller.request("tools/list", json!({}))).collect();
        for list in &wanted {
            assert!(list.answer().await.names().contains(&"echo"));
        }
        a.ask("tools/list", json!({})).await;
        assert_eq!(proxy.got("echo", "tools/list").len(), 1);
    });
}

#[test]
fn a_changed_list_is_announced_to_all_and_fetched_once() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let a = proxy.legacy(REVISION).connect("echo").await;
        let b = proxy.legacy(REVISION).connect("echo").await;
        assert!(!a.ask("tools/list", json!({})).await.names().contains(&"extra"));
        a.call("change_lists", json!({})).await;
        for caller in [&a, &b] {
            for kind in ["tools", "prompts", "resources"] {
                caller.heard(&format!("notifications/{kind}/list_changed")).await;
            }
        }
        let (one, two) = (a.request("tools/list", json!({})), b.request("tools/list", json!({})));
        assert!(one.answer().await.names().contains(&"extra"));
        assert!(two.answer().await.names().contains(&"extra"));
        assert_eq!(proxy.got("echo", "tools/list").len(), 2);
        a.hears_nothing().await;
        b.hears_nothing().await;
    });
}

#[test]
fn a_change_while_a_list_is_on_its_way_is_not_forgotten() {
    play(async {
        let count = Rc::new(Cell::new(0));
        let seen = count.clone();
        let busy = script().capable(json!({"tools": {"listChanged": true}})).on("tools/list", move |list, say| {
            seen.set(seen.get() + 1);
            if seen.get() == 1 {
                say.notify("notifications/tools/list_changed", json!({}));
            }
            say.result(
                list,
                json!({"tools": [{"name": format!("v{}", seen.get()), "inputSchema": {"type": "object"}}]}),
            );
        });
        let proxy = proxy().server("busy", busy.into()).start().await;
        let caller = proxy.legacy(REVISION).connect("busy").await;
        caller.ask("tools/list", json!({})).await;
        settled().await;
        assert_eq!(caller.ask("tools/list", json!({})).await.names(), ["v2"]);
    });
}

#[test]
fn a_list_lives_as_long_as_its_server_says() {
    play(async {
        let proxy = proxy().server("echo", modern(|options| options.ttl = seconds(10))).start().await;
        let caller = proxy.modern().connect("echo").await;
        let fresh = caller.ask("tools/list", json!({})).await;
        assert_eq!(
            (&fresh.result()["resultType"], &fresh.result()["cacheScope"]),
            (&json!("complete"), &json!("public"))
        );
        after(seconds(4)).await;
        let older = caller.ask("tools/list", json!({})).await;
        let left = older.result()["ttlMs"].as_u64().expect("a ttl");
        assert!(left > 5_000 && left <= 6_000, "{left} ms are left");
        assert_eq!(proxy.got("echo", "tools/list").len(), 1);
        after(seconds(7)).await;
        caller.ask("tools/list", json!({})).await;
        assert_eq!(proxy.got("echo", "tools/list").len(), 2);
    });
}

#[test]
fn callers_of_different_capabilities_see_different_lists() {
    play(async {
        let choosy = script().on("initialize", |opening, say| {
            let asked = opening.value["params"]["capabilities"].get("sampling").is_some();
            let name = if asked { "for-askable" } else { "for-others" };
            say.result(
                opening,
                json!({
                    "protocolVersion": REVISION,
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": name, "version": "1"},
                }),
            );
        });
        let proxy = proxy().server("choosy", choosy.into()).start().await;
        let plain = proxy.legacy(REVISION).connect("choosy").await;
        let asked = proxy.legacy(REVISION).with(sampling()).connect("choosy").await;
        assert_eq!(plain.introduction["serverInfo"]["name"], "for-others");
        assert_eq!(asked.introduction["serverInfo"]["name"], "for-askable");
    });
}

#[test]
fn a_list_comes_as_the_server_wrote_it() {
    play(async {
        let tool = r#"{"inputSchema":{"type":"object","x":1.0,"y":100000000000000000000},"name":"a","name2":"\u0061","_meta":{"z":1,"a":2}}"#;
        let exact = script().on("tools/list", move |list, say| {
            say.line(&format!(
                r#"{{"id":{},"result":{{"tools":[{tool}],"_meta":{{"k":1e2}}}},"jsonrpc":"2.0"}}"#,
                list.id()
            ));
        });
        let proxy = proxy().server("exact", exact.into()).start().await;
        let caller = proxy.legacy(REVISION).connect("exact").await;
        let answer = caller.ask("tools/list", json!({})).await;
        assert!(answer.raw.contains(tool), "{}", answer.raw);
        assert_eq!(answer.result()["_meta"], serde_json::from_str::<Value>(r#"{"k":1e2}"#).expect("JSON"));
    });
}

#[test]
fn a_list_that_is_private_to_a_user_is_shown_to_no_other() {
    play(async {
        let asked = Rc::new(Cell::new(0));
        let count = asked.clone();
        let server = modern_script().on("tools/list", move |it, say| {
            count.set(count.get() + 1);
            if count.get() > 2 {
                return say.error(it, json!({"code": -32000, "message": "not now"}));
            }
            let tool = json!({"name": format!("of_{}", count.get()), "inputSchema": {"type": "object"}});
            say.result(
                it,
                json!({"resultType": "complete", "tools": [tool], "ttlMs": 60_000, "cacheScope": "private"}),
            );
        });
        let proxy = proxy().server("s", server.into()).start().await;
        let (one, other) = (proxy.modern().connect("s").await, proxy.modern().of_user(7).connect("s").await);
        let (first, second) = (one.request("tools/list", json!({})), other.request("tools/list", json!({})));
        assert_eq!(first.answer().await.names(), ["of_1"]);
        assert_eq!(second.answer().await.names(), ["of_2"], "it waited for the same list, and is of another user");
        let all = proxy.modern().connect("all").await;
        for caller in [one, all] {
            let refused = caller.ask("tools/list", json!({})).await;
            assert!(!refused.raw.contains("of_"), "what is known is the other's: {}", refused.raw);
        }
        assert_eq!(other.ask("tools/list", json!({})).await.names(), ["of_2"]);
    });
}

#[test]
fn who_comes_with_ever_new_capabilities_makes_mcpool_forget_nothing_that_others_need() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).start().await;
        let modest = proxy.legacy(REVISION).connect("all").await;
        let listed = modest.ask("resources/list", json!({})).await.result().clone();
        for number in 0..100 {
            let new = json!({ "experimental": { format!("x{number}"): {} } });
            drop(proxy.legacy(REVISION).with(new).of_user(7).connect("echo").await);
        }
        let uri = &listed["resources"][0]["uri"];
        assert!(uri.is_string(), "{listed}");
        modest.ask("resources/read", json!({ "uri": uri })).await.result();
    });
}
