//! A row of `operations`, read into the state machine's terms and back.

use std::{sync::Arc, time::Duration};

use rusqlite::{Result, Row, types::FromSql};
use steadfast_core::{
    Answer, AnswerDigest, Bucket, CredentialDigest, Doubt, Fence, Fingerprint, HeaderFields, Key, Mode,
    Namespace, OperationDigest, OperationId, Owner, Principal, State, StateName, Timestamp,
};

use super::failure::damaged;
use crate::{KeepFrom, KeptRequest, OperationName, Retention};

/// The columns of [`Head`], in its order.
macro_rules! head_columns {
    () => {
        "seq, digest, state, mode, doubt, evidence, fence, attempts, created_at, began_at, changed_at, \
         expires_at, keep_ms, keep_from, tombstone_ms, repeatable_ms, answer"
    };
}

/// The columns of [`Whole`], in its order.
macro_rules! whole_columns {
    () => {
        concat!(
            $crate::sqlite::row::head_columns!(),
            ", fingerprint, namespace, key, principal, credential, route, method, path"
        )
    };
}

/// The columns of an answer, in the order of [`answer`].
macro_rules! answer_columns {
    () => {
        "answer_status, answer_headers, answer_body"
    };
}

pub(super) use {answer_columns, head_columns, whole_columns};

/// How many `whole_columns` are.
pub(super) const WHOLE_COLUMNS: usize = 25;

/// What an event needs to know of an operation.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) seq: i64,
    pub(super) digest: OperationDigest,
    pub(super) state: State,
    pub(super) mode: Mode,
    pub(super) attempts: u32,
    pub(super) created_at: Timestamp,
    pub(super) began_at: Option<Timestamp>,
    pub(super) changed_at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) retention: Retention,
    pub(super) repeatable_for: Option<Duration>,
}

/// The whole row.
#[derive(Clone, Debug)]
pub(super) struct Whole {
    pub(super) head: Head,
    pub(super) fingerprint: Fingerprint,
    pub(super) name: OperationName,
    pub(super) owner: Owner,
    pub(super) route: Arc<str>,
    pub(super) method: Box<str>,
    pub(super) path: Box<str>,
    /// The id of the request that makes the attempt under way. It is not among [`whole_columns`]: it lies behind the
    /// answer's body, which is not to be read for it.
    pub(super) request_id: Option<Box<str>>,
}

/// The columns that hold a state, as they are written.
pub(super) struct StateColumns {
    pub(super) state: &'static str,
    pub(super) doubt: &'static str,
    pub(super) evidence: Option<[u8; 16]>,
    pub(super) fence: Option<[u8; 16]>,
    pub(super) answer: Option<[u8; 16]>,
}

impl Head {
    /// What the first claim of an operation makes of it.
    pub(super) fn claimed(
        seq: i64,
        digest: OperationDigest,
        fence: Fence,
        at: Timestamp,
        retention: Retention,
        repeatable_for: Option<Duration>,
    ) -> Self {
        let mode = Mode::Synchronous;
        Self {
            seq,
            digest,
            state: State::Claimed { mode, fence, doubt: Doubt::None },
            mode,
            attempts: 1,
            created_at: at,
            began_at: Some(at),
            changed_at: at,
            expires_at: None,
            retention,
            repeatable_for,
        }
    }

