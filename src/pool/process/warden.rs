//! `mcpool warden`, which every daemon starts and nobody types: a process that only waits for the daemon's end and
//! then ends what is left of its servers. No other process can do that after `kill -9`: the daemon itself is
//! gone, and what a dying parent can arrange with the system reaches children, but not theirs.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use super::family::Family;
use super::sys;
use super::tag::Tags;
use super::tree;

/// What is left of the daemon's servers has this long to end by itself after SIGTERM.
const GRACE: Duration = Duration::from_millis(800);
/// When the warden ends, whatever is left: nobody is to wait for two seconds.
const LONGEST: Duration = Duration::from_millis(1900);
/// How often it looks.
const STEP: Duration = Duration::from_millis(40);
/// How often in a row nobody must be there: a process may be seen neither by its old parent nor by its new one.
const CERTAIN: u32 = 2;

/// Tells the warden that a server's first process was started.
pub fn arrival(pid: u32, start: u64) -> String {
    format!("+{pid} {start}\n")
}

/// Tells the warden that a server is gone.
pub fn departure(pid: u32) -> String {
    format!("-{pid}\n")
}

/// Waits for the end of stdin, which is the daemon's, and ends its servers: those it was told of, and whoever has a
/// mark that begins with `mark`, or one of its tags.
///
/// # Errors
/// It was not started by a daemon.
pub async fn watch(mark: &str, tags: Option<Tags>) -> io::Result<()> {
    // Who tells everybody to end means the daemon, whose end is what the warden waits for.
    let kinds = [SignalKind::terminate, SignalKind::interrupt, SignalKind::hangup, SignalKind::quit];
    let _heard: Vec<_> = kinds.map(|kind| signal(kind())).into_iter().collect::<io::Result<_>>()?;
    sys::be_called(c"mcpool-warden");
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    let mut lines = BufReader::with_capacity(512, pipe::Receiver::from_owned_fd(stdin)?).lines();
    let mut leaders = HashMap::new();
    while let Ok(Some(line)) = lines.next_line().await {
        note(&line, &mut leaders);
    }
    end(Family::new(leaders, mark.to_owned(), tags.map(Tags::all).unwrap_or_default())).await;
    Ok(())
}

fn note(line: &str, leaders: &mut HashMap<u32, u64>) {
    if let Some((pid, start)) = line.strip_prefix('+').and_then(|told| told.split_once(' '))
        && let (Ok(pid), Ok(start)) = (pid.parse(), start.parse())
    {
        leaders.insert(pid, start);
    } else if let Some(Ok(pid)) = line.strip_prefix('-').map(str::parse) {
        leaders.remove(&pid);
    }
}

async fn end(mut family: Family) {
    let since = Instant::now();
    let mut absent = 0;
    while absent < CERTAIN && since.elapsed() < LONGEST {
        // Whoever is given this orphan is given the daemon's others too, be it during the look.
        let before = parent();
        // Marks of everybody: whom it was not told of may have started before whom it was.
        let entries = tree::all(Some(0));
        family.see(&entries, &[before, parent()]);
        absent = if family.alive() { 0 } else { absent + 1 };
        family.tell(if since.elapsed() < GRACE { Signal::TERM } else { Signal::KILL });
        sleep(STEP).await;
    }
}

/// The parent of this process; 0, which is nobody, if that is outside of what it sees.
fn parent() -> u32 {
    rustix::process::getppid().map_or(0, |parent| parent.as_raw_pid().unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_understood_and_the_rest_does_no_harm() {
        let mut leaders = HashMap::new();
        for line in [&arrival(7, 70), &arrival(8, 80), &departure(7), "", "+", "+x y", "-", "-9"] {
            note(line.trim_end(), &mut leaders);
        }
        assert_eq!(leaders, HashMap::from([(8, 80)]));
    }
}
