//! The document for programs: OpenAPI 3.1 of the routes, as far as the config knows them. It is a fragment: what an
//! operation's own bodies look like is known to the upstream alone.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use serde_json::{Map, Value, json};

use super::{
    RouteContract,
    operation::{Components, EXTENSION, Parts},
};
use crate::{
    config::{DocumentPolicy, PathPattern},
    routing::{Segment, parameter_name},
};

/// The name of the parameter that stands for everything below a path.
const REST: &str = "path";

/// Where it is said that there are other operations for the same path and method, on other hosts or with other headers.
const VARIANTS: &str = "x-steadfast-variants";

/// The document of these routes.
pub(super) fn document(policy: &DocumentPolicy, contracts: &[RouteContract<'_>]) -> Value {
    let mut info = json!({ "title": policy.title, "version": policy.version });
    if !policy.description.is_empty() {
        info["description"] = policy.description.as_str().into();
    }
    let mut components = Components::default();
    let paths = paths(contracts, &mut components);
    let by_kind =
        components.all().into_iter().map(|(kind, all)| (kind.to_owned(), all.into_iter().collect()));
    let components: Map<String, Value> = by_kind.collect();
    json!({ "openapi": "3.1.0", "info": info, "paths": paths, "components": components })
}

/// Where callers look at their operations.
const OPERATION_PATH: &str = "/.steadfast/operations/{id}";

/// What the gateway itself serves to callers who have operations.
fn operation_item() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let instant =
        |description: &str| json!({ "type": "string", "format": "date-time", "description": description });
    let attempt = json!({
        "type": "object",
        "properties": {
            "number": { "type": "integer", "description": "Which one it is, from 1." },
            "began_at": instant("When it began."),
            "end": { "description": "How it ended; null while it runs." },
            "status": { "description": "With which status, where there was an answer." },
            "excerpt": text("The beginning of what the API itself said, where that was not final."),
        },
    });
    let schema = json!({
        "type": "object",
        "required": ["id", "state", "in_doubt", "key", "method", "path", "created_at", "changed_at", "attempts"],
        "properties": {
            "id": text("Its id."),
            "state": text("queued, claimed, waiting, completed, in_doubt, released, dead or cancelled."),
            "mode": text("synchronous where the request made its attempt itself, asynchronous where it was left for later."),
            "in_doubt": { "type": "boolean", "description": "Whether the outcome of some attempt is unknown." },
            "key": text("Its key."),
            "method": text("The request's method."),
            "path": text("The request's path."),
            "created_at": instant("When it was first claimed."),
            "changed_at": instant("When its state last changed."),
            "expires_at": instant("When it is forgotten."),
            "next_attempt_at": instant("When it is tried next, or for the first time."),
            "attempts_left": { "type": "integer", "description": "How many attempts it has left." },
            "gives_up_at": instant("From when on it is not tried any more."),
            "cancel_asked": { "type": "boolean", "description": "Whether it was called off while an attempt was under way." },
            "answer_status": { "type": "integer", "description": "The status of its answer." },
            "result": text("Where its answer is."),
            "attempts": { "type": "array", "items": attempt },
        },
    });
    let content = || json!({ "application/json": { "schema": schema } });
    json!({
        "parameters": [id_parameter()],
        "get": {
            "parameters": [wait_parameter()],
            "operationId": "get_steadfast_operation",
            "description": "What became of a request with a key. Its id is in `Steadfast-Operation`, its link in the `operation` of \
                            refusals and in the `Location` of a 202. It is shown to who made the request: send the same \
                            credential.",
            "responses": {
                "200": { "description": "The operation.", "content": content() },
                "404": problem(NOT_FOUND),
                "503": problem(LEDGER_LOST),
            },
        },
        "delete": {
            "operationId": "cancel_steadfast_operation",
            "description": "Calls an operation off that was left for later and is not over. Who made it may.",
            "responses": {
                "200": { "description": "It is called off.", "content": content() },
                "202": {
                    "description": "An attempt is under way, which decides: if it brings nothing, none follows.",
                    "content": content(),
                },
                "404": problem(NOT_FOUND),
                "409": problem(
                    "It is over, or cannot be called off (`operation-finished`, `operation-dead`, `outcome-in-doubt`, \
                     `operation-in-progress`)."
                ),
                "503": problem(LEDGER_LOST),
            },
        },
    })
}

/// Where the result of an operation is.
fn result_item() -> Value {
    json!({
        "parameters": [id_parameter()],
        "get": {
            "operationId": "get_steadfast_operation_result",
            "description": "What came of an operation: the API's own answer, marked `Idempotent-Replayed: true`.",
            "parameters": [wait_parameter()],
            "responses": {
                "404": problem(NOT_FOUND),
                "409": problem(
                    "There is none: not yet (`operation-in-progress`, with Retry-After), or not any more or never \
                     (`operation-dead`, `operation-cancelled`, `outcome-in-doubt`, `replay-unavailable`)."
                ),
                "503": problem(LEDGER_LOST),
                "default": { "description": "What the API itself answered." },
            },
        },
    })
}

const NOT_FOUND: &str = "There is no such operation, or it is another caller's (`operation-not-found`).";
const LEDGER_LOST: &str = "The ledger cannot be reached (`ledger-unavailable`).";

fn problem(description: &str) -> Value {
    let schema = json!({ "$ref": "#/components/schemas/SteadfastProblem" });
    json!({ "description": description, "content": { "application/problem+json": { "schema": schema } } })
}

fn id_parameter() -> Value {
    json!({ "name": "id", "in": "path", "required": true, "schema": { "type": "string" } })
}

fn wait_parameter() -> Value {
    json!({
        "name": "wait",
        "in": "query",
        "required": false,
        "description": "How long to wait for the end, `20s` say; a minute at most.",
        "schema": { "type": "string" },
    })
}

