//! What is written, by whom it can be read, and what becomes of it when it cannot be written.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use serde_json::Value;

use super::*;

struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        let path = std::env::temp_dir().join(format!("mcpool-audit-{}-{:x}", std::process::id(), fastrand::u64(..)));
        fs::create_dir(&path).unwrap();
        Place(path)
    }

    fn config(&self) -> config::Audit {
        config::Audit { file: Some(self.0.join("audit.log")), ..config::Audit::default() }
    }

    fn lines(&self, name: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.0.join(name)).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::set_permissions(&self.0, fs::Permissions::from_mode(0o700));
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn call(trail: &Rc<Trail>, tool: &str) {
    let who = Rc::new(Who { uid: 7, pid: Some(9), endpoint: "files".into(), ..Who::default() });
    who.client.replace("evil\n\u{1b}[2J".into());
    let request = trail.request((&who, 3), "tools/call", Some(tool), Some(r#"{"path":"/secret"}"#));
    request.ended("files", "refused", "forbidden", Duration::from_micros(1500));
}

#[test]
fn a_request_that_ended_is_one_line_of_json_without_its_arguments() {
    let place = Place::new();
    let trail = Trail::start(&place.config()).unwrap().unwrap();
    call(&trail, "read\n");
    call(&trail, &"x".repeat(100_000));
    drop(trail);
    let lines = place.lines("audit.log");
    assert_eq!(lines.len(), 2);
    let first = &lines[0];
    assert_eq!([&first["uid"], &first["pid"], &first["caller"]], [7, 9, 3]);
    for (key, value) in [("endpoint", "files"), ("server", "files"), ("method", "tools/call"), ("tool", "read\n")] {
        assert_eq!(first[key], value);
    }
    assert_eq!(
        (&first["outcome"], &first["reason"], &first["ms"]),
        (&"refused".into(), &"forbidden".into(), &1.5.into())
    );
    assert!(
        first["time"].as_str().unwrap().ends_with('Z') && first["arguments_hmac_sha256"].as_str().unwrap().len() == 32
    );
    assert_eq!(first["arguments_hmac_sha256"], lines[1]["arguments_hmac_sha256"], "equal arguments are known as equal");
    let text = fs::read_to_string(place.0.join("audit.log")).unwrap();
    assert!(!text.contains("secret") && !text.contains('\u{1b}') && text.len() < 5000);
    for file in ["audit.log", "audit.log.key"] {
        assert_eq!(fs::metadata(place.0.join(file)).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn nothing_is_begun_where_nothing_is_configured() {
    assert!(Trail::start(&config::Audit::default()).unwrap().is_none());
}

#[test]
fn the_file_is_turned_at_its_size_and_so_many_are_kept() {
    let place = Place::new();
    let mut log = file::Log::new(place.0.join("audit.log"), 100, 2);
    for number in 0..10 {
        log.append(format!("{number}{}\n", "x".repeat(48)).as_bytes()).unwrap();
    }
    let begins = |name: &str| fs::read_to_string(place.0.join(name)).unwrap()[..1].to_owned();
    assert_eq!(["audit.log", "audit.log.1", "audit.log.2"].map(begins), ["8", "6", "4"]);
    assert!(!place.0.join("audit.log.3").exists());
    // Somebody else may turn it too.
    fs::rename(place.0.join("audit.log"), place.0.join("moved")).unwrap();
    log.append(b"new\n").unwrap();
    assert_eq!(fs::read_to_string(place.0.join("audit.log")).unwrap(), "new\n");
}

#[test]
fn a_link_is_not_followed() {
    let place = Place::new();
    fs::write(place.0.join("precious"), "precious").unwrap();
    symlink(place.0.join("precious"), place.0.join("audit.log")).unwrap();
    let mut log = file::Log::new(place.0.join("audit.log"), 1000, 2);
    assert!(log.append(b"x\n").is_err());
    assert_eq!(fs::read_to_string(place.0.join("precious")).unwrap(), "precious");
}

/// Waits until the other thread has come so far.
fn until(mut there: impl FnMut() -> bool) {
    for _ in 0..100_000_000_u64 {
        if there() {
            return;
        }
        std::thread::yield_now();
    }
    panic!("it never came to that");
}

#[test]
fn what_cannot_be_written_is_counted_and_goes_on_later() {
    let place = Place::new();
    // A directory stands where the file is to be.
    fs::create_dir(place.0.join("audit.log")).unwrap();
    let trail = Trail::start(&place.config()).unwrap().unwrap();
    call(&trail, "lost");
    until(|| trail.state().lost == 1);
    assert!(trail.state().fails && !trail.refuses(), "nobody has to do without");
    fs::remove_dir(place.0.join("audit.log")).unwrap();
    until(|| !trail.state().fails);
    call(&trail, "kept");
    drop(trail);
    assert_eq!(place.lines("audit.log")[0]["tool"], "kept");
}

#[test]
fn where_it_is_required_calls_are_refused_and_no_line_is_lost() {
    let place = Place::new();
    fs::create_dir(place.0.join("audit.log")).unwrap();
    let trail = Trail::start(&config::Audit { required: true, ..place.config() }).unwrap().unwrap();
    until(|| trail.refuses());
    call(&trail, "first");
    fs::remove_dir(place.0.join("audit.log")).unwrap();
    until(|| !trail.refuses());
    drop(trail);
    assert_eq!(place.lines("audit.log")[0]["tool"], "first");
}

#[test]
fn where_it_is_required_calls_are_refused_before_lines_are_lost_to_a_file_that_hangs() {
    let place = Place::new();
    let (lines, taken) = sync_channel(WAITING);
    let (shared, file) = (Arc::new(Shared::default()), place.0.join("audit.log"));
    let key = Key::beside(&file).unwrap();
    // Nobody writes.
    let trail = Rc::new(Trail { lines, shared, key, file, required: true });
    for _ in 0..WAITING / 2 {
        assert!(!trail.refuses());
        call(&trail, "x");
    }
    assert!(trail.refuses());
    assert_eq!((trail.state().lost, taken.try_iter().count()), (0, WAITING / 2));
}
