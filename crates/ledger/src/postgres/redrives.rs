//! Runs that send dead letters round again, in Postgres; how single letters are found is in [`letters`](super::letters).
//! A letter is locked before its run, so that two nodes which drive one run wait for each other and never in a ring.

use steadfast_core::{OperationId, State, Timestamp};
use tokio_postgres::{Row, types::ToSql};

use super::{
    PostgresLedger, Session, changing::redriven, failure::Failure, reading, record::get, settle::lock,
    writes::Writes,
};
use crate::{
    BoxFuture, Cursor, DeadLetters, LedgerError, LetterFilter, Letters, RUNS_GOING_MAX, RUNS_KEPT, Redrive,
    RedriveRun, Redrives, RunError, RunId, RunOrder, RunState, RunTurn, Step,
    redrives::{of_run_beginning, read_canaries, write_canaries},
};

const NOW: &str = "SELECT coalesce($1::bigint, steadfast.now_ms()) AS now_ms";

/// Under a lock: of two that begin at once, each counts the other.
const LOCK_ALL: &str = "LOCK TABLE steadfast.redrive_runs IN SHARE ROW EXCLUSIVE MODE";

const GOING: &str = "SELECT count(*) AS count FROM steadfast.redrive_runs WHERE state = 'running'";

const BEGIN: &str = "INSERT INTO steadfast.redrive_runs (route, ending, cause, status, died_before_ms, doubtful, per_hour,
        canary, made_by, reason, started_ms, going_ms, changed_ms, state, reached, matched, redriven, refused, failed,
        canaries, is_proven)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, $11, 'running', 0, $12, 0, 0, 0, '', $8 = 0)
    RETURNING *";

const FORGET: &str = "DELETE FROM steadfast.redrive_runs WHERE state <> 'running' AND id <=
    (SELECT id FROM steadfast.redrive_runs ORDER BY id DESC LIMIT 1 OFFSET $1)";

const RUNS: &str = "SELECT * FROM steadfast.redrive_runs ORDER BY id DESC LIMIT $1";

const LOCK_RUN: &str = "SELECT * FROM steadfast.redrive_runs WHERE id = $1 FOR UPDATE";

const PUT: &str =
    "UPDATE steadfast.redrive_runs SET going_ms = $2, changed_ms = $3, state = $4, why = $5, reached = $6,
    redriven = $7, refused = $8, failed = $9, canaries = $10, is_proven = $11 WHERE id = $1";

impl Redrives for PostgresLedger {
    fn letters(
        &self,
        of: LetterFilter,
        after: Option<Cursor>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Letters, LedgerError>> {
        Box::pin(self.letters_page(of, after, limit))
    }

    fn count_letters(&self, of: LetterFilter) -> BoxFuture<'_, Result<Vec<DeadLetters>, LedgerError>> {
        Box::pin(self.letter_groups(of))
    }

    fn begin_run(&self, order: RunOrder) -> BoxFuture<'_, Result<RedriveRun, RunError>> {
        let now = self.shared.options.store_time.millis();
        Box::pin(async move { self.general.change(async |session| begin(session, &order, now).await).await })
    }

    fn runs(&self) -> BoxFuture<'_, Result<Vec<RedriveRun>, LedgerError>> {
        Box::pin(async move {
            let most = i64::try_from(RUNS_KEPT + RUNS_GOING_MAX).unwrap_or(i64::MAX);
            let rows = self.read(RUNS, &[&most]).await?;
            let runs: Result<_, Failure> = rows.iter().map(run).collect();
            runs.map_err(|failure| failure.to_error())
        })
    }

    fn redrive_next(
        &self,
        run: RunId,
        letter: OperationId,
        chance: Option<Redrive>,
        is_canary: bool,
    ) -> BoxFuture<'_, Result<Step, LedgerError>> {
        Box::pin(async move {
            let lent = self.general.lend().await?;
            let now = self.shared.options.store_time.millis();
            let next = Next { run, letter, chance, is_canary };
            let stepped = next.take(lent.session(), now).await;
            let (step, writes) = lent.settle(stepped).await?;
            self.shared.announce(&writes);
            Ok(step)
        })
    }

    fn turn_run(&self, id: RunId, turn: RunTurn) -> BoxFuture<'_, Result<RedriveRun, RunError>> {
        let now = self.shared.options.store_time.millis();
        Box::pin(
            async move { self.general.change(async |session| turned(session, id, &turn, now).await).await },
        )
    }
}

