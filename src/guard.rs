//! Called by `mux` before anything is queued: limits, rates and breakers, which admit a call or refuse it. Nothing here
//! knows JSON-RPC or processes.

pub mod backoff;
pub mod breaker;
pub mod budget;
pub mod circuit;
pub mod evidence;
pub mod inflight;
pub mod rate;
pub mod rates;
pub mod share;
pub mod total;

pub use crate::principal;
