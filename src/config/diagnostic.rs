//! Mistakes in a config, shown as a compiler shows them: place, line, caret, remedy.
//! Collected in a `Notes` while the file is read (`yaml.rs`, `fields.rs`, `file.rs`); printed by `check` and `serve`.

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::fmt;

use super::Surroundings;
use super::substitute::Env;
use super::yaml::{Node, Place, Value};
use crate::plural::plural;
use crate::text;

/// How many mistakes are kept: whoever pastes the wrong file needs no more.
const MOST: usize = 100;
/// How many characters of a line are shown on either side of the mistake: JSON often is one line.
const MARGIN: usize = 70;

/// Everything that is wrong with a config; never empty. `Display` shows all of it, with a count at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub(super) Vec<Mistake>);

/// One thing that is wrong with a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The file's name as the user knows it.
    pub file: String,
    /// Where in the file; None when the file as a whole is meant.
    pub spot: Option<Spot>,
}

/// A place in a file, and what stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// The line, or the part around the place if it is long; values under `env` are shown as `*`.
    excerpt: String,
    /// Whether the line is shown at all.
    shown: bool,
    /// Where in the excerpt the carets begin, and how many: in characters.
    carets: (usize, usize),
}

/// What has been noticed while a file is read: its mistakes, and the places whose text must not be shown.
pub(super) struct Notes<'e> {
    env: Env<'e>,
    surroundings: RefCell<Surroundings>,
    mistakes: RefCell<Vec<(Place, String, Option<String>)>>,
    hidden: RefCell<Vec<Place>>,
    warnings: RefCell<Vec<String>>,
    /// Nothing of the text may be shown: nobody knows what it means.
    broken: Cell<bool>,
}

impl Mistakes {
    /// One mistake about `file` as a whole.
    pub(super) fn whole(file: &str, message: String, help: &str) -> Self {
        Self(vec![Mistake { message, help: Some(help.to_owned()), file: file.to_owned(), spot: None }])
    }

    /// Each mistake, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.0.iter()
    }
}

impl std::error::Error for Mistakes {}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.0 {
            writeln!(f, "{mistake}\n")?;
        }
        match self.0.len() {
            MOST => write!(f, "{MOST} mistakes or more"),
            count => f.write_str(&plural(count, "mistake")),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.message)?;
        match &self.spot {
            None => write!(f, " --> {}", self.file)?,
            Some(spot) => {
                let number = spot.line.to_string();
                let gutter = " ".repeat(number.len());
                write!(f, "{gutter}--> {}:{}:{}", self.file, spot.line, spot.column)?;
                if spot.shown {
                    write!(f, "\n{gutter} |\n{number} | {}\n{gutter} | {}", spot.excerpt, spot.underline())?;
                }
            }
        }
        match &self.help {
            Some(help) => write!(f, "\nhelp: {help}"),
            None => Ok(()),
        }
    }
}

impl Spot {
    fn new(place: Place, line: &str, hidden: &[Place]) -> Self {
        let shown = masked(line, place.line, hidden);
        let at = (place.column - 1).min(shown.len());
        let width = place.width.min(shown.len() - at).max(1);
        let (start, end) = (at.saturating_sub(MARGIN), (at + width.min(MARGIN) + MARGIN).min(shown.len()));
        let mut excerpt: String = if start > 0 { "…" } else { "" }.to_owned();
        let carets = (excerpt.chars().count() + at - start, width.min(end - at).max(1));
        excerpt.extend(&shown[start..end]);
        excerpt.push_str(if end < shown.len() { "…" } else { "" });
        Self { line: place.line, column: place.column, excerpt, shown: true, carets }
    }

    /// Tabs stay tabs, so that the carets stand below what they mean whatever a tab's width is.
    fn underline(&self) -> String {
        let (start, width) = self.carets;
        let indent = self.excerpt.chars().take(start).map(|c| if c == '\t' { '\t' } else { ' ' });
        indent.chain(std::iter::repeat_n('^', width)).collect()
    }
}

/// The characters of a line as they may be shown: no secrets, nothing that moves a terminal's cursor.
fn masked(line: &str, number: usize, hidden: &[Place]) -> Vec<char> {
    let mut shown: Vec<char> =
        line.trim_end().chars().map(|c| if text::is_shown(c) || c == '\t' { c } else { '\u{fffd}' }).collect();
    for place in hidden.iter().filter(|place| place.line <= number && number <= place.last.0) {
        let start = if place.line == number { place.column - 1 } else { 0 };
        let end = if place.last.0 == number { place.last.1 - 1 } else { shown.len() };
        let mut reference = false;
        for at in start..end.min(shown.len()) {
            // `${env:NAME}` is no secret but what stands for one, and mistakes in it must be seen.
            reference |= shown[at] == '$' && shown.get(at + 1) == Some(&'{');
            let ends = shown[at] == '}';
            if !reference && !shown[at].is_whitespace() && !matches!(shown[at], '"' | '\'') {
                shown[at] = '*';
            }
            reference &= !ends;
        }
    }
    shown
}

impl<'e> Notes<'e> {
    pub(super) fn new(env: Env<'e>) -> Self {
        Self {
            env,
            surroundings: RefCell::default(),
            mistakes: RefCell::default(),
            hidden: RefCell::default(),
            warnings: RefCell::default(),
            broken: Cell::default(),
        }
    }

    /// From here on variables are looked up there.
    pub(super) fn surround(&self, surroundings: Surroundings) {
        self.surroundings.replace(surroundings);
    }

    /// What `${env:NAME}` stands for.
    pub(super) fn variable(&self, name: &str) -> Option<OsString> {
        let surroundings = self.surroundings.borrow();
        if surroundings.is_written() { surroundings.variable(name) } else { (self.env)(name) }
    }

