//! What happens to the servers from outside: killed, stopped for a while, restarted, configured anew.

use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::account::Account;
use super::daemon::Daemon;
use super::servers::SERVERS;

/// Does harm until `end`, then sets everything going again.
pub async fn rage(daemon: Rc<Daemon>, account: Account, seed: u64, end: Instant) {
    let mut chance = Rng::with_seed(seed);
    let mut stopped: Vec<(Instant, u32)> = Vec::new();
    while Instant::now() < end {
        sleep(Duration::from_millis(chance.u64(20..400))).await;
        let choice = chance.u32(..100);
        let turn = chance.usize(..1000);
        stopped.retain(|(until, pid)| *until > Instant::now() || !signal(*pid, Signal::CONT));
        let done = match choice {
            0..4 => daemon.reload(u64::from(choice)).map(|()| account.count("reloads")),
            4..8 => {
                let server = SERVERS[turn % SERVERS.len()].name;
                account.count("restarts");
                daemon.order(&format!("restart {server}")).await.map(drop)
            }
            _ => daemon.status().await.map(|status| {
                let Some(pid) = victim(&status, turn) else { return };
                match choice {
                    8..20 => {
                        account.count("instances stopped for a while");
                        signal(pid, Signal::STOP);
                        stopped.push((Instant::now() + Duration::from_millis(chance.u64(100..5000)), pid));
                    }
                    20..30 => {
                        account.count("instances told to end");
                        signal(pid, Signal::TERM);
                    }
                    30..65 => {
                        account.count("instances killed");
                        signal(pid, Signal::KILL);
                    }
                    _ => {}
                }
            }),
        };
        if let Err(error) = done {
            account.wrong(format!("the daemon cannot be talked to: {error}"));
        }
    }
    for (_, pid) in stopped {
        signal(pid, Signal::CONT);
    }
}

/// One of all instances.
fn victim(status: &Value, turn: usize) -> Option<u32> {
    let servers = status["servers"].as_array().into_iter().flatten();
    let instances = servers.flat_map(|server| server["instances"].as_array().into_iter().flatten());
    let pids: Vec<u64> = instances.filter_map(|instance| instance["pid"].as_u64()).collect();
    u32::try_from(*pids.get(turn % pids.len().max(1))?).ok()
}

/// Whether it is over and done: sent, or nobody is there any more.
fn signal(pid: u32, signal: Signal) -> bool {
    i32::try_from(pid).ok().and_then(Pid::from_raw).is_some_and(|pid| {
        // It may be gone by itself.
        let _ = kill_process(pid, signal);
        true
    })
}
