//! What the one thread of a real daemon spends on a look at the processes of the machine.
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs};

use crate::{Effort, Result};

const MCPOOL: &str = env!("CARGO_BIN_EXE_mcpool");
/// More would need the memory of a large machine.
const MOST: usize = 2000;
const LOOKS: u32 = 10;

/// Microseconds of the first thread for one `status`, beside so many other processes.
pub async fn status(count: usize, _effort: Effort) -> Result<f64> {
    if count > MOST {
        return Err(format!("not measured beyond {MOST}").into());
    }
    let mut sleepers = Reaped(Vec::new());
    for _ in 0..count {
        sleepers.0.push(Command::new("sleep").arg("600").stdin(Stdio::null()).spawn()?);
    }
    let place = Place::new()?;
    // A server that runs, so that there is a process to look for.
    let server = format!("a: {{ command: {MCPOOL:?}, args: [demo-server, legacy], instances: {{ min: 1 }} }}");
    let config = format!("sockets: {{ dir: {:?} }}\nservers: {{ {server} }}\n", place.0);
    fs::write(place.0.join("mcpool.yaml"), config)?;
    let command = |word: &str| {
        let mut command = Command::new(MCPOOL);
        command.arg(word).arg("--config").arg(place.0.join("mcpool.yaml")).env("HOME", &place.0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let daemon = Reaped(vec![command("serve").spawn()?]);
    let patience = Instant::now() + Duration::from_secs(20);
    while !command("status").status()?.success() {
        if Instant::now() > patience {
            return Err("the daemon does not tell its status".into());
        }
    }
    let before = spent(&daemon)?;
    for _ in 0..LOOKS {
        command("status").status()?;
    }
    Ok((spent(&daemon)? - before).as_secs_f64() * 1e6 / f64::from(LOOKS))
}

/// Processor time of the first thread, which serves everybody.
fn spent(daemon: &Reaped) -> Result<Duration> {
    let pid = daemon.0[0].id();
    let told = fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat"))?;
    Ok(Duration::from_nanos(told.split(' ').next().unwrap_or_default().parse()?))
}

/// Processes that end with this.
struct Reaped(Vec<Child>);

impl Drop for Reaped {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

struct Place(PathBuf);

impl Place {
    fn new() -> Result<Place> {
        use std::os::unix::fs::DirBuilderExt;
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("mcpool-scale-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = env::temp_dir().join(name);
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Place(path))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
