//! The credentials in Postgres. Changes are rare: each is one statement, which takes the revision's row first.

use steadfast_core::{ApiKeyDigest, CredentialId, Timestamp};
use tokio_postgres::{Row, types::ToSql};

use super::{
    PostgresLedger,
    failure::Failure,
    record::{get, millis},
};
use crate::{
    BoxFuture, CREDENTIALS_MAX, CredentialChanges, CredentialError, CredentialRecord, Credentials,
    ENDED_KEPT, Issue, LedgerError, Revision,
    credentials::{packed_attributes, unpacked_attributes, unpacked_scopes},
};

/// What comes before a change, in its transaction.
const NEXT_REVISION: &str =
    "UPDATE steadfast.credentials_revision SET revision = revision + 1 RETURNING revision";

const FORGET: &str = "DELETE FROM steadfast.credentials WHERE least(expires_ms, revoked_ms) < $1";

const COUNT: &str = "SELECT count(*) AS count FROM steadfast.credentials";

const ONE: &str = "SELECT * FROM steadfast.credentials WHERE id = $1";

const SHORTEN: &str = "UPDATE steadfast.credentials
    SET expires_ms = least(expires_ms, $2::bigint), revision = $3 WHERE id = $1";

const INSERT: &str = "INSERT INTO steadfast.credentials
    (id, digest, prefix, principal, attributes, scopes, created_ms, expires_ms, revoked_ms, used_ms, replaces, revision)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";

const REVOKE: &str = "UPDATE steadfast.credentials SET revoked_ms = $2, revision = $3 WHERE id = $1";

const REVISION: &str = "SELECT revision FROM steadfast.credentials_revision";

const CHANGED: &str = "SELECT * FROM steadfast.credentials WHERE revision > $1 ORDER BY created_ms, id";

const USED: &str = "UPDATE steadfast.credentials AS c SET used_ms = u.at
    FROM unnest($1::bigint[], $2::bigint[]) AS u (id, at)
    WHERE c.id = u.id AND coalesce(c.used_ms, 0) < u.at";

impl Credentials for PostgresLedger {
    fn issue(&self, order: Issue) -> BoxFuture<'_, Result<(), CredentialError>> {
        Box::pin(async move { self.general.change(async |session| issue(session, &order).await).await })
    }

    fn revoke(&self, id: CredentialId, at: Timestamp) -> BoxFuture<'_, Result<(), CredentialError>> {
        Box::pin(async move { self.general.change(async |session| revoke(session, id, at).await).await })
    }

    fn credentials(&self, since: Revision) -> BoxFuture<'_, Result<CredentialChanges, LedgerError>> {
        Box::pin(async move {
            let lent = self.general.lend().await?;
            let result = changes(lent.session(), since).await;
            lent.settle(result).await
        })
    }

    fn note_used(&self, uses: Vec<(CredentialId, Timestamp)>) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            // In one order on every node, so that no two wait for each other.
            let mut uses = uses;
            uses.sort();
            let (ids, times): (Vec<i64>, Vec<i64>) =
                uses.iter().map(|(id, at)| (key(*id), at.as_millis())).unzip();
            let lent = self.general.lend().await?;
            let session = lent.session();
            let noted = session
                .bounded(async { session.execute(USED, &[&ids, &times]).await.map_err(Failure::from) });
            let noted = noted.await.map(|_| ());
            lent.settle(noted).await
        })
    }
}

