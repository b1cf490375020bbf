//! Called by `wire::scan` for the keys that mcpool does not know: whether a peer could take one for a key that it does.
//! Go's `encoding/json`, .NET's web defaults and cJSON take capital and small letters for the same.

use std::borrow::Cow;

/// Whether a key, without its escapes, equals a known one for those who fold case, though it is not the same. Known
/// ones are ASCII.
#[cold]
pub fn alike(key: &[u8], known: &[u8]) -> bool {
    // In C a text ends there.
    let key = key.split(|&byte| byte == 0).next().unwrap_or_default();
    if key.is_ascii() {
        return key.eq_ignore_ascii_case(known);
    }
    let folded = std::str::from_utf8(key).map(|key| key.chars().map(fold).collect::<String>());
    folded.is_ok_and(|folded| folded.as_bytes().eq_ignore_ascii_case(known))
}

/// The letters outside ASCII that some take for one within it: Unicode folds the first two so; Java and Turkish upper
/// and lower case take the dotted and the dotless I for the usual one.
fn fold(letter: char) -> char {
    match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        '\u{130}' | '\u{131}' => 'i',
        other => other,
    }
}

/// A key without its escapes: `m\u0065thod` is `method` to every JSON parser, so it is here too.
pub fn plain(key: &[u8]) -> Cow<'_, [u8]> {
    let quoted = [b"\"", key, b"\""].concat();
    serde_json::from_slice::<String>(&quoted).map_or(Cow::Borrowed(key), |text| Cow::Owned(text.into_bytes()))
}

#[cfg(test)]
mod tests {
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
}
