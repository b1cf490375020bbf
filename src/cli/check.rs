//! `mcpool check`: every mistake of a config at once, or what the config means.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use super::{permits, print, sandboxes};
use crate::caller::sockets;
use crate::config::{Config, Server};
use crate::pool::lease::{self, Evidence};

/// Checks a config file.
pub fn run(file: &Path) -> Result<ExitCode, String> {
    let config = match Config::load(file) {
        Ok(config) => config,
        Err(mistakes) => {
            print::complain(mistakes);
            return Ok(ExitCode::FAILURE);
        }
    };
    print::page(&page(file, &config));
    Ok(ExitCode::SUCCESS)
}

fn page(file: &Path, config: &Config) -> String {
    let mut page = format!("{} is fine.\n\n", file.display());
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
    for warning in config.warnings().into_iter().chain(sandboxes::warnings(config)).chain(permits::warnings(config)) {
        let _ = writeln!(page, "\nwarning: {warning}");
    }
    page
}

fn meaning(server: &Server) -> String {
    let (kind, why) = lease::lease(server.lease, Evidence { known: server.known(), has_asked: false }, true);
    let max = server.instances.max;
    let plural = if max == 1 { "" } else { "s" };
    format!("  {:<20} lease {} ({why}), at most {max} instance{plural}\n", server.name, kind.as_str())
}
