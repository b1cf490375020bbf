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

fn somebody() -> Rc<Who> {
    let who = Rc::new(Who { uid: 7, pid: Some(9), endpoint: "files".into(), ..Who::default() });
    who.client.replace("evil\n\u{1b}[2J".into());
    who
}

fn call(trail: &Rc<Trail>, tool: &str) {
    call_by(&somebody(), trail, tool, true);
}

fn call_by(who: &Rc<Who>, trail: &Rc<Trail>, tool: &str, passes: bool) {
    let mut request = trail.request((who, 3), "tools/call", Some(tool), Some(r#"{"path":"/secret"}"#));
    if passes {
        request.passes();
    }
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
    assert!(trail.state().fails && !trail.refuses(&somebody()), "nobody has to do without");
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
    until(|| trail.refuses(&somebody()));
    call(&trail, "first");
    fs::remove_dir(place.0.join("audit.log")).unwrap();
    until(|| !trail.refuses(&somebody()));
    drop(trail);
    assert_eq!(place.lines("audit.log")[0]["tool"], "first");
}

#[test]
fn where_it_is_required_calls_are_refused_before_lines_are_lost_to_a_file_that_hangs() {
    let place = Place::new();
    let (trail, taken) = hanging(&place, true);
    for _ in 0..WAITING / 2 {
        assert!(!trail.refuses(&somebody()));
        call(&trail, "x");
    }
    assert!(trail.refuses(&somebody()));
    assert_eq!((trail.state().lost, taken.try_iter().count()), (0, WAITING / 2));
}

/// One whose lines nobody writes.
fn hanging(place: &Place, required: bool) -> (Rc<Trail>, std::sync::mpsc::Receiver<Entry>) {
    let (lines, taken) = sync_channel(WAITING);
    let (shared, file) = (Arc::new(Shared::default()), place.0.join("audit.log"));
    let key = Key::beside(&file).unwrap();
    (Rc::new(Trail { lines, shared, key, file, required }), taken)
}

#[test]
fn callers_that_flood_are_refused_before_others_are_and_their_refusals_take_no_room_of_others() {
    let place = Place::new();
    let (trail, taken) = hanging(&place, true);
    let (floods, other) = ([somebody(), somebody(), somebody()], somebody());
    for _ in 0..WAITING {
        for flood in &floods {
            let refused = trail.refuses(flood);
            call_by(flood, &trail, "x", !refused);
        }
        assert!(!trail.refuses(&other), "others are served");
    }
    assert!(floods.iter().all(|flood| trail.refuses(flood)));
    // What was let through before is told of all the same.
    let lost = trail.state().lost;
    (0..100).for_each(|_| call_by(&floods[0], &trail, "on its way", true));
    call_by(&other, &trail, "another's", true);
    assert_eq!(trail.state().lost, lost);
    // Once they are written everybody has as much room as before.
    for entry in taken.try_iter() {
        let Entry::Line(_, of) = entry else { panic!("lines alone") };
        trail.shared.end(&of);
    }
    assert!(!trail.refuses(&floods[0]));
    assert_eq!((trail.shared.waiting.load(Ordering::Relaxed), trail.shared.callers.load(Ordering::Relaxed)), (0, 0));
}

#[test]
fn lines_of_one_caller_are_lost_before_those_of_others_where_none_is_required() {
    let place = Place::new();
    let (trail, taken) = hanging(&place, false);
    let (flood, other) = (somebody(), somebody());
    (0..2 * WAITING).for_each(|_| call_by(&flood, &trail, "x", true));
    let lost = trail.state().lost;
    assert!(lost > WAITING as u64);
    call_by(&other, &trail, "another's", true);
    assert_eq!(trail.state().lost, lost);
    assert_eq!(taken.try_iter().count() as u64, 2 * WAITING as u64 - lost + 1);
}

#[test]
fn a_directory_that_vanished_is_made_anew_at_a_turn_too() {
    let place = Place::new();
    let dir = place.0.join("logs");
    let mut log = file::Log::new(dir.join("audit.log"), 100, 2);
    for _ in 0..5 {
        log.append("x".repeat(60).as_bytes()).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        log.append("y".repeat(60).as_bytes()).unwrap();
        assert_eq!(fs::read_to_string(dir.join("audit.log")).unwrap(), "y".repeat(60));
    }
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
}
