//! Called by whoever starts something that runs on its own: every task has a name, and its panic is told
//! instead of swallowed.

use std::future::Future;
use std::panic::resume_unwind;

use tokio::task::{JoinHandle, LocalSet, spawn_local};

/// Runs a program on this thread, and the tasks that it spawns for as long as it runs.
pub async fn run<F>(program: F) -> F::Output
where
    F: Future<Output: 'static> + 'static,
{
    let tasks = LocalSet::new();
    // A task like the others: what `run_until` is given would be asked whenever any of them has something to do.
    let program = tasks.spawn_local(program);
    // It ends by itself or panics, since nobody aborts it.
    tasks.run_until(program).await.unwrap_or_else(|error| resume_unwind(error.into_panic()))
}

/// Runs a task on this thread; it ends with the runtime at the latest.
pub fn spawn<F>(name: &'static str, task: F) -> JoinHandle<()>
where
    F: Future<Output = ()> + 'static,
{
    // In a place of its own: else there would be room for it twice, before and after it begins.
    let task = Box::pin(task);
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
