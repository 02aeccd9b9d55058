//! The redriver: sends the dead letters of runs round again, no faster than each run says, and those that are tried first
//! before all others. One node at a time does it for all; should two believe for a moment that it is theirs, each letter still
//! goes once, because the ledger counts it with its run in the same breath.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use steadfast_core::{Fence, OperationId, StateName};
use steadfast_ledger::{
    ChangeError, Cursor, LedgerError, OperationRecord, PAGE_ROWS_MAX, Redrive, RedriveRun, RunError, RunId,
    RunState, RunTurn, SharedLedger, Step,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

/// The duty that one node has.
const DUTY: &str = "redrives";

/// For how long it is taken on. A node that is gone is replaced after that.
const DUTY_TIME: Duration = Duration::from_secs(10);

/// How long the redriver sleeps where no run goes on.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// How long it sleeps at most, and at least, where one does.
const ROUND_MAX: Duration = Duration::from_millis(500);
const ROUND_MIN: Duration = Duration::from_millis(20);

/// How much time's worth of letters may be made up for at once.
const BURST: Duration = Duration::from_millis(200);

/// How many letters of one run one round sends at most.
const STEPS_A_ROUND: usize = 200;

/// How many pages without a letter one round looks at.
const PAGES_A_ROUND: usize = 10;

/// Tells what dead letters may hope for.
pub trait Chances: Send + Sync + 'static {
    /// What a letter of this route gets, by its policy now; `None` where nothing of the route can be sent any more.
    fn chance(&self, route: &str) -> Option<Redrive>;

    /// Takes note of a letter that goes round again.
    fn note_redriven(&self, route: &str);
}

/// Drives the runs that go on.
pub struct Redriver {
    ledger: SharedLedger,
    chances: Arc<dyn Chances>,
    node: Fence,
    on_duty_since: Option<Instant>,
    going: HashMap<RunId, Going>,
}

/// What one round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RedriveRound {
    /// How many runs go on.
    pub going: usize,
    /// Whether it is this node's duty.
    pub on_duty: bool,
    /// Letters that go round again.
    pub redriven: usize,
    /// How long until there is something to do, where a run goes on.
    pub next_in: Option<Duration>,
}

/// What is known here of a run that goes on.
struct Going {
    /// The letters that come next.
    letters: VecDeque<(OperationId, Box<str>)>,
    /// From where more are looked for.
    after: Cursor,
    /// Whether there are no more.
    is_end: bool,
    /// When the next may go.
    next_at: Instant,
}

/// How those stand that were tried first.
#[derive(Debug, PartialEq, Eq)]
enum Proof {
    /// All of them are completed.
    Good,
    /// Some are under way.
    Waiting,
    /// One did not complete.
    Bad(String),
}

impl Redriver {
    /// A redriver, on a node of its own.
    #[must_use]
    pub fn new(ledger: SharedLedger, chances: Arc<dyn Chances>) -> Self {
        Self { ledger, chances, node: Fence::random(), on_duty_since: None, going: HashMap::new() }
    }

    /// Goes on with every run that goes on, if that is this node's duty.
    ///
    /// # Errors
    /// [`LedgerError`]: what is left to do is done in a later round.
    pub async fn run_once(&mut self) -> Result<RedriveRound, LedgerError> {
        let mut runs = self.ledger.runs().await?;
        runs.retain(|run| run.state == RunState::Running);
        self.going.retain(|id, _| runs.iter().any(|run| run.id == *id));
        let mut round = RedriveRound { going: runs.len(), ..RedriveRound::default() };
        if runs.is_empty() || !self.is_on_duty().await? {
            return Ok(round);
        }
        round.on_duty = true;
        // The oldest first.
        for run in runs.into_iter().rev() {
            round.redriven += self.drive(&run).await?;
            let next_at = self.going.get(&run.id).map(|going| going.next_at);
            let next_in = next_at.map(|at| at.saturating_duration_since(Instant::now()));
            round.next_in = [round.next_in, next_in].into_iter().flatten().min();
        }
        Ok(round)
    }

