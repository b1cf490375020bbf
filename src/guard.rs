//! What admits calls before anything is queued. It knows no JSON-RPC and no processes.

pub mod inflight;
