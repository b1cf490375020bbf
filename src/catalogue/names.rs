//! Called wherever endpoints of several servers show or read a name: `SERVER__NAME`, within the 64 characters of
//! `[A-Za-z0-9_-]` that hosts accept. These are pure functions, so a name means the same before and after a restart.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use crate::hex::hex;

/// Between the server's name and the item's. Server names do not hold it.
const BETWEEN: &str = "__";
/// The longest name that hosts accept.
const LONGEST: usize = 64;
/// How much of a digest stands for what a name could not hold.
const DIGEST: usize = 8;

/// The name under which callers see an item of a server. What hosts would not accept, and what would be too
/// long, is replaced and told apart by a digest of the real name.
pub fn exposed(server: &str, real: &str) -> String {
    format!("{server}{BETWEEN}{}", behind_server(server, real))
}

/// Whether an item of a server is shown under its own name.
pub fn is_kept(server: &str, real: &str) -> bool {
    server.len() + BETWEEN.len() + real.len() <= LONGEST && real.chars().all(is_plain)
}

/// What stands behind `SERVER__` in the name under which callers see an item.
pub fn behind_server<'a>(server: &str, real: &'a str) -> Cow<'a, str> {
    if is_kept(server, real) {
        return Cow::Borrowed(real);
    }
    let digest = hex(&Sha256::digest(real.as_bytes()));
    let kept = LONGEST.saturating_sub(server.len() + BETWEEN.len() + DIGEST + 1);
    let readable: String =
        real.chars().map(|character| if is_plain(character) { character } else { '_' }).take(kept).collect();
    Cow::Owned(format!("{readable}_{}", &digest[..DIGEST]))
}

fn is_plain(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '-')
}

/// The server's name and the rest of an exposed name.
pub fn split(exposed: &str) -> Option<(&str, &str)> {
    exposed.split_once(BETWEEN)
}

/// Whether a name fits a pattern in which `*` stands for anything. Patterns may be a server's, so this takes no
/// more than one pass: each part is found at its first place, which leaves the most to those behind it.
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(tail) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(tail)
}

/// A template (RFC 6570) with `*` for each of its expressions, which is wider than the RFC but decides only which server is
/// asked.
pub fn pattern_of(template: &str) -> String {
    let mut pattern = String::new();
    let mut rest = template;
    while let Some((literal, behind)) = rest.split_once('{') {
        pattern.push_str(&literal.replace('*', ""));
        pattern.push('*');
        rest = behind.split_once('}').map_or("", |(_, rest)| rest);
    }
    pattern.push_str(rest);
    pattern
}

/// Whether a template says at least of which kind its URIs are: a scheme, and something behind it.
pub fn says_its_kind(template: &str) -> bool {
    let start = template.split('{').next().unwrap_or_default();
    start.split_once(':').is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.trim_matches('/').is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_within_what_hosts_accept_and_are_told_apart() {
        assert_eq!(exposed("files", "read_file"), "files__read_file");
        let long = exposed("files", &"x".repeat(70));
        let other = exposed("files", &"x".repeat(71));
        assert_eq!((long.len(), other.len()), (64, 64));
        assert_ne!(long, other);
        assert_ne!(exposed("a", "b.c"), exposed("a", "b_c"));
        assert_ne!(exposed("a", "b.c"), exposed("a", "b/c"));
        assert!(exposed("a", "b.ü").bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
        assert_eq!(split("files__a__b"), Some(("files", "a__b")));
    }

    #[test]
    fn a_pattern_is_fitted_in_one_pass() {
        assert!(matches("files__*", "files__read") && matches("*", "") && matches("a*c", "abbc"));
        assert!(matches(&"*".repeat(100_000), "x") && !matches(&"*x".repeat(1000), &"x".repeat(999)));
        assert!(!matches("files__*", "other__read") && !matches("a", "ab"));
    }
}
