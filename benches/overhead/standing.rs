//! The rows about a host that starts: how soon it has its tools, and what `mcpool connect` adds to a call.
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::caller::{Caller, Payload};
use crate::forwarding::{Turn, row};
use crate::process::{OneCore, beyond_program, cpu, memory, servers};
use crate::subject::Subject;
use crate::table::{Goal, Row, median};
use crate::{Effort, Result};

/// A daemon that has just been started, and has a catalogue from the last time: the first caller has its tools before any
/// server runs. The relay starts the server meanwhile.
pub async fn catalogue(effort: Effort) -> Result<Vec<Row>> {
    let relay = Subject::relay()?;
    let mut mcpool = Subject::mcpool()?;
    first_sight(&mcpool).await?.1.call(&Payload::new(0, 100)).await?;
    let (mut of_relay, mut of_mcpool, mut started) = (Vec::new(), Vec::new(), 0);
    // Each time a daemon has to stop and another to start: nine times tell enough.
    for _ in 0..effort.rounds.min(9) {
        of_relay.push(first_sight(&relay).await?.0);
        mcpool = mcpool.restarted()?;
        let (took, _caller) = first_sight(&mcpool).await?;
        of_mcpool.push(took);
        started += servers(mcpool.pid())?.len();
    }
    let name = |what| format!("catalogue: initialize + tools/list: {what}");
    Ok(vec![
        Row {
            name: name("after"),
            relay: Some(median(of_relay)),
            mcpool: median(of_mcpool),
            unit: "ms",
            goal: Goal::AtMost(2.0),
        },
        Row { name: name("servers run"), relay: None, mcpool: started as f64, unit: "", goal: Goal::AtMost(0.0) },
    ])
}

/// Milliseconds from connecting to the list of tools.
async fn first_sight(subject: &Subject) -> Result<(f64, Caller)> {
    let began = Instant::now();
    let mut caller = subject.connect().await?;
    caller.initialize().await?;
    caller.list_tools().await?;
    Ok((began.elapsed().as_secs_f64() * 1e3, caller))
}

/// The process between a host's pipes and the daemon's socket, against a relay, which does the same work.
pub async fn connect(effort: Effort) -> Result<Vec<Row>> {
    let _pinned = OneCore::pin()?;
    let (relay, mcpool) = (Subject::relay()?, Subject::mcpool()?);
    let mut connect = mcpool.connect_command().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let connect_pid = connect.id().ok_or("`mcpool connect` has left")?;
    let (stdin, stdout) = (connect.stdin.take().ok_or("no stdin")?, connect.stdout.take().ok_or("no stdout")?);
    let mut sides =
        [(relay.connect().await?, relay.pid()), (Caller::new(Box::new(stdout), Box::new(stdin)), connect_pid)];
    for (caller, _) in &mut sides {
        caller.initialize().await?;
    }
    let mut turns = [Vec::new(), Vec::new()];
    for round in 0..=effort.rounds {
        for ((caller, pid), turns) in sides.iter_mut().zip(&mut turns) {
            let turn = turn(caller, *pid, effort.turn).await?;
            if round > 0 {
                turns.push(turn);
            }
        }
    }
    let [of_relay, of_connect] = &turns;
    let (resident, private) = memory(connect_pid)?;
    let name = |what| format!("connect: 1 in flight, one core: {what}");
    let memory = |what, bytes: f64, goal| Row {
        name: format!("connect: memory, {what}"),
        relay: None,
        mcpool: bytes / 1048576.0,
        unit: "MiB",
        goal,
    };
    Ok(vec![
        row(name("its cpu"), of_relay, of_connect, "us", Goal::RatioAtMost(1.0), Turn::cpu_a_call),
        row(name("a call"), of_relay, of_connect, "us", Goal::None, Turn::micros_a_call),
        memory("resident", resident, Goal::None),
        memory("beyond the program's own pages", beyond_program(connect_pid)?, Goal::AtMost(3.0)),
        memory("its own", private, Goal::None),
    ])
}

async fn turn(caller: &mut Caller, pid: u32, length: Duration) -> Result<Turn> {
    let (cpu_before, began) = (cpu(pid)?, Instant::now());
    let calls = caller.work(&Payload::new(0, 100), 1, began + length).await?;
    Ok(Turn { calls, took: began.elapsed(), cpu: cpu(pid)? - cpu_before, servers: Duration::ZERO })
}
