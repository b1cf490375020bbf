//! Imports point one way: a module knows itself and what stands before it in `LAYERS`, never what stands behind.
//! So the wire can be read without the pool, and the pool without the multiplexer. The rooms of the multiplexer have such an
//! order as well (`ROOMS`), and what is not yet in order is held by numbers that may only fall (`layers/ratchets`).

mod layers {
    pub mod ratchets;
    pub mod ring;
    pub mod source;
}

use std::fs;
use std::path::Path;

use layers::ratchets::{CEILINGS, few, measured};
use layers::ring::rings;
use layers::source::Source;

/// The modules at the root of the crate, each allowed to use those before it.
const LAYERS: &[&str] = &[
    "key",
    "principal",
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
    "era",
    "catalogue",
    "guard",
    "pool",
    "server",
    "caller",
    "mux",
    "endpoint",
    "admin",
    "daemon",
    "cli",
    "main",
];

/// The example servers use nothing of the rest, or its mistakes would be theirs as well; only `cli` starts them.
const APART: &str = "demo";

/// The rooms inside `src/mux`, each allowed to use those before it. All use `mux` itself, which knows the first one only. What is
/// no room yet is counted by `OUTSIDE`.
const ROOMS: [&str; 10] =
    ["todo", "calls", "lists", "asks", "subscriptions", "change", "report", "events", "sweep", "turn"];

/// How many modules of `src/mux` are in no room. May only fall.
const OUTSIDE: usize = 50;

#[test]
fn imports_point_one_way() {
    let source = Source::read(true);
    let mut wrong = Vec::new();
    for (module, _) in source.modules() {
        for (used, line) in source.uses(module) {
            if let Some(why) = fault(root(module), root(&used)).or_else(|| fault_of_room(module, &used)) {
                wrong.push(format!("{module}, line {line}: {why}"));
            }
        }
    }
    assert!(wrong.is_empty(), "imports that point the wrong way:\n{}", wrong.join("\n"));
}

#[test]
fn every_module_has_its_place() {
    let source = Source::read(true);
    let mut placeless: Vec<&str> = source.modules().map(|(module, _)| root(module)).collect();
    placeless.retain(|name| *name != "lib" && *name != APART && place(LAYERS, name).is_none());
    placeless.dedup();
    assert!(placeless.is_empty(), "give these a place in LAYERS: {placeless:?}");
}

