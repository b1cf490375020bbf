//! Mistakes as they are shown, and the example file held to the keys there are.

use std::collections::BTreeSet;
use std::ffi::OsString;

use crate::config::{Config, Secret, Server};

fn env(name: &str) -> Option<OsString> {
    (name == "TOKEN").then(|| "hunter2".into())
}

/// The mistakes in `text` as they are shown; empty if there are none.
fn mistakes(text: &str) -> String {
    Config::parse(text, "x.yaml", &env).map_or_else(|mistakes| mistakes.to_string(), |_| String::new())
}

/// A server with one more line.
fn server(line: &str) -> String {
    format!("servers:\n  a:\n    command: npx\n    {line}\n")
}

#[track_caller]
fn says(text: &str, message: &str, place: &str) {
    let shown = mistakes(text);
    assert!(shown.contains(message), "no `{message}` in:\n{shown}");
    assert!(shown.contains(&format!("--> x.yaml:{place}\n")), "not at {place}:\n{shown}");
    assert!(shown.ends_with("\n1 mistake"), "not alone:\n{shown}");
}

#[test]
fn a_misspelt_key() {
    let expected = "\
error: unknown key `concurency`
 --> x.yaml:4:5
  |
4 |     concurency: 32
  |     ^^^^^^^^^^
help: did you mean `concurrency`?

1 mistake";
    assert_eq!(mistakes(&server("concurency: 32")), expected);
}

#[test]
fn all_mistakes_at_once() {
    let text = "\
servers:
  files:
    command: npx
    args: npx
    queue: {size: -1, timeout: 30}
    instances: {min: 5, max: 2}
  a__b: {comand: x}
endpoints:
  both: {servers: [files, flies]}
lmits: {}
";
    let shown = mistakes(text);
    let messages: Vec<&str> = shown.lines().filter_map(|line| line.strip_prefix("error: ")).collect();
    assert_eq!(
        messages,
        [
            "expected a list",
            "expected a whole number from 0 to 1000000, got `-1`",
            "expected a duration like 30s, got `30`",
            "`min` is 5 but `max` is 2",
            "`a__b` cannot be the name of a server: `__`, or a `_` at the end, would make SERVER__TOOL ambiguous",
            "unknown key `comand`",
            "there is no server `flies`",
            "unknown key `lmits`",
        ]
    );
    assert!(shown.ends_with("\n8 mistakes"), "{shown}");
}

#[test]
fn wrong_values() {
    says(&server("timeout: {call: 61m}"), "`call` is longer than `max`", "4:21");
    says(&server("timeout: {max: 0s}"), "expected a duration from 1ms to 365d, got `0s`", "4:20");
    says(&server("timeout: {max: [1s]}"), "expected a duration like 30s, got a list", "4:20");
    says(&server("timeout: 30s"), "expected a map of keys, got `30s`", "4:14");
    says(&server("concurrency: 0"), "expected a whole number from 1", "4:18");
    says(&server("instances: {max: 0}"), "expected a whole number from 1", "4:22");
    says(&server("lease: shred"), "did you mean `shared`?", "4:12");
    says(&server("cwd: ~/x"), "`~` means nothing here", "4:10");
    says(&server("cwd: x"), "expected an absolute path", "4:10");
    says(&server("args: [a, null]"), "expected a text, got nothing", "4:15");
    says(&server("command: uvx"), "the key `command` is here twice", "4:5");
    says("limits: {max_message: 1}", "expected a size from 1KiB to 1GiB, got `1`", "1:23");
    says("limits: {outgoing: 1MiB}", "`outgoing` is smaller than `max_message`", "1:20");
    for wrong in ["a=b=c", "loud", "info,loud", ",", "mcpool=loud"] {
        says(&format!("log: {{level: \"{wrong}\"}}"), "expected a filter", "1:14");
    }
    for fine in ["INFO", "warn,mcpool::pool=debug", "off", "mcpool[call{id=1}]=trace"] {
        assert_eq!(mistakes(&format!("log: {{level: \"{fine}\"}}")), "");
    }
    says("admin: {metrics: \"0.0.0.0:9464\"}", "expected a loopback address with a port", "1:18");
    says("admin: {metrics: \"localhost\"}", "expected a loopback address with a port", "1:18");
    says("admin: {metrics: \"unix:metrics.sock\"}", "or a socket", "1:18");
    says(&format!("admin: {{metrics: \"unix:/{}\"}}", "x".repeat(100)), "or a socket", "1:18");
    says("servers: {a: {command: ''}}", "`command` is empty", "1:24");
    says("servers: {a: {command: npx -y x}}", "`command` holds its arguments", "1:24");
    says("servers: {a: {command: /bin/sh -c x}}", "`command` holds its arguments", "1:24");
    for fine in ["/opt/my tools/prog", "C:\\Program Files\\nodejs\\npx.cmd"] {
        assert_eq!(mistakes(&format!("servers: {{a: {{command: '{fine}'}}}}")), "");
    }
    says("servers: {all: {command: x}}", "mcpool itself uses it", "1:11");
    says("endpoints: {x: {servers: []}}", "an endpoint needs a server", "1:13");
    says("endpoints: {x: }", "`servers` is missing", "1:13");
    says("endpoints: {all: {users: [root]}}", "expected a user id like 1000", "1:27");
    says(
        &format!("endpoints: {{all: {{socket: /{}}}}}", "x".repeat(107)),
        "the path of the socket has 108 bytes",
        "1:27",
    );
}

