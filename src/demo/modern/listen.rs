//! The open `subscriptions/listen` streams of the modern server (basic/patterns/subscriptions).

use std::cell::RefCell;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::line::{Fault, Out, Raw, parse};
use super::super::tasks::Task;
use super::{Meta, TASKS, missing};

/// In the order in which they were opened.
#[derive(Default)]
pub struct Listeners(RefCell<Vec<Rc<Listener>>>);

struct Listener {
    id: Raw,
    filter: Filter,
}

/// What a stream wants to hear; as acknowledged, without what was not asked for.
#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Filter {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    tools_list_changed: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    prompts_list_changed: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    resources_list_changed: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resource_subscriptions: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    task_ids: Vec<String>,
}

/// The params of what is said on a stream.
#[derive(Serialize)]
struct Said<'a, T> {
    #[serde(rename = "_meta")]
    meta: Stamp<'a>,
    #[serde(flatten)]
    rest: T,
}

#[derive(Serialize)]
struct Stamp<'a> {
    #[serde(rename = "io.modelcontextprotocol/subscriptionId")]
    id: &'a RawValue,
}

impl Listener {
    async fn say(&self, out: &Out, method: &str, rest: impl Serialize) {
        out.notify(method, Some(Said { meta: Stamp { id: &self.id }, rest })).await;
    }
}

impl Listeners {
    /// Opens a stream and acknowledges it.
    pub async fn open(&self, out: &Out, id: &Raw, meta: &Meta, params: &Option<Raw>) -> Result<(), Fault> {
        #[derive(Deserialize)]
        struct Listen {
            notifications: Filter,
        }
        let Listen { notifications: filter } = parse(params)?;
        if !filter.task_ids.is_empty() && !meta.takes_tasks() {
            return Err(missing(&json!({ "extensions": { TASKS: {} } })));
        }
        if self.0.borrow().iter().any(|open| open.id.get() == id.get()) {
            return Err(Fault::new(-32600, "A stream of that id is open"));
        }
        let listener = Rc::new(Listener { id: id.clone(), filter });
        self.0.borrow_mut().push(Rc::clone(&listener));
        let agreed = Agreed { notifications: &listener.filter };
        listener.say(out, "notifications/subscriptions/acknowledged", agreed).await;
        Ok(())
    }

    pub fn close(&self, id: &RawValue) {
        self.0.borrow_mut().retain(|open| open.id.get() != id.get());
    }

    pub async fn lists_changed(&self, out: &Out) {
        let empty = || json!({});
        self.tell(out, "notifications/tools/list_changed", empty(), |filter| filter.tools_list_changed).await;
        self.tell(out, "notifications/prompts/list_changed", empty(), |filter| filter.prompts_list_changed).await;
        self.tell(out, "notifications/resources/list_changed", empty(), |filter| filter.resources_list_changed).await;
    }

    pub async fn updated(&self, out: &Out, uri: &str) {
        let wanted = |filter: &Filter| filter.resource_subscriptions.iter().any(|wanted| wanted == uri);
        self.tell(out, "notifications/resources/updated", json!({ "uri": uri }), wanted).await;
    }

    pub async fn task_changed(&self, out: &Out, task: &Task) {
        let wanted = |filter: &Filter| filter.task_ids.contains(&task.id);
        self.tell(out, "notifications/tasks", task.modern(), wanted).await;
    }

    async fn tell(&self, out: &Out, method: &str, params: Value, wanted: impl Fn(&Filter) -> bool) {
        let open = self.0.borrow().clone();
        for listener in open.iter().filter(|listener| wanted(&listener.filter)) {
            listener.say(out, method, &params).await;
        }
    }
}

#[derive(Serialize)]
struct Agreed<'a> {
    notifications: &'a Filter,
}
