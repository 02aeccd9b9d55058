//! Two nodes on one database.

use std::{sync::Arc, time::Duration};

use steadfast_core::{AttemptEnd, NotSentCause, StateName};
use steadfast_ledger::{
    ClaimOutcome, Claims, Finished, Occupied, OpenError, Upkeep,
    conformance::Harness,
    postgres::{PostgresLedger, PostgresOptions},
};
use tokio::task::JoinSet;

use crate::{
    fixture::{Fresh, Shuffle, answered, connect, granted, options, options_at, request, still},
    server::Server,
};

/// Nothing is expected to take this long.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grants_one_of_a_hundred_claims_from_two_nodes() {
    let server = Server::shared();
    let database = server.database();
    // Both make the schema of an empty database at the same time.
    let url = server.url(&database);
    let (one, two) = tokio::join!(connect(&url, options()), connect(&url, options()));
    let mut claims = JoinSet::new();
    for number in 0..100 {
        let ledger = Arc::clone(if number % 2 == 0 { &one } else { &two });
        claims.spawn(async move { ledger.claim(request("k")).await.expect("a ledger that works") });
    }
    let outcomes = claims.join_all().await;
    let granted = outcomes.iter().filter(|outcome| matches!(outcome, ClaimOutcome::Granted(_))).count();
    assert_eq!(granted, 1);
    for outcome in outcomes {
        if let ClaimOutcome::Occupied(standing) = outcome {
            assert!(matches!(standing.occupied, Occupied::Claimed { .. }));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_is_woken_by_what_another_node_finishes() {
    let server = Server::shared();
    let url = server.url(&server.database());
    let (one, two) = (connect(&url, options()).await, connect(&url, options()).await);
    for round in 0..20 {
        let key = format!("k{round}");
        let claim = granted(one.claim(request(&key)).await.expect("a ledger that works"));
        let mut watch = two.watch(claim.digest).expect("room to wait");
        let found = two.claim(request(&key)).await.expect("a ledger that works");
        assert!(matches!(found, ClaimOutcome::Occupied(_)));
        let woken = async {
            loop {
                watch.changed().await;
                // A listener that has just connected wakes everybody.
                match two.claim(request(&key)).await.expect("a ledger that works") {
                    ClaimOutcome::Occupied(standing) => match &standing.occupied {
                        Occupied::Completed { answer: Some(answer), .. } => return answer.clone(),
                        _ => continue,
                    },
                    ClaimOutcome::Granted(claim) => panic!("granted twice: {claim:?}"),
                }
            }
        };
        let finishing = one.finish(&claim, answered("done"));
        let (finished, answer) = tokio::join!(finishing, tokio::time::timeout(PATIENCE, woken));
        assert_eq!(finished, Ok(Finished::Recorded(StateName::Completed)));
        assert_eq!(answer.expect("woken").body.as_deref(), Some(&b"done"[..]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overlapping_batches_of_two_nodes_never_deadlock() {
    let server = Server::shared();
    let database = server.database();
    let url = server.url(&database);
    let nodes = [connect(&url, options()).await, connect(&url, options()).await];
    let mut shuffle = Shuffle::seeded();
    for round in 0..12 {
        let mut work = JoinSet::new();
        for node in &nodes {
            let mut keys: Vec<String> = (0..60).map(|number| format!("{}-{number}", round / 3)).collect();
            shuffle.shuffle(&mut keys);
            for key in keys {
                let node = Arc::clone(node);
                work.spawn(async move {
                    // Every round finds rows that were released by the round before, and must lock them.
                    let outcome = node.claim(request(&key)).await.expect("a ledger that works");
                    if let ClaimOutcome::Granted(claim) = outcome {
                        let end = AttemptEnd::NotSent(NotSentCause::HeldBack);
                        let finished = node.finish(&claim, end).await;
                        assert_eq!(finished, Ok(Finished::Recorded(StateName::Released)));
                    }
                });
            }
        }
        tokio::time::timeout(PATIENCE, work.join_all()).await.expect("nobody hangs");
    }
    let deadlocks = server.sql(&database, "SELECT pg_stat_clear_snapshot(); SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()");
    assert_eq!(deadlocks.trim(), "0");
    assert_eq!(
        server.sql(&database, "SELECT count(*) FROM steadfast.operations WHERE state <> 'released'"),
        "0"
    );
}

#[tokio::test]
async fn a_holder_that_was_paused_past_its_lease_has_lost_its_claim() {
    let mut other = Fresh::new().await;
    let paused = other.another().await;
    let claim = granted(paused.claim(request("k")).await.expect("a ledger that works"));
    assert!(paused.renew(vec![(claim.fence, claim.operation)]).await.expect("a renewal").is_empty());
    let lease = paused.lease();
    let mut reaped = Vec::new();
    for _ in 0..6 {
        other.advance(lease / 2).await;
        reaped.extend(other.ledger().reap(10).await.expect("a ledger that works"));
    }
    assert_eq!(reaped.len(), 1);
    assert!(other.clock().boot() > claim.send_by, "it may not send any more");
    assert_eq!(paused.renew(vec![(claim.fence, claim.operation)]).await, Ok(vec![claim.fence]));
    let not_sent = AttemptEnd::NotSent(NotSentCause::SendByPassed);
    assert_eq!(paused.finish(&claim, not_sent).await, Ok(Finished::Superseded(StateName::InDoubt)));
    // What it had sent before may still be answered.
    assert_eq!(paused.finish(&claim, answered("late")).await, Ok(Finished::Recorded(StateName::Completed)));
}

#[tokio::test]
async fn a_node_that_has_just_connected_reaps_nothing_for_one_lease_time() {
    let mut first = Fresh::new().await;
    granted(first.ledger().claim(request("k")).await.expect("a ledger that works"));
    let lease = first.ledger().lease();
    first.advance(lease * 2).await;
    let late = first.another().await;
    assert_eq!(late.reap(10).await, Ok(Vec::new()));
    for _ in 0..5 {
        first.advance(lease / 4).await;
        late.check().await.expect("a ledger that works");
    }
    assert_eq!(late.reap(10).await.expect("a ledger that works").len(), 1);
}

#[tokio::test]
async fn refuses_a_newer_schema_and_tells_the_versions() {
    let server = Server::shared();
    let database = server.database();
    drop(connect(&server.url(&database), options()).await);
    server.sql(&database, "UPDATE steadfast.schema_version SET version = 99");
    let refused = PostgresLedger::connect(&server.url(&database), options()).await;
    assert_eq!(refused.err(), Some(OpenError::NewerSchema { found: 99, known: 5 }));
}

#[tokio::test]
async fn says_what_is_wrong_with_a_url_and_tells_no_password() {
    let server = Server::shared();
    let (database, port) = (server.database(), server.port());
    for (url, expected) in [
        (format!("{}?sslmode=require", server.url(&database)), "TLS"),
        ("postgres://ada:hush@127.0.0.1:1/orders".to_owned(), "127.0.0.1:1/orders"),
        (format!("postgres://ada:hush@127.0.0.1:{port}/{database}"), "ada"),
        ("postgres://ada:hush@host:port/orders".to_owned(), "Postgres URL"),
    ] {
        let error = PostgresLedger::connect(&url, options()).await.expect_err("an error").to_string();
        assert!(error.contains(expected) && !error.contains("hush"), "{error}");
    }
}

#[tokio::test]
async fn refuses_what_takes_no_writes_and_finds_the_host_that_does() {
    let server = Server::shared();
    let (database, port) = (server.database(), server.port());
    server.sql(&database, &format!("ALTER DATABASE {database} SET default_transaction_read_only = on"));
    let refused = PostgresLedger::connect(&server.url(&database), options()).await;
    assert!(matches!(refused, Err(OpenError::ReadOnly { .. })), "{refused:?}");
    let other = server.database();
    let hosts = format!("postgres://postgres@127.0.0.1:1,127.0.0.1:{port}/{other}");
    connect(&hosts, options()).await.check().await.expect("the host that is there");
}

#[tokio::test]
async fn admits_no_more_open_claims_than_it_was_told_to() {
    let server = Server::shared();
    let options = PostgresOptions { open_max: 2, ..options_at(&still()) };
    let ledger = connect(&server.url(&server.database()), options).await;
    let mut held = Vec::new();
    for key in ["one", "two"] {
        let claim = granted(ledger.claim(request(key)).await.expect("room"));
        held.push(ledger.live().hold(claim.operation, claim.fence));
    }
    let refused = ledger.claim(request("three")).await;
    assert_eq!(refused, Err(steadfast_ledger::LedgerError::Overloaded { open_max: 2 }));
    held.pop();
    granted(ledger.claim(request("three")).await.expect("room again"));
}
