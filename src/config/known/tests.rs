use super::*;

fn of(line: &str) -> Option<&'static str> {
    let words: Vec<String> = match line.split_once(" | ") {
        // What stands behind ` | ` is one argument, blanks and all.
        Some((words, last)) => words.split(' ').map(str::to_owned).chain([last.to_owned()]).collect(),
        None => line.split(' ').map(str::to_owned).collect(),
    };
    let mut server = Server::new("s", words[0].as_str());
    server.args = words[1..].to_vec();
    server.known().map(|known| known.package)
}

#[test]
fn the_table_has_two_hundred_servers_each_on_a_line_that_can_be_read_and_none_twice() {
    let mut seen = Vec::new();
    let mut section = "";
    for (number, line) in TABLE.lines().enumerate().map(|(at, line)| (at + 1, line)) {
        match line {
            "npm:" | "pypi:" | "docker:" | "program:" => section = line,
            _ if line.is_empty() || line.trim_start().starts_with('#') => {}
            _ => {
                let known = read(line).unwrap_or_else(|| panic!("line {number} is no entry: {line}"));
                assert!(!known.why.is_empty() && known.why.len() < 90, "line {number}");
                let key = (section, known.package);
                assert!(!seen.contains(&key), "line {number}: {} stands there twice", known.package);
                seen.push(key);
            }
        }
    }
    assert!(seen.len() >= 200, "{}", seen.len());
    assert_eq!(table().count(), seen.len());
}

#[test]
fn a_package_is_found_behind_every_way_of_running_it() {
    let playwright = Some("@playwright/mcp");
    for line in [
        "npx @playwright/mcp",
        "npx -y @playwright/mcp@latest --headless",
        "npx --yes --package=@playwright/mcp@0.0.40 mcp",
        "/usr/local/bin/npx -y @playwright/mcp",
        r"C:\nodejs\npx.cmd -y @playwright/mcp",
        "cmd /c npx -y @playwright/mcp@latest",
        "bunx @playwright/mcp",
        "bun x @playwright/mcp",
        "pnpm dlx @playwright/mcp",
        "npm exec -- @playwright/mcp",
        "deno run -A npm:@playwright/mcp",
        "node /home/me/node_modules/@playwright/mcp/cli.js --isolated",
        "node --enable-source-maps /x/node_modules/a/node_modules/@playwright/mcp/cli.js",
        "env DISPLAY=:1 npx -y @playwright/mcp",
        "timeout 3600 npx -y @playwright/mcp",
        "doppler run -- npx -y @playwright/mcp",
        "npx --registry https://r.example @playwright/mcp",
        "npx --cache /tmp/c -y @playwright/mcp@latest",
        "npx --userconfig /tmp/rc @playwright/mcp",
        "npx -c | npx @playwright/mcp --headless",
        "pnpm --silent dlx @playwright/mcp",
        "pnpm --package=@playwright/mcp dlx mcp",
        "npm --quiet exec -- @playwright/mcp",
        "env A=b npm exec @playwright/mcp",
        "env X=1 deno run -A npm:@playwright/mcp",
        "env -S | npx -y @playwright/mcp",
        "supergateway --stdio | npx -y @playwright/mcp",
        "docker exec -i box npx @playwright/mcp",
        "docker compose run --rm box npx -y @playwright/mcp",
        "sh -c | cd /tmp && exec npx -y '@playwright/mcp@latest' 2>/dev/null",
        "bash -lc | . ~/.nvm/nvm.sh; npx @playwright/mcp",
        "docker run -i --rm node:20 npx -y @playwright/mcp",
    ] {
        assert_eq!(of(line), playwright, "{line}");
    }
}

#[test]
fn python_packages_images_and_programs_are_found_likewise() {
    for (line, package) in [
        ("uvx mcp-server-fetch", "mcp-server-fetch"),
        ("uvx --python 3.12 mcp_server_fetch==2025.1.1", "mcp-server-fetch"),
        ("uvx --from serena-agent[all]@latest serena start-mcp-server", "serena-agent"),
        ("uvx --from git+https://example.org/oraios/serena serena start-mcp-server", "serena"),
        ("uvx --default-index https://i.example mcp-server-fetch", "mcp-server-fetch"),
        ("uvx --python-preference system jupyter-mcp-server", "jupyter-mcp-server"),
        ("poetry run jupyter-mcp-server", "jupyter-mcp-server"),
        ("nix run nixpkgs#mcp-language-server", "mcp-language-server"),
        ("npx github:someone/chrome-devtools-mcp", "chrome-devtools-mcp"),
        ("uv tool run mcp-server-git", "mcp-server-git"),
        ("uv --directory /srv/x run mcp-server-sqlite --db a.db", "mcp-server-sqlite"),
        ("uv run --with fastmcp python -m mcp_server_time", "mcp-server-time"),
        ("pipx run mcp-server-fetch", "mcp-server-fetch"),
        ("python3.11 -m mcp_server_fetch", "mcp-server-fetch"),
        ("/venv/bin/mcp-server-git --repository /r", "mcp-server-git"),
        ("uvx awslabs.aws-api-mcp-server@latest", "awslabs.aws-api-mcp-server"),
        ("docker run -i --rm -e KEY -v /a:/b mcp/sequentialthinking", "mcp/sequentialthinking"),
        ("docker run --rm --mount type=bind,src=/a,dst=/b -i docker.io/mcp/playwright:latest", "mcp/playwright"),
        ("podman run -it --name x mcr.microsoft.com/playwright/mcp", "mcr.microsoft.com/playwright/mcp"),
        ("/usr/bin/github-mcp-server stdio", "github-mcp-server"),
        ("mcp-server-sequential-thinking", "@modelcontextprotocol/server-sequential-thinking"),
        ("node /src/chrome-devtools-mcp/build/src/index.js", "chrome-devtools-mcp"),
    ] {
        assert_eq!(of(line), Some(package), "{line}");
    }
}

#[test]
fn a_name_within_a_word_or_in_an_argument_of_its_own_is_not_the_server() {
    for line in ["npx my-chrome-devtools-mcp", "npx -y mine --with @playwright/mcp", "node server.js", "my-mcp", "mcp"]
    {
        assert_eq!(of(line), None, "{line}");
    }
}
