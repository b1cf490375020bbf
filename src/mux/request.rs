//! Called by `endpoint::connection` with every message of a caller. A request is admitted, then answered here or sent
//! on its way; notifications and answers go to their own parts.

use std::rc::Rc;

use slotmap::Key;
use tokio::time::Instant;

use super::Mux;
use super::call::{Call, Place, Source, Then};
use super::gate::{Trials, pass_answer};
use super::listed::Listed;
use super::offer::{declared, restrained};
use super::own_roots::is_owed;
use crate::audit::{self, Trail, Who};
use crate::caller::access;
use crate::catalogue::Scope;
use crate::catalogue::list::ListKind;
use crate::clock;
use crate::era::Era;
use crate::era::bridge::seal::Purpose;
use crate::era::level::Level;
use crate::era::modern;
use crate::era::profile::Profile;
use crate::error::{Bound, Error};
use crate::guard::inflight::{Full, Permit};
use crate::key::{CallKey, CallerKey, ServerId};
use crate::metrics::Account;
use crate::reply::{Batch, Reply};
use crate::wire::id::{LONGEST, RawId};
use crate::wire::message::{Kind, Message};
use crate::wire::scan::Field;

/// A request that was admitted.
pub struct Accepted {
    pub caller: CallerKey,
    pub request: Message,
    reply: Reply,
    permit: Permit,
    /// How often it was sent again before it was begun again, and the limit that it keeps if it was.
    repeated: Option<(u8, Instant)>,
}

impl Accepted {
    /// Answers with an error.
    pub fn refuse(self, error: &Error) {
        self.reply.refuse(error);
    }

    /// Answers with a result that mcpool knows.
    pub fn result(self, result: &str) {
        self.reply.result(result);
    }

    /// Returns whether these lists were fetched again to decide about the request. Its caller's roots may have changed
    /// since other lists were.
    pub(super) fn looked_up(&self, scope: Scope) -> bool {
        self.permit.looked_up == Some(scope)
    }

    /// Notes that these lists are fetched again to decide about the request.
    pub(super) fn look_up(&mut self, scope: Scope) {
        self.permit.looked_up = Some(scope);
    }

    /// Counts it as a call, if it does not yet: what mcpool would have answered at once has to wait for a server.
    ///
    /// # Errors
    /// As many calls are in flight as may be.
    pub(super) fn is_a_call(&mut self) -> Result<(), Error> {
        Ok(self.permit.claim()?)
    }

    /// Returns the id that its caller gave it.
    pub fn id(&self) -> &RawId {
        self.reply.id()
    }

    /// Returns whether the rate limits still have to count the request. It may be begun several times, and counts once.
    pub(super) fn is_to_be_rated(&mut self) -> bool {
        !std::mem::replace(&mut self.permit.rated, true)
    }

    /// Returns the log level that it asks for.
    pub fn level(&self) -> Option<Level> {
        self.request.text(Field::MetaLogLevel).and_then(|level| Level::named(&level))
    }

    /// Puts the request in place of the one for which a call was made.
    pub fn take_over(self, call: &mut Call) {
        call.from = Source::Caller(self.reply, self.permit);
        if matches!(call.place, Place::On(..))
            && let Some(account) = call.account()
        {
            account.sent(clock::now());
        }
    }

    /// Returns the request for which a call was made, if a caller made it.
    pub fn of(call: Box<Call>) -> Option<Accepted> {
        let Source::Caller(reply, permit) = call.from else { return None };
        let repeated = (call.repeats > 0).then_some((call.repeats, call.limit));
        Some(Accepted { caller: call.caller, request: call.request, reply, permit, repeated })
    }

    /// Makes the request a call that has no place yet.
    pub fn call(self, server: ServerId, profile: Profile) -> Call {
        let now = clock::now();
        let level = self.level();
        let (repeats, limit) = self.repeated.unwrap_or((0, now));
        Call {
            from: Source::Caller(self.reply, self.permit),
            caller: self.caller,
            server,
            splice: self.request.splice(),
            level,
            request: self.request,
            profile,
            pin: None,
            then: Then::Nothing,
            bridge: None,
            place: Place::Nowhere,
            since: now,
            deadline: now,
            limit,
            queue_until: None,
            trials: Trials::default(),
            repeats,
            rooted: None,
        }
    }
}

