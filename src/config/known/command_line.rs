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

/// Options that take no value, where all others do.
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
        "npx" | "bunx" | "pnpx" => package_runner(rest, depth, found),
        "npm" | "pnpm" | "yarn" | "bun" => match rest {
            ["exec" | "x" | "dlx", rest @ ..] => package_runner(rest, depth, found),
            ["run", rest @ ..] | rest => script(rest, found),
        },
        "node" | "deno" | "tsx" | "ts-node" => script(rest, found),
        "uvx" => python_runner(rest, &["--from", "--with", "-w", "--python", "-p", "--index-url", "--env-file"], found),
        "pipx" if rest.first() == Some(&"run") => python_runner(&rest[1..], &["--spec", "--python"], found),
        "uv" => uv(rest, depth, found),
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

/// What a program that is nothing of the above runs: `env A=b npx ..`, `sudo`, `timeout 9`, `doppler run -- npx ..`.
fn wrapped<'a>(rest: &[&'a str], depth: usize, found: &mut Vec<Run<'a>>) {
    let runner = |word: &&str| {
        let program = program(word);
        is_python(program)
            || matches!(
                program,
                "npx" | "bunx" | "pnpx" | "uvx" | "uv" | "node" | "docker" | "podman" | "sh" | "bash" | "pipx"
            )
    };
    match rest.iter().position(runner).or_else(|| Some(rest.iter().position(|word| *word == "--")? + 1)) {
        Some(at) => look(rest.get(at..).unwrap_or_default(), depth + 1, found),
        // `exec`, `env`, `nice` and the like: the first word that is no option and no variable.
        None => rest
            .iter()
            .find(|word| !word.starts_with('-') && !word.contains('=') && word.parse::<f64>().is_err())
            .into_iter()
            .for_each(|word| path(word, found)),
    }
}

/// `npx -y -p NAME@1 program`.
fn package_runner<'a>(words: &[&'a str], depth: usize, found: &mut Vec<Run<'a>>) {
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        match word {
            "-p" | "--package" => words.next().into_iter().for_each(|name| found.push(Run::Npm(unversioned(name)))),
            "-c" | "--call" => return words.next().into_iter().for_each(|line| shell_line(line, depth, found)),
            _ if word.starts_with("--package=") => found.push(Run::Npm(unversioned(&word[10..]))),
            _ if word.starts_with('-') => {}
            _ => return found.push(Run::Npm(unversioned(word))),
        }
    }
}

/// `uvx --from NAME==1 program`.
fn python_runner<'a>(words: &[&'a str], valued: &[&str], found: &mut Vec<Run<'a>>) {
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        match word {
            "--from" | "--spec" => words.next().into_iter().for_each(|name| found.push(Run::Pypi(requirement(name)))),
            _ if word.starts_with("--from=") => found.push(Run::Pypi(requirement(&word[7..]))),
            _ if valued.contains(&word) => _ = words.next(),
            _ if word.starts_with('-') => {}
            _ => return found.push(Run::Pypi(requirement(word))),
        }
    }
}

/// `uv tool run NAME`, `uv --directory D run NAME`, `uv run python -m NAME`.
fn uv<'a>(words: &[&'a str], depth: usize, found: &mut Vec<Run<'a>>) {
    let valued = ["--from", "--with", "--with-editable", "--python", "-p", "--directory", "--project", "--env-file"];
    let Some(at) = words.iter().position(|word| *word == "run") else { return };
    if words[..at].contains(&"tool") {
        return python_runner(&words[at + 1..], &valued, found);
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

/// `docker run -i --rm -e KEY IMAGE program`.
fn container<'a>(words: &[&'a str], depth: usize, found: &mut Vec<Run<'a>>) {
    let Some(at) = words.iter().position(|word| *word == "run") else { return };
    let mut rest = words[at + 1..].iter().copied();
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
