//! mcpool from outside: callers and servers made of lines, around the whole multiplexer in one thread. Each file
//! holds one promise; what they share is in `support`.

mod all_endpoint;
mod asks;
mod asks_of_all;
mod bad_input;
mod bad_servers;
mod batches;
mod bridge_legacy_asks;
mod bridge_legacy_caller;
mod bridge_listen;
mod bridge_modern_caller;
mod bridge_races;
mod cancel;
mod catalogue;
mod counted;
mod drain;
mod eras;
mod first_contact;
mod held_calls;
mod held_ends;
mod hostile;
mod hostile_servers;
mod ids_and_tokens;
mod leases;
mod logging;
mod mixed_all;
mod reload;
mod reload_races;
mod request_state;
mod revisions;
mod roots;
mod sharing;
mod subscriptions;
mod support;
mod tasks;
