//! Runs that send dead letters round again, in the tables of the file; how single letters are found is in `letters.rs`.

use rusqlite::{Connection, Error, OptionalExtension, Result, Row, params, types::Type};
use steadfast_core::{OperationId, State, Timestamp};

use super::{SqliteLedger, desk::Desk, letters};
use crate::{
    BoxFuture, ChangeError, Cursor, DeadLetters, LedgerError, LetterFilter, Letters, RUNS_GOING_MAX,
    RUNS_KEPT, Redrive, RedriveRun, Redrives, RunError, RunId, RunOrder, RunState, RunTurn, Step,
    redrives::{of_run_beginning, read_canaries, write_canaries},
};

/// What became of a change of a run.
type Turned = std::result::Result<RedriveRun, RunError>;

impl Redrives for SqliteLedger {
    fn letters(
        &self,
        of: LetterFilter,
        after: Option<Cursor>,
        limit: u32,
    ) -> BoxFuture<'_, std::result::Result<Letters, LedgerError>> {
        self.read(move |conn| letters::page(conn, &of, after, limit))
    }

    fn count_letters(
        &self,
        of: LetterFilter,
    ) -> BoxFuture<'_, std::result::Result<Vec<DeadLetters>, LedgerError>> {
        self.read(move |conn| letters::groups(conn, &of))
    }

    fn begin_run(&self, order: RunOrder) -> BoxFuture<'_, Turned> {
        self.write(move |desk: &mut Desk| desk.begin_run(&order))
    }

    fn runs(&self) -> BoxFuture<'_, std::result::Result<Vec<RedriveRun>, LedgerError>> {
        self.read(runs)
    }

    fn redrive_next(
        &self,
        run: RunId,
        letter: OperationId,
        chance: Option<Redrive>,
        is_canary: bool,
    ) -> BoxFuture<'_, std::result::Result<Step, LedgerError>> {
        self.write(move |desk: &mut Desk| desk.redrive_next(run, letter, chance, is_canary).map(Ok))
    }

    fn turn_run(&self, run: RunId, turn: RunTurn) -> BoxFuture<'_, Turned> {
        self.write(move |desk: &mut Desk| desk.turn_run(run, &turn))
    }
}

impl Desk {
    fn begin_run(&mut self, order: &RunOrder) -> Result<Turned> {
        const SQL: &str = "INSERT INTO redrive_runs (route, end, cause, status, died_before, doubtful, per_hour, canary, \
                           made_by, reason, started_at, going_since, changed_at, state, reached, matched, redriven, \
                           refused, failed, canaries, is_proven) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, \
                           ?11, ?11, 'running', 0, ?12, 0, 0, 0, '', ?8 = 0)";
        const FORGET: &str = "DELETE FROM redrive_runs WHERE state <> 'running' AND id <= \
                              (SELECT id FROM redrive_runs ORDER BY id DESC LIMIT 1 OFFSET ?1)";
        if self.runs_going()? >= RUNS_GOING_MAX {
            return Ok(Err(RunError::TooMany));
        }
        let of = of_run_beginning(order.of.clone(), self.now);
        self.conn.prepare_cached(SQL)?.execute(params![
            of.route,
            of.end,
            of.cause,
            of.status,
            of.died_before.map(Timestamp::as_millis),
            of.doubtful,
            order.per_hour.max(1),
            order.canary,
            order.by,
            order.reason,
            self.now.as_millis(),
            order.matched.cast_signed().max(0),
        ])?;
        let id = RunId(self.conn.last_insert_rowid().unsigned_abs());
        self.conn.prepare_cached(FORGET)?.execute([i64::try_from(RUNS_KEPT).unwrap_or(i64::MAX)])?;
        Ok(self.run(id)?.ok_or(RunError::NotFound))
    }

    fn runs_going(&self) -> Result<usize> {
        const SQL: &str = "SELECT count(*) FROM redrive_runs WHERE state = 'running'";
        let going: i64 = self.conn.prepare_cached(SQL)?.query_row([], |row| row.get(0))?;
        Ok(usize::try_from(going).unwrap_or(usize::MAX))
    }

    fn run(&self, id: RunId) -> Result<Option<RedriveRun>> {
        let sql = format!("{COLUMNS} WHERE id = ?1");
        self.conn.prepare_cached(&sql)?.query_row([id.0.cast_signed()], run).optional()
    }

