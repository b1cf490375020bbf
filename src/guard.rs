//! What admits calls before anything is queued. It knows no JSON-RPC and no processes.

pub mod backoff;
pub mod breaker;
pub mod budget;
pub mod circuit;
pub mod evidence;
pub mod inflight;
pub mod principal;
pub mod rate;
