//! Called by `mux` when a caller comes, and for each of its calls: what a principal has of everything that is shared out.
//! All connections of a principal have one share, so that another connection brings nothing.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::rc::{Rc, Weak};
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::time::Instant;

use super::principal::Principal;
use super::rate::{Bound, Limits};
use super::rates::Rates;
use super::total::{Own, Part, Taken, Total, Users, part};
use crate::config::Rate;
use crate::key::ServerId;
use crate::wire::gauge::{Gauge, Memory};
use crate::{clock, config};

/// How many principals that left are remembered, so that whoever comes back goes on with the rates that it had.
const REMEMBERED: usize = 1024;

/// What the daemon shares out, and who has a share.
pub struct Shares {
    book: Rc<Book>,
    /// Those that left lately, and until when their rates are not as good as new.
    left: RefCell<BTreeMap<Principal, (Instant, Share)>>,
}

struct Book {
    /// The user whose daemon this is, and how many users there are.
    owner: u32,
    count: Users,
    /// Calls in flight of all callers: how many there are, and may be.
    calls: Cell<usize>,
    most_calls: Cell<usize>,
    /// Calls whose callers are away.
    held: Total,
    memory: Memory,
    /// The places of callers, by endpoint.
    endpoints: RefCell<BTreeMap<String, Total>>,
    users: RefCell<BTreeMap<u32, Weak<User>>>,
    principals: RefCell<HashMap<Principal, Weak<Inner>, RandomState>>,
}

/// What all principals of one user have together.
struct User {
    is_owner: bool,
    /// Its calls in the last tenth.
    last_tenth: Cell<usize>,
    /// None for the owner, whose processes have a share each.
    bytes: Option<Gauge>,
    /// When it had something of the last tenth of a rate.
    rates: RefCell<Rates>,
    book: Rc<Book>,
}

/// The share of one principal. Clones are the same share.
#[derive(Clone)]
pub struct Share(Rc<Inner>);

struct Inner {
    principal: Principal,
    user: Rc<User>,
    calls: Cell<usize>,
    bytes: Gauge,
    rates: RefCell<Rates>,
    book: Rc<Book>,
}

/// What one principal has, as `status` shows it.
#[derive(Clone, Copy, Debug)]
pub struct Had {
    pub principal: Principal,
    pub calls: usize,
    pub held: usize,
    pub bytes: usize,
}

impl Shares {
    /// Nobody has anything yet, in a daemon of the user `owner`.
    pub fn new(owner: u32, limits: &config::Limits) -> Shares {
        let count = Users::default();
        let book = Rc::new(Book {
            owner,
            count: count.clone(),
            calls: Cell::new(0),
            most_calls: Cell::new(limits.in_flight_total),
            held: Total::new(limits.held_total, count),
            memory: Memory::new(limits.memory()),
            endpoints: RefCell::default(),
            users: RefCell::default(),
            principals: RefCell::default(),
        });
        Shares { book, left: RefCell::default() }
    }

    /// Allows other totals; what is taken stays taken.
    pub fn allow(&self, limits: &config::Limits) {
        self.book.most_calls.set(limits.in_flight_total);
        self.book.held.allow(limits.held_total);
        self.book.memory.allow(limits.memory());
    }

    /// The user whose daemon this is.
    pub fn owner(&self) -> u32 {
        self.book.owner
    }

    /// How many users share all this.
    pub fn users(&self) -> usize {
        self.book.count.count()
    }

    /// How many calls are in flight, and how many may be.
    pub fn calls(&self) -> (usize, usize) {
        (self.book.calls.get(), self.book.most_calls.get())
    }

    /// A total besides those that each share counts.
    pub fn total(&self, limit: usize) -> Total {
        Total::new(limit, self.book.count.clone())
    }

    /// A place at an endpoint, of which there are `most`, if the principal may have one.
    pub fn place(&self, endpoint: &str, most: usize, principal: Principal) -> Option<Taken> {
        let mut endpoints = self.book.endpoints.borrow_mut();
        if let Some(places) = endpoints.get(endpoint) {
            places.allow(most);
            return places.take(principal);
        }
        // Of those that are gone nothing is kept.
        endpoints.retain(|_, places| places.taken() > 0);
        let places = endpoints.entry(endpoint.to_owned()).or_insert_with(|| self.total(most));
        places.take(principal)
    }

    /// Calls whose callers are away and are to come back.
    pub fn held(&self) -> &Total {
        &self.book.held
    }

    /// The bytes that are kept for all peers.
    pub fn memory(&self) -> &Memory {
        &self.book.memory
    }

    /// The share of a principal.
    pub fn of(&self, principal: Principal) -> Share {
        let book = &self.book;
        if let Some(known) = book.principals.borrow().get(&principal).and_then(Weak::upgrade) {
            return Share(known);
        }
        let user = self.user(principal.user());
        let bytes = user.bytes.as_ref().map_or_else(|| book.memory.holder(), Gauge::holder);
        let (calls, rates) = (Cell::new(0), RefCell::default());
        let share = Rc::new(Inner { principal, user, calls, bytes, rates, book: book.clone() });
        book.principals.borrow_mut().insert(principal, Rc::downgrade(&share));
        Share(share)
    }

