//! The keys that answers are encrypted with: a file of one or more, of which the first encrypts and all decrypt.

use std::{fmt, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};

/// How many keys a file may have: more than any rotation needs.
const KEYS_MAX: usize = 64;

/// How long a key's id may be, in bytes.
pub(crate) const ID_BYTES_MAX: usize = 32;

/// How many bytes a key has.
const KEY_BYTES: usize = 32;

/// The keys of a key file. Clones share them; they are overwritten when the last is dropped, and never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Keys(Arc<[Key]>);

/// One key, and what is derived from it.
pub(crate) struct Key {
    id: Box<str>,
    pub(crate) cipher: XChaCha20Poly1305,
    /// What nonces are derived with.
    pub(crate) nonces: [u8; KEY_BYTES],
}

/// A key file cannot be used. The words never hold anything of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeys {
    /// There is no key in it.
    #[error("there is no key in it")]
    None,
    /// There are too many.
    #[error("there are more than {KEYS_MAX} keys in it")]
    TooMany,
    /// A line is not a key.
    #[error(
        "line {0} is not a key: an id of letters, digits, `-` and `_` (32 at most), a colon and 32 bytes in Base64"
    )]
    NotAKey(usize),
    /// Two keys have one id.
    #[error("line {0} has the id of a key above it")]
    SameId(usize),
}

impl Keys {
    /// The keys of a key file: one a line, `id:base64`, the one that encrypts first. Empty lines and those that begin
    /// with `#` are left out.
    ///
    /// # Errors
    /// [`InvalidKeys`] says which line is wrong.
    pub fn parse(text: &str) -> Result<Self, InvalidKeys> {
        let mut keys: Vec<Key> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let (number, line) = (index + 1, line.trim());
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = Key::parse(line).ok_or(InvalidKeys::NotAKey(number))?;
            if keys.iter().any(|other| other.id == key.id) {
                return Err(InvalidKeys::SameId(number));
            }
            if keys.len() == KEYS_MAX {
                return Err(InvalidKeys::TooMany);
            }
            keys.push(key);
        }
        if keys.is_empty() { Err(InvalidKeys::None) } else { Ok(Self(keys.into())) }
    }

    /// A new key, as a line of a key file.
    ///
    /// # Errors
    /// Where the operating system gives no random bytes.
    pub fn new_line() -> Result<String, getrandom::Error> {
        let (mut id, mut secret) = ([0; 4], [0; KEY_BYTES]);
        getrandom::fill(&mut id)?;
        getrandom::fill(&mut secret)?;
        Ok(format!("k{:08x}:{}", u32::from_be_bytes(id), BASE64_STANDARD.encode(secret)))
    }

    /// The key that encrypts; `None` where there is none.
    pub(crate) fn first(&self) -> Option<&Key> {
        self.0.first()
    }

    /// The key with this id.
    pub(crate) fn with_id(&self, id: &str) -> Option<&Key> {
        self.0.iter().find(|key| &*key.id == id)
    }
}

/// The ids; the keys themselves are not shown.
impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

impl Key {
    fn parse(line: &str) -> Option<Self> {
        let (id, secret) = line.split_once(':')?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !(1..=ID_BYTES_MAX).contains(&id.len()) || !id.bytes().all(is_plain) {
            return None;
        }
        let secret: [u8; KEY_BYTES] = BASE64_STANDARD.decode(secret.trim()).ok()?.try_into().ok()?;
        let encryption = blake3::derive_key("steadfast encryption at rest v1: encryption", &secret);
        let nonces = blake3::derive_key("steadfast encryption at rest v1: nonces", &secret);
        Some(Self { id: id.into(), cipher: XChaCha20Poly1305::new(&encryption.into()), nonces })
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }
}

/// Two keys are the same where what is derived from them is.
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        (&self.id, &self.nonces) == (&other.id, &other.nonces)
    }
}

impl Eq for Key {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_line_is_a_key_and_no_two_are_the_same() {
        let (one, other) = (Keys::new_line().expect("random bytes"), Keys::new_line().expect("random bytes"));
        assert_ne!(one, other);
        let both = Keys::parse(&format!("# the newest first\n{one}\n\n  {other}  \n")).expect("two keys");
        assert_eq!(both.first().map(Key::id), one.split(':').next());
        assert!(both.with_id(other.split(':').next().expect("an id")).is_some());
        assert_ne!(both, Keys::parse(&one).expect("a key"));
        assert_eq!(both, both.clone());
    }

    #[test]
    fn what_is_no_key_is_refused_by_its_line_and_never_shown() {
        let secret = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U=";
        let good = format!("a:{secret}");
        for (text, error) in [
            (String::new(), InvalidKeys::None),
            ("# nothing".into(), InvalidKeys::None),
            (format!("{good}\n{secret}"), InvalidKeys::NotAKey(2)),
            (format!(":{secret}"), InvalidKeys::NotAKey(1)),
            (format!("a b:{secret}"), InvalidKeys::NotAKey(1)),
            (format!("{}:{secret}", "a".repeat(33)), InvalidKeys::NotAKey(1)),
            ("a:c2VjcmV0".into(), InvalidKeys::NotAKey(1)),
            (format!("{good}\n\n{good}"), InvalidKeys::SameId(3)),
            ((0..=KEYS_MAX).map(|id| format!("{id}:{secret}\n")).collect(), InvalidKeys::TooMany),
        ] {
            let refused = Keys::parse(&text).expect_err("no keys");
            assert_eq!(refused, error, "{text}");
            assert!(!refused.to_string().contains("c2Vj"));
        }
        assert_eq!(format!("{:?}", Keys::parse(&good).expect("a key")), "[\"a\"]");
    }
}
