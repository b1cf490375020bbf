//! How packages, images, programs and repositories are written on a command line. Called by `command_line.rs`.

use super::Run;

/// What a path says: the package whose folder it lies in, the program itself, then the folders above it, as in a clone.
pub(super) fn path<'a>(word: &'a str, found: &mut Vec<Run<'a>>) {
    const MODULES: &str = "node_modules";
    let separator: &[char] = &['/', '\\'];
    let inside = word.rfind(MODULES).and_then(|at| word.get(at + MODULES.len()..)?.strip_prefix(separator));
    match inside.filter(|inside| !inside.starts_with(".bin")) {
        Some(inside) => found.push(match inside.strip_prefix('@').and_then(|rest| rest.split_once('\\')) {
            Some((scope, rest)) => Run::Scoped(scope, parts(rest, 1)),
            None => Run::Npm(parts(inside, if inside.starts_with('@') { 2 } else { 1 })),
        }),
        None => {
            found.push(Run::Program(program(word)));
            folders(word, found);
        }
    }
}

/// The folders that something lies in, the innermost first.
fn folders<'a>(word: &'a str, found: &mut Vec<Run<'a>>) {
    let folders = word.rsplit(['/', '\\']).skip(1).filter(|folder| !folder.is_empty()).take(3);
    found.extend(folders.map(Run::Program));
}

/// A directory that something is run in, as a clone's.
pub(super) fn directory<'a>(word: &'a str, found: &mut Vec<Run<'a>>) {
    let word = word.trim_end_matches(['/', '\\']);
    found.push(Run::Program(word.rsplit(['/', '\\']).next().unwrap_or(word)));
    folders(word, found);
}

/// A command without its directory and its ending.
pub(super) fn program(word: &str) -> &str {
    const ENDINGS: [&str; 11] = [".exe", ".cmd", ".bat", ".ps1", ".js", ".mjs", ".cjs", ".ts", ".mts", ".py", ".sh"];
    let name = word.rsplit(['/', '\\']).next().unwrap_or(word);
    let without = |ending: &&str| {
        let at = name.len().checked_sub(ending.len())?;
        name.get(at..)?.eq_ignore_ascii_case(ending).then_some(&name[..at])
    };
    ENDINGS.iter().find_map(without).unwrap_or(name)
}

/// A package of npm as a runner is told it: by name and version, or by where its source is.
pub(super) fn npm(word: &str) -> Run<'_> {
    match word.strip_prefix("npm:").unwrap_or(word) {
        name if name.contains(':') || (name.contains('/') && !name.starts_with('@')) => Run::Program(repository(name)),
        name => Run::Npm(unversioned(parts(name, if name.starts_with('@') { 2 } else { 1 }))),
    }
}

/// A package of PyPI likewise, as `name[extra]==1`, `name@latest`, `git+https://host/owner/name@tag` or a directory.
pub(super) fn pypi(word: &str) -> Run<'_> {
    // `name @ git+https://..`: the name says it.
    let name = word.find("://").map_or(word, |url| word[..url].split_once(" @").map_or(word, |(name, _)| name));
    if name.contains('/') { Run::Program(repository(name)) } else { Run::Pypi(requirement(name)) }
}

/// `git+ssh://git@host/owner/name.git@tag#subdirectory=x`, `github:owner/name#tag` as `name`.
pub(super) fn repository(word: &str) -> &str {
    let word = word.split(['#', '?']).next().unwrap_or(word).trim_end_matches('/');
    let name = word.rsplit(['/', ':', '\\']).next().unwrap_or(word);
    let name = name.split('@').next().unwrap_or(name);
    name.strip_suffix(".git").unwrap_or(name)
}

/// `docker.io/mcp/fetch:latest@sha256:..` as `mcp/fetch`.
pub(super) fn image(name: &str) -> &str {
    const HOMES: [&str; 4] = ["docker://", "docker.io/", "index.docker.io/", "registry-1.docker.io/"];
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    let name = HOMES.iter().fold(name, |name, home| name.strip_prefix(home).unwrap_or(name));
    match name.rfind(':') {
        Some(at) if !name[at..].contains('/') => &name[..at],
        _ => name,
    }
}

/// A module of Python, and the packages that it may lie in: `name.server` as `name` too.
pub(super) fn module<'a>(word: &'a str, found: &mut Vec<Run<'a>>) {
    let ends = word.match_indices('.').map(|(at, _)| at).collect::<Vec<_>>();
    found.push(Run::Pypi(word));
    found.extend(ends.iter().rev().map(|at| Run::Pypi(&word[..*at])));
}

/// The first parts of a path.
fn parts(path: &str, count: usize) -> &str {
    path.match_indices(['/', '\\']).nth(count - 1).map_or(path, |(at, _)| &path[..at])
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
    let end = name.find(['[', '=', '<', '>', '~', '!', '@', ';', ' ', ',']).unwrap_or(name.len());
    &name[..end]
}
