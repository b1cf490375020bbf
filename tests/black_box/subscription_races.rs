//! Callers that change their minds faster than the server answers: what they want counts from when they say it, the server
//! is brought there by one request at a time, and each is answered in turn.

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::{Value, json};

use crate::support::{Caller, Heard, Say, Script, after, legacy, play, proxy, script, seconds, settled};

const REVISION: &str = "2025-06-18";
const UPDATED: &str = "notifications/resources/updated";
const URI: &str = "demo://it";

/// What a server was told about subscriptions and has not answered: it answers when the test says so.
#[derive(Clone, Default)]
struct Held(Rc<RefCell<Vec<(Say, Value)>>>);

impl Held {
    fn hold(&self, heard: &Heard, say: &Say) {
        self.0.borrow_mut().push((say.clone(), heard.value.clone()));
    }

    fn methods(&self) -> Vec<String> {
        self.0.borrow().iter().map(|(_, value)| value["method"].as_str().expect("a method").to_owned()).collect()
    }

    /// The server answers what it was asked first, and whatever it is asked then stays unanswered.
    async fn answer(&self) {
        let (say, value) = self.0.borrow_mut().remove(0);
        say.result(&Heard { value }, json!({}));
        settled().await;
    }

    async fn refuse(&self) {
        let (say, value) = self.0.borrow_mut().remove(0);
        say.error(&Heard { value }, json!({"code": -32002, "message": "there is no such thing"}));
        settled().await;
    }

    async fn answer_all(&self) {
        while !self.0.borrow().is_empty() {
            self.answer().await;
        }
    }

    /// A server whose `touch` says that the resource changed.
    fn server(&self) -> Script {
        let (one, other) = (self.clone(), self.clone());
        script()
            .capable(json!({"tools": {}, "resources": {"subscribe": true}}))
            .on("resources/subscribe", move |heard, say| one.hold(heard, say))
            .on("resources/unsubscribe", move |heard, say| other.hold(heard, say))
            .on("tools/call", |heard, say| {
                say.notify(UPDATED, json!({"uri": URI}));
                say.text(heard, "done");
            })
    }
}

fn subscribe(caller: &Caller) -> crate::support::Pending<'_> {
    caller.request("resources/subscribe", json!({"uri": URI}))
}

fn unsubscribe(caller: &Caller) -> crate::support::Pending<'_> {
    caller.request("resources/unsubscribe", json!({"uri": URI}))
}

#[test]
fn who_unsubscribes_while_another_is_being_subscribed_takes_nothing_from_it() {
    play(async {
        let held = Held::default();
        let proxy = proxy().server("one", held.server().into()).start().await;
        let a = proxy.legacy(REVISION).connect("one").await;
        let b = proxy.legacy(REVISION).connect("one").await;
        let c = proxy.legacy(REVISION).connect("one").await;
        let (first, second) = (subscribe(&a), subscribe(&b));
        settled().await;
        assert_eq!(held.methods(), ["resources/subscribe"], "one request at a time");
        let leaves = unsubscribe(&a);
        settled().await;
        held.answer().await;
        first.answer().await.result();
        leaves.answer().await.result();
        second.answer().await.result();
        held.answer_all().await;
        subscribe(&c).answer().await.result();
        a.call("touch", json!({})).await.result();
        b.heard(UPDATED).await;
        c.heard(UPDATED).await;
        a.hears_nothing().await;
    });
}

#[test]
fn who_subscribes_behind_one_that_comes_and_goes_in_one_breath_is_subscribed() {
    play(async {
        let held = Held::default();
        let proxy = proxy().server("one", held.server().into()).start().await;
        let a = proxy.legacy(REVISION).connect("one").await;
        let b = proxy.legacy(REVISION).connect("one").await;
        let (comes, goes) = (subscribe(&a), unsubscribe(&a));
        settled().await;
        let stays = subscribe(&b);
        settled().await;
        held.answer_all().await;
        comes.answer().await.result();
        goes.answer().await.result();
        stays.answer().await.result();
        b.call("touch", json!({})).await.result();
        b.heard(UPDATED).await;
        a.hears_nothing().await;
        let told: Vec<usize> =
            ["resources/subscribe", "resources/unsubscribe"].map(|method| proxy.got("one", method).len()).into();
        assert_eq!(told, [1, 0]);
    });
}

#[test]
fn the_server_is_subscribed_for_nobody_when_its_caller_leaves_before_the_answer() {
    play(async {
        let held = Held::default();
        let proxy = proxy().server("one", held.server().into()).start().await;
        let a = proxy.legacy(REVISION).connect("one").await;
        subscribe(&a);
        settled().await;
        a.hang_up().await;
        settled().await;
        assert_eq!(held.methods(), ["resources/subscribe", "resources/unsubscribe"]);
        held.answer_all().await;
        assert_eq!(proxy.instances("one")[0]["subscriptions"], 0);
    });
}

