//! Called by `mux::bridge::held`: the `requestState` of a held call travels through a client, which must be able
//! neither to read nor to change nor to invent one (revision 2026-07-28, page "Multi Round-Trip Requests").

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};

/// What every state of ours begins with. It is sealed with the rest.
const PREFIX: &str = "mcpool.held.";

/// Seals and opens under one key.
pub struct Sealer(XChaCha20Poly1305);

/// What a `requestState` of ours says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The held call, as its daemon counts them.
    pub serial: u64,
    /// The connection whose call it is.
    pub caller: u64,
    /// A digest of the request that it answers.
    pub request: [u8; 32],
    /// Until when it is good, in milliseconds of the daemon's clock.
    pub expires_ms: u64,
}

impl Sealer {
    /// A sealer with a key that nobody else has.
    pub fn new(key: [u8; 32]) -> Sealer {
        Sealer(XChaCha20Poly1305::new(&key.into()))
    }

    /// A text that only a sealer of the same key opens. A nonce is good for one text.
    pub fn seal(&self, held: &Held, nonce: [u8; 24]) -> String {
        let payload = Payload { msg: &held.to_bytes(), aad: PREFIX.as_bytes() };
        // Only a text of gigabytes cannot be sealed; a nonce alone opens to nothing.
        let sealed = self.0.encrypt(&XNonce::from(nonce), payload).unwrap_or_default();
        PREFIX.to_owned() + &URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat())
    }

    /// What was sealed; `None` if this key did not seal it or it was changed since.
    pub fn open(&self, text: &str) -> Option<Held> {
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<24>()?;
        let payload = Payload { msg: sealed, aad: PREFIX.as_bytes() };
        Held::from_bytes(&self.0.decrypt(&XNonce::from(*nonce), payload).ok()?)
    }
}

impl Held {
    fn to_bytes(self) -> Vec<u8> {
        let numbers = [self.serial, self.caller, self.expires_ms].map(u64::to_be_bytes);
        [&numbers.concat()[..], &self.request].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Held> {
        let (serial, rest) = bytes.split_first_chunk()?;
        let (caller, rest) = rest.split_first_chunk()?;
        let (expires_ms, request) = rest.split_first_chunk()?;
        let [serial, caller, expires_ms] = [serial, caller, expires_ms].map(|number| u64::from_be_bytes(*number));
        Some(Held { serial, caller, expires_ms, request: request.try_into().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: Held = Held { serial: 1, caller: u64::MAX - 1, request: [7; 32], expires_ms: 3 };

    #[test]
    fn what_was_sealed_is_opened_by_the_same_key_only() {
        let sealer = Sealer::new([1; 32]);
        let text = sealer.seal(&HELD, [2; 24]);
        assert_eq!(sealer.open(&text), Some(HELD));
        assert_eq!(Sealer::new([3; 32]).open(&text), None);
        assert_ne!(text, sealer.seal(&HELD, [4; 24]));
    }

    #[test]
    fn whatever_is_changed_is_not_opened() {
        let sealer = Sealer::new([1; 32]);
        let text = sealer.seal(&HELD, [2; 24]);
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(sealer.open(std::str::from_utf8(&changed).unwrap()), None, "byte {at}");
            assert_eq!(sealer.open(&text[..at]), None, "the first {at} bytes");
        }
        assert_eq!(sealer.open(&(text + "A")), None);
        assert_eq!(sealer.open("mcpool.held.é"), None);
    }
}
