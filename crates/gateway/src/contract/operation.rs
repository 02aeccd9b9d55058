//! What the gateway says of one operation, in the words of OpenAPI. All of it is valid in 3.0 and in 3.1.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use http::Method;
use serde_json::{Map, Value, json};
use steadfast_core::{Brownout, Code, Resend};
use steadfast_layers::{IdempotencyPolicy, InProgress, KeySource, LifecyclePolicy};

use super::{RouteContract, background, callers, problems::problems, words};
use crate::config::{HeaderSays, write_instant};

/// Where the schema of refusals is, among a document's components.
const PROBLEM_SCHEMA: &str = "SteadfastProblem";

/// Headers of refusals, and where each is among the components.
const RETRY_AFTER: (&str, &str) = ("Retry-After", "SteadfastRetryAfter");
const SHOULD_RETRY: (&str, &str) = ("X-Should-Retry", "SteadfastShouldRetry");

/// The extension that holds what is for programs.
pub(super) const EXTENSION: &str = "x-steadfast";

/// What the gateway says of one operation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parts {
    /// Headers that callers may or must send.
    pub(super) parameters: Vec<Value>,
    /// Its refusals, by status.
    pub(super) responses: Map<String, Value>,
    pub(super) is_deprecated: bool,
    pub(super) description: String,
    pub(super) extension: Value,
    /// Which credentials are taken, and what each of them is.
    pub(super) security: Option<(Value, Vec<(String, Value)>)>,
}

impl Parts {
    pub(super) fn of(contract: &RouteContract<'_>, method: &Method) -> Self {
        Self {
            parameters: parameters(contract, method),
            responses: responses(contract, method),
            is_deprecated: contract.is_deprecated(),
            description: words::paragraphs(contract, method).join("\n\n"),
            extension: extension(contract, method),
            security: callers::security(contract),
        }
    }
}

fn parameters(contract: &RouteContract<'_>, method: &Method) -> Vec<Value> {
    let header = |name: &str, required: bool, description: &str, schema: Value| json!({ "name": name, "in": "header", "required": required, "description": description, "schema": schema });
    let mut parameters = Vec::new();
    for condition in &contract.route.headers {
        // Its value may be a secret, or one of many.
        let description = match condition.says {
            HeaderSays::Anything => "It has to be there.",
            HeaderSays::This(_) => "It has to be there, with a value that this operation is for.",
        };
        parameters.push(header(condition.name.as_str(), true, description, json!({ "type": "string" })));
    }
    if let Some(policy) = contract.keyed(method)
        && !matches!(policy.key, KeySource::Fields(_))
    {
        let schema = json!({ "type": "string", "minLength": 1, "maxLength": 255 });
        let required = policy.required && matches!(policy.key, KeySource::Header);
        let description = "A new random value for every new request, and the same with every retry of it.";
        parameters.push(header("Idempotency-Key", required, description, schema));
    }
    if let Some(policy) = contract.background(method) {
        let said = background::parameters(policy);
        parameters.extend(said.into_iter().map(|(name, said, schema)| header(name, false, said, schema)));
    }
    if contract.requires_precondition(method) {
        let text = || json!({ "type": "string" });
        let description = "The ETag of what the change is based on. Required, unless If-None-Match says that nothing is there.";
        parameters.push(header("If-Match", false, description, text()));
        let description = "`*`, to create what must not be there yet.";
        parameters.push(header("If-None-Match", false, description, text()));
    }
    parameters
}

fn responses(contract: &RouteContract<'_>, method: &Method) -> Map<String, Value> {
    let mut responses = Map::new();
    let content = match &contract.route.refusal {
        None => json!({
            "application/problem+json": { "schema": { "$ref": format!("#/components/schemas/{PROBLEM_SCHEMA}") } },
        }),
        // In the API's own words, whose form is not known here.
        Some(template) => json!({ template.content_type().to_str().unwrap_or("*/*"): {} }),
    };
    for (status, codes) in problems(contract, method) {
        let said =
            codes.iter().map(|code| format!("- `{}`: {}. {}", code.as_str(), code.title(), code.next_step()));
        let description: Vec<String> = said.collect();
        let mut response = json!({
            "description": format!("{}\n\n{}", words::status(status), description.join("\n")),
            "content": content,
            "x-steadfast-problems": codes.iter().map(|code| code.as_str()).collect::<Vec<_>>(),
        });
        let headers = headers(&codes);
        if !headers.is_empty() {
            response["headers"] = headers.into();
        }
        responses.insert(status.to_string(), response);
    }
    let runs = contract.keyed(method).map(|policy| policy.in_progress);
    if let Some(policy) = contract.background(method) {
        responses.insert("202".to_owned(), background::response(policy));
    } else if runs == Some(InProgress::Accepted) {
        let location = json!({ "description": "The operation.", "schema": { "type": "string" } });
        let response =
            json!({ "description": "The first request still runs.", "headers": { "Location": location } });
        responses.insert("202".to_owned(), response);
    }
    responses
}