    /// Drives runs until `ending` says so, and leaves.
    pub async fn run(mut self, mut ending: watch::Receiver<bool>) {
        while !*ending.borrow() {
            let pause = match self.run_once().await {
                Ok(round) if round.on_duty => round.next_in.unwrap_or(ROUND_MAX).clamp(ROUND_MIN, ROUND_MAX),
                Ok(_) => LOOK_AGAIN_AFTER,
                Err(error) => {
                    tracing::warn!(%error, "dead letters cannot be redriven just now");
                    LOOK_AGAIN_AFTER
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                _ = ending.changed() => {}
            }
        }
        self.leave().await;
    }

    /// Lets another node go on at once.
    pub async fn leave(&self) {
        if let Err(error) = self.ledger.lay_down(DUTY.into(), self.node).await {
            tracing::debug!(%error, "the duty of redrive runs ends with its time");
        }
    }

    /// Whether the runs are this node's to drive. That is asked anew before the time is over for which it was said.
    async fn is_on_duty(&mut self) -> Result<bool, LedgerError> {
        if self.on_duty_since.is_some_and(|since| since.elapsed() < DUTY_TIME / 3) {
            return Ok(true);
        }
        let asked = Instant::now();
        self.on_duty_since = None;
        let is_on_duty = self.ledger.take_on(DUTY.into(), self.node, DUTY_TIME).await?;
        self.on_duty_since = is_on_duty.then_some(asked);
        Ok(is_on_duty)
    }

    /// Goes on with a run; how many letters go round again.
    async fn drive(&mut self, run: &RedriveRun) -> Result<usize, LedgerError> {
        let begun =
            || Going { letters: VecDeque::new(), after: run.reached, is_end: false, next_at: Instant::now() };
        self.going.entry(run.id).or_insert_with(begun);
        if run.is_proven {
            let (redriven, is_end) = self.send(run, STEPS_A_ROUND, false).await?;
            if is_end {
                self.turn(run, RunTurn::Finish).await?;
            }
            return Ok(redriven);
        }
        let wanted = (run.canary as usize).saturating_sub(run.canaries.len());
        match self.proof(run).await? {
            Proof::Bad(why) => {
                self.turn(run, RunTurn::StopByCanary { why: why.into() }).await?;
                Ok(0)
            }
            Proof::Good if wanted == 0 => {
                self.turn(run, RunTurn::Prove).await?;
                Ok(0)
            }
            proof @ (Proof::Good | Proof::Waiting) => {
                let (redriven, is_end) = self.send(run, wanted, true).await?;
                if is_end && redriven == 0 && proof == Proof::Good {
                    // Fewer letters than were to be tried first: all of them are completed.
                    self.turn(run, RunTurn::Prove).await?;
                }
                Ok(redriven)
            }
        }
    }

    /// Sends the next letters, as many as the run's rate allows; how many go round again, and whether there are no more.
    async fn send(
        &mut self,
        run: &RedriveRun,
        most: usize,
        as_canaries: bool,
    ) -> Result<(usize, bool), LedgerError> {
        let interval = interval(run.per_hour);
        let (mut redriven, mut looked) = (0, 0);
        while redriven < most && looked < STEPS_A_ROUND {
            let Some(going) = self.going.get_mut(&run.id) else { break };
            if !going.find_more(&self.ledger, run).await? {
                return Ok((redriven, going.is_end));
            }
            let Some((letter, route)) = going.letters.front().cloned() else { break };
            if Instant::now() < going.next_at {
                break;
            }
            let chance = self.chances.chance(&route);
            let step = self.ledger.redrive_next(run.id, letter, chance, as_canaries).await?;
            looked += 1;
            going.letters.pop_front();
            match step {
                Step::Redriven => {
                    redriven += 1;
                    going.spend(interval);
                    self.chances.note_redriven(&route);
                    tracing::debug!(run = run.id.0, operation = %letter, "a dead letter goes round again");
                }
                Step::Refused(why) => {
                    tracing::info!(run = run.id.0, operation = %letter, %why, "a dead letter stays");
                }
                Step::Hopeless => {
                    tracing::info!(run = run.id.0, operation = %letter, route = &*route, "a dead letter has no route");
                }
                Step::Passed => {}
                Step::NotRunning => break,
            }
        }
        Ok((redriven, false))
    }

    /// How those stand that were tried first. Those that died before the run went on are tried again.
    async fn proof(&mut self, run: &RedriveRun) -> Result<Proof, LedgerError> {
        let mut proof = Proof::Good;
        for id in &run.canaries {
            let found = self.ledger.operation(*id).await?;
            match found.as_ref().map(|found| found.state) {
                Some(StateName::Completed) => {}
                Some(StateName::Queued | StateName::Claimed | StateName::Waiting) => proof = Proof::Waiting,
                Some(StateName::Dead) => match self.again(run, found).await? {
                    Proof::Bad(why) => return Ok(Proof::Bad(why)),
                    Proof::Good | Proof::Waiting => proof = Proof::Waiting,
                },
                Some(state) => return Ok(Proof::Bad(format!("{id}, tried first, is {}", state.as_str()))),
                None => return Ok(Proof::Bad(format!("{id}, tried first, is gone"))),
            }
        }
        Ok(proof)
    }

    /// One that was tried first and is dead: tried again where it died before the run went on, and bad news otherwise.
    async fn again(
        &mut self,
        run: &RedriveRun,
        found: Option<OperationRecord>,
    ) -> Result<Proof, LedgerError> {
        let Some(found) = found else { return Ok(Proof::Waiting) };
        if found.changed_at >= run.going_since {
            return Ok(Proof::Bad(format!("{}, tried first, died again", found.id)));
        }
        let Some(going) = self.going.get_mut(&run.id).filter(|going| Instant::now() >= going.next_at) else {
            return Ok(Proof::Waiting);
        };
        let Some(chance) = self.chances.chance(&found.route) else {
            return Ok(Proof::Bad(format!("{}, tried first, has no route any more", found.id)));
        };
        match self.ledger.redrive(found.id, chance).await {
            Ok(_) => {
                going.spend(interval(run.per_hour));
                self.chances.note_redriven(&found.route);
                Ok(Proof::Waiting)
            }
            Err(ChangeError::Ledger(error)) => Err(error),
            // Somebody else did something about it: the next round sees what.
            Err(ChangeError::NotFound) => Ok(Proof::Waiting),
            Err(ChangeError::Refused(why)) => {
                Ok(Proof::Bad(format!("{}, tried first, cannot be tried again: {why}", found.id)))
            }
        }
    }

    async fn turn(&mut self, run: &RedriveRun, turn: RunTurn) -> Result<(), LedgerError> {
        match self.ledger.turn_run(run.id, turn).await {
            Ok(now) => {
                let (state, why) = (now.state.as_str(), now.why.as_deref());
                let (redriven, refused, failed) = (now.redriven, now.refused, now.failed);
                tracing::info!(
                    run = now.id.0,
                    state,
                    why,
                    redriven,
                    refused,
                    failed,
                    "a redrive run took a turn"
                );
                Ok(())
            }
            Err(RunError::Ledger(error)) => Err(error),
            // Somebody stopped it meanwhile.
            Err(RunError::Stands(_) | RunError::NotFound | RunError::TooMany) => Ok(()),
        }
    }
}

impl Going {
    /// Looks for more letters where none is left; whether there are some.
    async fn find_more(&mut self, ledger: &SharedLedger, run: &RedriveRun) -> Result<bool, LedgerError> {
        for _ in 0..PAGES_A_ROUND {
            if !self.letters.is_empty() || self.is_end {
                break;
            }
            let page = ledger.letters(run.of.clone(), Some(self.after), PAGE_ROWS_MAX).await?;
            let letters =
                page.letters.into_iter().map(|letter| (letter.operation.id, letter.operation.route));
            self.letters.extend(letters);
            match page.next {
                Some(next) => self.after = next,
                None => self.is_end = true,
            }
        }
        Ok(!self.letters.is_empty())
    }

    /// One letter goes: the next may after this long. What was not used in time is lost, but for a moment's worth.
    fn spend(&mut self, interval: Duration) {
        let earliest = Instant::now().checked_sub(BURST).unwrap_or(self.next_at);
        self.next_at = self.next_at.max(earliest) + interval;
    }
}

impl std::fmt::Debug for Redriver {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Redriver").field("node", &self.node).finish_non_exhaustive()
    }
}

/// How long it is from one letter to the next.
fn interval(per_hour: u32) -> Duration {
    Duration::from_secs(3_600) / per_hour.max(1)
}
