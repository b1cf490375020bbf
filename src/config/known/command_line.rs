//! Which packages, images and programs a command line runs, wrappers looked through. Called by `known.rs`.

mod names;

use names::{directory, image, module, npm, path, program, pypi};

/// How many wrappers are looked through.
const DEEPEST: usize = 6;

/// Something that a command line runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Run<'a> {
    /// A package of npm, without its version.
    Npm(&'a str),
    /// The same, where a path of Windows parts scope and name.
    Scoped(&'a str, &'a str),
    /// A package of PyPI, without version and extras, as written.
    Pypi(&'a str),
    /// An image, without registry of Docker's own, tag and digest.
    Image(&'a str),
    /// A program, without its directory.
    Program(&'a str),
}

/// Options of the runners of packages that take no value. Behind any other, the next word may be its value or not.
const SWITCHES: &str = "-y --yes -q --quiet --silent -s --offline --prefer-offline --prefer-online --no-install --bun \
                        --isolated --no-cache --refresh --verbose -v --no -n --native-tls --reinstall -U --upgrade --";
/// Options of theirs whose value is no package that is run.
const VALUED: &str = "--with --with-editable --with-requirements -w --python --index --index-url --default-index \
                      --extra-index-url --directory --project --env-file --cache-dir --config-file --extra --group \
                      --registry --cache --userconfig --prefix -C --dir --cwd --pip-args --prerelease --index-strategy";
/// Long options of docker and podman that take no value, where all others do.
const DOCKER_SWITCHES: &str = "--rm --init --interactive --tty --detach --privileged --read-only --publish-all --quiet \
                               --no-healthcheck --oom-kill-disable --replace --no-deps --build --service-ports \
                               --use-aliases --remove-orphans --quiet-pull --env-host --no-hosts --rmi";
/// Programs that run the program they are told, behind words of their own.
const WRAPPERS: &str = "env nice ionice timeout sudo doas nohup setsid stdbuf xvfb-run chrt taskset exec command time \
                        direnv mise rtx asdf op doppler infisical chamber aws-vault dotenv dotenvx cross-env conda \
                        mamba micromamba firejail bwrap systemd-run catatonit tini dumb-init gosu su-exec volta fnm \
                        proxychains4 caffeinate arch flock";
const RUNNERS: &str = "npx bunx pnpx npm pnpm yarn bun deno node nodejs tsx ts-node uvx uv pipx poetry pdm docker podman \
                       nerdctl sh bash zsh cmd go";

/// What a command line runs, the likeliest first.
pub(super) fn runs<'a>(words: &[&'a str]) -> Vec<Run<'a>> {
    let mut found = Vec::new();
    look(words, 0, &mut found);
    found
}

/// Whether a word is one of a list.
fn among(list: &str, word: &str) -> bool {
    list.split_ascii_whitespace().any(|one| one == word)
}

fn look<'a>(words: &[&'a str], depth: usize, found: &mut Vec<Run<'a>>) {
    let [first, rest @ ..] = words else { return };
    if depth == DEEPEST {
        return;
    }
    let program = program(first);
    match program.to_ascii_lowercase().as_str() {
        "npx" | "bunx" | "pnpx" => npm_runner(rest, depth, found),
        tool @ ("npm" | "pnpm" | "yarn" | "bun") => match split(rest, &["exec", "x", "dlx"]) {
            // What a project has installed goes by the names of programs.
            Some((_, after)) if tool != "npm" && rest.contains(&"exec") => look(after, depth + 1, found),
            Some((before, after)) => npm_runner(&[before, after].concat(), depth, found),
            None => script(rest, found),
        },
        "node" | "nodejs" | "deno" | "tsx" | "ts-node" => script(rest, found),
        "uvx" => python_runner(rest, depth, found),
        "pipx" => split(rest, &["run"]).into_iter().for_each(|(_, after)| python_runner(after, depth, found)),
        "uv" => uv(rest, depth, found),
        "poetry" | "pdm" | "rye" | "hatch" | "pixi" => {
            split(rest, &["run"]).into_iter().for_each(|(_, after)| look(after, depth + 1, found));
        }
        "nix" => nix(rest, depth, found),
        "go" => split(rest, &["run"]).into_iter().flat_map(|(_, after)| after).for_each(|word| {
            path(word.split_once('@').map_or(word, |(path, _)| path), found);
        }),
        "docker" | "podman" | "nerdctl" => container(rest, depth, found),
        "sh" | "bash" | "zsh" | "dash" | "ash" | "ksh" | "fish" => shell(rest, depth, found),
        "cmd" => {
            match rest.iter().position(|word| word.eq_ignore_ascii_case("/c") || word.eq_ignore_ascii_case("/k")) {
                Some(at) if rest.len() == at + 2 => shell_line(rest[at + 1], depth, found),
                Some(at) => look(&rest[at + 1..], depth + 1, found),
                None => {}
            }
        }
        name if is_python(name) => python(rest, depth, found),
        name => {
            path(first, found);
            wrapped(name, rest, depth, found);
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
    let program = program(word).to_ascii_lowercase();
    among(RUNNERS, &program) || is_python(&program)
}

fn is_python(program: &str) -> bool {
    let version = program.strip_prefix("python").unwrap_or("?");
    program == "py" || version.chars().all(|c| c.is_ascii_digit() || c == '.')
}

/// What a program that is nothing of the above runs: `env A=b npx ..`, `sudo`, `timeout 9`, `doppler run -- npx ..`, and
/// `supergateway --stdio "npx .."`.
fn wrapped<'a>(wrapper: &str, rest: &[&'a str], depth: usize, found: &mut Vec<Run<'a>>) {
    if told(rest, depth, found) {
        return;
    }
    // The first word that is no option and no variable; where the wrapper is known to have words of its own, the next ones too.
    let words =
        rest.iter().filter(|word| !word.starts_with('-') && !word.contains('=') && word.parse::<f64>().is_err());
    words.take(if among(WRAPPERS, wrapper) { 4 } else { 1 }).for_each(|word| path(word, found));
}

