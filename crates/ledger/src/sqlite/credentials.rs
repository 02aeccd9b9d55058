//! The credentials in the tables of the file.

use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use steadfast_core::{ApiKeyDigest, CredentialId, Timestamp};

use super::{SqliteLedger, desk::Desk, row::millis};
use crate::{
    BoxFuture, CREDENTIALS_MAX, CredentialChanges, CredentialError, CredentialRecord, Credentials,
    ENDED_KEPT, Issue, LedgerError, Revision,
    credentials::{packed_attributes, unpacked_attributes, unpacked_scopes},
};

impl Credentials for SqliteLedger {
    fn issue(&self, order: Issue) -> BoxFuture<'_, std::result::Result<(), CredentialError>> {
        self.write(move |desk| desk.issue_credential(&order))
    }

    fn revoke(
        &self,
        id: CredentialId,
        at: Timestamp,
    ) -> BoxFuture<'_, std::result::Result<(), CredentialError>> {
        self.write(move |desk| desk.revoke_credential(id, at))
    }

    fn credentials(
        &self,
        since: Revision,
    ) -> BoxFuture<'_, std::result::Result<CredentialChanges, LedgerError>> {
        self.read(move |conn| changes(conn, since))
    }

    fn note_used(
        &self,
        uses: Vec<(CredentialId, Timestamp)>,
    ) -> BoxFuture<'_, std::result::Result<(), LedgerError>> {
        self.write(move |desk| desk.note_credentials_used(&uses).map(Ok))
    }
}

impl Desk {
    fn issue_credential(&mut self, order: &Issue) -> Result<std::result::Result<(), CredentialError>> {
        let Issue { record, overlap_until } = order;
        let (conn, now) = (&self.conn, record.created_at);
        let ended_before = now.as_millis().saturating_sub(millis(ENDED_KEPT));
        conn.prepare_cached("DELETE FROM credentials WHERE coalesce(min(expires_at, revoked_at), expires_at, revoked_at) < ?1")?
            .execute([ended_before])?;
        let count: i64 = conn.query_row("SELECT count(*) FROM credentials", [], |row| row.get(0))?;
        if usize::try_from(count).is_ok_and(|count| count >= CREDENTIALS_MAX) {
            return Ok(Err(CredentialError::TooMany));
        }
        let replaced = match record.replaces {
            None => None,
            Some(id) => match one(conn, id)? {
                None => return Ok(Err(CredentialError::NotFound)),
                Some(replaced) if !replaced.is_active(now) => return Ok(Err(CredentialError::Ended)),
                Some(replaced) => Some(replaced),
            },
        };
        let revision = self.next_revision()?;
        if let Some(replaced) = replaced {
            const SQL: &str = "UPDATE credentials SET expires_at = ?2, revision = ?3 WHERE id = ?1";
            let until = replaced.expires_at.map_or(*overlap_until, |expires| expires.min(*overlap_until));
            self.conn.prepare_cached(SQL)?.execute(params![key(replaced.id), until.as_millis(), revision])?;
        }
        const SQL: &str = "INSERT INTO credentials (id, digest, prefix, principal, attributes, scopes, created_at, \
                           expires_at, revoked_at, used_at, replaces, revision) \
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
        self.conn.prepare_cached(SQL)?.execute(params![
            key(record.id),
            record.digest.as_bytes(),
            record.prefix,
            record.principal,
            packed_attributes(&record.attributes),
            record.scopes.join(" "),
            record.created_at.as_millis(),
            record.expires_at.map(Timestamp::as_millis),
            record.revoked_at.map(Timestamp::as_millis),
            record.last_used_at.map(Timestamp::as_millis),
            record.replaces.map(key),
            revision,
        ])?;
        Ok(Ok(()))
    }

    fn revoke_credential(
        &mut self,
        id: CredentialId,
        at: Timestamp,
    ) -> Result<std::result::Result<(), CredentialError>> {
        match one(&self.conn, id)? {
            None => return Ok(Err(CredentialError::NotFound)),
            Some(CredentialRecord { revoked_at: Some(_), .. }) => return Ok(Err(CredentialError::Ended)),
            Some(_) => {}
        }
        const SQL: &str = "UPDATE credentials SET revoked_at = ?2, revision = ?3 WHERE id = ?1";
        let revision = self.next_revision()?;
        self.conn.prepare_cached(SQL)?.execute(params![key(id), at.as_millis(), revision])?;
        Ok(Ok(()))
    }

    fn note_credentials_used(&mut self, uses: &[(CredentialId, Timestamp)]) -> Result<()> {
        const SQL: &str = "UPDATE credentials SET used_at = ?2 WHERE id = ?1 AND coalesce(used_at, 0) < ?2";
        let mut statement = self.conn.prepare_cached(SQL)?;
        for (id, at) in uses {
            statement.execute(params![key(*id), at.as_millis()])?;
        }
        Ok(())
    }

    fn next_revision(&self) -> Result<i64> {
        const SQL: &str = "UPDATE counters SET value = value + 1 WHERE name = 'credentials' RETURNING value";
        self.conn.prepare_cached(SQL)?.query_row([], |row| row.get(0))
    }
}

const COLUMNS: &str = "SELECT id, digest, prefix, principal, attributes, scopes, created_at, expires_at, revoked_at, \
                       used_at, replaces FROM credentials";

fn changes(conn: &Connection, since: Revision) -> Result<CredentialChanges> {
    // In this order: what changes between the two is told again with the next question.
    let revision: i64 =
        conn.query_row("SELECT value FROM counters WHERE name = 'credentials'", [], |row| row.get(0))?;
    let since = i64::try_from(since.0).unwrap_or(i64::MAX);
    let mut changes =
        CredentialChanges { revision: Revision(u64::try_from(revision).unwrap_or(0)), records: Vec::new() };
    if revision > since {
        let mut statement =
            conn.prepare_cached(&format!("{COLUMNS} WHERE revision > ?1 ORDER BY created_at, id"))?;
        changes.records = statement.query_map([since], record)?.collect::<Result<_>>()?;
    }
    Ok(changes)
}

fn one(conn: &Connection, id: CredentialId) -> Result<Option<CredentialRecord>> {
    conn.prepare_cached(&format!("{COLUMNS} WHERE id = ?1"))?.query_row([key(id)], record).optional()
}

fn record(row: &Row<'_>) -> Result<CredentialRecord> {
    let time = |at| row.get::<_, Option<i64>>(at).map(|time| time.map(Timestamp::from_millis));
    let text = |at| row.get_ref(at).and_then(|text| Ok(text.as_str()?));
    Ok(CredentialRecord {
        id: id(row.get(0)?),
        digest: ApiKeyDigest::from_bytes(row.get(1)?),
        prefix: text(2)?.into(),
        principal: text(3)?.into(),
        attributes: unpacked_attributes(text(4)?),
        scopes: unpacked_scopes(text(5)?),
        created_at: Timestamp::from_millis(row.get(6)?),
        expires_at: time(7)?,
        revoked_at: time(8)?,
        last_used_at: time(9)?,
        replaces: row.get::<_, Option<i64>>(10)?.map(id),
    })
}

/// An id has 60 bits: it is no negative number.
fn key(id: CredentialId) -> i64 {
    i64::try_from(id.to_bits()).unwrap_or(i64::MAX)
}

fn id(key: i64) -> CredentialId {
    CredentialId::from_bits(u64::try_from(key).unwrap_or(0))
}
