//! Called by `main`: what people and hosts type.

mod anew;
mod approve;
mod call;
mod check;
mod client;
mod connect;
mod demo;
mod env;
mod journal;
mod logged;
mod logs;
mod orders;
mod permits;
mod print;
mod reach;
mod running;
mod sandboxes;
mod status;
#[cfg(test)]
mod tests;
mod tools;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::EnvFilter;

use crate::config::place::{self, Chosen};
use crate::config::{Config, Log};
use crate::daemon;
use crate::endpoint::sockets;
use crate::pool::process::inherit::{Inherited, close_inherited};
use crate::pool::process::tag::Tags;
use crate::pool::process::{confine, warden};
use journal::{Journal, Lines};
use running::Running;

/// A resilient proxy multiplexer for the Model Context Protocol: many callers, few server processes.
#[derive(Parser)]
#[command(
    name = "mcpool",
    version,
    propagate_version = true,
    after_help = "Start with `mcpool demo`. Then write ~/.config/mcpool/mcpool.yaml, \
    run `mcpool check`, and put {\"command\": \"mcpool\", \"args\": [\"connect\", \"NAME\"]} into your host's config."
)]
struct Cli {
    /// The config file; else $MCPOOL_CONFIG, or mcpool/mcpool.yaml (.yml, .json) in $XDG_CONFIG_HOME or ~/.config
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

/// What configs are usually called; in the current directory, only mentioned.
const HERE: &str = "mcpool.yaml";

const SIGNALS: &str = "\
Signals: SIGTERM and SIGINT let running calls end for as long as `drain` in the config says, and then end everything; \
a second one ends everything at once. SIGHUP reads the config anew.

Exit codes: 0 ended by a signal or by `mcpool drain`; 1 could not start, the config has mistakes, or, with --stdio, a request was not answered; 2 wrong usage.";

#[derive(Subcommand)]
enum Command {
    /// Run the daemon: one socket for each server, and one, `all`, for all of them
    #[command(after_help = SIGNALS)]
    Serve {
        /// Serve one caller on stdin and stdout instead, without a daemon and without sockets
        #[arg(long)]
        stdio: bool,
        /// With --stdio: the endpoint to serve
        #[arg(requires = "stdio", default_value = "all")]
        name: String,
        /// With --stdio: take nothing from the catalogue and leave nothing in it (used by `check --start`)
        #[arg(long, hide = true, requires = "stdio")]
        fresh: bool,
        /// Leave the session of whoever started this (used by `connect`)
        #[arg(long, hide = true)]
        detached: bool,
    },
    /// Connect stdin and stdout to an endpoint of the daemon, starting the daemon if none runs (for hosts)
    Connect {
        /// The endpoint: a server's name, or `all`; not needed with --socket
        #[arg(required_unless_present = "socket")]
        name: Option<String>,
        /// Connect to this socket and start nothing
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
        /// With --socket: the user who is to listen there, by number; else you or root
        #[arg(long, value_name = "UID", requires = "socket")]
        peer_uid: Option<u32>,
    },
    /// Show servers, their instances, callers and what sharing saves
    Status {
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// End the daemon gently: nothing new is begun, running calls may end (see `drain` in the config)
    Drain,
    /// Replace the instances of a server, gently, and forget why it could not be started
    Restart {
        /// The server, as `mcpool status` shows it
        server: String,
    },
    /// Show which tools of a server are not as they were approved (see `pin` in the config), and approve them
    Approve {
        /// The server, as `mcpool status` shows it
        server: String,
        /// One tool of it; else all
        tool: Option<String>,
        /// Do not ask first at a terminal
        #[arg(long)]
        yes: bool,
    },
    /// Print the log of the daemon that `connect` started
    Logs {
        /// Only where it is
        #[arg(long)]
        path: bool,
        /// How many lines of what there is
        #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
        lines: usize,
        /// Go on with what comes
        #[arg(short, long)]
        follow: bool,
    },
    /// Read the config anew and put it in force, whole or not at all
    Reload,
    /// List the tools of an endpoint
    Tools {
        /// The endpoint: a server's name, or `all`
        name: String,
    },
    /// Call a tool and print its result
    Call {
        /// The endpoint: a server's name, or `all`
        name: String,
        /// The tool, as `mcpool tools NAME` shows it
        tool: String,
        /// Its arguments, a JSON object
        #[arg(default_value = "{}", value_name = "JSON")]
        arguments: String,
    },
    /// Try it: two built-in servers, 32 callers, a few seconds
    Demo,
    /// A built-in server on stdin and stdout (used by `demo` and tests)
    #[command(hide = true)]
    DemoServer {
        #[arg(value_parser = ["legacy", "modern"])]
        era: String,
    },
    /// End the servers of a daemon that was killed (started by every daemon)
    #[command(hide = true)]
    Warden {
        /// How their marks begin
        mark: String,
        /// The first of their tags
        tags: Option<u64>,
    },
    /// Check the config and tell every mistake at once
    Check {
        /// Open each server too, and list what it offers
        #[arg(long, conflicts_with = "pid")]
        start: bool,
        /// Explain what this process could do on an endpoint, and nothing else
        #[arg(long = "as", value_name = "PID", requires = "endpoint")]
        pid: Option<i32>,
        /// The endpoint that `--as` is about
        #[arg(requires = "pid")]
        endpoint: Option<String>,
    },
    /// What servers get of an environment, whoever starts the daemon
    #[command(subcommand)]
    Env(Env),
}

#[derive(Subcommand)]
enum Env {
    /// Write down what servers may need of this environment, beside the config
    Record {
        /// Variables besides those that the config names and that every server gets
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Show what servers get, and where it comes from
    Show,
}

/// Runs what the command line says.
pub fn main() -> ExitCode {
    if let Some(code) = confine::called() {
        return code;
    }
    let cli = Cli::parse();
    match run(cli.command, cli.config.as_deref()) {
        Ok(code) => code,
        Err(message) => {
            print::complain(format_args!("mcpool: {message}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, config: Option<&Path>) -> Result<ExitCode, String> {
    match command {
        Command::Serve { stdio, name, fresh, detached } => {
            let mode = if stdio { Mode::Stdio { name, fresh } } else { Mode::Sockets { detached } };
            let served = serve(config, mode);
            if detached && let Err(why) = &served {
                // Whoever started it reads this. The log may be where nothing can be written.
                let _ = writeln!(std::io::stdout(), "{why}");
            }
            served
        }
        Command::Connect { name, socket, peer_uid } => {
            let name = name.unwrap_or_else(|| "NAME".to_owned());
            let target = match socket {
                Some(path) => Ok(reach::Target::Socket { path, user: peer_uid }),
                None => choose(config).map(|chosen| reach::Target::Endpoint { chosen, name: name.clone() }),
            };
            connect::run(target, &name)
        }
        Command::Status { json } => tell(config, async |directory| {
            print::page(&status::run(directory, json).await?)?;
            Ok(())
        }),
        Command::Drain => tell(config, async |directory| orders::drain(directory).await),
        Command::Restart { server } => tell(config, async |directory| orders::restart(directory, &server).await),
        Command::Approve { server, tool, yes } => {
            tell(config, async |directory| approve::run(directory, &server, tool.as_deref(), yes).await)
        }
        Command::Logs { path, lines, follow } => {
            runtime()?.block_on(logs::run(&choose(config)?, path, lines, follow))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Reload => tell(config, async |directory| orders::reload(directory).await),
        Command::Tools { name } => runtime()?.block_on(tools::run(&choose(config)?, &name)),
        Command::Call { name, tool, arguments } => {
            runtime()?.block_on(call::run(&choose(config)?, &name, &tool, &arguments))
        }
        Command::Demo => runtime()?.block_on(demo::run()),
        Command::DemoServer { era } => runtime()?.block_on(demo::server::run(&era)),
        Command::Warden { mark, tags } => {
            Inherited::shed();
            runtime()?
                .block_on(warden::watch(&mark, tags.map(Tags::from)))
                .map_err(|error| format!("no daemon started this: {error}"))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Check { pid: Some(pid), endpoint: Some(endpoint), .. } => {
            permits::run(&load(&file(config)?)?, pid, &endpoint)
        }
        Command::Check { start, .. } => runtime()?.block_on(check::run(&file(config)?, start)),
        Command::Env(Env::Record { names }) => {
            print::page(&env::record(&file(config)?, &names)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Env(Env::Show) => {
            let file = file(config)?;
            print::page(&env::show(&file, &load(&file)?))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// For whom `mcpool serve` serves.
enum Mode {
    /// For callers on sockets; detached from whoever started it.
    Sockets { detached: bool },
    /// For one caller on stdin and stdout, on the endpoint of that name.
    Stdio { name: String, fresh: bool },
}

fn serve(config: Option<&Path>, mode: Mode) -> Result<ExitCode, String> {
    let detached = matches!(mode, Mode::Sockets { detached: true });
    close_inherited();
    let config = load(&file(config)?)?;
    if let Some(code) = anew::begin(&config, detached)? {
        return Ok(code);
    }
    let inherited = Inherited::shed();
    // Nobody reads the stderr of one that runs by itself. Where its log cannot be written it is of use all the same.
    let file = if detached { logs::Log::at(logs::path(&sockets::directory(&config))).ok() } else { None };
    let journal = match file {
        Some(file) => Journal::start(file),
        None => Journal::start(std::io::stderr()),
    };
    let journal = journal.map_err(|error| format!("no thread for the log: {error}"))?;
    let relevel = log(&config, journal.lines());
    journal.lines().end_at_panic();
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let serving = async {
        match mode {
            Mode::Stdio { name, fresh } => daemon::serve_stdio(config, inherited, &name, fresh).await,
            Mode::Sockets { .. } => daemon::serve(config, inherited, relevel).await,
        }
    };
    runtime()?.block_on(serving).map_err(|failure| failure.to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// Tells the daemon of a config something. It runs with the config as it was, so mistakes in it do not matter here, nor
/// whether it can be read.
fn tell(config: Option<&Path>, order: impl AsyncFnOnce(&Path) -> Result<(), String>) -> Result<ExitCode, String> {
    let chosen = choose(config)?;
    runtime()?.block_on(async {
        let running = Running::find_any(&chosen).await?;
        if chosen.file().is_none() {
            print::complain(format_args!("mcpool: this is the daemon that runs with {}", running.config()));
        }
        order(&running.directory).await
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Which config a command is about.
fn choose(config: Option<&Path>) -> Result<Chosen, String> {
    // Who names none, or names it from `/` on, needs no directory, which may be gone.
    let cwd = match config.filter(|path| path.is_relative()) {
        Some(_) => std::env::current_dir().map_err(|error| format!("no working directory: {error}"))?,
        None => PathBuf::new(),
    };
    place::choose(config, &|name| std::env::var_os(name), &cwd)
}

/// The config of a command that needs one.
fn file(config: Option<&Path>) -> Result<PathBuf, String> {
    match choose(config)? {
        Chosen::Named(file) | Chosen::Users(file) => Ok(file),
        Chosen::Nowhere(places) => Err(no_config(&places)),
    }
}

/// Says where a config was looked for, and how one looks.
fn no_config(places: &[PathBuf]) -> String {
    let mut told = "no config file: there is no".to_owned();
    for (number, place) in places.iter().enumerate() {
        told += &format!("{} {}", if number == 0 { "" } else { " or" }, place.display());
    }
    told += ", and neither --config nor $MCPOOL_CONFIG names one.\n";
    if Path::new(HERE).exists() {
        told += &format!(
            "The {HERE} of this directory is not taken: it would run as you whatever it says. \
             If you trust it, say `--config {HERE}`.\n"
        );
    }
    told + "Write one like this:\n\n  servers:\n    files:\n      command: npx\n      \
            args: [-y, \"@modelcontextprotocol/server-filesystem\", /srv/docs]"
}

fn load(file: &Path) -> Result<Config, String> {
    Config::load(file).map_err(|mistakes| format!("the config has mistakes\n{mistakes}"))
}

fn runtime() -> Result<Runtime, String> {
    Builder::new_current_thread().enable_all().build().map_err(|error| format!("no runtime: {error}"))
}

/// What `MCPOOL_LOG` says, or why it is of no use.
fn filter() -> Option<Result<String, String>> {
    let said = std::env::var_os("MCPOOL_LOG")?;
    let level = said.to_str().filter(|said| Log::is_filter(said)).map(str::to_owned);
    Some(level.ok_or_else(|| {
        let said = said.to_string_lossy();
        format!("MCPOOL_LOG={said:?} is ignored: levels are error, warn, info, debug and trace, or TARGET=LEVEL; say one like MCPOOL_LOG=info,mcpool::pool=debug, or unset it")
    }))
}

/// Logs go to stderr; stdout belongs to the protocol. What is logged can be changed with what is returned, unless
/// `MCPOOL_LOG` says it.
fn log(config: &Config, lines: Lines) -> impl Fn(&str) + use<> {
    let said = filter();
    let level = said.as_ref().and_then(|said| said.as_deref().ok());
    let fixed = level.is_some();
    let filter = EnvFilter::new(level.unwrap_or(&config.log.level));
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let colours = rustix::termios::isatty(std::io::stderr()) && !is_set("NO_COLOR");
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || lines.clone());
    let subscriber = subscriber.fmt_fields(logged::Fields).with_ansi(colours).with_filter_reloading();
    let handle = subscriber.reload_handle();
    subscriber.init();
    if let Some(Err(why)) = &said {
        let level = &config.log.level;
        tracing::warn!(level, "{why}");
    }
    move |level| {
        if !fixed && let Err(error) = handle.reload(EnvFilter::new(level)) {
            tracing::warn!(%error, "what is logged stays as it is");
        }
    }
}
