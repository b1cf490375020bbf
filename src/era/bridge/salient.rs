//! Called by `mux` to recognise a request that comes again: a client that returns for a held call must want the same as
//! before, although it writes its request anew and may order it otherwise.

use sha2::{Digest, Sha256};

use super::object::{Object, quote};
use super::request::OF_RETRY;
use crate::wire::json::{Fault, Reader};
use crate::wire::message::unquote;

/// What is nested deeper counts as the text that it is, so that nobody can exhaust the stack.
const DEEPEST: usize = 64;

/// A digest of what parameters mean, but for what differs between a request and its retry. The order of keys,
/// white space and the spelling of strings do not matter; numbers count as they are written.
pub fn salient(params: &str) -> [u8; 32] {
    let params = Object::of(params).without(&["_meta"]).without(&OF_RETRY).to_string();
    let mut writer = Writer { text: &params, out: Vec::with_capacity(params.len()) };
    let mut reader = Reader::new(params.as_bytes(), crate::wire::json::DEEPEST);
    // Parameters that were received as a message can be read; if not, their beginning tells them apart.
    let _ = writer.value(&mut reader, 0);
    Sha256::digest(&writer.out).into()
}

/// Writes JSON in the one form that all texts of the same meaning have.
struct Writer<'a> {
    text: &'a str,
    out: Vec<u8>,
}

impl Writer<'_> {
    fn value(&mut self, reader: &mut Reader<'_>, level: usize) -> Result<(), Fault> {
        match reader.peek() {
            Some(b'{') if level < DEEPEST => self.object(reader, level),
            Some(b'[') if level < DEEPEST => {
                self.out.push(b'[');
                reader.array(|reader| {
                    self.value(reader, level + 1)?;
                    self.out.push(b',');
                    Ok(())
                })?;
                self.out.push(b']');
                Ok(())
            }
            _ => {
                let start = reader.position();
                reader.value()?;
                self.scalar(self.text.get(start..reader.position()).unwrap_or_default());
                Ok(())
            }
        }
    }

    fn object(&mut self, reader: &mut Reader<'_>, level: usize) -> Result<(), Fault> {
        self.out.push(b'{');
        let start = self.out.len();
        let mut members = Vec::new();
        reader.object(|reader, key| {
            let start = self.out.len();
            self.scalar(&format!("\"{}\"", String::from_utf8_lossy(key.raw)));
            self.out.push(b':');
            self.value(reader, level + 1)?;
            self.out.push(b',');
            members.push(start..self.out.len());
            Ok(())
        })?;
        // Most clients write the same order each time, and most of those the order of the alphabet.
        if !members.is_sorted_by_key(|member| &self.out[member.clone()]) {
            members.sort_by_key(|member| &self.out[member.clone()]);
            let sorted: Vec<u8> = members.into_iter().flat_map(|member| &self.out[member]).copied().collect();
            self.out.truncate(start);
            self.out.extend(sorted);
        }
        self.out.push(b'}');
        Ok(())
    }

    fn scalar(&mut self, raw: &str) {
        let plain = if raw.starts_with('"') && raw.contains('\\') { unquote(raw) } else { None };
        match plain {
            Some(text) => self.out.extend_from_slice(quote(&text).as_bytes()),
            None => self.out.extend_from_slice(raw.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_request_is_known_again() {
        let first = salient(r#"{"name":"x","arguments":{"b":[1,{"d":true,"c":"é/\n"}],"a":1.0}}"#);
        for same in [
            r#"{"arguments":{"a":1.0,"b":[1,{"c":"é/\n","d":true}]},"name":"x"}"#,
            r#" { "name" : "\u0078", "argu\u006dents" : { "b" : [ 1 , {"d":true, "c":"\u00e9\/\u000a"} ], "a":1.0 } } "#,
            r#"{"_meta":{"progressToken":2},"name":"x","arguments":{"b":[1,{"d":true,"c":"é/\n"}],"a":1.0},"requestState":"s","inputResponses":{"k":{}}}"#,
        ] {
            assert_eq!(salient(same.trim()), first, "{same}");
        }
    }

    #[test]
    fn another_request_is_told_apart() {
        let texts = [
            "{}",
            r#"{"name":"x"}"#,
            r#"{"name":"y"}"#,
            r#"{"name":"x","arguments":{}}"#,
            r#"{"name":"x","arguments":{"a":1}}"#,
            r#"{"name":"x","arguments":{"a":1.0}}"#,
            r#"{"name":"x","arguments":{"a":"1"}}"#,
            r#"{"name":"x","arguments":{"a":[1,2]}}"#,
            r#"{"name":"x","arguments":{"a":[2,1]}}"#,
            r#"{"name":"x","arguments":{"a":[[1],2]}}"#,
            r#"{"name":"x","arguments":{"_meta":1}}"#,
        ];
        let digests: std::collections::HashSet<[u8; 32]> = texts.iter().map(|text| salient(text)).collect();
        assert_eq!(digests.len(), texts.len());
    }

    #[test]
    fn depth_costs_no_stack() {
        let nested = |depth: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert_ne!(salient(&nested(1000)), salient(&nested(999)));
        assert_eq!(salient(&nested(60)), salient(&nested(60).replace("[[", "[ [")));
    }
}
