//! Called by every test here: a proxy with its servers and callers in one thread, under a clock that stands still
//! while anything can run. So nothing is slow, nothing depends on chance, and "nothing comes" can be told at once.

mod answer;
mod caller;
mod moody;
mod proxy;
mod rounds;
mod script;
mod servers;
mod wire;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Builder;
use tokio::task::LocalSet;

pub use answer::Answer;
pub use caller::{Ask, Caller, Pending};
pub use moody::{fragile, moody, tools};
pub use proxy::{Proxy, Setup, named, proxy};
pub use rounds::{obliging, sample};
pub use script::{Heard, Say, Script, modern_script, script};
pub use servers::{Behaviour, Launched, both_eras, legacy, modern, mute, unstartable};

/// Longer than every deadline of mcpool: what has not come by then never comes.
pub const FOR_EVER: Duration = Duration::from_secs(2 * 3600);

thread_local! {
    /// Where parts of the multiplexer did not agree after a turn.
    static DISCORD: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
}

/// Runs a test. After each of its turns the parts of the multiplexer have to agree.
pub fn play(test: impl Future<Output = ()>) {
    #[cfg(debug_assertions)]
    mcpool::mux::check::report_to(|fault| DISCORD.with_borrow_mut(|faults| faults.extend([fault])));
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    LocalSet::new().block_on(&runtime, test);
    let discord = DISCORD.take();
    assert!(discord.is_empty(), "parts of the multiplexer did not agree: {discord:#?}");
}

/// Until nothing moves any more: the clock goes on only when no task can run.
pub async fn settled() {
    after(Duration::from_millis(1)).await;
}

/// Lets that much time pass, with everything that is due in it.
pub async fn after(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Seconds, as the tests read better with.
pub fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// The capability to be asked for a sample.
pub fn sampling() -> Value {
    json!({ "sampling": {} })
}

/// The capability to be asked to fill in a form.
pub fn elicitation() -> Value {
    json!({ "elicitation": {} })
}

/// The capability to be asked to visit a page as well.
pub fn elicitation_by_url() -> Value {
    json!({ "elicitation": { "form": {}, "url": {} } })
}

/// Everything that a caller can be asked.
pub fn everything() -> Value {
    json!({ "sampling": {}, "elicitation": { "form": {}, "url": {} }, "roots": {} })
}

/// The capability of modern callers to take a task for an answer.
pub fn tasks() -> Value {
    json!({ "extensions": { "io.modelcontextprotocol/tasks": {} } })
}

/// Puts the members of one JSON object into another.
fn merge(into: &mut Value, from: &Value) {
    match (into.as_object_mut(), from.as_object()) {
        (Some(into), Some(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        _ => *into = from.clone(),
    }
}
