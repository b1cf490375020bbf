//! What every fault is put to: the story of its test, and around it the four things that hold whatever a server does. Its
//! neighbours get all their answers and nothing else, the pool recovers, and no process and no descriptor is left.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::{Instant, interval, sleep};

use crate::caller::Caller;
use crate::place::{BAD_SERVER, Place};
use crate::{PATIENCE, eventually, within};

/// The longest that a neighbour's call may take. Much, because the machine may be busy; less than a call's time-out.
const UNHARMED: Duration = Duration::from_secs(5);

/// A server with a fault, and how its test goes.
pub struct Fault {
    pub server: Value,
    fellow: bool,
    modern: bool,
    tells_all: &'static [&'static str],
}

/// What a story is about.
pub struct Scene {
    pub place: Place,
    pub caller: Caller,
}

/// The server that has one fault of `bad_server`.
pub fn fault(words: &str) -> Fault {
    let args: Vec<&str> = words.split(' ').collect();
    server(json!({ "command": *BAD_SERVER, "args": args }))
}

/// Another server.
pub fn server(server: Value) -> Fault {
    let fault = Fault { server, fellow: false, modern: false, tells_all: &[] };
    // Short times, so that what takes a minute in earnest takes a second here.
    let fault = fault.set("recycle", json!({ "idle": "500ms" }));
    let fault = fault.set("timeout", json!({ "start": "10s", "discover": "1s", "call": "10s", "stop": "200ms" }));
    fault.set("breaker", json!({ "failures": 5, "open": "300ms", "open_max": "1s" }))
}

impl Fault {
    /// Sets a key of the server's config.
    pub fn set(mut self, key: &str, value: Value) -> Fault {
        self.server[key] = value;
        self
    }

    /// Another caller uses the same server meanwhile, and must not notice anything.
    pub fn with_a_fellow(self) -> Fault {
        Fault { fellow: true, ..self }
    }

    /// What the server may say to every caller of its own, by method: a fellow hears nothing else unasked.
    pub fn tells_all(self, methods: &'static [&'static str]) -> Fault {
        Fault { tells_all: methods, ..self }
    }

    /// The caller is of the modern era.
    pub fn modern(self) -> Fault {
        Fault { modern: true, ..self }
    }

    /// Runs the story and holds mcpool to what must be true whatever happens in it.
    pub async fn check(self, story: impl AsyncFnOnce(&mut Scene)) {
        LocalSet::new().run_until(self.checked(story)).await;
    }

    async fn checked(self, story: impl AsyncFnOnce(&mut Scene)) {
        let place = Place::with_daemon(&self.server);
        let before = place.descriptors();
        let mut neighbours = vec![Neighbour::of(&place, "good", &[])];
        if self.fellow {
            neighbours.push(Neighbour::of(&place, "bad", self.tells_all));
        }
        for neighbour in &neighbours {
            neighbour.is_served().await;
        }
        let caller = connect(&place, self.modern).await;
        let mut scene = Scene { place, caller };
        story(&mut scene).await;
        let Scene { place, mut caller } = scene;
        caller.is_even().await;
        for neighbour in neighbours {
            neighbour.leaves().await;
        }

        place.gets_well();
        recovers(&place, self.modern).await;

        drop(caller);
        nothing_is_left(&place, &before).await;
        place.ends().await;
    }
}

async fn connect(place: &Place, modern: bool) -> Caller {
    match modern {
        true => Caller::modern(&place.socket("bad")).await,
        false => Caller::legacy(&place.socket("bad")).await,
    }
}

/// Somebody who comes later is served, at most as late as mcpool says.
async fn recovers(place: &Place, modern: bool) {
    let clock = Instant::now();
    loop {
        let mut late = connect(place, modern).await;
        let answer = match late.opened.take() {
            Some(refused) => refused,
            None => late.call("echo", json!({ "late": true })).await,
        };
        let Some(retry) = answer.0["error"]["data"]["mcpool"]["retryAfterMs"].as_u64() else {
            assert_eq!(answer.text(), r#"{"late":true}"#);
            return late.is_even().await;
        };
        assert!(clock.elapsed() < PATIENCE, "the server never recovers: {}", answer.0);
        sleep(Duration::from_millis(retry)).await;
    }
}

/// When nobody calls any more, everything goes, and the daemon has open what it had at first.
async fn nothing_is_left(place: &Place, before: &[String]) {
    let all_stopped = || {
        let status = place.status();
        let stopped = |server: &Value| server["instances"].as_array().is_some_and(Vec::is_empty);
        status["servers"].as_array()?.iter().all(stopped).then_some(())
    };
    if !within(PATIENCE, all_stopped).await {
        panic!("not stopped: {}", place.status()["servers"]);
    }
    let none_left = || (place.processes().is_empty() && place.zombies().is_empty()).then_some(());
    let all_closed = || (place.descriptors().len() <= before.len()).then_some(());
    if !within(PATIENCE, none_left).await {
        panic!("left behind: {:?}, zombies: {:?}", place.processes(), place.zombies());
    }
    if !within(PATIENCE, all_closed).await {
        panic!("left open: {:?}, at first: {before:?}", place.descriptors());
    }
}

/// A caller that goes on calling, and gets the right answer in time each time, and nothing unasked but what is meant for all.
struct Neighbour {
    answers: Rc<Cell<u64>>,
    leave: Rc<Cell<bool>>,
    calling: JoinHandle<()>,
}

impl Neighbour {
    fn of(place: &Place, endpoint: &str, for_all: &'static [&'static str]) -> Neighbour {
        let (answers, leave) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
        let (socket, endpoint) = (place.socket(endpoint), endpoint.to_owned());
        let (counted, left) = (answers.clone(), leave.clone());
        let calling = tokio::task::spawn_local(async move {
            let mut caller = Caller::legacy(&socket).await;
            let mut pace = interval(Duration::from_millis(20));
            while !left.get() {
                pace.tick().await;
                let (number, clock) = (counted.get(), Instant::now());
                let answer = caller.call("echo", json!({ "number": number })).await;
                assert_eq!(answer.text(), json!({ "number": number }).to_string(), "a neighbour on {endpoint}");
                // Who shares the very process stands behind what that says.
                let in_time = endpoint == "bad" || clock.elapsed() < UNHARMED;
                assert!(in_time, "a neighbour on {endpoint} waited for {:?}", clock.elapsed());
                counted.set(number + 1);
            }
            caller.is_even().await;
            let astray = |message: &&Value| message["method"].as_str().is_none_or(|method| !for_all.contains(&method));
            let astray: Vec<&Value> = caller.heard_so_far().await.iter().filter(astray).take(3).collect();
            assert!(astray.is_empty(), "a neighbour on {endpoint} was told unasked: {astray:?}");
        });
        Neighbour { answers, leave, calling }
    }

    /// Waits until it has an answer.
    async fn is_served(&self) {
        eventually("a neighbour to be served", || (self.answers.get() > 0 || self.calling.is_finished()).then_some(()))
            .await;
    }

    /// It was served to the end.
    async fn leaves(self) {
        self.leave.set(true);
        self.calling.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        assert!(self.answers.get() > 1, "a neighbour was not served meanwhile");
    }
}
