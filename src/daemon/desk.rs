//! Called by the daemon: the admin socket and whoever answers there.

use std::rc::Rc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::admin::{self, Order};
use crate::endpoint::entrance::Entrance;
use crate::endpoint::listener::{Listener, Taken};
use crate::mux::Handle;
use crate::tasks;

/// Who may come there.
#[derive(Clone)]
pub struct Visitors {
    pub entrance: Rc<Entrance>,
    /// How many at once.
    pub most: usize,
}

/// The admin socket, as long as this is not closed.
pub struct Desk {
    listener: Rc<Listener>,
    task: JoinHandle<()>,
    visitors: Visitors,
    mux: Handle,
    orders: mpsc::Sender<Order>,
}

impl Desk {
    /// Answers whoever asks on a socket, and passes orders on.
    pub fn open(listener: Listener, visitors: Visitors, mux: Handle, orders: mpsc::Sender<Order>) -> Desk {
        let listener = Rc::new(listener);
        let task = tasks::spawn(
            "admin",
            admin::serve(listener.clone(), visitors.entrance.clone(), visitors.most, mux.clone(), orders.clone()),
        );
        Desk { listener, task, visitors, mux, orders }
    }

    /// Opens it anew if its socket is not there any more; whether it was not.
    ///
    /// # Errors
    /// It cannot be had, as somebody else has it by now.
    pub fn renew(&mut self) -> Result<bool, Taken> {
        let Some(listener) = self.listener.renewed()? else { return Ok(false) };
        let new = Desk::open(listener, self.visitors.clone(), self.mux.clone(), self.orders.clone());
        std::mem::replace(self, new).task.abort();
        Ok(true)
    }

    /// Closes it; when this is over another daemon may have it.
    pub async fn close(self) {
        self.task.abort();
        // It was aborted, which is what it says.
        let _ = self.task.await;
    }
}
