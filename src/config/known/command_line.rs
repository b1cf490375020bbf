//! Which packages, images and programs a command line runs, wrappers looked through. Called by `known.rs`.

/// How many wrappers are looked through.
const DEEPEST: usize = 6;

/// Something that a command line runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Run<'a> {
    /// A package of npm, without its version.
    Npm(&'a str),
    /// A package of PyPI, without version and extras, as written.
    Pypi(&'a str),
    /// An image, without registry of Docker's own, tag and digest.
    Image(&'a str),
    /// A program, without its directory.
    Program(&'a str),
}

/// Options of docker that take no value, where all others do.
const DOCKER_SWITCHES: [&str; 18] = [
    "-i",
    "-t",
    "-d",
    "-it",
    "-ti",
    "-P",
    "-q",
    "--rm",
    "--init",
    "--interactive",
    "--tty",
    "--detach",
    "--privileged",
    "--read-only",
    "--publish-all",
    "--quiet",
    "--no-healthcheck",
    "--oom-kill-disable",
];
/// Options of the runners of packages that take no value. Behind any other, the next word may be its value or not.
const SWITCHES: [&str; 14] = [
    "-y",
    "--yes",
    "-q",
    "--quiet",
    "--silent",
    "-s",
    "--offline",
    "--prefer-offline",
    "--no-install",
    "--bun",
    "--isolated",
    "--no-cache",
    "--refresh",
    "--",
];

/// What a command line runs, the likeliest first.
pub(super) fn runs<'a>(words: &[&'a str]) -> Vec<Run<'a>> {
    let mut found = Vec::new();
    look(words, 0, &mut found);
    found
}

fn look<'a>(words: &[&'a str], depth: usize, found: &mut Vec<Run<'a>>) {
    let [first, rest @ ..] = words else { return };
    if depth == DEEPEST {
        return;
    }
    let program = program(first);
    match program {
        "npx" | "bunx" | "pnpx" => npm_runner(rest, depth, found),
        "npm" | "pnpm" | "yarn" | "bun" => match split(rest, &["exec", "x", "dlx"]) {
            Some((before, after)) => npm_runner(&[before, after].concat(), depth, found),
            None => script(rest, found),
        },
        "node" | "deno" | "tsx" | "ts-node" => script(rest, found),
        "uvx" => python_runner(rest, found),
        "pipx" if rest.first() == Some(&"run") => python_runner(&rest[1..], found),
        "uv" => uv(rest, depth, found),
        "poetry" | "pdm" | "rye" | "hatch" | "pixi" => {
            split(rest, &["run"]).into_iter().for_each(|(_, after)| look(after, depth + 1, found));
        }
        "nix" => found.extend(rest.iter().filter_map(|word| Some(Run::Program(word.rsplit_once('#')?.1)))),
        "docker" | "podman" | "nerdctl" => container(rest, depth, found),
        "sh" | "bash" | "zsh" | "dash" | "ash" | "ksh" | "fish" => shell(rest, depth, found),
        "cmd" if rest.first().is_some_and(|word| word.eq_ignore_ascii_case("/c")) => look(&rest[1..], depth + 1, found),
        _ if is_python(program) => python(rest, found),
        _ => {
            path(first, found);
            wrapped(rest, depth, found);
        }
    }
}

/// What stands before and behind the first of these words.
fn split<'w, 'a>(words: &'w [&'a str], at: &[&str]) -> Option<(&'w [&'a str], &'w [&'a str])> {
    let at = words.iter().position(|word| at.contains(word))?;
    Some((&words[..at], &words[at + 1..]))
}

/// Whether a program runs others, as packages, images or scripts.
fn is_runner(word: &str) -> bool {
    const RUNNERS: [&str; 19] = [
        "npx", "bunx", "pnpx", "npm", "pnpm", "yarn", "bun", "deno", "node", "tsx", "uvx", "uv", "pipx", "poetry",
        "docker", "podman", "nerdctl", "sh", "bash",
    ];
    let program = program(word);
    RUNNERS.contains(&program) || is_python(program)
}

