//! How long a caller has been quiet: no request of theirs is being answered, and none came whole. Looked at now and then
//! by one timer a connection, because one for each request would cost each request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::caller::Caller;

/// How often is looked, in the time that a caller may be quiet: so much longer it may take.
const LOOKS: u32 = 8;
/// The longest time between two looks, and how long a connection stays awake for the next request.
const LOOK_MAX: Duration = Duration::from_secs(5);

/// How long a caller has been quiet.
pub(crate) struct Quiet<'a> {
    caller: &'a Arc<Caller>,
    /// Who holds the caller though no request is under way.
    at_rest: usize,
    /// Whether something that was written waits to be taken.
    stalled: Arc<AtomicBool>,
    quiet_max: Duration,
    requests: u64,
    since: Instant,
}

impl<'a> Quiet<'a> {
    /// Of this caller, who has no request under way now; each that will be holds it.
    pub(crate) fn of(caller: &'a Arc<Caller>, stalled: Arc<AtomicBool>, quiet_max: Duration) -> Self {
        let (at_rest, requests) = (Arc::strong_count(caller), caller.requests());
        Self { caller, at_rest, stalled, quiet_max, requests, since: Instant::now() }
    }

    /// Ends when the caller has been quiet from one look to the next.
    pub(crate) async fn for_a_while(&mut self) {
        loop {
            tokio::time::sleep((self.quiet_max / LOOKS).min(LOOK_MAX)).await;
            if self.look() {
                return;
            }
        }
    }

    /// Ends when the caller has been quiet for too long.
    pub(crate) async fn too_long(&mut self) {
        while !self.is_too_long() {
            self.for_a_while().await;
        }
    }

    /// Whether the caller has been quiet for too long.
    pub(crate) fn is_too_long(&self) -> bool {
        self.since.elapsed() >= self.quiet_max
    }

    /// Whether the caller has been quiet since the last look.
    fn look(&mut self) -> bool {
        let requests = self.caller.requests();
        let is_quiet = Arc::strong_count(self.caller) <= self.at_rest
            && requests == self.requests
            && !self.stalled.load(Ordering::Relaxed);
        if !is_quiet {
            (self.requests, self.since) = (requests, Instant::now());
        }
        is_quiet
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_caller_is_quiet_while_nothing_is_under_way_and_nothing_new_comes() {
        let caller = Arc::new(Caller::new(IpAddr::V4(Ipv4Addr::LOCALHOST), false, None));
        let stalled = Arc::<AtomicBool>::default();
        let began = Instant::now();
        let mut quiet = Quiet::of(&caller, Arc::clone(&stalled), Duration::from_secs(16));
        let busy = async {
            let under_way = Arc::clone(&caller);
            tokio::time::sleep(Duration::from_secs(30)).await;
            drop(under_way);
            stalled.store(true, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(10)).await;
            stalled.store(false, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(9)).await;
            caller.count();
        };
        let ((), ()) = tokio::join!(quiet.too_long(), busy);
        let took = began.elapsed().as_secs();
        assert!((49 + 16..=49 + 18).contains(&took), "{took} s");
    }
}
