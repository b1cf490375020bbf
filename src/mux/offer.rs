//! Called wherever a caller meets a server: in which era the server is used for that caller, what its instances are
//! told then, and where the catalogue keeps what it offers. A server that speaks the caller's era is used in it, and
//! nothing is translated; one that lacks it is used in the other (`mux::bridge`).

use super::Mux;
use super::call::Call;
use crate::caller::Caller;
use crate::caller::roots::NO_ROOTS;
use crate::catalogue::{Scope, VariantKey};
use crate::config::{Access, Roots};
use crate::era::bridge::capabilities::Keep;
use crate::era::profile::Profile;
use crate::era::{Era, bridge, legacy};
use crate::key::{CallerKey, InstanceRef, ServerId};
use crate::pool::instance::Instance;
use crate::pool::lease::Lease;
use crate::wire::message::Message;
use crate::wire::scan::Field;

/// What a server is to a caller.
pub struct Offer {
    /// What an instance for this caller is told.
    pub profile: Profile,
    /// Under which the server's introduction and lists are kept for callers like this one.
    pub variant: VariantKey,
    /// Whether the two speak different eras.
    pub bridged: bool,
}

/// Returns the capabilities that a request itself declares; none in a legacy one.
pub fn declared(request: &Message) -> &str {
    request.raw(Field::MetaCapabilities).unwrap_or("{}")
}

/// Returns the capabilities that a caller has of those that it declares, if its endpoint changes them; none if it has
/// them all.
pub fn restrained(access: &Access, declared: &str) -> Option<String> {
    if access.asks && access.roots == Roots::Client {
        return None;
    }
    let roots = match access.roots {
        Roots::Client => Keep::AsDeclared,
        Roots::Withheld => Keep::Not,
        Roots::Fixed(_) => Keep::Always,
    };
    bridge::capabilities::restrained(declared, roots, access.asks)
}

impl Offer {
    /// Returns what a server is in one era, whether it speaks that era or not.
    pub fn in_era(era: Era, own: &Profile, capabilities: &str) -> Offer {
        let bridged = era != own.era();
        let (profile, variant) = match own {
            Profile::Modern if bridged => {
                let told = bridge::capabilities::client_to_legacy(capabilities);
                let newest = legacy::REVISIONS[0];
                // Capabilities that no server could be told are as good as none.
                let profile = Profile::legacy(newest, &told).or_else(|| Profile::legacy(newest, "{}"));
                let profile = profile.unwrap_or(Profile::Modern);
                let variant = VariantKey::new(&profile, "{}");
                (profile, variant)
            }
            Profile::Legacy(client) if bridged => {
                let told = bridge::capabilities::client_to_modern(&client.capabilities);
                (Profile::Modern, VariantKey::new(&Profile::Modern, &told))
            }
            own => (own.clone(), VariantKey::new(own, capabilities)),
        };
        Offer { profile, variant, bridged }
    }

    /// Returns the key of the server's introduction. A modern introduction is the same for all.
    pub fn introduction(&self) -> VariantKey {
        VariantKey::of_introduction(&self.profile)
    }
}

impl Mux {
    /// Returns whether it is certain in which era a server is used for callers of this era.
    pub(crate) fn knows_era(&self, server: ServerId, era: Era) -> bool {
        let server = self.server(server);
        server.catalogue.serves(era, server.config.era).is_some()
    }

    /// Returns what a server is to a caller that speaks as `own` says. `capabilities` are those of a modern request. A
    /// server that mcpool does not know is believed to speak the caller's era.
    pub(crate) fn offer(&self, server: ServerId, own: &Profile, capabilities: &str) -> Offer {
        let server = self.server(server);
        let (catalogue, choice) = (&server.catalogue, server.config.era);
        let era = catalogue.serves(own.era(), choice).unwrap_or_else(|| catalogue.worth_a_try(own.era(), choice));
        Offer::in_era(era, own, capabilities)
    }

    /// Returns whether servers are used in another era than their callers'.
    pub(crate) fn is_across(&self, servers: &[ServerId], own: &Profile) -> bool {
        servers.iter().any(|server| self.offer(*server, own, "{}").bridged)
    }

