//! What must hold for any bytes whatever: run here on random ones, and by `fuzz/` for as long as one likes.

use std::str::FromStr;

use steadfast_core::{
    Fingerprint, FingerprintBuilder, KEY_CHARS_MAX, Key, MultipartFingerprint, OperationId, State,
    canonical_json,
};

use crate::{
    alphabet::every_event,
    rules::{self, Step},
};

/// A key is read from any header without a panic, and one that was read names itself in both forms.
pub(crate) fn key(data: &[u8]) {
    let Ok(key) = Key::from_header(data) else { return };
    let text = key.as_str();
    assert!((1..=KEY_CHARS_MAX).contains(&text.len()));
    assert!(text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)));
    assert_eq!(Key::new(text).as_ref(), Ok(&key));
    let quoted = format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    assert_eq!(Key::from_header(quoted.as_bytes()).as_ref(), Ok(&key), "{quoted}");
    if text.trim() == text && !text.starts_with('"') {
        assert_eq!(Key::from_header(text.as_bytes()).as_ref(), Ok(&key), "{text}");
    }
}

/// A fingerprint does not depend on where the body is cut, and canonical JSON is canonical.
pub(crate) fn fingerprint(data: &[u8]) {
    let (cut, body) = data.split_first().map_or((0, data), |(&cut, body)| (usize::from(cut), body));
    let (head, tail) = body.split_at(cut.min(body.len()));
    let path = String::from_utf8_lossy(head);
    let of = |parts: &[&[u8]]| -> Fingerprint {
        let mut builder = FingerprintBuilder::new("POST", &path, None, Some(head));
        parts.iter().for_each(|part| builder.body(part));
        builder.finish()
    };
    assert_eq!(of(&[body]), of(&[head, tail]));
    assert_eq!(of(&[body]), of(&[body, b""]));
    let of_parts = |parts: &[&[u8]]| -> Fingerprint {
        let kind = b"multipart/form-data; boundary=a";
        let mut builder = MultipartFingerprint::new("POST", &path, None, Some(kind), vec!["a".into()]);
        parts.iter().for_each(|part| builder.body(part));
        builder.finish()
    };
    assert_eq!(of_parts(&[body]), of_parts(&[head, tail]));
    canonical(body);
}

/// Canonical JSON is its own canonical form, and means what it was made from.
pub(crate) fn canonical(text: &[u8]) {
    let Ok(once) = canonical_json(text, &[]) else { return };
    assert_eq!(canonical_json(&once, &[]).as_ref(), Ok(&once));
    // serde_json refuses numbers beyond a float, which the canonical form keeps as they are written.
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(text) {
        let canonical: serde_json::Value = serde_json::from_slice(&once).expect("canonical JSON is JSON");
        assert_eq!(value, canonical);
        assert_omits(text, &value);
    }
}

/// What is left out is gone, and nothing else.
fn assert_omits(text: &[u8], value: &serde_json::Value) {
    let Some(members) = value.as_object() else { return };
    // A name with a dot in it is also the path of a member within a member.
    for name in members.keys().filter(|name| !name.contains('.')) {
        let short =
            canonical_json(text, std::slice::from_ref(name)).expect("the whole text is canonical JSON");
        let short: serde_json::Value = serde_json::from_slice(&short).expect("canonical JSON is JSON");
        let mut rest = members.clone();
        rest.remove(name);
        assert_eq!(short, serde_json::Value::Object(rest), "without {name:?}");
    }
}

/// An operation id that was read writes itself as it was read.
pub(crate) fn operation_id(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(id) = OperationId::from_str(text) else { return };
    assert_eq!(id.to_string(), text);
    assert_eq!(OperationId::from_str(&id.to_string()), Ok(id));
    assert!(id.sequence() <= OperationId::SEQUENCE_MAX);
}

/// Any sequence of events keeps every rule. Two bytes name an event; whether only accepted ones are chosen
/// from is the first one's highest bit.
pub(crate) fn transition(data: &[u8]) {
    let events = every_event();
    let mut state = State::Absent;
    for &[high, low] in data.as_chunks().0 {
        let choice = usize::from(u16::from_be_bytes([high & 0x7f, low]));
        let accepted: Vec<Step> = events
            .iter()
            .map(|&event| Step::new(state, event))
            .filter(|step| high < 0x80 || step.outcome.is_ok())
            .collect();
        let step = accepted[choice % accepted.len()];
        rules::ALL.iter().for_each(|rule| rule(&step));
        state = step.after();
    }
}
