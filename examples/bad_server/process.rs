//! Faults of the process and not of what it says: how it starts, what it starts, what it does not end of.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use super::hang;

/// Does what a fault does at the start; an exit code if that was all.
///
/// # Errors
/// Nothing could be started.
pub fn start(fault: &str) -> io::Result<Option<ExitCode>> {
    match fault {
        "exits-at-once" => {
            eprintln!("reading the settings\ncannot open the database: permission denied");
            return Ok(Some(ExitCode::from(3)));
        }
        "hangs-at-once" => hang(),
        // A shell can ignore a signal for what it becomes.
        "ignores-sigterm" => return Err(shell("trap '' TERM; exec \"$0\" stubborn").exec()),
        // As `npx` and `uvx` do: the server is a child of what was started, and no signal is passed on to it.
        "wrapped" => return Err(shell("trap : TERM; \"$0\" none; true").exec()),
        "grandchild" | "stubborn" => drop(sleeper().spawn()?),
        // Its parent ends at once, and it is in a group of its own: nobody knows any more whose it is.
        "stray" => drop(shell("setsid sleep 600 & exec sleep 600 &").process_group(0).spawn()?.wait()?),
        _ => {}
    }
    Ok(None)
}

/// Becomes a process that reads nothing, and whose stdout is closed.
///
/// # Errors
/// That it did not become one.
pub fn without_stdout() -> io::Result<()> {
    Err(Command::new("sleep").arg("600").stdout(Stdio::null()).exec())
}

/// A child that holds this process's stdout and stderr open.
fn sleeper() -> Command {
    let mut sleep = Command::new("sleep");
    sleep.arg("600").stdin(Stdio::null());
    sleep
}

/// A shell that knows this program as `$0`.
fn shell(script: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).args(std::env::args_os().take(1));
    shell
}
