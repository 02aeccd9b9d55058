//! What goes on beside the requests: this node's heartbeat, and while the store is lost, looking whether it is back.

use std::{
    io,
    sync::{Arc, Weak},
    time::Duration,
};

use redis::RedisResult;
use tokio::sync::Notify;

use crate::{
    connection::{self, Connection},
    nodes::{HEARTBEAT, Node},
    slot::Group,
    store::Inner,
};

/// How long after a loss the store is asked again. Each time that it does not answer, twice as long.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// How long it is left alone at most.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// How long the keeper waits for an answer: longer than requests do, so that a store far away can be entered at all.
const PATIENCE: Duration = Duration::from_secs(1);

/// Keeps watch until the store is not used any more.
pub(crate) async fn keep(inner: Weak<Inner>, left: Arc<Notify>) {
    let node = Node::new();
    let mut connection = None;
    let mut backoff = BACKOFF_MIN;
    loop {
        let Some(store) = inner.upgrade().filter(|store| !store.is_leaving()) else { break };
        let asked = tokio::time::timeout(PATIENCE, look(&store, &node, &mut connection)).await;
        let pause = match asked {
            Ok(Ok(nodes)) => {
                store.note_nodes(nodes);
                store.health.recover();
                // Only what has lasted earns a quick look after the next loss.
                if store.health.has_stood_for(HEARTBEAT) {
                    backoff = BACKOFF_MIN;
                }
                HEARTBEAT
            }
            Ok(Err(error)) => {
                connection = None;
                store.health.lose(connection::reason(&error));
                next(&mut backoff)
            }
            Err(_) => {
                connection = None;
                store.health.lose(connection::reason(&io::Error::from(io::ErrorKind::TimedOut).into()));
                next(&mut backoff)
            }
        };
        let health = Arc::clone(&store.health);
        let gone = Arc::clone(&store.gone);
        drop(store);
        if health.is_well() {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // A request has found it lost: it is looked at soon.
                () = health.until_lost() => tokio::time::sleep(next(&mut backoff)).await,
                () = gone.notified() => {}
            }
        } else {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = gone.notified() => {}
            }
        }
    }
    // Then the others' shares grow at once, and not only when it has been silent for long enough.
    if let Some(mut connection) = connection {
        let _ = tokio::time::timeout(PATIENCE, node.leave(&mut connection)).await;
    }
    left.notify_one();
}

/// How long to wait this time; the next time it is twice as long.
fn next(backoff: &mut Duration) -> Duration {
    let pause = *backoff;
    *backoff = (pause * 2).min(BACKOFF_MAX);
    // Nodes that lost it together do not come back together.
    pause.mul_f64(0.5 + 0.5 * fastrand::f64())
}

/// Says that this node lives, and where the store was lost, makes sure that it takes writes again, in every group.
async fn look(store: &Inner, node: &Node, kept: &mut Option<Connection>) -> RedisResult<u64> {
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => Connection::open(&store.location, PATIENCE, PATIENCE).await?,
    };
    if !store.health.is_well() {
        let groups = if store.location.is_cluster { crate::slot::GROUPS } else { 1 };
        for group in Group::all().take(groups) {
            let mut write = redis::cmd("SET");
            write.arg(group.named(b"probe")).arg(1).arg("PX").arg(1_000);
            connection.ask::<()>(&write).await?;
        }
    }
    let beat = node.beat(&mut connection);
    let nodes = if store.health.is_well() {
        beat.await?
    } else {
        // A store for which requests would wait in vain again is not back.
        let beaten = tokio::time::timeout(store.patience, beat).await;
        beaten.map_err(|_| redis::RedisError::from(io::Error::from(io::ErrorKind::TimedOut)))??
    };
    *kept = Some(connection);
    Ok(nodes)
}
