//! What the user recorded of their environment, in a file beside the config that nobody else can read. Written by
//! `mcpool env record`; read by `Config::load`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::strict::{self, Distrust};
use super::{Mistakes, dotenv};

/// The largest record, in bytes.
const LARGEST: u64 = 1 << 20;

/// The variables that were recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub file: PathBuf,
    pub(super) variables: BTreeMap<String, String>,
}

impl Record {
    /// Where the record of a config is.
    pub fn place(config: &Path) -> PathBuf {
        let mut path = config.as_os_str().to_owned();
        path.push(".env");
        path.into()
    }

    /// Reads the record of a config, if there is one.
    ///
    /// # Errors
    /// It cannot be read, others can read or write it, or it was not written by mcpool.
    pub fn beside(config: &Path) -> Result<Option<Record>, Mistakes> {
        let file = Self::place(config);
        let fault = |message: String| {
            Err(Mistakes::whole(
                &file.display().to_string(),
                message,
                "record it again by `mcpool env record`, or remove it",
            ))
        };
        let text = match text_of(&file) {
            Ok(text) => text,
            Err(Distrust::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return fault(format!("the recorded environment is not used: {why}")),
        };
        match dotenv::read(&text) {
            Ok(variables) => Ok(Some(Record { file, variables })),
            Err(found) => fault(format!("line {} of the recorded environment: {}", found.line, found.message)),
        }
    }

    /// Writes a record, whole or not at all.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn write(config: &Path, variables: &BTreeMap<String, String>) -> io::Result<PathBuf> {
        let file = Self::place(config);
        let mut new = file.as_os_str().to_owned();
        new.push(format!(".{}.new", std::process::id()));
        let written = (|| {
            let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            let head = "# Recorded by `mcpool env record`: what servers get of this environment.\n";
            let lines = dotenv::written(variables.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            out.write_all(head.as_bytes())?;
            out.write_all(lines.as_bytes())?;
            out.sync_all()?;
            fs::rename(&new, &file)
        })();
        if written.is_err() {
            // It may not be there.
            let _ = fs::remove_file(&new);
        }
        written.map(|()| file)
    }

    /// What it holds.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// The names of all variables that a text may want filled in, whichever way it says so.
pub fn wanted(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices(['$', '{', '.']) {
        let rest = &text[at..];
        let ways = ["${env:", "{env:", "${", ".", "$"];
        let Some(rest) = ways.iter().find_map(|way| rest.strip_prefix(way)) else { continue };
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        if (text[at..].starts_with('.') && !text[..at].ends_with("secrets")) || !dotenv::is_name(&rest[..end]) {
            continue;
        }
        names.insert(rest[..end].to_owned());
    }
    names
}

fn text_of(path: &Path) -> Result<String, Distrust> {
    let file = strict::open(path)?;
    let mode = file.metadata().map_err(Distrust::Io)?.mode();
    if mode & 0o077 != 0 {
        let why = "others can read it, and it may hold secrets (`chmod 600` it)";
        return Err(Distrust::Io(io::Error::new(io::ErrorKind::PermissionDenied, why)));
    }
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text).map_err(Distrust::Io)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_way_to_want_a_variable() {
        let text = "${env:A} {env:B} ${C} ${D:-x} $E ${{ secrets.F }} $5 a.b ${file:/G} ${env:H:-y}";
        let wanted = wanted(text);
        let found = |name: &str| wanted.contains(name);
        assert!(["A", "B", "C", "D", "E", "F", "H"].iter().all(|name| found(name)), "{wanted:?}");
        assert!(!found("G") && !found("b") && !found("5"), "{wanted:?}");
    }
}
