//! mcpool: a resilient proxy multiplexer for the Model Context Protocol.
//!
//! A map for readers: `clock` tells the time, `key` names what is there, `text` makes words of others harmless, `plural` counts in words, `wire` reads and writes lines, `guard` admits, `era` knows how the
//! protocol's two eras differ, `catalogue` knows what servers offer, `pool` keeps the instances of one server, `server` what else is known of one, `caller` knows the clients, `mux` tells the story of a call, `endpoint` is the
//! side of the clients, `daemon` puts it all together and `cli` is what people type. Imports point that way and never back.
#![forbid(unsafe_code)]

pub mod admin;
pub mod alarm;
pub mod audit;
pub mod caller;
pub mod catalogue;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod endpoint;
pub mod era;
pub mod error;
pub mod guard;
pub mod hex;
pub mod key;
pub mod metrics;
pub mod mux;
pub mod plural;
pub mod pool;
pub mod reply;
pub mod server;
pub mod tasks;
pub mod text;
pub mod wire;