/// What a program that is nothing of the above runs: `env A=b npx ..`, `sudo`, `timeout 9`, `doppler run -- npx ..`, and
/// `supergateway --stdio "npx .."`.
fn wrapped<'a>(rest: &[&'a str], depth: usize, found: &mut Vec<Run<'a>>) {
    let line = |word: &&&str| word.split_once(' ').is_some_and(|(first, _)| is_runner(first));
    if let Some(line) = rest.iter().find(line) {
        return shell_line(line, depth, found);
    }
    let runner = rest.iter().position(|word| is_runner(word));
    match runner.or_else(|| Some(rest.iter().position(|word| *word == "--")? + 1)) {
        Some(at) => look(rest.get(at..).unwrap_or_default(), depth + 1, found),
        // `exec`, `env`, `nice` and the like: the first word that is no option and no variable.
        None => rest
            .iter()
            .find(|word| !word.starts_with('-') && !word.contains('=') && word.parse::<f64>().is_err())
            .into_iter()
            .for_each(|word| path(word, found)),
    }
}

/// `npx -y --registry URL -p NAME@1 program`.
fn npm_runner<'a>(words: &[&'a str], depth: usize, found: &mut Vec<Run<'a>>) {
    if let Some((_, [line, ..])) = split(words, &["-c", "--call"]) {
        return shell_line(line, depth, found);
    }
    packages(words, &["-p", "--package"], found, |name| match name.split_once(':') {
        // `github:owner/name`: as a clone would be called.
        Some((_, rest)) => Run::Program(rest.rsplit('/').next().unwrap_or(rest)),
        None => Run::Npm(unversioned(name)),
    });
}

/// `uvx --index-url URL --from NAME==1 program`.
fn python_runner<'a>(words: &[&'a str], found: &mut Vec<Run<'a>>) {
    packages(words, &["--from", "--spec"], found, |name| match name.rsplit_once('/') {
        // `git+https://host/owner/name@tag`.
        Some((_, last)) => Run::Pypi(requirement(last.strip_suffix(".git").unwrap_or(last))),
        None => Run::Pypi(requirement(name)),
    });
}

/// The packages that a runner is told: by an option of these, and the first word that is no option. Behind an option that is not
/// known it may be that option's value, and then so may the next.
fn packages<'a>(words: &[&'a str], named: &[&str], found: &mut Vec<Run<'a>>, run: impl Fn(&'a str) -> Run<'a>) {
    let mut after = "";
    for word in words {
        let (key, value) = word.split_once('=').filter(|_| word.starts_with('-')).unwrap_or((word, ""));
        if !value.is_empty() {
            found.extend(named.contains(&key).then(|| run(value)));
            after = "";
        } else if word.starts_with('-') {
            after = word;
        } else {
            found.push(run(word));
            if after.is_empty() || SWITCHES.contains(&after) {
                return;
            }
            after = "";
        }
    }
}

/// `uv tool run NAME`, `uv --directory D run NAME`, `uv run python -m NAME`.
fn uv<'a>(words: &[&'a str], depth: usize, found: &mut Vec<Run<'a>>) {
    let valued = ["--from", "--with", "--with-editable", "--python", "-p", "--directory", "--project", "--env-file"];
    let Some(at) = words.iter().position(|word| *word == "run") else { return };
    if words[..at].contains(&"tool") {
        return python_runner(&words[at + 1..], found);
    }
    let mut rest = words[at + 1..].iter().copied();
    let mut first = rest.next();
    while let Some(word) = first.filter(|word| word.starts_with('-')) {
        if word == "--with" || word == "--from" {
            rest.next().into_iter().for_each(|name| found.push(Run::Pypi(requirement(name))));
        } else if valued.contains(&word) {
            rest.next();
        } else if word == "-m" || word == "--module" {
            return rest.next().into_iter().for_each(|module| found.push(Run::Pypi(module)));
        }
        first = rest.next();
    }
    look(&first.into_iter().chain(rest).collect::<Vec<_>>(), depth + 1, found);
}

/// `docker run -i --rm -e KEY IMAGE program`, `docker exec -i NAME program`, `docker compose run NAME program`.
fn container<'a>(words: &[&'a str], depth: usize, found: &mut Vec<Run<'a>>) {
    let Some((_, rest)) = split(words, &["run", "exec"]) else { return };
    let mut rest = rest.iter().copied();
    while let Some(word) = rest.next() {
        if !word.starts_with('-') {
            found.push(Run::Image(image(word)));
            return look(&rest.collect::<Vec<_>>(), depth + 1, found);
        }
        if !DOCKER_SWITCHES.contains(&word) && !word.contains('=') {
            rest.next();
        }
    }
}

