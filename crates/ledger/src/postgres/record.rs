//! One operation's row, read into the types that the rest of the program thinks in.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use steadfast_core::{
    Answer, AnswerDigest, Bucket, CredentialDigest, Doubt, Fence, Fingerprint, HeaderFields, Key, Mode,
    Namespace, OperationDigest, OperationId, Owner, Principal, State, StateName, Timestamp,
};
use tokio_postgres::{
    Row,
    types::{FromSql, IsNull, ToSql, Type, to_sql_checked},
};

use super::failure::Failure;
use crate::{KeepFrom, Lane, LaneTrouble, Occupied, OperationName, Retention, Standing};

/// The columns of [`Stored`], for `SELECT … FROM steadfast.operations AS o`.
macro_rules! columns {
    () => {
        "o.ctid AS at, o.bucket, o.seq, o.digest, o.namespace, o.key, o.fingerprint, o.principal, o.credential, o.route, \
         o.method, o.path, o.state, o.asynchronous, o.doubt, o.doubt_answer, o.fence, o.attempts, \
         o.repeatable_ms, o.first_sent_ms, o.keep_ms, o.keep_from_claim, o.tombstone_ms, o.created_ms, \
         o.changed_ms, o.answer_digest, o.expires_ms, o.request_id, o.tries, o.due_ms, o.lane, o.lane_passes, \
         o.cancel_asked, o.never_sent"
    };
}
pub(super) use columns;

/// One operation as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) at: RowAt,
    pub(super) id: OperationId,
    pub(super) name: OperationName,
    pub(super) fingerprint: Fingerprint,
    pub(super) owner: Owner,
    pub(super) route: Box<str>,
    pub(super) method: Box<str>,
    pub(super) path: Box<str>,
    pub(super) state: State,
    pub(super) mode: Mode,
    pub(super) attempts: u32,
    pub(super) repeatable_for: Option<Duration>,
    pub(super) first_sent: Timestamp,
    pub(super) retention: Retention,
    pub(super) created_at: Timestamp,
    pub(super) changed_at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
    /// The id of the request that makes the attempt under way.
    pub(super) request_id: Option<Box<str>>,
    /// Where it stands in the backlog; `None` for a synchronous operation.
    pub(super) place: Option<Place>,
}

/// Where a row lies in its table (`ctid`). It lies there for as long as this transaction has it locked and does not write
/// it, and no index is asked to find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowAt([u8; 6]);

impl<'a> FromSql<'a> for RowAt {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw.try_into()?))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TID
    }
}

impl ToSql for RowAt {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TID
    }

    to_sql_checked!();
}

/// Where an asynchronous operation stands in the backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// How many attempts that count were made, one under way included.
    pub(super) tries: u32,
    /// When the next attempt is due, or was.
    pub(super) due_at: Timestamp,
    pub(super) lane: Option<Lane>,
    /// It was called off while an attempt was under way.
    pub(super) cancel_asked: bool,
    /// No attempt was claimed since it was accepted.
    pub(super) never_sent: bool,
}

impl Stored {
    /// Reads a row with [`columns`].
    pub(super) fn read(row: &Row) -> Result<Self, Failure> {
        let bucket: i16 = get(row, "bucket")?;
        let bucket = u16::try_from(bucket).ok().and_then(Bucket::from_number);
        let bucket = bucket.ok_or_else(|| corrupt("bucket"))?;
        let digest = OperationDigest::from_bytes(sixteen(row, "digest")?);
        let name = name(row, digest, bucket)?;
        if name.digest() != digest || name.bucket() != bucket {
            return Err(corrupt("digest"));
        }
        let mode = if get(row, "asynchronous")? { Mode::Asynchronous } else { Mode::Synchronous };
        Ok(Self {
            at: get(row, "at")?,
            id: OperationId::new(bucket, u64::try_from(get::<i64>(row, "seq")?).unwrap_or(0), &digest),
            name,
            fingerprint: Fingerprint::from_bytes(sixteen(row, "fingerprint")?),
            owner: Owner {
                principal: get::<Option<&str>>(row, "principal")?.map(Principal::new),
                credential: sixteen_or_none(row, "credential")?.map(CredentialDigest::from_bytes),
            },
            route: get::<&str>(row, "route")?.into(),
            method: get::<&str>(row, "method")?.into(),
            path: get::<&str>(row, "path")?.into(),
            state: state(row, mode)?,
            mode,
            attempts: u32::try_from(get::<i32>(row, "attempts")?).unwrap_or(0),
            repeatable_for: get::<Option<i64>>(row, "repeatable_ms")?.map(duration),
            first_sent: Timestamp::from_millis(get(row, "first_sent_ms")?),
            retention: Retention {
                keep: duration(get(row, "keep_ms")?),
                from: if get(row, "keep_from_claim")? { KeepFrom::Claim } else { KeepFrom::Finish },
                tombstone: get::<Option<i64>>(row, "tombstone_ms")?.map(duration),
            },
            created_at: Timestamp::from_millis(get(row, "created_ms")?),
            changed_at: Timestamp::from_millis(get(row, "changed_ms")?),
            expires_at: get::<Option<i64>>(row, "expires_ms")?.map(Timestamp::from_millis),
            request_id: get::<Option<&str>>(row, "request_id")?.map(Into::into),
            place: place(row, mode)?,
        })
    }

    /// When the operation expires, should its retention begin `now`.
    pub(super) fn expiry(&self, now: Timestamp) -> Timestamp {
        // A window counts from the claim that may have been sent, not from one that was released.
        self.retention.expiry(self.first_sent, now)
    }

