//! Called by `pool::process` before a confined server is started: what its config's sandbox means on this machine, as
//! paths and numbers. `sandbox` puts it in force, in the server's own process.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{Network, Preset, Sandbox};

/// What programs of any kind need and no secret of anybody is in: programs, libraries, certificates, time zones, how
/// names of hosts are found, and what the system tells of itself.
const SYSTEM: [&str; 42] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/gnu/store",
    "/proc",
    "/sys/devices/system",
    "/sys/fs/cgroup",
    "/sys/kernel/mm",
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/crypto-policies",
    "/etc/gai.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/pki",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl",
    "/etc/static",
    "/etc/timezone",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/run/systemd/resolve",
];
/// What is written to without anything being changed.
const SINKS: [&str; 1] = ["/dev/null"];

/// A sandbox on this machine.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Fence {
    /// None: every file may be reached, as far as its mode allows.
    pub files: Option<Files>,
    pub network: bool,
    pub unix_sockets: bool,
    /// Processes and threads.
    pub processes: Option<u64>,
    /// Bytes of memory that a process may write to.
    pub memory: Option<u64>,
}

/// Files that may be reached, directories with all that is below them.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Files {
    /// Read and executed, if they are there.
    pub usual: Vec<PathBuf>,
    /// Written to, if they are there.
    pub sinks: Vec<PathBuf>,
    /// Read and executed; they have to be there.
    pub read: Vec<PathBuf>,
    /// Changed too; they have to be there.
    pub write: Vec<PathBuf>,
}

/// Where a confined server is started.
pub struct Site<'a> {
    /// The programs that it is started by: what the config names, and the interpreter of that.
    pub programs: Vec<PathBuf>,
    pub home: Option<&'a Path>,
    /// A directory of the server's own, where it may write.
    pub own: &'a Path,
}

impl Fence {
    /// Returns what a sandbox means at a site.
    pub fn new(sandbox: &Sandbox, site: &Site<'_>) -> Fence {
        Fence {
            files: sandbox.restricts_files().then(|| files(sandbox, site)),
            network: sandbox.network == Network::Any,
            unix_sockets: sandbox.unix_sockets,
            processes: sandbox.processes.map(|count| count as u64),
            memory: sandbox.memory.map(|bytes| bytes as u64),
        }
    }
}

impl Files {
    /// Returns what may be read that is neither of the system nor named in the config: the program and what belongs to
    /// it.
    pub fn opened(&self) -> Vec<&Path> {
        let ours = self.usual.iter().filter(|path| !SYSTEM.iter().any(|system| path.starts_with(system)));
        let mut opened: Vec<&Path> = ours.map(PathBuf::as_path).filter(|path| path.exists()).collect();
        opened.sort_unstable();
        // Whatever lies below another of them comes right behind it.
        opened.dedup_by(|path, before| path.starts_with(before));
        opened
    }
}

fn files(sandbox: &Sandbox, site: &Site<'_>) -> Files {
    let mut usual: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
    usual.extend(site.programs.iter().cloned());
    if sandbox.preset.is_some() {
        let places = site.programs.iter().flat_map(|program| installation(program));
        // Where everything of the user's is cannot be what belongs to one program.
        usual.extend(places.filter(|place| site.home.is_none_or(|home| !home.starts_with(place))));
    }
    if let (Some(Preset::Uvx), Some(home)) = (sandbox.preset, site.home) {
        usual.extend([".local/share/uv", ".pyenv"].map(|place| home.join(place)));
    }
    let mut write = sandbox.write.clone().unwrap_or_default();
    write.push(site.own.to_owned());
    let sinks = SINKS.iter().map(PathBuf::from).collect();
    Files { usual, sinks, read: sandbox.read.clone().unwrap_or_default(), write }
}

/// Returns what belongs to a program that lies at `PREFIX/bin/NAME` or among packages: not the whole of a prefix, which
/// may be `~/.local`, and nothing beside one that lies anywhere else, such as `~/start.sh`.
fn installation(program: &Path) -> Vec<PathBuf> {
    let mut places = Vec::new();
    if let Some(bin) = program.parent().filter(|place| place.ends_with("bin")) {
        places.push(bin.to_owned());
        places.extend(bin.parent().map(|prefix| prefix.join("lib/node_modules")));
    }
    // The npm that came with a Node is a script below its packages.
    let modules = program.ancestors().find(|place| place.ends_with("node_modules"));
    places.extend(modules.map(Path::to_owned));
    places
}

