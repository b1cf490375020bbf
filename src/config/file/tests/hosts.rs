//! The configuration files of hosts, read as they are.

use super::{env, says};
use crate::config::{Config, Server};

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
        ("a host's own log", format!(r#"{{"log": {{"project": "info"}}, "reload": "never", "mcpServers": {{"s": {entry}}}}}}}"#)),
        ("keys with other meanings", format!(r#"{{"mcpServers": {{"s": {entry}, "retry": 3, "queue": true, "probe": false, "instances": 2}}}}}}"#)),
        ("VS Code, sandbox", format!(r#"{{"servers": {{"s": {entry}, "type": "stdio", "sandboxEnabled": true, "sandbox": {{"filesystem": {{"allowWrite": []}}}}}}}}}}"#)),
        ("nulls of a type for all servers", format!(r#"{{"mcpServers": {{"s": {entry}, "url": null, "serverUrl": "", "env": {{"A": null}}, "sandbox": false}}}}}}"#)),
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
    let (servers, warnings) =
        shared(r#"{"numStartups": 3, "projects": {"/p": {"mcpServers": {"s": {"command": "x"}}}}}"#);
    assert!(
        servers.is_empty() && warnings.join("\n").contains("move those to be shared from `projects` to `mcpServers`"),
        "{warnings:?}"
    );
    // Who writes for mcpool is told of mistakes as mistakes.
    says(
        "mcpServers: {a: {command: x, lease: call, sandbox: true}}",
        "expected one of `npx`, `uvx`, got `true`",
        "1:52",
    );
    let (servers, warnings) = shared("mcpServers: {a: {command: x, sandbox: {enabled: true, read: [/srv]}}}");
    assert!(servers.is_empty() && warnings.join("\n").contains("unknown key `enabled`"), "{warnings:?}");
    says("mcpServers: {a: {command: x, autoApprove: [], lease: shred}}", "did you mean `shared`?", "1:54");
    says("{\"servers\": {\"a\": {\"command\": \"x\", \"autoApprove\": []}}}", "unknown key `autoApprove`", "1:36");
}
