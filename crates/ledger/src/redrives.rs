//! Looking through dead letters, and sending many of them round again: a run is a row in the ledger, so that it goes on after a
//! restart, is the same to all nodes, and can be stopped and resumed by people.

use steadfast_core::{OperationId, Refused, Timestamp};

use crate::{BoxFuture, Cursor, DeadLetters, LedgerError, OperationRecord, Redrive};

/// How many runs may be under way at once.
pub const RUNS_GOING_MAX: usize = 20;

/// How many runs are remembered; the oldest that have ended are forgotten first.
pub const RUNS_KEPT: usize = 200;

/// The most letters that a run tries first.
pub const CANARIES_MAX: u32 = 100;

/// What whoever looks through dead letters, and sends many of them round again, needs of a ledger.
pub trait Redrives: Send + Sync + 'static {
    /// A page of the dead letters that pass a filter, in the order in which they were accepted, from the one after `after`
    /// on; at most `limit`, and at most [`PAGE_ROWS_MAX`](crate::PAGE_ROWS_MAX). A page may hold fewer than there are, and
    /// even none, with a cursor from which the search goes on.
    ///
    /// # Errors
    /// [`LedgerError`] where the ledger cannot be read.
    fn letters(
        &self,
        of: LetterFilter,
        after: Option<Cursor>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Letters, LedgerError>>;

    /// How many there are that pass a filter, by what made them dead; at most 1,000 groups, the largest first.
    ///
    /// # Errors
    /// [`LedgerError`] where the ledger cannot be read.
    fn count_letters(&self, of: LetterFilter) -> BoxFuture<'_, Result<Vec<DeadLetters>, LedgerError>>;

    /// Begins a run. Only letters that died before it began are its own, so that none of them is taken twice.
    ///
    /// # Errors
    /// [`RunError`]: not known to have begun.
    fn begin_run(&self, order: RunOrder) -> BoxFuture<'_, Result<RedriveRun, RunError>>;

    /// The runs that are remembered, the newest first.
    ///
    /// # Errors
    /// [`LedgerError`] where the ledger cannot be read.
    fn runs(&self) -> BoxFuture<'_, Result<Vec<RedriveRun>, LedgerError>>;

    /// Sends a letter of a run round again, with these attempts and this time, and counts it with the run: both or neither.
    /// A run goes from letter to letter in their order and never back, so asked again, or by two nodes, it does so once.
    /// Where nobody could send the letter, there is no chance for it, and it is only counted.
    ///
    /// # Errors
    /// [`LedgerError`]: not known to be written. Asked again, it is done once.
    fn redrive_next(
        &self,
        run: RunId,
        letter: OperationId,
        chance: Option<Redrive>,
        is_canary: bool,
    ) -> BoxFuture<'_, Result<Step, LedgerError>>;

    /// Lets a run take its next turn: it is what it is afterwards.
    ///
    /// # Errors
    /// [`RunError`]: not known to be written.
    fn turn_run(&self, run: RunId, turn: RunTurn) -> BoxFuture<'_, Result<RedriveRun, RunError>>;
}

/// Which dead letters are meant: those that pass all that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterFilter {
    /// Of this route.
    pub route: Option<Box<str>>,
    /// Whose last attempt ended so: `refused`, `not_sent` or `unknown`,
    pub end: Option<Box<str>>,
    /// for this cause,
    pub cause: Option<Box<str>>,
    /// with this status.
    pub status: Option<u16>,
    /// That died before this.
    pub died_before: Option<Timestamp>,
    /// That are in doubt, or that are not.
    pub doubtful: Option<bool>,
}

impl LetterFilter {
    /// Whether it lets every letter through.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The operation.
    pub operation: OperationRecord,
    /// How its last attempt ended (`refused`, `not_sent`, `unknown`),
    pub end: Box<str>,
    /// why,
    pub cause: Option<Box<str>>,
    /// and with which status.
    pub status: Option<u16>,
}

/// A page of dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letters {
    /// They.
    pub letters: Vec<Letter>,
    /// From where the search goes on; `None` where there are no more.
    pub next: Option<Cursor>,
}

/// The name of a run: they are numbered from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(pub u64);

impl std::fmt::Display for RunId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A run that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOrder {
    /// Of which letters.
    pub of: LetterFilter,
    /// How many an hour at most.
    pub per_hour: u32,
    /// How many are tried first: the rest follows when all of them are completed. At most [`CANARIES_MAX`]; 0: none.
    pub canary: u32,
    /// How many there are, as they were counted before.
    pub matched: u64,
    /// Who says so.
    pub by: Box<str>,
    /// Why.
    pub reason: Box<str>,
}