#[test]
fn what_is_switched_off_and_what_is_said_of_trouble() -> Result<(), Box<dyn std::error::Error>> {
    let text = server(
        "recycle: {age: never, calls: never, memory: never}\n    probe: {every: never}\n    breaker: {failures: never}\n    rate_limit: {per_caller: 3/m, total: never, tools: {a.b: 1/h}}",
    );
    let config = Config::parse(&text, "x", &env)?;
    let server_read = config.server("a").ok_or("no server")?;
    assert_eq!((server_read.recycle.age, server_read.recycle.calls, server_read.recycle.memory), (None, None, None));
    assert_eq!((server_read.probe.every, server_read.breaker.failures), (None, None));
    assert_eq!((server_read.rate_limit.total, server_read.rate_limit.tools.len()), (None, 1));
    says(&server("rate_limit: {total: 20}"), "expected a rate like 20/s, got `20`", "4:25");
    says(&server("backoff: {least: 1m}"), "`least` is longer than `most`", "4:22");
    says(&server("breaker: {open: 3m}"), "`open` is longer than `open_max`", "4:21");
    says(&server("when_full: queue"), "expected one of `wait`, `overflow`, `reject`", "4:16");
    says(&server("recycle: {memory: 1}"), "expected a size from 1MiB", "4:23");
    Ok(())
}

#[test]
fn what_is_not_the_yaml_that_is_read() {
    says("servers: [1\nlog: {}", "not valid YAML", "2:4");
    says("servers:\n  a: {command: npx, args: [@x/y]}", "a text that begins with `@` has to be quoted", "2:28");
    says("servers:\n\ta: 1", "indent with spaces", "2:2");
    says("log: {}\n---\nlog: {}", "a second YAML document", "3:1");
    says("log: &x {level: info}", "not supported", "1:6");
    says(&"[".repeat(100), "nested too deeply", "1:34");
    says("[]", "expected a map of keys, got a list", "1:1");
}

#[test]
fn an_empty_file_is_an_empty_config_with_a_warning() -> Result<(), Box<dyn std::error::Error>> {
    for text in ["", "# nothing\n", "servers:\nlimits:\n"] {
        let config = Config::parse(text, "x", &env)?;
        assert_eq!(config, Config::of(Vec::new()));
        assert_eq!(config.warnings().len(), 1);
    }
    Ok(())
}

