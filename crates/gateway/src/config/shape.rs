//! Checks the shape of a file against the schema: which keys there are, and which values they take. All that is
//! wrong is found at once, where a deserializer would stop at the first.

use std::ops::Range;

use serde_json::{Map, Value};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    duration::parse_duration,
    error::ConfigError,
    instant::parse_instant,
    percent::parse_percent,
    rate::parse_rate,
    size::parse_size,
    source::Source,
    suggest::{advice, listed, nearest},
};

/// What came of a check.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) errors: Vec<ConfigError>,
    /// Whether what remains can be read on: only unknown keys were wrong, and they were removed.
    pub(super) readable: bool,
}

/// Checks `root` against `schema`, and removes the unknown keys.
pub(super) fn check_shape(source: &Source<'_>, schema: &Value, root: &mut Spanned<DeTable<'_>>) -> Checked {
    let mut shape = Shape { source, schema, errors: Vec::new(), readable: true };
    let span = root.span();
    shape.table(root.get_mut(), &span, schema, "");
    Checked { errors: shape.errors, readable: shape.readable }
}

/// What may be of several kinds, and can be said better to be wrong by whoever knows what it is for.
const CHECKED_LATER: [&str; 3] = ["text, CEL or a list", "number or CEL", "text or a list"];

/// Reads a quantity in its smallest unit, or says what is wrong and what to write.
type ReadAmount = fn(&str) -> Result<u128, (String, String)>;

struct Shape<'a> {
    source: &'a Source<'a>,
    schema: &'a Value,
    errors: Vec<ConfigError>,
    readable: bool,
}

