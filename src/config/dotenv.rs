//! Files of `NAME=value` lines: `env_file` in the config, and what `mcpool env record` writes. Nothing in them is
//! filled in or carried out.

use std::collections::BTreeMap;
use std::fmt::Write;

/// What is wrong with a file, and on which line. Never holds a value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) message: &'static str,
}

/// Reads the text of a file: names, `=`, and values that stand as they are, in `'...'`, or in `"..."` with escapes. Lines
/// may begin with `export`; what follows a `#` is a comment.
pub(super) fn read(text: &str) -> Result<BTreeMap<String, String>, Fault> {
    let mut variables = BTreeMap::new();
    let (mut rest, mut line) = (text.strip_prefix('\u{feff}').unwrap_or(text), 1);
    while !rest.is_empty() {
        let fault = |message| Fault { line, message };
        let end = rest.find('\n').map_or(rest.len(), |at| at + 1);
        let said = rest[..end].trim();
        if said.is_empty() || said.starts_with('#') {
            (rest, line) = (&rest[end..], line + 1);
            continue;
        }
        let (name, _) = said.split_once('=').ok_or_else(|| fault("it has no `=`"))?;
        let name = name.strip_prefix("export ").unwrap_or(name).trim();
        if !is_name(name) {
            return Err(fault("what stands before `=` is not the name of a variable"));
        }
        let begin = rest.find('=').map_or(end, |at| at + 1);
        let (value, length) = value(&rest[begin..]).map_err(fault)?;
        if value.contains('\0') {
            return Err(fault("it holds a NUL character"));
        }
        let read = &rest[..begin + length];
        line += read.matches('\n').count();
        rest = &rest[read.len()..];
        variables.insert(name.to_owned(), value);
    }
    Ok(variables)
}

/// Writes a file that reads as these.
pub(super) fn written<'a>(variables: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (name, value) in variables {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,@%+=~".contains(c);
        let escaped = match value.chars().all(plain) {
            true => value.to_owned(),
            false => {
                let inside = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\r', "\\r");
                format!("\"{inside}\"")
            }
        };
        // A String takes everything.
        let _ = writeln!(text, "{name}={escaped}");
    }
    text
}

pub(super) fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The value at the front, and how many bytes it takes up, the end of its line included.
fn value(text: &str) -> Result<(String, usize), &'static str> {
    let blank = text.len() - text.trim_start_matches([' ', '\t']).len();
    let line = |from: usize| text[from..].find('\n').map_or(text.len(), |at| from + at + 1);
    let Some(quote) = text[blank..].chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        let end = line(0);
        let said = &text[..end];
        let said = said.find(" #").map_or(said, |at| &said[..at]);
        return Ok((said.trim().to_owned(), end));
    };
    let mut full = String::new();
    let mut letters = text[blank + 1..].char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' if quote == '"' => match letters.next().map(|(_, escaped)| escaped) {
                Some('n') => full.push('\n'),
                Some('r') => full.push('\r'),
                Some('t') => full.push('\t'),
                Some(escaped) => full.push(escaped),
                None => break,
            },
            letter if letter == quote => {
                let after = blank + 1 + at + 1;
                let end = line(after);
                let rest = text[after..end].trim();
                let fine = rest.is_empty() || rest.starts_with('#');
                return if fine { Ok((full, end)) } else { Err("something follows the closing quote") };
            }
            letter => full.push(letter),
        }
    }
    Err("a quote is not closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let text = "\u{feff}# keys\n\nA=1\r\n export B = two words # not this\nC='a # \"b\"' # c\nD=\"x\\n\\\"y\\\"\nz\"\nE=\nF=a#b=c";
        let read = read(text).unwrap();
        let of = |name: &str| read.get(name).map(String::as_str);
        assert_eq!((of("A"), of("B"), of("C")), (Some("1"), Some("two words"), Some("a # \"b\"")));
        assert_eq!((of("D"), of("E"), of("F")), (Some("x\n\"y\"\nz"), Some(""), Some("a#b=c")));
    }

    #[test]
    fn says_the_line_and_never_a_value() {
        let fault = |text: &str| read(text).unwrap_err();
        assert_eq!(fault("A=1\nhunter2\n"), Fault { line: 2, message: "it has no `=`" });
        assert_eq!(fault("A=\"1\n2\"\nB C=1").line, 3);
        assert_eq!(fault("\nA='hunter2").message, "a quote is not closed");
        assert_eq!(fault("A='a' b").message, "something follows the closing quote");
        assert_eq!(fault("A=\"\\").line, 1);
    }

    #[test]
    fn what_is_written_reads_as_it_was() {
        let values = ["", "/usr/bin:/bin", "a b", "\"'\\$`", "line\r\nline", "é#", " x "];
        let names = ["A", "B", "C", "D", "E", "F", "G"];
        let text = written(names.into_iter().zip(values));
        assert_eq!(read(&text).unwrap().into_values().collect::<Vec<_>>(), values);
    }
}
