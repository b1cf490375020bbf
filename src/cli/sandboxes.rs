//! Called by `check`: what servers are confined to, and whether this system can hold it, tried out for real.

use crate::config::Config;
use crate::daemon;
use crate::pool::process::{self, site::Fences};

/// A line for each confined server: what it may reach, and another for what its program and preset open besides. Where
/// there are any, what this system holds of sandboxes too.
pub fn page(config: &Config) -> String {
    let fences = Fences::new(daemon::cache(config).as_deref());
    let confined = config.servers.iter().filter_map(|server| Some((server, server.sandbox.as_ref()?)));
    let told = confined.map(|(server, sandbox)| {
        let opened: Vec<_> = fences.opened(server).iter().map(|path| path.display().to_string()).collect();
        let besides = format!("  {:<20} for its program it reads: {}\n", "", opened.join(", "));
        format!("  {:<20} sandbox: {sandbox}\n{}", server.name, if opened.is_empty() { "" } else { &besides })
    });
    let page: String = told.collect();
    let held = || format!("  {:<20} this system holds: {}\n", "sandboxes", process::held());
    if page.is_empty() { page } else { page + &held() }
}

/// A sentence for each server whose sandbox cannot be held here.
pub fn warnings(config: &Config) -> Vec<String> {
    let fences = Fences::new(daemon::cache(config).as_deref());
    let confined = config.servers.iter().filter(|server| server.sandbox.is_some());
    let failed = confined.filter_map(|server| Some((&server.name, fences.try_out(server).err()?)));
    failed.map(|(name, why)| format!("server `{name}` will not be started: {why}")).collect()
}
