//! What a frame of the log says: that an operation was claimed, or how its attempt ended. Numbers are
//! little-endian; texts and blobs have their length before them.

use bytes::Bytes;
use rusqlite::Result;
use steadfast_core::{
    Answer, AttemptEnd, CredentialDigest, Fence, Fingerprint, HeaderFields, Key, Namespace, NotSentCause,
    Owner, Principal, Timestamp, UnknownCause,
};

use super::{
    failure::damaged,
    row::{self, Head, Whole},
};
use crate::{KeepFrom, OperationName, Retention};

/// One entry, read back.
#[derive(Debug)]
pub(super) enum Entry {
    /// A new operation was claimed.
    Claimed(Box<Whole>),
    /// The attempt that held the claim ended.
    Ended { seq: i64, fence: Fence, at: Timestamp, end: AttemptEnd },
}

/// By a request of which no id is known: what versions wrote that kept none.
const CLAIMED: u8 = 1;
const ENDED: u8 = 2;
/// The same as [`CLAIMED`], and the request's id behind it.
const CLAIMED_BY: u8 = 3;

const NOT_SENT: u8 = 1;
const REFUSED: u8 = 2;
const UNKNOWN: u8 = 3;
const ANSWERED: u8 = 4;

/// Adds that the operation was claimed.
pub(super) fn claimed(to: &mut Vec<u8>, operation: &Whole, fence: Fence) {
    let Whole { head, fingerprint, name, owner, route, method, path, request_id } = operation;
    to.push(if request_id.is_some() { CLAIMED_BY } else { CLAIMED });
    to.extend_from_slice(&head.seq.to_le_bytes());
    to.extend_from_slice(fence.as_bytes());
    number(to, head.created_at.as_millis());
    to.extend_from_slice(fingerprint.as_bytes());
    number(to, row::millis(head.retention.keep));
    to.push(u8::from(head.retention.from == KeepFrom::Claim));
    optional(to, head.retention.tombstone, |to, kept| number(to, row::millis(kept)));
    optional(to, head.repeatable_for, |to, repeatable| number(to, row::millis(repeatable)));
    for text in [name.namespace().as_str(), name.key().as_str(), route, method, path] {
        blob(to, text.as_bytes());
    }
    optional(to, owner.principal.as_ref(), |to, principal| blob(to, principal.as_str().as_bytes()));
    optional(to, owner.credential, |to, credential| to.extend_from_slice(credential.as_bytes()));
    if let Some(request_id) = request_id {
        blob(to, request_id.as_bytes());
    }
}

/// Adds that the attempt with this fence ended at this time.
pub(super) fn ended(to: &mut Vec<u8>, seq: i64, fence: Fence, at: Timestamp, end: &AttemptEnd) {
    to.push(ENDED);
    to.extend_from_slice(&seq.to_le_bytes());
    to.extend_from_slice(fence.as_bytes());
    number(to, at.as_millis());
    let status = |to: &mut Vec<u8>, status: u16| to.extend_from_slice(&status.to_le_bytes());
    match end {
        AttemptEnd::NotSent(cause) => {
            to.push(NOT_SENT);
            blob(to, cause.name().as_bytes());
        }
        AttemptEnd::Refused { status: said } => {
            to.push(REFUSED);
            status(to, *said);
        }
        AttemptEnd::Unknown { cause, status: said } => {
            to.push(UNKNOWN);
            blob(to, cause.name().as_bytes());
            optional(to, *said, status);
        }
        AttemptEnd::Answered(answer) => {
            to.push(ANSWERED);
            status(to, answer.status);
            blob(to, answer.headers.as_packed());
            optional(to, answer.body.as_deref(), blob);
        }
    }
}

/// The entries of a frame.
///
/// # Errors
/// Where they are not what this module wrote.
pub(super) fn read(entries: &[u8]) -> Result<Vec<Entry>> {
    let mut reader = Reader(entries);
    let mut read = Vec::new();
    while !reader.0.is_empty() {
        read.push(match reader.byte()? {
            CLAIMED => Entry::Claimed(Box::new(reader.claimed()?)),
            CLAIMED_BY => {
                let claimed = reader.claimed()?;
                let request_id = Some(reader.text()?.into());
                Entry::Claimed(Box::new(Whole { request_id, ..claimed }))
            }
            ENDED => reader.ended()?,
            _ => return Err(unreadable()),
        });
    }
    Ok(read)
}

fn number(to: &mut Vec<u8>, number: i64) {
    to.extend_from_slice(&number.to_le_bytes());
}

/// Blobs are cut at 4 GiB; bodies and texts are far smaller.
fn blob(to: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(&bytes[..length as usize]);
}

fn optional<T>(to: &mut Vec<u8>, value: Option<T>, write: impl FnOnce(&mut Vec<u8>, T)) {
    to.push(u8::from(value.is_some()));
    if let Some(value) = value {
        write(to, value);
    }
}

fn unreadable() -> rusqlite::Error {
    damaged("an entry of the log cannot be read")
}

