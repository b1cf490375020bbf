//! Called by `household`: how a warden is told of servers, by a pipe of which the daemon waits for nothing. What does
//! not fit into it at once, as when a new warden is told of thousands of servers before it runs, follows as it reads.

use std::cell::RefCell;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Write};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::net::unix::pipe;
use tokio::sync::Notify;
use tokio::time::timeout;

/// What may wait, in bytes: lines of 200,000 servers.
const MOST: usize = 4 << 20;
/// How long a warden may read nothing of what waits for it.
const SILENCE: Duration = Duration::from_secs(10);

/// The daemon's side of the pipe.
pub struct Reports {
    pipe: PipeWriter,
    /// The same, as what can be waited for.
    room: pipe::Sender,
    waiting: RefCell<BytesMut>,
    more: Notify,
}

impl Reports {
    /// With the side that the warden reads from.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn open() -> io::Result<(PipeReader, Reports)> {
        let (reader, pipe) = io::pipe()?;
        // From here on neither of the two waits in a write.
        let room = pipe::Sender::from_owned_fd(pipe.try_clone()?.into())?;
        Ok((reader, Reports { pipe, room, waiting: RefCell::default(), more: Notify::new() }))
    }

    /// Tells it lines, or as much of them as there is room for; the rest waits.
    pub fn tell(&self, lines: &str) {
        let mut waiting = self.waiting.borrow_mut();
        let behind = !waiting.is_empty();
        waiting.extend_from_slice(lines.as_bytes());
        if behind || !write(&mut waiting, |lines| (&self.pipe).write(lines)) {
            self.more.notify_one();
        }
    }

    /// Delivers what waits, for as long as the warden reads. It is over when that takes nothing any more.
    pub async fn deliver(&self) {
        loop {
            if self.waiting.borrow().is_empty() {
                self.more.notified().await;
            }
            if self.waiting.borrow().len() > MOST {
                return;
            }
            let Ok(Ok(())) = timeout(SILENCE, self.room.writable()).await else { return };
            // Whether there was room for all of it shows at the next turn.
            let _ = write(&mut self.waiting.borrow_mut(), |lines| self.room.try_write(lines));
        }
    }
}

/// Writes what there is room for; says whether that was all. A warden that is gone needs nothing: the next one is told everything.
fn write(waiting: &mut BytesMut, mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> bool {
    while !waiting.is_empty() {
        match write(waiting) {
            Ok(written) => waiting.advance(written),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => waiting.clear(),
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use tokio::io::{AsyncBufReadExt, BufReader};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_warden_that_begins_to_read_late_is_told_of_ten_thousand_servers() {
        let (reader, reports) = Reports::open().unwrap();
        let told: Vec<String> = (0..10_000).map(|pid| format!("+{pid} 123456789")).collect();
        reports.tell(&(told[..5000].join("\n") + "\n"));
        told[5000..].iter().for_each(|line| reports.tell(&format!("{line}\n")));
        let reading = async {
            let pipe = pipe::Receiver::from_owned_fd(OwnedFd::from(reader)).unwrap();
            let mut lines = BufReader::new(pipe).lines();
            for line in &told {
                assert_eq!(lines.next_line().await.unwrap().as_ref(), Some(line));
            }
        };
        tokio::select! {
            () = reading => {}
            () = reports.deliver() => panic!("given up"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_warden_that_reads_nothing_is_given_up_and_one_that_is_gone_waited_for() {
        let (reader, reports) = Reports::open().unwrap();
        reports.tell(&"+1 1\n".repeat(100_000));
        let since = Instant::now();
        reports.deliver().await;
        assert!(since.elapsed() >= SILENCE, "{:?}", since.elapsed());
        drop(reader);
        assert!(timeout(SILENCE * 10, reports.deliver()).await.is_err(), "its end is told otherwise");
        assert!(reports.waiting.borrow().is_empty());
    }
}
