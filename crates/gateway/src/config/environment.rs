//! What comes from outside the file: environment variables that override it, `${VARIABLE}` inside its texts, and
//! the flags of the command line.

use std::{borrow::Cow, collections::BTreeMap, ops::Range};

use serde_json::Value;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    error::{ConfigError, ConfigWarning, Place},
    schema::schema,
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

    /// The same without the variables that override the file: those that its texts name remain.
    #[must_use]
    pub fn without_overrides(mut self) -> Self {
        let known: Vec<String> = variables(&schema()).into_iter().map(|variable| variable.name).collect();
        self.variables.retain(|name, _| !known.contains(name));
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

/// A text of the config whose variables could not be replaced.
#[derive(Debug)]
pub(super) struct Unreplaced {
    pub(super) error: ConfigError,
    /// Where the whole text stands: what else is wrong there only repeats it.
    pub(super) text: Place,
}

/// Replaces `${VARIABLE}` in every text of `table`, and `${VARIABLE:-default}` by the default where the variable is
/// not set or empty; `$$` is a plain `$`.
pub(super) fn expand(
    source: &Source<'_>,
    environment: &Environment,
    table: &mut DeTable<'_>,
    unreplaced: &mut Vec<Unreplaced>,
) {
    for (_, value) in table.iter_mut() {
        expand_value(source, environment, value, unreplaced);
    }
}

fn expand_value(
    source: &Source<'_>,
    environment: &Environment,
    value: &mut Spanned<DeValue<'_>>,
    unreplaced: &mut Vec<Unreplaced>,
) {
    let span = value.span();
    match value.get_mut() {
        DeValue::Table(table) => expand(source, environment, table, unreplaced),
        DeValue::Array(items) => {
            for item in items.iter_mut() {
                expand_value(source, environment, item, unreplaced);
            }
        }
        DeValue::String(text) if text.contains('$') => match expanded(text, environment) {
            Ok(new) => *text = Cow::Owned(new),
            Err(Unexpanded { written, what, next }) => {
                let place = source.place(&span_of(&written, &span, source.text));
                let error = ConfigError { place, what, next };
                unreplaced.push(Unreplaced { error, text: source.place(&span) });
            }
        },
        _ => {}
    }
}

/// Where in `text` that is `written` which the value at `span` holds; all of the value where it is written in
/// another way (with escapes, say).
fn span_of(written: &str, span: &Range<usize>, text: &str) -> Range<usize> {
    let value = text.get(span.clone()).unwrap_or_default();
    // `$$` is a plain dollar: what it begins is not what is looked for.
    let found = value.match_indices(written).find(|(start, _)| {
        let dollars = value[..*start].bytes().rev().take_while(|byte| *byte == b'$').count();
        dollars % 2 == 0
    });
    found.map_or_else(|| span.clone(), |(start, _)| span.start + start..span.start + start + written.len())
}

/// A text whose variables could not be replaced.
#[derive(Debug)]
struct Unexpanded {
    /// What of it is wrong, as it is written.
    written: String,
    what: String,
    next: String,
}

/// `text` with its variables replaced, or what is wrong and what to do.
fn expanded(text: &str, environment: &Environment) -> Result<String, Unexpanded> {
    let mut new = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('$') {
        new.push_str(&rest[..start]);
        let after = &rest[start + 1..];
        if let Some(after) = after.strip_prefix('$') {
            new.push('$');
            rest = after;
        } else if let Some(inside) = after.strip_prefix('{') {
            let Some(end) = inside.find('}') else {
                return Err(Unexpanded {
                    written: "${".into(),
                    what: "`${` is not closed".into(),
                    next: "close it with `}`, or write `$${` for a plain `${`".into(),
                });
            };
            new.push_str(value_of(&inside[..end], environment)?);
            rest = &inside[end + 1..];
        } else {
            new.push('$');
            rest = after;
        }
    }
    new.push_str(rest);
    Ok(new)
}

/// What `${inside}` stands for.
fn value_of<'v>(inside: &'v str, environment: &'v Environment) -> Result<&'v str, Unexpanded> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let wrong = |what: String, next: String| Unexpanded { written: format!("${{{inside}}}"), what, next };
    if name.is_empty() {
        return Err(wrong(
            "`${}` names no variable".into(),
            "name one, or write `$${` for a plain `${`".into(),
        ));
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if !name.bytes().all(is_name) || name.starts_with(|first: char| first.is_ascii_digit()) {
        let next =
            "write ${NAME} or ${NAME:-default}, the name of letters, digits and `_`; `$${` is a plain `${`";
        return Err(wrong(format!("`{name}` is not the name of a variable"), next.into()));
    }
    if default.is_some_and(|default| default.contains("${")) {
        let next = "write the default as it is to be, or set the variable";
        return Err(wrong(format!("the default of `{name}` holds another variable"), next.into()));
    }
    match (environment.get(name), default) {
        (None | Some(""), Some(default)) => Ok(default),
        (Some(value), _) => Ok(value),
        (None, None) => {
            let next =
                format!("set {name}, or write `${{{name}:-default}}`; `$${{{name}}}` is that text itself");
            Err(wrong(format!("the environment variable `{name}` is not set"), next))
        }
    }
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
    for (flag, key, kind, value) in flags(overrides) {
        if let Some(value) = value {
            let span = source.overlay(Place::Flag(flag));
            put(table, None, key, Spanned::new(span, scalar(value, kind)));
        }
    }
    warnings
}

/// A setting that something goes before what the file says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overridden {
    /// Where it stands in a config, such as `edge.headers_max`.
    pub path: String,
    /// By what: `--listen`, or the name of a variable.
    pub by: String,
}

