//! The bodies of the fuzz targets, on as many random inputs as an ordinary test run has time for.

use proptest::{
    collection::vec,
    prelude::any,
    strategy::{BoxedStrategy, Just, Strategy},
};

use crate::{fuzz_bodies, seeded};

const CASES: u32 = 4_000;

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..300)
}

/// Texts over the characters that mean something to a parser, so that it gets past the first of them.
fn letters(alphabet: &'static [u8], length_max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(proptest::sample::select(alphabet), 0..length_max)
}

/// JSON with white space, escapes, long numbers and, now and then, a member named twice.
fn json() -> BoxedStrategy<String> {
    let scalar = proptest::sample::select(vec![
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1.0",
        "1e2",
        "1E+2",
        "12345678901234567890123",
        "1e999",
        r#""""#,
        r#""a""#,
        r#""\u0061""#,
        r#""\ud83d\ude00""#,
        r#""\ud800""#,
        r#""\n\"\\/\/""#,
        "\"ü\"",
    ]);
    let name = proptest::sample::select(vec!["", "a", "b", "a.b", "\\u0061", "meta", "ü", "\\\"", "$x"]);
    let space = proptest::sample::select(vec!["", "", " ", "\n\t"]);
    scalar
        .prop_map(str::to_owned)
        .prop_recursive(5, 40, 5, move |inner| {
            let element =
                (space.clone(), inner.clone()).prop_map(|(space, value)| format!("{space}{value}{space}"));
            let member = (space.clone(), name.clone(), element.clone())
                .prop_map(|(space, name, value)| format!("{space}\"{name}\"{space}:{value}"));
            proptest::prop_oneof![
                vec(element, 0..5).prop_map(|elements| format!("[{}]", elements.join(","))),
                vec(member, 0..5).prop_map(|members| format!("{{{}}}", members.join(","))),
            ]
        })
        .boxed()
}

#[test]
fn any_header_is_a_key_or_a_refusal() {
    seeded::check(CASES, &bytes(), |data| fuzz_bodies::key(&data));
    seeded::check(CASES, &letters(b"\"\\;= \tab\x7f,", 12), |data| fuzz_bodies::key(&data));
}

#[test]
fn any_body_has_a_fingerprint() {
    seeded::check(CASES, &bytes(), |data| fuzz_bodies::fingerprint(&data));
}

#[test]
fn canonical_json_is_its_own_canonical_form() {
    seeded::check(CASES, &json(), |text| fuzz_bodies::canonical(text.as_bytes()));
    seeded::check(CASES, &letters(br#"{}[]",:\u0aed1-. "#, 24), |data| fuzz_bodies::canonical(&data));
}

#[test]
fn canonical_json_of_any_nesting_neither_panics_nor_overflows() {
    for depth in [1, 63, 64, 65, 66, 1_000, 100_000] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let text = format!("{}0{}", open.repeat(depth), close.repeat(depth));
            fuzz_bodies::canonical(text.as_bytes());
            fuzz_bodies::canonical(open.repeat(depth).as_bytes());
        }
    }
}

#[test]
fn any_text_is_an_operation_id_or_refused() {
    seeded::check(CASES, &bytes(), |data| fuzz_bodies::operation_id(&data));
    let digits = letters(b"0123456789abcdefghjkmnpqrstvwxyz", 27);
    let ids = (Just("op_0"), digits).prop_map(|(prefix, digits)| [prefix.as_bytes(), &digits].concat());
    seeded::check(CASES, &ids, |data| fuzz_bodies::operation_id(&data));
    let whole = vec(proptest::sample::select(b"0123456789abcdefghjkmnpqrstvwxyz".as_slice()), 25);
    let ids = whole.prop_map(|digits| [b"op_0".as_slice(), &digits].concat());
    seeded::check(CASES, &ids, |data| fuzz_bodies::operation_id(&data));
}

#[test]
fn any_sequence_of_events_keeps_every_rule() {
    seeded::check(CASES / 4, &bytes(), |data| fuzz_bodies::transition(&data));
}
