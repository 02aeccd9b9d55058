//! The schema, the reference and the starter file say what the code does.

use std::{fmt::Write as _, fs, path::PathBuf};

use serde_json::Value;
use steadfast_gateway::config::{effective, schema, starter};

use crate::{SMALLEST, golden::matches_golden, read};

const BEGIN: &str =
    "<!-- The tables from here on are written by `UPDATE_GOLDEN=1 cargo test -p steadfast-gateway`. -->\n";

fn docs(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

#[test]
fn the_schema_file_is_the_schema_of_the_code() {
    let text = serde_json::to_string_pretty(&schema()).expect("a schema");
    matches_golden(&docs("config.schema.json"), &format!("{text}\n"));
}

#[test]
fn the_reference_names_every_key_with_its_default_and_bounds() {
    let path = docs("config.md");
    let page = fs::read_to_string(&path).expect("docs/config.md");
    let (before, _) = page.split_once(BEGIN).expect("the mark in docs/config.md");
    matches_golden(&path, &format!("{before}{BEGIN}{}", reference(&schema())));
}

#[test]
fn the_starter_file_is_valid_and_raises_no_warning() {
    let loaded = read(starter()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.warnings, []);
    assert!(loaded.config.routes[0].idempotency.as_ref().is_some_and(|policy| policy.anonymous));
}

/// What is commented out is an example: it has to work as well.
#[test]
fn what_the_starter_file_comments_out_is_valid_too() {
    let all: String = starter()
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest)
                if rest.starts_with("[[")
                    || rest.split_once(" = ").is_some_and(|(key, _)| key.len() < 20) =>
            {
                format!("{rest}\n")
            }
            _ => format!("{line}\n"),
        })
        .filter(|line| !line.starts_with("ledger_file"))
        .collect();
    let loaded = read(&all).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.config.routes.len(), 2);
    assert!(loaded.config.upstreams["api"].contract.repeatable_for.is_some());
}

/// The defaults that the schema and the reference state are those that the smallest config gets.
#[test]
fn every_default_in_the_schema_is_the_one_in_force() {
    let smallest = "retry = {}\nconcurrency = {}\ncourtesy = { rate = \"1/s\" }\n\n\
                    [limits.bank]\nper = \"ip\"\nrate = \"1/s\"\nplans = { bank = { rate = \"2/s\" } }\n\n[[routes]]";
    let smallest = SMALLEST.replacen("[[routes]]", smallest, 1);
    let routed = format!(
        "{smallest}cors = {{ origins = [\"*\"] }}\nasync = \"allowed\"\nretry = {{}}\ncache = {{}}\nlimits = [\"bank\"]\n"
    );
    let routed =
        format!("{routed}authentication = {{ by = [\"bank\"] }}\n\n[authentication.bank]\napi_keys = {{}}\n");
    let all = format!("listen = \"127.0.0.1:8080\"\n{routed}\n[[listeners]]\naddress = \":8443\"\n");
    let text = effective(&read(&all).unwrap_or_else(|errors| panic!("{errors}")).config);
    let in_force: toml::Table = text.parse().expect("TOML");
    let in_force = serde_json::to_value(in_force).expect("JSON");
    let mut compared = 0;
    compare_defaults(&schema(), &in_force, "", &mut compared);
    assert!(compared >= 30, "only {compared} defaults were compared");
}

fn compare_defaults(schema: &Value, in_force: &Value, path: &str, compared: &mut usize) {
    for (key, property) in schema["properties"].as_object().expect("properties") {
        let path = format!("{path}.{key}");
        let value = &in_force[key];
        if let Some(named) =
            property.get("additionalProperties").filter(|inner| inner.get("properties").is_some())
        {
            // Where there is none, none has defaults.
            if key != "schedules" {
                compare_defaults(named, &value["bank"], &path, compared);
            }
        } else if let Some(item) = property.get("items").filter(|item| item.get("properties").is_some()) {
            compare_defaults(item, &value[0], &path, compared);
        } else if property.get("properties").is_some() {
            // Where it is not there it has no defaults.
            if [
                "tls",
                "request_headers",
                "answer_headers",
                "abuse",
                "health",
                "circuit",
                "balance",
                "fallback",
                "lifecycle",
                "document",
                "refusal",
                "jwt",
                "introspection",
                "forward",
            ]
            .contains(&key.as_str())
            {
                assert!(value.is_null(), "{path}");
                continue;
            }
            compare_defaults(property, value, &path, compared);
        } else if let Some(default) = property.get("default") {
            assert_eq!(default, value, "{path}");
            *compared += 1;
        } else {
            let unset = [
                "ledger_file",
                "shared",
                "shared_password_file",
                "on_loss",
                "repeatable_for",
                "methods",
                "deadline",
                "tombstone",
                "body_bytes_max",
                "hosts",
                "headers",
                "key_file",
                "strip_prefix",
                "add_prefix",
                "servers",
                "urls",
                "tls",
                "write",
                "try",
                "when",
                "means",
                "ttl",
                "openapi",
                "max",
                "cost_from_answer",
                "header",
                "ordering",
                "order_trouble",
            ];
            // What depends on the machine, on another key, or on what is wanted.
            let stated = [
                "workers",
                "folder",
                "url",
                "path",
                "name",
                "upstream",
                "address",
                "http",
                "host",
                "origins",
                "queue",
                "rate",
                "burst",
                "per",
                "cost",
                "limits",
                "name_prefix",
                "pass_on",
                "by",
                "attributes",
                "namespace",
                "mode",
            ];
            assert_eq!(value.is_null(), unset.contains(&key.as_str()), "{path}");
            assert!(
                value.is_null() || stated.contains(&key.as_str()),
                "{path} has a default that the schema hides"
            );
        }
    }
}