/// Variables that a confined server gets unless its config sets them: where it may write.
pub fn variables(sandbox: &Sandbox, own: &Path) -> Vec<(&'static str, PathBuf)> {
    if !sandbox.restricts_files() {
        return Vec::new();
    }
    let mut variables = vec![("TMPDIR", own.join("tmp"))];
    match sandbox.preset {
        // Not the user's own: what one server may write there, another one runs.
        Some(Preset::Npx) => variables.push(("npm_config_cache", own.join("npm"))),
        Some(Preset::Uvx) => variables.extend([("UV_CACHE_DIR", own.join("uv")), ("UV_TOOL_DIR", own.join("tools"))]),
        None => {}
    }
    variables
}

/// Returns what tells a preset's program that there is no network, unless the config does: it takes its package from
/// where it was put by an earlier start, at once, and else says so instead of trying for minutes.
pub fn offline(sandbox: &Sandbox) -> Option<(&'static str, &'static str)> {
    match sandbox.preset.filter(|_| sandbox.network == Network::None)? {
        Preset::Npx => Some(("npm_config_offline", "true")),
        Preset::Uvx => Some(("UV_OFFLINE", "1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fence(sandbox: &Sandbox, program: &str) -> Fence {
        let (programs, home) = (vec![PathBuf::from(program)], Some(Path::new("/home/me")));
        Fence::new(sandbox, &Site { programs, home, own: Path::new("/cache/files") })
    }

    fn lists(paths: &[PathBuf], path: &str) -> bool {
        paths.iter().any(|listed| listed == Path::new(path))
    }

    #[test]
    fn files_are_restricted_once_any_is_named() {
        let none = Sandbox { network: Network::None, ..Sandbox::default() };
        assert_eq!(fence(&none, "/opt/x").files, None);
        assert!(variables(&none, Path::new("/own")).is_empty());
        let one = Sandbox { read: Some(vec!["/srv".into()]), ..Sandbox::default() };
        let files = fence(&one, "/opt/x").files.expect("restricted");
        assert_eq!((files.read, files.write), (vec![PathBuf::from("/srv")], vec![PathBuf::from("/cache/files")]));
        assert!(lists(&files.usual, "/opt/x") && !lists(&files.usual, "/opt"), "the program alone");
    }

    #[test]
    fn a_preset_has_what_its_programs_need_and_no_home() {
        let npx = Sandbox { preset: Some(Preset::Npx), ..Sandbox::default() };
        let files = fence(&npx, "/home/me/.nvm/v20/bin/node").files.expect("restricted");
        assert!(lists(&files.usual, "/home/me/.nvm/v20/bin"));
        assert!(lists(&files.usual, "/home/me/.nvm/v20/lib/node_modules"));
        let all = [files.usual, files.sinks, files.read, files.write].concat();
        assert!(!all.iter().any(|path| Path::new("/home/me").starts_with(path)), "{all:?}");
        assert!(!all.iter().any(|path| Path::new("/etc/shadow").starts_with(path)), "{all:?}");
    }

    #[test]
    fn a_preset_opens_nothing_beside_a_program_that_lies_anywhere() {
        let npx = Sandbox { preset: Some(Preset::Npx), ..Sandbox::default() };
        for (program, dir, opened) in [
            ("/home/me/start.sh", "/home/me", false),
            ("/home/me/scripts/start.sh", "/home/me/scripts", false),
            ("/home/me/bin/start.sh", "/home/me/bin", true),
            ("/home/me/x/node_modules/.bin/start", "/home/me/x/node_modules", true),
        ] {
            let files = fence(&npx, program).files.expect("restricted");
            assert!(lists(&files.usual, program), "{program}");
            assert_eq!(lists(&files.usual, dir), opened, "{dir} for {program}");
        }
        // A home may be called so.
        let (programs, home) = (vec![PathBuf::from("/home/bin/start.sh")], Some(Path::new("/home/bin")));
        let fence = Fence::new(&npx, &Site { programs, home, own: Path::new("/cache/files") });
        assert!(!lists(&fence.files.expect("restricted").usual, "/home/bin"));
    }

    #[test]
    fn a_presets_program_is_told_that_there_is_no_network() {
        let confined = |preset, network| Sandbox { preset, network, ..Sandbox::default() };
        for (preset, told) in
            [(Some(Preset::Npx), Some("npm_config_offline")), (Some(Preset::Uvx), Some("UV_OFFLINE")), (None, None)]
        {
            assert_eq!(offline(&confined(preset, Network::None)).map(|(name, _)| name), told);
            assert_eq!(offline(&confined(preset, Network::Any)), None);
        }
    }

    #[test]
    fn it_reads_what_it_wrote() {
        let sandbox = Sandbox { write: Some(vec!["/a b/\"c".into()]), memory: Some(1 << 30), ..Sandbox::default() };
        let fence = fence(&sandbox, "/bin/sh");
        let written = serde_json::to_string(&fence).unwrap();
        assert_eq!(serde_json::from_str::<Fence>(&written).unwrap(), fence);
    }
}
