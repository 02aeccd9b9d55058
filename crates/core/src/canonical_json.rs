//! One form for all JSON texts that mean the same: members in order, no white space, strings unescaped.
//!
//! Clients rebuild their body for a retry, and languages disagree about member order and spacing. Numbers are
//! compared as they are written: `1` and `1.0` differ, and a number too large for a float stays itself.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::value::RawValue;

/// How deeply texts may nest; beyond it they are not canonicalised.
const DEPTH_MAX: usize = 64;

/// The text is not JSON that has one meaning: malformed, a member named twice, or nested too deeply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not JSON with one meaning")]
pub struct NotCanonical;

/// Writes `text` in its canonical form, without the fields named in `omit` as dotted paths from the root
/// (`meta.sent_at`; array elements share their array's path).
///
/// # Errors
/// [`NotCanonical`] where the text is not JSON with one meaning; its bytes are what counts then.
pub fn canonical_json(text: &[u8], omit: &[String]) -> Result<Vec<u8>, NotCanonical> {
    let root: &RawValue = serde_json::from_slice(text).map_err(|_| NotCanonical)?;
    let mut writer = Writer { out: Vec::with_capacity(text.len()), omit, path: Path::default() };
    writer.value(root, 0)?;
    Ok(writer.out)
}

struct Writer<'a> {
    out: Vec<u8>,
    omit: &'a [String],
    path: Path,
}

/// Where the writer is: the names of the members that it is in.
#[derive(Default)]
struct Path {
    dotted: String,
    /// How many names that is. A name may be empty, so the text alone does not tell.
    names: usize,
}

impl Path {
    /// Goes into the member `name`; the result leads back out.
    fn enter(&mut self, name: &str) -> usize {
        let outer = self.dotted.len();
        if self.names > 0 {
            self.dotted.push('.');
        }
        self.dotted.push_str(name);
        self.names += 1;
        outer
    }

    fn leave(&mut self, outer: usize) {
        self.dotted.truncate(outer);
        self.names -= 1;
    }
}

impl Writer<'_> {
    fn value(&mut self, value: &RawValue, depth: usize) -> Result<(), NotCanonical> {
        if depth > DEPTH_MAX {
            return Err(NotCanonical);
        }
        let text = value.get();
        match text.as_bytes()[0] {
            b'{' => self.object(text, depth),
            b'[' => self.array(text, depth),
            b'"' => self.string(&serde_json::from_str::<Cow<'_, str>>(text).map_err(|_| NotCanonical)?),
            _ => {
                self.out.extend_from_slice(text.as_bytes());
                Ok(())
            }
        }
    }

    fn object(&mut self, text: &str, depth: usize) -> Result<(), NotCanonical> {
        let Members(members) = serde_json::from_str(text).map_err(|_| NotCanonical)?;
        self.out.push(b'{');
        let mut first = true;
        for (name, value) in members {
            let outer = self.path.enter(&name);
            if !self.omit.contains(&self.path.dotted) {
                if !std::mem::take(&mut first) {
                    self.out.push(b',');
                }
                self.string(&name)?;
                self.out.push(b':');
                self.value(value, depth + 1)?;
            }
            self.path.leave(outer);
        }
        self.out.push(b'}');
        Ok(())
    }

    fn array(&mut self, text: &str, depth: usize) -> Result<(), NotCanonical> {
        let elements: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| NotCanonical)?;
        self.out.push(b'[');
        for (index, element) in elements.into_iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            self.value(element, depth + 1)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn string(&mut self, text: &str) -> Result<(), NotCanonical> {
        serde_json::to_writer(&mut self.out, text).map_err(|_| NotCanonical)
    }
}