/// What helps a caller to retry; said among a document's components.
fn headers(codes: &[Code]) -> Map<String, Value> {
    let helps = codes.iter().any(|code| code.resend() == Resend::Yes);
    let said = [(helps, RETRY_AFTER), (true, SHOULD_RETRY)].into_iter().filter(|(is_said, _)| *is_said);
    said.map(|(_, (name, component))| {
        (name.to_owned(), json!({ "$ref": format!("#/components/headers/{component}") }))
    })
    .collect()
}

/// What operations refer to, so that it is said once in a document.
#[derive(Debug, Default)]
pub(super) struct Components {
    /// Responses by name, in the order in which they were first referred to.
    responses: Vec<(String, Value)>,
    /// Names that mean something else already.
    taken: BTreeSet<String>,
    /// What credentials are, by the name of who takes them.
    schemes: BTreeMap<String, Value>,
    /// Those of the document itself.
    own_schemes: BTreeSet<String>,
}

impl Components {
    /// Those that are put beside what `document` has.
    pub(super) fn beside(document: &Value) -> Self {
        let names = |kind: &str| {
            let own = document.pointer(kind).and_then(Value::as_object);
            own.into_iter().flat_map(|own| own.keys().cloned()).collect()
        };
        let (taken, own_schemes) = (names("/components/responses"), names("/components/securitySchemes"));
        Self { taken, own_schemes, ..Self::default() }
    }

    /// Says what credentials are; whether it could, since a name of the document's own means something else.
    pub(super) fn schemes(&mut self, schemes: Vec<(String, Value)>) -> bool {
        if schemes.iter().any(|(name, _)| self.own_schemes.contains(name)) {
            return false;
        }
        self.schemes.extend(schemes);
        true
    }

    /// A reference to `response`, which comes with `status`.
    pub(super) fn response(&mut self, status: &str, response: Value) -> Value {
        let name = match self.responses.iter().find(|(_, known)| *known == response) {
            Some((name, _)) => name.clone(),
            None => {
                let name = self.free_name(status);
                self.responses.push((name.clone(), response));
                name
            }
        };
        json!({ "$ref": format!("#/components/responses/{name}") })
    }

    /// A name for a response with `status`: `Steadfast409`, `Steadfast409_2`, and so on.
    fn free_name(&mut self, status: &str) -> String {
        let first = format!("Steadfast{status}");
        let mut name = first.clone();
        let mut number = 2;
        while !self.taken.insert(name.clone()) {
            name = format!("{first}_{number}");
            number += 1;
        }
        name
    }

    /// All of it, by kind, each with its name.
    pub(super) fn all(self) -> [(&'static str, Vec<(String, Value)>); 4] {
        let after = json!({
            "description": "The seconds after which the same request will help, where that is known.",
            "schema": { "type": "integer", "minimum": 1 },
        });
        let should = json!({
            "description": "Whether the same request with the same key will later succeed by itself.",
            "schema": { "type": "string", "enum": ["true", "false"] },
        });
        [
            ("headers", vec![(RETRY_AFTER.1.to_owned(), after), (SHOULD_RETRY.1.to_owned(), should)]),
            ("responses", self.responses),
            ("schemas", vec![(PROBLEM_SCHEMA.to_owned(), problem_schema())]),
            ("securitySchemes", self.schemes.into_iter().collect()),
        ]
    }
}

/// The schema of every refusal (RFC 9457).
fn problem_schema() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    json!({
        "type": "object",
        "description": "A refusal of the gateway (RFC 9457).",
        "required": ["type", "title", "status", "code", "next_step"],
        "properties": {
            "type": text("What kind of problem it is, as a URI: the page that explains the code, or a registered type."),
            "title": text("What it means, in a few words."),
            "status": { "type": "integer", "description": "The status of the answer." },
            "code": text("What kind of refusal it is, for programs."),
            "detail": text("What happened in this case."),
            "instance": text("The id of the request."),
            "operation": text("Where the operation can be looked at, where there is one."),
            "retry_after": { "type": "integer", "description": "The seconds of Retry-After." },
            "next_step": text("What to do next, in a sentence."),
        },
    })
}

