//! Claims that may be on disk though their callers were told that they are not: nothing was sent for them, so
//! they are taken back, for as long as their lease lives. Without that they would end in doubt.

use std::{sync::Arc, time::Duration};

use steadfast_core::{Bucket, Fence, OperationDigest};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::Instant,
};

use super::{
    backoff::jittered,
    queue::{Command, Work},
    shared::Shared,
};
use crate::ClaimRequest;

/// The first wait between two tries.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// A claim that nobody knows of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Orphan {
    bucket: Bucket,
    digest: OperationDigest,
    fence: Fence,
}

impl Orphan {
    /// The claim with this fence.
    pub(super) fn new(bucket: Bucket, digest: OperationDigest, fence: Fence) -> Self {
        Self { bucket, digest, fence }
    }

    /// The claim that this request may have made.
    pub(super) fn of(request: &ClaimRequest) -> Self {
        Self { bucket: request.name.bucket(), digest: request.name.digest(), fence: request.fence }
    }
}

/// Takes claims back as they are reported, for as long as the ledger lives.
pub(super) async fn run(shared: Arc<Shared>, mut orphans: mpsc::Receiver<Orphan>) {
    let mut at_work = JoinSet::new();
    loop {
        tokio::select! {
            orphan = orphans.recv() => match orphan {
                Some(orphan) => {
                    at_work.spawn(take_back(Arc::clone(&shared), orphan));
                }
                None => return,
            },
            Some(_) = at_work.join_next() => {}
        }
        // Those that come meanwhile wait in the channel, which is bounded.
        while at_work.len() > shared.options.open_max {
            at_work.join_next().await;
        }
    }
}

async fn take_back(shared: Arc<Shared>, orphan: Orphan) {
    let end = Instant::now() + shared.options.lease;
    let mut wait = FIRST_WAIT;
    while Instant::now() < end {
        let (reply, answer) = oneshot::channel();
        shared.queue.push(Command {
            bucket: orphan.bucket,
            digest: orphan.digest,
            work: Work::TakeBack { fence: orphan.fence, reply },
            wait_until: Instant::now() + shared.options.call_timeout,
            deadline: Instant::now() + shared.options.call_timeout,
            not_before: None,
            started: Arc::default(),
            maybe_written: None,
            cautious: false,
        });
        // Where the row is not there, the lost transaction may still be on its way to write it.
        if let Ok(Ok(Ok(true))) = tokio::time::timeout(shared.options.call_timeout, answer).await {
            return;
        }
        tokio::time::sleep(jittered(wait)).await;
        wait = (wait * 2).min(shared.options.lease / 4);
    }
}
