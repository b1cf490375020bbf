//! Called by `connect`: one wait for all its sides. On Linux the system remembers what is asked of each, which seldom
//! changes from one line to the next; elsewhere it is told each time.

#[cfg(target_os = "linux")]
mod epoll;
#[cfg(any(test, not(target_os = "linux")))]
mod poll;

use std::time::Duration;

use rustix::event::{PollFlags, Timespec};
use smallvec::SmallVec;

#[cfg(target_os = "linux")]
pub use epoll::{Watch, Watched};
#[cfg(not(target_os = "linux"))]
pub use poll::{Watch, Watched};

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Side {
    Signals,
    News,
    Output,
    Daemon,
    Input,
}

impl Side {
    const ALL: [Side; 5] = [Side::Signals, Side::News, Side::Output, Side::Daemon, Side::Input];
}

/// The sides where there is something to do, and what it is.
pub type Came = SmallVec<[(Side, PollFlags); Side::ALL.len()]>;

/// How long the system is to wait: rounded up, so that what is waited for is past when it is looked at.
fn timeout(left: Option<Duration>) -> Option<Timespec> {
    left.and_then(|left| Timespec::try_from(left + Duration::from_micros(50)).ok())
}

#[cfg(test)]
mod tests {
    use std::io::{Write, pipe};

    use super::*;

    /// What a pipe and a file show, round by round, with each way of waiting.
    macro_rules! shown {
        ($way:ident) => {{
            let ((theirs, mut ours), mut watch) = (pipe().unwrap(), $way::Watch::new().unwrap());
            let (mut theirs, mut file) = ($way::Watched::new(theirs), $way::Watched::new(tempfile()));
            let mut round = |pipe: Option<PollFlags>, of_file: Option<PollFlags>| {
                let mut round = watch.round();
                round.ask(Side::Input, &mut theirs, pipe).unwrap();
                round.ask(Side::Output, &mut file, of_file).unwrap();
                round.wait(Some(Duration::ZERO)).unwrap().into_vec()
            };
            let mut told = vec![round(Some(PollFlags::IN), None)];
            ours.write_all(b"a").unwrap();
            for pipe in [Some(PollFlags::IN), None, Some(PollFlags::empty()), Some(PollFlags::IN)] {
                told.push(round(pipe, None));
            }
            for of_file in [Some(PollFlags::OUT), Some(PollFlags::empty()), None] {
                told.push(round(None, of_file));
            }
            drop(ours);
            told.push(round(Some(PollFlags::empty()), None));
            told
        }};
    }

    fn tempfile() -> std::fs::File {
        let path = std::env::temp_dir().join(format!("mcpool-watch-{:016x}", fastrand::u64(..)));
        let file = std::fs::File::create(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        file
    }

    #[test]
    fn only_what_is_asked_is_told_and_that_a_side_is_gone_and_a_file_is_always_ready() {
        let read = vec![(Side::Input, PollFlags::IN)];
        let written = vec![(Side::Output, PollFlags::OUT)];
        let gone = vec![(Side::Input, PollFlags::HUP)];
        let told = [vec![], read.clone(), vec![], vec![], read, written, vec![], vec![], gone];
        #[cfg(target_os = "linux")]
        assert_eq!(shown!(epoll), told);
        assert_eq!(shown!(poll), told);
    }
}
