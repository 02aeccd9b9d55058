//! How nodes tell each other what changed: `LISTEN` and `NOTIFY` on a connection of their own.
//!
//! Notices are sent after the commit and not in it: a transaction that notifies takes a lock that all such
//! transactions of a database share until it is on disk, so that commits of several connections would queue up
//! one behind the other. The price: a node that dies in between leaves the waiters of other nodes to their
//! timeout.

use std::{
    future::poll_fn,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use steadfast_core::OperationDigest;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_postgres::{AsyncMessage, Client, Statement};

use super::{backoff::Backoff, failure::Failure, failure::with_source, session, shared::Shared};

/// The channel.
const CHANNEL: &str = "steadfast";

/// What is sent where anything may have changed.
const EVERYTHING: &str = "*";

/// What is sent where there may be something new to take.
const WORK: &str = "+";

/// How many digests a notice holds: 32 characters each, and a payload stays below 8,000 bytes.
const DIGESTS_MAX: usize = 240;

/// How often a connection that has nothing to say is tried.
const TRY_EVERY: Duration = Duration::from_secs(5);

/// Listens and announces for as long as the ledger lives.
pub(super) async fn run(shared: Arc<Shared>, mut notices: mpsc::Receiver<Vec<OperationDigest>>) {
    let mut backoff = Backoff::default();
    loop {
        match listen(&shared, &mut notices, &mut backoff).await {
            // The ledger is gone.
            Ok(()) => return,
            Err(reason) => {
                tracing::warn!(ledger = shared.path, reason, "changes on other nodes are not heard")
            }
        }
        backoff.wait().await;
    }
}

async fn listen(
    shared: &Arc<Shared>,
    notices: &mut mpsc::Receiver<Vec<OperationDigest>>,
    backoff: &mut Backoff,
) -> Result<(), String> {
    let connecting = session::connect(&shared.config, &shared.path, &shared.options).await;
    let (client, mut connection) = connecting.map_err(|error| error.to_string())?;
    let (ears, mut driver) = (Arc::clone(shared), JoinSet::new());
    driver.spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notice) = message {
                hear(&ears, notice.payload());
            }
        }
    });
    bounded(shared, client.batch_execute("SET synchronous_commit = off; LISTEN steadfast")).await?;
    let notify = bounded(shared, client.prepare("SELECT pg_notify($1, $2)")).await?;
    // Whatever changed while nobody listened.
    shared.hub.wake_all();
    shared.heard_of_work();
    backoff.reset();
    loop {
        let digests = tokio::select! {
            digests = notices.recv() => match digests {
                Some(digests) => digests,
                None => return Ok(()),
            },
            () = tokio::time::sleep(TRY_EVERY) => Vec::new(),
            _ = driver.join_next() => return Err("the connection was closed".into()),
        };
        let announced = announce(shared, (&client, &notify), digests, notices).await;
        if announced.is_err() {
            shared.unannounced.store(true, Ordering::Relaxed);
        }
        announced?;
    }
}

/// Sends what changed, and what else has come to be announced meanwhile.
async fn announce(
    shared: &Shared,
    (client, statement): (&Client, &Statement),
    mut digests: Vec<OperationDigest>,
    notices: &mut mpsc::Receiver<Vec<OperationDigest>>,
) -> Result<(), String> {
    while digests.len() < DIGESTS_MAX
        && let Ok(more) = notices.try_recv()
    {
        digests.extend(more);
    }
    if shared.unannounced.swap(false, Ordering::Relaxed) {
        shared.work_unannounced.store(false, Ordering::Relaxed);
        return notify(shared, (client, statement), EVERYTHING).await;
    }
    if shared.work_unannounced.swap(false, Ordering::Relaxed) {
        notify(shared, (client, statement), WORK).await?;
    } else if digests.is_empty() {
        return bounded(shared, client.batch_execute("")).await;
    }
    for part in digests.chunks(DIGESTS_MAX) {
        let payload: String = part.iter().map(ToString::to_string).collect();
        notify(shared, (client, statement), &payload).await?;
    }
    Ok(())
}

async fn notify(
    shared: &Shared,
    (client, statement): (&Client, &Statement),
    payload: &str,
) -> Result<(), String> {
    let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] = &[&CHANNEL, &payload];
    bounded(shared, client.execute(statement, parameters)).await.map(|_| ())
}

async fn bounded<T>(
    shared: &Shared,
    statement: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, String> {
    match tokio::time::timeout(shared.options.statement_timeout, statement).await {
        Ok(result) => result.map_err(|error| match Failure::from(&error) {
            Failure::Lost(reason) => reason,
            _ => with_source(&error),
        }),
        Err(_) => Err("it fell silent".into()),
    }
}

/// Wakes whoever waits for what a notice names; a notice that cannot be read may have named anything.
fn hear(shared: &Shared, payload: &str) {
    if payload == WORK {
        return shared.heard_of_work();
    }
    match digests(payload) {
        Some(digests) => digests.into_iter().for_each(|digest| shared.hub.wake(digest)),
        None => {
            shared.hub.wake_all();
            shared.heard_of_work();
        }
    }
}

fn digests(payload: &str) -> Option<Vec<OperationDigest>> {
    let parts = payload.as_bytes().chunks(32).map(|part| {
        let text = std::str::from_utf8(part).ok().filter(|text| text.len() == 32)?;
        Some(OperationDigest::from_bytes(u128::from_str_radix(text, 16).ok()?.to_be_bytes()))
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_names_what_it_was_told_and_fits_its_payload() {
        let told: Vec<_> = (0..DIGESTS_MAX)
            .map(|number| OperationDigest::from_bytes((number as u128).to_be_bytes()))
            .collect();
        let payload: String = told.iter().map(ToString::to_string).collect();
        assert!(payload.len() < 8_000);
        assert_eq!(digests(&payload), Some(told));
        for unreadable in [EVERYTHING, "0123", &payload[1..]] {
            assert_eq!(digests(unreadable), None);
        }
    }
}