/// A run, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedriveRun {
    /// Its number.
    pub id: RunId,
    /// Of which letters; it always says before when they died.
    pub of: LetterFilter,
    /// How many an hour at most.
    pub per_hour: u32,
    /// How many are tried first.
    pub canary: u32,
    /// Who began it.
    pub by: Box<str>,
    /// Why.
    pub reason: Box<str>,
    /// When it began.
    pub started_at: Timestamp,
    /// Since when it goes on: when it began, or was last resumed.
    pub going_since: Timestamp,
    /// When it last changed.
    pub changed_at: Timestamp,
    /// How it stands.
    pub state: RunState,
    /// Why it stopped, for people.
    pub why: Option<Box<str>>,
    /// Up to which letter it is.
    pub reached: Cursor,
    /// How many letters there were when it began.
    pub matched: u64,
    /// How many were sent round again.
    pub redriven: u64,
    /// How many stayed because their outcome is in doubt.
    pub refused: u64,
    /// How many stayed because nobody can send them: their route is gone.
    pub failed: u64,
    /// Those that were tried first.
    pub canaries: Vec<OperationId>,
    /// Whether all of those are completed, or none were wanted.
    pub is_proven: bool,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// It goes on.
    Running,
    /// Somebody stopped it.
    Stopped,
    /// One of those that were tried first did not complete.
    StoppedByCanary,
    /// It came to the end.
    Finished,
}

impl RunState {
    /// Its name, as it is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::StoppedByCanary => "stopped_by_canary",
            Self::Finished => "finished",
        }
    }

    /// The state with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Running, Self::Stopped, Self::StoppedByCanary, Self::Finished];
        all.into_iter().find(|state| state.as_str() == name)
    }
}

/// What becomes of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunTurn {
    /// Somebody stops it.
    Stop {
        /// Who and why, for people.
        why: Box<str>,
    },
    /// One of those that were tried first did not complete.
    StopByCanary {
        /// Which, and what became of it.
        why: Box<str>,
    },
    /// Those that were tried first are completed: the rest follows.
    Prove,
    /// There are no more letters.
    Finish,
    /// Somebody resumes it. Those that were tried first and did not complete are tried again.
    Resume,
}

impl RedriveRun {
    /// The run after this turn, at `now`; `None` where it cannot take it.
    #[must_use]
    pub fn after(&self, turn: &RunTurn, now: Timestamp) -> Option<Self> {
        let mut next = Self { changed_at: now, ..self.clone() };
        let is_running = self.state == RunState::Running;
        match turn {
            RunTurn::Stop { why } if is_running => {
                (next.state, next.why) = (RunState::Stopped, Some(why.clone()));
            }
            RunTurn::StopByCanary { why } if is_running => {
                (next.state, next.why) = (RunState::StoppedByCanary, Some(why.clone()));
            }
            RunTurn::Prove if is_running => next.is_proven = true,
            RunTurn::Finish if is_running => next.state = RunState::Finished,
            RunTurn::Resume if matches!(self.state, RunState::Stopped | RunState::StoppedByCanary) => {
                (next.state, next.why) = (RunState::Running, None);
                // After whatever happened before, also within the same millisecond.
                let later = self.changed_at.after(std::time::Duration::from_millis(1));
                next.going_since = now.max(later);
            }
            RunTurn::Stop { .. }
            | RunTurn::StopByCanary { .. }
            | RunTurn::Prove
            | RunTurn::Finish
            | RunTurn::Resume => return None,
        }
        Some(next)
    }
}

/// What became of a letter of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It goes round again.
    Redriven,
    /// It stays as it is.
    Refused(Refused),
    /// It stays, because nobody could send it.
    Hopeless,
    /// There was nothing to do: the run is beyond it, or it is dead no longer, or dead anew.
    Passed,
    /// The run does not go on.
    NotRunning,
}

/// A run did not begin, or did not change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// There is no run with this number.
    #[error("there is no such run")]
    NotFound,
    /// As many are under way as may be.
    #[error("{RUNS_GOING_MAX} runs are under way, as many as may be")]
    TooMany,
    /// It stands otherwise.
    #[error("it is {}", .0.as_str())]
    Stands(RunState),
    /// The ledger cannot be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Up to which time letters are a run's own that begins now.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) fn of_run_beginning(of: LetterFilter, now: Timestamp) -> LetterFilter {
    let died_before = of.died_before.map_or(now, |before| before.min(now));
    LetterFilter { died_before: Some(died_before), ..of }
}

/// The letters that were tried first, as they are stored.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) fn write_canaries(canaries: &[OperationId]) -> String {
    canaries.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// Reads what [`write_canaries`] wrote; what cannot be read is left out.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) fn read_canaries(text: &str) -> Vec<OperationId> {
    text.split_whitespace().filter_map(|id| id.parse().ok()).collect()
}