    /// Reads a row of `head_columns`.
    pub(super) fn read(row: &Row<'_>) -> Result<Self> {
        let mode = match row.get_ref(3)?.as_str()? {
            "sync" => Mode::Synchronous,
            "async" => Mode::Asynchronous,
            _ => return Err(damaged("an operation has an unknown mode")),
        };
        let from = match row.get_ref(13)?.as_str()? {
            "finish" => KeepFrom::Finish,
            "claim" => KeepFrom::Claim,
            _ => return Err(damaged("an operation has an unknown retention")),
        };
        Ok(Self {
            seq: row.get(0)?,
            digest: OperationDigest::from_bytes(row.get(1)?),
            state: state(row, mode)?,
            mode,
            attempts: row.get(7)?,
            created_at: Timestamp::from_millis(row.get(8)?),
            began_at: timestamp(row, 9)?,
            changed_at: Timestamp::from_millis(row.get(10)?),
            expires_at: timestamp(row, 11)?,
            retention: Retention {
                keep: duration(row, 12)?.unwrap_or_default(),
                from,
                tombstone: duration(row, 14)?,
            },
            repeatable_for: duration(row, 15)?,
        })
    }

    /// When a tombstone of this operation expires; `None` where it keeps none.
    pub(super) fn tombstone_until(&self) -> Option<Timestamp> {
        self.expires_at.zip(self.retention.tombstone).map(|(expires_at, kept)| expires_at.after(kept))
    }

    /// The sequence number as ids write it.
    pub(super) fn sequence(&self) -> u64 {
        self.seq.unsigned_abs()
    }
}

impl Whole {
    /// Reads a row of `whole_columns`.
    pub(super) fn read(row: &Row<'_>) -> Result<Self> {
        let head = Head::read(row)?;
        let name = name(row.get_ref(18)?.as_str()?, row.get_ref(19)?.as_str()?, head.digest)?;
        let principal = row.get_ref(20)?.as_str_or_null()?.map(Principal::new);
        let credential = row.get::<_, Option<[u8; 16]>>(21)?.map(CredentialDigest::from_bytes);
        Ok(Self {
            head,
            fingerprint: Fingerprint::from_bytes(row.get(17)?),
            name,
            owner: Owner { principal, credential },
            route: row.get(22)?,
            method: row.get(23)?,
            path: row.get(24)?,
            request_id: None,
        })
    }

    /// The id of the operation.
    pub(super) fn id(&self) -> OperationId {
        OperationId::new(self.name.bucket(), self.head.sequence(), &self.head.digest)
    }
}

/// A name as its columns say it. Where it was erased there is no key, and the bucket instead of the namespace.
fn name(namespace: &str, key: &str, digest: OperationDigest) -> Result<OperationName> {
    if key.is_empty() {
        let bucket = namespace.parse().ok().and_then(Bucket::from_number);
        let bucket = bucket.ok_or_else(|| damaged("an erased operation has no bucket"))?;
        return Ok(OperationName::erased(digest, bucket));
    }
    let namespace = Namespace::new(namespace).map_err(|_| damaged("an operation has no namespace"))?;
    let key = Key::new(key).map_err(|_| damaged("an operation has no valid key"))?;
    Ok(OperationName::new(namespace, key))
}

/// What stands in the namespace's column where the name was erased.
pub(super) fn nameless_namespace(bucket: Bucket) -> String {
    bucket.number().to_string()
}

/// The id of the operation in row `seq`.
pub(super) fn id(bucket: Bucket, seq: i64, digest: &OperationDigest) -> OperationId {
    OperationId::new(bucket, seq.unsigned_abs(), digest)
}

/// The row that an id means. Sequence numbers have 48 bits.
pub(super) fn seq(id: OperationId) -> i64 {
    id.sequence().cast_signed()
}

/// The first 8 bytes of a digest, as its index has them.
pub(super) fn digest_head(digest: &OperationDigest) -> i64 {
    let bytes = digest.as_bytes();
    i64::from_be_bytes(std::array::from_fn(|at| bytes[at]))
}

/// A duration as it is kept: whole milliseconds, as far as they fit.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// How a mode is written.
pub(super) fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Synchronous => "sync",
        Mode::Asynchronous => "async",
    }
}

/// How the start of retention is written.
pub(super) fn keep_from_name(from: KeepFrom) -> &'static str {
    match from {
        KeepFrom::Finish => "finish",
        KeepFrom::Claim => "claim",
    }
}