async fn begin(
    session: &Session,
    order: &RunOrder,
    now: Option<i64>,
) -> Result<Result<RedriveRun, RunError>, Failure> {
    session.simple(LOCK_ALL).await?;
    if runs_going(session).await? >= RUNS_GOING_MAX {
        return Ok(Err(RunError::TooMany));
    }
    let now = time(session, now).await?;
    let of = of_run_beginning(order.of.clone(), now);
    let parameters: &[&(dyn ToSql + Sync)] = &[
        &of.route.as_deref(),
        &of.end.as_deref(),
        &of.cause.as_deref(),
        &of.status.map(i32::from),
        &of.died_before.map(Timestamp::as_millis),
        &of.doubtful,
        &i64::from(order.per_hour.max(1)),
        &i32::try_from(order.canary).unwrap_or(i32::MAX),
        &&*order.by,
        &&*order.reason,
        &now.as_millis(),
        &i64::try_from(order.matched).unwrap_or(i64::MAX),
    ];
    let rows = session.query(BEGIN, parameters).await?;
    let begun = rows.first().map(run).unwrap_or_else(|| Err(gone()))?;
    session.execute(FORGET, &[&i64::try_from(RUNS_KEPT).unwrap_or(i64::MAX)]).await?;
    Ok(Ok(begun))
}

async fn turned(
    session: &Session,
    id: RunId,
    turn: &RunTurn,
    now: Option<i64>,
) -> Result<Result<RedriveRun, RunError>, Failure> {
    if *turn == RunTurn::Resume {
        session.simple(LOCK_ALL).await?;
    }
    let Some(run) = lock_run(session, id).await? else { return Ok(Err(RunError::NotFound)) };
    let now = time(session, now).await?;
    let Some(next) = run.after(turn, now) else { return Ok(Err(RunError::Stands(run.state))) };
    if *turn == RunTurn::Resume && runs_going(session).await? >= RUNS_GOING_MAX {
        return Ok(Err(RunError::TooMany));
    }
    put(session, &next).await?;
    Ok(Ok(next))
}

/// The next letter of a run.
struct Next {
    run: RunId,
    letter: OperationId,
    chance: Option<Redrive>,
    is_canary: bool,
}

impl Next {
    /// Sends it round again and counts it, in one transaction.
    async fn take(&self, session: &Session, now: Option<i64>) -> Result<(Step, Writes), Failure> {
        let locked = lock(session, self.letter, now).await?;
        let Some(run) = lock_run(session, self.run).await?.filter(|run| run.state == RunState::Running)
        else {
            session.roll_back().await?;
            return Ok((Step::NotRunning, Writes::default()));
        };
        if self.letter.sequence() <= run.reached.0 {
            session.roll_back().await?;
            return Ok((Step::Passed, Writes::default()));
        }
        let is_own = |at: Timestamp| run.of.died_before.is_none_or(|before| at < before);
        let dead =
            locked.filter(|(row, _)| matches!(row.state, State::Dead { .. }) && is_own(row.changed_at));
        let (step, writes) = match (&dead, self.chance) {
            (None, _) => (Step::Passed, Writes::default()),
            (Some(_), None) => (Step::Hopeless, Writes::default()),
            (Some((row, now)), Some(chance)) => match redriven(row, chance, *now) {
                Ok((_, writes)) => (Step::Redriven, writes),
                Err(refused) => (Step::Refused(refused), Writes::default()),
            },
        };
        let counted = self.counted(run, step, time(session, now).await?);
        session
            .bounded(async {
                put(session, &counted).await?;
                writes.commit(session, 0, None).await.map(|_| ())
            })
            .await?;
        Ok((step, writes))
    }

