//! What two configs say differently, setting by setting.

use serde::Serialize;
use serde_json::{Map, Value};

use super::reload::needs_restart;

/// One setting that two configs say differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where it stands: `edge.headers_max`, `upstreams.bank.url`, `routes[payments].deadline`. A route or an upstream
    /// that only one of them has is one difference.
    pub path: String,
    /// What the running gateway has; nothing where it has none.
    pub running: Option<Value>,
    /// What the file says; nothing where it says nothing.
    pub file: Option<Value>,
    /// Whether a reload leaves it as it is until the next restart.
    pub needs_restart: bool,
}

/// What `running` and `file` say differently, both of them as [`effective`](super::effective) writes them. The order
/// of routes means nothing; they are found again by their names.
///
/// # Errors
/// Where one of them is no TOML.
pub fn diff(running: &str, file: &str) -> Result<Vec<Difference>, toml::de::Error> {
    let read = |text: &str| toml::from_str::<Map<String, Value>>(text);
    let mut differences = Vec::new();
    tables("", &read(running)?, &read(file)?, &mut differences);
    Ok(differences)
}

fn tables(path: &str, running: &Map<String, Value>, file: &Map<String, Value>, found: &mut Vec<Difference>) {
    let mut keys: Vec<&String> = running.keys().chain(file.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        values(&path, running.get(key), file.get(key), found);
    }
}

fn values(path: &str, running: Option<&Value>, file: Option<&Value>, found: &mut Vec<Difference>) {
    let none = Vec::new();
    match (running, file) {
        (Some(running), Some(file)) if running == file => {}
        (Some(Value::Object(running)), Some(Value::Object(file))) => tables(path, running, file, found),
        (Some(Value::Array(_)) | None, Some(Value::Array(_)) | None)
            if [running, file].into_iter().flatten().all(is_named) =>
        {
            let items = |list: Option<&Value>| {
                let items = list.and_then(Value::as_array).unwrap_or(&none);
                items
                    .iter()
                    .map(|item| (name(item).unwrap_or_default().to_owned(), item.clone()))
                    .collect::<Map<_, _>>()
            };
            let (running, file) = (items(running), items(file));
            let mut names: Vec<&String> = running.keys().chain(file.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                values(&format!("{path}[{name}]"), running.get(name), file.get(name), found);
            }
        }
        (running, file) => found.push(Difference {
            path: path.to_owned(),
            running: running.cloned(),
            file: file.cloned(),
            needs_restart: needs_restart(path),
        }),
    }
}

/// Whether `list` is one of tables that have names, as the routes are.
fn is_named(list: &Value) -> bool {
    list.as_array().is_some_and(|items| !items.is_empty() && items.iter().all(|item| name(item).is_some()))
}

fn name(item: &Value) -> Option<&str> {
    item.get("name")?.as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RUNNING: &str = r#"
listen = "127.0.0.1:1"
workers = 2
[edge]
headers_max = 100
body_timeout = "30s"
[upstreams.bank]
url = "http://bank"
refused = [425, 429]
[[routes]]
name = "pay"
path = "/pay"
idempotency = { keep = "24h", key = "header" }
[[routes]]
name = "rest"
path = "/*"
"#;

    fn differing(file: &str) -> Vec<(String, Option<Value>, Option<Value>, bool)> {
        let found = diff(RUNNING, file).expect("TOML");
        found.into_iter().map(|one| (one.path, one.running, one.file, one.needs_restart)).collect()
    }

    #[test]
    fn the_same_config_differs_in_nothing_whatever_the_order_of_its_routes() {
        assert_eq!(differing(RUNNING), []);
        let (head, routes) = RUNNING.split_once("[[routes]]").unwrap();
        let (pay, rest) = routes.split_once("[[routes]]").unwrap();
        assert_eq!(differing(&format!("{head}[[routes]]{rest}\n[[routes]]{pay}")), []);
    }

    #[test]
    fn every_setting_is_told_by_its_path_and_with_what_it_takes() {
        let file = RUNNING
            .replace("workers = 2", "workers = 3")
            .replace("headers_max = 100", "headers_max = 90")
            .replace("\"30s\"", "\"5s\"")
            .replace("[425, 429]", "[429]")
            .replace("key = \"header\"", "key = { field = \"id\" }")
            .replace("keep = \"24h\", ", "");
        assert_eq!(
            differing(&file),
            [
                ("edge.body_timeout".into(), Some(json!("30s")), Some(json!("5s")), false),
                ("edge.headers_max".into(), Some(json!(100)), Some(json!(90)), true),
                ("routes[pay].idempotency.keep".into(), Some(json!("24h")), None, false),
                (
                    "routes[pay].idempotency.key".into(),
                    Some(json!("header")),
                    Some(json!({"field": "id"})),
                    false
                ),
                ("upstreams.bank.refused".into(), Some(json!([425, 429])), Some(json!([429])), false),
                ("workers".into(), Some(json!(2)), Some(json!(3)), true),
            ]
        );
    }

    #[test]
    fn a_route_or_an_upstream_that_comes_or_goes_is_one_difference() {
        let file = RUNNING.replace("\"rest\"", "\"all\"").replace("upstreams.bank", "upstreams.till");
        let found = differing(&file);
        let paths: Vec<_> = found.iter().map(|(path, ..)| path.as_str()).collect();
        assert_eq!(paths, ["routes[all]", "routes[rest]", "upstreams.bank", "upstreams.till"]);
        assert_eq!(found[0].2, Some(json!({"name": "all", "path": "/*"})));
        let without = RUNNING.split_once("[[routes]]").unwrap().0;
        let found = differing(without);
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
