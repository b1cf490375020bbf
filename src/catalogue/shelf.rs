//! Called by a catalogue for its file, which is written on a thread of its own: serialising a large list takes long, and so may
//! a disk. At most one record waits, the newest; what is written later is never older than what is there.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;

use super::kept;
use super::record::Record;

/// Where a catalogue is kept.
pub struct Shelf(Arc<Shared>);

struct Shared {
    file: PathBuf,
    /// What is to be written.
    next: Mutex<Option<Record>>,
    /// Held by whoever writes.
    disk: Mutex<()>,
}

impl Shelf {
    /// A file, which need not be there yet.
    pub fn new(file: PathBuf) -> Shelf {
        Shelf(Arc::new(Shared { file, next: Mutex::default(), disk: Mutex::default() }))
    }

    /// Has a record written soon, in place of one that still waits for that.
    pub fn put(&self, record: Record) {
        let waits = lock(&self.0.next).replace(record).is_some();
        if waits {
            // Whoever writes that one writes this instead.
            return;
        }
        match Handle::try_current() {
            Ok(runtime) => {
                let shared = self.0.clone();
                drop(runtime.spawn_blocking(move || shared.write()));
            }
            Err(_) => self.0.write(),
        }
    }

    /// Returns once everything that was put here is in the file, or cannot be written.
    pub fn settle(&self) {
        self.0.write();
    }
}

impl Shared {
    /// Writes what waits, whole or not at all, once nobody else does.
    fn write(&self) {
        let _alone = lock(&self.disk);
        let Some(record) = lock(&self.next).take() else { return };
        if let Err(error) = kept::write(&self.file, &record) {
            tracing::warn!(file = %self.file.display(), %error, "cannot save the catalogue; it will be fetched anew");
        }
    }
}

/// What it guards is whole even where somebody panicked.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::era::Era;

    #[tokio::test]
    async fn what_was_put_last_is_in_the_file_once_all_is_settled() {
        let dir = std::env::temp_dir().join(format!("mcpool-shelf-{}-{:x}", std::process::id(), fastrand::u64(..)));
        let file = dir.join("kept.json");
        let shelf = Shelf::new(file.clone());
        for lacks in [vec![Era::Legacy], vec![], vec![Era::Modern]] {
            shelf.put(Record { lacks, ..Record::default() });
        }
        shelf.settle();
        let kept: Record = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        assert_eq!(kept.lacks, [Era::Modern]);
        std::fs::remove_dir_all(&dir).unwrap();
        // Nothing waits, so nothing is written.
        shelf.settle();
        assert!(!file.exists());
    }
}
