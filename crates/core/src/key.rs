//! The idempotency key: the caller's name for an operation.
//!
//! Clients send it as the structured-field string of draft-ietf-httpapi-idempotency-key-header (`"abc"`) or
//! bare (`abc`); both name the same key. It is checked before anything is looked up.

use std::fmt;

use crate::Timestamp;

/// The longest key that is accepted, in characters (the bound Stripe set, which clients rely on).
pub const KEY_CHARS_MAX: usize = 255;

/// An idempotency key: 1 to [`KEY_CHARS_MAX`] printable ASCII characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Box<str>);

/// Why a key was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// There is nothing in it.
    #[error("the key is empty")]
    Empty,
    /// It is longer than [`KEY_CHARS_MAX`].
    #[error("the key is longer than {KEY_CHARS_MAX} characters")]
    TooLong,
    /// It has a character that is not printable ASCII.
    #[error("the key has a character that is not printable ASCII")]
    NotPrintableAscii,
    /// It begins with a quote that nothing closes.
    #[error("the key begins with a quote that nothing closes")]
    UnterminatedQuote,
    /// A backslash in a quoted key stands before something other than a quote or a backslash.
    #[error("in a quoted key a backslash may only stand before a quote or another backslash")]
    BadEscape,
    /// Something other than parameters follows the closing quote.
    #[error("something other than parameters follows the closing quote")]
    AfterQuote,
}

impl Key {
    /// Takes a key as it stands, without quotes: a body field's value, say.
    ///
    /// # Errors
    /// [`InvalidKey`] where it is empty, too long or not printable ASCII.
    pub fn new(text: &str) -> Result<Self, InvalidKey> {
        if text.is_empty() {
            return Err(InvalidKey::Empty);
        }
        if !text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) {
            return Err(InvalidKey::NotPrintableAscii);
        }
        if text.len() > KEY_CHARS_MAX {
            return Err(InvalidKey::TooLong);
        }
        Ok(Self(text.into()))
    }

    /// What stands for a key that was erased. A caller may send the same text: it names another operation.
    #[must_use]
    pub fn erased() -> Self {
        Self("(erased)".into())
    }

    /// The key of a schedule's tick: the instant, in milliseconds since 1970.
    #[must_use]
    pub fn of_tick(tick: Timestamp) -> Self {
        Self(tick.as_millis().to_string().into())
    }

    /// Reads the value of one `Idempotency-Key` header: an RFC 9651 String whose parameters are ignored, or the
    /// bare form.
    ///
    /// # Errors
    /// [`InvalidKey`] says what is wrong with it.
    pub fn from_header(value: &[u8]) -> Result<Self, InvalidKey> {
        let value = value.trim_ascii();
        if value.first() == Some(&b'"') {
            return Self::from_quoted(&value[1..]);
        }
        match std::str::from_utf8(value) {
            Ok(text) => Self::new(text),
            Err(_) => Err(InvalidKey::NotPrintableAscii),
        }
    }

    /// Reads what follows the opening quote.
    fn from_quoted(rest: &[u8]) -> Result<Self, InvalidKey> {
        let mut text = String::with_capacity(rest.len());
        let mut bytes = rest.iter().copied().enumerate();
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'"' => {
                    let after = rest[at + 1..].trim_ascii_start();
                    let parameters = after.is_empty() || after[0] == b';';
                    return if parameters { Self::new(&text) } else { Err(InvalidKey::AfterQuote) };
                }
                b'\\' => match bytes.next() {
                    Some((_, escaped @ (b'"' | b'\\'))) => text.push(char::from(escaped)),
                    Some(_) => return Err(InvalidKey::BadEscape),
                    None => return Err(InvalidKey::UnterminatedQuote),
                },
                0x20..=0x7e => text.push(char::from(byte)),
                _ => return Err(InvalidKey::NotPrintableAscii),
            }
        }
        Err(InvalidKey::UnterminatedQuote)
    }

    /// The key without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text).expect("a valid key")
    }

    #[test]
    fn the_quoted_and_the_bare_form_name_the_same_key() {
        assert_eq!(Key::from_header(b"\"abc\""), Ok(key("abc")));
        assert_eq!(Key::from_header(b"abc"), Ok(key("abc")));
        assert_eq!(Key::from_header(b"  \"abc\" "), Ok(key("abc")));
    }

    #[test]
    fn parameters_behind_a_quoted_key_are_ignored() {
        assert_eq!(Key::from_header(b"\"abc\";v=1;x"), Ok(key("abc")));
        assert_eq!(Key::from_header(b"\"abc\" ; v=1"), Ok(key("abc")));
        // A bare key may hold a semicolon of its own: cutting it there would make two keys one.
        assert_eq!(Key::from_header(b"abc;v=1"), Ok(key("abc;v=1")));
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(Key::from_header(br#""a\"b\\c""#), Ok(key(r#"a"b\c"#)));
        assert_eq!(Key::from_header(br#""a\nb""#), Err(InvalidKey::BadEscape));
    }

    #[test]
    fn every_malformed_key_is_refused_with_its_reason() {
        let long = "k".repeat(256);
        for (value, reason) in [
            (&b""[..], InvalidKey::Empty),
            (b"   ", InvalidKey::Empty),
            (b"\"\"", InvalidKey::Empty),
            (b"\"abc", InvalidKey::UnterminatedQuote),
            (b"\"", InvalidKey::UnterminatedQuote),
            (b"\"abc\\", InvalidKey::UnterminatedQuote),
            (b"\"abc\" def", InvalidKey::AfterQuote),
            (b"\"a\", \"b\"", InvalidKey::AfterQuote),
            (b"a\tb", InvalidKey::NotPrintableAscii),
            (b"a\x7fb", InvalidKey::NotPrintableAscii),
            ("schlüssel".as_bytes(), InvalidKey::NotPrintableAscii),
            (b"\xff", InvalidKey::NotPrintableAscii),
            (long.as_bytes(), InvalidKey::TooLong),
        ] {
            assert_eq!(Key::from_header(value), Err(reason), "{value:?}");
        }
        assert!(Key::from_header(&long.as_bytes()[..255]).is_ok());
    }
}
