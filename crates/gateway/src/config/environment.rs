//! What comes from outside the file: environment variables that override it, `${VARIABLE}` inside its texts, and
//! the flags of the command line.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::Value;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    error::{ConfigError, ConfigWarning, Place},
    source::Source,
    suggest::nearest,
};

/// What a variable that overrides the file begins with.
const PREFIX: &str = "STEADFAST_";

/// The environment that a config is read in.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    known_elsewhere: Vec<&'static str>,
}

impl Environment {
    /// The environment of this process. Variables that are not UTF-8 are left out.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// Says that these `STEADFAST_…` variables mean something to somebody else, so that nobody warns of them.
    #[must_use]
    pub fn with_known_elsewhere(mut self, names: &[&'static str]) -> Self {
        self.known_elsewhere.extend_from_slice(names);
        self
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { variables, known_elsewhere: Vec::new() }
    }
}

/// What flags of the command line say; they go before everything else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--listen`.
    pub listen: Option<String>,
    /// `--admin`.
    pub admin: Option<String>,
    /// `--ledger`.
    pub ledger: Option<String>,
    /// `--workers`.
    pub workers: Option<String>,
}

/// Replaces `${VARIABLE}` in every text of `table`; `$${` is a plain `${`.
pub(super) fn expand(
    source: &Source<'_>,
    environment: &Environment,
    table: &mut DeTable<'_>,
    errors: &mut Vec<ConfigError>,
) {
    for (_, value) in table.iter_mut() {
        expand_value(source, environment, value, errors);
    }
}

fn expand_value(
    source: &Source<'_>,
    environment: &Environment,
    value: &mut Spanned<DeValue<'_>>,
    errors: &mut Vec<ConfigError>,
) {
    let span = value.span();
    match value.get_mut() {
        DeValue::Table(table) => expand(source, environment, table, errors),
        DeValue::Array(items) => {
            for item in items.iter_mut() {
                expand_value(source, environment, item, errors);
            }
        }
        DeValue::String(text) if text.contains("${") => match expanded(text, environment) {
            Ok(new) => *text = Cow::Owned(new),
            Err((what, next)) => errors.push(ConfigError { place: source.place(&span), what, next }),
        },
        _ => {}
    }
}

/// `text` with its variables replaced, or what is wrong and what to do.
fn expanded(text: &str, environment: &Environment) -> Result<String, (String, String)> {
    let mut new = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        if let Some(before) = rest[..start].strip_suffix('$') {
            new.push_str(before);
            new.push_str("${");
            rest = &rest[start + 2..];
            continue;
        }
        new.push_str(&rest[..start]);
        let inside = &rest[start + 2..];
        let Some(end) = inside.find('}') else {
            return Err((
                "`${` is not closed".into(),
                "close it with `}`, or write `$${` for a plain `${`".into(),
            ));
        };
        let name = &inside[..end];
        match environment.get(name) {
            Some(value) => new.push_str(value),
            None if name.is_empty() => return Err(("`${}` names no variable".into(), "name one".into())),
            None => {
                let next = format!("set {name}, or write `$${{{name}}}` for that text itself");
                return Err((format!("the environment variable `{name}` is not set"), next));
            }
        }
        rest = &inside[end + 1..];
    }
    new.push_str(rest);
    Ok(new)
}

/// Lays the variables that override the file, and then the flags, over `table`.
pub(super) fn overlay<'i>(
    source: &mut Source<'_>,
    schema: &Value,
    environment: &'i Environment,
    overrides: &'i Overrides,
    table: &mut DeTable<'i>,
) -> Vec<ConfigWarning> {
    let known = variables(schema);
    let mut warnings = Vec::new();
    for (name, value) in environment.variables.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        match known.iter().find(|variable| variable.name == *name) {
            Some(variable) => {
                let span = source.overlay(Place::Variable(name.clone()));
                let value = Spanned::new(span, scalar(value, variable.kind));
                put(table, variable.section, variable.key, value);
            }
            None if environment.known_elsewhere.contains(&name.as_str()) || is_of_kubernetes(name) => {}
            None => {
                let names = known.iter().map(|variable| variable.name.as_str());
                let next = match nearest(name, names) {
                    Some(meant) => format!("did you mean {meant}?"),
                    None => "unset it".into(),
                };
                let what = format!("it overrides nothing: {next}");
                warnings.push(ConfigWarning { place: Place::Variable(name.clone()), what });
            }
        }
    }
    for (flag, key, kind, value) in [
        ("--listen", "listen", "string", &overrides.listen),
        ("--admin", "admin", "string", &overrides.admin),
        ("--ledger", "ledger", "string", &overrides.ledger),
        ("--workers", "workers", "integer", &overrides.workers),
    ] {
        if let Some(value) = value {
            let span = source.overlay(Place::Flag(flag));
            put(table, None, key, Spanned::new(span, scalar(value, kind)));
        }
    }
    warnings
}

