//! Looks again and again at what the daemon keeps, in a run with hostile peers: no more than its config allows, whoever wants it.

use std::rc::Rc;
use std::time::Duration;

use mcpool::mux::Handle;
use serde_json::Value;
use tokio::time::sleep;

use super::field::Field;

/// How often.
const EVERY: Duration = Duration::from_millis(500);

/// Watches for as long as anything runs.
pub async fn watch(field: Rc<Field>, mux: Handle) {
    loop {
        sleep(EVERY).await;
        let status = mux.with(|mux| mux.status());
        for (what, there, most) in measures(&field, &status) {
            if there > most as u64 {
                field.fault(format!("{what}: {there}, and {most} at most: {status}"));
            }
        }
    }
}

/// What there is of something, and how much there may be.
fn measures(field: &Field, status: &Value) -> Vec<(String, u64, usize)> {
    let limits = &field.plan.config.limits;
    let number = |value: &Value, key: &str| value[key].as_u64().unwrap_or_default();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut all = vec![("held calls".to_owned(), number(status, "held"), limits.held_total)];
    for caller in list(&status["callers"]) {
        let name = format!("caller {caller}");
        all.push((format!("calls in flight of {name}"), number(&caller, "in_flight"), limits.in_flight));
        all.push((format!("unread bytes of {name}"), number(&caller, "buffered_bytes"), limits.outgoing));
    }
    for (server, config) in list(&status["servers"]).iter().zip(&field.plan.config.servers) {
        // Those that wait for a start take no place in the queue; nor do the few requests of mcpool's own.
        let most = config.queue.size + config.instances.processes() * config.concurrency + 64;
        all.push((format!("calls that wait for {}", config.name), number(server, "queue"), most));
        for instance in list(&server["instances"]) {
            let name = format!("instance {} of {}", instance["id"], config.name);
            all.push((format!("bytes that wait for {name}"), number(&instance, "backlog_bytes"), limits.backlog));
            all.push((format!("asks of {name}"), number(&instance, "asks"), limits.asks));
            all.push((format!("calls of {name}"), number(&instance, "in_flight"), config.concurrency + 64));
        }
    }
    all
}
