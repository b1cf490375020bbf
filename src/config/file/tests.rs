//! Mistakes as they are shown, and what the values of keys become.

mod example;
mod hosts;
mod secrets;

use std::ffi::OsString;

use crate::config::{Config, Server};

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
    says("limits: {in_flight: 20, held: 16}", "`held` is smaller than `in_flight`", "1:31");
    says("limits: {held_total: 256}", "`held_total` is smaller than `held`", "1:22");
    says("limits: {memory: 16MiB}", "`memory` is smaller than two of the largest messages", "1:18");
    assert_eq!(mistakes("limits: {in_flight: 100000}"), "", "`held` follows");
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
    assert_eq!(config.endpoint("b").and_then(|b| b.grants.tools.clone()), Some(vec!["read".to_owned()]));
    says(
        "servers: {a: {command: x}}\nendpoints:\n  a: {socket: /s}\n  b: {socket: /s, servers: [a]}",
        "the same `socket`",
        "4:3",
    );
    Ok(())
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
