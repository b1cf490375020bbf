//! Called by `mux`: writes to an instance, both the calls of callers and what mcpool itself has to say.

use bytes::Bytes;
use compact_str::ToCompactString;

use super::instance::Instance;
use crate::error::Error;
use crate::wire::id::{RawId, WireId};
use crate::wire::message::Message;
use crate::wire::outbox::Topic;
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

    /// Answers a request of the server. One that asks on and on and reads no answer gets none any more.
    pub fn reply(&self, request: &Message, body: &str) {
        if let Some(id) = request.raw(Field::Id) {
            self.say(format!(r#"{{"jsonrpc":"2.0","id":{id},{body}}}"#));
        }
    }

    /// Answers a request of the server that cannot be read otherwise.
    pub fn refuse(&self, id: &RawId, error: &Error) {
        self.say(error.reply(Some(id)));
    }

    /// Passes the answer of a caller to a request of the server on, or says what became of it.
    pub fn pass_answer(&self, answer: &Splice, id: &RawId) {
        if !self.outbox.answer(answer) {
            let what = "a question".to_owned();
            let why = "the server does not read, so that the answer found no room (see `limits.backlog`)".to_owned();
            self.refuse(id, &Error::Unanswered { what, why });
        }
    }

    fn say(&self, line: impl Into<Bytes>) {
        self.outbox.news(self.speaker(), Topic::None, &Splice::new(line.into()));
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
