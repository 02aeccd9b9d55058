//! Callers who claim and finish without a pause, whatever happens to the store, and what must be true after.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use steadfast_core::StateName;
use steadfast_ledger::{
    Claim, ClaimOutcome, Claims, Finished, Occupied, Operations, postgres::PostgresLedger,
};
use tokio::task::JoinSet;

use crate::fixture::{answered, request};

/// Nobody waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was acknowledged, and what was not.
#[derive(Debug, Default)]
struct Books {
    /// Keys whose answers were acknowledged; each answer is its key.
    finished: Mutex<Vec<String>>,
    /// Keys whose claims failed: nothing was sent for them.
    failed: Mutex<Vec<String>>,
    count: AtomicUsize,
    stop: AtomicBool,
}

/// A storm of callers.
pub(crate) struct Storm {
    books: Arc<Books>,
    callers: JoinSet<()>,
}

impl Storm {
    pub(crate) fn start(nodes: Vec<Arc<PostgresLedger>>, callers_per_node: usize) -> Self {
        let (books, mut callers) = (Arc::new(Books::default()), JoinSet::new());
        for (node, ledger) in nodes.into_iter().enumerate() {
            for caller in 0..callers_per_node {
                callers.spawn(call(format!("{node}-{caller}"), Arc::clone(&ledger), Arc::clone(&books)));
            }
        }
        Self { books, callers }
    }

    /// Waits until this many more operations were acknowledged.
    pub(crate) async fn progress(&self, more: usize) {
        let goal = self.books.count.load(Ordering::Relaxed) + more;
        let reached = async {
            while self.books.count.load(Ordering::Relaxed) < goal {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.expect("the callers get on");
    }

    /// Lets the callers end, and compares what they were told with what is there.
    pub(crate) async fn end(self, ledger: Arc<PostgresLedger>) {
        self.books.stop.store(true, Ordering::Relaxed);
        tokio::time::timeout(PATIENCE, self.callers.join_all()).await.expect("nobody hangs");
        let finished = std::mem::take(&mut *self.books.finished.lock().expect("books"));
        let failed = std::mem::take(&mut *self.books.failed.lock().expect("books"));
        println!("{} acknowledged, {} claims failed", finished.len(), failed.len());
        let mut ids = HashMap::new();
        for key in finished {
            let outcome = ledger.claim(request(&key)).await.expect("a ledger that works");
            let ClaimOutcome::Occupied(standing) = outcome else { panic!("{key} is missing") };
            let Occupied::Completed { answer: Some(answer), .. } = &standing.occupied else {
                panic!("{key} is {:?}", standing.occupied)
            };
            assert_eq!(answer.body.as_deref(), Some(key.as_bytes()));
            assert_eq!(ledger.attempts(standing.operation).await.expect("attempts").len(), 1, "{key}");
            assert_eq!(ids.insert(standing.operation, key), None);
        }
        for key in failed {
            released(&ledger, &key).await;
        }
    }
}

/// A claim that failed never stands for long: whoever asks again is granted.
async fn released(ledger: &PostgresLedger, key: &str) {
    let mut watch = ledger.watch(request(key).name.digest()).expect("room to wait");
    let granted = async {
        while !matches!(ledger.claim(request(key)).await, Ok(ClaimOutcome::Granted(_))) {
            watch.changed().await;
        }
    };
    tokio::time::timeout(PATIENCE, granted).await.unwrap_or_else(|_| panic!("{key} is stuck"));
}

async fn call(caller: String, ledger: Arc<PostgresLedger>, books: Arc<Books>) {
    for number in 0.. {
        if books.stop.load(Ordering::Relaxed) {
            return;
        }
        let key = format!("{caller}-{number}");
        match ledger.claim(request(&key)).await {
            Ok(ClaimOutcome::Granted(claim)) => {
                finish(&ledger, &claim, &key).await;
                books.finished.lock().expect("books").push(key);
                books.count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(ClaimOutcome::Occupied(standing)) => panic!("{key} was never asked for: {standing:?}"),
            Err(_) => books.failed.lock().expect("books").push(key),
        }
    }
}

/// An outcome that cannot be written is tried again for as long as its holder lives.
async fn finish(ledger: &PostgresLedger, claim: &Claim, key: &str) {
    loop {
        match ledger.finish(claim, answered(key)).await {
            Ok(finished) => return assert_eq!(finished, Finished::Recorded(StateName::Completed), "{key}"),
            Err(error) => println!("{key}: {error}"),
        }
    }
}