async fn issue(session: &super::Session, order: &Issue) -> Result<Result<(), CredentialError>, Failure> {
    let Issue { record, overlap_until } = order;
    let now = record.created_at;
    let revision = next_revision(session).await?;
    session.execute(FORGET, &[&now.as_millis().saturating_sub(millis(ENDED_KEPT))]).await?;
    let count = session.query(COUNT, &[]).await?;
    let count: i64 = count.first().map(|row| get(row, "count")).transpose()?.unwrap_or(0);
    if usize::try_from(count).is_ok_and(|count| count >= CREDENTIALS_MAX) {
        return Ok(Err(CredentialError::TooMany));
    }
    if let Some(id) = record.replaces {
        match one(session, id).await? {
            None => return Ok(Err(CredentialError::NotFound)),
            Some(replaced) if !replaced.is_active(now) => return Ok(Err(CredentialError::Ended)),
            Some(_) => {}
        }
        session.execute(SHORTEN, &[&key(id), &overlap_until.as_millis(), &revision]).await?;
    }
    let parameters: &[&(dyn ToSql + Sync)] = &[
        &key(record.id),
        &&record.digest.as_bytes()[..],
        &&*record.prefix,
        &&*record.principal,
        &packed_attributes(&record.attributes),
        &record.scopes.join(" "),
        &record.created_at.as_millis(),
        &record.expires_at.map(Timestamp::as_millis),
        &record.revoked_at.map(Timestamp::as_millis),
        &record.last_used_at.map(Timestamp::as_millis),
        &record.replaces.map(key),
        &revision,
    ];
    session.execute(INSERT, parameters).await?;
    Ok(Ok(()))
}

async fn revoke(
    session: &super::Session,
    id: CredentialId,
    at: Timestamp,
) -> Result<Result<(), CredentialError>, Failure> {
    let revision = next_revision(session).await?;
    match one(session, id).await? {
        None => return Ok(Err(CredentialError::NotFound)),
        Some(CredentialRecord { revoked_at: Some(_), .. }) => return Ok(Err(CredentialError::Ended)),
        Some(_) => {}
    }
    session.execute(REVOKE, &[&key(id), &at.as_millis(), &revision]).await?;
    Ok(Ok(()))
}

async fn next_revision(session: &super::Session) -> Result<i64, Failure> {
    let rows = session.query(NEXT_REVISION, &[]).await?;
    rows.first().map(|row| get(row, "revision")).unwrap_or_else(|| Err(no_revision()))
}

fn no_revision() -> Failure {
    Failure::Corrupt("the revision of credentials is gone".into())
}

async fn one(session: &super::Session, id: CredentialId) -> Result<Option<CredentialRecord>, Failure> {
    session.query(ONE, &[&key(id)]).await?.first().map(record).transpose()
}

async fn changes(session: &super::Session, since: Revision) -> Result<CredentialChanges, Failure> {
    let since = i64::try_from(since.0).unwrap_or(i64::MAX);
    session
        .bounded(async {
            // In this order: what changes between the two is told again with the next question.
            let rows = session.query(REVISION, &[]).await?;
            let revision: i64 =
                rows.first().map(|row| get(row, "revision")).unwrap_or_else(|| Err(no_revision()))?;
            let records = match revision > since {
                true => {
                    session.query(CHANGED, &[&since]).await?.iter().map(record).collect::<Result<_, _>>()?
                }
                false => Vec::new(),
            };
            Ok(CredentialChanges { revision: Revision(u64::try_from(revision).unwrap_or(0)), records })
        })
        .await
}

fn record(row: &Row) -> Result<CredentialRecord, Failure> {
    let time = |column| Ok::<_, Failure>(get::<Option<i64>>(row, column)?.map(Timestamp::from_millis));
    let digest = <[u8; 32]>::try_from(get::<&[u8]>(row, "digest")?)
        .map_err(|_| Failure::Corrupt("a credential's digest is cut off".into()))?;
    Ok(CredentialRecord {
        id: id(get(row, "id")?),
        digest: ApiKeyDigest::from_bytes(digest),
        prefix: get::<&str>(row, "prefix")?.into(),
        principal: get::<&str>(row, "principal")?.into(),
        attributes: unpacked_attributes(get(row, "attributes")?),
        scopes: unpacked_scopes(get(row, "scopes")?),
        created_at: Timestamp::from_millis(get(row, "created_ms")?),
        expires_at: time("expires_ms")?,
        revoked_at: time("revoked_ms")?,
        last_used_at: time("used_ms")?,
        replaces: get::<Option<i64>>(row, "replaces")?.map(id),
    })
}

/// An id has 60 bits: it is no negative number.
fn key(id: CredentialId) -> i64 {
    i64::try_from(id.to_bits()).unwrap_or(i64::MAX)
}

fn id(key: i64) -> CredentialId {
    CredentialId::from_bits(u64::try_from(key).unwrap_or(0))
}
