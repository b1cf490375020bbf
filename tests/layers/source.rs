//! The source as the layer tests see it: its modules, the paths that each of them names, and the methods of its types. It is
//! read as text, which rustfmt keeps regular; what stands only in tests is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of `src`, by path: `mux::calls::place`; the root is `lib` or `main`.
pub struct Source(BTreeMap<String, Module>);

/// One file.
pub struct Module {
    /// Without comments. Lines keep their numbers.
    pub code: String,
}

impl Source {
    /// Reads all of `src`, with or without its tests.
    pub fn read(tests: bool) -> Source {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let module = |file: PathBuf| {
            let name = file.strip_prefix(&root).expect("a file of src").with_extension("");
            let parts: Vec<&str> = name.iter().filter_map(|part| part.to_str()).collect();
            let is_test = parts.iter().any(|part| *part == "tests" || part.ends_with("_tests"));
            // It is compiled where tests look after each turn, and knows everything by its nature.
            let is_test = is_test || parts == ["mux", "check"];
            let text = fs::read_to_string(&file).expect("a source file");
            let code = if tests { uncommented(&text) } else { code(&text) };
            (tests || !is_test).then(|| (parts.join("::"), Module { code }))
        };
        Source(rust_files(&root).into_iter().filter_map(module).collect())
    }

    /// A source of some texts, for tests.
    pub fn of(texts: &[(&str, &str)]) -> Source {
        Source(texts.iter().map(|(name, text)| ((*name).to_owned(), Module { code: code(text) })).collect())
    }

    pub fn modules(&self) -> impl Iterator<Item = (&str, &Module)> {
        self.0.iter().map(|(name, module)| (name.as_str(), module))
    }

    /// The modules that a module names, each with a line where it does. A path to an item counts for the module that the
    /// item is in; a module does not name itself by naming what is in it.
    pub fn uses(&self, name: &str) -> BTreeMap<String, usize> {
        let mut used = BTreeMap::new();
        for (line, path) in paths(&self.0[name].code) {
            let Some(module) = self.resolve(name, &path).filter(|module| module != name) else { continue };
            used.entry(module).or_insert(line);
        }
        used
    }

    /// The module that a path leads to from another one.
    fn resolve(&self, from: &str, path: &str) -> Option<String> {
        let mut at: Vec<&str> = if matches!(from, "lib" | "main") { Vec::new() } else { from.split("::").collect() };
        let mut words = path.split("::").peekable();
        match *words.peek()? {
            "crate" => {
                at.clear();
                words.next();
            }
            "self" => {
                words.next();
            }
            "super" => {
                while words.next_if_eq(&"super").is_some() {
                    at.pop()?;
                }
            }
            // A module below this one; anything else is another crate, or was imported, which counted.
            first => {
                let below = [at.as_slice(), &[first]].concat().join("::");
                self.0.contains_key(&below).then_some(())?;
            }
        }
        let mut module = at.join("::");
        for word in words {
            let below = if module.is_empty() { word.to_owned() } else { format!("{module}::{word}") };
            if !self.0.contains_key(&below) {
                break;
            }
            module = below;
        }
        (!module.is_empty()).then_some(module)
    }

    /// The methods of a type, by name, with what they do; those of traits are not counted.
    pub fn methods(&self, of: &str) -> BTreeMap<String, String> {
        self.modules().flat_map(|(_, module)| module.methods(of)).collect()
    }

    /// The fields of a type: its module, and each name with whether others may see it. None if there is no such type, or no
    /// single one.
    pub fn fields(&self, of: &str) -> Option<(String, Vec<(String, bool)>)> {
        let mut found = self.modules().filter_map(|(name, module)| Some((name.to_owned(), module.fields(of)?)));
        found.next().filter(|_| found.next().is_none())
    }
}

impl Module {
    fn methods(&self, of: &str) -> Vec<(String, String)> {
        let mut methods: Vec<(String, String)> = Vec::new();
        let mut inside = false;
        for line in self.code.lines() {
            if line.starts_with("impl") {
                inside = is_impl(line, of);
            } else if line.starts_with('}') {
                inside = false;
            } else if inside && let Some(name) = method(line) {
                methods.push((name, line.to_owned()));
            } else if inside && let Some((_, body)) = methods.last_mut() {
                body.push('\n');
                body.push_str(line);
            }
        }
        methods
    }

    /// Whether methods of a type are written here.
    pub fn implements(&self, of: &str) -> bool {
        self.code.lines().any(|line| is_impl(line, of))
    }

