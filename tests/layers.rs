//! Imports point one way: a module knows itself and what stands before it in `LAYERS`, never what stands behind.
//! So the wire can be read without the pool, and the pool without the multiplexer.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules at the root of the crate, each allowed to use those before it.
const LAYERS: [&str; 23] = [
    "key",
    "clock",
    "alarm",
    "text",
    "plural",
    "hex",
    "wire",
    "error",
    "config",
    "tasks",
    "audit",
    "metrics",
    "reply",
    "guard",
    "era",
    "catalogue",
    "pool",
    "mux",
    "endpoint",
    "admin",
    "daemon",
    "cli",
    "main",
];

/// The example servers use nothing of the rest, or its mistakes would be theirs as well; only `cli` starts them.
const APART: &str = "demo";

#[test]
fn imports_point_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for file in rust_files(&src) {
        let within = file.strip_prefix(&src).expect("a file of src").with_extension("");
        let module: Vec<&str> = within.iter().filter_map(|part| part.to_str()).collect();
        let text = fs::read_to_string(&file).expect("a source file");
        for (line, used) in uses(&text, module.len()) {
            if let Some(why) = fault(module[0], &used) {
                wrong.push(format!("src/{}.rs:{line}: {why}", within.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "imports that point the wrong way:\n{}", wrong.join("\n"));
}

#[test]
fn every_module_has_its_place() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let modules = fs::read_dir(src).expect("src").flatten().map(|entry| entry.path().with_extension(""));
    let names = modules.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let placeless: Vec<String> = names.filter(|name| name != "lib" && name != APART && place(name).is_none()).collect();
    assert!(placeless.is_empty(), "give these a place in LAYERS: {placeless:?}");
}

/// Why a module may not use another, if it may not.
fn fault(module: &str, used: &str) -> Option<String> {
    match (module, used) {
        ("lib", _) => None,
        (APART, used) if used != APART => Some(format!("`{APART}` uses `{used}`, but is to use nothing of the rest")),
        (module, APART) if !matches!(module, "cli" | APART) => {
            Some(format!("`{module}` uses `{APART}`, which only `cli` may"))
        }
        _ => match (place(module)?, place(used)?) {
            (own, other) if other > own => Some(format!("`{module}` uses `{used}`, which stands behind it")),
            _ => None,
        },
    }
}

fn place(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| *layer == module)
}

/// The modules at the root that a file names which is so many modules deep, each with its line.
fn uses(text: &str, depth: usize) -> Vec<(usize, String)> {
    let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let code = code.join("\n");
    let mut used = Vec::new();
    for root in ["crate::".to_owned(), "super::".repeat(depth)] {
        for (at, _) in code.match_indices(&root) {
            let before = code[..at].chars().next_back();
            // Part of a longer word or path: `$crate::`, or one `super` more than the root is away.
            if before.is_some_and(|before| before.is_alphanumeric() || matches!(before, '_' | '$' | ':')) {
                continue;
            }
            let rest = &code[at + root.len()..];
            let names = rest.strip_prefix('{').map_or_else(|| vec![word(rest)], heads);
            let line = code[..at].lines().count().max(1);
            used.extend(names.into_iter().map(|name| (line, name)));
        }
    }
    used.retain(|(_, name)| place(name).is_some() || name == APART);
    used
}

/// The first words of what a group of imports holds: `a` and `b` of `{a::{x, y}, b}`.
fn heads(group: &str) -> Vec<String> {
    let (mut depth, mut heads, mut start) = (0, Vec::new(), true);
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            letter if start && depth == 0 && letter.is_alphabetic() => {
                heads.push(word(&group[at..]));
                start = false;
            }
            _ => {}
        }
    }
    heads
}

fn word(text: &str) -> String {
    text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in fs::read_dir(dir).expect("a directory").flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

#[test]
fn the_reader_of_imports_reads_imports() {
    let names = |text, depth| uses(text, depth).into_iter().map(|(_, name)| name).collect::<Vec<_>>();
    assert_eq!(names("use crate::pool::{Pool, mux};", 1), ["pool"]);
    assert_eq!(names("use crate::{\n    admin, pool::{Pool, mux},\n    wire}; mux", 1), ["admin", "pool", "wire"]);
    assert_eq!(names("let x = crate::era::legacy::X; // crate::cli::Y", 2), ["era"]);
    assert_eq!(uses("//! a\nuse super::super::mux::Mux;", 2), [(2, "mux".to_owned())]);
    assert_eq!(names("use super::mux::Mux;", 2), Vec::<String>::new());
    assert!(fault("wire", "mux").is_some() && fault("mux", "wire").is_none());
    assert!(fault("demo", "wire").is_some() && fault("cli", "demo").is_none() && fault("pool", "demo").is_some());
}
