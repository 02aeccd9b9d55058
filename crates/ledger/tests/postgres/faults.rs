//! What happens to connections, to locks and to the server itself, while callers wait.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use steadfast_core::StateName;
use steadfast_ledger::{
    ClaimOutcome, Claims, Finished, LedgerError, Operations,
    postgres::{PostgresLedger, PostgresOptions},
};
use tokio_postgres::NoTls;

use crate::{
    fixture::{answered, connect, granted, options, request},
    forwarder::Forwarder,
    server::{Server, Stop},
    storm::Storm,
};

/// Nothing is expected to take this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A session of somebody else, for as long as the result lives.
async fn somebody(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a session");
    #[expect(clippy::disallowed_methods, reason = "it ends with the client")]
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loses_nothing_that_was_acknowledged_when_connections_are_killed() {
    let server = Server::shared();
    let database = server.database();
    let url = server.url(&database);
    let nodes = vec![connect(&url, options()).await, connect(&url, options()).await];
    let killer = somebody(&url).await;
    let storm = Storm::start(nodes, 16);
    for _ in 0..15 {
        storm.progress(60).await;
        let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'steadfast' AND random() < 0.5";
        killer.execute(kill, &[]).await.expect("a killing");
    }
    storm.end(connect(&url, options()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loses_nothing_that_was_acknowledged_when_the_server_is_restarted() {
    let server = Arc::new(Server::start(&[]));
    let url = server.url(&server.database());
    let nodes = vec![connect(&url, options()).await, connect(&url, options()).await];
    let storm = Storm::start(nodes, 16);
    for how in [Stop::Immediate, Stop::Fast, Stop::Immediate] {
        storm.progress(100).await;
        let restarted = Arc::clone(&server);
        tokio::task::spawn_blocking(move || {
            restarted.stop(how);
            restarted.go();
        })
        .await
        .expect("a restart");
    }
    storm.progress(100).await;
    storm.end(connect(&url, options()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_whose_commit_s_reply_was_lost_is_granted_all_the_same() {
    let server = Server::shared();
    let database = server.database();
    let direct = connect(&server.url(&database), options()).await;
    let forwarder = Forwarder::to(server.port()).await;
    let ledger = connect(&server.url_at(forwarder.port, &database), options()).await;
    for round in 0..5 {
        forwarder.lose_commit_replies(1);
        let key = format!("k{round}");
        let claim = granted(ledger.claim(request(&key)).await.expect("a claim that was read back"));
        assert_eq!((claim.attempt, forwarder.still_to_lose()), (1, 0));
        let attempts = direct.attempts(claim.operation).await.expect("a ledger that works");
        assert_eq!(attempts.iter().map(|attempt| attempt.fence).collect::<Vec<_>>(), [claim.fence]);
        forwarder.lose_commit_replies(1);
        let finished = ledger.finish(&claim, answered("done")).await;
        assert_eq!((finished, forwarder.still_to_lose()), (Ok(Finished::Recorded(StateName::Completed)), 0));
        assert_eq!(direct.attempts(claim.operation).await.expect("a ledger that works").len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_cannot_be_read_back_in_time_is_taken_back() {
    let server = Server::shared();
    let database = server.database();
    let direct = connect(&server.url(&database), options()).await;
    let forwarder = Forwarder::to(server.port()).await;
    let impatient = PostgresOptions {
        connections: 1,
        pool_wait: Duration::from_millis(300),
        call_timeout: Duration::from_millis(600),
        ..options()
    };
    let ledger = connect(&server.url_at(forwarder.port, &database), impatient).await;
    forwarder.lose_commit_replies(1);
    forwarder.refuse(true);
    let refused = ledger.claim(request("k")).await;
    assert!(matches!(refused, Err(LedgerError::Unreachable(_))), "{refused:?}");
    let standing = server.sql(&database, "SELECT state FROM steadfast.operations");
    assert_eq!(standing, "claimed", "it was written, and nobody knows");
    let mut watch = direct.watch(request("k").name.digest()).expect("room to wait");
    forwarder.refuse(false);
    let freed = async {
        loop {
            if let ClaimOutcome::Granted(claim) = direct.claim(request("k")).await.expect("a claim") {
                return claim;
            }
            watch.changed().await;
        }
    };
    let claim = tokio::time::timeout(PATIENCE, freed).await.expect("the claim is taken back");
    assert_eq!((claim.attempt, claim.after_doubt), (2, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_fail_in_time_while_the_server_is_gone_and_work_once_it_is_back() {
    let server = Arc::new(Server::start(&["fsync=off"]));
    let impatient = PostgresOptions { pool_wait: Duration::from_millis(300), ..options() };
    let ledger = connect(&server.url(&server.database()), impatient).await;
    execute(Arc::clone(&ledger), "before".into()).await;
    let stopping = Arc::clone(&server);
    tokio::task::spawn_blocking(move || stopping.stop(Stop::Fast)).await.expect("a stop");
    for round in 0..3 {
        let begun = Instant::now();
        let mut claims = tokio::task::JoinSet::new();
        for number in 0..50 {
            let ledger = Arc::clone(&ledger);
            claims.spawn(async move { ledger.claim(request(&format!("{round}-{number}"))).await });
        }
        for refused in claims.join_all().await {
            assert!(matches!(refused, Err(LedgerError::Unreachable(_))), "{refused:?}");
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
    let starting = Arc::clone(&server);
    tokio::task::spawn_blocking(move || starting.go()).await.expect("a start");
    let back = async { while ledger.claim(request("after")).await.is_err() {} };
    tokio::time::timeout(PATIENCE, back).await.expect("the ledger comes back by itself");
    for round in 0..3 {
        execute(Arc::clone(&ledger), format!("{round}-0")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_whose_caller_has_gone_is_taken_back() {
    let server = Server::shared();
    let database = server.database();
    let url = server.url(&database);
    let (ledger, other) = (connect(&url, options()).await, connect(&url, options()).await);
    let blocker = somebody(&url).await;
    blocker.batch_execute("BEGIN; LOCK TABLE steadfast.operations IN SHARE MODE").await.expect("a lock");
    let abandoned = tokio::time::timeout(Duration::from_millis(100), ledger.claim(request("k"))).await;
    assert!(abandoned.is_err(), "the table is locked");
    blocker.batch_execute("COMMIT").await.expect("a lock let go");
    let mut watch = other.watch(request("k").name.digest()).expect("room to wait");
    let freed = async {
        loop {
            if let ClaimOutcome::Granted(_) = other.claim(request("k")).await.expect("a claim") {
                return;
            }
            watch.changed().await;
        }
    };
    tokio::time::timeout(PATIENCE, freed).await.expect("the claim is taken back, or was never written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_somebody_has_locked_holds_up_nobody_else() {
    let server = Server::shared();
    let database = server.database();
    let url = server.url(&database);
    let ledger = connect(&url, PostgresOptions { call_timeout: Duration::from_secs(3), ..options() }).await;
    let claim = granted(ledger.claim(request("locked")).await.expect("a claim"));
    let blocker = somebody(&url).await;
    blocker.batch_execute("BEGIN; SELECT FROM steadfast.operations FOR UPDATE").await.expect("a lock");
    let locked = ledger.finish(&claim, answered("locked"));
    let others = async {
        let begun = Instant::now();
        for round in 0..5 {
            let mut work = tokio::task::JoinSet::new();
            for number in 0..40 {
                work.spawn(execute(Arc::clone(&ledger), format!("{round}-{number}")));
            }
            work.join_all().await;
        }
        begun.elapsed()
    };
    let (locked, others) = tokio::join!(locked, others);
    assert!(matches!(locked, Err(LedgerError::Unreachable(_))), "{locked:?}");
    assert!(others < Duration::from_secs(3), "the others took {others:?}");
    blocker.batch_execute("COMMIT").await.expect("a lock let go");
    let finished = ledger.finish(&claim, answered("locked")).await;
    assert_eq!(finished, Ok(Finished::Recorded(StateName::Completed)));
}

async fn execute(ledger: Arc<PostgresLedger>, key: String) {
    let claim = granted(ledger.claim(request(&key)).await.expect("a claim"));
    let finished = ledger.finish(&claim, answered(&key)).await;
    assert_eq!(finished, Ok(Finished::Recorded(StateName::Completed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_table_is_an_error_in_time_and_nothing_stays() {
    let server = Server::shared();
    let database = server.database();
    let url = server.url(&database);
    let ledger = connect(&url, PostgresOptions { call_timeout: Duration::from_secs(2), ..options() }).await;
    let blocker = somebody(&url).await;
    blocker
        .batch_execute("BEGIN; LOCK TABLE steadfast.operations IN ACCESS EXCLUSIVE MODE")
        .await
        .expect("a lock");
    let begun = Instant::now();
    let mut claims = tokio::task::JoinSet::new();
    for number in 0..20 {
        let ledger = Arc::clone(&ledger);
        claims.spawn(async move { ledger.claim(request(&format!("k{number}"))).await });
    }
    for refused in claims.join_all().await {
        assert!(matches!(refused, Err(LedgerError::Unreachable(_))), "{refused:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    blocker.batch_execute("COMMIT").await.expect("a lock let go");
    for number in 0..20 {
        execute(Arc::clone(&ledger), format!("k{number}")).await;
    }
}
