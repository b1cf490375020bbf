//! Called by `main`: what people and hosts type.

mod call;
mod check;
mod client;
mod connect;
mod demo;
mod journal;
mod logged;
mod orders;
mod print;
mod reach;
mod status;
mod tools;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::EnvFilter;

use crate::config::Config;
use crate::daemon;
use crate::pool::process::warden;
use journal::{Journal, Lines};

/// A resilient proxy multiplexer for the Model Context Protocol: many callers, few server processes.
#[derive(Parser)]
#[command(
    name = "mcpool",
    version,
    propagate_version = true,
    after_help = "Start with `mcpool demo`. Then write mcpool.yaml, \
    run `mcpool check`, and put {\"command\": \"mcpool\", \"args\": [\"connect\", \"NAME\"]} into your host's config."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const SIGNALS: &str = "\
Signals: SIGTERM and SIGINT let running calls end for as long as `drain` in the config says, and then end everything; \
a second one ends everything at once. SIGHUP reads the config anew.

Exit codes: 0 ended by a signal or by `mcpool drain`; 1 could not start, or the config has mistakes; 2 wrong usage.";

#[derive(Args)]
struct Where {
    /// The config file; else $MCPOOL_CONFIG, ./mcpool.yaml, or mcpool/mcpool.yaml in the XDG config directory
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon: one socket for each server, and one, `all`, for all of them
    #[command(after_help = SIGNALS)]
    Serve {
        #[command(flatten)]
        place: Where,
        /// Serve one caller on stdin and stdout instead, without a daemon and without sockets
        #[arg(long)]
        stdio: bool,
        /// With --stdio: the endpoint to serve
        #[arg(requires = "stdio", default_value = "all")]
        name: String,
        /// Leave the session of whoever started this (used by `connect`)
        #[arg(long, hide = true)]
        detached: bool,
    },
    /// Connect stdin and stdout to an endpoint of the daemon, starting the daemon if none runs (for hosts)
    Connect {
        #[command(flatten)]
        place: Where,
        /// The endpoint: a server's name, or `all`
        name: String,
        /// Connect to this socket and start nothing
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
    },
    /// Show servers, their instances, callers and what sharing saves
    Status {
        #[command(flatten)]
        place: Where,
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// End the daemon gently: nothing new is begun, running calls may end (see `drain` in the config)
    Drain {
        #[command(flatten)]
        place: Where,
    },
    /// Replace the instances of a server, gently, and forget why it could not be started
    Restart {
        #[command(flatten)]
        place: Where,
        /// The server, as `mcpool status` shows it
        server: String,
    },
    /// Read the config anew and put it in force, whole or not at all
    Reload {
        #[command(flatten)]
        place: Where,
    },
    /// List the tools of an endpoint
    Tools {
        #[command(flatten)]
        place: Where,
        /// The endpoint: a server's name, or `all`
        name: String,
    },
    /// Call a tool and print its result
    Call {
        #[command(flatten)]
        place: Where,
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
    },
    /// Check the config and tell every mistake at once
    Check {
        #[command(flatten)]
        place: Where,
    },
}

/// Runs what the command line says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(code) => code,
        Err(message) => {
            print::complain(format_args!("mcpool: {message}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode, String> {
    match command {
        Command::Serve { place, stdio, name, detached } => {
            let config = load(&find(&place)?)?;
            let journal =
                Journal::start(std::io::stderr()).map_err(|error| format!("no thread for the log: {error}"))?;
            let relevel = log(&config, journal.lines());
            if detached {
                // Fails if there is nothing to leave.
                let _ = rustix::process::setsid();
            }
            let serving = async {
                if stdio { daemon::serve_stdio(config, &name).await } else { daemon::serve(config, relevel).await }
            };
            runtime()?.block_on(serving).map_err(|failure| failure.to_string())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Connect { place, name, socket } => {
            let target = match socket {
                Some(socket) => reach::Target::Socket(socket),
                None => {
                    let file = find(&place)?;
                    reach::Target::Endpoint { config: Box::new(load(&file)?), file, name }
                }
            };
            runtime()?.block_on(connect::run(target))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Status { place, json } => {
            let status = runtime()?.block_on(status::run(&Config::load_for_sockets(&find(&place)?), json))?;
            print::page(&status);
            Ok(ExitCode::SUCCESS)
        }
        Command::Drain { place } => tell(&place, async |config| orders::drain(config).await),
        Command::Restart { place, server } => tell(&place, async |config| orders::restart(config, &server).await),
        Command::Reload { place } => tell(&place, async |config| orders::reload(config).await),
        Command::Tools { place, name } => {
            let file = find(&place)?;
            runtime()?.block_on(tools::run(&file, &load(&file)?, &name))
        }
        Command::Call { place, name, tool, arguments } => {
            let file = find(&place)?;
            runtime()?.block_on(call::run(&file, &load(&file)?, &name, &tool, &arguments))
        }
        Command::Demo => runtime()?.block_on(demo::run()),
        Command::DemoServer { era } => runtime()?.block_on(demo::server::run(&era)),
        Command::Warden { mark } => {
            runtime()?.block_on(warden::watch(&mark)).map_err(|error| format!("no daemon started this: {error}"))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Check { place } => check::run(&find(&place)?),
    }
}

/// Tells the daemon of a config something. It runs with the config as it was, so mistakes in it do not matter here.
fn tell(place: &Where, order: impl AsyncFnOnce(&Config) -> Result<(), String>) -> Result<ExitCode, String> {
    runtime()?.block_on(order(&Config::load_for_sockets(&find(place)?)))?;
    Ok(ExitCode::SUCCESS)
}

fn find(place: &Where) -> Result<PathBuf, String> {
    let cwd = std::env::current_dir().map_err(|error| format!("no working directory: {error}"))?;
    let found = Config::find(place.config.as_deref(), &|name| std::env::var_os(name), &cwd);
    found.ok_or_else(|| {
        "no config file: looked at --config, $MCPOOL_CONFIG, ./mcpool.yaml and mcpool/mcpool.yaml in the XDG config directory.\n\
         Write one like this:\n\n  servers:\n    files:\n      command: npx\n      args: [-y, \"@modelcontextprotocol/server-filesystem\", /srv/docs]"
            .to_owned()
    })
}

fn load(file: &Path) -> Result<Config, String> {
    Config::load(file).map_err(|mistakes| format!("the config has mistakes\n{mistakes}"))
}

fn runtime() -> Result<Runtime, String> {
    Builder::new_current_thread().enable_all().build().map_err(|error| format!("no runtime: {error}"))
}

/// Logs go to stderr; stdout belongs to the protocol. What is logged can be changed with what is returned, unless
/// `MCPOOL_LOG` says it.
fn log(config: &Config, lines: Lines) -> impl Fn(&str) + use<> {
    let said = EnvFilter::try_from_env("MCPOOL_LOG").ok();
    let fixed = said.is_some();
    let filter = said.unwrap_or_else(|| EnvFilter::new(&config.log.level));
    let colours = rustix::termios::isatty(std::io::stderr());
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || lines.clone());
    let subscriber = subscriber.fmt_fields(logged::Fields).with_ansi(colours).with_filter_reloading();
    let handle = subscriber.reload_handle();
    subscriber.init();
    move |level| {
        if !fixed && let Err(error) = handle.reload(EnvFilter::new(level)) {
            tracing::warn!(%error, "what is logged stays as it is");
        }
    }
}
