//! What runs without a caller.
//!
//! Each worker is a module of its own, with a `run_once` that does one bounded round and a loop round it:
//! the [`Heartbeat`] renews the leases of claims that are held here, the [`Reaper`] ends claims whose holders
//! are gone, the [`Sweeper`] removes what has expired, and the [`Census`] counts what needs attention. Each
//! round can be dropped at any point: the ledger's calls are transactions. [`Workers`] runs those. Whoever has routes runs the
//! [`Dispatcher`], which does what was left for later, [`Resting`], which knows of which routes nothing is to be taken, the
//! [`Scheduler`], and the [`Redriver`], which sends dead letters round again.

mod census;
mod dispatcher;
mod grace;
mod heartbeat;
mod reaper;
mod redriver;
mod resting;
mod scheduler;
mod sweeper;
mod tally;
mod timetable;
mod wall_watch;
mod workers;

pub use census::Census;
pub use dispatcher::{Dispatcher, Labour, WorkRoute};
pub use grace::{Grace, SharedGrace};
pub use heartbeat::{Beat, Heartbeat};
pub use reaper::{ReapRound, Reaper};
pub use redriver::{Chances, RedriveRound, Redriver};
pub use resting::Resting;
pub use scheduler::{CAUGHT_UP_MAX, Missed, Schedule, ScheduleRound, Scheduler, Schedules, tick_name};
pub use sweeper::{KEEP_DEAD, SweepRound, Sweeper};
pub use tally::{Tally, WorkerCounters};
pub use timetable::{INTERVAL_MIN, InvalidTimetable, Timetable};
pub use wall_watch::WallWatch;
pub use workers::Workers;
