//! What is filled in from variables and files: shown nowhere, and what is missing costs one server.

use super::{env, mistakes, says, server};
use crate::config::{Config, Secret};

#[test]
fn no_mistake_shows_a_secret() -> Result<(), Box<dyn std::error::Error>> {
    let filled = server("args: ['--key=${env:TOKEN}']\n    env: {KEY: '${env:TOKEN}', PLAIN: hunter2}");
    assert_eq!(Config::parse(&filled, "x", &env)?.servers[0].args, ["--key=hunter2"]);
    assert!(!format!("{:?}", Config::parse(&filled, "x", &env)).contains("hunter2"));
    for line in [
        "args: ['${env:TOKEN}${NO}']",
        "env: {A: hunter2, B: '${NO} hunter2', ' C': x}",
        "env: {A: [hunter2]}",
        "env: ['A=hunter2']",
        "env: 'A=hunter2'",
        "env: {A: x}\n    env: {A: hunter2}",
        "environment: {A: hunter2}",
        "env: {A: \"hunter2\\0\"}",
        "env: {A: hunter2, A: hunter2}",
        "inherit_env: ['A=hun ter2']\n    x: 1",
        "args: [--token, hunter2, null]",
        "args: hunter2",
        "argss: [hunter2]",
        "api_key: hunter2",
        "args: [--token, hunter2\n    x: 1",
        "env: {A: hunter2",
        "\"hunter2\": \"hunter2",
    ] {
        let shown = mistakes(&server(line));
        assert!(shown.contains("error: ") && !shown.contains("hunter2"), "{shown}");
    }
    Ok(())
}

#[test]
fn what_a_server_lacks_costs_that_server_alone() -> Result<(), Box<dyn std::error::Error>> {
    let text = "servers:\n  a: {command: x, args: ['--key=${env:NO}'], cwd: '${env:PLACE}/x', env: {K: '${file:/no/such}'}}\n  b: {command: y}\n";
    let config = Config::parse(text, "x", &env)?;
    let lacks = &config.servers[0].lacks;
    assert_eq!(lacks.len(), 3);
    assert!(lacks.iter().any(|lack| lack.contains("variable `NO` is not set; set `NO` for the daemon")), "{lacks:?}");
    assert!(lacks.iter().any(|lack| lack.contains("the file `/no/such` cannot be read")), "{lacks:?}");
    assert_eq!((config.servers[0].args.len(), config.servers[0].cwd.clone()), (0, None), "half a value is none");
    assert!(config.servers[1].lacks.is_empty());
    assert!(config.warnings()[0].starts_with("server `a` cannot be started: "));
    // What every server needs has no server to cost.
    says("sockets: {dir: '/${env:NO}'}", "the environment variable `NO` is not set", "1:16");
    Ok(())
}

#[test]
fn what_is_filled_in_is_remembered_as_a_secret() {
    let text = "servers:\n  a:\n    command: ${env:HOME}/a\n    args: [--token, \"x${env:TOKEN}\"]\n    cwd: /tmp/${env:PLACE}\n";
    let env = |name: &str| Some(name.to_lowercase().into());
    let config = Config::parse(text, "x", &env).unwrap();
    let filled: Vec<&str> = config.servers[0].filled.iter().map(Secret::expose).collect();
    assert_eq!(filled, ["token", "place"]);
    assert!(!format!("{config:?}").contains("token\""), "{config:?}");
}