#[test]
fn a_hosts_own_file() -> Result<(), Box<dyn std::error::Error>> {
    let json = "{\n\t\"mcpServers\": {\n\t\t\"files\": {\n\t\t\t\"type\": \"stdio\", \"command\": \"npx\",\n\t\t\t\"args\": [\"-p\", 80], \"env\": {\"DEBUG\": true, \"N\": 1.0}\n\t\t}\n\t}\n}\n";
    let config = Config::parse(json, "x", &env)?;
    let server = config.server("files").ok_or("no server")?;
    assert_eq!(server.args, ["-p", "80"]);
    let env: Vec<_> = server.env.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(env, [("DEBUG", "true"), ("N", "1.0")]);
    says("servers: {a: {type: http, url: 'https://x'}}", "reached by URL is not supported", "1:15");
    says("servers: {a: {url: 'https://x', headers: {}}}", "reached by URL is not supported", "1:15");
    Ok(())
}

/// The servers of a file with their command lines, and its warnings.
#[track_caller]
fn shared(text: &str) -> (Vec<String>, Vec<String>) {
    let env = |name: &str| match name {
        "HOME" => Some("/home/me".into()),
        "SET" => Some("set".into()),
        _ => None,
    };
    let config = Config::parse(text, "x", &env).unwrap_or_else(|mistakes| panic!("{text}: {mistakes}"));
    let told = |server: &Server| {
        let env = server.env.iter().map(|(name, value)| format!(" {name}={}", value.expose())).collect::<String>();
        format!("{}: {} {}{env}", server.name, server.command, server.args.join(" "))
    };
    (config.servers.iter().map(told).collect(), config.warnings())
}