/// What is left of a frame.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn claimed(&mut self) -> Result<Whole> {
        let seq = self.number()?;
        let fence = Fence::from_bytes(self.array()?);
        let created_at = Timestamp::from_millis(self.number()?);
        let fingerprint = Fingerprint::from_bytes(self.array()?);
        let keep = self.duration()?;
        let from = if self.byte()? == 0 { KeepFrom::Finish } else { KeepFrom::Claim };
        let tombstone = self.optional(Self::duration)?;
        let repeatable_for = self.optional(Self::duration)?;
        let namespace = Namespace::new(self.text()?).map_err(|_| unreadable())?;
        let key = Key::new(self.text()?).map_err(|_| unreadable())?;
        let (route, method, path) = (self.text()?.into(), self.text()?.into(), self.text()?.into());
        let principal = self.optional(Self::text)?.map(Principal::new);
        let credential = self.optional(Self::array)?.map(CredentialDigest::from_bytes);
        let name = OperationName::new(namespace, key);
        let retention = Retention { keep, from, tombstone };
        let head = Head::claimed(seq, name.digest(), fence, created_at, retention, repeatable_for);
        let owner = Owner { principal, credential };
        Ok(Whole { head, fingerprint, name, owner, route, method, path, request_id: None })
    }

    fn ended(&mut self) -> Result<Entry> {
        let (seq, fence) = (self.number()?, Fence::from_bytes(self.array()?));
        let at = Timestamp::from_millis(self.number()?);
        let end = match self.byte()? {
            NOT_SENT => AttemptEnd::NotSent(NotSentCause::from_name(self.text()?).ok_or_else(unreadable)?),
            REFUSED => AttemptEnd::Refused { status: self.status()? },
            UNKNOWN => AttemptEnd::Unknown {
                cause: UnknownCause::from_name(self.text()?).ok_or_else(unreadable)?,
                status: self.optional(Self::status)?,
            },
            ANSWERED => AttemptEnd::Answered(Answer {
                status: self.status()?,
                headers: HeaderFields::from_packed(Bytes::copy_from_slice(self.blob()?))
                    .map_err(|_| unreadable())?,
                body: self.optional(Self::blob)?.map(Bytes::copy_from_slice),
            }),
            _ => return Err(unreadable()),
        };
        Ok(Entry::Ended { seq, fence, at, end })
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(bytes).ok_or_else(unreadable)?;
        self.0 = left;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| unreadable())
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> Result<i64> {
        self.array().map(i64::from_le_bytes)
    }

    fn status(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn duration(&mut self) -> Result<std::time::Duration> {
        Ok(std::time::Duration::from_millis(self.number()?.unsigned_abs()))
    }

    fn blob(&mut self) -> Result<&'a [u8]> {
        let length = u32::from_le_bytes(self.array()?);
        self.take(length as usize)
    }

    fn text(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.blob()?).map_err(|_| unreadable())
    }

    fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<Option<T>> {
        if self.byte()? == 0 { Ok(None) } else { read(self).map(Some) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn operation(optional: bool) -> (Whole, Fence) {
        let fence = Fence::random();
        let created_at = Timestamp::from_millis(1_700_000_000_123);
        let name = OperationName::new(Namespace::global(), Key::new("order-1").expect("a key"));
        let duration = |seconds| optional.then(|| Duration::from_secs(seconds));
        let retention = Retention {
            keep: Duration::from_secs(9),
            from: if optional { KeepFrom::Claim } else { KeepFrom::Finish },
            tombstone: duration(5),
        };
        let head = Head::claimed(77, name.digest(), fence, created_at, retention, duration(6));
        let owner = Owner {
            principal: optional.then(|| Principal::new("alice")),
            credential: optional.then(|| CredentialDigest::from_bytes([4; 16])),
        };
        let (route, method, path) = ("orders".into(), "POST".into(), "/ö".into());
        let fingerprint = Fingerprint::from_bytes([9; 16]);
        let request_id = optional.then(|| "req-1".into());
        (Whole { head, fingerprint, name, owner, route, method, path, request_id }, fence)
    }

    fn ends() -> Vec<AttemptEnd> {
        let answer = |body| {
            let headers = [("etag", b"\xff1")].into_iter().collect();
            AttemptEnd::Answered(Answer { status: 201, headers, body })
        };
        let mut ends = vec![AttemptEnd::Refused { status: 429 }, answer(None), answer(Some("body".into()))];
        ends.extend(NotSentCause::ALL.iter().map(|cause| AttemptEnd::NotSent(*cause)));
        for status in [None, Some(502)] {
            ends.extend(UnknownCause::ALL.iter().map(|cause| AttemptEnd::Unknown { cause: *cause, status }));
        }
        ends
    }

    fn write(end: &AttemptEnd) -> Vec<u8> {
        let mut written = Vec::new();
        ended(&mut written, 5, Fence::from_bytes([1; 16]), Timestamp::from_millis(6), end);
        written
    }

    #[test]
    fn what_was_written_is_read() {
        for optional in [false, true] {
            let (operation, fence) = operation(optional);
            let mut written = Vec::new();
            claimed(&mut written, &operation, fence);
            let read = read(&written).expect("readable");
            let [Entry::Claimed(found)] = &read[..] else { panic!("{read:?}") };
            assert_eq!(format!("{found:?}"), format!("{operation:?}"));
        }
        let written: Vec<u8> = ends().iter().flat_map(write).collect();
        let read = read(&written).expect("readable");
        assert_eq!(read.len(), ends().len());
        for (entry, expected) in read.into_iter().zip(ends()) {
            let Entry::Ended { seq: 5, fence, at, end } = entry else { panic!("{entry:?}") };
            assert_eq!((fence, at.as_millis(), end), (Fence::from_bytes([1; 16]), 6, expected));
        }
    }

    #[test]
    fn what_is_cut_is_refused_at_every_length() {
        let (operation, fence) = operation(true);
        let mut written = Vec::new();
        claimed(&mut written, &operation, fence);
        for whole in std::iter::once(written).chain(ends().iter().map(write)) {
            for length in 1..whole.len() {
                assert!(read(&whole[..length]).is_err(), "{length} of {}", whole.len());
            }
        }
    }
}
