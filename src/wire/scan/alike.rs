//! Called by `wire::scan` for the keys that mcpool does not know: whether a peer could take one for a key that it does.
//! Go's `encoding/json`, .NET's web defaults and cJSON take capital and small letters for the same.

use std::borrow::Cow;

/// Whether a key, without its escapes, equals a known one for those who fold case, though it is not the same. Known
/// ones are ASCII. A line may hold millions of keys, so this ends at the first letter that differs.
#[cold]
pub fn alike(key: &[u8], known: &[u8]) -> bool {
    let mut rest = key;
    for letter in known {
        let (said, length) = first(rest);
        if said != letter.to_ascii_lowercase() {
            return false;
        }
        rest = &rest[length..];
    }
    // In C a text ends at NUL.
    matches!(rest.first(), None | Some(0))
}

/// Whether the least exact reader of JSON takes a key, with its escapes, for a known one.
pub fn is_read_as(key: &[u8], known: &[u8]) -> bool {
    key == known || {
        let key = plain(key);
        *key == *known || alike(&key, known)
    }
}

/// The first letter of a key as those read it who fold most, in lower case, and how many bytes it takes. Outside ASCII
/// some letters are taken for one within it: Unicode folds the first two so; Java and Turkish upper and lower case take
/// the dotted and the dotless I for the usual one.
pub fn first(key: &[u8]) -> (u8, usize) {
    match key {
        // U+017F, U+212A, U+0130 and U+0131.
        [0xc5, 0xbf, ..] => (b's', 2),
        [0xe2, 0x84, 0xaa, ..] => (b'k', 3),
        [0xc4, 0xb0 | 0xb1, ..] => (b'i', 2),
        [letter, ..] => (letter.to_ascii_lowercase(), 1),
        // No known key has it.
        [] => (0, 0),
    }
}

/// A key without its escapes: `m\u0065thod` is `method` to every JSON parser, so it is here too.
pub fn plain(key: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', key).is_none() {
        return Cow::Borrowed(key);
    }
    let quoted = [b"\"", key, b"\""].concat();
    serde_json::from_slice::<String>(&quoted).map_or(Cow::Borrowed(key), |text| Cow::Owned(text.into_bytes()))
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::super::Fields;
    use super::*;

    #[test]
    fn keys_are_alike_that_some_parser_takes_for_the_same() {
        for (key, known) in [
            ("NAME", "name"),
            ("ta\u{17f}k", "task"),
            ("tas\u{212a}", "task"),
            ("\u{131}d", "id"),
            ("\u{130}D", "id"),
            ("name\0", "name"),
            ("Name\0x", "name"),
        ] {
            assert!(alike(key.as_bytes(), known.as_bytes()), "{key:?}");
        }
        for key in ["nam", "names", "n\u{e4}me", "name ", "", "\0name", "\u{ff2e}ame"] {
            assert!(!alike(key.as_bytes(), b"name"), "{key:?}");
        }
        assert!(!alike(b"\xffame", b"name"));
    }

    #[test]
    fn a_line_of_strange_keys_is_read_about_as_fast_as_one_of_plain_keys() {
        let took = |key: &str| {
            let line = format!(r#"{{"params":{{{}"z":1}}}}"#, format!(r#""{key}":1,"#).repeat(100_000));
            let once = |_| {
                let since = Instant::now();
                assert_eq!(Fields::of(line.as_bytes(), 64).unwrap().doubt, None);
                since.elapsed()
            };
            // The machine may do other things meanwhile.
            (0..5).map(once).min().unwrap_or_default()
        };
        let (plain, strange) = (took("a"), took("\u{e9}"));
        assert!(strange < plain * 10, "{strange:?} for letters outside ASCII, {plain:?} for others");
    }
}
