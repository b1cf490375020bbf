//! Called wherever mcpool gives a caller something to come back with: seals it to the caller, to what it belongs to and
//! to an expiry, and honours it for nothing else. A new daemon has another key, so what an earlier one gave is refused
//! with the reason.

use std::cell::Cell;
use std::time::Duration;

use slotmap::Key;
use tokio::time::Instant;

use crate::clock;
use crate::era::bridge::seal::{Purpose, Sealer, Token};
use crate::key::CallerKey;

/// Gives tokens and takes them back.
pub struct Tokens {
    sealer: Sealer,
    /// Expiries are told since then.
    since: Instant,
    /// How many were given.
    given: Cell<u64>,
}

impl Tokens {
    /// Returns tokens under a key that nobody else knows.
    pub fn new(key: [u8; 32]) -> Tokens {
        Tokens { sealer: Sealer::new(key), since: clock::now(), given: Cell::new(0) }
    }

    /// Returns a token that stands for `number`, for this caller, about this, until then. `with` is hidden in it.
    pub fn give(
        &self,
        purpose: Purpose,
        number: u64,
        (caller, about): (CallerKey, [u8; 32]),
        with: &str,
        until: Instant,
    ) -> String {
        self.given.set(self.given.get() + 1);
        let expires_ms = until.saturating_duration_since(self.since).as_millis() as u64;
        let token = Token { number, caller: caller.data().as_ffi(), about, expires_ms };
        // A nonce that is used once under a daemon's key: a count is.
        let mut nonce = [0; 24];
        nonce[..8].copy_from_slice(&self.given.get().to_le_bytes());
        self.sealer.seal(purpose, &token, with, nonce)
    }

    /// Returns what a token says and what is hidden in it, if mcpool made it and its time is not over. The caller of
    /// this method must still check whose it is.
    ///
    /// # Errors
    /// What is wrong with it, in words that go on from its name.
    pub fn open(&self, purpose: Purpose, text: &str) -> Result<(Token, String), &'static str> {
        let opened = self.sealer.open(purpose, text);
        let (token, with) = opened.ok_or("is not one of mcpool's or was changed, or mcpool was started anew since")?;
        let over = self.since.elapsed() >= Duration::from_millis(token.expires_ms);
        if over { Err("has expired") } else { Ok((token, with)) }
    }

    /// Returns what a token stands for, and what is hidden in it.
    ///
    /// # Errors
    /// It is none, or another caller's, or about something else.
    pub fn take(
        &self,
        purpose: Purpose,
        text: &str,
        (caller, about): (CallerKey, [u8; 32]),
    ) -> Result<(u64, String), &'static str> {
        let (token, with) = self.open(purpose, text)?;
        if token.caller != caller.data().as_ffi() {
            return Err("belongs to another caller");
        }
        if token.about != about {
            return Err("belongs to another request");
        }
        Ok((token.number, with))
    }
}
