//! Erasing, some buckets at a time: the primary key leads with the bucket, so each call reads a part of the table and no
//! row twice, and every row is locked while it is looked at.

use steadfast_core::{Bucket, State, Timestamp};
use tokio_postgres::{Row, types::ToSql};

use super::{
    PostgresLedger, decide,
    failure::{Failure, first},
    record::{Stored, get},
    session::Session,
    statements,
    writes::{Writes, bucket_column, seq_column},
};
use crate::{
    BoxFuture, Cursor, ERASED_AT_ONCE_MAX, Erase, Erased, Erasure, LedgerError, Whose, erasure::Fate,
};

/// How many buckets one call looks through.
const BUCKETS_A_CALL: u16 = 32;

/// How many bits of a cursor are the sequence number; the bucket is above them.
const SEQUENCE_BITS: u32 = 48;

impl Erasure for PostgresLedger {
    fn erase(&self, order: Erase) -> BoxFuture<'_, Result<Erased, LedgerError>> {
        Box::pin(async move {
            let lent = self.general.lend().await?;
            let result = erase(lent.session(), &order, self.shared.options.store_time.millis()).await;
            let (writes, erased) = lent.settle(result).await?;
            self.shared.announce(&writes);
            Ok(erased)
        })
    }

    /// Nothing is kept beside the tables. What Postgres itself keeps (dead rows until they are vacuumed, its log,
    /// archives and replicas) is for whoever runs it.
    fn scour(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

async fn erase(session: &Session, order: &Erase, now: Option<i64>) -> Result<(Writes, Erased), Failure> {
    let limit = order.limit.clamp(1, ERASED_AT_ONCE_MAX);
    let from = order.from.map_or(0, |Cursor(at)| at);
    let first_bucket = u16::try_from(from >> SEQUENCE_BITS).unwrap_or(Bucket::COUNT);
    // Whose the namespace is is known: it lies in one bucket.
    let (first_bucket, end) = match &order.whose {
        Whose::Namespace(namespace) => {
            let bucket = Bucket::of(namespace).number();
            (bucket.max(first_bucket), bucket + 1)
        }
        Whose::Principal(_) | Whose::Credential(_) => (first_bucket, Bucket::COUNT),
    };
    let last_bucket = first_bucket.saturating_add(BUCKETS_A_CALL - 1).min(end - 1);
    let from_seq = from & ((1 << SEQUENCE_BITS) - 1);
    let from_seq = if u64::from(first_bucket) == from >> SEQUENCE_BITS { from_seq } else { 0 };
    let rows = lock(session, order, (first_bucket, from_seq, last_bucket), limit, now).await?;

    let (mut writes, mut erased) = (Writes::default(), Erased::default());
    let (mut buckets, mut seqs, mut expires) = (Vec::new(), Vec::new(), Vec::new());
    let mut changed = now.unwrap_or(0);
    for row in &rows {
        let now = Timestamp::from_millis(get(row, "now_ms")?);
        changed = now.as_millis();
        let row = Stored::read(row)?;
        let (state, until) = decide::expired(&row, now);
        match Fate::of(state) {
            Fate::Left => erased.left.push(row.id),
            _ if order.dry_run => erased.erased += 1,
            Fate::Removed => {
                writes.remove(&row);
                erased.erased += 1;
            }
            Fate::Entombed => {
                writes.places.follow(&row, State::Tombstone);
                writes.forget(&row);
                writes.wakes.push(row.name.digest());
                buckets.push(bucket_column(row.id.bucket()));
                seqs.push(seq_column(row.id.sequence()));
                expires.push(taken_until(&row, state, until, now).as_millis());
                erased.erased += 1;
            }
        }
    }
    erased.next = match rows.last() {
        Some(last) if rows.len() == limit as usize => {
            let last = Stored::read(last)?.id;
            Some(u64::from(last.bucket().number()) << SEQUENCE_BITS | last.sequence())
        }
        _ => (last_bucket + 1 < end).then(|| u64::from(last_bucket + 1) << SEQUENCE_BITS),
    }
    .map(Cursor);

    let nameless: &[&(dyn ToSql + Sync)] = &[&buckets, &seqs, &expires, &changed];
    session
        .bounded(async {
            let (entombed, written) =
                tokio::join!(biased; session.execute(statements::ERASE, nameless), writes.commit(session, 0, None));
            entombed.map_err(Failure::from)?;
            written.map(|_| ())
        })
        .await?;
    Ok((writes, erased))
}

/// Until when the name stays taken: as long as it would have been.
pub(super) fn taken_until(row: &Stored, state: State, until: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let finished = until.unwrap_or_else(|| row.expiry(now));
    let longer = row.retention.tombstone.filter(|_| state != State::Tombstone);
    finished.after(longer.unwrap_or_default())
}

/// Begins a transaction and locks the next rows that are meant.
async fn lock(
    session: &Session,
    order: &Erase,
    (first_bucket, from_seq, last_bucket): (u16, u64, u16),
    limit: u32,
    now: Option<i64>,
) -> Result<Vec<Row>, Failure> {
    let column = |bucket: u16| i16::try_from(bucket).unwrap_or(i16::MAX);
    let (first_bucket, last_bucket) = (column(first_bucket), column(last_bucket));
    let (from_seq, limit) = (seq_column(from_seq), i64::from(limit));
    let (mut principal, mut credential, mut namespace) = (None, None, None);
    match &order.whose {
        Whose::Principal(name) => principal = Some(name.as_str()),
        Whose::Credential(digest) => credential = Some(&digest.as_bytes()[..]),
        Whose::Namespace(name) => namespace = Some(name.as_str()),
    }
    let parameters: &[&(dyn ToSql + Sync)] =
        &[&first_bucket, &from_seq, &last_bucket, &principal, &credential, &namespace, &limit, &now];
    session
        .bounded(async {
            let (begun, rows) =
                tokio::join!(biased; session.begin(false), session.query(statements::TO_ERASE, parameters));
            let mut failure = None;
            first(begun, &mut failure);
            let rows = first(rows, &mut failure);
            match failure {
                None => Ok(rows.unwrap_or_default()),
                Some(failure) => Err(failure),
            }
        })
        .await
}
