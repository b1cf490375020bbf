//! Called by `call`: how far a call has come, as a bar on a terminal and as plain lines elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::client::Progress;
use crate::cli::print::complain;
use crate::text::line;

/// Steps of the bar: progress may be a fraction.
const STEPS: u64 = 1000;
/// How often a bar turns that does not know its end.
const TURN: Duration = Duration::from_millis(120);

/// Shows progress on stderr.
pub struct Bar {
    terminal: bool,
    bar: Option<ProgressBar>,
}

impl Bar {
    /// Nothing is shown before there is progress.
    pub fn new() -> Bar {
        Bar { terminal: rustix::termios::isatty(std::io::stderr()), bar: None }
    }

    /// Shows a step.
    pub fn show(&mut self, progress: &Progress) {
        let told = told(progress);
        if !self.terminal {
            complain(format_args!("progress {told}"));
            return;
        }
        let known = progress.total.filter(|total| *total > 0.0);
        let bar = self.bar.get_or_insert_with(|| if known.is_some() { bar() } else { spinner() });
        bar.set_message(told);
        if let Some(total) = known {
            bar.set_position((progress.progress / total * STEPS as f64) as u64);
        }
    }

    /// Takes the bar away.
    pub fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(STEPS).with_style(style)
}

fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(TURN);
    bar
}

/// `2/5: text`, as much of it as is known.
fn told(progress: &Progress) -> String {
    let mut told = progress.progress.to_string();
    if let Some(total) = progress.total {
        told += &format!("/{total}");
    }
    if let Some(message) = &progress.message {
        told += &format!(": {}", line(message));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told_by_what_is_known() {
        let step = |json: &str| told(&serde_json::from_str(json).unwrap());
        assert_eq!(step(r#"{"progress": 2, "total": 5, "message": "half\u001b"}"#), r"2/5: half\u{1b}");
        assert_eq!(step(r#"{"progress": 0.5}"#), "0.5");
    }
}