/// `sh -lc "cd there && exec npx NAME"`.
fn shell<'a>(words: &[&'a str], depth: usize, found: &mut Vec<Run<'a>>) {
    let switch = |word: &&str| word.starts_with('-') && !word.starts_with("--") && word.ends_with('c');
    match words.iter().position(switch) {
        Some(at) => words.get(at + 1).into_iter().for_each(|line| shell_line(line, depth, found)),
        None => words.iter().find(|word| !word.starts_with('-')).into_iter().for_each(|script| path(script, found)),
    }
}

/// The commands of a line, as far as they can be told apart without being a shell.
fn shell_line<'a>(line: &'a str, depth: usize, found: &mut Vec<Run<'a>>) {
    for command in line.split(['&', '|', ';', '\n', '(', ')']) {
        let quotes: &[char] = &['"', '\''];
        let words: Vec<&str> = command.split_whitespace().map(|word| word.trim_matches(quotes)).collect();
        let variables = words.iter().take_while(|word| word.contains('=') && !word.starts_with('-')).count();
        match &words[variables..] {
            ["exec", rest @ ..] => look(rest, depth + 1, found),
            rest => look(rest, depth + 1, found),
        }
    }
}

/// `node --enable-source-maps .../cli.js`, `deno run -A npm:NAME`.
fn script<'a>(words: &[&'a str], found: &mut Vec<Run<'a>>) {
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        match word {
            "-r" | "--require" | "--import" | "--loader" | "--env-file" | "-C" | "--prefix" | "--dir" => {
                _ = words.next()
            }
            "run" => {}
            _ if word.starts_with('-') => {}
            _ => {
                return match word.strip_prefix("npm:") {
                    Some(name) => found.push(Run::Npm(unversioned(name))),
                    None => path(word, found),
                };
            }
        }
    }
}

/// `python -m NAME`, `python .../server.py`.
fn python<'a>(words: &[&'a str], found: &mut Vec<Run<'a>>) {
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        match word {
            "-m" => return words.next().into_iter().for_each(|module| found.push(Run::Pypi(module))),
            "-X" | "-W" => _ = words.next(),
            _ if word.starts_with('-') => {}
            _ => return path(word, found),
        }
    }
}

/// What a path says: the package whose folder it lies in, the program itself, then the folders above it, as in a clone.
fn path<'a>(word: &'a str, found: &mut Vec<Run<'a>>) {
    if let Some((_, inside)) = word.rsplit_once("node_modules/").filter(|(_, inside)| !inside.starts_with(".bin/")) {
        let parts = if inside.starts_with('@') { 2 } else { 1 };
        let end = inside.match_indices('/').nth(parts - 1).map_or(inside.len(), |(at, _)| at);
        return found.push(Run::Npm(&inside[..end]));
    }
    found.push(Run::Program(program(word)));
    let folders = word.rsplit(['/', '\\']).skip(1).filter(|folder| !folder.is_empty()).take(3);
    found.extend(folders.map(Run::Program));
}

/// A command without its directory and its ending.
fn program(word: &str) -> &str {
    let name = word.rsplit(['/', '\\']).next().unwrap_or(word);
    [".exe", ".cmd", ".bat", ".js", ".mjs", ".py"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name)
}

fn is_python(program: &str) -> bool {
    let version = program.strip_prefix("python").unwrap_or("?");
    program == "py" || version.chars().all(|c| c.is_ascii_digit() || c == '.')
}

/// `@scope/name@1.2` without its version.
fn unversioned(name: &str) -> &str {
    match name.rfind('@') {
        Some(at) if at > 0 => &name[..at],
        _ => name,
    }
}

/// `name[extra]==1.2`, `name@latest` without what stands behind the name.
fn requirement(name: &str) -> &str {
    let end = name.find(['[', '=', '<', '>', '~', '!', '@', ';', ' ']).unwrap_or(name.len());
    &name[..end]
}

/// `docker.io/mcp/fetch:latest@sha256:..` as `mcp/fetch`.
fn image(name: &str) -> &str {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    let name = ["docker.io/", "index.docker.io/"].iter().find_map(|home| name.strip_prefix(home)).unwrap_or(name);
    match name.rfind(':') {
        Some(at) if !name[at..].contains('/') => &name[..at],
        _ => name,
    }
}
