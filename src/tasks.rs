//! Called by whoever starts something that runs on its own: every task has a name, and its panic is told
//! instead of swallowed.

use std::future::Future;

use tokio::task::{JoinHandle, spawn_local};

/// Runs a task on this thread; it ends with the runtime at the latest.
pub fn spawn<F>(name: &'static str, task: F) -> JoinHandle<()>
where
    F: Future<Output = ()> + 'static,
{
    spawn_local(async move {
        let guard = Told(name);
        task.await;
        std::mem::forget(guard);
    })
}

/// Tells that a task did not come to its end by itself.
struct Told(&'static str);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.0, "a task of mcpool panicked; this is a bug of mcpool");
        }
    }
}
