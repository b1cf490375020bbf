//! Made by the daemon, and changed by `daemon::reload`: the sockets by which callers come in, one for each endpoint,
//! opened, handed on and closed as the config says.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use tokio::net::unix::OwnedReadHalf;
use tokio::task::JoinHandle;

use super::budget::Budget;
use crate::config::Config;
use crate::endpoint::entrance::Entrance;
use crate::endpoint::listener::{Listener, Taken};
use crate::endpoint::{connection, identity, sockets, stdio};
use crate::mux::Handle;
use crate::tasks;

/// All sockets that are open to callers.
pub struct Doors {
    mux: Handle,
    entrance: Rc<Entrance>,
    open: Vec<Door>,
}

/// One socket. While it stays the same, so does whoever waits to be let in, whatever else a reload changes.
struct Door {
    path: PathBuf,
    listener: Rc<Listener>,
    /// The endpoint behind it.
    shows: Rc<RefCell<String>>,
    task: JoinHandle<()>,
}

/// Sockets that are listened on and nobody is let in by yet; closed again when dropped.
pub struct Ajar(Vec<(PathBuf, Listener)>);

impl Doors {
    /// No doors yet.
    pub fn new(mux: Handle, entrance: Rc<Entrance>) -> Doors {
        Doors { mux, entrance, open: Vec::new() }
    }

    /// Listens on the sockets that a config has and that are not open: the part that may fail.
    ///
    /// # Errors
    /// A socket is held by somebody else, or cannot be made; then none is.
    pub fn unlock(&self, config: &Config) -> Result<Ajar, Taken> {
        let mut ajar = Vec::new();
        let directory = sockets::directory(config);
        if let Err(error) = sockets::settle(&directory, sockets::mode(config)) {
            tracing::warn!(directory = %directory.display(), %error, "cannot open the directory to other users, or close it");
        }
        for endpoint in &config.endpoints {
            let path = sockets::path(config, &endpoint.name);
            if !self.open.iter().any(|door| door.path == path) {
                let listener = Listener::bind(&path, &endpoint.users)?;
                ajar.push((path, listener));
            }
        }
        Ok(Ajar(ajar))
    }

    /// Lets callers in by the sockets that a config has, and closes all others.
    pub async fn open(&mut self, config: &Config, Ajar(mut ajar): Ajar) {
        self.entrance.widen(Budget::now(config).callers);
        let mut before = std::mem::take(&mut self.open);
        for endpoint in &config.endpoints {
            let path = sockets::path(config, &endpoint.name);
            if let Some(place) = before.iter().position(|door| door.path == path) {
                let door = before.swap_remove(place);
                door.shows.replace(endpoint.name.clone());
                door.listener.admit(&endpoint.users);
                self.open.push(door);
            } else if let Some(place) = ajar.iter().position(|(new, _)| *new == path) {
                let (path, listener) = ajar.swap_remove(place);
                self.open.push(self.hang(path, listener, &endpoint.name));
            }
        }
        shut(before).await;
    }

    /// Opens anew what is not there any more; how many those are.
    ///
    /// # Errors
    /// One cannot be had, whose place somebody else has by now.
    pub fn renew(&mut self) -> Result<usize, Taken> {
        let mut renewed = 0;
        for place in 0..self.open.len() {
            let door = &self.open[place];
            let Some(listener) = door.listener.renewed()? else { continue };
            let endpoint = door.shows.borrow().clone();
            let new = self.hang(door.path.clone(), listener, &endpoint);
            std::mem::replace(&mut self.open[place], new).task.abort();
            renewed += 1;
        }
        Ok(renewed)
    }

    /// Closes all of them.
    pub async fn close(&mut self) {
        shut(std::mem::take(&mut self.open)).await;
    }

    fn hang(&self, path: PathBuf, listener: Listener, endpoint: &str) -> Door {
        let (listener, shows) = (Rc::new(listener), Rc::new(RefCell::new(endpoint.to_owned())));
        let task =
            tasks::spawn("listener", accept(listener.clone(), self.entrance.clone(), self.mux.clone(), shows.clone()));
        Door { path, listener, shows, task }
    }
}

/// Closes sockets; when this is over they are gone, and another daemon may have them.
async fn shut(doors: Vec<Door>) {
    for door in &doors {
        door.listener.retract();
        door.task.abort();
    }
    for Door { task, .. } in doors {
        // It was aborted, which is what it says.
        let _ = task.await;
    }
}

async fn accept(listener: Rc<Listener>, entrance: Rc<Entrance>, mux: Handle, shows: Rc<RefCell<String>>) {
    loop {
        let (stream, peer) = listener.accept().await;
        let Some(endpoint) = mux.with(|mux| mux.shown(&shows.borrow())) else { continue };
        let place = match entrance.admit(&stream, peer, &endpoint.name) {
            Ok(place) => place,
            Err(error) => {
                entrance.refuse(stream, error).await;
                continue;
            }
        };
        let identity = identity::of_peer(&stream, peer);
        let (reader, writer) = stream.into_split();
        // One that closed its writing half only waits for its answers.
        let left = |reader: &OwnedReadHalf| stdio::is_closed(reader.as_ref());
        let session = connection::serve(mux.clone(), endpoint, identity, reader, writer, left);
        tasks::spawn("caller", async move {
            session.await;
            drop(place);
        });
    }
}
