//! Adds what the gateway knows to an upstream's own OpenAPI document, 3.0 or 3.1. What stands there already is never
//! replaced: an operation's own words, responses and parameters stay as they are.

use http::Method;
use serde_json::{Map, Value};

use super::{
    RouteContract,
    operation::{Components, EXTENSION, Parts},
};
use crate::routing::parameter_name;

/// What an item of a document's paths may have as operations.
const OPERATIONS: [Method; 8] = [
    Method::GET,
    Method::PUT,
    Method::POST,
    Method::DELETE,
    Method::OPTIONS,
    Method::HEAD,
    Method::PATCH,
    Method::TRACE,
];

/// What the gateway says of the operations that one route leads to.
pub(crate) struct Known {
    /// The path as the upstream is asked for it, segment by segment; `None` stands for any.
    segments: Vec<Option<String>>,
    is_prefix: bool,
    /// The methods that it serves; all where there is none.
    methods: Vec<Method>,
    /// Whether anything is said of it. Where nothing is, nothing is said in its place of what is less specific either.
    is_told: bool,
    /// What is said of the operation with a method. Made when a document has it: few do of all that a route may serve.
    parts: Box<dyn Fn(&Method) -> Parts + Send + Sync>,
}

impl Known {
    /// What is known of a route.
    pub(super) fn of(contract: &RouteContract<'_>) -> Self {
        let route = contract.route;
        let pattern = route.path.to_string();
        let pattern = pattern.strip_suffix('*').unwrap_or(&pattern);
        let asked = match &route.rewrite {
            Some(rewrite) => {
                let prefix = rewrite.strip_prefix.as_str();
                let rest =
                    pattern.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'));
                format!("{}{}", rewrite.add_prefix, rest.unwrap_or(pattern))
            }
            None => pattern.to_owned(),
        };
        let is_prefix = route.path.is_prefix();
        let asked = match (is_prefix, asked.as_str()) {
            (true, asked) => asked.strip_suffix('/').unwrap_or(asked),
            // What nothing is left of is the root.
            (false, "") => "/",
            (false, asked) => asked,
        };
        let segments = segments_of(asked)
            .map(|segment| match parameter_name(segment) {
                Some(_) => None,
                None => Some(segment.to_owned()),
            })
            .collect();
        let (route, upstream, edge) = (route.clone(), contract.upstream.clone(), contract.edge.clone());
        let abuse = contract.abuse.clone();
        let limits = contract.limits().map(|limit| (limit.name.to_string(), limit.clone())).collect();
        let authenticators = contract.authenticators();
        let authentication = authenticators.map(|(name, config)| (name.to_owned(), config.clone())).collect();
        let (methods, is_told) = (route.methods.clone(), route.documented);
        let parts = move |method: &Method| {
            let contract = RouteContract {
                route: &route,
                upstream: &upstream,
                edge: &edge,
                abuse: &abuse,
                limits: &limits,
                authentication: &authentication,
            };
            Parts::of(&contract, method)
        };
        Self { segments, is_prefix, methods, is_told, parts: Box::new(parts) }
    }

    /// How closely it fits a path of a document: by its literal segments, and whether it ends there. `None` where it
    /// does not serve all of what the path stands for.
    fn fits(&self, path: &str) -> Option<(bool, Vec<bool>)> {
        let path: Vec<&str> = segments_of(path).collect();
        let long_enough = match self.is_prefix {
            // What is below it has a segment more.
            true => path.len() > self.segments.len(),
            false => path.len() == self.segments.len(),
        };
        let fits = |(known, segment): (&Option<String>, &&str)| match known {
            Some(literal) => literal == segment,
            None => true,
        };
        if !long_enough || !self.segments.iter().zip(&path).all(fits) {
            return None;
        }
        Some((!self.is_prefix, self.segments.iter().map(Option::is_some).collect()))
    }
}

/// The segments of a path; `/` has one, which is empty.
fn segments_of(path: &str) -> impl Iterator<Item = &str> {
    let inner = path.strip_prefix('/');
    inner.into_iter().flat_map(|path| path.split('/'))
}

/// The document with what is `known` of its operations; `None` where it is none that can be added to, or where nothing is
/// known of anything in it.
pub(super) fn annotated(document: &[u8], known: &[Known]) -> Option<Vec<u8>> {
    let mut document: Value = serde_json::from_slice(document).ok()?;
    // 2.0 says all of this in other words.
    if !document.get("openapi")?.as_str()?.starts_with("3.") {
        return None;
    }
    let base = base_path(&document);
    let mut components = Components::beside(&document);
    let mut found = false;
    for (path, item) in document.get_mut("paths")?.as_object_mut()? {
        // What stands elsewhere is not ours to add to.
        let Some(item) = item.as_object_mut().filter(|item| !item.contains_key("$ref")) else { continue };
        for method in &OPERATIONS {
            let Some(Value::Object(operation)) = item.get_mut(&method.as_str().to_ascii_lowercase()) else {
                continue;
            };
            let Some(parts) = most_specific(known, &base, path, method) else { continue };
            add(operation, parts, &mut components);
            found = true;
        }
    }
    if !found {
        return None;
    }
    let own = object(document.as_object_mut()?, "components")?;
    for (kind, all) in components.all() {
        let own = object(own, kind)?;
        for (name, value) in all {
            own.entry(name).or_insert(value);
        }
    }
    serde_json::to_vec(&document).ok()
}

