//! Made by `mux` from the config, and held by each caller: what callers connect to, with its servers and its rules.

use std::rc::Rc;
use std::time::Duration;

use crate::caller::identity::{self, Identity};
use crate::config::{self, Access};
use crate::key::ServerId;

/// What callers of an endpoint see.
#[derive(Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub name: String,
    /// In the order of the configuration, which settles collisions.
    pub servers: Vec<ServerId>,
    /// The first server that it would show, if all of them are disabled.
    pub disabled: Option<String>,
    /// Whether names are shown as `SERVER__NAME`.
    pub prefix: bool,
    /// What callers may do to whom no rule applies.
    pub access: Rc<Access>,
    /// Rules for some callers, with what they come to.
    pub rules: Vec<(config::Rule, Rc<Access>)>,
    /// How long a cold or broken server may delay a list.
    pub patience: Duration,
}

impl Endpoint {
    /// What a caller may do here, and the place of the rule that says so, if it is one.
    pub fn access_of(&self, identity: &Identity) -> (Rc<Access>, Option<usize>) {
        let rule = self.rules.iter().position(|(rule, _)| identity::fits(&rule.who, identity));
        let of_rule = rule.and_then(|place| self.rules.get(place)).map(|(_, access)| access.clone());
        (of_rule.unwrap_or_else(|| self.access.clone()), rule)
    }

    /// The rule at a place of its rules.
    pub fn rule(&self, place: Option<usize>) -> Option<&config::Rule> {
        self.rules.get(place?).map(|(rule, _)| rule)
    }
}