/// Whether there is a command line in these words: as one word, by a runner that stands among them, or behind `--`.
fn told<'a>(words: &[&'a str], depth: usize, found: &mut Vec<Run<'a>>) -> bool {
    let line = |word: &&&str| word.contains(' ') && !word.starts_with('-') && word.split_whitespace().any(is_runner);
    if let Some(line) = words.iter().find(line) {
        shell_line(line, depth, found);
        return true;
    }
    let runner = words.iter().position(|word| is_runner(word));
    let behind = words.iter().position(|word| *word == "--").map(|at| at + 1).filter(|at| Some(*at) != runner);
    for at in runner.into_iter().chain(behind) {
        look(words.get(at..).unwrap_or_default(), depth + 1, found);
    }
    runner.is_some() || behind.is_some()
}

/// `npx -y --registry URL -p NAME@1 program`.
fn npm_runner<'a>(words: &[&'a str], depth: usize, found: &mut Vec<Run<'a>>) {
    match split(words, &["-c", "--call"]) {
        Some((before, [line, ..])) => {
            packages(before, &["-p", "--package"], depth, found, npm);
            shell_line(line, depth, found);
        }
        _ => packages(words, &["-p", "--package"], depth, found, npm),
    }
}

/// `uvx --index-url URL --from NAME==1 program`.
fn python_runner<'a>(words: &[&'a str], depth: usize, found: &mut Vec<Run<'a>>) {
    packages(words, &["--from", "--spec"], depth, found, pypi);
}

/// The packages that a runner is told: by an option of these, and the first word that is no option. Behind an option that is not
/// known it may be that option's value, and then so may the next. A package may run what its own words tell.
fn packages<'a>(
    words: &[&'a str],
    named: &[&str],
    depth: usize,
    found: &mut Vec<Run<'a>>,
    run: impl Fn(&'a str) -> Run<'a>,
) {
    let mut after = "";
    for (at, word) in words.iter().enumerate() {
        let (key, value) = word.split_once('=').filter(|_| word.starts_with('-')).unwrap_or((word, ""));
        if !value.is_empty() {
            found.extend(named.contains(&key).then(|| run(value)));
            after = "";
        } else if word.starts_with('-') {
            after = word;
        } else if among(VALUED, after) {
            after = "";
        } else {
            let package = run(word);
            let rest = &words[at + 1..];
            match package {
                Run::Npm(name) | Run::Pypi(name) if is_runner(name) => {
                    return look(&[&[name], rest].concat(), depth + 1, found);
                }
                // It fetches the server that it is told and runs it.
                Run::Npm("@smithery/cli") => {
                    return split(rest, &["run"]).into_iter().for_each(|(_, rest)| npm_runner(rest, depth, found));
                }
                _ => found.push(package),
            }
            if after.is_empty() || among(SWITCHES, after) {
                told(rest, depth, found);
                return;
            }
            after = "";
        }
    }
}

/// `uv tool run NAME`, `uv --directory D run NAME`, `uv run --with NAME python -m NAME`.
fn uv<'a>(words: &[&'a str], depth: usize, found: &mut Vec<Run<'a>>) {
    let Some((before, rest)) = split(words, &["run"]) else { return };
    if before.contains(&"tool") {
        return python_runner(rest, depth, found);
    }
    // Less likely than the program: what is there besides it, and the directory, as that of a clone.
    let mut besides = Vec::new();
    let mut at = 0;
    let words = [before, rest].concat();
    while let Some(word) = words.get(at).filter(|word| word.starts_with('-')) {
        if matches!(*word, "-m" | "--module") {
            break;
        }
        let (key, mut value) = word.split_once('=').unwrap_or((word, ""));
        let takes = among(VALUED, key) || matches!(key, "-p" | "-f" | "--find-links" | "--package" | "--from");
        if takes && value.is_empty() {
            at += 1;
            value = words.get(at).copied().unwrap_or_default();
        }
        match key {
            "--with" | "-w" | "--from" | "--package" => besides.push(pypi(value)),
            "--directory" | "--project" => directory(value, &mut besides),
            _ => {}
        }
        at += 1;
    }
    match &words[at..] {
        [flag, name, ..] if matches!(*flag, "-m" | "--module") => module(name, found),
        program => look(program, depth + 1, found),
    }
    found.extend(besides);
}

