//! The side of the clients: where they connect, and what their lines become.

pub mod connection;
pub mod entrance;
pub mod identity;
pub mod listener;
pub mod rarely;
pub mod signpost;
pub mod sockets;
pub mod stdio;