fn paths(contracts: &[RouteContract<'_>], components: &mut Components) -> Map<String, Value> {
    // Two templates that differ in their parameters' names only are one path.
    let mut names: BTreeMap<String, Template> = BTreeMap::new();
    let mut paths: Map<String, Value> = Map::new();
    let own = ["get_steadfast_operation", "cancel_steadfast_operation", "get_steadfast_operation_result"];
    let mut ids = BTreeSet::from(own.map(str::to_owned));
    if contracts.iter().any(|contract| contract.route.idempotency.is_some()) {
        paths.insert(OPERATION_PATH.to_owned(), operation_item());
        paths.insert(format!("{OPERATION_PATH}/result"), result_item());
    }
    for contract in contracts {
        let template = Template::of(&contract.route.path);
        let template = names.entry(template.shape.clone()).or_insert(template);
        let path = paths.entry(template.text.clone()).or_insert_with(|| template.item());
        for method in contract.methods() {
            let operation = operation(contract, method, components);
            let member = method.as_str().to_ascii_lowercase();
            match path.get_mut(&member) {
                None => {
                    let id = operation_id(method, &template.text, &mut ids);
                    path[&member] = operation;
                    path[&member]["operationId"] = id.into();
                }
                Some(first) => variant(first, operation),
            }
        }
    }
    paths
}

/// Says of an operation that there is another one for its path and method.
fn variant(first: &mut Value, mut other: Value) {
    if let Some(other) = other.as_object_mut() {
        // What is the same for all is said of the first.
        other.remove("responses");
    }
    match first[VARIANTS].as_array_mut() {
        Some(variants) => variants.push(other),
        None => first[VARIANTS] = json!([other]),
    }
}

fn operation(contract: &RouteContract<'_>, method: &Method, components: &mut Components) -> Value {
    let Parts { parameters, responses, is_deprecated, description, extension, security } =
        Parts::of(contract, method);
    let referred = responses.into_iter().map(|(status, response)| {
        let reference = components.response(&status, response);
        (status, reference)
    });
    let mut responses: Map<String, Value> = referred.collect();
    responses.insert("default".to_owned(), json!({ "description": "What the API itself answers." }));
    let mut operation = json!({
        "description": description,
        "responses": responses,
        EXTENSION: extension,
    });
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if is_deprecated {
        operation["deprecated"] = true.into();
    }
    if let Some((security, schemes)) = security {
        components.schemes(schemes);
        operation["security"] = security;
    }
    operation
}

/// A name for programs that make functions of operations: `post_orders_id`.
fn operation_id(method: &Method, path: &str, taken: &mut BTreeSet<String>) -> String {
    let mut name = method.as_str().to_ascii_lowercase();
    let words = path.split(|char: char| !char.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    for word in words {
        name.push('_');
        name.push_str(word);
    }
    let mut id = name.clone();
    let mut number = 2;
    while !taken.insert(id.clone()) {
        id = format!("{name}_{number}");
        number += 1;
    }
    id
}

/// A path as OpenAPI writes it.
struct Template {
    text: String,
    /// The same for all that are the same path.
    shape: String,
    parameters: Vec<String>,
    is_prefix: bool,
}

impl Template {
    fn of(path: &PathPattern) -> Self {
        let pattern = path.to_string();
        let pattern = pattern.strip_suffix('*').unwrap_or(&pattern);
        let named = pattern.split('/').filter_map(parameter_name);
        let mut parameters: Vec<String> = named.map(str::to_owned).collect();
        let is_prefix = path.is_prefix();
        let mut text = pattern.to_owned();
        if is_prefix {
            let mut rest = REST.to_owned();
            while parameters.contains(&rest) {
                rest.push('_');
            }
            text.push_str(&format!("{{{rest}}}"));
            parameters.push(rest);
        }
        let mut shape: String = path
            .segments()
            .map(|segment| match segment {
                Segment::Literal(text) => format!("/{text}"),
                Segment::Parameter => "/{}".to_owned(),
            })
            .collect();
        if is_prefix {
            shape.push_str("/{}");
        }
        Self { text, shape, parameters, is_prefix }
    }

    /// The path's item, without operations.
    fn item(&self) -> Value {
        let last = self.parameters.len().wrapping_sub(1);
        let parameter = |(index, name): (usize, &String)| {
            let mut parameter =
                json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } });
            if self.is_prefix && index == last {
                parameter["description"] = "Everything below, with its slashes.".into();
            }
            parameter
        };
        let parameters: Vec<Value> = self.parameters.iter().enumerate().map(parameter).collect();
        if parameters.is_empty() { json!({}) } else { json!({ "parameters": parameters }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_becomes_a_template_whose_parameters_all_have_names() {
        for (path, text, shape) in [
            (PathPattern::Exact("/orders/{id}".into()), "/orders/{id}", "/orders/{}"),
            (PathPattern::Prefix("/files/".into()), "/files/{path}", "/files/{}"),
            (PathPattern::Prefix("/".into()), "/{path}", "/{}"),
            (PathPattern::Prefix("/{path}/".into()), "/{path}/{path_}", "/{}/{}"),
            (PathPattern::Exact("/".into()), "/", "/"),
        ] {
            let template = Template::of(&path);
            assert_eq!((template.text.as_str(), template.shape.as_str()), (text, shape));
        }
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let mut taken = BTreeSet::new();
        assert_eq!(operation_id(&Method::POST, "/orders/{id}", &mut taken), "post_orders_id");
        assert_eq!(operation_id(&Method::POST, "/orders-id", &mut taken), "post_orders_id_2");
        assert_eq!(operation_id(&Method::GET, "/", &mut taken), "get");
    }
}