/// What is for programs.
fn extension(contract: &RouteContract<'_>, method: &Method) -> Value {
    let route = contract.route;
    let mut said = Map::new();
    let mut put = |name: &str, value: Value| said.insert(name.to_owned(), value);
    if !route.hosts.is_empty() {
        put("hosts", route.hosts.iter().map(ToString::to_string).collect());
    }
    if let Some(deadline) = route.deadline {
        put("deadline_seconds", seconds(deadline));
    }
    if let Some(max) = body_bytes_max(contract, method) {
        put("body_bytes_max", max.into());
    }
    if let Some(policy) = contract.keyed(method) {
        put("idempotency", idempotency(policy));
    }
    if let Some(policy) = contract.background(method) {
        put("background", background::extension(policy));
    }
    if contract.requires_precondition(method) {
        put("precondition_required", true.into());
    }
    if let Some(policy) = &route.lifecycle {
        put("lifecycle", lifecycle(policy));
    }
    callers::extend(contract, &mut said);
    let mut put = |name: &str, value: Value| said.insert(name.to_owned(), value);
    let is_repeatable = method.is_safe() || contract.keyed(method).is_some();
    put(
        "retry",
        json!({
            "safe": is_repeatable,
            "with_key": contract.keyed(method).is_some_and(|policy| !matches!(policy.key, KeySource::Fields(_))),
            "obey": ["Retry-After", "X-Should-Retry"],
        }),
    );
    said.into()
}

/// The smaller of what any body and a keyed one may have.
fn body_bytes_max(contract: &RouteContract<'_>, method: &Method) -> Option<u64> {
    let keyed = contract.keyed(method).map(|policy| policy.request_bytes_max as u64);
    keyed.into_iter().chain(contract.edge.body_bytes_max).min()
}

fn idempotency(policy: &IdempotencyPolicy) -> Value {
    let (source, kept) = match &policy.key {
        KeySource::Header => (json!("header"), policy.retention.keep),
        KeySource::HeaderOrField(field) => (json!({ "field": field }), policy.retention.keep),
        KeySource::Fields(fields) => (json!({ "fields": fields }), policy.retention.keep),
        KeySource::Window(window) => (json!({ "window_seconds": seconds(*window) }), *window),
    };
    let (in_progress, wait) = match policy.in_progress {
        InProgress::Wait(wait) => ("wait", Some(wait)),
        InProgress::Conflict => ("409", None),
        InProgress::TooManyRequests => ("429", None),
        InProgress::Accepted => ("202", None),
    };
    let mut said = json!({
        "key": source,
        "required": policy.required,
        "kept_seconds": seconds(kept),
        "in_progress": in_progress,
    });
    if let Some(wait) = wait {
        said["in_progress_wait_seconds"] = seconds(wait);
    }
    if let Some(tombstone) = policy.retention.tombstone {
        said["expired_keys_refused_seconds"] = seconds(tombstone);
    }
    said
}

fn lifecycle(policy: &LifecyclePolicy) -> Value {
    let lifecycle = &policy.lifecycle;
    let mut said = Map::new();
    let mut put = |name: &str, value: Option<Value>| value.map(|value| said.insert(name.to_owned(), value));
    put("version", Some((&*policy.version).into()));
    put("deprecated", lifecycle.deprecated.map(|at| write_instant(at).into()));
    put("sunset", lifecycle.sunset.map(|at| write_instant(at).into()));
    put("gone_after_sunset", lifecycle.sunset.map(|_| lifecycle.gone.into()));
    put("successor", policy.successor.as_deref().map(Into::into));
    put("docs", policy.docs.as_deref().map(Into::into));
    if !lifecycle.brownouts.is_empty() {
        put("brownouts", Some(lifecycle.brownouts.iter().map(brownout).collect()));
    }
    said.into()
}

fn brownout(brownout: &Brownout) -> Value {
    match *brownout {
        Brownout::Once { from, until } => {
            json!({ "from": write_instant(from), "until": write_instant(until) })
        }
        Brownout::Repeated { from, until, every, lasts } => {
            let mut said = json!({
                "from": write_instant(from),
                "every_seconds": seconds(every),
                "lasts_seconds": seconds(lasts),
            });
            if let Some(until) = until {
                said["until"] = write_instant(until).into();
            }
            said
        }
    }
}

/// Whole seconds are a whole number.
fn seconds(duration: Duration) -> Value {
    if duration.subsec_nanos() == 0 { duration.as_secs().into() } else { duration.as_secs_f64().into() }
}
