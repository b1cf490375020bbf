//! Numbers that may only fall: how much knows everything, and what leads in a circle. Each is measured from the source, and
//! held by the ceiling in `CEILINGS`. A number above its ceiling fails; one that lies below it by more than a few fails, too, so
//! that a gain is kept: the message says what to write.

use super::ring::{Arrows, rings};
use super::source::{Source, word};

/// What is measured, and the most that it may be.
pub const CEILINGS: [(&str, usize); 9] = [
    ("fields of `Mux`", 23),
    ("methods of `Mux`", 461),
    ("files of `impl Mux`", 56),
    ("`impl Mux` outside `src/mux`", 0),
    ("methods of `Mux` in the largest ring of calls", 0),
    ("files of `src/mux` in its largest circle of imports", 25),
    ("files of `src` in circles of imports", 89),
    ("open fields of `Call`, `Caller`, `Server`, `Instance`", 84),
    ("writes to them outside their folders", 102),
];

/// The parts whose fields are theirs alone.
const PARTS: [&str; 4] = ["Call", "Caller", "Server", "Instance"];

/// Each number as it is now, in the order of `CEILINGS`, with where it comes from.
pub fn measured(source: &Source) -> [(usize, String); 9] {
    let methods = source.methods("Mux");
    let within = |name: &str| name == "mux" || name.starts_with("mux::");
    let homes: Vec<&str> =
        source.modules().filter(|(_, module)| module.implements("Mux")).map(|(name, _)| name).collect();
    let strays: Vec<&str> = homes.iter().copied().filter(|name| !within(name)).collect();
    let ring = rings(&calls(&methods)).into_iter().next().unwrap_or_default();
    let inside = rings(&imports(source, within)).into_iter().next().unwrap_or_default();
    let circles = rings(&imports(source, |_| true));
    let told: Vec<String> = circles.iter().map(join).collect();
    let open = open_fields(source);
    let writes = writes(source, &open);
    [
        (source.fields("Mux").map_or(0, |(_, fields)| fields.len()), "src/mux.rs".to_owned()),
        (methods.len(), "src/mux".to_owned()),
        (homes.len(), homes.join(" ")),
        (strays.len(), strays.join(" ")),
        (ring.len(), join(&ring)),
        (inside.len(), join(&inside)),
        (circles.iter().map(|circle| circle.len()).sum(), told.join("; ")),
        (open.len(), join(open.iter().map(|(_, field)| field))),
        (writes.len(), writes.join(" ")),
    ]
}

/// How far below its ceiling a number may lie until the ceiling has to follow.
pub fn few(ceiling: usize) -> usize {
    (ceiling / 20).clamp(2, 10)
}

fn join<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    names.into_iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// Which methods of a type call which others of it.
fn calls(methods: &std::collections::BTreeMap<String, String>) -> Arrows {
    let called = |body: &str| {
        let receivers = ["self.", "mux.", "Mux::", "Self::"];
        let after =
            |receiver: &str| body.match_indices(receiver).map(|(at, _)| at + receiver.len()).collect::<Vec<_>>();
        let names = receivers.iter().flat_map(|receiver| after(receiver)).filter_map(|at| {
            let name = word(&body[at..]);
            // A method that is handed over, as in `Mux::serve`, is as good as called.
            let is_called = body[at + name.len()..].starts_with('(') || body[..at].ends_with("::");
            (is_called && methods.contains_key(&name)).then_some(name)
        });
        names.collect()
    };
    methods.iter().map(|(name, body)| (name.clone(), called(body))).collect()
}

/// Which modules import which, among some.
fn imports(source: &Source, among: impl Fn(&str) -> bool) -> Arrows {
    let names = source.modules().map(|(name, _)| name).filter(|name| among(name) && !matches!(*name, "lib" | "main"));
    let used = |name: &str| source.uses(name).into_keys().filter(|used| among(used)).collect();
    names.map(|name| (name.to_owned(), used(name))).collect()
}

/// The fields of the parts that others may see: the module of each, and `Part.field`.
fn open_fields(source: &Source) -> Vec<(String, String)> {
    let mut open = Vec::new();
    for part in PARTS {
        for (module, fields) in homes_of(source, part) {
            let seen = fields.into_iter().filter(|(_, open)| *open);
            open.extend(seen.map(|(field, _)| (module.clone(), format!("{part}.{field}"))));
        }
    }
    open
}

/// The types of that name in the core: the server of the config is another one.
fn homes_of(source: &Source, part: &str) -> Vec<(String, Vec<(String, bool)>)> {
    let found = source.modules().filter(|(name, _)| is_core(name));
    found.filter_map(|(name, module)| Some((name.to_owned(), module.fields(part)?))).collect()
}

fn is_core(name: &str) -> bool {
    ["mux", "pool", "call", "caller", "server"].contains(&name.split("::").next().unwrap_or_default())
}

/// Where an open field is set outside the folder of its part: `place:line field`. Fields are known by name, so one of another
/// type that is called the same may be among them.
fn writes(source: &Source, open: &[(String, String)]) -> Vec<String> {
    let mut writes = Vec::new();
    for (name, module) in source.modules().filter(|(name, _)| is_core(name)) {
        for (number, line) in module.code.lines().enumerate() {
            for (home, field) in open {
                let folder = home.rsplit_once("::").map_or(home.as_str(), |(folder, _)| folder);
                let at_home = name == home || (folder != "mux" && name.starts_with(&format!("{folder}::")));
                let field = field.split('.').next_back().unwrap_or_default();
                if !at_home && sets(line, field) {
                    writes.push(format!("{name}:{} {field}", number + 1));
                }
            }
        }
    }
    writes.dedup();
    writes
}

/// Whether a line sets a field of something.
fn sets(line: &str, field: &str) -> bool {
    let dotted = format!(".{field}");
    line.match_indices(&dotted).any(|(at, _)| {
        let rest = &line[at + dotted.len()..];
        let rest = rest.trim_start();
        let plain = rest.strip_prefix('=').is_some_and(|rest| !rest.starts_with(['=', '>']));
        plain || ["+=", "-=", "|=", "&="].iter().any(|sign| rest.starts_with(sign))
    })
}