/// The path that all paths of a document are below, as its first server says.
fn base_path(document: &Value) -> String {
    let url = document.pointer("/servers/0/url").and_then(Value::as_str).unwrap_or_default();
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |slash| &rest[slash..]),
        None => url,
    };
    path.trim_end_matches('/').to_owned()
}

/// What is known of an operation by the most specific of the routes that lead to it.
fn most_specific(known: &[Known], base: &str, path: &str, method: &Method) -> Option<Parts> {
    let below_base = format!("{base}{path}");
    // Of equals the last would be taken, and the gateway's own document takes the first.
    let by_fit = known.iter().rev().filter_map(|route| {
        let is_served = route.methods.is_empty() || route.methods.contains(method);
        let fit = route.fits(path).or_else(|| route.fits(&below_base)).filter(|_| is_served)?;
        Some((fit, route))
    });
    let (_, closest) = by_fit.max_by(|(one, _), (other, _)| one.cmp(other))?;
    closest.is_told.then(|| (closest.parts)(method))
}

fn add(operation: &mut Map<String, Value>, parts: Parts, components: &mut Components) {
    if parts.is_deprecated {
        operation.insert("deprecated".to_owned(), true.into());
    }
    operation.insert(EXTENSION.to_owned(), parts.extension);
    let description = match operation.get("description").and_then(Value::as_str) {
        Some(own) if !own.trim().is_empty() => format!("{own}\n\n{}", parts.description),
        _ => parts.description,
    };
    operation.insert("description".to_owned(), description.into());
    if let Some(responses) = object(operation, "responses") {
        for (status, response) in parts.responses {
            // `4XX` and `default` say less than a status, and so do not stand for it.
            if !responses.contains_key(&status) {
                let reference = components.response(&status, response);
                responses.insert(status, reference);
            }
        }
    }
    if let Some((security, schemes)) = parts.security
        && !operation.contains_key("security")
        && components.schemes(schemes)
    {
        operation.insert("security".to_owned(), security);
    }
    if parts.parameters.is_empty() {
        return;
    }
    let own = operation.entry("parameters").or_insert_with(|| Value::Array(Vec::new()));
    let Some(own) = own.as_array_mut() else { return };
    for parameter in parts.parameters {
        let is_same = |known: &Value| {
            let name = |parameter: &Value| parameter["name"].as_str().map(str::to_ascii_lowercase);
            known["in"] == parameter["in"] && name(known) == name(&parameter)
        };
        if !own.iter().any(is_same) {
            own.push(parameter);
        }
    }
}

