//! Called by `demo`: what a caller pays for mcpool. The same call, one at a time, through mcpool and to a server
//! of the caller's own, in turns, so that both meet the same machine.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::Command;
use tokio::time::Instant;

use super::place::{Place, server};
use crate::cli::client::{Client, Failure};
use crate::era::Era;

const TURNS: usize = 10;
const CALLS: usize = 50;

/// The median time of a call.
pub struct Price {
    pub pooled: Duration,
    pub direct: Duration,
}

/// Measures both.
///
/// # Errors
/// In words for people: a server cannot be started or does not answer.
pub async fn measure(place: &Place) -> Result<Price, String> {
    let stream = place.connect(Era::Legacy).await.map_err(|error| format!("cannot connect: {error}"))?;
    let (reader, writer) = stream.into_split();
    let own = server(Era::Legacy)?;
    let mut command = Command::new(own.command);
    command.args(own.args).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("cannot start a server: {error}"))?;
    let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("a server was started without stdin and stdout".into());
    };
    let prices = async {
        let mut pooled = Client::open(reader, writer, Era::Legacy, "pooled").await?;
        let mut direct = Client::open(stdout, stdin, Era::Legacy, "direct").await?;
        let (mut of_pooled, mut of_direct) = (Vec::new(), Vec::new());
        for turn in 0..=TURNS {
            of_pooled.extend(echoes(&mut pooled).await?);
            of_direct.extend(echoes(&mut direct).await?);
            if turn == 0 {
                // The first turn only warms both up.
                (of_pooled, of_direct) = Default::default();
            }
        }
        Ok(Price { pooled: median(of_pooled), direct: median(of_direct) })
    };
    prices.await.map_err(|failure: Failure| format!("while measuring: {failure}"))
}

async fn echoes<R, W>(client: &mut Client<R, W>) -> Result<Vec<Duration>, Failure>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let params = json!({ "name": "echo", "arguments": { "text": "what does a call cost?" } });
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let began = Instant::now();
        client.request("tools/call", &params, |_| {}).await?;
        times.push(began.elapsed());
    }
    Ok(times)
}

fn median(times: Vec<Duration>) -> Duration {
    super::share(times, 50)
}