impl Shape<'_> {
    fn error(&mut self, span: &Range<usize>, what: String, next: String) {
        self.errors.push(ConfigError { place: self.source.place(span), what, next });
    }

    fn fatal(&mut self, span: &Range<usize>, what: String, next: String) {
        self.readable = false;
        self.error(span, what, next);
    }

    /// `path` is where `value` stands, such as `routes.idempotency.keep`.
    fn value(&mut self, value: &mut Spanned<DeValue<'_>>, schema: &Value, path: &str) {
        let span = value.span();
        if let Some(kind) = schema.get("x-kind").and_then(Value::as_str) {
            if CHECKED_LATER.contains(&kind) {
                return;
            }
            if kind == "text or true" {
                return self.text_or_true(value.get_ref(), &span, path);
            }
            if kind == "instant" {
                return self.instant(value, path);
            }
            return self.quantity(value.get_ref(), &span, schema, kind, path);
        }
        if let Some(key) = schema.get("x-word").and_then(Value::as_str) {
            return self.word_or_table(value, schema, key, path);
        }
        if let Some(choices) = choices(schema) {
            return self.choice(value, choices, path);
        }
        match (schema.get("type").and_then(Value::as_str), value.get_mut()) {
            (Some("object"), DeValue::Table(table)) => self.table(table, &span, schema, path),
            (Some("array"), DeValue::Array(items)) => {
                let item_schema = schema.get("items").unwrap_or(&Value::Null);
                for item in items.iter_mut() {
                    self.value(item, item_schema, path);
                }
            }
            (Some("integer"), DeValue::Integer(number)) => {
                let number = i128::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok();
                self.integer(number, &span, schema, path);
            }
            (Some("number"), DeValue::Integer(number)) => {
                self.number(number.as_str().replace('_', "").parse().ok(), &span, schema, path);
            }
            (Some("number"), DeValue::Float(number)) => {
                self.number(number.as_str().replace('_', "").parse().ok(), &span, schema, path);
            }
            (Some("string"), DeValue::String(_)) | (Some("boolean"), DeValue::Boolean(_)) | (None, _) => {}
            (Some(wanted), other) => {
                let (found, wanted) = (kind_of(other), words_for(wanted));
                self.fatal(&span, format!("`{path}` is {found}"), format!("give it {wanted}"));
            }
        }
    }

    /// A table, or the value of its one key that must be said: then it becomes a table.
    fn word_or_table(&mut self, value: &mut Spanned<DeValue<'_>>, schema: &Value, key: &str, path: &str) {
        let span = value.span();
        if let DeValue::String(_) = value.get_ref() {
            let word = std::mem::replace(value.get_mut(), DeValue::Table(DeTable::new()));
            if let DeValue::Table(table) = value.get_mut() {
                let name = Spanned::new(span.clone(), key.to_owned().into());
                table.insert(name, Spanned::new(span.clone(), word));
            }
        }
        match value.get_mut() {
            DeValue::Table(table) => self.table(table, &span, schema, path),
            other => {
                let what = format!("`{path}` is {}", kind_of(other));
                self.fatal(&span, what, format!("give it a word, or a table: {{ {key} = … }}"));
            }
        }
    }

    fn integer(&mut self, number: Option<i128>, span: &Range<usize>, schema: &Value, path: &str) {
        let bound = |name| schema.get(name).and_then(Value::as_i64).map(i128::from);
        let (min, max) = (bound("minimum").unwrap_or(i128::MIN), bound("maximum").unwrap_or(i128::MAX));
        if number.is_none_or(|number| number < min || number > max) {
            self.fatal(
                span,
                format!("`{path}` is out of bounds"),
                format!("choose a number from {min} to {max}"),
            );
        }
    }

    /// One that may have a fraction.
    fn number(&mut self, number: Option<f64>, span: &Range<usize>, schema: &Value, path: &str) {
        let bound = |name| schema.get(name).and_then(Value::as_f64);
        let (min, max) = (bound("minimum").unwrap_or(f64::MIN), bound("maximum").unwrap_or(f64::MAX));
        if number.is_none_or(|number| !(min..=max).contains(&number)) {
            let next = format!("choose a number from {min} to {max}");
            self.fatal(span, format!("`{path}` is out of bounds"), next);
        }
    }

    fn text_or_true(&mut self, value: &DeValue<'_>, span: &Range<usize>, path: &str) {
        let next = match value {
            DeValue::String(_) | DeValue::Boolean(true) => return,
            DeValue::Integer(number) => format!("write it in quotes: \"{}\"", number.as_str()),
            DeValue::Boolean(false) => "write true to ask that it is there, or remove it".into(),
            _ => "give it a text, in quotes, or true to ask that it is there".into(),
        };
        let what = match value {
            DeValue::Boolean(_) => format!("`{path}` cannot be false"),
            other => format!("`{path}` is {}", kind_of(other)),
        };
        self.fatal(span, what, next);
    }

    /// An instant, as a text or as TOML's own, which becomes a text.
    fn instant(&mut self, value: &mut Spanned<DeValue<'_>>, path: &str) {
        let span = value.span();
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Datetime(datetime) => datetime.to_string(),
            other => {
                let what = format!("`{path}` is {}", kind_of(other));
                return self.fatal(&span, what, "give it an instant: 2027-01-01T00:00:00Z".into());
            }
        };
        if let Err(error) = parse_instant(&text) {
            return self.fatal(&span, format!("`{path}`: {error}"), error.next());
        }
        *value.get_mut() = DeValue::String(text.into());
    }

    /// A duration, a size, a share or a rate.
    fn quantity(&mut self, value: &DeValue<'_>, span: &Range<usize>, schema: &Value, kind: &str, path: &str) {
        let read: ReadAmount = match kind {
            "size" => {
                |text| parse_size(text).map(u128::from).map_err(|error| (error.to_string(), error.next()))
            }
            "percent" => {
                |text| parse_percent(text).map(u128::from).map_err(|error| (error.to_string(), error.next()))
            }
            "rate" => |text| {
                let rate = parse_rate(text).map_err(|error| (error.to_string(), error.next()))?;
                // In a thousand days, so that the slowest is a whole number too.
                Ok(u128::from(rate.count) * 86_400_000 / u128::from(rate.per.as_secs().max(1)))
            },
            _ => |text| {
                let time = parse_duration(text).map_err(|error| (error.to_string(), error.next()))?;
                Ok(time.as_millis())
            },
        };
        let text = match value {
            DeValue::String(text) => text.as_ref().to_owned(),
            // A duration without a unit says that it has none.
            DeValue::Integer(number) => number.as_str().replace('_', ""),
            other => {
                let next = read("").err().map(|(_, next)| next).unwrap_or_default();
                return self.fatal(span, format!("`{path}` is {}", kind_of(other)), next);
            }
        };
        let amount = match read(&text) {
            Ok(amount) => amount,
            Err((what, next)) => return self.fatal(span, format!("`{path}`: {what}"), next),
        };
        let limit = |name| {
            let text = schema.get(name).and_then(Value::as_str)?;
            Some((read(text).ok()?, text))
        };
        if let Some((_, text)) = limit("x-min").filter(|(min, _)| amount < *min) {
            self.fatal(span, format!("`{path}` is too small"), format!("{text} is the least"));
        } else if let Some((_, text)) = limit("x-max").filter(|(max, _)| amount > *max) {
            self.fatal(span, format!("`{path}` is too large"), format!("{text} is the most"));
        }
    }

    /// One of several texts, or a table with one of several keys.
    fn choice(&mut self, value: &mut Spanned<DeValue<'_>>, choices: &[Value], path: &str) {
        let span = value.span();
        let words: Vec<&str> = choices.iter().flat_map(words_of).collect();
        let branches: Vec<(&str, &Value)> = choices
            .iter()
            .filter_map(|choice| choice.get("properties")?.as_object()?.iter().next())
            .map(|(name, schema)| (name.as_str(), schema))
            .collect();
        let names: Vec<&str> = branches.iter().map(|(name, _)| *name).collect();
        match value.get_mut() {
            DeValue::String(text) if words.contains(&text.as_ref()) && names.contains(&text.as_ref()) => {
                // The word stands for a table in which nothing is said.
                let mut table = DeTable::new();
                let empty = Spanned::new(span.clone(), DeValue::Table(DeTable::new()));
                table.insert(Spanned::new(span.clone(), text.clone()), empty);
                *value.get_mut() = DeValue::Table(table);
            }
            DeValue::String(text) if words.contains(&text.as_ref()) => {}
            DeValue::String(text) if names.contains(&text.as_ref()) => {
                let next = format!("write {path_end} = {{ {text} = … }}", path_end = last(path));
                self.fatal(&span, format!("`{path}`: `{text}` needs to be said more closely"), next);
            }
            DeValue::String(text) => {
                let next = match nearest(text, words.iter().copied()) {
                    Some(word) => format!("did you mean \"{word}\"?"),
                    None => format!("choose one of {}", listed(&words)),
                };
                self.fatal(&span, format!("`{path}` cannot be \"{text}\""), next);
            }
            DeValue::Table(table) if !branches.is_empty() => {
                let keys = table.len();
                let (Some((name, inner)), 1) = (table.iter_mut().next(), keys) else {
                    let what = format!("`{path}` takes exactly one of {}", listed(&names));
                    return self.fatal(&span, what, "leave one of them".into());
                };
                match branches.iter().find(|(branch, _)| branch == name.get_ref()) {
                    Some((branch, schema)) => self.value(inner, schema, &format!("{path}.{branch}")),
                    None => {
                        let what = format!("`{path}` has no key `{}`", name.get_ref());
                        self.fatal(&name.span(), what, advice(name.get_ref(), &names));
                    }
                }
            }
            DeValue::Integer(number) if words.contains(&number.as_str()) => {
                let next = format!("write it in quotes: \"{}\"", number.as_str());
                self.fatal(&span, format!("`{path}` is a number"), next);
            }
            other => {
                let what = format!("`{path}` is {}", kind_of(other));
                self.fatal(&span, what, format!("choose one of {}", listed(&words)));
            }
        }
    }

    fn table(&mut self, table: &mut DeTable<'_>, span: &Range<usize>, schema: &Value, path: &str) {
        let none = Map::new();
        let known = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
        let within = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let required: Vec<&str> = match schema.get("required") {
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let mut missing: Vec<&str> =
            required.into_iter().filter(|name| !table.keys().any(|key| key.get_ref() == name)).collect();
        if let Some(first) = first_of_alternatives(table, schema) {
            missing.push(first);
        }
        let mut unknown = Vec::new();
        for (key, value) in table.iter_mut() {
            let name = key.get_ref().as_ref();
            match (known.get(name), schema.get("additionalProperties")) {
                (Some(schema), _) | (None, Some(schema @ Value::Object(_))) => {
                    self.value(value, schema, &within(name));
                }
                _ => {
                    let meant = nearest(name, known.keys().map(String::as_str));
                    if missing.iter().any(|missing| Some(*missing) == meant) {
                        // One slip, not two.
                        missing.retain(|missing| Some(*missing) != meant);
                        self.readable = false;
                    }
                    self.unknown_key(&key.span(), name, path, known);
                    unknown.push(name.to_owned());
                }
            }
        }
        for name in unknown {
            table.remove(name.as_str());
        }
        for name in missing {
            let what = format!("`{path}` has no `{name}`");
            self.fatal(span, what, format!("add {name} = …"));
        }
    }

    fn unknown_key(&mut self, span: &Range<usize>, name: &str, path: &str, known: &Map<String, Value>) {
        let mut places = Vec::new();
        places_of(self.schema, name, "", &mut places);
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
        // A slip of the pen goes before a key that belongs elsewhere, and that before a distant likeness.
        let slip = nearest(name, names.iter().copied()).filter(|meant| strsim::levenshtein(name, meant) <= 2);
        let next = match (slip, places.first().map(String::as_str)) {
            (Some(meant), _) => format!("did you mean `{meant}`?"),
            (None, Some("")) => {
                format!("`{name}` belongs at the top of the file, before the first line in square brackets")
            }
            (None, Some(place)) => format!("`{name}` belongs in `{place}`"),
            (None, None) => advice(name, &names),
        };
        let what = if path.is_empty() {
            format!("there is no key `{name}`")
        } else {
            format!("`{path}` has no key `{name}`")
        };
        self.error(span, what, next);
    }
}