#[test]
fn what_is_not_in_order_only_shrinks() {
    let source = Source::read(false);
    let outside: Vec<&str> = source.modules().map(|(module, _)| module).filter(|module| is_outside(module)).collect();
    let outside = ("modules of `src/mux` in no room", OUTSIDE, outside.len(), outside.join(" "));
    let rows = CEILINGS.into_iter().zip(measured(&source));
    let rows = rows.map(|((what, ceiling), (now, which))| (what, ceiling, now, which)).chain([outside]);
    let mut wrong = Vec::new();
    for (what, ceiling, now, which) in rows {
        println!("{now:>4} of {ceiling:>4} {what}");
        if now > ceiling {
            wrong.push(format!("{what}: {now}, and at most {ceiling} may be: {which}"));
        } else if now + few(ceiling) < ceiling {
            wrong.push(format!("{what}: only {now} any more; write that in place of {ceiling}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The module at the root of the crate in which a module is.
fn root(module: &str) -> &str {
    module.split("::").next().unwrap_or_default()
}

/// The part of `mux` in which a module is.
fn room(module: &str) -> Option<&str> {
    module.strip_prefix("mux::")?.split("::").next()
}

fn is_outside(module: &str) -> bool {
    room(module).is_some_and(|room| place(&ROOMS, room).is_none())
}

/// Why a module may not use another, if it may not.
fn fault(module: &str, used: &str) -> Option<String> {
    match (module, used) {
        ("lib", _) => None,
        (APART, used) if used != APART => Some(format!("`{APART}` uses `{used}`, but is to use nothing of the rest")),
        (module, APART) if !matches!(module, "cli" | APART) => {
            Some(format!("`{module}` uses `{APART}`, which only `cli` may"))
        }
        _ => points_back(LAYERS, module, used),
    }
}

/// Why a room of the multiplexer may not use another, if it may not.
fn fault_of_room(module: &str, used: &str) -> Option<String> {
    points_back(&ROOMS, room(module)?, room(used)?)
}

fn points_back(table: &[&str], module: &str, used: &str) -> Option<String> {
    (place(table, used)? > place(table, module)?).then(|| format!("`{module}` uses `{used}`, which stands behind it"))
}

fn place(table: &[&str], module: &str) -> Option<usize> {
    table.iter().position(|layer| *layer == module)
}

/// The files that a text names in backticks: by a path below `src` or from the root of the repository.
fn files(text: &str) -> Vec<&str> {
    let is_file =
        |code: &&str| !code.contains(' ') && [".rs", ".md", ".yaml", "/"].iter().any(|end| code.ends_with(end));
    text.split('`').skip(1).step_by(2).filter(is_file).collect()
}

#[test]
fn every_file_that_the_life_of_a_call_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/life-of-a-call.md")).expect("the document");
    let is_there = |file: &&str| root.join("src").join(file).exists() || root.join(file).exists();
    let gone: Vec<&str> = files(&text).into_iter().filter(|file| !is_there(file)).collect();
    assert!(gone.is_empty(), "docs/life-of-a-call.md names what is not there: {gone:?}");
    let (_, changes) = text.split_once("\n## Five changes\n").expect("the five changes");
    let (changes, _) = changes.split_once("\n## ").expect("a section behind them");
    let changes: Vec<&str> = changes.split("\n### ").skip(1).collect();
    assert_eq!(changes.len(), 5);
    for change in changes {
        let (title, list) = change.split_once('\n').expect("a title");
        assert!(files(list).len() >= 4, "`{title}` names too few files");
    }
}

#[test]
fn the_imports_that_the_life_of_a_call_shows_are_the_layers() {
    let text = include_str!("../docs/life-of-a-call.md");
    let (_, shown) = text.split_once("\n## Which way imports point\n").expect("a section");
    let (shown, _) = shown.split_once(". A module").expect("the list and what it means");
    let shown: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
    assert_eq!(shown, LAYERS[..LAYERS.len() - 1], "in the order of `LAYERS`, without `main`");
}

#[test]
fn the_reader_of_imports_reads_imports() {
    let among =
        [("pool", ""), ("pool::queue", ""), ("admin", ""), ("wire", ""), ("mux", ""), ("era", ""), ("era::legacy", "")];
    let used = |module: &'static str, text: &'static str| {
        let source = Source::of(&[among.as_slice(), &[(module, text)]].concat());
        source.uses(module).into_iter().collect::<Vec<_>>()
    };
    let names = |module, text| used(module, text).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names("cli", "use crate::pool::{Pool, mux};"), ["pool"]);
    assert_eq!(
        names("cli", "use crate::{\n    admin, pool::{Pool, mux, queue::{self, Queue as Q}},\n    wire}; mux"),
        ["admin", "pool", "pool::queue", "wire",]
    );
    assert_eq!(names("cli::call", "let x = crate::era::legacy::X; // crate::pool::Y"), ["era::legacy"]);
    assert_eq!(used("cli::call", "//! a\nuse super::super::mux::Mux;"), [("mux".to_owned(), 2)]);
    assert_eq!(names("cli::call", "use super::mux::Mux;"), ["cli"]);
    assert_eq!(names("cli", "let x: queue::Queue = $crate::pool::x(self.pool::<T>());"), Vec::<String>::new());
    assert_eq!(names("pool", "mod queue;\nuse queue::Queue;"), ["pool::queue"]);
    assert!(fault("wire", "mux").is_some() && fault("mux", "wire").is_none());
    assert!(fault("demo", "wire").is_some() && fault("cli", "demo").is_none() && fault("pool", "demo").is_some());
    assert!(fault_of_room("mux::calls::place", "mux::asks").is_some());
    assert!(fault_of_room("mux::asks", "mux::calls::place").is_none() && fault_of_room("mux::asks", "mux").is_none());
}

#[test]
fn the_reader_of_types_reads_types() {
    let text = "pub struct Mux {\n    pub one: u8,\n    #[x]\n    pub(crate) two: u8,\n    three: Vec<\n        u8,\n    >,\n}
impl Mux {\n    /// Calls self.never().\n    pub(super) fn first(&self) {\n        self.second();\n    }\n    fn second(&self) {
        let mux = self;\n        mux.first(self.one);\n    }\n}\nimpl X for Mux {\n    fn third(&self) {}\n}
#[cfg(test)]\nmod tests {\n    impl Mux {\n        fn fourth() {}\n    }\n}\n";
    let source = Source::of(&[("mux", text)]);
    let (home, fields) = source.fields("Mux").expect("it is there");
    assert_eq!(home, "mux");
    assert_eq!(fields, [("one".to_owned(), true), ("two".to_owned(), true), ("three".to_owned(), false)]);
    assert_eq!(source.methods("Mux").into_keys().collect::<Vec<_>>(), ["first", "second"]);
    let [.., (ring, which), _, _, _, _] = measured(&source);
    assert_eq!((ring, which.as_str()), (2, "first second"));
}

#[test]
fn rings_are_found() {
    let arrows = |pairs: &[(&str, &str)]| {
        let mut arrows = layers::ring::Arrows::new();
        for (from, to) in pairs {
            arrows.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        rings(&arrows).into_iter().map(|ring| ring.into_iter().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    assert_eq!(arrows(&[("a", "b"), ("b", "c")]), Vec::<String>::new());
    assert_eq!(arrows(&[("a", "b"), ("b", "a"), ("c", "d"), ("d", "e"), ("e", "c"), ("b", "c")]), ["c d e", "a b"]);
}
