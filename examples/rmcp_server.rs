//! A server on rmcp, of both eras, on stdio: the peer in the tests that neither the TypeScript nor the Python SDK wrote.
//! Its tools are named like those of the reference server `everything`, so that one checklist serves both.
//!
//! `rmcp_server [--legacy | --modern]`: with `--legacy` it has no modern revision, and says so to a `server/discover`; with
//! `--modern` it has no other, and says so to an `initialize`: with -32022 and the revisions that it has.

// What the latest revision deprecates is what this server is here to do: sampling, roots, logging, subscribe.
#![expect(deprecated)]
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rmcp::handler::server::tool::{InputResponses as Answers, ToolRouter};
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::*;
use rmcp::schemars::{self, JsonSchema};
use rmcp::service::{RequestContext, SubscriptionContext};
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt, tool, tool_handler, tool_router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast;

const NOTE: &str = "note://greeting";

#[derive(Clone)]
struct Demo {
    tool_router: ToolRouter<Self>,
    /// The revisions that it speaks.
    revisions: &'static [ProtocolVersion],
    /// Resources that have changed, for those who listen as the modern era does.
    touched: broadcast::Sender<String>,
    /// Ears opened for subscriptions that are about to be acknowledged: what changes right after that is heard.
    ears: Arc<Mutex<Vec<broadcast::Receiver<String>>>>,
    /// Resources that the legacy client has subscribed to.
    subscribed: Arc<Mutex<HashSet<String>>>,
}

#[derive(Deserialize, JsonSchema)]
struct Message {
    message: String,
}

#[derive(Deserialize, JsonSchema)]
struct Terms {
    a: f64,
    b: f64,
}

#[derive(Deserialize, JsonSchema)]
struct Place {
    location: String,
}

#[derive(Deserialize, JsonSchema)]
struct Work {
    /// Seconds.
    duration: f64,
    steps: u32,
}

#[derive(Deserialize, JsonSchema)]
struct Wanted {
    prompt: String,
}

#[derive(Deserialize, JsonSchema)]
struct Uri {
    uri: String,
}

#[tool_router]
impl Demo {
    #[tool(description = "Gives the message back", annotations(read_only_hint = true))]
    fn echo(&self, Parameters(Message { message }): Parameters<Message>) -> String {
        format!("Echo: {message}")
    }

    #[tool(name = "get-sum", description = "Adds two numbers", annotations(read_only_hint = true))]
    fn sum(&self, Parameters(Terms { a, b }): Parameters<Terms>) -> String {
        format!("The sum of {a} and {b} is {}.", a + b)
    }

    #[tool(name = "get-structured-content", description = "The weather, structured")]
    fn structured(&self, Parameters(Place { location }): Parameters<Place>) -> CallToolResult {
        CallToolResult::structured(json!({ "location": location, "temperature": 22.5, "conditions": "cloudy" }))
    }

    #[tool(name = "get-tiny-image", description = "One white pixel")]
    fn image(&self) -> CallToolResult {
        const PIXEL: &str =
            "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsYxaYQAAAABJRU5ErkJggg==";
        CallToolResult::success(vec![ContentBlock::image(PIXEL, "image/png")])
    }

    #[tool(name = "trigger-long-running-operation", description = "Works in steps and tells after each")]
    async fn work(
        &self,
        Parameters(Work { duration, steps }): Parameters<Work>,
        context: RequestContext<RoleServer>,
    ) -> Result<String, ErrorData> {
        let step = Duration::try_from_secs_f64(duration / f64::from(steps.max(1)))
            .map_err(|error| ErrorData::invalid_params(error.to_string(), None))?;
        for done in 1..=steps {
            tokio::select! {
                () = tokio::time::sleep(step) => {}
                () = context.ct.cancelled() => return Err(ErrorData::internal_error("cancelled", None)),
            }
            if let Some(token) = context.meta.get_progress_token() {
                let progress = ProgressNotificationParam::new(token, f64::from(done)).with_total(f64::from(steps));
                context.peer.notify_progress(progress).await.map_err(internal)?;
            }
        }
        Ok(format!("Done: {duration} seconds, {steps} steps."))
    }

    #[tool(name = "trigger-elicitation-request", description = "Asks the user for a name")]
    async fn elicit(
        &self,
        Answers(answers): Answers,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let request = json!({ "method": "elicitation/create", "params": {
            "mode": "form",
            "message": "What is your name?",
            "requestedSchema": { "type": "object", "properties": { "name": { "type": "string" } }, "required": ["name"] }
        } });
        ask(request, answers, &context).await
    }

    #[tool(name = "trigger-sampling-request", description = "Asks the client's model")]
    async fn sample(
        &self,
        Parameters(Wanted { prompt }): Parameters<Wanted>,
        Answers(answers): Answers,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let message = json!({ "role": "user", "content": { "type": "text", "text": prompt } });
        let request =
            json!({ "method": "sampling/createMessage", "params": { "messages": [message], "maxTokens": 100 } });
        ask(request, answers, &context).await
    }

    #[tool(name = "get-roots-list", description = "Asks for the client's roots")]
    async fn roots(
        &self,
        Answers(answers): Answers,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        ask(json!({ "method": "roots/list" }), answers, &context).await
    }

    #[tool(name = "touch", description = "Says of a resource that it has changed, to those who want to know")]
    async fn touch(
        &self,
        Parameters(Uri { uri }): Parameters<Uri>,
        context: RequestContext<RoleServer>,
    ) -> Result<String, ErrorData> {
        // Nobody may be listening, which is no error.
        let _ = self.touched.send(uri.clone());
        if self.subscribed().contains(&uri) {
            let updated = ResourceUpdatedNotificationParam::new(uri.clone());
            context.peer.notify_resource_updated(updated).await.map_err(internal)?;
        }
        Ok(format!("{uri} has changed."))
    }
}

