//! `mcpool check`: every mistake of a config at once, or what the config means.

use std::path::Path;
use std::process::ExitCode;

use super::{permits, print, sandboxes};
use crate::caller::sockets;
use crate::config::Config;
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
    println!("{} is fine.\n", file.display());
    for server in &config.servers {
        let (kind, why) = lease::lease(server.lease, Evidence { known: server.known(), has_asked: false }, true);
        let max = server.instances.max;
        println!(
            "  {:<20} lease {} ({why}), at most {max} instance{}",
            server.name,
            kind.as_str(),
            if max == 1 { "" } else { "s" }
        );
    }
    for server in &config.disabled {
        println!("  {:<20} disabled", server.name);
    }
    sandboxes::show(&config);
    println!();
    for endpoint in &config.endpoints {
        println!("  mcpool connect {:<20} {}", endpoint.name, sockets::path(&config, &endpoint.name).display());
        permits::show(endpoint);
    }
    for warning in config.warnings().into_iter().chain(sandboxes::warnings(&config)).chain(permits::warnings(&config)) {
        println!("\nwarning: {warning}");
    }
    Ok(ExitCode::SUCCESS)
}
