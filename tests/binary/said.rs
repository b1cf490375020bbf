//! A command of the binary, run to its end without a terminal.

use std::process::Stdio;

use tokio::process::Command;
use tokio::time::timeout;

use crate::PATIENCE;

/// What a command printed, and its exit code.
pub struct Said {
    pub out: String,
    pub err: String,
    pub code: Option<i32>,
}

pub async fn run(mut command: Command) -> Said {
    let output = timeout(PATIENCE, command.stdin(Stdio::null()).kill_on_drop(true).output());
    let output = output.await.expect("it does not end").expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Said { out: text(output.stdout), err: text(output.stderr), code: output.status.code() }
}