/// The branches of a schema that has any.
fn choices(schema: &Value) -> Option<&[Value]> {
    // A table's alternatives say which of its keys stand for each other.
    if schema.get("properties").is_some() {
        return None;
    }
    ["oneOf", "anyOf"].iter().find_map(|name| schema.get(name)?.as_array()).map(Vec::as_slice)
}

/// The texts that a branch allows.
fn words_of(choice: &Value) -> Vec<&str> {
    match (choice.get("const"), choice.get("enum")) {
        (Some(Value::String(word)), _) => vec![word],
        (_, Some(Value::Array(words))) => words.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The tables that have a key `name`.
fn places_of(schema: &Value, name: &str, path: &str, places: &mut Vec<String>) {
    for (key, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if key == name {
            places.push(path.to_owned());
        }
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match (inner.get("items"), inner.get("additionalProperties")) {
            (Some(item), _) => places_of(item, name, &path, places),
            (None, Some(named @ Value::Object(_))) => places_of(named, name, &format!("{path}.NAME"), places),
            _ => places_of(inner, name, &path, places),
        }
    }
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Of keys that stand for each other, of which `table` has none: the first.
fn first_of_alternatives<'s>(table: &DeTable<'_>, schema: &'s Value) -> Option<&'s str> {
    let alternatives = schema.get("anyOf")?.as_array()?.iter();
    let mut names = alternatives.filter_map(|one| one.get("required")?.get(0)?.as_str()).peekable();
    let first = names.peek().copied();
    if names.any(|name| table.keys().any(|key| key.get_ref() == name)) { None } else { first }
}

fn words_for(kind: &str) -> &'static str {
    match kind {
        "object" => "a table: { key = value }",
        "array" => "a list: [ … ]",
        "integer" => "a whole number, without quotes",
        "number" => "a number, without quotes",
        "boolean" => "true or false, without quotes",
        _ => "a text, in quotes",
    }
}
