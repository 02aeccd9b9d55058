//! The scheduler: makes an operation of every tick of every schedule. One node at a time does it for all; should two
//! believe for a moment that it is theirs, the tick's key makes one operation of what both accept.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use steadfast_core::{Fence, Key, Namespace, Timestamp};
use steadfast_layers::under_own_key;
use steadfast_ledger::{Clock, Enqueue, Enqueued, LedgerError, OperationName, SharedLedger};
use tokio::time::sleep;

use crate::Timetable;

/// The duty that one node has.
const DUTY: &str = "schedules";

/// For how long it is taken on. A node that is gone is replaced after that.
const DUTY_TIME: Duration = Duration::from_secs(10);

/// How long the scheduler sleeps at most, and how often the duty is renewed.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(3);

/// How many missed ticks of one schedule are caught up at most in one round.
pub const CAUGHT_UP_MAX: usize = 100;

/// What becomes of ticks that nobody made anything of when their time came: all nodes were down, say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missed {
    /// The newest of them is made up for.
    #[default]
    Last,
    /// All of them are, the oldest first; of more than [`CAUGHT_UP_MAX`] the newest.
    All,
    /// None is, where it is later than this.
    Skip {
        /// How late a tick may be.
        after: Duration,
    },
}

/// Something that is to be done at certain times.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Its name, by which all nodes know it.
    pub name: Arc<str>,
    /// When.
    pub timetable: Timetable,
    /// What becomes of missed ticks.
    pub missed: Missed,
    /// What is accepted for each tick; its name becomes the tick's.
    pub work: Enqueue,
}

/// Tells which schedules there are just now.
pub trait Schedules: Send + Sync + 'static {
    /// All of them.
    fn schedules(&self) -> Arc<[Schedule]>;
}

/// Makes operations of ticks.
#[derive(Clone)]
pub struct Scheduler {
    ledger: SharedLedger,
    clock: Clock,
    schedules: Arc<dyn Schedules>,
    node: Fence,
}

/// What one round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScheduleRound {
    /// Whether it is this node's duty.
    pub on_duty: bool,
    /// Ticks of which an operation was made.
    pub accepted: usize,
    /// Ticks of which there was one already.
    pub known: usize,
    /// How long until the next tick, where there is one.
    pub next_in: Option<Duration>,
}

impl Scheduler {
    /// A scheduler of these schedules, on a node of its own.
    #[must_use]
    pub fn new(ledger: SharedLedger, clock: Clock, schedules: Arc<dyn Schedules>) -> Self {
        Self { ledger, clock, schedules, node: Fence::random() }
    }

    /// Makes operations of the ticks that have come, if that is this node's duty.
    ///
    /// # Errors
    /// [`LedgerError`]: the ticks that were not made anything of are missed, for now.
    pub async fn run_once(&self) -> Result<ScheduleRound, LedgerError> {
        let schedules = self.schedules.schedules();
        if schedules.is_empty() {
            return Ok(ScheduleRound::default());
        }
        let asked = self.clock.boot();
        if !self.ledger.take_on(DUTY.into(), self.node, DUTY_TIME).await? {
            return Ok(ScheduleRound::default());
        }
        let now = self.ledger.now().await?;
        let mut round = ScheduleRound { on_duty: true, ..ScheduleRound::default() };
        for schedule in schedules.iter() {
            for tick in self.ticks(schedule, now).await? {
                // A node that was paused here must not act on what it knew before.
                if self.clock.boot().since(asked) > DUTY_TIME / 2 {
                    return Ok(round);
                }
                match self.ledger.enqueue(work_of(schedule, tick)).await? {
                    Enqueued::Accepted { operation, .. } => {
                        tracing::info!(schedule = &*schedule.name, %operation, tick = tick.as_millis(), "a schedule ticked");
                        round.accepted += 1;
                    }
                    Enqueued::Occupied(_) => round.known += 1,
                }
                self.ledger.set_mark(mark_of(schedule), tick).await?;
            }
            let next_in = schedule.timetable.next_after(now).map(|next| next.since(now));
            round.next_in = [round.next_in, next_in].into_iter().flatten().min();
        }
        Ok(round)
    }

    /// Ticks for ever.
    pub async fn run(self) {
        loop {
            let pause = match self.run_once().await {
                Ok(round) => round.next_in.unwrap_or(LOOK_AGAIN_AFTER),
                Err(error) => {
                    tracing::warn!(%error, "schedules cannot tick");
                    LOOK_AGAIN_AFTER
                }
            };
            sleep(pause.clamp(Duration::from_millis(1), LOOK_AGAIN_AFTER)).await;
        }
    }

    /// Lets another node go on at once.
    pub async fn leave(&self) {
        if let Err(error) = self.ledger.lay_down(DUTY.into(), self.node).await {
            tracing::debug!(%error, "the duty of the schedules ends with its time");
        }
    }

    /// The ticks to make something of, the oldest first. A schedule that is new begins now. What it misses for good is
    /// marked as done.
    async fn ticks(&self, schedule: &Schedule, now: Timestamp) -> Result<Vec<Timestamp>, LedgerError> {
        let Some(mark) = self.ledger.mark(mark_of(schedule)).await? else {
            self.ledger.set_mark(mark_of(schedule), now).await?;
            return Ok(Vec::new());
        };
        let (ticks, skipped_to) = due(schedule, mark, now);
        if let Some(skipped_to) = skipped_to {
            self.ledger.set_mark(mark_of(schedule), skipped_to).await?;
        }
        Ok(ticks)
    }
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Scheduler").field("node", &self.node).finish_non_exhaustive()
    }
}

/// The ticks after `mark` up to `now` to make something of, and up to where those lie of which nothing is made.
fn due(schedule: &Schedule, mark: Timestamp, now: Timestamp) -> (Vec<Timestamp>, Option<Timestamp>) {
    let kept_max = match schedule.missed {
        Missed::Last => 1,
        Missed::All | Missed::Skip { .. } => CAUGHT_UP_MAX,
    };
    let mut ticks = VecDeque::new();
    let (mut instant, mut skipped_to) = (schedule.timetable.shortly_before(now, kept_max).max(mark), None);
    while let Some(tick) = schedule.timetable.next_after(instant).filter(|tick| *tick <= now) {
        let is_skipped = matches!(schedule.missed, Missed::Skip { after } if now.since(tick) > after);
        if is_skipped {
            skipped_to = Some(tick);
        } else {
            ticks.push_back(tick);
            if ticks.len() > kept_max {
                skipped_to = ticks.pop_front();
            }
        }
        instant = tick;
    }
    (ticks.into(), skipped_to)
}

fn mark_of(schedule: &Schedule) -> Box<str> {
    format!("schedule {}", schedule.name).into()
}

/// The name of a tick's operation: the same on every node.
#[must_use]
pub fn tick_name(schedule: &str, tick: Timestamp) -> OperationName {
    OperationName::new(Namespace::of_schedule(schedule), Key::of_tick(tick))
}

/// What a tick is accepted as. Its upstream gets a key that is the same however often the tick is accepted.
fn work_of(schedule: &Schedule, tick: Timestamp) -> Enqueue {
    let name = tick_name(&schedule.name, tick);
    let request = under_own_key(&schedule.work.request, &name);
    Enqueue { name, request, ..schedule.work.clone() }
}