    /// Returns the same for a caller that wants a list. The list's place depends on more than the caller's kind.
    pub(crate) fn list_offer(&self, server: ServerId, own: &Profile, capabilities: &str, caller: CallerKey) -> Offer {
        let mut offer = self.offer(server, own, capabilities);
        offer.variant.scope = self.scope_of(server, &offer.profile, caller);
        offer
    }

    /// Returns the same for the caller of a call.
    pub(crate) fn list_offer_to(&self, server: ServerId, call: &Call) -> Offer {
        self.list_offer(server, &call.profile, declared(&call.request), call.caller)
    }

    /// Returns whose lists a caller sees that is served by instances of this profile.
    pub(crate) fn scope_of(&self, server: ServerId, profile: &Profile, key: CallerKey) -> Scope {
        let (Some(caller), server) = (self.callers.get(key), self.server(server)) else { return Scope::All };
        let (own, catalogue) = (Some((key, Lease::Session)), &server.catalogue);
        let is_own = |instance: &Instance| instance.alive() && instance.bound == own && instance.profile == *profile;
        let in_session = server.pool.lease(profile, catalogue.known.seen).0 == Lease::Session;
        let has_own = in_session && server.pool.instances.values().any(is_own);
        let roots = || {
            let asked = self.tells_roots(caller, profile) && !caller.never_tells_roots();
            let roots = caller.roots.known().or_else(|| (!asked).then(|| NO_ROOTS.into()))?;
            Some(roots.digest())
        };
        catalogue.scope(profile, has_own.then_some(key), key, roots)
    }

    /// Returns whose lists a caller hears changes of. A server may have asked the caller for its roots before mcpool
    /// had to; then its instance was told them.
    pub(crate) fn scope_heard_of(&self, server: ServerId, profile: &Profile, key: CallerKey) -> Scope {
        let scope = self.scope_of(server, profile, key);
        let last = || self.callers.get(key)?.uses.last(server);
        let told = || self.scope_at(InstanceRef { server, key: last()? });
        if scope == Scope::Owner(key) { told().unwrap_or(scope) } else { scope }
    }

    /// Returns whose lists an instance tells.
    pub(crate) fn scope_at(&self, at: InstanceRef) -> Option<Scope> {
        let (server, instance) = (self.server(at.server), self.instance(at)?);
        let owner = instance.bound.filter(|(_, lease)| *lease == Lease::Session).map(|(owner, _)| owner);
        let roots = || instance.roots.as_ref().map(|roots| roots.digest());
        Some(server.catalogue.scope(&instance.profile, owner, instance.users.only().unwrap_or_default(), roots))
    }

    /// Returns what a server is to the caller of a call that was not translated yet.
    pub(crate) fn offer_to(&self, server: ServerId, call: &Call) -> Offer {
        self.offer(server, &call.profile, declared(&call.request))
    }

    /// Returns what a server is to a legacy caller's session, if it has one.
    pub(crate) fn offer_to_session(&self, server: ServerId, caller: &Caller) -> Option<Offer> {
        caller.session.as_ref().map(|session| self.offer(server, &session.profile, "{}"))
    }

    /// Returns the raw introduction of a server as a caller's revision has it.
    pub(crate) fn introduction(&self, server: ServerId, own: &Profile, offer: &Offer) -> Option<String> {
        let said = self.server(server).catalogue.said(&offer.introduction())?;
        Some(match own {
            Profile::Legacy(client) if !offer.bridged => bridge::capabilities::fit_introduction(said, client.revision),
            _ if !offer.bridged => said.to_owned(),
            Profile::Modern => bridge::capabilities::discover_result(said),
            Profile::Legacy(client) => {
                bridge::capabilities::initialize_result(said, client.revision, &self.server(server).config.name)
            }
        })
    }

    /// How the legacy server of a call names itself, for the results that must say it.
    pub(crate) fn own_info(&self, call: &Call) -> String {
        self.server_info(call.server, &VariantKey::of_introduction(&call.profile))
    }

    /// Returns the same for a variant of what it offers.
    pub(crate) fn server_info(&self, server: ServerId, introduction: &VariantKey) -> String {
        let said = self.server(server).catalogue.said(introduction);
        let own = said.and_then(|said| crate::wire::message::member(said, "serverInfo"));
        own.map_or_else(crate::era::implementation, str::to_owned)
    }
}
