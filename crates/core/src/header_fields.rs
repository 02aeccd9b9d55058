//! The header fields of an answer, in one block of bytes: what is made once is kept, copied and stored as it is.

use bytes::Bytes;

/// Header fields in the order they came, their names in lower case. Copies share their bytes.
///
/// Packed, each name has its length in 2 bytes before it and each value in 4 (little-endian).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderFields(Bytes);

/// The bytes are not packed header fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("header fields are cut off, or the name of one is not text")]
pub struct NotHeaderFields;

impl HeaderFields {
    /// The fields that a store kept.
    ///
    /// # Errors
    /// [`NotHeaderFields`] where the bytes are not what [`HeaderFields::as_packed`] gave.
    pub fn from_packed(packed: Bytes) -> Result<Self, NotHeaderFields> {
        let mut rest = &packed[..];
        while !rest.is_empty() {
            let name = split(&mut rest, NAME_LENGTH_BYTES).ok_or(NotHeaderFields)?;
            std::str::from_utf8(name).map_err(|_| NotHeaderFields)?;
            split(&mut rest, VALUE_LENGTH_BYTES).ok_or(NotHeaderFields)?;
        }
        Ok(Self(packed))
    }

    /// The fields as a store keeps them.
    #[must_use]
    pub fn as_packed(&self) -> &[u8] {
        &self.0
    }

    /// Each field's name and value; values share the bytes.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Bytes)> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let name = split(&mut rest, NAME_LENGTH_BYTES)?;
            let value = split(&mut rest, VALUE_LENGTH_BYTES)?;
            Some((std::str::from_utf8(name).ok()?, self.0.slice_ref(value)))
        })
    }
}

/// Names are cut at 65,535 bytes and values at 4 GiB; HTTP allows far less.
impl<N: AsRef<str>, V: AsRef<[u8]>> FromIterator<(N, V)> for HeaderFields {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        let mut packed = Vec::new();
        for (name, value) in fields {
            let (name, value) = (name.as_ref().as_bytes(), value.as_ref());
            let name_bytes = u16::try_from(name.len()).unwrap_or(u16::MAX);
            packed.extend_from_slice(&name_bytes.to_le_bytes());
            packed.extend_from_slice(&name[..usize::from(name_bytes)]);
            let value_bytes = u32::try_from(value.len()).unwrap_or(u32::MAX);
            packed.extend_from_slice(&value_bytes.to_le_bytes());
            packed.extend_from_slice(&value[..value_bytes as usize]);
        }
        Self(packed.into())
    }
}

const NAME_LENGTH_BYTES: usize = 2;
const VALUE_LENGTH_BYTES: usize = 4;

/// Takes a part with its length before it off the front.
fn split<'a>(rest: &mut &'a [u8], length_bytes: usize) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_at_checked(length_bytes)?;
    let length = length.iter().rev().fold(0, |length, byte| length << 8 | usize::from(*byte));
    let (part, behind) = behind.split_at_checked(length)?;
    *rest = behind;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &[&[(&str, &[u8])]] =
        &[&[], &[("a", b"")], &[("x-b", b"\xff\x00, ;\""), ("a", b"1"), ("x-b", b"2")]];

    #[test]
    fn what_was_packed_is_read() {
        for fields in FIELDS {
            let packed: HeaderFields = fields.iter().copied().collect();
            let read = HeaderFields::from_packed(Bytes::copy_from_slice(packed.as_packed()));
            assert_eq!(read.as_ref(), Ok(&packed));
            let read: Vec<_> = packed.iter().collect();
            assert_eq!(read.len(), fields.len());
            for ((name, value), expected) in read.iter().zip(*fields) {
                assert_eq!((*name, &value[..]), *expected);
            }
        }
    }

    #[test]
    fn what_was_cut_is_refused_at_every_length() {
        let whole: HeaderFields = [("etag", "value")].into_iter().collect();
        for length in 1..whole.as_packed().len() {
            let cut = Bytes::copy_from_slice(&whole.as_packed()[..length]);
            assert_eq!(HeaderFields::from_packed(cut), Err(NotHeaderFields), "{length}");
        }
        assert_eq!(
            HeaderFields::from_packed(Bytes::from_static(b"\x01\0\xff\0\0\0\0")),
            Err(NotHeaderFields)
        );
    }
}
