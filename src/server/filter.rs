//! Called by `mux::listen`: what is listened to, read from a request, joined over callers, or granted by a server.

use std::collections::BTreeSet;

use super::subscriptions::is_part_of;
use crate::wire::message::{elements, member, unquote};

/// What a stream carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Changes of the list of tools.
    pub tools: bool,
    /// Changes of the list of prompts.
    pub prompts: bool,
    /// Changes of the list of resources.
    pub resources: bool,
    /// Updates of these resources.
    pub uris: BTreeSet<String>,
}

impl Filter {
    /// What a request or an acknowledgement says.
    pub fn read(json: &str) -> Filter {
        let wants = |name| member(json, name) == Some("true");
        let uris = member(json, "resourceSubscriptions").map(elements).unwrap_or_default();
        Filter {
            tools: wants("toolsListChanged"),
            prompts: wants("promptsListChanged"),
            resources: wants("resourcesListChanged"),
            uris: uris.into_iter().filter_map(unquote).map(std::borrow::Cow::into_owned).collect(),
        }
    }

    /// As it is written.
    pub fn to_json(&self) -> String {
        let mut json = serde_json::Map::new();
        let flags = [
            ("toolsListChanged", self.tools),
            ("promptsListChanged", self.prompts),
            ("resourcesListChanged", self.resources),
        ];
        json.extend(flags.into_iter().filter(|(_, set)| *set).map(|(name, _)| (name.to_owned(), true.into())));
        if !self.uris.is_empty() {
            json.insert("resourceSubscriptions".into(), serde_json::json!(self.uris));
        }
        serde_json::Value::Object(json).to_string()
    }

    /// What either carries.
    pub fn join(&mut self, other: &Filter) {
        self.tools |= other.tools;
        self.prompts |= other.prompts;
        self.resources |= other.resources;
        self.uris.extend(other.uris.iter().cloned());
    }

    /// What both carry.
    pub fn meet(&self, other: &Filter) -> Filter {
        Filter {
            tools: self.tools && other.tools,
            prompts: self.prompts && other.prompts,
            resources: self.resources && other.resources,
            uris: self.uris.intersection(&other.uris).cloned().collect(),
        }
    }

    /// Whether it carries all of another.
    pub fn covers(&self, other: &Filter) -> bool {
        self.meet(other) == *other
    }

    /// Whether it carries nothing.
    pub fn is_empty(&self) -> bool {
        *self == Filter::default()
    }

    /// Whether a notification is one that was wanted.
    pub fn lets_through(&self, method: &str, uri: &str) -> bool {
        match method {
            "notifications/tools/list_changed" => self.tools,
            "notifications/prompts/list_changed" => self.prompts,
            "notifications/resources/list_changed" => self.resources,
            "notifications/resources/updated" => self.uris.iter().any(|wanted| is_part_of(wanted, uri)),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_joined_and_met() {
        let one = Filter::read(r#"{"toolsListChanged":true,"resourceSubscriptions":["a","b"]}"#);
        let two = Filter::read(r#"{"promptsListChanged":true,"toolsListChanged":false,"resourceSubscriptions":["b"]}"#);
        let mut both = one.clone();
        both.join(&two);
        assert!(both.covers(&one) && both.covers(&two) && !one.covers(&two));
        assert_eq!(one.meet(&two).to_json(), r#"{"resourceSubscriptions":["b"]}"#);
        assert!(
            one.lets_through("notifications/resources/updated", "a")
                && !one.lets_through("notifications/resources/updated", "c")
        );
        assert!(!one.lets_through("notifications/prompts/list_changed", ""));
    }
}
