//! Used by whatever reads or writes a peer: one line in, one line out. The rest of mcpool reads what arrives through
//! [`message::Message`], and says what leaves through [`splice::Splice`] and [`outbox::Outbox`]. Payloads in between
//! stay the raw bytes that were received.

pub mod flow;
pub mod frame;
pub mod gauge;
pub mod half;
pub mod id;
pub mod json;
pub mod message;
pub mod outbox;
pub mod scan;
pub mod skim;
pub mod splice;
pub mod stint;
pub mod tally;
