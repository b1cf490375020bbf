//! Which server a request is for, and what the server calls the thing that the request names.

use super::Mux;
use super::callers::{Caller, Endpoint};
use super::lists::ListKind;
use super::names;
use crate::error::Error;
use crate::pool::instance::ServerId;
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
                self.owner_of(endpoint, &uri).ok_or_else(|| Error::ResourceNotFound { uri: uri.into_owned(), modern })
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
            return self
                .owner_of(endpoint, &uri)
                .ok_or_else(|| Error::ResourceNotFound { uri: uri.into_owned(), modern });
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
        // A name that had to be shortened is found by what it was shortened from.
        let items = self
            .server(server)
            .catalogue
            .variants()
            .filter_map(|variant| variant.list(kind))
            .flat_map(|list| &list.items);
        let mut real = items
            .filter_map(|item| unquote(member(item.get(), "name")?))
            .filter(|real| names::exposed(name, real) == exposed);
        Ok((server, real.next().map_or_else(|| rest.to_owned(), |real| real.into_owned())))
    }

    /// The first server, in the order of the configuration, that lists a resource or covers it by a template; a template
    /// for everything takes nothing from those behind that list it.
    pub(crate) fn owner_of(&self, endpoint: &Endpoint, uri: &str) -> Option<ServerId> {
        let has = |id: &ServerId, kind, key, fits: &dyn Fn(&str) -> bool| {
            let lists = self.server(*id).catalogue.variants().filter_map(|variant| variant.list(kind));
            lists
                .flat_map(|list| &list.items)
                .any(|item| member(item.get(), key).and_then(unquote).is_some_and(|text| fits(&text)))
        };
        let lists = |id: &&ServerId| has(id, ListKind::Resources, "uri", &|listed| listed == uri);
        let matches = |id: &&ServerId| {
            has(id, ListKind::Templates, "uriTemplate", &|template| {
                template == uri || names::fits_template(template, uri)
            })
        };
        let covers =
            |id: &&ServerId| has(id, ListKind::Templates, "uriTemplate", &|template| names::claims(template, uri));
        let owner = endpoint.servers.iter().find(|id| lists(id) || covers(id));
        owner.or_else(|| endpoint.servers.iter().find(matches)).copied()
    }
}
