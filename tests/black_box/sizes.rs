//! How many instances there are, and for whom: kinds of clients have places of their own, people take none while they
//! think, and who makes kinds up waits.

use serde_json::json;

use crate::support::{elicitation, legacy, play, proxy, seconds, settled};

const REVISION: &str = "2025-06-18";

#[test]
fn five_projects_take_turns_on_five_processes() {
    play(async {
        let proxy = proxy().server("files", legacy(|options| options.ask_roots = true)).start().await;
        let mut callers = Vec::new();
        for project in ["file:///a", "file:///b", "file:///c", "file:///d", "file:///e"] {
            callers.push(proxy.legacy(REVISION).with_roots(&[project]).connect("files").await);
        }
        let mut first = Vec::new();
        for caller in &callers {
            first.push(caller.instance().await);
        }
        for _ in 0..3 {
            for (caller, own) in callers.iter().zip(&first) {
                assert_eq!(&caller.instance().await, own);
            }
        }
        assert_eq!(proxy.server("files")["stopped"]["gives_way"], json!(null));
    });
}

#[test]
fn people_who_think_keep_nobody_waiting() {
    play(async {
        let narrow = |server: &mut mcpool::config::Server| {
            (server.instances.max, server.queue.timeout) = (2, seconds(4));
        };
        let proxy = proxy().server("echo", legacy(|_| {})).set(narrow).start().await;
        let mut asked = Vec::new();
        for _ in 0..2 {
            asked.push(proxy.legacy(REVISION).with(elicitation()).connect("echo").await);
        }
        let open: Vec<_> = asked.iter().map(|caller| caller.begin("ask_elicit", json!({"message": "?"}))).collect();
        for caller in &asked {
            drop(caller.asked("elicitation/create").await);
        }
        settled().await;
        let other = proxy.legacy(REVISION).with(elicitation()).connect("echo").await;
        assert_eq!(other.call("echo", json!({})).await.text(), "{}");
        let strange = proxy.legacy("2024-11-05").connect("echo").await;
        assert_eq!(strange.call("echo", json!({})).await.text(), "{}");
        drop(open);
    });
}
