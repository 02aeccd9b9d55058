//! What is shown while it runs: on stderr, and only where that is a terminal.

use std::{sync::Arc, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::{
    task::JoinSet,
    time::{Instant, interval},
};

use super::tally::Tally;

/// How often the numbers are drawn anew.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// Over how many draws the rate is taken.
const RATE_DRAWS: usize = 20;

/// A live display; dropping it clears it away.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    _draws: JoinSet<()>,
}

impl Progress {
    /// Shows `tally` until `end`.
    pub(super) fn start(tally: Arc<Tally>, end: Instant) -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}\n  {wide_msg}") {
            bar.set_style(style);
        }
        let mut draws = JoinSet::new();
        // Hidden by itself where stderr is no terminal.
        if !bar.is_hidden() {
            draws.spawn(draw(bar.clone(), tally, end));
        }
        Self { bar, _draws: draws }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

async fn draw(bar: ProgressBar, tally: Arc<Tally>, end: Instant) {
    let mut ticks = interval(DRAW_EVERY);
    let mut recent = std::collections::VecDeque::with_capacity(RATE_DRAWS + 1);
    loop {
        ticks.tick().await;
        recent.push_back((Instant::now(), tally.requests.get()));
        if recent.len() > RATE_DRAWS {
            recent.pop_front();
        }
        let rate = match (recent.front(), recent.back()) {
            (Some((from, before)), Some((to, now))) if to > from => {
                // Thousandths, so that whole numbers do.
                (now - before) * 1_000 / u64::try_from((*to - *from).as_millis()).unwrap_or(1).max(1)
            }
            _ => 0,
        };
        let left = end.saturating_duration_since(Instant::now()).as_secs();
        bar.set_prefix(format!(
            "{left:>3} s  {rate:>4} req/s  executed {}  replayed {}  in doubt {}  restarts {}",
            tally.first_answers.get(),
            tally.replayed.get(),
            tally.told_in_doubt.get(),
            tally.restarts.get(),
        ));
        bar.set_message(tally.told());
        bar.tick();
    }
}
