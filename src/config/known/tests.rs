//! Which servers the table knows by their command lines, and what it says of them.

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
fn each_entry_says_what_it_rests_on_and_the_head_of_the_table_counts_them() {
    let (mut run, mut source, mut documented) = (0, 0, 0);
    for (_, known) in table() {
        let (count, version) = match known.basis {
            Some(Basis::Run(version)) => (&mut run, version),
            Some(Basis::Source(version)) => (&mut source, version),
            None => (&mut documented, "0.1"),
        };
        *count += 1;
        let commit = version.len() == 9 && version.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = version.contains('.') && version.starts_with(|c: char| c.is_ascii_digit());
        assert!(commit || number, "{}: {version} is no version", known.package);
        assert!(!known.why.contains('['), "{}", known.package);
    }
    let all = run + source + documented;
    let says =
        format!("# Of {all} entries {run} rest on a run, {source} on the source, {documented} on the documentation.\n");
    assert!(TABLE.contains(&says), "the head of the table should say: {says}");
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
        "npx --yes @playwright/mcp@latest -- --headless",
        "npx -p @playwright/mcp@latest -c | mcp-server --headless",
        "npm exec --yes --package=@playwright/mcp@1.2.3 -- mcp",
        "yarn dlx -p @playwright/mcp mcp",
        "bunx --bun @playwright/mcp",
        "npx -y @smithery/cli@latest run @playwright/mcp --key abc",
        "npx -y supergateway --port 8000 --stdio | npx -y @playwright/mcp",
        "uvx mcp-proxy --port 8000 -- npx -y @playwright/mcp",
        "npx -y dotenv-cli -e .env -- npx @playwright/mcp",
        "deno run --allow-net npm:@playwright/mcp@0.0.40/cli",
        "deno run -A npm:@playwright/mcp/cli.js",
        r"node C:\Users\me\node_modules\@playwright\mcp\cli.js",
        r"node.exe C:/Users/me/node_modules/@playwright/mcp/cli.js",
        "node /x/node_modules/.pnpm/@playwright+mcp@0.0.40/node_modules/@playwright/mcp/cli.js",
        "npx tsx /x/node_modules/@playwright/mcp/src/cli.ts",
        "npx -y node@22 /x/node_modules/@playwright/mcp/cli.js",
        r"CMD.EXE /C npx -y @playwright/mcp",
        "cmd /d /s /c | npx -y @playwright/mcp",
        "powershell -NoProfile -Command | & npx -y @playwright/mcp",
        "su me -c | cd /tmp && npx -y @playwright/mcp",
        "bash -o pipefail -c | npx -y @playwright/mcp | tee /tmp/log",
        "nice -n 5 npx -y @playwright/mcp",
        "xvfb-run -a --server-args=-ac npx -y @playwright/mcp",
        "mise exec -- npx -y @playwright/mcp",
        "mise exec node@22 -- npx -y @playwright/mcp",
        "mise x node -- npx -y @playwright/mcp",
        "direnv exec . npx -y @playwright/mcp",
        "nix shell nixpkgs#nodejs -c npx -y @playwright/mcp",
        "nix-shell -p nodejs --run | npx -y @playwright/mcp",
        "wsl.exe -d Ubuntu -- bash -lc | npx -y @playwright/mcp",
        "ssh box npx -y @playwright/mcp",
        "kubectl exec -i pod -- npx -y @playwright/mcp",
        "docker run -i --rm --entrypoint npx node:22 -y @playwright/mcp",
        "python3 -m uv tool run nodeenv -- npx @playwright/mcp",
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
        ("nix run nixpkgs#python3Packages.mcp-nixos", "mcp-nixos"),
        ("nix run github:utensils/mcp-nixos -- --stdio", "mcp-nixos"),
        ("nix run github:utensils/mcp-nixos/v1", "mcp-nixos"),
        ("go run github.com/isaacphi/mcp-language-server@latest --workspace /x", "mcp-language-server"),
        ("npx github:someone/chrome-devtools-mcp", "chrome-devtools-mcp"),
        ("npx git+https://github.com/someone/chrome-devtools-mcp.git#v1", "chrome-devtools-mcp"),
        ("npx someone/chrome-devtools-mcp", "chrome-devtools-mcp"),
        ("npm --prefix /src/chrome-devtools-mcp start", "chrome-devtools-mcp"),
        ("npm run start --prefix /src/chrome-devtools-mcp/", "chrome-devtools-mcp"),
        ("pnpm exec chrome-devtools-mcp --isolated", "chrome-devtools-mcp"),
        ("chrome-devtools-mcp.cmd", "chrome-devtools-mcp"),
        (r"C:\bin\chrome-devtools-mcp.CMD", "chrome-devtools-mcp"),
        ("uvx --from git+ssh://git@example.org/oraios/serena.git@v1 start", "serena"),
        ("uvx --from git+https://example.org/servers#subdirectory=src/git mcp-server-git", "mcp-server-git"),
        ("uvx --from | mcp-server-git @ git+https://example.org/x", "mcp-server-git"),
        ("uvx --with mcp-server-fetch mcp-server-git", "mcp-server-git"),
        ("uvx mcp-server-git@2025.1.1", "mcp-server-git"),
        ("uvx python -m mcp_server_git", "mcp-server-git"),
        ("uvx mcpo --port 8000 -- uvx mcp-server-time", "mcp-server-time"),
        ("uv run --with mcp-server-fetch mcp-server-git", "mcp-server-git"),
        ("uv run --with=mcp-server-git python server.py", "mcp-server-git"),
        ("uv run --extra cli --env-file .env -m mcp_server_git", "mcp-server-git"),
        ("uv --directory /src/mcp-server-git run server.py", "mcp-server-git"),
        ("uv run --directory=/src/mcp-server-git server", "mcp-server-git"),
        ("python -m mcp_server_git.server", "mcp-server-git"),
        ("python -u -X utf8 -m basic_memory.cli.main mcp", "basic-memory"),
        ("python -mmcp_server_git", "mcp-server-git"),
        ("py -3 -m pipx run mcp-server-git", "mcp-server-git"),
        ("pipx --global run --spec mcp-server-git==1 x", "mcp-server-git"),
        ("conda run -n base --no-capture-output mcp-server-git", "mcp-server-git"),
        ("timeout 60s mcp-server-git", "mcp-server-git"),
        ("env -u HOME A=b mcp-server-git", "mcp-server-git"),
        ("direnv exec /srv mcp-server-git", "mcp-server-git"),
        ("mise exec python@3.12 -- mcp-server-git", "mcp-server-git"),
        ("uv tool run mcp-server-git", "mcp-server-git"),
        ("uv --directory /srv/x run mcp-server-sqlite --db a.db", "mcp-server-sqlite"),
        ("uv run --with fastmcp python -m mcp_server_time", "mcp-server-time"),
        ("pipx run mcp-server-fetch", "mcp-server-fetch"),
        ("python3.11 -m mcp_server_fetch", "mcp-server-fetch"),
        ("/venv/bin/mcp-server-git --repository /r", "mcp-server-git"),
        ("uvx awslabs.aws-api-mcp-server@latest", "awslabs.aws-api-mcp-server"),
        ("docker run -i --rm -e KEY -v /a:/b mcp/sequentialthinking", "mcp/sequentialthinking"),
        ("docker run --rm --mount type=bind,src=/a,dst=/b -i docker.io/mcp/playwright:latest", "mcp/playwright"),
        ("docker run -it -p8080:80 -v/a:/b mcp/fetch:1", "mcp/fetch"),
        ("docker run -ite KEY --pull always mcp/fetch@sha256:0", "mcp/fetch"),
        ("docker --context box container run -i -e KEY=value mcp/fetch", "mcp/fetch"),
        ("podman run --replace -i docker://docker.io/mcp/fetch", "mcp/fetch"),
        ("docker run -i --entrypoint=mcp-server-git python:3", "mcp-server-git"),
        ("sudo -E podman run -i mcp/fetch", "mcp/fetch"),
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
    for line in [
        "npx my-chrome-devtools-mcp",
        "npx -y mine --with @playwright/mcp",
        "npx -y mine chrome-devtools-mcp",
        "uvx mine mcp-server-git",
        "mine --server mcp-server-git-x",
        "docker run -i -e mcp/fetch mine",
        "nix run nixpkgs#mine -- nixpkgs#mcp-nixos",
        "npx mcp-remote https://example.org/chrome-devtools-mcp",
        "npx",
        "uvx --from",
        "docker run -e",
        "python -m",
        "sh -c",
        "cmd /c",
        "node server.js",
        "my-mcp",
        "mcp",
    ] {
        assert_eq!(of(line), None, "{line}");
    }
}
