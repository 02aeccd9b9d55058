//! From a file to a config, or to everything that is wrong with it.

use std::{fs::File, io::Read as _, path::Path};

use serde::Deserialize as _;
use serde_json::Value;
use toml::{
    Spanned,
    de::{DeTable, Deserializer},
};

use super::{
    Config,
    check::Checker,
    environment::{Environment, Overrides, Unreplaced, expand, overlay},
    error::{ConfigError, ConfigErrors, ConfigWarning, Place},
    raw::RawConfig,
    schema::schema,
    shape::check_shape,
    source::Source,
};

/// The largest config file, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A config, and what looks odd about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The config.
    pub config: Config,
    /// What works, but probably not as meant.
    pub warnings: Vec<ConfigWarning>,
}

/// Reads the config file at `path`, with `environment` laid over it and `overrides` over both.
///
/// # Errors
/// [`ConfigErrors`] says everything that is wrong, where, and what to do next. Nothing was done.
pub fn load(path: &Path, environment: &Environment, overrides: &Overrides) -> Result<Loaded, ConfigErrors> {
    let name = path.display().to_string();
    let text = read(path, FILE_BYTES_MAX).map_err(|reason| {
        let next = "give the path of a config file; `steadfast config init` writes one";
        ConfigErrors::one(Place::File(name.clone()), format!("it cannot be read: {reason}"), next)
    })?;
    parse(&name, &text, environment, overrides)
}

/// Reads a config from `text`; `name` is what its errors call it.
///
/// # Errors
/// As of [`load`].
pub fn parse(
    name: &str,
    text: &str,
    environment: &Environment,
    overrides: &Overrides,
) -> Result<Loaded, ConfigErrors> {
    let mut source = Source::new(name, text);
    let (mut root, syntax_errors) = DeTable::parse_recoverable(text);
    if !syntax_errors.is_empty() {
        return Err(ConfigErrors::new(syntax_errors.iter().map(|error| syntax(&source, error)).collect()));
    }
    let mut unreplaced = Vec::new();
    expand(&source, environment, root.get_mut(), &mut unreplaced);
    let (errors, texts): (Vec<_>, Vec<_>) =
        unreplaced.into_iter().map(|Unreplaced { error, text }| (error, text)).unzip();
    let said = errors.clone();
    let schema = schema();
    let warnings = overlay(&mut source, &schema, environment, overrides, root.get_mut());
    read_table(&source, &schema, root, errors, warnings)
        .map_err(|errors| errors.without_echoes(&said, &texts))
}

/// The config that `root` is, or everything that is wrong with it beside `errors`.
pub(super) fn read_table(
    source: &Source<'_>,
    schema: &Value,
    mut root: Spanned<DeTable<'_>>,
    mut errors: Vec<ConfigError>,
    warnings: Vec<ConfigWarning>,
) -> Result<Loaded, ConfigErrors> {
    let checked = check_shape(source, schema, &mut root);
    errors.extend(checked.errors);
    if !checked.readable {
        return Err(ConfigErrors::new(errors));
    }
    match RawConfig::deserialize(Deserializer::from(root)) {
        Ok(raw) => Checker::new(source, errors, warnings).finish(&raw),
        Err(error) => {
            // The schema let something through that the types do not take.
            errors.push(syntax(source, &error));
            Err(ConfigErrors::new(errors))
        }
    }
}

fn syntax(source: &Source<'_>, error: &toml::de::Error) -> ConfigError {
    let place = error.span().map_or_else(|| Place::File(source.name.into()), |span| source.place(&span));
    let what = error.message().trim().replace('\n', ", ");
    let next = match &place {
        _ if what == "duplicate key" => "remove one of the two, or merge them",
        Place::Line { text, .. } if is_bare(text) => "put texts in quotes: key = \"value\"",
        _ => "correct the TOML; https://toml.io shows its syntax on one page",
    };
    ConfigError { place, what, next: next.into() }
}

/// Whether `line` gives a key a value that no TOML value begins like, or a number with letters or dots in it.
fn is_bare(line: &str) -> bool {
    let value = line.split_once('=').map_or("", |(_, value)| value.trim_start());
    let written = value.split(['#', ' ', ',']).next().unwrap_or("");
    value.starts_with(|first: char| first.is_alphanumeric() || matches!(first, '/' | ':' | '.' | '$' | '*'))
        && !matches!(written, "true" | "false" | "inf" | "nan")
        && written.parse::<f64>().is_err()
}

/// The content of a file that is not larger than `bytes_max`.
pub(super) fn read(path: &Path, bytes_max: u64) -> Result<String, String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(bytes_max + 1).read_to_string(&mut text));
    match read {
        Ok(bytes) if bytes as u64 > bytes_max => Err(format!("it is larger than {bytes_max} bytes")),
        Ok(_) => Ok(text),
        Err(error) => Err(error.to_string()),
    }
}