    fn counted(&self, mut run: RedriveRun, step: Step, now: Timestamp) -> RedriveRun {
        run.reached = Cursor(self.letter.sequence());
        run.changed_at = now;
        match step {
            Step::Redriven => {
                run.redriven += 1;
                if self.is_canary {
                    run.canaries.push(self.letter);
                }
            }
            Step::Refused(_) => run.refused += 1,
            Step::Hopeless => run.failed += 1,
            Step::Passed | Step::NotRunning => {}
        }
        run
    }
}

async fn time(session: &Session, now: Option<i64>) -> Result<Timestamp, Failure> {
    let rows = session.query(NOW, &[&now]).await?;
    let row = rows.first().ok_or_else(|| Failure::Corrupt("a clock that shows nothing".into()))?;
    get(row, "now_ms").map(Timestamp::from_millis)
}

async fn runs_going(session: &Session) -> Result<usize, Failure> {
    let rows = session.query(GOING, &[]).await?;
    let going: i64 = rows.first().map(|row| get(row, "count")).transpose()?.unwrap_or(0);
    Ok(usize::try_from(going).unwrap_or(usize::MAX))
}

async fn lock_run(session: &Session, id: RunId) -> Result<Option<RedriveRun>, Failure> {
    session.query(LOCK_RUN, &[&number(id)]).await?.first().map(run).transpose()
}

async fn put(session: &Session, run: &RedriveRun) -> Result<(), Failure> {
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let parameters: &[&(dyn ToSql + Sync)] = &[
        &number(run.id),
        &run.going_since.as_millis(),
        &run.changed_at.as_millis(),
        &run.state.as_str(),
        &run.why.as_deref(),
        &count(run.reached.0),
        &count(run.redriven),
        &count(run.refused),
        &count(run.failed),
        &write_canaries(&run.canaries),
        &run.is_proven,
    ];
    session.execute(PUT, parameters).await?;
    Ok(())
}

fn number(RunId(id): RunId) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

fn gone() -> Failure {
    Failure::Corrupt("a run that was just written is gone".into())
}

fn run(row: &Row) -> Result<RedriveRun, Failure> {
    let time = |column| get(row, column).map(Timestamp::from_millis);
    let text = |column| Ok::<_, Failure>(get::<Option<&str>>(row, column)?.map(Into::into));
    let count = |column| Ok::<_, Failure>(u64::try_from(get::<i64>(row, column)?).unwrap_or(0));
    let state = RunState::from_name(get(row, "state")?);
    Ok(RedriveRun {
        id: RunId(count("id")?),
        of: LetterFilter {
            route: text("route")?,
            end: text("ending")?,
            cause: text("cause")?,
            status: reading::status(row, "status")?,
            died_before: Some(time("died_before_ms")?),
            doubtful: get(row, "doubtful")?,
        },
        per_hour: u32::try_from(get::<i64>(row, "per_hour")?).unwrap_or(u32::MAX),
        canary: u32::try_from(get::<i32>(row, "canary")?).unwrap_or(0),
        by: get::<&str>(row, "made_by")?.into(),
        reason: get::<&str>(row, "reason")?.into(),
        started_at: time("started_ms")?,
        going_since: time("going_ms")?,
        changed_at: time("changed_ms")?,
        state: state.ok_or_else(|| Failure::Corrupt("a run is in no state that is known".into()))?,
        why: text("why")?,
        reached: Cursor(count("reached")?),
        matched: count("matched")?,
        redriven: count("redriven")?,
        refused: count("refused")?,
        failed: count("failed")?,
        canaries: read_canaries(get(row, "canaries")?),
        is_proven: get(row, "is_proven")?,
    })
}