/// The settings that `environment` and `overrides` go before, by their paths.
#[must_use]
pub fn overridden(environment: &Environment, overrides: &Overrides) -> Vec<Overridden> {
    let schema = schema();
    let mut found = BTreeMap::new();
    for Variable { name, section, key, .. } in variables(&schema) {
        if environment.variables.contains_key(&name) {
            // What the file of a secret says is shown as the setting that it is for.
            let key = key.strip_suffix("_file").unwrap_or(key);
            let path = section.map_or_else(|| key.to_owned(), |section| format!("{section}.{key}"));
            found.insert(path, name);
        }
    }
    for (flag, key, _, value) in flags(overrides) {
        if value.is_some() {
            found.insert(key.to_owned(), flag.to_owned());
        }
    }
    found.into_iter().map(|(path, by)| Overridden { path, by }).collect()
}

/// The flags that go before everything: their names, their keys, the kinds of their values, and what was given.
fn flags(overrides: &Overrides) -> [(&'static str, &'static str, &'static str, &Option<String>); 4] {
    [
        ("--listen", "listen", "string", &overrides.listen),
        ("--admin", "admin", "string", &overrides.admin),
        ("--ledger", "ledger", "string", &overrides.ledger),
        ("--workers", "workers", "integer", &overrides.workers),
    ]
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
        let environment: Environment = [("A", "1"), ("B", "${A}"), ("EMPTY", "")].into_iter().collect();
        for (text, new) in [
            ("${A}", "1"),
            ("x${A}y${A}z", "x1y1z"),
            ("$${A}", "${A}"),
            ("$$${A}", "$1"),
            ("$$$${A}", "$${A}"),
            ("a$$b", "a$b"),
            ("${B}", "${A}"),
            ("$A $", "$A $"),
            ("ö${A}ö", "ö1ö"),
            ("${A:-2}", "1"),
            ("${C:-2}", "2"),
            ("${EMPTY:-2}${EMPTY}", "2"),
            ("${C:-}", ""),
            ("${C:-http://a:1/b}", "http://a:1/b"),
        ] {
            assert_eq!(expanded(text, &environment).ok().as_deref(), Some(new), "{text}");
        }
        for text in
            ["${C}", "${", "${}", "a${A", "${A}${", "${:-a}", "${A B}", "${1}", "${C:-${A}}", "${A-b}"]
        {
            assert!(expanded(text, &environment).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_set_is_found_in_the_line_that_names_it() {
        let text = "a = \"$${C} ${A} ${C} ${C}\"";
        assert_eq!(span_of("${C}", &(4..text.len()), text), 16..20);
        // Written with an escape: the whole value is what can be pointed at.
        let text = "a = \"\\u0024{C}\"";
        assert_eq!(span_of("${C}", &(4..text.len()), text), 4..text.len());
    }
}