impl Mux {
    /// Handles a message of a caller.
    pub fn received(&mut self, caller: CallerKey, message: Message, batch: Option<Rc<Batch>>) {
        match message.kind() {
            Kind::Request => self.requested(caller, message, batch),
            Kind::Notification if message.doubt().is_some() || wants_an_answer(&message.method()) => {
                self.metrics.dropped("ambiguous");
            }
            Kind::Notification => self.notified_by(caller, &message),
            Kind::Result | Kind::Error => self.ask_answered(caller, &message),
        }
    }

    fn requested(&mut self, key: CallerKey, request: Message, batch: Option<Rc<Batch>>) {
        let (Some(caller), Some(id)) = (self.callers.get(key), request.id(Field::Id)) else { return };
        self.metrics.calls.one();
        let of = match caller.endpoint.servers.as_slice() {
            [only] => &self.server(*only).pool.metrics,
            _ => self.metrics.own(),
        };
        let mut account = Account::open(of.clone(), &request.method(), key.data().as_ffi(), id.as_str());
        if let (Some(trail), Some(who)) = (self.metrics.audit.get(), &caller.who) {
            account.audited(audited(trail, (who, key.data().as_ffi()), &request));
        }
        let reply = Reply::new(caller.outbox.clone(), batch, id, request.id(Field::MetaProgressToken), account);
        if let Some(which) = too_long(&request) {
            let what = format!("its {which} has more than {LONGEST} bytes: choose a shorter one");
            return reply.refuse(&Error::InvalidRequest(what));
        }
        if let Some(doubt) = request.doubt() {
            return reply.refuse(&Error::InvalidParams(doubt.to_string()));
        }
        if request.method().starts_with(NOTIFICATION) {
            // A server that looks at the method alone would have it cancel another caller's call.
            let what = format!("`{}` wants no answer: send it without an `id`", request.method());
            return reply.refuse(&Error::InvalidRequest(what));
        }
        if caller.in_flight.contains_key(reply.id()) {
            return reply.refuse(&Error::InvalidRequest("a request with this id is in flight already".into()));
        }
        let (bytes, here) = (request.line().len(), is_answered_here(&request));
        let permit = match if here { caller.bound.pass(bytes) } else { caller.bound.admit(bytes) } {
            Ok(permit) => permit,
            Err(Full::Own(limit)) => {
                let by_rule = caller.endpoint.rule(caller.rule).is_some_and(|rule| rule.in_flight.is_some());
                let bound = if by_rule { Bound::InFlightByRule } else { Bound::InFlight };
                return reply.refuse(&Error::CallerOverloaded { limit, bound });
            }
            Err(full) => return reply.refuse(&full.into()),
        };
        let untold = self.metrics.audit.get().zip(caller.who.as_ref()).is_some_and(|(trail, who)| trail.refuses(who));
        let mut accepted = Accepted { caller: key, request, reply, permit, repeated: None };
        if self.metrics.audit.get().is_some() && !is_harmless(&accepted.request.method()) {
            if untold {
                return accepted.refuse(&Error::AuditUnavailable);
            }
            accepted.reply.account().passes();
        }
        if self.is_draining() && !self.comes_for_a_held_call(&accepted) {
            return accepted.refuse(&Error::Draining);
        }
        if let Some(error) = self.is_leaving(key) {
            return accepted.refuse(&error);
        }
        self.begin(accepted);
    }

    /// Answers an admitted request here, or sends it on its way.
    pub(crate) fn begin(&mut self, mut accepted: Accepted) {
        let Some(caller) = self.callers.get(accepted.caller) else { return };
        let judged = access::judge(&caller.access, &accepted.request);
        if let Err(error) = judged.and_then(|()| access::judge_answers(&caller.access, &accepted.request)) {
            return accepted.refuse(&error);
        }
        if !accepted.permit.is_call()
            && accepted.is_to_be_rated()
            && let Err(error) = pass_answer(caller, &self.servers)
        {
            return accepted.refuse(&error);
        }
        if modern::is_modern(&accepted.request) {
            self.requested_modern(accepted);
        } else {
            self.requested_legacy(accepted);
        }
    }