impl Demo {
    fn new(revisions: &'static [ProtocolVersion]) -> Self {
        let tool_router = Self::tool_router();
        Demo {
            tool_router,
            revisions,
            touched: broadcast::channel(16).0,
            ears: Arc::default(),
            subscribed: Arc::default(),
        }
    }

    fn subscribed(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.subscribed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ears(&self) -> std::sync::MutexGuard<'_, Vec<broadcast::Receiver<String>>> {
        self.ears.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the client in the way of its era: in the middle of the call, or as the result that a retry answers.
/// The tool's result is the answer as it came.
async fn ask(
    request: Value,
    answers: Option<InputResponses>,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    let request: InputRequest = serde_json::from_value(request).map_err(internal)?;
    let modern = context.protocol_version().is_some_and(|version| !version.has_initialize());
    let answer = if !modern {
        match request {
            InputRequest::Elicitation(ask) => {
                json!(context.peer.create_elicitation(ask.params).await.map_err(internal)?)
            }
            InputRequest::CreateMessage(ask) => json!(context.peer.create_message(ask.params).await.map_err(internal)?),
            InputRequest::ListRoots(_) => json!(context.peer.list_roots().await.map_err(internal)?),
            _ => return Err(ErrorData::internal_error("no such request", None)),
        }
    } else if let Some(answer) = answers.and_then(|mut answers| answers.remove("answer")) {
        answer
    } else {
        let requests = [("answer".to_owned(), request)].into();
        return Ok(InputRequiredResult::new(Some(requests), Some("asked".to_owned())).into());
    };
    Ok(CallToolResult::success(vec![ContentBlock::text(answer.to_string())]).into())
}

fn internal(error: impl std::fmt::Display) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}

#[tool_handler(router = self.tool_router)]
impl ServerHandler for Demo {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_prompts()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_completions()
            .enable_logging()
            .build();
        // `initialize` falls back to this one, unless it is modern; a modern-only server then has none to fall back to.
        let newest = self.revisions.last().cloned().unwrap_or_default();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("rmcp-demo", "1.0.0"))
            .with_protocol_version(newest)
            .with_instructions("A server for tests.")
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(self.revisions)
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let city = PromptArgument::new("city").with_required(true);
        let prompts = vec![
            Prompt::new("simple-prompt", Some("Without arguments"), None),
            Prompt::new("args-prompt", Some("With an argument"), Some(vec![city])),
        ];
        Ok(ListPromptsResult::with_all_items(prompts))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let city = request.arguments.as_ref().and_then(|arguments| arguments.get("city")?.as_str());
        let text = match (request.name.as_str(), city) {
            ("simple-prompt", _) => "This is a simple prompt.".to_owned(),
            ("args-prompt", Some(city)) => format!("What is the weather in {city}?"),
            (name, _) => return Err(ErrorData::invalid_params(format!("no prompt {name} with these arguments"), None)),
        };
        Ok(GetPromptResult::new(vec![PromptMessage::new_text(Role::User, text)]).into())
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(vec![Resource::new(NOTE, "greeting").with_mime_type("text/plain")]))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(ListResourceTemplatesResult::with_all_items(vec![ResourceTemplate::new("number://{number}", "number")]))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let text = match (request.uri.as_str(), request.uri.strip_prefix("number://")) {
            (NOTE, _) => "Hello.".to_owned(),
            (_, Some(number)) => format!("This is number {number}."),
            (uri, None) => return Err(ErrorData::resource_not_found(format!("no resource {uri}"), None)),
        };
        Ok(ReadResourceResult::new(vec![ResourceContents::text(text, request.uri)]).into())
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let cities = ["Berlin", "Bern", "Paris"].into_iter().filter(|city| city.starts_with(&request.argument.value));
        let cities = CompletionInfo::with_all_values(cities.map(str::to_owned).collect()).map_err(internal)?;
        Ok(CompleteResult::new(cities))
    }

    async fn set_level(
        &self,
        request: SetLevelRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let told = LoggingMessageNotificationParam::new(request.level, json!("this is the level now"));
        context.peer.notify_logging_message(told).await.map_err(internal)
    }

    async fn subscribe(&self, request: SubscribeRequestParams, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        self.subscribed().insert(request.uri);
        Ok(())
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.subscribed().remove(&request.uri);
        Ok(())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        self.ears().push(self.touched.subscribe());
        Some(requested.supported_by(&self.get_info().capabilities))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let ear = self.ears().pop();
        let mut touched = ear.unwrap_or_else(|| self.touched.subscribe());
        loop {
            tokio::select! {
                () = context.cancelled() => return Ok(()),
                Ok(uri) = touched.recv() => {
                    // Refused for what this subscription hasn't asked for, as it should be.
                    let _ = context.sink().notify_resource_updated(uri).await;
                }
            }
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    const MODERN: &[ProtocolVersion] = &[ProtocolVersion::V_2026_07_28];
    let revisions = match std::env::args().nth(1).as_deref() {
        Some("--legacy") => ProtocolVersion::known_up_to(&ProtocolVersion::V_2025_11_25),
        Some("--modern") => MODERN,
        _ => ProtocolVersion::KNOWN_VERSIONS,
    };
    Demo::new(revisions).serve(rmcp::transport::stdio()).await?.waiting().await?;
    Ok(())
}