    /// How it stands for somebody who cannot claim it; `None` where it can be claimed.
    pub(super) fn standing(&self, state: State, answer: Option<Answer>) -> Option<Arc<Standing>> {
        let occupied = match state {
            State::Claimed { .. } => Occupied::Claimed { since: self.changed_at },
            State::Completed { .. } => {
                Occupied::Completed { answer, expires_at: self.expires_at.unwrap_or(self.changed_at) }
            }
            State::InDoubt { .. } => Occupied::InDoubt { since: self.changed_at },
            State::Queued { .. } | State::Waiting { .. } => Occupied::Queued,
            State::Dead { .. } => Occupied::Dead,
            State::Cancelled => Occupied::Cancelled,
            State::Tombstone => Occupied::Tombstone,
            State::Absent | State::Released => return None,
        };
        Some(Arc::new(Standing {
            operation: self.id,
            name: self.name.clone(),
            fingerprint: self.fingerprint,
            owner: self.owner.clone(),
            mode: self.mode,
            occupied,
        }))
    }
}

/// A name as its columns say it. Where it was erased there is no key.
fn name(row: &Row, digest: OperationDigest, bucket: Bucket) -> Result<OperationName, Failure> {
    let key: &str = get(row, "key")?;
    if key.is_empty() {
        return Ok(OperationName::erased(digest, bucket));
    }
    let namespace = Namespace::new(get(row, "namespace")?).map_err(|_| corrupt("namespace"))?;
    Ok(OperationName::new(namespace, Key::new(key).map_err(|_| corrupt("key"))?))
}

fn place(row: &Row, mode: Mode) -> Result<Option<Place>, Failure> {
    if mode == Mode::Synchronous {
        return Ok(None);
    }
    let trouble = |passes| if passes { LaneTrouble::Passes } else { LaneTrouble::Blocks };
    let lane = match sixteen_or_none(row, "lane")? {
        None => None,
        Some(digest) => Some(Lane { digest, trouble: trouble(get(row, "lane_passes")?) }),
    };
    Ok(Some(Place {
        tries: u32::try_from(get::<i32>(row, "tries")?).unwrap_or(0),
        due_at: Timestamp::from_millis(get(row, "due_ms")?),
        lane,
        cancel_asked: get::<Option<bool>>(row, "cancel_asked")?.unwrap_or(false),
        never_sent: get::<Option<bool>>(row, "never_sent")?.unwrap_or(false),
    }))
}

fn state(row: &Row, mode: Mode) -> Result<State, Failure> {
    let doubt = match get::<&str>(row, "doubt")? {
        "none" => Doubt::None,
        "standing" => Doubt::Standing,
        "answered" => Doubt::Answered(AnswerDigest::from_bytes(sixteen(row, "doubt_answer")?)),
        _ => return Err(corrupt("doubt")),
    };
    let name = StateName::from_name(get(row, "state")?).ok_or_else(|| corrupt("state"))?;
    Ok(match name {
        StateName::Queued => State::Queued { doubt },
        StateName::Claimed => {
            State::Claimed { mode, fence: Fence::from_bytes(sixteen(row, "fence")?), doubt }
        }
        StateName::Waiting => State::Waiting { doubt },
        StateName::InDoubt => State::InDoubt { mode },
        StateName::Completed => {
            State::Completed { answer: sixteen_or_none(row, "answer_digest")?.map(AnswerDigest::from_bytes) }
        }
        StateName::Released => State::Released,
        StateName::Dead => State::Dead { doubt },
        StateName::Cancelled => State::Cancelled,
        StateName::Tombstone => State::Tombstone,
        StateName::Absent => return Err(corrupt("state")),
    })
}

/// The columns `doubt` and `doubt_answer` of a state.
pub(super) fn doubt_columns(state: State) -> (&'static str, Option<AnswerDigest>) {
    match state {
        State::Queued { doubt }
        | State::Claimed { doubt, .. }
        | State::Waiting { doubt }
        | State::Dead { doubt } => match doubt {
            Doubt::None => ("none", None),
            Doubt::Standing => ("standing", None),
            Doubt::Answered(answer) => ("answered", Some(answer)),
        },
        State::Absent
        | State::InDoubt { .. }
        | State::Completed { .. }
        | State::Released
        | State::Cancelled
        | State::Tombstone => ("none", None),
    }
}

/// The answer in the columns `status`, `headers` and `body`; `None` where they are null.
pub(super) fn answer(row: &Row) -> Result<Option<Answer>, Failure> {
    let Some(status) = get::<Option<i32>>(row, "status")? else { return Ok(None) };
    Ok(Some(Answer {
        status: u16::try_from(status).map_err(|_| corrupt("status"))?,
        headers: HeaderFields::from_packed(Bytes::copy_from_slice(get(row, "headers")?))
            .map_err(|_| corrupt("headers"))?,
        body: get::<Option<&[u8]>>(row, "body")?.map(Bytes::copy_from_slice),
    }))
}

/// A column's value.
pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: &str) -> Result<T, Failure> {
    row.try_get(column).map_err(|error| Failure::Corrupt(format!("column {column}: {error}")))
}

/// A column of sixteen bytes.
pub(super) fn sixteen(row: &Row, column: &str) -> Result<[u8; 16], Failure> {
    sixteen_or_none(row, column)?.ok_or_else(|| corrupt(column))
}

fn sixteen_or_none(row: &Row, column: &str) -> Result<Option<[u8; 16]>, Failure> {
    match get::<Option<&[u8]>>(row, column)? {
        None => Ok(None),
        Some(bytes) => bytes.try_into().map(Some).map_err(|_| corrupt(column)),
    }
}

/// A duration as its column: whole milliseconds, at least one where it is not zero.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX)
}

fn duration(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

fn corrupt(column: &str) -> Failure {
    Failure::Corrupt(format!("column {column} of an operation holds what no version of this program wrote"))
}
