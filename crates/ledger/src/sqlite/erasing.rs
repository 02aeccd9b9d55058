//! Erasing. Who reads looks for rows, so that a search through the file holds up no claim; who writes then looks at
//! each of them again.

use rusqlite::{Connection, Result, Row, params};
use steadfast_core::State;

use super::{
    claiming::expired,
    desk::Desk,
    row::{self, Whole},
};
use crate::{Cursor, ERASED_AT_ONCE_MAX, Erase, Erased, Whose, erasure::Fate};

/// How many rows one search looks at: a bound on how old its snapshot gets.
const ROWS_A_SEARCH: u32 = 10_000;

/// Rows that may be meant, newest first, and where the search ended.
#[derive(Debug, Default)]
pub(super) struct Search {
    pub(super) rows: Vec<i64>,
    pub(super) next: Option<Cursor>,
}

/// Looks through the next rows.
pub(super) fn search(conn: &Connection, order: &Erase) -> Result<Search> {
    // An empty key is an operation's that was erased.
    const SQL: &str = "SELECT seq, principal, credential, namespace, key = '' FROM operations WHERE seq < ?1 \
                       ORDER BY seq DESC LIMIT ?2";
    let before = order.from.map_or(i64::MAX, |Cursor(seq)| seq.cast_signed());
    let limit = order.limit.clamp(1, ERASED_AT_ONCE_MAX) as usize;
    let mut statement = conn.prepare_cached(SQL)?;
    let mut rows = statement.query(params![before, ROWS_A_SEARCH])?;
    let (mut search, mut looked) = (Search::default(), 0);
    while let Some(row) = rows.next()? {
        looked += 1;
        let seq: i64 = row.get(0)?;
        if is_meant(&order.whose, row)? {
            search.rows.push(seq);
        }
        if search.rows.len() == limit || looked == ROWS_A_SEARCH {
            search.next = Some(Cursor(seq.unsigned_abs()));
            break;
        }
    }
    Ok(search)
}

fn is_meant(whose: &Whose, row: &Row<'_>) -> Result<bool> {
    if row.get(4)? {
        return Ok(false);
    }
    Ok(match whose {
        Whose::Principal(principal) => row.get_ref(1)?.as_str_or_null()? == Some(principal.as_str()),
        Whose::Credential(credential) => row.get_ref(2)?.as_bytes_or_null()? == Some(credential.as_bytes()),
        Whose::Namespace(namespace) => row.get_ref(3)?.as_str()? == namespace.as_str(),
    })
}

impl Desk {
    /// Erases those of these rows that are still meant and finished.
    pub(super) fn erase(&mut self, rows: &[i64], whose: &Whose, dry_run: bool) -> Result<Erased> {
        if dry_run {
            return self.erase_each(rows, whose, true);
        }
        // What is deleted now is overwritten too where a whole page becomes free, which costs a write a page.
        self.overwrite_deleted("ON")?;
        let erased = self.erase_each(rows, whose, false);
        self.overwrite_deleted("FAST")?;
        erased
    }

    fn erase_each(&mut self, rows: &[i64], whose: &Whose, dry_run: bool) -> Result<Erased> {
        let mut erased = Erased::default();
        for &seq in rows {
            let Some(found) = self.whole(seq)? else { continue };
            if !whose.is_of(&found.name, &found.owner) {
                continue;
            }
            match Fate::of(expired(&found.head, self.now)) {
                Fate::Left => erased.left.push(found.id()),
                _ if dry_run => erased.erased += 1,
                Fate::Removed => {
                    self.remove(seq)?;
                    erased.erased += 1;
                }
                Fate::Entombed => {
                    self.entomb_nameless(&found)?;
                    erased.erased += 1;
                }
            }
        }
        Ok(erased)
    }

    /// Leaves a tombstone that nothing but its digest names, for as long as the name would have been taken.
    fn entomb_nameless(&mut self, found: &Whole) -> Result<()> {
        const SQL: &str = "UPDATE operations SET state = 'tombstone', doubt = 'none', evidence = NULL, fence = NULL, \
                           began_at = NULL, answer = NULL, answer_status = NULL, answer_headers = NULL, \
                           answer_body = NULL, changed_at = ?2, expires_at = ?3, fingerprint = zeroblob(16), \
                           namespace = ?4, key = '', principal = NULL, credential = NULL, path = '', request_id = NULL WHERE seq = ?1";
        let head = &found.head;
        self.conn.prepare_cached(SQL)?.execute(params![
            head.seq,
            self.now.as_millis(),
            head.taken_until(self.now).as_millis(),
            row::nameless_namespace(found.name.bucket()),
        ])?;
        // A dead one may have kept its lane from going on.
        self.keep_place(head.seq, head.state, State::Tombstone)?;
        self.strip(head.seq)?;
        self.wakes.push(head.digest);
        Ok(())
    }

    fn overwrite_deleted(&self, how: &str) -> Result<()> {
        self.conn.query_row(&format!("PRAGMA secure_delete = {how}"), [], |_| Ok(()))
    }
}
