//! Called by `admin::http`: the clients that are being served, so many and no more. A new one is never turned away: the
//! oldest that has not asked anything yet makes room for it, else the oldest of all, so that silent ones keep nobody
//! out.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::rc::Rc;

use tokio::task::AbortHandle;

use crate::tasks;

/// Clients served at once.
const MOST: usize = 64;

/// All of them, the oldest first.
#[derive(Clone, Default)]
pub struct Clients(Rc<RefCell<VecDeque<Client>>>);

struct Client {
    /// Whether its request has arrived.
    asked: Rc<Cell<bool>>,
    task: AbortHandle,
}

impl Clients {
    /// Serves one more. What serves it notes when it has asked.
    pub fn admit<F: Future<Output = ()> + 'static>(&self, serve: impl FnOnce(Rc<Cell<bool>>) -> F) {
        let mut clients = self.0.borrow_mut();
        if clients.len() >= MOST {
            let place = clients.iter().position(|client| !client.asked.get()).unwrap_or(0);
            clients.remove(place).into_iter().for_each(|client| client.task.abort());
        }
        let asked = Rc::new(Cell::new(false));
        let place = Place { clients: self.clone(), asked: asked.clone() };
        let serving = serve(asked.clone());
        let task = tasks::spawn("http", async move {
            let _place = place;
            serving.await;
        });
        clients.push_back(Client { asked, task: task.abort_handle() });
    }
}

/// The place of one client; given back when dropped.
struct Place {
    clients: Clients,
    asked: Rc<Cell<bool>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clients.0.borrow_mut().retain(|client| !Rc::ptr_eq(&client.asked, &self.asked));
    }
}