/// `nix run nixpkgs#NAME`, `nix run github:owner/NAME/rev -- args`, `nix shell nixpkgs#uv -c uvx NAME`.
fn nix<'a>(words: &[&'a str], depth: usize, found: &mut Vec<Run<'a>>) {
    if let Some((_, after)) = split(words, &["-c", "--command"]) {
        return look(after, depth + 1, found);
    }
    for word in words.iter().take_while(|word| **word != "--") {
        if let Some((_, name)) = word.rsplit_once('#') {
            found.push(Run::Program(name.rsplit('.').next().unwrap_or(name)));
        } else if let Some((_, place)) = word.split_once(':') {
            found.extend(place.split(['/', '?']).nth(1).map(Run::Program));
        }
    }
}

/// `docker run -i --rm -e KEY IMAGE program`, `docker exec -i NAME program`, `docker compose run NAME program`.
fn container<'a>(words: &[&'a str], depth: usize, found: &mut Vec<Run<'a>>) {
    let Some((_, rest)) = split(words, &["run", "exec"]) else { return };
    let mut rest = rest.iter().copied();
    let mut inside = Vec::new();
    while let Some(word) = rest.next() {
        if !word.starts_with('-') {
            found.push(Run::Image(image(word)));
            inside.extend(rest);
            return look(&inside, depth + 1, found);
        }
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let value = if value.is_empty() && takes_next(word) { rest.next().unwrap_or_default() } else { value };
        if key == "--entrypoint" {
            inside = value.split_whitespace().collect();
        }
    }
}

/// Whether the value of an option of docker is the next word: not in `-it`, `-p80:80` and `--rm`, but in `-ite KEY`.
fn takes_next(word: &str) -> bool {
    match word.strip_prefix('-').filter(|short| !short.starts_with('-')) {
        Some(short) => short.find(|c| !"itdPqT".contains(c)).is_some_and(|at| at + 1 == short.len()),
        None => !word.contains('=') && !among(DOCKER_SWITCHES, word),
    }
}

/// `sh -lc "cd there && exec npx NAME"`.
fn shell<'a>(words: &[&'a str], depth: usize, found: &mut Vec<Run<'a>>) {
    let switch = |word: &&str| word.starts_with('-') && !word.starts_with("--") && word.ends_with('c');
    match words.iter().position(|word| switch(word) || *word == "--command") {
        Some(at) => words.get(at + 1).into_iter().for_each(|line| shell_line(line, depth, found)),
        None => words.iter().find(|word| !word.starts_with('-')).into_iter().for_each(|script| path(script, found)),
    }
}

/// The commands of a line, as far as they can be told apart without being a shell.
fn shell_line<'a>(line: &'a str, depth: usize, found: &mut Vec<Run<'a>>) {
    for command in line.split(['&', '|', ';', '\n', '(', ')', '`', '{', '}']) {
        let quotes: &[char] = &['"', '\''];
        let words: Vec<&str> = command.split_whitespace().map(|word| word.trim_matches(quotes)).collect();
        let variables = words.iter().take_while(|word| word.contains('=') && !word.starts_with('-')).count();
        match &words[variables..] {
            ["exec", rest @ ..] => look(rest, depth + 1, found),
            rest => look(rest, depth + 1, found),
        }
    }
}

/// `node --enable-source-maps .../cli.js`, `deno run -A npm:NAME`, `npm --prefix DIRECTORY start`.
fn script<'a>(words: &[&'a str], found: &mut Vec<Run<'a>>) {
    let mut places = Vec::new();
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        match word {
            "-C" | "--prefix" | "--dir" | "--cwd" => words.next().into_iter().for_each(|at| directory(at, &mut places)),
            "-r" | "--require" | "--import" | "--loader" | "--env-file" | "--config" => _ = words.next(),
            "run" | "run-script" | "watch" | "x" => {}
            _ if word.starts_with('-') => {}
            _ if word.starts_with("npm:") => {
                found.push(npm(word));
                break;
            }
            _ => {
                path(word, found);
                break;
            }
        }
    }
    // `npm start --prefix DIRECTORY`.
    while let Some(word) = words.next() {
        if matches!(word, "--prefix" | "--cwd") {
            words.next().into_iter().for_each(|at| directory(at, &mut places));
        }
    }
    found.extend(places);
}

/// `python -m NAME`, `python -m pipx run NAME`, `python .../server.py`.
fn python<'a>(words: &[&'a str], depth: usize, found: &mut Vec<Run<'a>>) {
    let mut words = words;
    while let [word, rest @ ..] = words {
        match *word {
            "-m" => match rest {
                [name, ..] if matches!(*name, "pipx" | "uv" | "uvx") => return look(rest, depth + 1, found),
                _ => return rest.first().into_iter().for_each(|name| module(name, found)),
            },
            "-X" | "-W" => words = rest.get(1..).unwrap_or_default(),
            _ if word.starts_with("-m") => return module(&word[2..], found),
            _ if word.starts_with('-') => words = rest,
            _ => return path(word, found),
        }
    }
}
