//! What an instance is told: calls of callers, and what mcpool itself has to say.

use compact_str::ToCompactString;

use super::instance::Instance;
use crate::error::Error;
use crate::wire::id::{RawId, WireId};
use crate::wire::message::Message;
use crate::wire::scan::Field;
use crate::wire::splice::Splice;

impl Instance {
    /// Sends a request of mcpool's own during the handshake.
    pub fn request(&mut self, method: &str, params: &str) -> WireId {
        let id = self.pending.next_id();
        let line = format!(r#"{{"jsonrpc":"2.0","id":{},"method":"{method}","params":{params}}}"#, id.0);
        self.outbox.line(line.as_bytes());
        id
    }

    /// Sends a notification of mcpool's own.
    pub fn notify(&self, method: &str, params: &str) {
        self.outbox.line(format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#).as_bytes());
    }

    /// Answers a request of the server.
    pub fn reply(&self, request: &Message, body: &str) {
        if let Some(id) = request.raw(Field::Id) {
            self.outbox.line(format!(r#"{{"jsonrpc":"2.0","id":{id},{body}}}"#).as_bytes());
        }
    }

    /// Answers a request of the server that cannot be read otherwise.
    pub fn refuse(&self, id: &RawId, error: &Error) {
        self.outbox.line(&error.reply(Some(id)));
    }

    /// Sends a call on: its line with our id and our progress token.
    pub fn send(&mut self, request: &Message, mut splice: Splice, id: WireId) {
        let digits = id.0.to_compact_string();
        if request.span(Field::MetaProgressToken).found() {
            splice.put(request.span(Field::MetaProgressToken), digits.clone());
        }
        splice.put_if(request.span(Field::Id), digits);
        self.outbox.splice(&splice);
    }
}
