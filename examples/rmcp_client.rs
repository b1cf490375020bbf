//! A client on rmcp that goes through a checklist: the tests run it against a server and against mcpool before the same
//! server, and compare what it says.
//!
//! `rmcp_client [--era legacy|modern|auto] [--revision REVISION] (--socket PATH | -- COMMAND [ARG]...)` prints one JSON
//! object: for each check what came of it, `{"error": ...}` where it failed, or `"not offered"` where the server has nothing of the kind.
//! It leaves with 0 either way: what is right is for the reader to say.
//! Tools and prompts are those of the reference server `everything` and of `rmcp_server`.

// What the latest revision deprecates is still to be checked: sampling, roots, logging, subscribe.
#![expect(deprecated)]
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rmcp::model::*;
use rmcp::service::{
    NotificationContext, PeerRequestOptions, RequestContext, RequestHandle, RunningService, ServiceError,
};
use rmcp::transport::{IntoTransport, TokioChildProcess};
use rmcp::{ClientHandler, ClientServiceExt, ErrorData, RoleClient, service::ClientLifecycleMode};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::sync::Notify;

/// No check takes longer: a hanging answer is a finding, not a hanging test.
const PATIENCE: Duration = Duration::from_secs(20);

/// The tool that takes its time, and tells how far it is.
const WORK: &str = "trigger-long-running-operation";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (mut era, mut revision, mut socket) = ("legacy".to_owned(), "2025-11-25".to_owned(), None);
    while let Some(arg) = args.next().filter(|arg| arg != "--") {
        match (arg.as_str(), args.next()) {
            ("--era", Some(value)) => era = value,
            ("--revision", Some(value)) => revision = value,
            ("--socket", Some(value)) => socket = Some(value),
            _ => return Err(format!("{arg}: not an option with a value").into()),
        }
    }
    let revision: ProtocolVersion = serde_json::from_value(json!(revision))?;
    let modern = vec![ProtocolVersion::V_2026_07_28];
    let lifecycle = match era.as_str() {
        "legacy" => ClientLifecycleMode::Initialize,
        "modern" => ClientLifecycleMode::Discover { preferred_versions: modern },
        "auto" => ClientLifecycleMode::Auto { preferred_versions: modern, legacy_version: Some(revision.clone()) },
        _ => return Err(format!("{era}: not an era").into()),
    };
    let client = Client { revision, seen: Arc::default(), changed: Arc::default() };
    let outcomes = if let Some(path) = socket {
        check(client, UnixStream::connect(path).await?, lifecycle).await
    } else {
        let mut command = Command::new(args.next().ok_or("neither a socket nor a command after --")?);
        command.args(args);
        check(client, TokioChildProcess::new(command)?, lifecycle).await
    };
    println!("{}", Value::Object(outcomes));
    Ok(())
}

/// Opens the connection as the era does, and goes through the list.
async fn check<E: Error + Send + Sync + 'static, A>(
    client: Client,
    over: impl IntoTransport<RoleClient, E, A>,
    lifecycle: ClientLifecycleMode,
) -> Map<String, Value> {
    match tokio::time::timeout(PATIENCE, client.serve_with_lifecycle(over, lifecycle)).await {
        Ok(Ok(client)) => Checklist::new(client).run().await,
        Ok(Err(error)) => failed("initialize", error.to_string()),
        Err(_) => failed("initialize", format!("no answer within {PATIENCE:?}")),
    }
}

fn failed(check: &str, error: String) -> Map<String, Value> {
    [(check.to_owned(), json!({ "error": error }))].into_iter().collect()
}

/// What the server says and asks on its own, and what it is answered.
#[derive(Clone)]
struct Client {
    revision: ProtocolVersion,
    seen: Arc<Mutex<Vec<Seen>>>,
    changed: Arc<Notify>,
}

#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Progress(ProgressToken, f64),
    Updated(String),
}

