//! Called by `mux::tokens`: seals what mcpool gives a client to come back with. The client can neither read nor change
//! nor invent it (revision 2026-07-28, page "Multi Round-Trip Requests").

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};

/// What every token of mcpool's begins with.
pub const OURS: &str = "mcpool.";

/// Seals and opens under one key.
pub struct Sealer(XChaCha20Poly1305);

/// What a token is for. It is sealed with the rest, so that none passes for one of another purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To come back for a held call.
    Held,
    /// To come back to the instance of a modern server that asked.
    Asked,
    /// The same, where mcpool owes that server roots.
    Owing,
    /// To go on with a list.
    Page,
    /// Nothing comes back with it: it names an elicitation.
    Elicitation,
}

impl Purpose {
    /// What a token of this purpose begins with.
    pub fn prefix(self) -> &'static str {
        match self {
            Purpose::Held => "mcpool.held.",
            Purpose::Asked => "mcpool.asked.",
            Purpose::Owing => "mcpool.owing.",
            Purpose::Page => "mcpool.page.",
            Purpose::Elicitation => "mcpool.elicitation.",
        }
    }
}

/// What a token of ours says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it stands for, as its daemon counts that.
    pub number: u64,
    /// The connection that it was given to.
    pub caller: u64,
    /// A digest of what it belongs to: the request, and the server.
    pub about: [u8; 32],
    /// Until when it is good, in milliseconds of the daemon's clock.
    pub expires_ms: u64,
}

impl Sealer {
    /// A sealer with a key that nobody else has.
    pub fn new(key: [u8; 32]) -> Sealer {
        Sealer(XChaCha20Poly1305::new(&key.into()))
    }

    /// A text that only a sealer of the same key opens; `with` is sealed in it too. A nonce is good for one.
    pub fn seal(&self, purpose: Purpose, token: &Token, with: &str, nonce: [u8; 24]) -> String {
        let prefix = purpose.prefix();
        let said = [&token.to_bytes()[..], with.as_bytes()].concat();
        let payload = Payload { msg: &said, aad: prefix.as_bytes() };
        // Only a text of gigabytes cannot be sealed; a nonce alone opens to nothing.
        let sealed = self.0.encrypt(&XNonce::from(nonce), payload).unwrap_or_default();
        prefix.to_owned() + &URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat())
    }

    /// What was sealed, and with it; `None` if this key did not seal it for this purpose, or it was changed since.
    pub fn open(&self, purpose: Purpose, text: &str) -> Option<(Token, String)> {
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(purpose.prefix())?).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<24>()?;
        let payload = Payload { msg: sealed, aad: purpose.prefix().as_bytes() };
        let said = self.0.decrypt(&XNonce::from(*nonce), payload).ok()?;
        let (token, with) = Token::from_bytes(&said)?;
        Some((token, String::from_utf8(with.to_vec()).ok()?))
    }
}

impl Token {
    fn to_bytes(self) -> Vec<u8> {
        let numbers = [self.number, self.caller, self.expires_ms].map(u64::to_be_bytes);
        [&numbers.concat()[..], &self.about].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<(Token, &[u8])> {
        let (number, rest) = bytes.split_first_chunk()?;
        let (caller, rest) = rest.split_first_chunk()?;
        let (expires_ms, rest) = rest.split_first_chunk()?;
        let (about, with) = rest.split_first_chunk()?;
        let [number, caller, expires_ms] = [number, caller, expires_ms].map(|number| u64::from_be_bytes(*number));
        Some((Token { number, caller, expires_ms, about: *about }, with))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: Token = Token { number: 1, caller: u64::MAX - 1, about: [7; 32], expires_ms: 3 };

    #[test]
    fn what_was_sealed_is_opened_by_the_same_key_only() {
        let sealer = Sealer::new([1; 32]);
        let text = sealer.seal(Purpose::Held, &TOKEN, "", [2; 24]);
        assert_eq!(sealer.open(Purpose::Held, &text), Some((TOKEN, String::new())));
        assert_eq!(Sealer::new([3; 32]).open(Purpose::Held, &text), None);
        assert_ne!(text, sealer.seal(Purpose::Held, &TOKEN, "", [4; 24]));
    }

    #[test]
    fn whatever_is_changed_is_not_opened() {
        let sealer = Sealer::new([1; 32]);
        let text = sealer.seal(Purpose::Held, &TOKEN, "", [2; 24]);
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(sealer.open(Purpose::Held, std::str::from_utf8(&changed).unwrap()), None, "byte {at}");
            assert_eq!(sealer.open(Purpose::Held, &text[..at]), None, "the first {at} bytes");
        }
        assert_eq!(sealer.open(Purpose::Held, &(text + "A")), None);
        assert_eq!(sealer.open(Purpose::Held, "mcpool.held.é"), None);
    }

    #[test]
    fn a_token_is_good_for_its_purpose_alone_and_hides_what_is_in_it() {
        let sealer = Sealer::new([1; 32]);
        let text = sealer.seal(Purpose::Asked, &TOKEN, "the server's own", [2; 24]);
        assert_eq!(sealer.open(Purpose::Asked, &text), Some((TOKEN, "the server's own".to_owned())));
        assert!(!text.contains("own") && !text.contains(&URL_SAFE_NO_PAD.encode("own")));
        let bare = text.strip_prefix("mcpool.asked.").unwrap();
        assert_eq!(sealer.open(Purpose::Held, &format!("mcpool.held.{bare}")), None);
    }
}
