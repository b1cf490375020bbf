//! Called by `status`: a page that fits the width of a terminal. Tables lose columns, whose cells go below their rows,
//! and sentences are broken between words; nothing is left out.

use comfy_table::{CellAlignment, Table, presets};

/// The width where nothing tells it.
const USUAL: usize = 80;
/// The narrowest that is cared for.
const LEAST: usize = 40;
/// The most letters of a cell: names are chosen by clients.
const CELL: usize = 32;

/// How many letters a line may have: those of the terminal, or what the environment says.
pub fn width() -> usize {
    let terminal = rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| usize::from(size.ws_col));
    let told = || std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    terminal.filter(|width| *width > 0).or_else(told).unwrap_or(USUAL).max(LEAST)
}

/// A column of a table.
pub struct Column {
    pub head: &'static str,
    /// Whether it is a number, which stands to the right.
    pub number: bool,
    /// Columns with the largest go first; those with 0 stay.
    pub goes: u8,
}

impl Column {
    /// One of words.
    pub const fn words(head: &'static str, goes: u8) -> Column {
        Column { head, number: false, goes }
    }

    /// One of numbers.
    pub const fn number(head: &'static str, goes: u8) -> Column {
        Column { head, number: true, goes }
    }
}

/// A row, and what is told below it.
pub struct Row {
    pub cells: Vec<String>,
    pub below: Vec<String>,
}

/// The rows as a table no wider than that.
pub fn table(columns: &[Column], rows: &[Row], width: usize) -> String {
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    loop {
        let lines = render(columns, rows, &shown);
        let widest = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        let goes = shown.iter().copied().filter(|at| columns[*at].goes > 0).max_by_key(|at| columns[*at].goes);
        match goes.filter(|_| widest > width) {
            Some(at) => shown.retain(|other| *other != at),
            None => return with_the_rest(columns, rows, &shown, lines, width),
        }
    }
}

fn clipped(cell: &str) -> String {
    match cell.char_indices().nth(CELL) {
        Some((end, _)) => format!("{}…", &cell[..end]),
        None => cell.to_owned(),
    }
}

fn render(columns: &[Column], rows: &[Row], shown: &[usize]) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(shown.iter().map(|at| columns[*at].head));
    for row in rows {
        table.add_row(shown.iter().map(|at| clipped(&row.cells[*at])));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((if index == 0 { 0 } else { 2 }, 0));
        if columns[shown[index]].number {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

fn with_the_rest(columns: &[Column], rows: &[Row], shown: &[usize], lines: Vec<String>, width: usize) -> String {
    let mut lines = lines.into_iter();
    let mut page = lines.next().unwrap_or_default() + "\n";
    for (line, row) in lines.zip(rows) {
        page += &(line + "\n");
        let folded =
            (0..columns.len()).filter(|at| !shown.contains(at) && !matches!(row.cells[*at].as_str(), "-" | "0"));
        let folded = folded.map(|at| format!("{} {}", columns[at].head.to_lowercase(), row.cells[at]));
        let below: Vec<String> = folded.chain(row.below.iter().cloned()).collect();
        if !below.is_empty() {
            page += &wrapped(&format!("    {}", below.join("; ")), width);
        }
    }
    page
}

/// The lines of a text, each broken between words where it is too long; what follows is indented a little more.
pub fn wrapped(text: &str, width: usize) -> String {
    let mut page = String::new();
    for line in text.lines() {
        if line.chars().count() <= width {
            page += &format!("{line}\n");
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let (mut used, mut begun) = (indent, false);
        page += &line[..indent];
        for word in line.split_whitespace() {
            let length = word.chars().count();
            if begun && used + 1 + length > width {
                page += &format!("\n{}", " ".repeat(indent + 2));
                used = indent + 2;
            } else if begun {
                page.push(' ');
                used += 1;
            }
            page += word;
            (used, begun) = (used + length, true);
        }
        page.push('\n');
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] =
        [Column::words("NAME", 0), Column::number("PID", 0), Column::words("LEASE", 2), Column::number("AGE", 1)];

    fn rows() -> Vec<Row> {
        let row = |cells: [&str; 4], below: &[&str]| Row {
            cells: cells.map(str::to_owned).into(),
            below: below.iter().map(|told| (*told).to_owned()).collect(),
        };
        vec![row(["files", "7", "shared", "5s"], &[]), row(["git", "1234567", "-", "1m 3s"], &["for cursor"])]
    }

    #[test]
    fn a_table_that_fits_is_one() {
        assert_eq!(
            table(&COLUMNS, &rows(), 80),
            "NAME       PID  LEASE     AGE\nfiles        7  shared     5s\ngit    1234567  -       1m 3s\n    for cursor\n"
        );
    }

    #[test]
    fn what_does_not_fit_goes_below() {
        assert_eq!(
            table(&COLUMNS, &rows(), 24),
            "NAME       PID    AGE\nfiles        7     5s\n    lease shared\ngit    1234567  1m 3s\n    for cursor\n"
        );
        let narrow = table(&COLUMNS, &rows(), 15);
        assert!(
            narrow.starts_with("NAME       PID\nfiles        7\n    lease\n      shared;\n      age 5s\n"),
            "{narrow}"
        );
    }

    #[test]
    fn a_cell_has_a_longest_length() {
        let mut all = rows();
        all[0].cells[0] = "x".repeat(1000);
        assert!(table(&COLUMNS, &all, 80).lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn sentences_are_broken_between_words() {
        assert_eq!(wrapped("  one two three\nfour\n\n", 11), "  one two\n    three\nfour\n\n");
    }
}
