//! Called by `mux::complete` and `mux::lists`: a server's answer in the words of a caller of the other era.

use super::{Bridge, LegacyCaller, ModernCaller};
use crate::era::bridge::{answer as words, ask, content};
use crate::era::legacy::URL_ELICITATION_REQUIRED;
use crate::era::may_ask_in;
use crate::error::Error;
use crate::key::InstanceRef;
use crate::mux::Mux;
use crate::mux::call::{Call, Place, Source};
use crate::wire::message::{Kind, Message, elements, member};
use crate::wire::scan::Field;

impl Mux {
    /// Passes a server's answer on to a caller of the other era.
    pub(in crate::mux) fn deliver_across(&mut self, at: InstanceRef, mut call: Box<Call>, answer: &Message) {
        match (call.bridge.take(), answer.kind()) {
            (Some(Bridge::Modern(modern)), Kind::Error) => self.error_to_modern(call, modern, answer),
            (Some(Bridge::Modern(_)), _) => self.result_to_modern(at, call, answer),
            (Some(Bridge::Legacy(_)), Kind::Error) => {
                let error = answer.raw(Field::Error).unwrap_or("{}");
                let mapped = words::error_to_legacy(error, &call.request.method());
                say_error(call, answer, mapped);
            }
            (Some(Bridge::Legacy(legacy)), _) => self.result_to_legacy(at, call, legacy, answer),
            (None, _) => {}
        }
    }

    fn result_to_modern(&mut self, at: InstanceRef, call: Box<Call>, answer: &Message) {
        let info = self.own_info(&call);
        let mut splice = answer.splice();
        let fits = words::to_modern(answer, &call.request.method(), &info, &mut splice);
        let server = self.server(at.server).config.name.clone();
        let Source::Caller(reply, _permit) = call.from else { return };
        if !fits {
            return reply.refuse(&Error::ServerMisbehaved { server, detail: "its result was no object".into() });
        }
        reply.answer(answer, splice);
    }

    /// Answers a modern caller with a result that mcpool keeps in legacy words.
    pub(in crate::mux) fn say_in_modern(&self, call: Box<Call>, result: &str) {
        let offer = self.offer_to(call.server, &call);
        let info = self.server_info(call.server, &offer.introduction());
        let line = format!(r#"{{"jsonrpc":"2.0","id":0,"result":{result}}}"#);
        let Source::Caller(reply, _permit) = call.from else { return };
        match Message::read(line.into(), self.config.limits.nesting) {
            Ok(answer) => {
                let mut splice = answer.splice();
                words::to_modern(&answer, &call.request.method(), &info, &mut splice);
                reply.answer(&answer, splice);
            }
            Err(malformed) => reply.refuse(&Error::Internal(malformed.why)),
        }
    }

    fn error_to_modern(&mut self, mut call: Box<Call>, mut modern: Box<ModernCaller>, answer: &Message) {
        let error = answer.raw(Field::Error).unwrap_or("{}");
        if member(error, "code") != Some(URL_ELICITATION_REQUIRED) || !may_ask_in(&call.request.method()) {
            return say_error(call, answer, words::error_to_modern(error));
        }
        let pages =
            member(error, "data").and_then(|data| member(data, "elicitations")).map(elements).unwrap_or_default();
        if pages.iter().any(|page| !ask::declared(&modern.capabilities, "elicitation/create", Some(page)))
            || pages.is_empty()
        {
            let Source::Caller(reply, _permit) = call.from else { return };
            return reply.refuse(&Error::MissingCapability { required: r#"{"elicitation":{"url":{}}}"# });
        }
        pages.into_iter().for_each(|page| modern.visit(page));
        call.bridge = Some(Bridge::Modern(modern));
        call.place = Place::Held;
        let key = self.submit(call);
        self.hold(key);
    }

    fn result_to_legacy(&mut self, at: InstanceRef, mut call: Box<Call>, legacy: Box<LegacyCaller>, answer: &Message) {
        match answer.text(Field::ResultType).as_deref() {
            None | Some("complete") => {}
            Some("input_required") => {
                call.bridge = Some(Bridge::Legacy(legacy));
                return self.ask_rounds(at, call, answer);
            }
            Some(other) => {
                let detail = format!("its result is of the type {other:?}, which this client cannot take");
                let server = self.server(at.server).config.name.clone();
                let Source::Caller(reply, _permit) = call.from else { return };
                return reply.refuse(&Error::ServerMisbehaved { server, detail });
            }
        }
        let result = words::to_legacy(answer.raw(Field::Result).unwrap_or("{}"));
        let fitting = content::fit_result(&call.request.method(), &result, legacy.revision);
        let mut splice = answer.splice();
        splice.put(answer.span(Field::Result), fitting.unwrap_or(result));
        let caller = call.caller;
        let Source::Caller(reply, _permit) = call.from else { return };
        reply.answer(answer, splice);
        self.elicitations_done(caller, &legacy);
    }
}

/// Passes a server's error on, under its name in the caller's era.
fn say_error(call: Box<Call>, answer: &Message, mapped: Option<String>) {
    let mut splice = answer.splice();
    if let Some(mapped) = mapped {
        splice.put(answer.span(Field::Error), mapped);
    }
    if let Source::Caller(reply, _permit) = call.from {
        reply.answer(answer, splice);
    }
}
