//! API keys: `<prefix>_<id>_<secret><checksum>`, in letters that survive being read aloud.
//!
//! The prefix says whose key it is, so that a scanner finds one that leaked; the id is what people call it by, and opens
//! nothing; the secret has 160 random bits, so a fast digest of the whole is as good as a slow one; the checksum
//! (CRC-32, in seven digits) tells a typo from a key that nobody knows, without asking anybody.

use std::fmt;

use crate::{CredentialId, domain::Domain};

static API_KEY: Domain = Domain::new("steadfast api key v1");

/// Crockford's base 32, in lower case: no `i`, `l`, `o` or `u` to mistake.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// How many characters the secret has: 160 bits.
const SECRET_CHARS: usize = 32;

/// How many characters the checksum has: 35 bits, of which 32 are used.
const CHECKSUM_CHARS: usize = 7;

/// The most characters that a prefix may have.
pub const KEY_PREFIX_CHARS_MAX: usize = 20;

/// A key as its holder has it. It is shown once, and kept by nobody else.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    id: CredentialId,
    text: Box<str>,
}

/// A text is not an API key as this program makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidApiKey {
    /// It does not begin with the prefix.
    #[error("it does not begin with the prefix of these keys")]
    OtherPrefix,
    /// Its checksum is not that of its letters: it is mistyped or cut off.
    #[error("it is mistyped or cut off: its last letters do not fit the others")]
    Mistyped,
}

impl ApiKey {
    /// Draws a new key from the operating system's randomness.
    ///
    /// # Panics
    /// Where the operating system has no randomness: no key would be secret then.
    #[must_use]
    pub fn random(prefix: &str) -> Self {
        let mut bytes = [0; 8 + SECRET_CHARS];
        getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
        let mut id = [0; 8];
        id.copy_from_slice(&bytes[..8]);
        Self::of(prefix, CredentialId::from_bits(u64::from_le_bytes(id)), &bytes[8..])
    }

    /// The key whose secret has the lower five bits of these bytes.
    fn of(prefix: &str, id: CredentialId, secret: &[u8]) -> Self {
        let mut text = format!("{prefix}_{id}_");
        text.extend(secret.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])));
        let checksum = checksum(text.as_bytes());
        text.extend(checksum.map(char::from));
        Self { id, text: text.into() }
    }

    /// What it is listed and revoked by.
    #[must_use]
    pub fn id(&self) -> CredentialId {
        self.id
    }

    /// The key itself, to be shown to its holder and to nobody else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What is kept of it.
    #[must_use]
    pub fn digest(&self) -> ApiKeyDigest {
        ApiKeyDigest::of(self.text.as_bytes())
    }
}

/// The secret is in no log.
impl fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ApiKey({})", self.id)
    }
}

/// Why nobody can have been given `text` as a key with this prefix, if so.
///
/// # Errors
/// [`InvalidApiKey`].
pub fn check_api_key(prefix: &str, text: &[u8]) -> Result<(), InvalidApiKey> {
    if !has_key_prefix(prefix, text) {
        return Err(InvalidApiKey::OtherPrefix);
    }
    let (body, end) = text.split_at(text.len().saturating_sub(CHECKSUM_CHARS));
    if checksum(body) == end { Ok(()) } else { Err(InvalidApiKey::Mistyped) }
}

/// Whether `text` begins as the keys with this prefix do.
#[must_use]
pub fn has_key_prefix(prefix: &str, text: &[u8]) -> bool {
    text.strip_prefix(prefix.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'_'))
}

/// Whether keys can have this prefix: letters, digits and `_` inside, so that a double click selects all of a key.
#[must_use]
pub fn is_key_prefix(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=KEY_PREFIX_CHARS_MAX).contains(&text.len())
        && text.bytes().all(inside)
        && !text.starts_with('_')
        && !text.ends_with('_')
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_CHARS] {
    let crc = u64::from(crc32(bytes));
    std::array::from_fn(|at| ALPHABET[(crc >> (5 * (CHECKSUM_CHARS - 1 - at))) as usize & 31])
}

/// CRC-32 as in zip and PNG (ISO-HDLC).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| {
                if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 }
            },
        )
    })
}

/// What is kept of an API key: a digest, from which nobody finds the key.
#[derive(Clone, Copy)]
pub struct ApiKeyDigest([u8; 32]);

impl ApiKeyDigest {
    /// The digest of what was sent as a key, whatever it is.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        Self(*API_KEY.hasher().update(text).finalize().as_bytes())
    }

    /// The digest with these bytes, as a store kept them.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, as a store keeps them.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Its beginning, to find it by.
    #[must_use]
    pub fn head(&self) -> u64 {
        let mut head = [0; 8];
        head.copy_from_slice(&self.0[..8]);
        u64::from_le_bytes(head)
    }
}

/// Takes as long however much of the two is the same.
impl PartialEq for ApiKeyDigest {
    fn eq(&self, other: &Self) -> bool {
        let differing = self.0.iter().zip(&other.0).fold(0, |differing, (one, two)| differing | (one ^ two));
        std::hint::black_box(differing) == 0
    }
}

impl Eq for ApiKeyDigest {}

impl fmt::Debug for ApiKeyDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ApiKeyDigest(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_of_prefix_id_secret_and_checksum_and_no_two_are_the_same() {
        let key = ApiKey::random("sf_live");
        let parts: Vec<&str> = key.reveal().rsplitn(3, '_').collect();
        assert_eq!((parts[2], parts[1]), ("sf_live", &*key.id().to_string()));
        assert_eq!(parts[0].len(), SECRET_CHARS + CHECKSUM_CHARS);
        assert_eq!(check_api_key("sf_live", key.reveal().as_bytes()), Ok(()));
        assert_ne!(key.digest(), ApiKey::random("sf_live").digest());
        assert_eq!(format!("{key:?}"), format!("ApiKey({})", key.id()));
    }

    #[test]
    fn a_mistyped_key_is_told_from_one_that_is_another_s() {
        let key = ApiKey::random("sf");
        let text = key.reveal().as_bytes();
        for at in 3..text.len() {
            let mut typo = text.to_vec();
            typo[at] = if typo[at] == b'x' { b'y' } else { b'x' };
            assert_eq!(check_api_key("sf", &typo), Err(InvalidApiKey::Mistyped), "letter {at}");
        }
        for length in 3..text.len() {
            assert_eq!(
                check_api_key("sf", &text[..length]),
                Err(InvalidApiKey::Mistyped),
                "{length} letters"
            );
        }
        for other in ["", "s", "sf", "sg_x", "sfx_1"] {
            assert_eq!(check_api_key("sf", other.as_bytes()), Err(InvalidApiKey::OtherPrefix), "{other}");
        }
    }

    #[test]
    fn the_checksum_is_the_crc_of_everybody() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn prefixes_are_words_that_a_double_click_selects() {
        for good in ["sf", "sf_live", "A1"] {
            assert!(is_key_prefix(good), "{good}");
        }
        for bad in ["", "_sf", "sf_", "sf-live", "a b", "abcdefghijklmnopqrstu"] {
            assert!(!is_key_prefix(bad), "{bad}");
        }
    }
}