    fn user(&self, user: u32) -> Rc<User> {
        let book = &self.book;
        if let Some(known) = book.users.borrow().get(&user).and_then(Weak::upgrade) {
            return known;
        }
        let is_owner = user == book.owner;
        let bytes = (!is_owner).then(|| book.memory.holder());
        if !is_owner {
            book.count.came();
        }
        let (last_tenth, rates) = (Cell::new(0), RefCell::default());
        let new = Rc::new(User { is_owner, last_tenth, bytes, rates, book: book.clone() });
        let mut users = book.users.borrow_mut();
        users.retain(|_, known| known.strong_count() > 0);
        users.insert(user, Rc::downgrade(&new));
        new
    }

    /// A connection of a principal ended. What it has of rates is remembered until it has as much as a new one.
    pub fn left(&self, share: Share) {
        let now = clock::now();
        let mut left = self.left.borrow_mut();
        left.retain(|_, (until, _)| *until > now);
        // A connection whose process is not known never comes back.
        let until =
            share.0.rates.borrow().full_at().filter(|until| *until > now && share.principal().process().is_some());
        let Some(until) = until else { return };
        if left.len() >= REMEMBERED {
            left.pop_first();
        }
        left.insert(share.principal(), (until, share));
    }

    /// The rates of a server begin anew for all principals.
    pub fn forget_rates(&self, server: ServerId) {
        let shares: Vec<Rc<Inner>> = self.book.principals.borrow().values().filter_map(Weak::upgrade).collect();
        for share in shares {
            share.rates.borrow_mut().forget(server);
            share.user.rates.borrow_mut().forget(server);
        }
    }

    /// How many places callers have, at all endpoints.
    pub fn places(&self) -> usize {
        self.book.endpoints.borrow().values().map(Total::taken).sum()
    }

    /// Who keeps most, and how many bytes.
    pub fn heaviest(&self) -> Option<(Principal, usize)> {
        let principals = self.book.principals.borrow();
        let kept = principals.values().filter_map(Weak::upgrade).map(|share| (share.bytes.now(), share.principal));
        kept.max().map(|(bytes, principal)| (principal, bytes))
    }

    /// What the principals have that have most, as many as `most`.
    pub fn largest(&self, most: usize) -> Vec<Had> {
        let principals = self.book.principals.borrow();
        let shares = principals.values().filter_map(Weak::upgrade);
        let mut all: Vec<_> =
            shares.map(|share| (Reverse((share.bytes.now(), share.calls.get())), share.principal)).collect();
        // There may be thousands of them, of which few are shown.
        if all.len() > most {
            all.select_nth_unstable(most);
            all.truncate(most);
        }
        all.sort_unstable();
        let had =
            |(Reverse((bytes, calls)), principal)| Had { principal, calls, held: self.held().of(principal), bytes };
        all.into_iter().map(had).collect()
    }
}

impl Share {
    /// Whose it is.
    pub fn principal(&self) -> Principal {
        self.0.principal
    }

    /// The bytes that are kept for it.
    pub fn bytes(&self) -> &Gauge {
        &self.0.bytes
    }

    /// Lets a call to a server through, to this tool if it is one.
    ///
    /// # Errors
    /// Calls come too fast: which limit keeps it, and how long.
    pub fn call(&self, server: ServerId, limits: &Limits, tool: Option<&str>) -> Result<(), (Bound, Duration)> {
        if limits.are_none() {
            return Ok(());
        }
        let Inner { user, rates, .. } = &*self.0;
        let of_user = || if user.is_owner { None } else { user.rates.borrow().last(server) };
        let part = rates.borrow_mut().pass(server, limits, tool, of_user)?;
        if part == Part::LastTenth && !user.is_owner {
            user.rates.borrow_mut().note(server);
        }
        Ok(())
    }

    /// Lets something through that mcpool itself answers about a server, or about several, whose calls are limited so.
    ///
    /// # Errors
    /// It comes too fast: how long it must wait.
    pub fn answer(&self, server: Option<ServerId>, calls: Rate) -> Result<(), Duration> {
        self.0.rates.borrow_mut().answer(server, calls)
    }

    /// Takes one call in flight.
    ///
    /// # Errors
    /// All callers together have as many as this one may add to: the limit.
    pub(super) fn take_call(&self) -> Result<Part, usize> {
        let Inner { user, calls, book, .. } = &*self.0;
        let users = book.count.count();
        let own = Own { process: calls.get(), last_tenth: user.last_tenth.get(), users };
        let limit = book.most_calls.get();
        let part = part(limit, book.calls.get(), own).ok_or(limit)?;
        calls.set(calls.get() + 1);
        book.calls.set(book.calls.get() + 1);
        if part == Part::LastTenth {
            user.last_tenth.set(user.last_tenth.get() + 1);
        }
        Ok(part)
    }

    /// Gives one of this part back.
    pub(super) fn give_call(&self, part: Part) {
        let Inner { user, calls, book, .. } = &*self.0;
        calls.set(calls.get() - 1);
        book.calls.set(book.calls.get() - 1);
        if part == Part::LastTenth {
            user.last_tenth.set(user.last_tenth.get() - 1);
        }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if !self.is_owner {
            self.book.count.left();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let mut principals = self.book.principals.borrow_mut();
        if principals.get(&self.principal).is_some_and(|known| known.strong_count() == 0) {
            principals.remove(&self.principal);
        }
    }
}
