//! Header fields in one blob: each name's length in 2 bytes and each value's in 4 (little-endian) before it.

use bytes::Bytes;
use rusqlite::Result;
use steadfast_core::HeaderField;

use super::failure::damaged;

/// Packs the fields in their order. Names are cut at 65,535 bytes and values at 4 GiB; HTTP allows far less.
pub(super) fn pack(fields: &[HeaderField]) -> Vec<u8> {
    let bytes: usize = fields.iter().map(|field| 6 + field.name.len() + field.value.len()).sum();
    let mut packed = Vec::with_capacity(bytes);
    for HeaderField { name, value } in fields {
        let name_len = u16::try_from(name.len()).unwrap_or(u16::MAX);
        let value_len = u32::try_from(value.len()).unwrap_or(u32::MAX);
        packed.extend_from_slice(&name_len.to_le_bytes());
        packed.extend_from_slice(&name.as_bytes()[..usize::from(name_len)]);
        packed.extend_from_slice(&value_len.to_le_bytes());
        packed.extend_from_slice(&value[..value_len as usize]);
    }
    packed
}

/// The fields that were packed.
///
/// # Errors
/// Where the blob is not one that [`pack`] made.
pub(super) fn unpack(packed: Vec<u8>) -> Result<Vec<HeaderField>> {
    // One allocation for all: the values are slices of it.
    let packed = Bytes::from(packed);
    let (mut fields, mut at) = (Vec::new(), 0);
    let take = |at: &mut usize, bytes: usize| {
        let end = at.checked_add(bytes).filter(|end| *end <= packed.len());
        let slice = end.map(|end| packed.slice(*at..end));
        *at = end.unwrap_or(packed.len());
        slice.ok_or_else(|| damaged("header fields are cut off"))
    };
    while at < packed.len() {
        let name_len = take(&mut at, 2)?;
        let name = take(&mut at, usize::from(u16::from_le_bytes([name_len[0], name_len[1]])))?;
        let name = std::str::from_utf8(&name).map_err(|_| damaged("a header field's name is not text"))?;
        let value_len = take(&mut at, 4)?;
        let value_len = u32::from_le_bytes([value_len[0], value_len[1], value_len[2], value_len[3]]);
        let name = name.into();
        fields.push(HeaderField { name, value: take(&mut at, value_len as usize)? });
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_is_unpacked() {
        let field = |name: &str, value: &'static [u8]| HeaderField { name: name.into(), value: value.into() };
        for fields in
            [vec![], vec![field("a", b"")], vec![field("b", b"\xff\x00"), field("a", b"1"), field("b", b"2")]]
        {
            assert_eq!(unpack(pack(&fields)).unwrap(), fields);
        }
    }

    #[test]
    fn a_blob_that_was_cut_is_refused_at_every_length() {
        let whole = pack(&[HeaderField { name: "etag".into(), value: Bytes::from("value") }]);
        for len in 1..whole.len() {
            assert!(unpack(whole[..len].to_vec()).is_err(), "{len}");
        }
    }
}