/// A variable that overrides the file.
struct Variable<'s> {
    name: String,
    section: Option<&'s str>,
    key: &'s str,
    kind: &'s str,
}

/// `STEADFAST_KEY` for the scalars at the top of the file, `STEADFAST_EDGE__KEY` for those of `[edge]`.
fn variables(schema: &Value) -> Vec<Variable<'_>> {
    let scalars = |section: Option<&'static str>, schema| -> Vec<Variable<'_>> {
        let properties = Value::as_object(schema).into_iter().flatten();
        properties
            .filter_map(|(key, schema)| {
                let kind = match schema.get("type")? {
                    Value::String(kind) => kind,
                    _ => "string",
                };
                let within = section.map(|section| section.to_uppercase() + "__").unwrap_or_default();
                let name = format!("{PREFIX}{within}{}", key.to_uppercase());
                (!matches!(kind, "object" | "array")).then_some(Variable { name, section, key, kind })
            })
            .collect()
    };
    let mut variables = scalars(None, &schema["properties"]);
    variables.extend(scalars(Some("edge"), &schema["properties"]["edge"]["properties"]));
    variables
}

/// Kubernetes sets these in every pod for a service called `steadfast`.
fn is_of_kubernetes(name: &str) -> bool {
    name.starts_with("STEADFAST_SERVICE_") || name.starts_with("STEADFAST_PORT")
}

/// `text` as a TOML value of this kind; as a text where it is none.
pub(super) fn scalar<'i>(text: &'i str, kind: &str) -> DeValue<'i> {
    let text = text.trim();
    let is_number = kind == "integer" && text.bytes().all(|byte| byte.is_ascii_digit());
    // A TOML number can only be made by the parser.
    match is_number.then(|| DeValue::parse(text)) {
        Some(Ok(number)) => number.into_inner(),
        Some(Err(_)) | None => DeValue::String(Cow::Borrowed(text)),
    }
}

fn put<'i>(table: &mut DeTable<'i>, section: Option<&str>, key: &str, value: Spanned<DeValue<'i>>) {
    let named = |name: &str| Spanned::new(value.span(), Cow::Owned(name.to_owned()));
    let Some(section) = section else {
        if matches!(key, "ledger" | "ledger_file") {
            // Whoever says where the ledger is says it in one of two ways, and the last word counts.
            table.remove("ledger");
            table.remove("ledger_file");
        }
        table.insert(named(key), value);
        return;
    };
    let empty = || Spanned::new(value.span(), DeValue::Table(DeTable::new()));
    let section = table.entry(named(section)).or_insert_with(empty);
    // A section that is no table is said to be wrong where it stands.
    if let DeValue::Table(inner) = section.get_mut() {
        inner.insert(named(key), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_inside_texts() {
        let environment: Environment = [("A", "1"), ("B", "${A}")].into_iter().collect();
        for (text, new) in [
            ("${A}", "1"),
            ("x${A}y${A}z", "x1y1z"),
            ("$${A}", "${A}"),
            ("${B}", "${A}"),
            ("$A $", "$A $"),
            ("ö${A}ö", "ö1ö"),
        ] {
            assert_eq!(expanded(text, &environment).as_deref(), Ok(new), "{text}");
        }
        for text in ["${C}", "${", "${}", "a${A", "${A}${"] {
            assert!(expanded(text, &environment).is_err(), "{text}");
        }
    }
}