    fn requested_modern(&mut self, mut accepted: Accepted) {
        if let Err(error) = modern::check(&accepted.request) {
            return accepted.refuse(&error);
        }
        if let Err(error) = self.restrain(&mut accepted) {
            return accepted.refuse(&error);
        }
        if let Some(caller) = self.callers.get_mut(accepted.caller).filter(|caller| caller.client.is_none()) {
            caller.introduces_itself(accepted.request.raw(Field::MetaClientInfo), modern::REVISION);
        }
        match Verb::of(&accepted.request.method()) {
            Verb::Discover => self.introduce(accepted, Profile::Modern),
            Verb::Listen => self.listen(accepted),
            Verb::List(kind) => self.list(accepted, Profile::Modern, kind),
            verb => self.forward(accepted, Profile::Modern, verb),
        }
    }

    /// Takes from a modern request the capabilities that its caller may not have here.
    fn restrain(&self, accepted: &mut Accepted) -> Result<(), Error> {
        let Some(caller) = self.callers.get(accepted.caller) else { return Ok(()) };
        let declares = declared(&accepted.request);
        if let Some(fewer) = restrained(&caller.access, declares) {
            let mut splice = accepted.request.splice();
            splice.put_if(accepted.request.span(Field::MetaCapabilities), fewer);
            accepted.request = self.read_own(splice.to_bytes())?;
        }
        Ok(())
    }

    /// Goes on with a request that had to wait until more was known.
    pub(crate) fn begin_again(&mut self, key: CallKey) {
        if let Some(accepted) = self.take_out(key).and_then(Accepted::of) {
            self.begin(accepted);
        }
    }

    fn requested_legacy(&mut self, accepted: Accepted) {
        let session = self.callers.get(accepted.caller).and_then(|caller| caller.session.as_ref());
        let profile = session.map(|session| session.profile.clone());
        match (Verb::of(&accepted.request.method()), profile) {
            (Verb::Ping, _) => accepted.result("{}"),
            (Verb::Initialize, _) => self.initialize(accepted),
            (Verb::Discover, None) => {
                accepted
                    .refuse(&Error::InvalidParams("`server/discover` needs the `_meta` of revision 2026-07-28".into()));
            }
            (_, None) => {
                let method = accepted.request.method();
                let what =
                    format!("`{method}` came before `initialize`, and without the `_meta` of revision 2026-07-28");
                drop(method);
                accepted.refuse(&Error::InvalidParams(what));
            }
            (Verb::SetLevel, Some(_)) => self.set_level(accepted),
            (Verb::Subscribe, Some(profile)) => self.subscribe(accepted, profile),
            (Verb::Unsubscribe, Some(profile)) => self.unsubscribe(accepted, profile),
            (Verb::List(kind), Some(profile)) => self.list(accepted, profile, kind),
            (verb, Some(profile)) => self.forward(accepted, profile, verb),
        }
    }

    /// Sends a request to its server. Unknown methods go the same way.
    pub(crate) fn forward(&mut self, mut accepted: Accepted, profile: Profile, verb: Verb) {
        if let Verb::Task { list } = verb {
            return self.forward_task(accepted, profile, list);
        }
        let modern = profile == Profile::Modern;
        // Who comes back for a held call was let through with that, and what is known by now decides nothing about it.
        if modern && is_comeback(&accepted.request) {
            return self.come_back(accepted);
        }
        let Some(caller) = self.callers.get(accepted.caller) else { return };
        let mut route = match self.route(caller, &accepted.request, profile == Profile::Modern) {
            Ok(route) => route,
            Err(error) => return accepted.refuse(&error),
        };
        let server = self.server(route.server);
        accepted.reply.account().is_for(&server.pool.metrics);
        let known = server.catalogue.serves(profile.era(), server.config.era);
        if let Err(error) = self.pass_rate(&mut accepted, route.server) {
            return accepted.refuse(&error);
        }
        // To a legacy server nobody comes back with anything else.
        let comes_back = modern && accepted.request.span(Field::RequestState).found();
        if comes_back && known == Some(Era::Legacy) {
            return self.come_back(accepted);
        }
        if known.is_some() {
            match self.listed(&accepted, &profile, &route) {
                Listed::Yes => {}
                Listed::No(error) => return accepted.refuse(&error),
                Listed::Unknown(kind) => {
                    // The list may have been asked for before a breaker opened, and never come from a server that hangs:
                    // the call would wait long for what it is refused then anyway.
                    if let Err(error) = self.may_wait(&accepted, route.server) {
                        return accepted.refuse(&error);
                    }
                    return self.await_list(accepted, profile, route.server, kind);
                }
            }
        }
        match known {
            Some(era) if era == profile.era() => {}
            Some(_) => {
                let offer = self.offer(route.server, &profile, declared(&accepted.request));
                return self.forward_across(accepted, &profile, &route, offer, verb);
            }
            None => {
                if let Err(error) = self.may_wait(&accepted, route.server) {
                    return accepted.refuse(&error);
                }
                return self.await_introductions(accepted, profile, vec![route.server]);
            }
        }
        if verb == Verb::Create
            && let Err(error) = self.admit_task(&accepted, route.server)
        {
            return accepted.refuse(&error);
        }
        let then = if verb == Verb::Create { Then::MayCreate } else { Then::Nothing };
        if modern && is_owed(&accepted.request) {
            return self.forward_owed(accepted, &route, then);
        }
        let pin = match self.unwrap_state(route.server, accepted.caller, &accepted.request, modern, &mut route.splice) {
            Ok(pin) => pin,
            Err(error) => return accepted.refuse(&error),
        };
        let key = self.submit(Call { splice: route.splice, pin, then, ..accepted.call(route.server, profile) });
        self.place(key);
    }
}