impl Client {
    fn saw(&self, seen: Seen) {
        self.lock().push(seen);
        self.changed.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that fits, once at least one does.
    async fn wait_for<T>(&self, fits: impl Fn(&Seen) -> Option<T>) -> Vec<T> {
        loop {
            let found: Vec<T> = self.lock().iter().filter_map(&fits).collect();
            if !found.is_empty() {
                return found;
            }
            self.changed.notified().await;
        }
    }
}

impl ClientHandler for Client {
    fn get_info(&self) -> ClientConfig {
        let capabilities = ClientCapabilities::builder().enable_sampling().enable_elicitation().enable_roots().build();
        ClientConfig::new(capabilities, Implementation::new("rmcp-checklist", "1.0.0"))
            .with_protocol_version(self.revision.clone())
    }

    async fn create_message(
        &self,
        request: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        let text = format!("an answer to {} messages", request.messages.len());
        Ok(CreateMessageResult::new(SamplingMessage::assistant_text(text), "a-model".to_owned()))
    }

    async fn create_elicitation(
        &self,
        _: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(json!({ "name": "Ada" })))
    }

    async fn list_roots(&self, _: RequestContext<RoleClient>) -> Result<ListRootsResult, ErrorData> {
        Ok(roots())
    }

    async fn on_progress(&self, progress: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.saw(Seen::Progress(progress.progress_token, progress.progress));
    }

    async fn on_resource_updated(&self, updated: ResourceUpdatedNotificationParam, _: NotificationContext<RoleClient>) {
        self.saw(Seen::Updated(updated.uri));
    }
}

fn roots() -> ListRootsResult {
    ListRootsResult::new(vec![Root::new("file:///srv/docs").with_name("docs")])
}

struct Checklist {
    client: RunningService<RoleClient, Client>,
    /// Negotiated, which `--era auto` leaves open.
    modern: bool,
    tools: Vec<String>,
    outcomes: Map<String, Value>,
}

/// A check's end: what came of it, or why not.
type Outcome = Result<Value, ServiceError>;

impl Checklist {
    fn new(client: RunningService<RoleClient, Client>) -> Self {
        let modern = client.peer_info().is_some_and(|info| !info.protocol_version.has_initialize());
        Checklist { client, modern, tools: Vec::new(), outcomes: Map::new() }
    }

    async fn run(mut self) -> Map<String, Value> {
        let info = self.client.peer_info();
        self.note("initialize", Ok(json!(info.as_deref())));
        self.lists().await;
        self.calls().await;
        self.reads().await;
        self.asks().await;
        self.notifications().await;
        self.errors().await;
        let _ = self.client.cancel().await;
        self.outcomes
    }

    async fn lists(&mut self) {
        if let Ok(Ok(tools)) = tokio::time::timeout(PATIENCE, self.client.list_all_tools()).await {
            self.tools = tools.into_iter().map(|tool| tool.name.into_owned()).collect();
        }
        let tools = timely(self.client.list_all_tools()).await;
        self.note("tools", tools);
        let prompts = timely(self.client.list_all_prompts()).await;
        self.note("prompts", prompts);
        let resources = timely(self.client.list_all_resources()).await;
        self.note("resources", resources);
        let templates = timely(self.client.list_all_resource_templates()).await;
        self.note("templates", templates);
    }

    async fn calls(&mut self) {
        self.call("echo", "echo", json!({ "message": "hello \"world\" \u{1F30D}" })).await;
        self.call("sum", "get-sum", json!({ "a": 2, "b": 40 })).await;
        self.call("structured", "get-structured-content", json!({ "location": "Chicago" })).await;
        self.call("image", "get-tiny-image", json!({})).await;
        if self.tools.iter().any(|tool| tool == WORK) {
            let progress = timely(self.progress()).await;
            self.note("progress", progress);
            let cancel = timely(self.cancel()).await;
            self.note("cancel", cancel);
        }
    }

