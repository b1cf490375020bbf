//! What servers and endpoints may be called, and which name was probably meant. Used by `file.rs` and `fields.rs`.

/// The longest name of a server or endpoint, in characters: it is part of tool names, which hosts cut off at 64.
pub(super) const LONGEST: usize = 32;

/// What is wrong with `name` as the name of a server or endpoint, or None.
pub(super) fn fault(name: &str) -> Option<&'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() {
        Some("it is empty")
    } else if name.len() > LONGEST {
        Some("it is longer than 32 characters")
    } else if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        Some("it has to begin with a letter or a digit")
    } else if !name.chars().all(plain) {
        Some("only letters, digits, `_` and `-` are allowed")
    } else if name.contains("__") || name.ends_with('_') {
        // SERVER__NAME has to come apart again in one way only.
        Some("`__`, or a `_` at the end, would make SERVER__TOOL ambiguous")
    } else {
        None
    }
}

/// The one of `known` that `word` was probably meant to be, whatever its case and its separators.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = bare(word);
    let most = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&word, &bare(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= most && *distance < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `maxMessage`, `max-message` and `max_message` are the same to whoever mistypes them.
fn bare(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["files", "a", "0", "my-server_2", "A-", &"x".repeat(32)] {
            assert_eq!(fault(name), None, "{name}");
        }
        for name in ["", "-a", "_a", "a__b", "a_", "a.b", "a b", "é", "a/b", &"x".repeat(33)] {
            assert!(fault(name).is_some(), "{name}");
        }
    }

    #[test]
    fn suggestions() {
        let known = ["concurrency", "command", "env", "max_message"];
        assert_eq!(nearest("concurency", known), Some("concurrency"));
        assert_eq!(nearest("maxMessage", known), Some("max_message"));
        assert_eq!(nearest("comand", known), Some("command"));
        assert_eq!(nearest("evn", known), Some("env"));
        assert_eq!(nearest("zzz", known), None);
    }
}
