//! Called for `pattern` in schemas that clients compile: whether JavaScript can, in its strict mode (ECMAScript 2024,
//! section 22.2). Of what is beyond the usual nothing is known, so it counts as if not: Python's named groups, for
//! example.

/// What stands before the place that is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// Nothing that can be repeated.
    Nothing,
    Atom,
    /// An atom with how often: only `?` may follow.
    Repeated,
}

/// Whether a text is a pattern that JavaScript compiles.
pub(crate) fn is_pattern(text: &str) -> bool {
    let letters: Vec<char> = text.chars().collect();
    let (mut at, mut before, mut open) = (0, Before::Nothing, Vec::new());
    while let Some(letter) = letters.get(at) {
        let rest = &letters[at..];
        let (taken, next) = match letter {
            '\\' => match rest.get(1) {
                Some('b' | 'B') => (2, Before::Nothing),
                Some(escaped) if is_class(*escaped) || is_plain_escape(*escaped) => (2, Before::Atom),
                _ => return false,
            },
            '[' => match class(&rest[1..]) {
                Some(taken) => (taken + 1, Before::Atom),
                None => return false,
            },
            '(' => {
                let start: String = rest.iter().take(4).collect();
                let plain = Some("(?:").filter(|it| start.starts_with(it));
                let looks = ["(?=", "(?!", "(?<=", "(?<!"].into_iter().find(|it| start.starts_with(it));
                if plain.or(looks).is_none() && start.starts_with("(?") {
                    return false;
                }
                // What only looks cannot be repeated.
                open.push(if looks.is_some() { Before::Nothing } else { Before::Atom });
                (plain.or(looks).map_or(1, str::len), Before::Nothing)
            }
            ')' => match open.pop() {
                Some(group) => (1, group),
                None => return false,
            },
            '*' | '+' if before == Before::Atom => (1, Before::Repeated),
            '?' => match before {
                Before::Atom => (1, Before::Repeated),
                Before::Repeated => (1, Before::Nothing),
                Before::Nothing => return false,
            },
            '{' if before == Before::Atom => match times(&rest[1..]) {
                Some(taken) => (taken + 1, Before::Repeated),
                None => return false,
            },
            '*' | '+' | '{' | '}' | ']' => return false,
            '|' | '^' | '$' => (1, Before::Nothing),
            _ => (1, Before::Atom),
        };
        (at, before) = (at + taken, next);
    }
    open.is_empty()
}

/// Whether an escaped letter stands for a class of letters.
fn is_class(letter: char) -> bool {
    matches!(letter, 'd' | 'D' | 'w' | 'W' | 's' | 'S')
}

/// Whether an escaped letter stands for one letter.
fn is_plain_escape(letter: char) -> bool {
    matches!(letter, 't' | 'n' | 'r' | 'f' | 'v') || r"^$\.*+?()[]{}|/".contains(letter)
}

/// How many letters belong to a class, from behind its bracket to the closing one.
fn class(letters: &[char]) -> Option<usize> {
    let mut at = usize::from(letters.first() == Some(&'^'));
    loop {
        if *letters.get(at)? == ']' {
            return Some(at + 1);
        }
        let (from, taken) = class_letter(&letters[at..])?;
        at += taken;
        if letters.get(at) == Some(&'-') && letters.get(at + 1).is_some_and(|next| *next != ']') {
            let (to, taken) = class_letter(&letters[at + 1..])?;
            if from? > to? {
                return None;
            }
            at += 1 + taken;
        }
    }
}

/// One letter of a class, none if it stands for several, and how many it is written with.
fn class_letter(letters: &[char]) -> Option<(Option<char>, usize)> {
    match (letters.first()?, letters.get(1)) {
        ('\\', Some(escaped)) if is_class(*escaped) => Some((None, 2)),
        ('\\', Some('b')) => Some((Some('\u{8}'), 2)),
        ('\\', Some('t')) => Some((Some('\t'), 2)),
        ('\\', Some('n')) => Some((Some('\n'), 2)),
        ('\\', Some('v')) => Some((Some('\u{b}'), 2)),
        ('\\', Some('f')) => Some((Some('\u{c}'), 2)),
        ('\\', Some('r')) => Some((Some('\r'), 2)),
        ('\\', Some(escaped)) if is_plain_escape(*escaped) || *escaped == '-' => Some((Some(*escaped), 2)),
        ('\\', _) => None,
        (letter, _) => Some((Some(*letter), 1)),
    }
}

/// How many letters say how often, from behind the brace to the closing one.
fn times(letters: &[char]) -> Option<usize> {
    let end = letters.iter().position(|letter| *letter == '}')?;
    let text: String = letters[..end].iter().collect();
    let (least, most) = text.split_once(',').unwrap_or((&text, &text));
    let least: u32 = least.parse().ok()?;
    let right = if most.is_empty() { text.ends_with(',') } else { most.parse().is_ok_and(|most: u32| least <= most) };
    right.then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use crate::catalogue::legible::pattern::*;

    #[test]
    fn usual_patterns_are_told_from_what_javascript_does_not_compile() {
        for good in [
            "",
            "^[a-zA-Z0-9_.-]+@[^\\s@]+$",
            r"^\d{4}-\d{2}-\d{2}(T\d+(\.\d+)?Z?)??$",
            "(?:a|b)*c{2,}d{1,2}?",
            "(?=x)(?<!y)a",
            r"[\w\-.\]]",
            "ü+",
            "[]",
            "[^]",
        ] {
            assert!(is_pattern(good), "{good}");
        }
        for bad in [
            "(?P<a>x)", "(?i)x", r"a\-b", r"\_", r"\A", r"\Z", "*", "a**", "a{2,1}", "a{x}", "{", "}", "]", "[",
            "[b-a]", "(", ")", "(?=x)*", "^*", r"[\w-z]", r"\p{L}", "\\", "a++", "(?>a)", r"\b+", "a{,2}",
        ] {
            assert!(!is_pattern(bad), "{bad}");
        }
    }
}
