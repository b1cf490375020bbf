//! Called by the daemon when its config changed, on SIGHUP and on `mcpool reload`: another config while it runs. The
//! config is read and checked whole, then put in force whole or not at all.

use super::doors::Doors;
use crate::config::Config;
use crate::mux::Handle;
use crate::mux::reload::Changes;

/// Reads the config file anew and puts it in force; says what that changed.
///
/// # Errors
/// In words for people: all mistakes of the file, or what else keeps it from being put in force.
pub async fn reload(mux: &Handle, doors: &mut Doors, relevel: &dyn Fn(&str)) -> Result<Changes, String> {
    let done = attempt(mux, doors, relevel).await;
    match &done {
        Ok(changes) => {
            tracing::info!(%changes, "another config is in force");
            if !changes.restart.is_empty() {
                tracing::warn!(keys = changes.restart.join(", "), "these keys have changed and need a new daemon");
            }
        }
        Err(why) => {
            tracing::error!("the config was not reloaded, the one before stays in force");
            // A value ends no line of the log, so each line of it is one.
            why.lines().filter(|line| !line.trim().is_empty()).for_each(|line| tracing::error!("{line}"));
            mux.with(|mux| mux.refuse_config(why.clone()));
        }
    }
    done
}

async fn attempt(mux: &Handle, doors: &mut Doors, relevel: &dyn Fn(&str)) -> Result<Changes, String> {
    let (running, draining) = mux.with(|mux| (mux.config.clone(), mux.is_draining()));
    if draining {
        return Err("the daemon is ending".into());
    }
    let Some(file) = &running.file else { return Err("this daemon was not started with a config file".into()) };
    let mut config = Config::load(file).map_err(|mistakes| format!("the config has mistakes\n{mistakes}"))?;
    let restart = config.keep_what_cannot_change(&running);
    let ajar = doors.unlock(&config).map_err(|taken| taken.to_string())?;
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let (changes, config) = mux.with(|mux| {
        let changes = mux.reload(config);
        mux.needs_new_daemon(restart.clone());
        (changes, mux.config.clone())
    });
    relevel(&config.log.level);
    doors.open(&config, ajar).await;
    Ok(Changes { restart, ..changes })
}