/// An object's members in order of their names, each named once.
struct Members<'a>(BTreeMap<Cow<'a, str>, &'a RawValue>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object whose members are each named once")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    if members.insert(Cow::Owned(name), value).is_some() {
                        return Err(serde::de::Error::custom("a member is named twice"));
                    }
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str, omit: &[&str]) -> Result<String, NotCanonical> {
        let omit: Vec<String> = omit.iter().map(|path| (*path).to_owned()).collect();
        canonical_json(text.as_bytes(), &omit).map(|bytes| String::from_utf8(bytes).expect("UTF-8"))
    }

    #[test]
    fn order_and_spacing_make_no_difference() {
        let one = canonical("{\"b\": [1, {\"d\":null ,\"c\":\"\\u0061\"}],\n \"a\" : true}", &[]);
        assert_eq!(one.as_deref(), Ok(r#"{"a":true,"b":[1,{"c":"a","d":null}]}"#));
    }

    #[test]
    fn numbers_count_as_they_are_written() {
        let big = "[123456789012345678901234567890,1.0,1]";
        assert_eq!(canonical(big, &[]).as_deref(), Ok(big));
    }

    #[test]
    fn fields_are_left_out_by_path() {
        let text = r#"{"meta":{"sent_at":1,"who":2},"sent_at":3,"list":[{"x":1,"y":2}]}"#;
        assert_eq!(
            canonical(text, &["meta.sent_at", "list.x"]).as_deref(),
            Ok(r#"{"list":[{"y":2}],"meta":{"who":2},"sent_at":3}"#)
        );
    }

    #[test]
    fn a_member_without_a_name_is_a_step_of_the_path_too() {
        let text = r#"{"":{"a":1},"a":2}"#;
        assert_eq!(canonical(text, &["a"]).as_deref(), Ok(r#"{"":{"a":1}}"#));
        assert_eq!(canonical(text, &[".a"]).as_deref(), Ok(r#"{"":{},"a":2}"#));
    }

    #[test]
    fn equal_numbers_that_are_written_differently_differ() {
        // Whoever reads them may tell them apart: an integer is not a float, and -0 is not 0.
        for (one, other) in [("1", "1.0"), ("100", "1e2"), ("1e2", "1E2"), ("0", "-0"), ("0.1", "0.10")] {
            assert_ne!(canonical(one, &[]), canonical(other, &[]), "{one} and {other}");
            assert_eq!(canonical(one, &[]).as_deref(), Ok(one));
        }
    }

    #[test]
    fn how_a_string_is_escaped_makes_no_difference() {
        for (one, other) in [
            (r#""\u0061\u00fc""#, "\"aü\""),
            (r#""\ud83d\ude00""#, "\"😀\""),
            (r#""\/\u000a\u0022""#, r#""/\n\"""#),
            (r#"{"\u0062":1,"a":2}"#, r#"{"a":2,"b":1}"#),
        ] {
            let canonical_one = canonical(one, &[]);
            assert!(canonical_one.is_ok(), "{one}");
            assert_eq!(canonical_one, canonical(other, &[]), "{one} and {other}");
        }
        // But what is composed and what is not are two texts.
        assert_ne!(canonical("\"\u{fc}\"", &[]), canonical("\"u\u{308}\"", &[]));
    }

    #[test]
    fn a_member_named_twice_is_found_however_it_is_escaped_and_however_deep() {
        for text in [r#"{"a":1,"\u0061":2}"#, r#"[{"b":{"a":1,"a":1}}]"#] {
            assert_eq!(canonical(text, &[]), Err(NotCanonical), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth| format!("{}0{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(canonical(&nested(DEPTH_MAX), &[]), Ok(nested(DEPTH_MAX)));
        assert_eq!(canonical(&nested(DEPTH_MAX + 1), &[]), Err(NotCanonical));
    }

    #[test]
    fn half_a_character_and_a_byte_order_mark_are_no_json() {
        for text in [r#""\ud83d""#, r#""\ude00\ud83d""#, "\u{feff}{}", "NaN", "+1", "01", "1.", "'a'"] {
            assert_eq!(canonical(text, &[]), Err(NotCanonical), "{text}");
        }
        assert_eq!(canonical_json(b"\"\xff\"", &[]), Err(NotCanonical));
    }

    #[test]
    fn what_has_no_single_meaning_is_refused() {
        let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        for text in ["", "{", r#"{"a":1,"a":2}"#, "[1,]", "1 2", deep.as_str()] {
            assert_eq!(canonical(text, &[]), Err(NotCanonical), "{text}");
        }
    }
}
