//! Called for `logging/setLevel` of callers and for log lines of servers. Each caller has a level of its own; a server
//! gets the most verbose one that any of them wants. A log line names no call, so it is delivered only where it can be
//! meant for one caller alone.

use super::Mux;
use super::bridge::Bridge;
use super::call::Source;
use super::errand::{Errand, Order};
use super::request::{Accepted, Verb};
use crate::clock;
use crate::era::Era;
use crate::era::level::Level;
use crate::error::Error;
use crate::key::{CallerKey, InstanceRef, ServerId};
use crate::pool::instance::State;
use crate::pool::pending::{Entry, InFlightOf};
use crate::wire::message::Message;
use crate::wire::outbox::Topic;
use crate::wire::scan::Field;

impl Mux {
    /// A legacy caller sets its level.
    pub(crate) fn set_level(&mut self, accepted: Accepted) {
        let level = accepted.request.text(Field::Level).and_then(|level| Level::named(&level));
        let Some(caller) = self.callers.get(accepted.caller) else { return };
        let endpoint = caller.endpoint.clone();
        let Some(profile) = caller.session.as_ref().map(|session| session.profile.clone()) else { return };
        if level.is_none() {
            // A server has its own words for that.
            if !endpoint.prefix && !self.is_across(&endpoint.servers, &profile) {
                return self.forward(accepted, profile, Verb::SetLevel);
            }
            return accepted
                .refuse(&Error::InvalidParams("`level` must be a log level of RFC 5424, as in \"info\"".into()));
        }
        let logs = |id: &ServerId| {
            let introduction = self.introduction(*id, &profile, &self.offer(*id, &profile, "{}"));
            introduction.and_then(|said| crate::era::legacy::offers(&said)).is_some_and(|offers| offers.logging)
        };
        let logging: Vec<ServerId> = endpoint.servers.iter().copied().filter(logs).collect();
        for server in &logging {
            if let Err(error) = self.rate(accepted.caller, *server, &accepted.request) {
                return accepted.refuse(&error);
            }
        }
        self.change_session(accepted.caller, |caller| {
            caller.session.iter_mut().for_each(|session| session.level = level);
        });
        if logging.is_empty() {
            // A server that does not log says so itself.
            return self.forward(accepted, profile, Verb::SetLevel);
        }
        accepted.result("{}");
        endpoint.servers.iter().for_each(|server| self.adjust_level(*server));
    }

    /// Sets the instances of a server to the most verbose level that their callers want.
    pub(crate) fn adjust_level(&mut self, server: ServerId) {
        let mut changes = Vec::new();
        for (key, instance) in &self.server(server).pool.instances {
            if instance.profile.era() == Era::Modern || instance.state != State::Ready || !instance.offers.logging {
                continue;
            }
            let wanted = self.server(server).audience().level(&instance.profile).into_iter();
            let wanted = wanted.chain(instance.pending.entries().filter_map(|entry| entry.level)).min();
            if let Some(wanted) = wanted.filter(|wanted| instance.level != Some(*wanted)) {
                changes.push((InstanceRef { server, key }, wanted));
            }
        }
        changes.into_iter().for_each(|(at, level)| self.tell_level(at, level));
    }

    /// Sets a legacy instance to at least the level that a modern request asks for.
    pub(crate) fn raise_level(&mut self, at: InstanceRef, level: Option<Level>) {
        let Some(instance) = self.instance_mut(at).filter(|instance| instance.offers.logging) else { return };
        let Some(level) = level.filter(|level| instance.level.is_none_or(|known| *level < known)) else { return };
        self.tell_level(at, level);
    }