#[test]
fn the_files_of_hosts_work_as_they_are() {
    let entry = r#"{"command": "x", "args": ["y"]"#;
    for (host, text) in [
        ("Claude Desktop", format!(r#"{{"globalShortcut": "Ctrl+Space", "mcpServers": {{"s": {entry}, "env": {{}}}}}}}}"#)),
        ("Claude Code", format!(r#"{{"numStartups": 3, "projects": {{"/p": {{"mcpServers": {{}}}}}}, "mcpServers": {{"s": {entry}, "type": "stdio"}}}}}}"#)),
        ("Cline", format!(r#"{{"mcpServers": {{"s": {entry}, "disabled": false, "autoApprove": [], "timeout": 600}}}}}}"#)),
        ("Cline CLI", r#"{"mcpServers": {"s": {"transport": {"type": "stdio", "command": "x", "args": ["y"]}}}}"#.to_owned()),
        ("Gemini", format!("{{// mine\n\"theme\": \"Default\", \"mcpServers\": {{\"s\": {entry}, \"trust\": true, \"timeout\": 30000}}}}}}")),
        ("Cursor", format!(r#"{{"mcpServers": {{"s": {entry}, "envFile": ".env"}}}}}}"#)),
        ("VS Code", format!("{{\n  // my servers\n  \"servers\": {{\"s\": {entry}, \"type\": \"stdio\"}},}},\n}}")),
        ("VS Code, inputs", format!(r#"{{"inputs": [{{"id": "k"}}], "servers": {{"s": {entry}, "dev": {{}}}}}}}}"#)),
        ("VS Code, settings", format!(r#"{{"editor.fontSize": 12, "mcp": {{"servers": {{"s": {entry}}}}}}}}}"#)),
        ("Zed", format!("// Zed\n{{\"theme\": \"One\", \"context_servers\": {{\"s\": {entry}, \"source\": \"custom\", \"enabled\": true}}}}}}")),
        ("Zed, older", r#"{"context_servers": {"s": {"command": {"path": "x", "args": ["y"], "env": null}, "settings": {}}}}"#.to_owned()),
        ("opencode", r#"{"$schema": "x", "mcp": {"s": {"type": "local", "command": ["x", "y"], "enabled": true}}}"#.to_owned()),
        ("opencode, newer", r#"{"mcp": {"servers": {"s": {"type": "local", "command": ["x", "y"]}}}}"#.to_owned()),
        ("Continue", "name: A\nversion: 1\nmodels: []\nmcpServers:\n  - name: s\n    command: x\n    args: [y]\n".to_owned()),
        ("Goose", "extensions:\n  s: {type: stdio, cmd: x, args: [y], envs: {}, env_keys: [], enabled: true, timeout: 300}\n  developer: {type: builtin, enabled: true}\n".to_owned()),
        ("Warp", format!(r#"{{"mcpServers": {{"s": {entry}, "working_directory": "/tmp", "start_on_launch": true}}}}}}"#)),
        ("Copilot CLI", format!(r#"{{"mcpServers": {{"s": {entry}, "type": "local", "tools": ["*"]}}}}}}"#)),
        ("null", format!("\u{feff}{{\r\n\t\"mcpServers\": {{\r\n\t\t\"s\": {entry}, \"env\": null, \"cwd\": null}}\r\n\t}}\r\n}}\r\n")),
    ] {
        assert_eq!(shared(&text).0, ["s: x y"], "{host}");
    }
    let toml = "# mine\nmodel = \"x\"\n[mcp_servers.s]\ncommand = \"x\"\n";
    for toml in [toml, "[mcp_servers.s]\ncommand = \"x\"\n"] {
        says(toml, "this is TOML, as Codex and Grok write it", "1:1");
    }
}

#[test]
fn what_cannot_be_shared_is_left_out_of_a_hosts_file_and_told() {
    let text = r#"{"oauthAccount": "hunter2", "mcpServers": {
        "a": {"command": "x", "args": ["${SET}", "$SET", "${NO:-d}", "$NO"], "env": {"K": "${env:SET}"}},
        "My Files (work)": {"command": "x"}, "My_Files [work]": {"command": "x"}, "all": {"command": "x"},
        "awslabs.billing-cost-management-mcp-server": {"command": "x", "alwaysAllow": ["hunter2"]},
        "off": {"command": "x", "disabled": true}, "off2": {"command": "x", "enabled": false},
        "far": {"type": "http", "url": "https://x/?hunter2"}, "wind": {"serverUrl": "https://hunter2"},
        "here": {"command": "x", "args": ["${workspaceFolder}"]}, "ask": {"command": "x", "env": {"K": "${input:k}"}},
        "bad": {"command": "x", "args": "hunter2"}, "worse": "hunter2"
    }}"#;
    let (servers, warnings) = shared(text);
    assert_eq!(
        servers,
        [
            "a: x set set d $NO K=set",
            "My-Files-work: x ",
            "My_Files-work: x ",
            "all-2: x ",
            "awslabs-billing-cost-management: x "
        ]
    );
    let said = warnings.join("\n");
    for told in [
        "this is a host's file: mcpool has no use for `oauthAccount`",
        "server `My Files (work)` is called `My-Files-work` here",
        "server `off` is disabled in this file, and left out",
        "server `off2` is disabled in this file, and left out",
        "server `far` is left out: it is not started by a command (`http`)",
        "server `wind` is left out: it is reached by URL, and not started",
        "server `here` is left out: `${workspaceFolder}` is another directory in each project",
        "server `ask` is left out: `${input:k}` is asked by its host",
        "server `bad` is left out: expected a list",
        "server `worse` is left out: it has no `command`",
        "mcpool has no use for `alwaysAllow`",
    ] {
        assert!(said.contains(told), "no {told:?} in:\n{said}");
    }
    assert!(!said.contains("hunter2"), "{said}");
    let (servers, _) =
        shared(r#"{"mcpServers": {"x y": {"command": "a"}, "x-y": {"command": "b"}, "x.y": {"command": "c"}}}"#);
    assert_eq!(servers, ["x-y: a ", "x-y-2: b ", "x-y-3: c "]);
    // Who writes for mcpool is told of mistakes as mistakes.
    says("mcpServers: {a: {command: x, autoApprove: [], lease: shred}}", "did you mean `shared`?", "1:54");
    says("{\"servers\": {\"a\": {\"command\": \"x\", \"autoApprove\": []}}}", "unknown key `autoApprove`", "1:36");
}

#[test]
fn a_disabled_server_is_known_and_shown_nowhere() -> Result<(), Box<dyn std::error::Error>> {
    let text = "
servers: {a: {command: x, disabled: true}, b: {command: y, disabled: false}}
endpoints:
  both: {servers: [a, b]}
";
    let config = Config::parse(text, "x", &env)?;
    let names = |servers: &[Server]| servers.iter().map(|server| server.name.clone()).collect::<Vec<_>>();
    assert_eq!((names(&config.servers), names(&config.disabled)), (vec!["b".to_owned()], vec!["a".to_owned()]));
    let shown = |name: &str| config.endpoint(name).map(|shows| (shows.servers.join(","), shows.disabled.join(",")));
    let pair = |shown: &str, disabled: &str| Some((shown.to_owned(), disabled.to_owned()));
    assert_eq!([shown("a"), shown("all"), shown("both")], [pair("", "a"), pair("b", "a"), pair("b", "a")]);
    says(&server("disabled: yes"), "expected `true` or `false`, got `yes`", "4:15");
    Ok(())
}

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
fn endpoints() -> Result<(), Box<dyn std::error::Error>> {
    let text = "
servers: {a: {command: x}, b: {command: y}}
endpoints:
  b: {tools: [read]}
  both: {servers: [b, a], users: [1000], socket: '/run/${env:TOKEN}'}
  one: {servers: [a]}
";
    let config = Config::parse(text, "x", &env)?;
    let shape: Vec<_> = config.endpoints.iter().map(|e| (e.name.as_str(), e.servers.join(","), e.prefix)).collect();
    assert_eq!(
        shape,
        [
            ("a", "a".to_owned(), false),
            ("b", "b".to_owned(), false),
            ("all", "a,b".to_owned(), true),
            ("both", "b,a".to_owned(), true),
            ("one", "a".to_owned(), false),
        ]
    );
    let both = config.endpoint("both").ok_or("no endpoint")?;
    assert_eq!((both.users.as_slice(), both.socket.as_deref()), ([1000].as_slice(), Some("/run/hunter2".as_ref())));
    assert_eq!(config.endpoint("b").and_then(|b| b.tools.clone()), Some(vec!["read".to_owned()]));
    says(
        "servers: {a: {command: x}}\nendpoints:\n  a: {socket: /s}\n  b: {socket: /s, servers: [a]}",
        "the same `socket`",
        "4:3",
    );
    Ok(())
}

const EXAMPLE: &str = include_str!("../../../config/example.yaml");

#[test]
fn the_example_shows_the_defaults() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::parse(EXAMPLE, "example.yaml", &|_| None)?;
    assert_eq!(config, Config::of(vec![Server::new("files", "npx")]));
    assert_eq!(config.warnings(), Vec::<String>::new());
    Config::parse(include_str!("../../../config/minimal.yaml"), "minimal.yaml", &|_| None)?;
    Ok(())
}

/// A line's key and indentation, if it has one and is no comment.
fn key(line: &str) -> Option<(usize, &str)> {
    let indent = line.len() - line.trim_start().len();
    let (key, _) = line[indent..].split_once(':')?;
    (!key.starts_with('#')).then_some((indent, key))
}

/// Each map of the example gets an unknown key; the mistake tells which keys there are; all of them must stand there.
#[test]
fn the_example_mentions_every_key() {
    let lines: Vec<&str> = EXAMPLE.lines().collect();
    let opens = |line: &&&str| key(line).is_some() && line.ends_with(':');
    let mut sections = 0;
    for at in
        std::iter::once(None).chain(lines.iter().enumerate().filter(|(_, line)| opens(line)).map(|(at, _)| Some(at)))
    {
        let indent = at.map_or(0, |at| key(lines[at]).map_or(0, |(indent, _)| indent + 2));
        let start = at.map_or(0, |at| at + 1);
        let within: BTreeSet<&str> = lines[start..]
            .iter()
            .filter_map(|line| key(line))
            .take_while(|(depth, _)| *depth >= indent)
            .filter_map(|(depth, key)| (depth == indent).then_some(key))
            .collect();
        let unknown = format!("{}zzzzzz: {{command: x, servers: [files]}}", " ".repeat(indent));
        let text = [&lines[..start], &[unknown.as_str()], &lines[start..]].concat().join("\n");
        let shown = mistakes(&text);
        // Maps of names take any key.
        let told = shown.split_once("unknown key `zzzzzz`").and_then(|(_, rest)| rest.split_once("help: known here: "));
        let Some((_, known)) = told else { continue };
        let known: BTreeSet<&str> =
            known.lines().next().unwrap_or_default().split(", ").filter(|key| *key != "mcpServers").collect();
        let name = at.map_or("the top", |at| lines[at].trim());
        assert!(known.is_subset(&within), "under {name} there should be {:?}", known.difference(&within));
        sections += 1;
    }
    // The top, a server and its nine sections, an endpoint, and seven sections of the daemon.
    assert_eq!(sections, 19);
    assert!(EXAMPLE.contains("mcpServers"));
}

#[test]
fn tools_to_be_sent_again_are_a_list_or_say_how_often() {
    let read = |line: &str| Config::parse(&server(line), "x.yaml", &env).map(|config| config.servers[0].retry.clone());
    let tools = |line: &str| read(line).map(|retry| retry.tools.into_iter().collect::<Vec<_>>()).unwrap_or_default();
    let pairs = |of: [(&str, u8); 2]| of.map(|(tool, count)| (tool.to_owned(), count)).to_vec();
    assert_eq!(tools("retry: {tools: [a, b]}"), pairs([("a", 1), ("b", 1)]));
    assert_eq!(tools("retry: {tools: [a, b], attempts: 3}"), pairs([("a", 3), ("b", 3)]));
    assert_eq!(tools("retry: {tools: {pay: 0, search: 2}}"), pairs([("pay", 0), ("search", 2)]));
    assert_eq!(tools("retry: {tools: {}}"), []);
    says(&server("retry: {tools: {search: 11}}"), "expected a whole number from 0 to 10, got `11`", "4:29");
    says(&server("retry: {tools: {search: often}}"), "expected a whole number from 0 to 10, got `often`", "4:29");
    says(&server("retry: {tools: search}"), "expected a list, got `search`", "4:20");
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

#[test]
fn a_sandbox_is_a_preset_or_a_map() {
    use crate::config::{Network, Preset, Sandbox};

    let read =
        |line: &str| Config::parse(&server(line), "x.yaml", &env).map(|config| config.servers[0].sandbox.clone());
    let preset = Sandbox { preset: Some(Preset::Npx), ..Sandbox::default() };
    assert_eq!(read("sandbox: npx").unwrap(), Some(preset.clone()));
    let more = Sandbox { network: Network::None, write: Some(vec!["/a".into()]), processes: Some(64), ..preset };
    assert_eq!(read("sandbox: {preset: npx, network: none, write: [/a], processes: 64}").unwrap(), Some(more));
    assert_eq!(read("sandbox: null").unwrap(), None);
    says(&server("sandbox: npm"), "expected one of `npx`, `uvx`, got `npm`", "4:14");
    says(&server("sandbox: {}"), "`sandbox` says nothing", "4:5");
    says(&server("sandbox: {network: any}"), "`sandbox` says nothing", "4:5");
    says(&server("sandbox: {read: [docs]}"), "expected an absolute path, got `docs`", "4:22");
    says(&server("sandbox: {read: [], reads: [/docs]}"), "unknown key `reads`", "4:25");
    says(&server("sandbox: npx\n    new_privileges: true"), "nothing gains rights", "5:21");
}
