//! All workers of one process, and their tasks.

use std::{sync::Arc, time::Duration};

use steadfast_ledger::{Clock, SharedLedger};
use tokio::{
    runtime::Handle,
    task::JoinSet,
    time::{Interval, MissedTickBehavior, interval, sleep},
};

use crate::{Census, Grace, Heartbeat, Reaper, SharedGrace, Sweeper, Tally, WorkerCounters};

/// How long a worker that ended by itself stays away before it is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// The running workers; dropping them ends them.
#[derive(Debug)]
pub struct Workers {
    tasks: JoinSet<()>,
    tally: Arc<Tally>,
}

impl Workers {
    /// Starts every worker of `ledger` on `runtime`. Keep them until the last request is answered: what is
    /// held must be renewed to the end.
    #[must_use]
    pub fn start(ledger: SharedLedger, clock: Clock, runtime: &Handle) -> Self {
        let tally = Arc::new(Tally::default());
        let grace = SharedGrace::new(Grace::starting(clock.boot(), ledger.lease()));
        let mut tasks = JoinSet::new();

        let heartbeat = Heartbeat::new(ledger.clone(), clock.clone(), grace.clone(), tally.clone());
        tasks.spawn_on(kept("heartbeat", tally.clone(), move || heartbeat.clone().run()), runtime);

        let reaper = Reaper::new(ledger.clone(), clock.clone(), grace, tally.clone());
        tasks.spawn_on(kept("reaper", tally.clone(), move || reaper.clone().run()), runtime);

        let census = Census::new(ledger.clone(), tally.clone());
        tasks.spawn_on(kept("census", tally.clone(), move || census.clone().run()), runtime);

        let swept = tally.clone();
        let sweeper = move || Sweeper::new(ledger.clone(), clock.clone(), swept.clone()).run();
        tasks.spawn_on(kept("sweeper", tally.clone(), sweeper), runtime);

        Self { tasks, tally }
    }

    /// What they have done so far.
    #[must_use]
    pub fn counters(&self) -> WorkerCounters {
        self.tally.snapshot()
    }

    /// Where they count, for whoever reads metrics while somebody else owns the workers.
    #[must_use]
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }

    /// Ends them, wherever they are, and returns when none runs any more.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Ticks at once and then once in each `period`; a round that takes longer delays the next.
pub(crate) fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Keeps a worker running: a panic in one round must not end the heartbeat of everything that is held.
async fn kept<F>(name: &'static str, tally: Arc<Tally>, worker: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let mut task = JoinSet::new();
        task.spawn(worker());
        task.join_next().await;
        tally.restarted();
        tracing::error!(worker = name, "a worker ended by itself, which is a defect; it is started again");
        sleep(RESTART_PAUSE).await;
    }
}