    async fn reads(&mut self) {
        let uri = timely(self.client.list_all_resources()).await.ok();
        if let Some(uri) = uri.as_ref().and_then(|all| all.get(0)?.get("uri")?.as_str()) {
            let read = timely(self.client.read_resource(ReadResourceRequestParams::new(uri))).await;
            self.note("read", read);
        }
        let simple = GetPromptRequestParams::new("simple-prompt");
        let prompt = timely(self.client.get_prompt(simple)).await;
        self.note("prompt", prompt);
        let city = object(json!({ "city": "Paris" }));
        let with_city = GetPromptRequestParams::new("args-prompt").with_arguments(city);
        let prompt = timely(self.client.get_prompt(with_city)).await;
        self.note("prompt with arguments", prompt);
        let (prompt, argument) = match self.tools.iter().any(|tool| tool == "touch") {
            true => ("args-prompt", ArgumentInfo::new("city", "Ber")),
            false => ("completable-prompt", ArgumentInfo::new("department", "E")),
        };
        let request = CompleteRequestParams::new(Reference::for_prompt(prompt), argument);
        let completion = timely(self.client.complete(request)).await;
        self.note("completion", completion);
    }

    async fn asks(&mut self) {
        self.call("elicitation", "trigger-elicitation-request", json!({})).await;
        self.call("sampling", "trigger-sampling-request", json!({ "prompt": "hello", "maxTokens": 100 })).await;
        self.call("roots", "get-roots-list", json!({})).await;
    }

    async fn notifications(&mut self) {
        let subscribe = timely(self.subscribe()).await;
        self.note("subscribe", subscribe);
        if !self.modern {
            let logging = timely(self.client.set_level(SetLevelRequestParams::new(LoggingLevel::Debug))).await;
            self.note("logging", logging);
            let ping = timely(self.client.send_request(ClientRequest::PingRequest(PingRequest::default()))).await;
            self.note("ping", ping.map(|_| json!({})));
        }
    }

    async fn errors(&mut self) {
        let tool = timely(self.client.call_tool(CallToolRequestParams::new("no-such-tool"))).await;
        self.note("unknown tool", tool);
        let arguments = object(json!({ "a": "two" }));
        let tool = timely(self.client.call_tool(CallToolRequestParams::new("get-sum").with_arguments(arguments))).await;
        self.note("wrong arguments", tool);
        let prompt = timely(self.client.get_prompt(GetPromptRequestParams::new("no-such-prompt"))).await;
        self.note("unknown prompt", prompt);
        let resource = ReadResourceRequestParams::new("nowhere://nothing");
        let resource = timely(self.client.read_resource(resource)).await;
        self.note("unknown resource", resource);
        let custom = ClientRequest::CustomRequest(CustomRequest::new("no/such/method", None));
        let custom = timely(self.client.send_request(custom)).await;
        self.note("unknown method", custom);
    }

    async fn call(&mut self, check: &str, tool: &'static str, arguments: Value) {
        let outcome = if self.tools.iter().any(|name| name == tool) {
            timely(self.client.call_tool(CallToolRequestParams::new(tool).with_arguments(object(arguments)))).await
        } else {
            Ok(json!("not offered"))
        };
        self.note(check, outcome);
    }

    /// A long call's progress, which is to come before its answer. It may come under two tokens: a modern call that the
    /// server asks something is answered and sent again, by the SDK.
    async fn progress(&self) -> Outcome {
        self.client.service().lock().clear();
        let call = CallToolRequestParams::new(WORK).with_arguments(object(json!({ "duration": 1, "steps": 4 })));
        let answer = self.client.call_tool(call).await?;
        let seen = self.client.service().lock().clone();
        let steps = seen.into_iter().filter_map(|seen| match seen {
            Seen::Progress(_, step) => Some(step),
            _ => None,
        });
        Ok(json!({ "steps": steps.collect::<Vec<_>>(), "answer": answer }))
    }