    /// Sets an instance to a level once it has taken the last one. Callers may change their minds faster than it reads.
    fn tell_level(&mut self, at: InstanceRef, level: Level) {
        let Some(instance) = self.instance_mut(at) else { return };
        instance.level = Some(level);
        if !std::mem::replace(&mut instance.takes_level, true) {
            let (profile, params) = (instance.profile.clone(), format!(r#"{{"level":"{}"}}"#, level.as_str()));
            let order = Order::to(at, CallerKey::default(), profile, ("logging/setLevel", params.as_str()));
            let errand = self.errand(order, Errand::Level(at.key, level));
            // Before what is sent next: a call that asks for the level must not overtake it.
            errand.into_iter().for_each(|errand| self.transmit(errand, at.key));
        }
    }

    /// Notes that an instance took a level, or will not. Callers may want another by now.
    pub(crate) fn level_taken(&mut self, at: InstanceRef, level: Level) {
        let Some(instance) = self.instance_mut(at) else { return };
        instance.takes_level = false;
        if let Some(wanted) = instance.level.filter(|wanted| *wanted != level && instance.alive()) {
            self.tell_level(at, wanted);
        }
    }

    /// Handles a log line of a server.
    pub(crate) fn logged(&mut self, at: InstanceRef, message: &Message) {
        let level = message.text(Field::Level).and_then(|level| Level::named(&level));
        let Some(instance) = self.instance(at) else { return };
        match instance.profile.era() {
            Era::Legacy => {
                let InFlightOf::One(caller) = instance.owner_of_line(clock::now()) else {
                    return self.drop_from(at, "owner_unknown", "notifications/message");
                };
                let wanted = match self.level_of_calls(at, caller) {
                    Some(None) => return self.metrics.dropped("level_unwanted"),
                    Some(wanted) => wanted,
                    // A modern caller hears of its calls alone.
                    None if self.callers.get(caller).is_none_or(|caller| caller.session.is_none()) => {
                        return self.metrics.dropped("level_unwanted");
                    }
                    None => self.wanted_level(at, caller),
                };
                match self.callers.get(caller) {
                    Some(known) if level.is_none_or(|level| wanted.is_none_or(|wanted| level >= wanted)) => {
                        known.hear(self.server(at.server).speaker(), Topic::None, &message.splice());
                        self.touch_calls(at, caller);
                    }
                    _ => self.metrics.dropped("level_unwanted"),
                }
            }
            Era::Modern => self.logged_modern(at, message, level),
        }
    }

    /// Returns the level that the calls of a modern caller on an instance want, if it has any there.
    fn level_of_calls(&self, at: InstanceRef, caller: CallerKey) -> Option<Option<Level>> {
        let own = self.instance(at)?.pending.entries().filter(|entry| entry.caller == Some(caller));
        let modern = |entry: &Entry| {
            self.calls.get(entry.call).is_some_and(|call| matches!(call.bridge, Some(Bridge::Modern(_))))
        };
        let mut modern = own.filter(modern).peekable();
        modern.peek()?;
        // A call that is held has nobody to hear it.
        let heard = |entry: &Entry| self.calls.get(entry.call).is_some_and(|call| call.is_callers());
        Some(modern.filter(heard).filter_map(|entry| entry.level).min())
    }

    /// Returns the least severe level that a caller gets; none if it gets all. A caller that set none gets `info` if
    /// others set one.
    fn wanted_level(&self, at: InstanceRef, caller: CallerKey) -> Option<Level> {
        let own = self.callers.get(caller).and_then(|caller| caller.session.as_ref()?.level);
        own.or_else(|| self.instance(at)?.level.map(|_| Level::Info))
    }

    /// Delivers a log line of a modern server. It may log only about calls that ask for it (revision 2026-07-28, page
    /// "Logging"), so the line belongs to the one caller that has such calls in flight.
    fn logged_modern(&mut self, at: InstanceRef, message: &Message, level: Option<Level>) {
        let Some(instance) = self.instance(at) else { return };
        let asks = |entry: &Entry| entry.level.is_some_and(|wanted| level.is_none_or(|level| level >= wanted));
        let pending = &instance.pending;
        // A call that was given up may still be talked about, but nobody hears that.
        let now = clock::now();
        let (caller, others) = {
            let given_up = pending.given_up(now);
            let mut callers = pending.entries().chain(given_up).filter(asks).filter_map(|entry| entry.caller);
            let caller = callers.next();
            let mut others = callers.chain(pending.listened_lately(now));
            (caller, others.any(|other| caller.is_some_and(|caller| caller != other)))
        };
        if others {
            return self.drop_from(at, "owner_unknown", "notifications/message");
        }
        // The same one in every run: on which of its caller's calls it comes decides what goes into one write.
        let wanting = pending.entries().filter(asks).map(|entry| entry.call).min();
        let call = wanting.and_then(|call| self.calls.get_mut(call));
        match call.map(|call| &mut call.from) {
            Some(Source::Caller(reply, _)) => {
                reply.notify(&message.splice());
                caller.into_iter().for_each(|caller| self.touch_calls(at, caller));
            }
            _ => self.drop_from(at, "level_unwanted", "notifications/message"),
        }
    }
}
