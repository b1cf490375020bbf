//! Called by `check`: what servers are confined to, and whether this system can hold it, tried out for real.

use crate::config::Config;
use crate::daemon;
use crate::pool::process::site::Fences;

/// Prints what each confined server may reach.
pub fn show(config: &Config) {
    for server in &config.servers {
        if let Some(sandbox) = &server.sandbox {
            println!("  {:<20} sandbox: {sandbox}", server.name);
        }
    }
}

/// A sentence for each server whose sandbox cannot be held here.
pub fn warnings(config: &Config) -> Vec<String> {
    let fences = Fences::new(daemon::cache(config).as_deref());
    let confined = config.servers.iter().filter(|server| server.sandbox.is_some());
    let failed = confined.filter_map(|server| Some((&server.name, fences.try_out(server).err()?)));
    failed.map(|(name, why)| format!("server `{name}` will not be started: {why}")).collect()
}
