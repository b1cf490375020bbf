//! Called by `pool::process` for each server that is started, and by `check`: where a confined one is started, which is
//! what its fence is made of, and a directory of its own, where it may write.

use std::ffi::OsStr;
use std::fs::DirBuilder;
use std::io::{Error, Result};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::confine::Confinement;
use super::fence::{self, Fence, Site};
use super::inherit::Inherited;
use super::{Variables, search};
use crate::config::{self, Preset};

/// Makes the fences of one daemon's servers.
pub struct Fences {
    /// Below which each confined server has a directory.
    place: Option<PathBuf>,
}

impl Fences {
    /// With the servers' directories below `cache`.
    pub fn new(cache: Option<&Path>) -> Fences {
        Fences { place: cache.map(|cache| cache.join("sandbox")) }
    }

    /// The fence around a server which starts as `program`, if its config has one; it is told where it may write.
    ///
    /// # Errors
    /// There is no place for its directory.
    pub fn around(
        &self,
        server: &config::Server,
        program: PathBuf,
        variables: &mut Variables,
    ) -> Result<Option<Fence>> {
        let Some(sandbox) = &server.sandbox else { return Ok(None) };
        let own = self.place.as_ref().map(|place| place.join(&server.name));
        let own = own.ok_or_else(|| Error::other("its sandbox needs a directory: set `catalogue.dir`"))?;
        let places = fence::variables(sandbox, &own);
        for (_, place) in &places {
            let failed = |error: Error| {
                Error::new(error.kind(), format!("its sandbox needs the directory {}: {error}", place.display()))
            };
            DirBuilder::new().recursive(true).mode(0o700).create(place).map_err(failed)?;
        }
        let places = places.into_iter().map(|(name, place)| (name, place.into_os_string()));
        for (name, value) in places.chain(fence::offline(sandbox).map(|(name, value)| (name, value.into()))) {
            // What the daemon itself was given is of a place that the server does not reach.
            if !server.env.contains_key(name) && !server.inherit_env.iter().any(|inherited| inherited == name) {
                variables.insert(name.into(), value);
            }
        }
        let path = variables.get(OsStr::new("PATH")).map(|path| path.as_os_str());
        let mut programs = vec![program];
        if sandbox.preset == Some(Preset::Npx) {
            programs.extend(search::find("node", path, None));
        }
        // Links are followed by the system, and it is their ends that are looked at.
        let ends: Vec<PathBuf> = programs.iter().filter_map(|program| program.canonicalize().ok()).collect();
        programs.extend(ends);
        let home = variables.get(OsStr::new("HOME")).map(Path::new);
        Ok(Some(Fence::new(sandbox, &Site { programs, home, own: &own })))
    }

    /// The files that a server may read besides the system's and those that its config names.
    pub fn opened(&self, server: &config::Server) -> Vec<PathBuf> {
        let files = self.found(server).ok().flatten().and_then(|fence| fence.files);
        files.map(|files| files.opened().into_iter().map(Path::to_owned).collect()).unwrap_or_default()
    }

    /// Returns whether this system can hold a server's sandbox, found out by a process that enters it.
    ///
    /// # Errors
    /// It cannot, or the server could not be started in any case; in words for people.
    pub fn try_out(&self, server: &config::Server) -> std::result::Result<(), String> {
        let fence = self.found(server);
        let fence = fence.map_err(|error| format!("cannot run `{}`: {error}", server.command))?;
        Confinement::new(server, Inherited::kept(), fence).try_out()
    }

    fn found(&self, server: &config::Server) -> Result<Option<Fence>> {
        let mut variables = server.variables();
        let path = variables.get(OsStr::new("PATH")).cloned();
        let program = search::find(&server.command, path.as_deref(), server.cwd.as_deref())?;
        self.around(server, program, &mut variables)
    }
}
