//! The JSON schemas of all protocol revisions, which lie beside the repository: read and compiled once a process,
//! for they are large and the tests are many.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, OnceLock};

use jsonschema::Validator;
use serde_json::{Map, Value, json};

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/spec");

/// The last revision that opens with `initialize`.
pub const LAST_LEGACY: &str = "2025-11-25";
/// The revision without sessions.
pub const MODERN: &str = "2026-07-28";
const REVISIONS: [&str; 5] = ["2024-11-05", "2025-03-26", "2025-06-18", LAST_LEGACY, MODERN];

/// One revision's schema.
pub struct Revision {
    pub name: &'static str,
    dialect: Value,
    /// `definitions` or `$defs`.
    keyword: &'static str,
    definitions: Map<String, Value>,
    /// Definition by method: of what clients send, of what servers send.
    methods: [HashMap<String, String>; 2],
    compiled: Mutex<HashMap<String, &'static Validator>>,
}

/// Whether the schemas are there.
pub fn known() -> bool {
    all().is_some()
}

/// The schema of a revision.
pub fn of(revision: &str) -> Option<&'static Revision> {
    all()?.iter().find(|known| known.name == revision)
}

/// Whether any revision has this method.
pub fn is_method(method: &str) -> bool {
    let known = |revision: &Revision| revision.methods.iter().any(|methods| methods.contains_key(method));
    all().is_some_and(|all| all.iter().any(known))
}

fn all() -> Option<&'static [Revision]> {
    static ALL: OnceLock<Option<Vec<Revision>>> = OnceLock::new();
    let read = || {
        if !Path::new(DIR).is_dir() {
            // Past the capture of test output: one line for the whole run.
            let _ = writeln!(std::io::stderr(), "the wire is not checked: there is no {DIR}");
            return None;
        }
        Some(REVISIONS.into_iter().map(Revision::read).collect())
    };
    ALL.get_or_init(read).as_deref()
}

impl Revision {
    fn read(name: &'static str) -> Revision {
        let text = std::fs::read(format!("{DIR}/{name}.schema.json")).expect("a schema");
        let mut schema: Value = serde_json::from_slice(&text).expect("JSON");
        let keyword = if schema.get("$defs").is_some() { "$defs" } else { "definitions" };
        let Value::Object(definitions) = schema[keyword].take() else { panic!("no definitions in {name}") };
        let methods = ["Client", "Server"].map(|side| methods(&definitions, side));
        Revision { name, dialect: schema["$schema"].take(), keyword, definitions, methods, compiled: Mutex::default() }
    }

    /// The definition of what is sent under a method by a client or by a server.
    pub fn method(&self, by_server: bool, method: &str) -> Option<&str> {
        self.methods[usize::from(by_server)].get(method).map(String::as_str)
    }

    /// The definition of the result of a request.
    pub fn result(&self, by_server: bool, method: &str) -> String {
        let result = self.method(by_server, method).map(|request| request.replace("Request", "Result"));
        result.filter(|result| self.has(result)).unwrap_or_else(|| "Result".to_owned())
    }

    pub fn has(&self, definition: &str) -> bool {
        self.definitions.contains_key(definition)
    }

    /// # Errors
    /// What is wrong with it, and where.
    pub fn check(&self, definition: &str, value: &Value) -> Result<(), String> {
        let validator = self.validator(definition);
        if validator.is_valid(value) {
            return Ok(());
        }
        let errors = validator.iter_errors(value).take(3);
        let errors: Vec<_> = errors.map(|error| format!("{}: {error:.300}", error.instance_path())).collect();
        Err(format!("no {definition} of {}: {}", self.name, errors.join("; ")))
    }

    fn validator(&self, definition: &str) -> &'static Validator {
        let mut compiled = self.compiled.lock().expect("nobody panics here");
        if let Some(validator) = compiled.get(definition) {
            return validator;
        }
        let mut needed = BTreeMap::new();
        self.gather(definition, &mut needed);
        let reference = format!("#/{}/{definition}", self.keyword);
        let schema = json!({ "$schema": self.dialect, "$ref": reference, self.keyword: needed });
        let validator = jsonschema::options().should_validate_formats(true).build(&schema).expect("a schema");
        // As many as there are definitions, for as long as the process lives.
        let validator: &'static Validator = Box::leak(Box::new(validator));
        compiled.insert(definition.to_owned(), validator);
        validator
    }

    /// A definition and all that it refers to.
    fn gather<'a>(&'a self, definition: &'a str, into: &mut BTreeMap<&'a str, &'a Value>) {
        let Some(body) = self.definitions.get(definition) else { panic!("no {definition} in {}", self.name) };
        if into.insert(definition, body).is_none() {
            references(body).into_iter().for_each(|other| self.gather(other, into));
        }
    }
}

/// The definitions by method of what one side sends.
fn methods(definitions: &Map<String, Value>, side: &str) -> HashMap<String, String> {
    let mut methods = HashMap::new();
    for kind in ["Request", "Notification"] {
        let name = format!("{side}{kind}");
        let Some(union) = definitions.get(&name) else { continue };
        // A union of one is its only member.
        let members = if union.get("anyOf").is_some() { references(union) } else { vec![name.as_str()] };
        for member in members {
            let method = definitions[member]["properties"]["method"]["const"].as_str().expect("a method");
            methods.insert(method.to_owned(), member.to_owned());
        }
    }
    methods
}

/// The definitions that a schema refers to.
fn references(schema: &Value) -> Vec<&str> {
    match schema {
        Value::Object(members) => {
            let own = members.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
            own.into_iter().chain(members.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}
