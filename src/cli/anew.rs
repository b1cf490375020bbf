//! Called by `serve` before anything else: begins the daemon anew with the environment that its config asks for and no
//! more. What a process was started with can be read in the system's copy for as long as it lives, whatever it forgets.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use crate::config::{Config, INHERITED};
use crate::pool::process;

/// Tells the second beginning from the first, whose process id it says.
const AGAIN: &str = "MCPOOL_ANEW";
/// Variables of the program itself and of what runs it, besides those that servers get in any case.
const OWN: [&str; 8] = [
    AGAIN,
    "MCPOOL_CONFIG",
    "MCPOOL_LOG",
    "NO_COLOR",
    "RUST_BACKTRACE",
    "LD_LIBRARY_PATH",
    "LLVM_PROFILE_FILE",
    "NOTIFY_SOCKET",
];

/// Begins anew unless this is so already. A detached daemon leaves whoever started it for good: their session, their
/// processes, and their family if they are a server of another daemon. Then there is a code to end with.
///
/// # Errors
/// It cannot be started, in words for people.
pub fn begin(config: &Config, detached: bool) -> Result<Option<ExitCode>, String> {
    let (kept, rest): (Vec<_>, Vec<_>) = std::env::vars_os().partition(|(name, _)| is_kept(config, name));
    if let Some((_, first)) = kept.iter().find(|(name, _)| name == AGAIN) {
        // While the first lives it passes for a daemon of which this one is a child.
        first.to_str().and_then(|first| first.parse().ok()).inspect(|first| process::outlive(*first));
        return Ok(None);
    }
    if rest.is_empty() && !detached {
        return Ok(None);
    }
    let failed = |error: std::io::Error| format!("cannot start the daemon anew: {error}");
    let mut again = Command::new(process::this_program().map_err(failed)?);
    again
        .arg0("mcpool")
        .args(std::env::args_os().skip(1))
        .env_clear()
        .envs(kept)
        .env(AGAIN, std::process::id().to_string());
    if !detached {
        // It comes back only if it fails; then it goes on with what it has.
        let error = again.exec();
        crate::cli::print::complain(format_args!("mcpool: keeps its whole environment: {error}"));
        return Ok(None);
    }
    // Fails if there is nothing to leave.
    let _ = rustix::process::setsid();
    process::leave_family();
    // Its parent ends now, so that it has none that is anybody's.
    again.stdin(Stdio::null()).spawn().map_err(failed)?;
    Ok(Some(ExitCode::SUCCESS))
}

fn is_kept(config: &Config, name: &OsString) -> bool {
    let is = |known: &str| name == OsStr::new(known);
    OWN.into_iter().chain(INHERITED).any(is) || config.variables().any(is)
}
