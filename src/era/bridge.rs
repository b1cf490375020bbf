//! Called by `mux` where a caller and a server speak different eras, or different revisions of one: what one of them
//! wrote, in the words of the other. These are pure functions from raw JSON to raw JSON. A payload is carried as the
//! very text that it is, and numbers are never read.

pub mod answer;
pub mod ask;
pub mod capabilities;
pub mod content;
pub mod items;
mod object;
pub mod request;
mod salient;
mod sampling;
pub mod seal;

/// How a server names itself in the `_meta` of a modern result (revision 2026-07-28, page "Overview").
const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
