//! Called by `cli` and by `Config::load`: where the things of this user lie. A config counts because somebody named it,
//! or because it lies in the user's own config directory; never because of the directory that a command happens to run
//! in ([decision 10](../../docs/decisions/0010-authority-comes-from-a-choice.md)).

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::hex::hex;

/// What a config is called in the user's config directory; the first is the one that is told to be written.
const FILES: [&str; 3] = ["mcpool.yaml", "mcpool.yml", "mcpool.json"];

/// Looks up one environment variable.
type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Which config a command is about, and why that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// `--config` or `$MCPOOL_CONFIG` named it, there or not.
    Named(PathBuf),
    /// It lies in the user's config directory.
    Users(PathBuf),
    /// There is none; these places were looked at.
    Nowhere(Vec<PathBuf>),
}

impl Chosen {
    /// The file, if there is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Chosen::Named(file) | Chosen::Users(file) => Some(file),
            Chosen::Nowhere(_) => None,
        }
    }
}

/// Chooses the config: `explicit` (`--config`), else `$MCPOOL_CONFIG`, else the one in the user's config directory. A
/// relative `explicit` starts in `cwd`, since whoever typed it stands there.
///
/// # Errors
/// In words for people: a place is relative that must not be, or there are two configs.
pub fn choose(explicit: Option<&Path>, env: Env<'_>, cwd: &Path) -> Result<Chosen, String> {
    if let Some(path) = explicit {
        return Ok(Chosen::Named(cwd.join(path)));
    }
    if let Some(path) = variable(env, "MCPOOL_CONFIG") {
        if path.is_relative() {
            let path = path.display();
            return Err(format!(
                "$MCPOOL_CONFIG is `{path}`, which means another file in every directory: write it from `/` on"
            ));
        }
        return Ok(Chosen::Named(path));
    }
    let places = usual_files(env)?;
    // Also one that cannot be read: that is told, and not passed over.
    let mut there = places.iter().filter(|path| path.symlink_metadata().is_ok());
    match (there.next(), there.next()) {
        (Some(first), Some(second)) => Err(format!(
            "there are two configs, {} and {}: remove one, or say which by `--config`",
            first.display(),
            second.display()
        )),
        (Some(file), None) => Ok(Chosen::Users(file.clone())),
        (None, _) => Ok(Chosen::Nowhere(places)),
    }
}

/// The directory of the sockets of the daemon that runs with `file`, unless the file itself names another: it follows from
/// the user, and, unless it is the user's usual config, from the file's path. So two configs have a daemon each.
///
/// # Errors
/// In words for people: the user has no home directory.
pub fn directory(file: Option<&Path>, env: Env<'_>) -> Result<PathBuf, String> {
    let usual = usual_directory(rustix::process::getuid().as_raw(), env)?;
    let Some(file) = file.filter(|file| !is_usual(file, env)) else { return Ok(usual) };
    let digest = hex(&Sha256::digest(canonical(file).as_os_str().as_encoded_bytes())[..6]);
    let mut name = usual.file_name().unwrap_or_default().to_owned();
    name.push(format!("-{digest}"));
    Ok(usual.with_file_name(name))
}

/// The directories of all daemons of this user that there may be, the usual one first. At most a thousand.
///
/// # Errors
/// As for [`directory`].
pub fn directories(env: Env<'_>) -> Result<Vec<PathBuf>, String> {
    let usual = usual_directory(rustix::process::getuid().as_raw(), env)?;
    let begins = [usual.file_name().unwrap_or_default().as_encoded_bytes(), b"-"].concat();
    let others = usual.parent().and_then(|parent| parent.read_dir().ok()).into_iter().flatten().flatten();
    let others = others.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(&begins));
    let others: Vec<PathBuf> = others.take(999).map(|entry| entry.path()).collect();
    Ok([vec![usual], others].concat())
}

/// Whether two paths lead to one file, links followed.
pub fn is_same(one: &Path, other: &Path) -> bool {
    one == other || canonical(one) == canonical(other)
}

/// The user's home directory: `$HOME`, else what the system's list of users says.
///
/// # Errors
/// In words for people: there is none, or `$HOME` is relative.
pub fn home(env: Env<'_>) -> Result<PathBuf, String> {
    let said = variable(env, "HOME");
    match said.or_else(std::env::home_dir) {
        Some(home) if home.is_absolute() => Ok(home),
        Some(home) if !home.as_os_str().is_empty() => {
            Err(format!("$HOME is `{}`, which is no absolute path: set it to your home directory", home.display()))
        }
        _ => Err("you have no home directory: set $HOME".to_owned()),
    }
}

/// The directory for what may be lost, `$XDG_CACHE_HOME` or the one in the home directory.
///
/// # Errors
/// As for [`home`].
pub fn cache(env: Env<'_>) -> Result<PathBuf, String> {
    let xdg = variable(env, "XDG_CACHE_HOME").filter(|dir| dir.is_absolute());
    Ok(xdg.map_or_else(|| home(env).map(|home| home.join(".cache")), Ok)?.join("mcpool"))
}

/// Where the configs would lie that nobody has to name.
fn usual_files(env: Env<'_>) -> Result<Vec<PathBuf>, String> {
    // The XDG specification says that a relative path there is to be ignored.
    let xdg = variable(env, "XDG_CONFIG_HOME").filter(|dir| dir.is_absolute());
    let dir = match xdg {
        Some(dir) => dir,
        None => home(env)?.join(".config"),
    };
    Ok(FILES.iter().map(|name| dir.join("mcpool").join(name)).collect())
}

