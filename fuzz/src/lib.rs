//! The bodies of the fuzz targets. They live with the core's tests, which run them on a few thousand random inputs
//! each time; here they run for as long as one likes.

#[path = "../../crates/core/tests/it/alphabet.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod alphabet;
#[path = "../../crates/core/tests/it/fuzz_bodies.rs"]
mod fuzz_bodies;
#[path = "../../crates/core/tests/it/rules.rs"]
mod rules;

/// A key is read from any header without a panic, and one that was read names itself in both forms.
pub fn key(data: &[u8]) {
    fuzz_bodies::key(data);
}

/// A fingerprint does not depend on where the body is cut, and canonical JSON is canonical.
pub fn fingerprint(data: &[u8]) {
    fuzz_bodies::fingerprint(data);
}

/// An operation id that was read writes itself as it was read.
pub fn operation_id(data: &[u8]) {
    fuzz_bodies::operation_id(data);
}

/// Any sequence of events keeps every rule.
pub fn transition(data: &[u8]) {
    fuzz_bodies::transition(data);
}
