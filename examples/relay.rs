//! The yardstick of `benches/overhead.rs`: the least that can stand between callers and servers.
//! It starts one server process per caller, copies bytes both ways and knows no JSON.
//!
//! `relay SOCKET COMMAND [ARG]...`
use std::{env, ffi::OsString, io, process::Stdio};

use tokio::net::{UnixListener, UnixStream};
use tokio::process::Command;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let args: Vec<OsString> = env::args_os().skip(1).collect();
    let [socket, command, args @ ..] = args.as_slice() else {
        return Err(io::Error::other("usage: relay SOCKET COMMAND [ARG]..."));
    };
    let listener = UnixListener::bind(socket)?;
    println!("ready");
    loop {
        let (caller, _) = listener.accept().await?;
        let mut server = Command::new(command);
        server.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        tokio::spawn(relay(caller, server));
    }
}

/// Ends when either side does; the server then reads the end of its input, and leaves.
async fn relay(caller: UnixStream, mut server: Command) -> io::Result<()> {
    let mut server = server.spawn()?;
    let (mut from_caller, mut to_caller) = caller.into_split();
    if let (Some(mut stdin), Some(mut stdout)) = (server.stdin.take(), server.stdout.take()) {
        tokio::select! {
            up = tokio::io::copy(&mut from_caller, &mut stdin) => up?,
            down = tokio::io::copy(&mut stdout, &mut to_caller) => down?,
        };
    }
    server.wait().await.map(drop)
}