    fn redrive_next(
        &mut self,
        id: RunId,
        letter: OperationId,
        chance: Option<Redrive>,
        is_canary: bool,
    ) -> Result<Step> {
        let Some(run) = self.run(id)?.filter(|run| run.state == RunState::Running) else {
            return Ok(Step::NotRunning);
        };
        if letter.sequence() <= run.reached.0 {
            return Ok(Step::Passed);
        }
        let step = self.step(&run, letter, chance)?;
        let count = |counted: bool, so_far: u64| so_far + u64::from(counted);
        let mut next = RedriveRun {
            reached: Cursor(letter.sequence()),
            changed_at: self.now,
            redriven: count(step == Step::Redriven, run.redriven),
            refused: count(matches!(step, Step::Refused(_)), run.refused),
            failed: count(step == Step::Hopeless, run.failed),
            ..run
        };
        if is_canary && step == Step::Redriven {
            next.canaries.push(letter);
        }
        self.put_run(&next)?;
        Ok(step)
    }

    /// Sends a letter round again, if it is still the run's.
    fn step(&mut self, run: &RedriveRun, letter: OperationId, chance: Option<Redrive>) -> Result<Step> {
        let is_own = |changed_at: Timestamp| run.of.died_before.is_none_or(|before| changed_at < before);
        let head = self.head(letter)?.filter(|head| is_own(head.changed_at));
        if !head.is_some_and(|head| matches!(head.state, State::Dead { .. })) {
            return Ok(Step::Passed);
        }
        let Some(chance) = chance else { return Ok(Step::Hopeless) };
        match self.redrive(letter, chance)? {
            Ok(_) => Ok(Step::Redriven),
            Err(ChangeError::Refused(refused)) => Ok(Step::Refused(refused)),
            Err(ChangeError::NotFound | ChangeError::Ledger(_)) => Ok(Step::Passed),
        }
    }

    fn turn_run(&mut self, id: RunId, turn: &RunTurn) -> Result<Turned> {
        let Some(run) = self.run(id)? else { return Ok(Err(RunError::NotFound)) };
        let Some(next) = run.after(turn, self.now) else { return Ok(Err(RunError::Stands(run.state))) };
        if *turn == RunTurn::Resume && self.runs_going()? >= RUNS_GOING_MAX {
            return Ok(Err(RunError::TooMany));
        }
        self.put_run(&next)?;
        Ok(Ok(next))
    }

    /// Writes what changes of a run.
    fn put_run(&self, run: &RedriveRun) -> Result<()> {
        const SQL: &str = "UPDATE redrive_runs SET going_since = ?2, changed_at = ?3, state = ?4, why = ?5, reached = ?6, \
                           redriven = ?7, refused = ?8, failed = ?9, canaries = ?10, is_proven = ?11 WHERE id = ?1";
        self.conn.prepare_cached(SQL)?.execute(params![
            run.id.0.cast_signed(),
            run.going_since.as_millis(),
            run.changed_at.as_millis(),
            run.state.as_str(),
            run.why,
            run.reached.0.cast_signed(),
            run.redriven.cast_signed(),
            run.refused.cast_signed(),
            run.failed.cast_signed(),
            write_canaries(&run.canaries),
            run.is_proven,
        ])?;
        Ok(())
    }
}

const COLUMNS: &str = "SELECT id, route, end, cause, status, died_before, doubtful, per_hour, canary, made_by, reason, \
                       started_at, going_since, changed_at, state, why, reached, matched, redriven, refused, failed, \
                       canaries, is_proven FROM redrive_runs";

fn runs(conn: &Connection) -> Result<Vec<RedriveRun>> {
    let mut statement = conn.prepare_cached(&format!("{COLUMNS} ORDER BY id DESC LIMIT ?1"))?;
    let most = i64::try_from(RUNS_KEPT + RUNS_GOING_MAX).unwrap_or(i64::MAX);
    statement.query_map([most], run)?.collect()
}

fn run(row: &Row<'_>) -> Result<RedriveRun> {
    let time = |at| row.get(at).map(Timestamp::from_millis);
    let count = |at| row.get::<_, i64>(at).map(i64::unsigned_abs);
    let state = RunState::from_name(row.get_ref(14)?.as_str()?);
    Ok(RedriveRun {
        id: RunId(count(0)?),
        of: LetterFilter {
            route: row.get(1)?,
            end: row.get(2)?,
            cause: row.get(3)?,
            status: row.get(4)?,
            died_before: Some(time(5)?),
            doubtful: row.get(6)?,
        },
        per_hour: row.get(7)?,
        canary: row.get(8)?,
        by: row.get(9)?,
        reason: row.get(10)?,
        started_at: time(11)?,
        going_since: time(12)?,
        changed_at: time(13)?,
        state: state.ok_or_else(|| Error::InvalidColumnType(14, "state".into(), Type::Text))?,
        why: row.get(15)?,
        reached: Cursor(count(16)?),
        matched: count(17)?,
        redriven: count(18)?,
        refused: count(19)?,
        failed: count(20)?,
        canaries: read_canaries(row.get_ref(21)?.as_str()?),
        is_proven: row.get(22)?,
    })
}