fn is_usual(file: &Path, env: Env<'_>) -> bool {
    usual_files(env).unwrap_or_default().iter().any(|usual| is_same(usual, file))
}

fn usual_directory(uid: u32, env: Env<'_>) -> Result<PathBuf, String> {
    let runtime = PathBuf::from(format!("/run/user/{uid}"));
    Ok(if runtime.is_dir() { runtime.join("mcpool") } else { home(env)?.join(".mcpool").join("run") })
}

/// A file's path without links, as far as it leads anywhere: the file may be gone while its daemon runs.
fn canonical(file: &Path) -> PathBuf {
    let at_least_its_directory = || Some(file.parent()?.canonicalize().ok()?.join(file.file_name()?));
    file.canonicalize().ok().or_else(at_least_its_directory).unwrap_or_else(|| file.to_owned())
}

fn variable(env: Env<'_>, name: &str) -> Option<PathBuf> {
    env(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::tests::Dir;

    type Done = Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn a_config_is_taken_by_name_or_from_the_users_directory_and_from_nowhere_else() -> Done {
        let dir = Dir::new("choose")?;
        let (cwd, home) = (dir.0.join("cwd"), dir.0.join("home"));
        let home_only = |name: &str| (name == "HOME").then(|| home.clone().into_os_string());
        dir.file("cwd/mcpool.yaml", b"servers: {files: {command: evil}}")?;
        let places = FILES.map(|name| home.join(".config/mcpool").join(name)).to_vec();
        assert_eq!(choose(None, &home_only, &cwd), Ok(Chosen::Nowhere(places)));

        let in_home = dir.file("home/.config/mcpool/mcpool.json", b"{}")?;
        assert_eq!(choose(None, &home_only, &cwd), Ok(Chosen::Users(in_home.clone())));
        let in_xdg = dir.file("xdg/mcpool/mcpool.yml", b"")?;
        let xdg = |name: &str| {
            if name == "XDG_CONFIG_HOME" { Some(dir.0.join("xdg").into_os_string()) } else { home_only(name) }
        };
        assert_eq!(choose(None, &xdg, &cwd), Ok(Chosen::Users(in_xdg)));
        let relative = |name: &str| if name == "XDG_CONFIG_HOME" { Some("xdg".into()) } else { home_only(name) };
        assert_eq!(choose(None, &relative, &cwd), Ok(Chosen::Users(in_home)));
        dir.file("home/.config/mcpool/mcpool.yaml", b"")?;
        assert!(choose(None, &home_only, &cwd).is_err_and(|why| why.contains("two configs")));

        // What was asked for by name is not replaced by something else, there or not.
        let named = |name: &str| if name == "MCPOOL_CONFIG" { Some("/no/such".into()) } else { xdg(name) };
        assert_eq!(choose(None, &named, &cwd), Ok(Chosen::Named("/no/such".into())));
        assert_eq!(choose(Some(Path::new("y.yaml")), &named, &cwd), Ok(Chosen::Named(cwd.join("y.yaml"))));
        let by_place = |name: &str| if name == "MCPOOL_CONFIG" { Some("mcpool.yaml".into()) } else { xdg(name) };
        assert!(choose(None, &by_place, &cwd).is_err_and(|why| why.contains("another file in every directory")));
        Ok(())
    }

    #[test]
    fn a_home_is_absolute() {
        let rel = |name: &str| (name == "HOME").then(|| "rel".into());
        assert!(home(&rel).is_err_and(|why| why.contains("`rel`")));
        assert!(choose(None, &rel, Path::new("/")).is_err());
        assert!(home(&|_| None).is_ok_and(|home| home.is_absolute()), "the list of users knows it");
    }

    #[test]
    fn the_sockets_follow_from_the_user_and_from_a_config_that_is_not_the_usual_one() -> Done {
        // No user has this id, so there is no runtime directory either.
        let home = |name: &str| (name == "HOME").then(|| "/home/x".into());
        assert_eq!(usual_directory(4_000_000_000, &home)?, Path::new("/home/x/.mcpool/run"));
        let dir = Dir::new("directory")?;
        let home = |name: &str| (name == "HOME").then(|| dir.0.clone().into_os_string());
        let (a, b) = (dir.file("a.yaml", b"")?, dir.file("b.yaml", b"")?);
        let usual_file = dir.file(".config/mcpool/mcpool.yaml", b"")?;
        let of = |file: &Path| directory(Some(file), &home);
        assert_eq!(of(&usual_file)?, directory(None, &home)?);
        assert_ne!(of(&a)?, of(&b)?);
        assert_ne!(of(&a)?, directory(None, &home)?);
        let link = dir.0.join("link.yaml");
        std::os::unix::fs::symlink("a.yaml", &link)?;
        assert_eq!(of(&link)?, of(&a)?, "a config has one daemon, whatever it is called");
        assert_eq!(of(&dir.0.join("../").join(dir.0.file_name().unwrap_or_default()).join("a.yaml"))?, of(&a)?);
        let before = of(&a)?;
        fs::remove_file(&a)?;
        assert_eq!(of(&a)?, before, "its daemon is found when the file is gone");
        Ok(())
    }
}
