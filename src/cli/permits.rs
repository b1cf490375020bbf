//! `mcpool check --as PID ENDPOINT`: what a process could do on an endpoint, rule by rule.

use std::path::Path;
use std::process::ExitCode;

use super::print;
use crate::caller::identity::{Identity, faults, rule_for};
use crate::config::{Access, Config, Endpoint, Named, Roots};
use crate::endpoint::{identity, sockets};
use crate::plural::plural;
use crate::text;

/// Explains what a process could do.
///
/// # Errors
/// There is no such process or endpoint, in words for people.
pub fn run(config: &Config, pid: i32, endpoint: &str) -> Result<ExitCode, String> {
    let Some(shown) = config.endpoint(endpoint) else {
        let names: Vec<&str> = config.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
        return Err(format!("no endpoint is called {endpoint:?}; there are: {}", names.join(", ")));
    };
    let Some(caller) = identity::of_process(pid) else { return Err(format!("there is no process {pid}")) };
    let own = rustix::process::getuid().as_raw();
    let barrier = sockets::barrier(config, shown, caller.uid);
    let socket = sockets::path(config, endpoint);
    print::page(&explained(&caller, shown, own, (&socket, barrier.as_deref())).join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// What callers of a restricted endpoint may do, a line each.
pub fn told(endpoint: &Endpoint) -> String {
    let access = endpoint.access();
    let mut told = String::new();
    if access.named.is_some() {
        let said: Vec<String> = granted(&access).into_iter().map(|(key, what)| format!("{key}: {what}")).collect();
        told += &format!("    may use {}\n", text::line(&said.join("; ")));
    }
    if !endpoint.callers.is_empty() {
        let (rules, name) = (plural(endpoint.callers.len(), "rule"), &endpoint.name);
        told += &format!("    {rules} for some callers; `check --as PID {name}` explains\n");
    }
    told
}

/// Warnings about who may do what, a sentence each.
pub fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    let own = rustix::process::getuid().as_raw();
    for endpoint in &config.endpoints {
        let name = &endpoint.name;
        for user in &endpoint.users {
            if let Some(barrier) = sockets::barrier(config, endpoint, *user) {
                let dir = barrier.display();
                warnings.push(format!(
                    "endpoint `{name}`: user {user} cannot reach its socket, because {dir} keeps others out: give it a `socket` elsewhere"
                ));
            }
        }
        let uids = endpoint.callers.iter().filter_map(|rule| rule.who.uids.as_ref()).flatten();
        for uid in uids.filter(|uid| **uid != own && !endpoint.users.contains(uid)) {
            warnings.push(format!("endpoint `{name}`: a rule is for user {uid}, whom `users` does not let in"));
        }
    }
    warnings
}

/// The explanation, line by line; `own` is the daemon's user, `way` the socket and what keeps the caller from it.
fn explained(caller: &Identity, endpoint: &Endpoint, own: u32, way: (&Path, Option<&Path>)) -> Vec<String> {
    let (socket, barrier) = way;
    let unknown = || "unknown".to_owned();
    let mut lines = vec![
        format!("process {}", caller.pid.map_or_else(unknown, |pid| pid.to_string())),
        format!("  uid        {}", caller.uid),
        format!("  gid        {}", caller.gid.map_or_else(unknown, |gid| gid.to_string())),
        format!("  program    {}", caller.program.clone().unwrap_or_else(unknown)),
        format!("  cgroup     {}", caller.cgroup.clone().unwrap_or_else(unknown)),
        String::new(),
        format!("endpoint {} ({})", endpoint.name, socket.display()),
    ];
    let named = endpoint.users.contains(&caller.uid);
    if !named && caller.uid != own {
        lines.push(format!("  It may not connect: `users` does not name {}. It gets no byte.", caller.uid));
        return lines;
    }
    lines.push(match named {
        true => format!("  It may connect: `users` names {}.", caller.uid),
        false => "  It may connect: it is the daemon's own user.".to_owned(),
    });
    if let Some(barrier) = barrier {
        lines.push(format!("  But it cannot reach the socket: {} keeps user {} out.", barrier.display(), caller.uid));
    }
    let rule = rule_for(&endpoint.callers, caller);
    for (place, known) in endpoint.callers.iter().enumerate() {
        let missed = faults(&known.who, caller);
        let word = match rule {
            Some(counts) if counts < place => "comes too late".to_owned(),
            Some(counts) if counts == place => "fits, and counts".to_owned(),
            _ => format!("does not fit: {}", missed.join(", ")),
        };
        lines.push(format!("  rule {} {word}", place + 1));
    }
    let rule = rule.and_then(|place| endpoint.callers.get(place));
    let access = rule.map_or_else(|| endpoint.access(), |rule| rule.grants.access(true));
    lines.push(match rule {
        Some(_) => "  So it may use what that rule names:".to_owned(),
        None if endpoint.callers.is_empty() => "  So it may use what the endpoint names:".to_owned(),
        None => "  No rule fits, so it may use what the endpoint names:".to_owned(),
    });
    lines.extend(granted(&access).into_iter().map(|(key, what)| format!("    {key:<10} {what}")));
    for (key, limit) in
        [("callers", rule.and_then(|rule| rule.callers)), ("in_flight", rule.and_then(|rule| rule.in_flight))]
    {
        lines.extend(limit.map(|limit| format!("    {key:<10} at most {limit}")));
    }
    lines
}

/// What may be used, by the names of the keys.
pub fn granted(access: &Access) -> Vec<(&'static str, String)> {
    let everything = || vec!["*".to_owned()];
    let all = Named { tools: everything(), prompts: everything(), resources: everything(), methods: everything() };
    let named = access.named.as_ref().unwrap_or(&all);
    let list = |patterns: &[String]| match patterns {
        [] => "none".to_owned(),
        [all] if all == "*" => "all".to_owned(),
        patterns => patterns.join(", "),
    };
    let roots = match &access.roots {
        Roots::Client => "those that it tells".to_owned(),
        Roots::Withheld => "servers are told of none".to_owned(),
        Roots::Fixed(uris) if uris.is_empty() => "servers are told an empty list".to_owned(),
        Roots::Fixed(uris) => format!("servers are told {}", uris.join(", ")),
    };
    let asks = if access.asks { "servers may ask it" } else { "servers may not ask it" };
    vec![
        ("tools", list(&named.tools)),
        ("prompts", list(&named.prompts)),
        ("resources", list(&named.resources)),
        (
            "methods",
            format!("{}{}", list(&named.methods), if named.methods.is_empty() { " but the usual" } else { "" }),
        ),
        ("roots", roots),
        ("asks", asks.to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_is_explained_and_the_first_that_fits_counts() {
        let text = "servers: {s: {command: x}}\nendpoints:\n  pub:\n    servers: [s]\n    users: [7]\n    tools: [read]\n    \
                    callers:\n      - {uid: 8, tools: [never]}\n      - {uid: 7, tools: [write], limits: {in_flight: 2}}\n      \
                    - {uid: 7, tools: [late]}";
        let config = Config::parse(text, "x", &|_| None).unwrap();
        let endpoint = config.endpoint("pub").unwrap();
        let caller = |uid| Identity { uid, pid: Some(1), ..Identity::default() };
        let said = explained(&caller(7), endpoint, 1, (Path::new("/pub.sock"), None)).join("\n");
        for line in [
            "rule 1 does not fit: uid",
            "rule 2 fits, and counts",
            "rule 3 comes too late",
            "tools      write",
            "at most 2",
        ] {
            assert!(said.contains(line), "{line}: {said}");
        }
        assert!(explained(&caller(9), endpoint, 1, (Path::new("/x"), None)).join("\n").contains("gets no byte"));
        let own = explained(&caller(1), endpoint, 1, (Path::new("/x"), None)).join("\n");
        assert!(own.contains("No rule fits") && own.contains("tools      read"), "{own}");
    }
}
