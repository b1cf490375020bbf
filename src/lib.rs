//! mcpool: a resilient proxy multiplexer for the Model Context Protocol.
//!
//! A map for readers, from the bottom up. A module uses those above it in this list and never those below it;
//! `tests/layers.rs` holds that.
//!
//! - `key`, `clock`, `alarm`, `text`, `plural`, `hex`: names of what is there, time, deadlines, and texts made harmless
//! - `wire` reads and writes lines; `error` has what mcpool itself answers; `config` is the config as used
//! - `tasks`, `audit`, `metrics`, `reply`: what runs on its own, what is written down and counted, and a call's answer
//! - `era` knows how the protocol's two eras differ; `catalogue` knows what servers offer
//! - `guard` admits calls; `pool` keeps the instances of one server, `server` what else is known of it
//! - `caller` knows one client; `mux` tells the story of a call
//! - `endpoint` is the side of the clients; `admin` answers operators; `daemon` puts it all together; `cli` is what
//!   people type
//!
//! `demo` stands apart: two small servers that use nothing of the rest. `docs/life-of-a-call.md` follows one call
//! through the files.
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
pub mod principal;
pub mod reply;
pub mod server;
pub mod tasks;
pub mod text;
pub mod wire;
