//! Used by every part: keys of what is connected, running and on its way. A part may keep the key of another part's
//! thing; the key finds nothing once the thing is gone.

slotmap::new_key_type! {
    /// One connected caller.
    pub struct CallerKey;
    /// One call, from its acceptance to its terminal response.
    pub struct CallKey;
    /// One instance within its pool.
    pub struct InstanceKey;
}

/// A configured server, by its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(pub usize);

/// One instance within the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InstanceRef {
    pub server: ServerId,
    pub key: InstanceKey,
}
