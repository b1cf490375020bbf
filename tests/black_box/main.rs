//! mcpool from outside: callers and servers made of lines, around the whole multiplexer in one thread. Each file
//! holds one promise; what they share is in `support`.

mod all_endpoint;
mod asks;
mod bad_input;
mod bad_servers;
mod batches;
mod cancel;
mod catalogue;
mod eras;
mod hostile;
mod hostile_servers;
mod ids_and_tokens;
mod leases;
mod logging;
mod roots;
mod sharing;
mod subscriptions;
mod support;
mod tasks;