    /// The fields of a type that is written here, each with whether others may see it.
    pub fn fields(&self, of: &str) -> Option<Vec<(String, bool)>> {
        let begins = |line: &&str| {
            let rest = line.trim_start_matches("pub(crate) ").trim_start_matches("pub ").strip_prefix("struct ");
            rest.is_some_and(|rest| word(rest) == of && line.ends_with('{'))
        };
        let mut lines = self.code.lines().skip_while(|line| !begins(line));
        lines.next()?;
        let field = |line: &str| {
            let line = line.strip_prefix("    ").filter(|line| !line.starts_with([' ', '#']))?;
            let open = line.starts_with("pub");
            let name = match line.strip_prefix("pub(") {
                Some(rest) => rest.split_once(") ")?.1,
                None => line.strip_prefix("pub ").unwrap_or(line),
            };
            name.contains(':').then(|| (word(name), open))
        };
        Some(lines.take_while(|line| !line.starts_with('}')).filter_map(field).collect())
    }
}

/// Whether a line begins an `impl` of a type itself, not of a trait for it.
fn is_impl(line: &str, of: &str) -> bool {
    let rest = line.strip_prefix("impl").map(|rest| rest.strip_prefix("<'_>").unwrap_or(rest));
    rest.and_then(|rest| rest.strip_prefix(' ')).is_some_and(|rest| word(rest) == of && !rest.contains(" for "))
}

/// The name of the method that a line begins.
fn method(line: &str) -> Option<String> {
    let line = line.strip_prefix("    ").filter(|line| !line.starts_with(' '))?;
    let (before, rest) = line.split_once("fn ")?;
    // For all, for a few (`pub(in crate::mux)`), or for itself.
    let before = match before.strip_prefix("pub(") {
        Some(few) => few.split_once(')')?.1,
        None => before.strip_prefix("pub ").unwrap_or(before),
    };
    let plain = |word: &str| matches!(word, "const" | "async");
    before.split_whitespace().all(plain).then(|| word(rest))
}

/// The code of a text: without comments, and up to a module of tests in it, which stands last.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod ").filter(|at| text[*at..].contains(" {")).unwrap_or(text.len());
    uncommented(&text[..end])
}

fn uncommented(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    lines.join("\n")
}

/// Every path that a code names, each with its line: groups of imports are told apart.
fn paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut at = 0;
    let mut line = 1;
    while at < code.len() {
        let rest = &code[at..];
        let step = rest.chars().next().map_or(1, char::len_utf8);
        let first = word(rest);
        if first.is_empty() {
            line += usize::from(rest.starts_with('\n'));
            at += step;
            continue;
        }
        let before = code[..at].chars().next_back();
        at += first.len();
        // A field, or a lifetime, or the rest of a macro's `$crate`.
        if before.is_some_and(|before| matches!(before, '.' | '\'' | '$')) || !code[at..].starts_with("::") {
            continue;
        }
        let length = tree(&first, &code[at..], &mut |path| found.push((line, path)));
        line += code[at..at + length].matches('\n').count();
        at += length;
    }
    found
}

/// Takes what follows a word of a path, tells each path that comes of it, and returns how long that is.
fn tree(prefix: &str, rest: &str, tell: &mut impl FnMut(String)) -> usize {
    let Some(next) = rest.strip_prefix("::") else {
        tell(prefix.to_owned());
        return 0;
    };
    if let Some(mut group) = next.strip_prefix('{') {
        let whole = group.len();
        loop {
            let gap =
                group.len() - group.trim_start_matches(|letter: char| letter.is_whitespace() || letter == ',').len();
            group = &group[gap..];
            let name = word(group);
            if name.is_empty() {
                break;
            }
            let taken = tree(&format!("{prefix}::{name}"), &group[name.len()..], tell);
            group = &group[name.len() + taken..];
            // `as` another name.
            group = &group[group.find([',', '}']).unwrap_or(group.len())..];
        }
        let end = group.find('}').map_or(group.len(), |end| end + 1);
        return 3 + whole - group.len() + end;
    }
    let name = word(next);
    if name.is_empty() {
        tell(prefix.to_owned());
        return 2;
    }
    2 + name.len() + tree(&format!("{prefix}::{name}"), &next[name.len()..], tell)
}

/// What a text begins with that may be a name.
pub fn word(text: &str) -> String {
    text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}

fn rust_files(dir: &Path) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    for path in fs::read_dir(dir).expect("a directory").flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.insert(path);
        }
    }
    files
}
