//! Started by the daemon: tells when the text of the config file has changed, or whether others can write it. Editors
//! put a new file in the place of the old one, and orchestrators turn a link on the way, so the directories are watched
//! and not the file. A digest of the text tells whether anything changed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::config::{Config, strict};

/// For so long nothing may happen before the file is looked at: whoever writes it may not be done.
const QUIET: Duration = Duration::from_millis(200);
/// It is looked at in any case after this long: the directory may never be quiet.
const LONGEST: Duration = Duration::from_secs(2);
/// How many links are followed, one behind the other.
const LINKS: usize = 8;

/// Watches one file.
pub struct Watch {
    file: PathBuf,
    /// None if the system does not tell of changes.
    watcher: Option<RecommendedWatcher>,
    events: mpsc::Receiver<()>,
    watched: BTreeSet<PathBuf>,
    /// When to look, and when at the latest.
    due: Option<(Instant, Instant)>,
    /// The text that was seen last.
    seen: Option<String>,
    /// Whether nobody else could write it then.
    trusted: bool,
}

impl Watch {
    /// Watches a file of which a text is known.
    pub fn new(file: PathBuf, seen: Option<String>) -> Watch {
        let (sender, events) = mpsc::channel(1);
        // On a thread of its own, which only knocks; if a knock waits already, that will do.
        let knock = move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| is_change(event.kind)) {
                let _ = sender.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(knock);
        let told = |error| tracing::warn!(%error, "changes of the config file are not noticed; use `mcpool reload`");
        let watcher = watcher.map_err(told).ok();
        let mut watch = Watch { file, watcher, events, watched: BTreeSet::new(), due: None, seen, trusted: true };
        watch.look_around();
        watch
    }

    /// Waits until the file has another text. It may be dropped and called again.
    pub async fn changed(&mut self) {
        loop {
            self.quiet().await;
            self.look_around();
            // A file that is gone or empty is about to be written.
            let text = Config::digest_of(&self.file);
            let trusted = self.is_trusted();
            if text.is_some() && (&text, trusted) != (&self.seen, self.trusted) {
                (self.seen, self.trusted) = (text, trusted);
                return;
            }
        }
    }

    /// Whether nobody else can write the file now.
    pub fn is_trusted(&self) -> bool {
        strict::open(&self.file).is_ok()
    }

    /// Notes that the file was read because somebody said so: if it was refused for who can write it, that may be mended,
    /// and was perhaps in this moment. `before`: whether nobody else could write it when the reading began.
    pub fn was_read(&mut self, before: bool) {
        self.trusted = before && self.is_trusted();
    }

    /// Waits until something has happened, and then nothing for a while.
    async fn quiet(&mut self) {
        loop {
            let knocked = match self.due {
                None => self.events.recv().await.is_some(),
                Some((due, _)) => tokio::select! {
                    knocked = self.events.recv() => knocked.is_some(),
                    () = sleep_until(due) => {
                        self.due = None;
                        return;
                    }
                },
            };
            if !knocked {
                return std::future::pending().await;
            }
            let now = Instant::now();
            let latest = self.due.map_or(now + LONGEST, |(_, latest)| latest);
            self.due = Some(((now + QUIET).min(latest), latest));
        }
    }

    /// Watches the directories on the way to the file, which may be others than before.
    fn look_around(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let wanted = directories(&self.file);
        for gone in self.watched.difference(&wanted) {
            // It may not be there any more.
            let _ = watcher.unwatch(gone);
        }
        // A directory that was replaced by another of its name has to be watched anew; for the others that means nothing.
        self.watched = wanted;
        for directory in &self.watched {
            if let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive) {
                tracing::warn!(directory = %directory.display(), %error, "changes of the config file may not be noticed");
            }
        }
    }
}

/// Whether something was changed; to read the file is an event too.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}

/// The directories in which a file stands and all links on the way to it.
fn directories(file: &Path) -> BTreeSet<PathBuf> {
    let mut directories = BTreeSet::new();
    let mut at = file.to_owned();
    for _ in 0..LINKS {
        let Some(parent) = at.parent().map(Path::to_owned) else { break };
        directories.insert(parent.clone());
        match fs::read_link(&at) {
            Ok(target) => at = parent.join(target),
            Err(_) => break,
        }
    }
    if let Some(parent) = fs::canonicalize(file).ok().as_deref().and_then(Path::parent) {
        directories.insert(parent.to_owned());
    }
    directories
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directory_on_the_way_to_the_file_is_watched() {
        let root = std::env::temp_dir().join(format!("mcpool-watch-{}-{:x}", std::process::id(), fastrand::u64(..)));
        let root = { fs::create_dir_all(root.join("v1")).map(|()| fs::canonicalize(&root)) };
        let root = root.unwrap().unwrap();
        fs::write(root.join("v1/mcpool.yaml"), "x").unwrap();
        std::os::unix::fs::symlink("v1", root.join("data")).unwrap();
        std::os::unix::fs::symlink("data/mcpool.yaml", root.join("mcpool.yaml")).unwrap();
        let expected: BTreeSet<PathBuf> = [root.clone(), root.join("data"), root.join("v1")].into();
        assert_eq!(directories(&root.join("mcpool.yaml")), expected);
        fs::remove_dir_all(root).unwrap();
    }

    #[tokio::test]
    async fn what_others_could_write_when_it_was_read_is_looked_at_again_even_if_that_is_mended_at_once() {
        let root = std::env::temp_dir().join(format!("mcpool-watch-{}-{:x}", std::process::id(), fastrand::u64(..)));
        fs::create_dir_all(&root).unwrap();
        let file = root.join("mcpool.yaml");
        fs::write(&file, "x").unwrap();
        let mut watch = Watch::new(file.clone(), Config::digest_of(&file));
        watch.was_read(false);
        fs::write(root.join("knock"), "").unwrap();
        tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.unwrap();
        fs::remove_dir_all(root).unwrap();
    }
}