    /// A call that is called off in its midst, after which the connection still serves.
    async fn cancel(&self) -> Outcome {
        let handle = self.start_work().await?;
        handle.cancel(Some("enough".to_owned())).await?;
        let echo = CallToolRequestParams::new("echo").with_arguments(object(json!({ "message": "still here" })));
        Ok(json!(self.client.call_tool(echo).await?))
    }

    /// A long call, once its first progress has come. A modern caller may be asked for its roots before that: the SDK
    /// answers by itself only in calls that it waits for itself.
    async fn start_work(&self) -> Result<RequestHandle<RoleClient>, ServiceError> {
        let arguments = object(json!({ "duration": 60, "steps": 600 }));
        let mut call = CallToolRequestParams::new(WORK).with_arguments(arguments);
        loop {
            let request = ClientRequest::CallToolRequest(CallToolRequest::new(call.clone()));
            let options = PeerRequestOptions::no_options();
            let mut handle = self.client.send_cancellable_request(request, options).await?;
            let token = handle.progress_token.clone();
            let own = |seen: &Seen| matches!(seen, Seen::Progress(of, _) if *of == token).then_some(());
            let answer = tokio::select! {
                _ = self.client.service().wait_for(own) => return Ok(handle),
                answer = &mut handle.rx => answer.map_err(|_| ServiceError::TransportClosed)??,
            };
            let ServerResult::InputRequiredResult(asked) = answer else { return Err(ServiceError::UnexpectedResponse) };
            let answers = asked.input_requests.into_iter().flatten().map(|(key, _)| (key, json!(roots())));
            call = call.with_input_responses(answers.collect());
            call.request_state = asked.request_state;
        }
    }

    /// Subscribes to the first resource, has it changed, and waits to hear of it.
    async fn subscribe(&self) -> Outcome {
        let resources = self.client.list_all_resources().await?;
        let Some(uri) = resources.first().map(|resource| resource.uri.clone()) else {
            return Ok(json!("not offered"));
        };
        let changes = ["touch", "toggle-subscriber-updates"];
        let (tool, arguments) = match changes.into_iter().find(|name| self.tools.iter().any(|tool| tool == name)) {
            Some("touch") => ("touch", json!({ "uri": uri })),
            Some(toggle) => (toggle, json!({})),
            None => return Ok(json!("not offered")),
        };
        let change = CallToolRequestParams::new(tool).with_arguments(object(arguments));
        if self.modern {
            let filter = SubscriptionFilter::builder().resource_subscription(&uri).build();
            let mut subscription = self.client.listen(filter).await?;
            self.client.call_tool(change).await?;
            let heard = subscription.next().await?;
            subscription.cancel().await?;
            return Ok(json!(heard));
        }
        self.client.subscribe(SubscribeRequestParams::new(&uri)).await?;
        self.client.call_tool(change.clone()).await?;
        let updated = |seen: &Seen| matches!(seen, Seen::Updated(of) if *of == uri).then(|| uri.clone());
        let heard = self.client.service().wait_for(updated).await;
        self.client.unsubscribe(UnsubscribeRequestParams::new(&uri)).await?;
        if tool == "toggle-subscriber-updates" {
            self.client.call_tool(change).await?;
        }
        Ok(json!(heard.first()))
    }

    fn note(&mut self, check: &str, outcome: Outcome) {
        let outcome = match outcome {
            Ok(value) => value,
            Err(ServiceError::McpError(error)) => json!({ "error": error }),
            Err(error) => json!({ "error": error.to_string() }),
        };
        self.outcomes.insert(check.to_owned(), outcome);
    }
}

async fn timely<T: Serialize>(work: impl Future<Output = Result<T, ServiceError>>) -> Outcome {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => Ok(json!(done?)),
        Err(_) => Err(ServiceError::Timeout { timeout: PATIENCE }),
    }
}
