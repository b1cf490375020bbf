//! Called by `cli::log`: how the fields of a log line are written. Peers chose many of them, so that this is the place
//! where no line can be forged: a value ends no line, moves no cursor, is no second field, and has a longest length.

use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

use crate::text::Shown;

/// Bytes of a value that are written.
const LONGEST: usize = 8192;

/// Writes the fields of events and spans.
pub struct Fields;

impl<'writer> FormatFields<'writer> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut line = Line { writer, begun: false, outcome: Ok(()) };
        fields.record(&mut line);
        line.outcome
    }
}

struct Line<'writer> {
    writer: Writer<'writer>,
    begun: bool,
    outcome: fmt::Result,
}

impl Line<'_> {
    fn field(&mut self, field: &Field, value: &dyn Debug, is_text: bool) {
        let mut written = Bounded { text: String::new(), cut: false };
        // It fails where it is cut.
        let _ = write!(written, "{value:?}");
        if written.cut {
            written.text.push_str(if is_text { "[...]\"" } else { "[...]" });
        }
        let quoted = !is_text && field.name() != "message" && written.text.contains([' ', '"', '=', '\n']);
        self.outcome = self.outcome.and_then(|()| self.write(field.name(), &written.text, quoted));
        self.begun = true;
    }

    fn write(&mut self, name: &str, value: &str, quoted: bool) -> fmt::Result {
        if self.begun {
            self.writer.write_char(' ')?;
        }
        match name {
            "message" => {}
            _ if self.writer.has_ansi_escapes() => write!(self.writer, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m")?,
            _ => write!(self.writer, "{name}=")?,
        }
        let mut shown = Shown::within_a_line(&mut self.writer);
        if !quoted {
            return shown.write_str(value);
        }
        shown.write_char('"')?;
        let mut before = ' ';
        for letter in value.chars() {
            // A backslash right before the mark would take the escape's meaning.
            let escape = if before == '\\' { r"\\" } else { r"\" };
            if letter == '"' {
                shown.write_str(escape)?;
            }
            shown.write_char(letter)?;
            before = letter;
        }
        shown.write_str(if before == '\\' { "\\\"" } else { "\"" })
    }
}

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.field(field, &format_args!("{value}"), false)
        } else {
            self.field(field, &value, true)
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.field(field, value, false);
    }
}

/// The beginning of a text.
struct Bounded {
    text: String,
    cut: bool,
}

impl Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let mut end = more.len().min(LONGEST.saturating_sub(self.text.len()));
        while !more.is_char_boundary(end) {
            end -= 1;
        }
        self.text.push_str(&more[..end]);
        self.cut |= end < more.len();
        if self.cut { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Out(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Out {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written of what is logged meanwhile.
    fn logged(log: impl FnOnce()) -> String {
        let out = Out::default();
        let sink = out.clone();
        let subscriber = tracing_subscriber::fmt().fmt_fields(Fields).with_ansi(false).without_time();
        let subscriber = subscriber.with_max_level(tracing::Level::DEBUG).with_writer(move || sink.clone());
        tracing::subscriber::with_default(subscriber.finish(), log);
        String::from_utf8(out.0.lock().unwrap().clone()).unwrap()
    }

    const EVIL: &str = "x\n2026-01-01 INFO mcpool: all is well\u{1b}[2J\u{202e}\u{2028}";

    #[test]
    fn no_value_forges_a_line() {
        let said = logged(|| {
            let span = tracing::debug_span!("call", id = EVIL, tool = %EVIL);
            let _entered = span.enter();
            tracing::info!(reason = %EVIL, name = EVIL, debug = ?Some(EVIL), "{EVIL}");
        });
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.ends_with('\n') && !said.contains(['\u{1b}', '\u{202e}', '\u{2028}']), "{said:?}");
    }

    #[test]
    fn no_value_forges_a_field() {
        let said = logged(
            || tracing::info!(reason = %"x\" outcome=\"ok\\\" y", file = %"/a b", end = %r"a \", ms = 3, "it ended"),
        );
        assert_eq!(
            said.split_once(": ").unwrap().1,
            "it ended reason=\"x\\\" outcome=\\\"ok\\\\\\\" y\" file=\"/a b\" end=\"a \\\\\" ms=3\n"
        );
    }

    #[test]
    fn a_value_has_a_longest_length() {
        let said = logged(|| tracing::info!(why = "é".repeat(100_000), how = %"x".repeat(100_000), "so"));
        assert!(
            said.len() < 2 * LONGEST + 200 && said.contains("[...]\" how=") && said.ends_with("[...]\n"),
            "{}",
            said.len()
        );
    }
}
