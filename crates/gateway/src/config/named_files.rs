//! The files that a config names by a key that ends in `_file`: to watch a config is to watch these too.

use std::path::PathBuf;

use toml::de::{DeTable, DeValue};

use super::{
    environment::{Environment, Overrides, expand, overlay},
    schema::schema,
    source::Source,
};

/// What a key ends in whose value is the path of a file.
const SUFFIX: &str = "_file";

/// The files that the config in `text` names by keys that end in `_file`, wherever they stand. What cannot be read
/// as TOML names none, and a path with a variable that is not set is taken as it is written: whoever loads the
/// config says what is wrong with it.
#[must_use]
pub fn named_files(text: &str, environment: &Environment, overrides: &Overrides) -> Vec<PathBuf> {
    let mut source = Source::new("", text);
    let (mut root, _) = DeTable::parse_recoverable(text);
    expand(&source, environment, root.get_mut(), &mut Vec::new());
    overlay(&mut source, &schema(), environment, overrides, root.get_mut());
    let mut files = Vec::new();
    collect(root.get_ref(), &mut files);
    files.sort();
    files.dedup();
    files
}

fn collect(table: &DeTable<'_>, files: &mut Vec<PathBuf>) {
    for (key, value) in table {
        match value.get_ref() {
            DeValue::String(path) if key.get_ref().ends_with(SUFFIX) => files.push(PathBuf::from(&**path)),
            DeValue::Table(table) => collect(table, files),
            DeValue::Array(items) => {
                for item in items {
                    match item.get_ref() {
                        DeValue::Table(table) => collect(table, files),
                        DeValue::String(path) if key.get_ref().ends_with(SUFFIX) => {
                            files.push(PathBuf::from(&**path));
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_names_a_file_is_found_wherever_it_stands() {
        let text = r#"
ledger_file = "${DIR}/ledger"
[upstreams.bank]
tls = { key_file = "key.pem", name = "not a file" }
[[routes]]
token_file = ["a", "b"]
"#;
        let environment: Environment = [("DIR", "/run/secrets")].into_iter().collect();
        let found = |overrides| named_files(text, &environment, &overrides);
        let names = ["/run/secrets/ledger", "a", "b", "key.pem"].map(PathBuf::from);
        assert_eq!(found(Overrides::default()), names);
        // A flag that says where the ledger is goes before the file that says so.
        let flag = Overrides { ledger: Some("sqlite:a.db".into()), ..Overrides::default() };
        assert_eq!(found(flag), names[1..]);
        assert!(named_files("not = [toml", &environment, &Overrides::default()).is_empty());
    }
}
