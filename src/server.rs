//! Kept by `mux` for each server: what is known of one server and decided for it alone. `mux` tells callers and
//! instances.

pub mod audience;
pub mod awaited;
pub mod filter;
pub mod listened;
pub mod sessions;
pub mod subscriptions;
