//! Whatever comes as a config: an answer, never a panic.

use proptest::prelude::*;
use steadfast_gateway::config::{effective, schema};

use crate::{SMALLEST, read};

/// Every key of the schema, at whatever depth.
fn keys(schema: &serde_json::Value, found: &mut Vec<String>) {
    match schema {
        serde_json::Value::Object(object) => {
            if let Some(serde_json::Value::Object(properties)) = object.get("properties") {
                found.extend(properties.keys().cloned());
            }
            object.values().for_each(|inner| keys(inner, found));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|inner| keys(inner, found)),
        _ => {}
    }
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<bool>().prop_map(|flag| flag.to_string()),
        any::<f64>()
            .prop_filter("finite", |number| number.is_finite())
            .prop_map(|number| format!("{number:?}")),
        "[0-9]{1,22}(ms|s|m|h|d|KB|MB|x)?".prop_map(|text| format!("{text:?}")),
        "[ -~ö\u{1F600}]{0,20}".prop_map(|text| toml::Value::String(text).to_string()),
        prop_oneof![
            Just("bank"),
            Just("/*"),
            Just("header"),
            Just("wait"),
            Just("${A}"),
            Just("http://a:1"),
            Just("bytes"),
            Just("409"),
            Just("POST"),
            Just("sqlite:a"),
            Just(":1"),
            Just("1s"),
        ]
        .prop_map(|text| format!("{text:?}")),
        Just("1979-05-27".to_owned()),
        Just("0xff".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::btree_map(key(), inner, 0..4).prop_map(|entries| {
                let entries: Vec<_> =
                    entries.into_iter().map(|(key, value)| format!("{key} = {value}")).collect();
                format!("{{ {} }}", entries.join(", "))
            }),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    let mut known = Vec::new();
    keys(&schema(), &mut known);
    known.push("unknown".into());
    known.push("\"ö\"".into());
    prop::sample::select(known)
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (key(), value()).prop_map(|(key, value)| format!("{key} = {value}")),
        1 => prop::sample::select(vec![
            "[edge]", "[upstreams.bank]", "[upstreams.b]", "[[routes]]", "[routes.idempotency]", "[upstreams.b.timeout]",
        ])
        .prop_map(str::to_owned),
    ]
}

/// Says something, and what is in force reads the same.
fn holds(text: &str) {
    match read(text) {
        Ok(loaded) => {
            let again = read(&effective(&loaded.config)).unwrap_or_else(|errors| panic!("{errors}"));
            assert_eq!(again.config, loaded.config);
        }
        Err(errors) => {
            assert!(!errors.errors().is_empty());
            assert!(errors.errors().iter().all(|error| !error.what.is_empty() && !error.next.is_empty()));
            let _ = errors.to_string();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        holds(&text);
    }

    #[test]
    fn no_toml_makes_it_panic(lines in prop::collection::vec(line(), 0..12)) {
        holds(&lines.join("\n"));
    }

    #[test]
    fn no_cut_through_a_good_file_makes_it_panic(at in 0..SMALLEST.len(), with in "[\\[\\]{}=\"'.\n\0ö$]{0,3}") {
        if SMALLEST.is_char_boundary(at) {
            holds(&format!("{}{with}{}", &SMALLEST[..at], &SMALLEST[at..]));
            holds(&format!("{}{with}", &SMALLEST[..at]));
        }
    }
}
