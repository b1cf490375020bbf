//! How a file that can't be read, or isn't trusted, is reported.

use super::*;

type Done = Result<(), Box<dyn std::error::Error>>;

/// A directory of its own that is gone afterwards.
pub(super) struct Dir(pub(super) PathBuf);

impl Dir {
    pub(super) fn new(name: &str) -> std::io::Result<Self> {
        let dir = std::env::temp_dir().join(format!("mcpool-config-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        Ok(Self(dir))
    }

    pub(super) fn file(&self, name: &str, bytes: &[u8]) -> std::io::Result<PathBuf> {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(&self.0))?;
        std::fs::write(&path, bytes)?;
        Ok(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // What stays behind in the temporary directory fails no test.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[test]
fn loads_a_file_and_remembers_where_it_was() -> Done {
    let dir = Dir::new("load")?;
    let path = dir.file("a.yaml", b"servers: {a: {command: x}}")?;
    let config = Config::load(&path)?;
    assert_eq!(config.file.as_deref(), Some(path.as_path()));
    assert!(config.server("a").is_some() && config.endpoint("all").is_some() && config.endpoint("b").is_none());
    Ok(())
}

#[test]
fn a_file_that_cannot_be_read_is_one_mistake() -> Done {
    let dir = Dir::new("unreadable")?;
    for (path, message) in [
        (dir.0.join("none.yaml"), "cannot read the config: "),
        (dir.0.clone(), "cannot read the config: "),
        (dir.file("latin1.yaml", b"a: 1\n# \xe9")?, "the config is not UTF-8 (line 2)"),
        (dir.file("large.yaml", &vec![b'#'; LARGEST + 1])?, "the config is larger than 1MiB"),
    ] {
        let shown = Config::load(&path).err().ok_or("it was read")?.to_string();
        assert!(shown.starts_with(&format!("error: {message}")), "{shown}");
        assert!(shown.contains(&format!("\n --> {}\nhelp: ", path.display())), "{shown}");
        assert!(shown.ends_with("1 mistake"), "{shown}");
    }
    Ok(())
}

#[test]
fn whatever_holds_secrets_and_can_be_read_by_others_is_told_of() -> Done {
    use std::os::unix::fs::PermissionsExt;

    let dir = Dir::new("exposed")?;
    let mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode));
    mode(&dir.0, 0o755)?;
    let (keys, more) = (dir.file("keys", b"A=1\n")?, dir.file("more", b"B=2\n")?);
    let text = b"environment: {env_file: keys}\nservers: {a: {command: x, env_file: more}}";
    let config = dir.file("a.yaml", text)?;
    for (modes, told) in [([0o644, 0o600], vec![&keys]), ([0o600, 0o604], vec![&more]), ([0o600, 0o640], vec![])] {
        mode(&keys, modes[0])?;
        mode(&more, modes[1])?;
        let warnings = Config::load(&config)?.warnings();
        let said = |path: &&PathBuf| {
            let path = path.display();
            format!("other users can read the variables in `{path}`: `chmod go-r {path}`")
        };
        assert_eq!(warnings, told.iter().map(said).collect::<Vec<_>>(), "{modes:?}");
    }
    Ok(())
}

#[test]
fn warnings_about_times_that_cannot_be_meant() {
    let mut server = Server::new("a", "x");
    server.timeout.ask = server.timeout.max * 2;
    let mut config = Config::of(vec![server]);
    config.endpoints[0].grants.tools = Some(Vec::new());
    assert_eq!(config.warnings().len(), 2);
}

#[test]
fn a_config_that_others_may_write_is_one_mistake_with_what_to_type() -> Done {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new("shared")?;
    let path = dir.file("a.yaml", b"servers: {a: {command: x}}\nsockets: {dir: /x}")?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))?;
    let shown = Config::load(&path).err().ok_or("it was read")?.to_string();
    assert!(shown.starts_with("error: the config is not trusted: others may write "), "{shown}");
    assert!(shown.contains(&format!("help: type `chmod go-w {}`", path.display())), "{shown}");
    assert_eq!(Config::sockets_of(&path), None, "nor does it say where a daemon is");
    Ok(())
}

#[test]
fn a_config_whose_path_cannot_be_told_is_refused() -> Done {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let dir = Dir::new("odd")?;
    let path = dir.0.join(OsStr::from_bytes(b"\xff.yaml"));
    std::fs::write(&path, "servers: {a: {command: x}}")?;
    let shown = Config::load(&path).err().ok_or("it was read")?.to_string();
    assert!(shown.contains("is no UTF-8"), "{shown}");
    Ok(())
}
