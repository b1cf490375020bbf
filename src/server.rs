//! What is known of one server and decided for it alone. Called by `mux`, which tells callers and instances.

pub mod audience;
pub mod awaited;
pub mod filter;
pub mod listened;
pub mod sessions;
pub mod subscriptions;