/// An answer: its status, header fields and body, from this column on.
pub(super) fn answer(row: &Row<'_>, column: usize) -> Result<Answer> {
    let packed = row.get::<_, Vec<u8>>(column + 1)?.into();
    let headers =
        HeaderFields::from_packed(packed).map_err(|_| damaged("an answer's header fields cannot be read"))?;
    let body = row.get::<_, Option<Vec<u8>>>(column + 2)?.map(Into::into);
    Ok(Answer { status: row.get(column)?, headers, body })
}

/// A request that is kept: its target, header fields and body, from this column on.
pub(super) fn request(row: &Row<'_>, column: usize) -> Result<KeptRequest> {
    let packed = row.get::<_, Vec<u8>>(column + 1)?.into();
    let headers =
        HeaderFields::from_packed(packed).map_err(|_| damaged("a request's header fields cannot be read"))?;
    Ok(KeptRequest { target: row.get(column)?, headers, body: row.get::<_, Vec<u8>>(column + 2)?.into() })
}

fn timestamp(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_millis))
}

fn duration(row: &Row<'_>, column: usize) -> Result<Option<Duration>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(|millis| Duration::from_millis(millis.unsigned_abs())))
}

/// A column that this state cannot be without.
fn needed<T: FromSql>(row: &Row<'_>, column: usize) -> Result<T> {
    row.get::<_, Option<T>>(column)?.ok_or_else(|| damaged("an operation lacks what its state needs"))
}

/// Reads the state out of the columns that hold it.
fn state(row: &Row<'_>, mode: Mode) -> Result<State> {
    let doubt = match row.get_ref(4)?.as_str()? {
        "none" => Doubt::None,
        "standing" => Doubt::Standing,
        "answered" => Doubt::Answered(AnswerDigest::from_bytes(needed(row, 5)?)),
        _ => return Err(damaged("an operation has an unknown doubt")),
    };
    let name = StateName::from_name(row.get_ref(2)?.as_str()?);
    match name.ok_or_else(|| damaged("an operation has an unknown state"))? {
        StateName::Absent => Err(damaged("an operation has a row, but is absent")),
        StateName::Queued => Ok(State::Queued { doubt }),
        StateName::Claimed => Ok(State::Claimed { mode, fence: Fence::from_bytes(needed(row, 6)?), doubt }),
        StateName::Waiting => Ok(State::Waiting { doubt }),
        StateName::InDoubt => Ok(State::InDoubt { mode }),
        StateName::Completed => {
            let answer = row.get::<_, Option<[u8; 16]>>(16)?.map(AnswerDigest::from_bytes);
            Ok(State::Completed { answer })
        }
        StateName::Released => Ok(State::Released),
        StateName::Dead => Ok(State::Dead { doubt }),
        StateName::Cancelled => Ok(State::Cancelled),
        StateName::Tombstone => Ok(State::Tombstone),
    }
}

/// The columns that hold `state`.
pub(super) fn state_columns(state: State) -> StateColumns {
    let (doubt, fence, answer) = match state {
        State::Claimed { doubt, fence, .. } => (doubt, Some(fence), None),
        State::Queued { doubt } | State::Waiting { doubt } | State::Dead { doubt } => (doubt, None, None),
        State::Completed { answer } => (Doubt::None, None, answer),
        State::Absent | State::InDoubt { .. } | State::Released | State::Cancelled | State::Tombstone => {
            (Doubt::None, None, None)
        }
    };
    let (doubt, evidence) = match doubt {
        Doubt::None => ("none", None),
        Doubt::Standing => ("standing", None),
        Doubt::Answered(digest) => ("answered", Some(*digest.as_bytes())),
    };
    StateColumns {
        state: state.name().as_str(),
        doubt,
        evidence,
        fence: fence.map(|fence| *fence.as_bytes()),
        answer: answer.map(|digest| *digest.as_bytes()),
    }
}
