//! What a server says of a subscription counts, also where it speaks the other era: who subscribes hears what it granted, and
//! the one stream to it is told one thing at a time.

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::{Value, json};

use crate::support::{Caller, Heard, Proxy, Say, Script, legacy, modern_script, play, proxy, settled};

const REVISION: &str = "2025-06-18";
const UPDATED: &str = "notifications/resources/updated";
const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
const NOTE: &str = "demo://note/1";

/// Streams that a modern server has not acknowledged.
#[derive(Clone, Default)]
struct Streams(Rc<RefCell<Vec<(Say, Value)>>>);

impl Streams {
    fn server(&self) -> Script {
        let streams = self.0.clone();
        modern_script().on("subscriptions/listen", move |heard: &Heard, say: &Say| {
            streams.borrow_mut().push((say.clone(), heard.value.clone()));
        })
    }

    /// Acknowledges the oldest one with that, or with all that it asks for.
    async fn acknowledge(&self, granted: Option<Value>) {
        let (say, value) = self.0.borrow_mut().remove(0);
        let granted = granted.unwrap_or_else(|| value["params"]["notifications"].clone());
        say.notify(ACKNOWLEDGED, json!({"_meta": {SUBSCRIPTION: value["id"]}, "notifications": granted}));
        settled().await;
    }

    async fn acknowledge_all(&self) {
        while self.count() > 0 {
            self.acknowledge(None).await;
        }
    }

    /// A legacy caller of such a server, whose first streams are acknowledged.
    async fn caller(&self) -> (Proxy, Caller) {
        let proxy = proxy().server("new", self.server().into()).start().await;
        let caller = proxy.legacy(REVISION).connect("new").await;
        settled().await;
        self.acknowledge_all().await;
        (proxy, caller)
    }

    fn count(&self) -> usize {
        self.0.borrow().len()
    }
}

#[test]
fn a_legacy_caller_is_told_when_a_modern_server_does_not_tell_of_a_resource() {
    play(async {
        let streams = Streams::default();
        let (_proxy, caller) = streams.caller().await;
        let subscribes = caller.request("resources/subscribe", json!({"uri": NOTE}));
        settled().await;
        assert_eq!(streams.count(), 1);
        streams.acknowledge(Some(json!({"toolsListChanged": true}))).await;
        let refused = subscribes.answer().await;
        assert_eq!(refused.code(), -32002, "{}", refused.raw);
        assert!(refused.message().contains(NOTE), "{}", refused.raw);
    });
}

#[test]
fn a_legacy_caller_is_subscribed_when_the_modern_server_has_said_so_and_not_before() {
    play(async {
        let streams = Streams::default();
        let (_proxy, caller) = streams.caller().await;
        let first = caller.request_as(json!("comes"), "resources/subscribe", json!({"uri": NOTE}));
        let second = caller.request_as(json!("goes"), "resources/unsubscribe", json!({"uri": NOTE}));
        let third = caller.request_as(json!("stays"), "resources/subscribe", json!({"uri": NOTE}));
        settled().await;
        streams.acknowledge_all().await;
        for one in [first, second, third] {
            assert_eq!(*one.answer().await.result(), json!({}));
        }
    });
}

#[test]
fn streams_that_come_while_the_server_is_told_of_one_are_asked_for_together() {
    play(async {
        let streams = Streams::default();
        let proxy = proxy().server("new", streams.server().into()).start().await;
        let mut callers = Vec::new();
        for _ in 0..20 {
            callers.push(proxy.modern().connect("new").await);
        }
        let mut open = Vec::new();
        for (n, caller) in callers.iter().enumerate() {
            let wants = json!({"notifications": {"resourceSubscriptions": [format!("demo://{n}")]}});
            open.push(caller.request("subscriptions/listen", wants));
            settled().await;
        }
        assert_eq!(streams.count(), 1);
        streams.acknowledge(None).await;
        assert_eq!(streams.count(), 1, "one more, for all the others");
        streams.acknowledge(None).await;
        for caller in &callers {
            caller.heard(ACKNOWLEDGED).await;
        }
        assert_eq!(proxy.got("new", "subscriptions/listen").len(), 2);
    });
}

#[test]
fn a_stream_that_is_the_first_word_to_a_legacy_server_that_never_ran_waits_until_it_has_introduced_itself() {
    play(async {
        let proxy = proxy()
            .server("old", legacy(|_| {}))
            .set(|server| server.era = mcpool::config::EraChoice::Legacy)
            .start()
            .await;
        let caller = proxy.modern().open("old").await.0;
        let wants = json!({"toolsListChanged": true, "resourceSubscriptions": [NOTE]});
        caller.request_as(json!("l"), "subscriptions/listen", json!({"notifications": wants}));
        let heard = caller.heard(ACKNOWLEDGED).await;
        assert_eq!(heard["params"]["notifications"], wants);
        caller.call("touch", json!({"uri": NOTE})).await.result();
        assert_eq!(caller.heard(UPDATED).await["params"]["uri"], NOTE);
    });
}
