//! `mcpool check`: every mistake of a config at once, or what the config means.

mod look;
mod opened;

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use super::{permits, print, sandboxes};
use crate::catalogue::seen::Seen;
use crate::config::{Config, Server};
use crate::endpoint::sockets;
use crate::plural::plural;
use crate::pool::lease::{self, Evidence, Lease};

/// Checks a config file; with `start`, opens each server too.
pub async fn run(file: &Path, start: bool) -> Result<ExitCode, String> {
    let config = match Config::load(file) {
        Ok(config) => config,
        Err(mistakes) => {
            print::complain(mistakes);
            return Ok(ExitCode::FAILURE);
        }
    };
    let wrong = wrong(&config);
    for message in &wrong {
        print::complain(format_args!("error: {message}"));
    }
    print::page(&page(file, &config, wrong.is_empty()))?;
    let mut fine = wrong.is_empty();
    if start && fine && !config.servers.is_empty() {
        print::page("\nOpening the servers:\n")?;
        let (opened, all) = opened::all(file, &config).await;
        print::page(&opened)?;
        fine = all;
    }
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is well written and cannot work anywhere.
fn wrong(config: &Config) -> Vec<String> {
    let mut wrong = Vec::new();
    if config.servers.is_empty() && config.disabled.is_empty() {
        wrong.push("no server is configured: write one under `servers:`".to_owned());
    }
    let sockets = config.endpoints.iter().map(|endpoint| sockets::path(config, &endpoint.name));
    let longest = sockets.max_by_key(|path| path.as_os_str().len());
    wrong.extend(longest.and_then(|path| sockets::too_long(&path)));
    wrong
}

fn page(file: &Path, config: &Config, fine: bool) -> String {
    let mut page = format!("{} {}.\n\n", file.display(), if fine { "is fine" } else { "cannot work" });
    for server in &config.servers {
        page += &meaning(server);
    }
    for server in &config.disabled {
        let _ = writeln!(page, "  {:<20} disabled", server.name);
    }
    page += &sandboxes::page(config);
    page += "\n";
    for endpoint in &config.endpoints {
        let socket = sockets::path(config, &endpoint.name);
        let _ = writeln!(page, "  mcpool connect {:<20} {}", endpoint.name, socket.display());
        page += &permits::told(endpoint);
    }
    let _ = writeln!(page, "\nVariables of servers come from {}.", config.environment);
    let others = sandboxes::warnings(config).into_iter().chain(permits::warnings(config));
    let others = others.chain(super::filter().and_then(Result::err));
    for warning in config.warnings().into_iter().chain(others).chain(look::warnings(config)) {
        let _ = writeln!(page, "\nwarning: {warning}");
    }
    page
}

fn meaning(server: &Server) -> String {
    let (kind, why) = lease::lease(server.lease, Evidence { known: server.known(), seen: Seen::default() }, true);
    let limits = &server.instances;
    let most = plural(limits.most(kind != Lease::Shared), "instance");
    let total = limits.total;
    format!(
        "  {:<20} lease {} ({why}), at most {most} for each kind of client and {total} in all\n",
        server.name,
        kind.as_str()
    )
}