/// Returns whether a request brings a state that its caller got for a held call, or what looks like one.
fn is_comeback(request: &Message) -> bool {
    request.text(Field::RequestState).is_some_and(|state| state.starts_with(Purpose::Held.prefix()))
}

/// What a method asks of mcpool itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Ping,
    Initialize,
    Discover,
    Listen,
    List(ListKind),
    SetLevel,
    Subscribe,
    Unsubscribe,
    Task {
        list: bool,
    },
    /// To carry out something from which a task or a question may come.
    Create,
    /// Nothing but to pass it on.
    Pass,
}

impl Verb {
    fn of(method: &str) -> Verb {
        match method {
            "tools/call" | "prompts/get" | "resources/read" => Verb::Create,
            "ping" => Verb::Ping,
            "initialize" => Verb::Initialize,
            "server/discover" => Verb::Discover,
            "subscriptions/listen" => Verb::Listen,
            "logging/setLevel" => Verb::SetLevel,
            "resources/subscribe" => Verb::Subscribe,
            "resources/unsubscribe" => Verb::Unsubscribe,
            "tasks/list" => Verb::Task { list: true },
            _ if method.starts_with("tasks/") => Verb::Task { list: false },
            _ => ListKind::of_method(method).map_or(Verb::Pass, Verb::List),
        }
    }
}

/// Returns which of its caller's id and token is too long to be kept, if one is.
fn too_long(request: &Message) -> Option<&'static str> {
    // In a short line nothing is.
    if request.line().len() <= LONGEST {
        return None;
    }
    let fields = [(Field::Id, "`id`"), (Field::MetaProgressToken, "`progressToken`")];
    fields.into_iter().find(|(field, _)| request.raw(*field).map_or(0, str::len) > LONGEST).map(|(_, name)| name)
}

/// What the methods of notifications begin with.
const NOTIFICATION: &str = "notifications/";

/// Returns whether mcpool treats a method as a request. A server that looks at the method alone would carry out a
/// notification of it, although nothing was checked.
fn wants_an_answer(method: &str) -> bool {
    !method.starts_with(NOTIFICATION) && (method == "completion/complete" || Verb::of(method) != Verb::Pass)
}

/// Returns what the audit log is told of a request.
fn audited(trail: &Rc<Trail>, who: (&Rc<Who>, u64), request: &Message) -> audit::Request {
    let method = request.method();
    let (target, arguments) = match &*method {
        "tools/call" | "prompts/get" => (request.text(Field::Name), request.raw(Field::Arguments)),
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => (request.text(Field::Uri), None),
        _ => (None, request.raw(Field::Params)),
    };
    trail.request(who, &method, target.as_deref(), arguments)
}

/// Returns whether mcpool answers a request itself, mostly at once. A method of the other era goes to the server as a call.
fn is_answered_here(request: &Message) -> bool {
    if request.calls_a_tool() {
        return false;
    }
    match &*request.method() {
        "initialize" | "ping" => !modern::is_modern(request),
        "server/discover" => modern::is_modern(request),
        method => ListKind::of_method(method).is_some(),
    }
}

/// Returns whether a request opens a session or lists, so that it is answered even while calls are refused.
fn is_harmless(method: &str) -> bool {
    matches!(method, "initialize" | "ping" | "server/discover") || ListKind::of_method(method).is_some()
}