#[test]
fn a_subscription_that_ends_is_ended_before_the_next_one_begins() {
    play(async {
        let held = Held::default();
        let proxy = proxy().server("one", held.server().into()).start().await;
        let a = proxy.legacy(REVISION).connect("one").await;
        let b = proxy.legacy(REVISION).connect("one").await;
        let first = subscribe(&a);
        settled().await;
        held.answer().await;
        first.answer().await.result();
        let ends = unsubscribe(&a);
        settled().await;
        let begins = subscribe(&b);
        settled().await;
        assert_eq!(held.methods(), ["resources/unsubscribe"]);
        held.answer().await;
        ends.answer().await.result();
        assert_eq!(held.methods(), ["resources/subscribe"]);
        held.answer().await;
        begins.answer().await.result();
        b.call("touch", json!({})).await.result();
        b.heard(UPDATED).await;
    });
}

#[test]
fn what_the_server_refuses_one_it_refuses_those_who_came_meanwhile_in_the_same_words() {
    play(async {
        let held = Held::default();
        let proxy = proxy().server("one", held.server().into()).start().await;
        let a = proxy.legacy(REVISION).connect("one").await;
        let b = proxy.legacy(REVISION).connect("one").await;
        let (first, second) = (subscribe(&a), subscribe(&b));
        settled().await;
        held.refuse().await;
        for refused in [first.answer().await, second.answer().await] {
            assert_eq!((refused.code(), refused.message()), (-32002, "there is no such thing"));
        }
        subscribe(&b);
        settled().await;
        assert_eq!(held.methods(), ["resources/subscribe"], "who comes later is asked for anew");
    });
}

#[test]
fn under_a_session_lease_each_caller_is_subscribed_at_its_own_process() {
    play(async {
        let held = Held::default();
        let proxy = proxy()
            .server("one", held.server().into())
            .set(|server| server.lease = mcpool::config::LeaseChoice::Session)
            .start()
            .await;
        let a = proxy.legacy(REVISION).connect("one").await;
        let b = proxy.legacy(REVISION).connect("one").await;
        a.call("touch", json!({})).await.result();
        b.call("touch", json!({})).await.result();
        let (first, second) = (subscribe(&a), subscribe(&b));
        settled().await;
        held.answer_all().await;
        first.answer().await.result();
        second.answer().await.result();
        a.call("touch", json!({})).await.result();
        a.heard(UPDATED).await;
        b.hears_nothing().await;
        b.call("touch", json!({})).await.result();
        b.heard(UPDATED).await;
        a.hears_nothing().await;
    });
}

#[test]
fn an_unsubscribe_waits_for_its_subscribe_that_waits_for_a_place() {
    play(async {
        let held = Held::default();
        let proxy = proxy().server("one", held.server().into()).start().await;
        let a = proxy.legacy(REVISION).connect("one").await;
        a.call("touch", json!({})).await.result();
        proxy.process("one", 0).crash().await;
        let (comes, goes) = (subscribe(&a), unsubscribe(&a));
        settled().await;
        held.answer_all().await;
        comes.answer().await.result();
        goes.answer().await.result();
        a.call("touch", json!({})).await.result();
        a.hears_nothing().await;
        assert_eq!(proxy.instances("one")[0]["subscriptions"], 0);
    });
}

#[test]
fn a_thousand_subscriptions_of_a_process_that_ended_come_back_a_few_at_a_time_and_take_nobodys_place() {
    play(async {
        let proxy = proxy().server("echo", legacy(|_| {})).set(|server| server.queue.size = 1).start().await;
        let a = proxy.legacy(REVISION).connect("echo").await;
        for n in 1..=900 {
            a.ask("resources/subscribe", json!({"uri": format!("demo://note/{n}")})).await;
        }
        let had = proxy.instances("echo")[0]["subscriptions"].as_u64().expect("a count");
        assert!(had > 0);
        proxy.process("echo", 0).crash().await;
        for _ in 0..3 {
            a.call("echo", json!({"text": "in between"})).await.result();
        }
        after(seconds(1)).await;
        assert_eq!(proxy.instances("echo")[0]["subscriptions"].as_u64(), Some(had), "all are back at once");
    });
}

#[test]
fn no_more_than_a_few_requests_of_mcpools_own_are_with_a_server_at_once() {
    play(async {
        let held = Held::default();
        let one = |server: &mut mcpool::config::Server| (server.instances.max, server.concurrency) = (1, 200);
        let proxy = proxy().server("one", held.server().into()).set(one).start().await;
        let a = proxy.legacy(REVISION).connect("one").await;
        let all: Vec<_> =
            (0..200).map(|n| a.request("resources/subscribe", json!({"uri": format!("demo://{n}")}))).collect();
        settled().await;
        held.answer_all().await;
        for one in all {
            one.answer().await.result();
        }
        proxy.process("one", 0).crash().await;
        settled().await;
        let mut back = 0;
        while !held.methods().is_empty() {
            assert!(held.methods().len() <= 32, "{} at once", held.methods().len());
            back += 1;
            held.answer().await;
        }
        assert_eq!(back, 200);
        a.call("touch", json!({})).await.result();
    });
}
