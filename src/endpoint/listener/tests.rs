//! Which sockets are replaced, which are left alone, and that one daemon at a time holds a lock.

use crate::endpoint::listener::*;

fn place() -> PathBuf {
    let dir = std::env::temp_dir().join(format!("mcpool-listener-{}-{:x}", std::process::id(), fastrand::u64(..)));
    dir.join("a.sock")
}

#[tokio::test]
async fn a_live_socket_is_never_replaced_and_a_stale_one_is() {
    let path = place();
    let first = Listener::bind(&path, &[]).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    let refused = Listener::bind(&path, &[]).err().unwrap().to_string();
    assert!(refused.contains(&format!("pid {}", std::process::id())), "{refused}");
    drop(first);
    assert!(!path.exists());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    drop(Listener::bind(&path, &[]).unwrap());
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[tokio::test]
async fn a_socket_of_another_program_is_left_alone() {
    let path = place();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert!(matches!(Listener::bind(&path, &[]), Err(Taken::Stranger(_))));
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[tokio::test]
async fn what_is_no_socket_is_left_alone() {
    let path = place();
    fs::create_dir_all(&path).unwrap();
    assert!(matches!(Listener::bind(&path, &[]), Err(Taken::Other(_))));
    fs::remove_dir(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    let refused = Listener::bind(&path, &[]).err().unwrap().to_string();
    assert!(refused.contains("is no socket"), "{refused}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[tokio::test]
async fn a_socket_whose_program_stands_still_is_left_alone() {
    let path = place();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let _still = std::os::unix::net::UnixListener::bind(&path).unwrap();
    // Nobody accepts: its backlog fills up, and whoever connects then would wait.
    let mut waiting = Vec::new();
    let full = loop {
        let one = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        ioctl_fionbio(&one, true).unwrap();
        match connect(&one, &SocketAddrUnix::new(&path).unwrap()) {
            Ok(()) => waiting.push(one),
            Err(error) => break error,
        }
    };
    assert_eq!(full, Errno::AGAIN);
    assert!(matches!(Listener::bind(&path, &[]), Err(Taken::Stranger(_))));
    assert!(path.exists());
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[tokio::test]
async fn the_socket_of_another_daemon_in_its_place_is_not_taken_away() {
    let path = place();
    let first = Listener::bind(&path, &[]).unwrap();
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    // Another inode for sure: the first socket is open still.
    let second = Listener::bind(&path, &[]).unwrap();
    drop(first);
    assert!(path.exists(), "it is the second one's");
    drop(second);
    assert!(!path.exists());
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[tokio::test]
async fn what_was_swept_away_is_made_anew_and_what_is_there_is_not() {
    let path = place();
    let mut listener = Listener::bind(&path, &[]).unwrap();
    assert!(listener.renewed().unwrap().is_none());
    let (dir, lock) = (path.parent().unwrap().to_owned(), beside(&path));
    let socket = || fs::remove_file(&path).unwrap();
    let all = || fs::remove_dir_all(&dir).unwrap();
    let replaced = || {
        fs::remove_dir_all(&dir).unwrap();
        std::os::unix::fs::DirBuilderExt::mode(&mut fs::DirBuilder::new(), 0o700).create(&dir).unwrap();
    };
    for sweep in [&socket as &dyn Fn(), &all, &replaced] {
        sweep();
        listener = listener.renewed().unwrap().unwrap();
        assert!(knock(&path).is_ok() && listener.lock.borrow().is_there());
        assert!(matches!(Listener::bind(&path, &[]), Err(Taken::Daemon { .. })));
    }
    fs::remove_file(&lock).unwrap();
    assert!(listener.renewed().unwrap().is_none() && listener.lock.borrow().is_there());
    assert!(matches!(Listener::bind(&path, &[]), Err(Taken::Daemon { .. })));
    drop(listener);
    fs::remove_dir_all(dir).unwrap();
}

#[tokio::test]
async fn nothing_is_left_of_a_socket_that_is_given_up_and_its_lock_is_held_until_then() {
    let path = place();
    let (dir, lock) = (path.parent().unwrap().to_owned(), beside(&path));
    let first = Listener::bind(&path, &[]).unwrap();
    fs::remove_file(&path).unwrap();
    let second = first.renewed().unwrap().unwrap();
    drop(first);
    assert!(lock.exists() && path.exists(), "the second has both");
    assert!(matches!(Listener::bind(&path, &[]), Err(Taken::Daemon { .. })));
    drop(second);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    // Who had opened it before it was taken away sees that it is not the one any more.
    let old = Lock::open(&path).unwrap();
    fs::remove_file(&lock).unwrap();
    let new = Lock::take(&path).unwrap();
    assert!(!old.is_there() && new.is_there());
    drop(old);
    assert!(new.is_there(), "that is another's");
    drop(new);
    fs::remove_dir(dir).unwrap();
}

#[test]
fn of_many_that_take_a_lock_and_give_it_up_one_holds_it_at_a_time() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    let path = place();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let (holders, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2000 {
                    let Ok(lock) = Lock::take(&path) else { continue };
                    assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                    taken.fetch_add(1, Ordering::SeqCst);
                    holders.fetch_sub(1, Ordering::SeqCst);
                    drop(lock);
                }
            });
        }
    });
    assert!(taken.into_inner() > 0);
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[tokio::test]
async fn what_another_daemon_has_by_now_is_left_to_it() {
    let path = place();
    let first = Listener::bind(&path, &[]).unwrap();
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    let second = Listener::bind(&path, &[]).unwrap();
    assert!(matches!(first.renewed(), Err(Taken::Daemon { .. })));
    drop(second);
    drop(first.renewed().unwrap().unwrap());
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
}
