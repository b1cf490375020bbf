//! Called by `mux::request` for every request that is sent on: which server it is for, and what that server calls the
//! thing that the request names.

use super::Mux;
use crate::caller::endpoint::Endpoint;
use crate::caller::{Caller, names};
use crate::catalogue::list::ListKind;
use crate::catalogue::lookup::Behind;
use crate::error::Error;
use crate::key::ServerId;
use crate::wire::message::{Message, member, unquote};
use crate::wire::scan::{Field, Span};
use crate::wire::splice::Splice;

/// Where a request goes.
pub struct Route {
    pub server: ServerId,
    pub splice: Splice,
}

impl Mux {
    /// Routes a request of a caller.
    ///
    /// # Errors
    /// What is named does not exist here, or may not be used.
    pub(crate) fn route(&self, caller: &Caller, request: &Message, modern: bool) -> Result<Route, Error> {
        let endpoint = &caller.endpoint;
        let mut splice = request.splice();
        let server = match endpoint.servers.as_slice() {
            [] => return Err(Error::MethodNotFound("this endpoint has no servers".into())),
            [only] if !endpoint.prefix => *only,
            _ => self.route_among(endpoint, request, &request.method(), modern, &mut splice)?,
        };
        self.is_approved(server, endpoint, request)?;
        Ok(Route { server, splice })
    }

    fn route_among(
        &self,
        endpoint: &Endpoint,
        request: &Message,
        method: &str,
        modern: bool,
        splice: &mut Splice,
    ) -> Result<ServerId, Error> {
        match method {
            "tools/call" | "prompts/get" => {
                let kind = if method == "tools/call" { ListKind::Tools } else { ListKind::Prompts };
                let (server, real) = self.named(endpoint, kind, &request.text(Field::Name).unwrap_or_default())?;
                splice.put_if(request.span(Field::Name), serde_json::json!(real).to_string());
                Ok(server)
            }
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
                let uri = request.text(Field::Uri).unwrap_or_default();
                self.owner_of(endpoint, &uri).ok_or_else(|| self.resource_not_found(endpoint, &uri, modern))
            }
            "completion/complete" => self.route_completion(endpoint, request, modern, splice),
            _ if endpoint.servers.len() == 1 => Ok(endpoint.servers[0]),
            _ => Err(Error::MethodNotFound(format!(
                "`{method}` names no server; connect to the endpoint of one server to use it"
            ))),
        }
    }

    fn route_completion(
        &self,
        endpoint: &Endpoint,
        request: &Message,
        modern: bool,
        splice: &mut Splice,
    ) -> Result<ServerId, Error> {
        let reference = request.raw(Field::Ref).unwrap_or("{}");
        if let Some(uri) = member(reference, "uri").and_then(unquote) {
            return self.owner_of(endpoint, &uri).ok_or_else(|| self.resource_not_found(endpoint, &uri, modern));
        }
        let raw = member(reference, "name").unwrap_or_default();
        let (server, real) = self.named(endpoint, ListKind::Prompts, &unquote(raw).unwrap_or_default())?;
        // The name is a slice of the reference, which is a slice of the line.
        let offset = raw.as_ptr() as usize - reference.as_ptr() as usize;
        let start = request.span(Field::Ref).start + offset as u32;
        splice.put(Span { start, end: start + raw.len() as u32 }, serde_json::json!(real).to_string());
        Ok(server)
    }

    /// The server and the real name behind an exposed name.
    pub(super) fn named(
        &self,
        endpoint: &Endpoint,
        kind: ListKind,
        exposed: &str,
    ) -> Result<(ServerId, String), Error> {
        let unknown = || {
            Error::InvalidParams(format!(
                "unknown name {exposed:?}; names here are SERVER__NAME, as the lists show them"
            ))
        };
        let (name, rest) = names::split(exposed).ok_or_else(unknown)?;
        let server =
            endpoint.servers.iter().copied().find(|id| self.server(*id).config.name == name).ok_or_else(unknown)?;
        match self.server(server).catalogue.behind(kind, rest) {
            Behind::Real(real) => Ok((server, real.into_owned())),
            Behind::Unknown => Ok((server, rest.to_owned())),
            Behind::LeftOut(why) => Err(Error::InvalidParams(format!(
                "{exposed:?} is not shown here, because clients could not read it: as server `{name}` lists it, it {why}; \
                 mend the server, or call it at the server's own endpoint"
            ))),
        }
    }

    /// Returns the error for a resource that no server has. If a server lists it so that it is not shown, the error
    /// says why.
    fn resource_not_found(&self, endpoint: &Endpoint, uri: &str, modern: bool) -> Error {
        let kind = ListKind::Resources;
        let why = endpoint.servers.iter().find_map(|id| {
            let why = self.server(*id).catalogue.why_left_out(kind, uri)?;
            let server = &self.server(*id).config.name;
            Some(format!(
                "; it is not shown here, because clients could not read it: as server `{server}` lists it, it {why}"
            ))
        });
        Error::ResourceNotFound { uri: uri.to_owned(), why: why.unwrap_or_default(), modern }
    }

    /// Returns the first server, in the order of the config, that lists a resource. If none lists it, it is the first
    /// with a template that covers it, so a template for everything takes nothing from later servers that list it.
    pub(crate) fn owner_of(&self, endpoint: &Endpoint, uri: &str) -> Option<ServerId> {
        let known = |id: &ServerId| &self.server(*id).catalogue;
        let owner = endpoint.servers.iter().find(|id| known(id).has_resource(uri));
        owner.or_else(|| endpoint.servers.iter().find(|id| known(id).may_have_resource(uri))).copied()
    }
}