/// The member that is an object; one without members where there was none. `None` where it is something else.
fn object<'m>(of: &'m mut Map<String, Value>, name: &str) -> Option<&'m mut Map<String, Value>> {
    of.entry(name).or_insert_with(|| Value::Object(Map::new())).as_object_mut()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn known(path: &str, methods: &[Method]) -> Known {
        let (path, is_prefix) = path.strip_suffix("/*").map_or((path, false), |path| (path, true));
        let segments = segments_of(path).map(|segment| match parameter_name(segment) {
            Some(_) => None,
            None => Some(segment.to_owned()),
        });
        let said = path.to_owned();
        let parts = move |method: &Method| Parts {
            parameters: vec![
                json!({ "name": "Idempotency-Key", "in": "header", "schema": { "type": "string" } }),
            ],
            responses: [("409".to_owned(), json!({ "description": "ours" }))].into_iter().collect(),
            is_deprecated: false,
            description: format!("{said} {method}"),
            extension: json!({}),
            security: None,
        };
        let (segments, methods) = (segments.collect(), methods.to_vec());
        Known { segments, is_prefix, methods, is_told: true, parts: Box::new(parts) }
    }

    fn described(document: &Value, path: &str, known: &[Known]) -> Option<String> {
        let annotated = annotated(document.to_string().as_bytes(), known)?;
        let annotated: Value = serde_json::from_slice(&annotated).expect("JSON");
        Some(annotated["paths"][path]["post"]["description"].as_str()?.to_owned())
    }

    #[test]
    fn an_operation_is_told_of_by_the_most_specific_route_that_serves_all_of_it() {
        let post = [Method::POST];
        let routes = [
            known("/*", &post),
            known("/orders/*", &post),
            known("/orders/{id}", &post),
            known("/orders/new", &post),
            known("/orders/{id}/pay", &[Method::GET]),
        ];
        for (path, expected) in [
            ("/orders/new", "/orders/new POST"),
            ("/orders/{order}", "/orders/{id} POST"),
            ("/orders/7", "/orders/{id} POST"),
            ("/orders/{id}/pay", "/orders POST"),
            ("/orders", " POST"),
            ("/", " POST"),
        ] {
            let document = json!({ "openapi": "3.1.0", "paths": { path: { "post": {} } } });
            assert_eq!(described(&document, path, &routes).as_deref(), Some(expected), "{path}");
        }
        // A parameter stands for more than one literal does.
        let document = json!({ "openapi": "3.0.3", "paths": { "/{any}": { "post": {} } } });
        assert_eq!(described(&document, "/{any}", &[known("/orders", &post)]), None);
    }

    #[test]
    fn a_route_that_is_not_documented_is_told_of_by_no_other() {
        let post = [Method::POST];
        let hidden = Known { is_told: false, ..known("/orders/raw", &post) };
        let document = json!({ "openapi": "3.1.0", "paths": {
            "/orders/raw": { "post": {} }, "/orders/{id}": { "post": {} },
        } });
        let routes = [known("/orders/*", &post), hidden];
        let annotated = annotated(document.to_string().as_bytes(), &routes).expect("one is told of");
        let annotated: Value = serde_json::from_slice(&annotated).expect("JSON");
        assert_eq!(annotated["paths"]["/orders/raw"]["post"], json!({}));
        assert_eq!(annotated["paths"]["/orders/{id}"]["post"]["description"], "/orders POST");
    }

    #[test]
    fn paths_are_found_below_the_documents_server_too() {
        let routes = [known("/api/v1/orders", &[Method::POST])];
        for server in ["/api/v1", "/api/v1/", "https://a.example/api/v1", "https://a.example:8443/api/v1/"] {
            let document = json!({
                "openapi": "3.1.0",
                "servers": [{ "url": server }],
                "paths": { "/orders": { "post": {} } },
            });
            assert!(described(&document, "/orders", &routes).is_some(), "{server}");
        }
        for server in ["/api", "https://a.example", "nonsense", ""] {
            let document = json!({
                "openapi": "3.1.0",
                "servers": [{ "url": server }],
                "paths": { "/orders": { "post": {} } },
            });
            assert!(described(&document, "/orders", &routes).is_none(), "{server}");
        }
    }

    #[test]
    fn what_stands_there_is_kept() {
        let document = json!({
            "openapi": "3.0.3",
            "paths": { "/orders": {
                "get": { "description": "list" },
                "post": {
                    "description": "own",
                    "parameters": [{ "name": "idempotency-key", "in": "header" }, { "$ref": "#/x" }],
                    "responses": { "409": { "description": "theirs" }, "201": { "description": "made" } },
                },
            } },
            "components": { "schemas": { "Order": {} } },
            "x-own": 1,
        });
        let routes = [known("/orders", &[Method::POST])];
        let bytes = annotated(document.to_string().as_bytes(), &routes).expect("something is known");
        let found: Value = serde_json::from_slice(&bytes).expect("JSON");
        let post = &found["paths"]["/orders"]["post"];
        assert_eq!(post["description"], "own\n\n/orders POST");
        assert_eq!(post["parameters"].as_array().map(Vec::len), Some(2));
        assert_eq!(post["responses"]["409"]["description"], "theirs");
        assert_eq!(post["responses"]["201"]["description"], "made");
        assert_eq!(found["paths"]["/orders"]["get"], json!({ "description": "list" }));
        assert_eq!((&found["x-own"], &found["components"]["schemas"]["Order"]), (&json!(1), &json!({})));
        assert!(found["components"]["schemas"]["SteadfastProblem"].is_object());
    }

    #[test]
    fn what_is_no_openapi_3_is_left_alone() {
        let routes = [known("/orders", &[Method::POST])];
        for document in [
            "",
            "null",
            "[]",
            "{}",
            "openapi: 3.1.0",
            r#"{"swagger":"2.0","paths":{"/orders":{"post":{}}}}"#,
            r#"{"openapi":3,"paths":{"/orders":{"post":{}}}}"#,
            r#"{"openapi":"2.0","paths":{"/orders":{"post":{}}}}"#,
            r#"{"openapi":"3.1.0"}"#,
            r#"{"openapi":"3.1.0","paths":[]}"#,
            r#"{"openapi":"3.1.0","paths":{"/orders":null}}"#,
            r#"{"openapi":"3.1.0","paths":{"/orders":{"post":1}}}"#,
            r##"{"openapi":"3.1.0","paths":{"/orders":{"$ref":"#/x","post":{}}}}"##,
            r#"{"openapi":"3.1.0","paths":{"/orders":{"post":{}}},"components":1}"#,
        ] {
            assert!(annotated(document.as_bytes(), &routes).is_none(), "{document}");
        }
        for odd in [
            r#"{"openapi":"3.1.0","paths":{"/orders":{"post":{"responses":1,"parameters":2,"description":3}}}}"#,
            r#"{"openapi":"3.1.0","servers":"x","paths":{"/orders":{"post":{}}}}"#,
        ] {
            assert!(annotated(odd.as_bytes(), &routes).is_some(), "{odd}");
        }
    }
}
