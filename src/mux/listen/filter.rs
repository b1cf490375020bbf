//! What is listened to: read from a request, joined over callers, granted by a server.

use std::collections::BTreeSet;

use crate::server::subscriptions::is_part_of;
use crate::wire::message::{elements, member, unquote};

/// What a stream carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub(super) tools: bool,
    pub(super) prompts: bool,
    pub(super) resources: bool,
    pub(super) uris: BTreeSet<String>,
}

impl Filter {
    pub(super) fn read(json: &str) -> Filter {
        let wants = |name| member(json, name) == Some("true");
        let uris = member(json, "resourceSubscriptions").map(elements).unwrap_or_default();
        Filter {
            tools: wants("toolsListChanged"),
            prompts: wants("promptsListChanged"),
            resources: wants("resourcesListChanged"),
            uris: uris.into_iter().filter_map(unquote).map(std::borrow::Cow::into_owned).collect(),
        }
    }

    pub(super) fn to_json(&self) -> String {
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

    pub(super) fn join(&mut self, other: &Filter) {
        self.tools |= other.tools;
        self.prompts |= other.prompts;
        self.resources |= other.resources;
        self.uris.extend(other.uris.iter().cloned());
    }

    pub(super) fn meet(&self, other: &Filter) -> Filter {
        Filter {
            tools: self.tools && other.tools,
            prompts: self.prompts && other.prompts,
            resources: self.resources && other.resources,
            uris: self.uris.intersection(&other.uris).cloned().collect(),
        }
    }

    pub(super) fn covers(&self, other: &Filter) -> bool {
        self.meet(other) == *other
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Filter::default()
    }

    /// Whether a notification is one that was wanted.
    pub(super) fn lets_through(&self, method: &str, uri: &str) -> bool {
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
