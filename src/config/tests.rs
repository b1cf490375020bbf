//! Where the config is found, and how a file that can't be read is reported.

use super::*;

type Done = Result<(), Box<dyn std::error::Error>>;

/// A directory of its own that is gone afterwards.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> std::io::Result<Self> {
        let dir = std::env::temp_dir().join(format!("mcpool-config-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        Ok(Self(dir))
    }

    fn file(&self, name: &str, bytes: &[u8]) -> std::io::Result<PathBuf> {
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
fn found_in_this_order() -> Done {
    let dir = Dir::new("find")?;
    let (cwd, home) = (dir.0.join("cwd"), dir.0.join("home"));
    let home_only = |name: &str| (name == "HOME").then(|| home.clone().into_os_string());
    assert_eq!(Config::find(None, &home_only, &cwd), None);

    let in_home = dir.file("home/.config/mcpool/mcpool.yaml", b"")?;
    assert_eq!(Config::find(None, &home_only, &cwd), Some(in_home.clone()));
    let in_xdg = dir.file("xdg/mcpool/mcpool.yaml", b"")?;
    let xdg =
        |name: &str| if name == "XDG_CONFIG_HOME" { Some(dir.0.join("xdg").into_os_string()) } else { home_only(name) };
    assert_eq!(Config::find(None, &xdg, &cwd), Some(in_xdg));
    let relative = |name: &str| if name == "XDG_CONFIG_HOME" { Some("xdg".into()) } else { home_only(name) };
    assert_eq!(Config::find(None, &relative, &cwd), Some(in_home));

    let here = dir.file("cwd/mcpool.yaml", b"")?;
    assert_eq!(Config::find(None, &xdg, &cwd), Some(here));
    // What was asked for by name is not replaced by something else, there or not.
    let named = |name: &str| if name == "MCPOOL_CONFIG" { Some("/no/such".into()) } else { xdg(name) };
    assert_eq!(Config::find(None, &named, &cwd), Some("/no/such".into()));
    assert_eq!(Config::find(Some(Path::new("y.yaml")), &named, &cwd), Some(cwd.join("y.yaml")));
    Ok(())
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
fn warnings_about_times_that_cannot_be_meant() {
    let mut server = Server::new("a", "x");
    server.timeout.ask = server.timeout.max * 2;
    server.timeout.discover = server.timeout.start * 2;
    let mut config = Config::of(vec![server]);
    config.endpoints[0].tools = Some(Vec::new());
    assert_eq!(config.warnings().len(), 3);
}
