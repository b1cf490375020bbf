//! Used by the daemon: the side of the clients, where they connect, and how their lines reach `mux`.

pub mod connection;
pub mod entrance;
pub mod identity;
pub mod listener;
pub mod rarely;
pub mod signpost;
pub mod sockets;
pub mod stdio;