    /// For one server of many, whose mistakes may be no mistakes of the file; variables are those of `self`.
    pub(super) fn trial(&self) -> Notes<'e> {
        Notes { surroundings: self.surroundings.clone(), ..Notes::new(self.env) }
    }

    /// Takes over what was noticed in a trial.
    pub(super) fn absorb(&self, trial: Notes<'e>, mistakes_too: bool) {
        trial.warnings.take().into_iter().for_each(|warning| self.warn(warning));
        self.hidden.borrow_mut().extend(trial.hidden.take());
        if mistakes_too {
            self.mistakes.borrow_mut().extend(trial.mistakes.take());
        }
    }

    /// The first mistake so far.
    pub(super) fn first(&self) -> Option<String> {
        self.mistakes.borrow().first().map(|(_, message, _)| message.clone())
    }

    /// The text is not the language that is read: where, and nothing of what stands there, which may be anything.
    pub(super) fn unreadable(&self, place: Place, message: impl Into<String>, help: impl Into<String>) {
        self.mistakes.take();
        self.mistake(place, message, help);
        self.broken.set(true);
    }

    /// Notes a mistake, and its remedy (empty: none is known).
    pub(super) fn mistake(&self, place: Place, message: impl Into<String>, help: impl Into<String>) {
        let mut mistakes = self.mistakes.borrow_mut();
        if mistakes.len() < MOST {
            let help = help.into();
            mistakes.push((place, message.into(), (!help.is_empty()).then_some(help)));
        }
    }

    /// Notes what is allowed but probably not meant.
    pub(super) fn warn(&self, warning: String) {
        let mut warnings = self.warnings.borrow_mut();
        if warnings.len() < MOST && !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    /// All warnings so far.
    pub(super) fn warnings(&self) -> Vec<String> {
        self.warnings.take()
    }

    /// No mistake may show the scalars in `node`: they may be secrets.
    pub(super) fn hide(&self, node: &Node) {
        match &node.value {
            Value::Scalar { .. } => self.hidden.borrow_mut().push(node.place),
            Value::List(items) => items.iter().for_each(|item| self.hide(item)),
            Value::Map(entries) => entries.iter().for_each(|entry| self.hide(&entry.node)),
        }
    }

    /// Whether what stands there may not be shown.
    pub(super) fn hides(&self, node: &Node) -> bool {
        matches!(node.value, Value::Scalar { .. }) && !node.is_null() && self.hidden.borrow().contains(&node.place)
    }

    /// The mistakes in the order of the file, if there are any.
    pub(super) fn into_mistakes(self, file: &str, text: &str) -> Option<Mistakes> {
        let (shown, lines): (bool, Vec<&str>) = (!self.broken.get(), text.lines().collect());
        let hidden = self.hidden.into_inner();
        let mut noted = self.mistakes.into_inner();
        noted.sort_by_key(|(place, ..)| (place.line, place.column));
        let mistakes: Vec<Mistake> = noted
            .into_iter()
            .map(|(place, message, help)| {
                let line = lines.get(place.line - 1).copied().unwrap_or_default();
                let line = if shown { line } else { "" };
                let spot = Spot { shown, ..Spot::new(place, line, &hidden) };
                Mistake { message, help, file: file.to_owned(), spot: Some(spot) }
            })
            .collect();
        (!mistakes.is_empty()).then_some(Mistakes(mistakes))
    }
}

/// Text of the file as part of a message: short, on one line, in backquotes.
pub(super) fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("`{}`", short.replace(char::is_control, "\u{fffd}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str, column: usize, width: usize) -> String {
        let notes = Notes::new(&|_| None);
        notes.mistake(Place::new(1, column, width), "wrong", "right");
        notes.into_mistakes("x.yaml", line).map(|mistakes| mistakes.to_string()).unwrap_or_default()
    }

    #[test]
    fn points_at_the_place() {
        let expected =
            "error: wrong\n --> x.yaml:1:5\n  |\n1 |     concurency: 32\n  |     ^^^^^^^^^^\nhelp: right\n\n1 mistake";
        assert_eq!(shown("    concurency: 32", 5, 10), expected);
    }

    #[test]
    fn tabs_and_control_characters() {
        assert!(shown("\ta\x1b[2J: 1", 2, 1).contains("1 | \ta\u{fffd}[2J: 1\n  | \t^\n"));
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let line = format!("{}HERE{}", "a".repeat(5_000), "b".repeat(5_000));
        let text = shown(&line, 5_001, 4);
        assert!(
            text.contains(&format!(
                "1 | …{}HERE{}…\n  | {}^^^^\n",
                "a".repeat(MARGIN),
                "b".repeat(MARGIN),
                " ".repeat(MARGIN + 1)
            )),
            "{text}"
        );
    }

    #[test]
    fn a_place_beyond_the_end_is_no_trouble() {
        assert!(shown("", 9, 3).contains("1 | \n  | ^\n"));
        assert!(shown("ab", 2, 0).contains("1 | ab\n  |  ^\n"));
    }

    #[test]
    fn hidden_text_is_masked_except_for_references() {
        let place = Place { last: (2, 4), ..Place::new(1, 4, 1) };
        assert_eq!(masked("a: hun ${env:X}ter2", 1, &[place]).iter().collect::<String>(), "a: *** ${env:X}****");
        assert_eq!(masked("abcdef", 2, &[place]).iter().collect::<String>(), "***def");
        assert_eq!(masked("abcdef", 3, &[place]).iter().collect::<String>(), "abcdef");
    }
}