/// The tables of the reference, one a TOML table.
fn reference(schema: &Value) -> String {
    let mut sections = String::new();
    section(schema, "The top of the file", &mut sections);
    sections
}

fn section(schema: &Value, title: &str, out: &mut String) {
    let title = if title.starts_with('[') { format!("`{title}`") } else { title.to_owned() };
    let description = flat(schema.get("description"));
    let required = schema.get("required").cloned().unwrap_or_default();
    let _ =
        write!(out, "\n## {title}\n\n{description}\n\n| key | value | default | bounds | what it says |\n");
    out.push_str("| --- | --- | --- | --- | --- |\n");
    let mut inner = Vec::new();
    for (key, property) in schema["properties"].as_object().expect("properties") {
        let is_required = required.as_array().is_some_and(|names| names.iter().any(|name| name == key));
        let default = match property.get("default") {
            Some(default) if !property_is_table(property) => format!("`{}`", toml_of(default)),
            _ if is_required => "required".into(),
            _ => "—".into(),
        };
        let what = flat(property.get("description"));
        let kind = kind(property);
        let bounds = bounds(property);
        let _ = writeln!(out, "| `{key}` | {kind} | {default} | {bounds} | {what}{} |", choices(property));
        inner.push((key, property));
    }
    for (key, property) in inner {
        let name = match title.trim_matches('`') {
            "The top of the file" => key.clone(),
            outer => format!("{}.{key}", outer.trim_matches(['[', ']'])),
        };
        if let Some(named) =
            property.get("additionalProperties").filter(|inner| inner.get("properties").is_some())
        {
            section(named, &format!("[{name}.NAME]"), out);
        } else if let Some(item) = property.get("items").filter(|item| item.get("properties").is_some()) {
            section(item, &format!("[[{name}]]"), out);
        } else if property.get("properties").is_some() {
            section(property, &format!("[{name}]"), out);
        }
    }
}

fn property_is_table(property: &Value) -> bool {
    property.get("additionalProperties").is_some_and(Value::is_object)
        || property.get("properties").is_some()
        || property.get("items").is_some_and(|item| item.get("properties").is_some())
}

fn kind(property: &Value) -> String {
    if let Some(kind) = property.get("x-kind").and_then(Value::as_str) {
        return kind.into();
    }
    if property.get("x-word").is_some() {
        return "word or table".into();
    }
    if property.get("oneOf").is_some() {
        return "one of".into();
    }
    match property["type"].as_str().unwrap_or_default() {
        "object" => match property.get("additionalProperties").filter(|named| named.is_object()) {
            Some(named) if named.get("properties").is_none() => format!("table of {}", kind(named)),
            Some(_) => "tables".into(),
            None => "table".into(),
        },
        "array" if property_is_table(property) => "tables".into(),
        "array" => format!("list of {}s", kind(&property["items"])),
        "string" => "text".into(),
        "integer" => "number".into(),
        other => other.into(),
    }
}

fn bounds(property: &Value) -> String {
    let bounded = property.get("items").filter(|item| item.get("minimum").is_some()).unwrap_or(property);
    let bound = |marked: &str, plain: &str| {
        let value =
            bounded.get(marked).or_else(|| bounded.get(plain).filter(|_| bounded.get("x-kind").is_none()))?;
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    match (bound("x-min", "minimum"), bound("x-max", "maximum")) {
        (None, None) => "—".into(),
        (Some(min), None) => format!("{min} or more"),
        (None, Some(max)) => format!("{max} at most"),
        (Some(min), Some(max)) => format!("{min} to {max}"),
    }
}

/// What each of several choices means.
fn choices(property: &Value) -> String {
    let mut choices = String::new();
    for choice in property.get("oneOf").and_then(Value::as_array).into_iter().flatten() {
        let written = match choice["properties"].as_object().and_then(|properties| properties.iter().next()) {
            None => format!("\"{}\"", choice["const"].as_str().unwrap_or_default()),
            Some((key, _)) if key == "header" => "{ header = \"X-Account\" }".to_owned(),
            Some((key, inner)) => format!("{{ {key} = {} }}", example(inner)),
        };
        let _ = write!(choices, "<br>`{written}`: {}", flat(choice.get("description")));
    }
    choices
}

/// A value that `schema` takes.
fn example(schema: &Value) -> &'static str {
    match (schema.get("x-kind"), schema["type"].as_str()) {
        (Some(_), _) => "\"10s\"",
        (None, Some("string")) => "\"order.id\"",
        (None, Some("array")) => "[\"order.id\", \"line\"]",
        _ => "{ omit = [\"sent_at\"] }",
    }
}

fn toml_of(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(toml_of).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

fn flat(text: Option<&Value>) -> String {
    text.and_then(Value::as_str)
        .unwrap_or_default()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}
