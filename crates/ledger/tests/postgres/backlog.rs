//! The backlog, where many nodes or a server that dies make it hard.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;
use steadfast_core::{AttemptEnd, Fence, Key, Namespace, Next, NotSentCause, OperationId, StateName};
use steadfast_ledger::{
    Backlog, Claim, Claims, Conclusion, Enqueue, Enqueued, Finished, Job, KeptRequest, Lane, LaneTrouble,
    LedgerError, Occupied, OperationName, Operations, Priority, Wish, postgres::PostgresLedger,
};
use tokio::task::JoinSet;

use crate::{
    fixture::{answered, connect, granted, options, request},
    forwarder::Forwarder,
    server::{Server, Stop},
};

/// Nothing is expected to take this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Every operation that may be taken is in `ready` once, and nothing else is there.
const UNTRUE: &str = "
    SELECT count(*) FROM (
        SELECT o.bucket, o.seq FROM steadfast.operations AS o
        WHERE o.state IN ('queued', 'waiting') AND (o.lane IS NULL OR NOT EXISTS (
            SELECT FROM steadfast.lanes AS l JOIN steadfast.lanes AS own
                ON own.bucket = o.bucket AND own.seq = o.seq
            WHERE l.bucket = o.bucket AND l.lane = o.lane AND l.position < own.position))
    ) AS expected
    FULL JOIN steadfast.ready AS r ON r.bucket = expected.bucket AND r.seq = expected.seq
    WHERE r.seq IS NULL OR expected.seq IS NULL";

fn work(key: &str) -> Enqueue {
    let claim = request(key);
    Enqueue {
        name: OperationName::new(
            Namespace::new("principal ada").expect("a namespace"),
            Key::new(key).expect("a key"),
        ),
        fingerprint: claim.fingerprint,
        owner: claim.owner,
        route: claim.route,
        method: claim.method,
        path: claim.path,
        repeatable_for: None,
        retention: claim.retention,
        request: KeptRequest {
            target: "/orders?x=1".into(),
            headers: [("content-type", "text/plain")].into_iter().collect(),
            body: Bytes::from_static(b"an order"),
        },
        delay: Duration::ZERO,
        priority: Priority(0),
        lane: None,
        tries_max: 3,
        age_max: Duration::from_secs(3_600),
    }
}

fn wish(limit: u32) -> Vec<Wish> {
    vec![Wish { route: Arc::from("orders"), limit, repeatable_for: None }]
}

async fn accepted(ledger: &PostgresLedger, work: Enqueue) -> OperationId {
    match ledger.enqueue(work).await.expect("a ledger that works") {
        Enqueued::Accepted { operation, .. } => operation,
        Enqueued::Occupied(standing) => panic!("not accepted: {:?}", standing.occupied),
    }
}

fn done() -> Conclusion {
    Conclusion { end: answered("done"), next: Next::GiveUp, excerpt: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_hand_out_each_operation_once() {
    let server = Server::shared();
    let database = server.database();
    let url = server.url(&database);
    let (one, two) = (connect(&url, options()).await, connect(&url, options()).await);
    let mut accepting = JoinSet::new();
    for number in 0..1_000 {
        let ledger = Arc::clone(&one);
        accepting.spawn(async move { accepted(&ledger, work(&format!("k{number}"))).await });
    }
    let accepted: HashSet<OperationId> = accepting.join_all().await.into_iter().collect();
    assert_eq!(accepted.len(), 1_000);
    let mut workers = JoinSet::new();
    for number in 0..6 {
        let ledger = Arc::clone(if number % 2 == 0 { &one } else { &two });
        workers.spawn(async move {
            let mut mine = Vec::new();
            loop {
                let taken = ledger.take(wish(7)).await.expect("a ledger that works");
                if taken.jobs.is_empty() {
                    return mine;
                }
                for job in taken.jobs {
                    assert_eq!(&job.request.body[..], b"an order");
                    let finished = ledger.conclude(&job.claim, done()).await;
                    assert_eq!(finished, Ok(Finished::Recorded(StateName::Completed)));
                    mine.push(job.claim.operation);
                }
            }
        });
    }
    let mut taken: Vec<OperationId> = workers.join_all().await.into_iter().flatten().collect();
    // Whoever found nothing may have looked while the others had the rest locked.
    for job in one.take(wish(1_000)).await.expect("a ledger that works").jobs {
        taken.push(job.claim.operation);
    }
    assert_eq!(taken.len(), 1_000);
    assert_eq!(taken.into_iter().collect::<HashSet<_>>(), accepted);
    assert_eq!(server.sql(&database, UNTRUE), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_keep_their_order_over_two_nodes() {
    let server = Server::shared();
    let database = server.database();
    let url = server.url(&database);
    let nodes = [connect(&url, options()).await, connect(&url, options()).await];
    let mut producers = JoinSet::new();
    for lane in 0..8_u8 {
        let nodes = nodes.clone();
        producers.spawn(async move {
            let mut order = Vec::new();
            for number in 0..25_usize {
                let lane = Lane { digest: [lane; 16], trouble: LaneTrouble::Blocks };
                let work = Enqueue { lane: Some(lane), ..work(&format!("{lane:?}-{number}")) };
                order.push(accepted(&nodes[number % 2], work).await);
            }
            order
        });
    }
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let mut workers = JoinSet::new();
    for number in 0..4 {
        let (ledger, sender) = (Arc::clone(&nodes[number % 2]), sender.clone());
        workers.spawn(async move {
            let mut arrivals = ledger.arrivals();
            let mut idle = 0;
            while idle < 20 {
                let jobs = ledger.take(wish(3)).await.expect("a ledger that works").jobs;
                if jobs.is_empty() {
                    idle += 1;
                    let _ = tokio::time::timeout(Duration::from_millis(100), arrivals.changed()).await;
                    continue;
                }
                idle = 0;
                for job in jobs {
                    sender.send(job.claim.operation).expect("somebody who counts");
                    let again = job.claim.attempt == 1 && job.claim.operation.sequence() % 3 == 0;
                    let conclusion = match again {
                        true => Conclusion {
                            end: AttemptEnd::NotSent(NotSentCause::ConnectFailed),
                            next: Next::Again { after: Duration::from_millis(5), counts: true },
                            excerpt: Some("nobody listens".into()),
                        },
                        false => done(),
                    };
                    ledger.conclude(&job.claim, conclusion).await.expect("a ledger that works");
                }
            }
        });
    }
    drop(sender);
    let orders = producers.join_all().await;
    workers.join_all().await;
    let mut seen = Vec::new();
    while let Some(operation) = receiver.recv().await {
        seen.push(operation);
    }
    for order in orders {
        let mut run: Vec<OperationId> = seen.iter().copied().filter(|id| order.contains(id)).collect();
        run.dedup();
        assert_eq!(run, order);
    }
    assert_eq!(server.sql(&database, "SELECT count(*) FROM steadfast.lanes"), "0");
    assert_eq!(server.sql(&database, "SELECT count(*) FROM steadfast.ready"), "0");
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(server.sql(&database, deadlocks), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_hears_of_work_that_another_accepted() {
    let server = Server::shared();
    let url = server.url(&server.database());
    let (one, two) = (connect(&url, options()).await, connect(&url, options()).await);
    for number in 0..10 {
        let operation = accepted(&one, work(&format!("k{number}"))).await;
        assert_eq!(taken_in_time(&two).await.claim.operation, operation);
    }
}

/// What can be taken, once there is something.
async fn taken_in_time(ledger: &PostgresLedger) -> Job {
    let mut arrivals = ledger.arrivals();
    let taken = async {
        loop {
            let taken = ledger.take(wish(1)).await.expect("a ledger that works");
            if let Some(job) = taken.jobs.into_iter().next() {
                return job;
            }
            arrivals.changed().await.expect("a ledger");
        }
    };
    tokio::time::timeout(PATIENCE, taken).await.expect("something to take")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_was_taken_and_not_told_of_is_given_back() {
    let server = Server::shared();
    let database = server.database();
    let direct = connect(&server.url(&database), options()).await;
    let forwarder = Forwarder::to(server.port()).await;
    let ledger = connect(&server.url_at(forwarder.port, &database), options()).await;
    let operation = accepted(&direct, work("k")).await;
    forwarder.lose_commit_replies(1);
    let taken = ledger.take(wish(10)).await;
    assert!(matches!(taken, Err(LedgerError::Unreachable(_))), "{taken:?}");
    let job = taken_in_time(&direct).await;
    assert_eq!((job.claim.operation, job.claim.attempt, job.stamina.tries), (operation, 2, 1));
    assert!(!job.claim.after_doubt, "nothing was sent");
    assert_eq!(server.sql(&database, UNTRUE), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_whose_taker_has_gone_is_given_back_or_was_never_taken() {
    let server = Server::shared();
    let database = server.database();
    let url = server.url(&database);
    let (ledger, other) = (connect(&url, options()).await, connect(&url, options()).await);
    let operation = accepted(&other, work("k")).await;
    // So that its sessions are open.
    let elsewhere = vec![Wish { route: Arc::from("elsewhere"), limit: 1, repeatable_for: None }];
    ledger.take(elsewhere).await.expect("a ledger that works");
    for patience in [200, 500, 1_000, 2_000, 4_000] {
        let _ = tokio::time::timeout(Duration::from_micros(patience), ledger.take(wish(1))).await;
    }
    let taken = async {
        loop {
            let taken = other.take(wish(1)).await.expect("a ledger that works");
            // Should the last of them have been in time, it is somebody's.
            let held = "SELECT count(*) FROM steadfast.operations WHERE state = 'claimed'";
            match taken.jobs.into_iter().next() {
                Some(job) => return Some(job),
                None if server.sql(&database, held) == "1" => return None,
                None => tokio::task::yield_now().await,
            }
        }
    };
    let taken = tokio::time::timeout(PATIENCE, taken).await.expect("something to take");
    if let Some(job) = taken {
        assert_eq!((job.claim.operation, job.stamina.tries, job.claim.after_doubt), (operation, 1, false));
    }
    assert_eq!(server.sql(&database, UNTRUE), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_accepted_or_concluded_while_replies_are_lost_is_so_once() {
    let server = Server::shared();
    let database = server.database();
    let direct = connect(&server.url(&database), options()).await;
    let forwarder = Forwarder::to(server.port()).await;
    let ledger = connect(&server.url_at(forwarder.port, &database), options()).await;
    let lane = Lane { digest: [7; 16], trouble: LaneTrouble::Blocks };
    for round in 0..5 {
        forwarder.lose_commit_replies(1);
        let asked = Enqueue { lane: Some(lane), ..work(&format!("k{round}")) };
        let enqueued = ledger.enqueue(asked).await.expect("work that was looked at again");
        // It finds its own, and cannot tell it from another's: the caller is told the same of both.
        let Enqueued::Occupied(standing) = enqueued else { panic!("{enqueued:?}") };
        assert_eq!((&standing.occupied, forwarder.still_to_lose()), (&Occupied::Queued, 0));
        let job = taken_in_time(&direct).await;
        assert_eq!((job.claim.operation, job.claim.attempt), (standing.operation, 1));
        forwarder.lose_commit_replies(1);
        let finished = ledger.conclude(&job.claim, done()).await;
        assert_eq!((finished, forwarder.still_to_lose()), (Ok(Finished::Recorded(StateName::Completed)), 0));
        assert_eq!(direct.attempts(standing.operation).await.expect("a ledger that works").len(), 1);
    }
    assert_eq!(server.sql(&database, "SELECT count(*) FROM steadfast.lanes"), "0");
    assert_eq!(server.sql(&database, UNTRUE), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_of_version_four_keeps_what_it_has_and_takes_work() {
    let server = Server::shared();
    let database = server.database();
    server.sql(
        &database,
        "CREATE SCHEMA steadfast; CREATE TABLE steadfast.schema_version (version bigint NOT NULL)",
    );
    for migration in [
        include_str!("../../src/postgres/schema.sql"),
        include_str!("../../src/postgres/credentials.sql"),
        include_str!("../../src/postgres/bans.sql"),
        include_str!("../../src/postgres/requests.sql"),
        "INSERT INTO steadfast.schema_version VALUES (4)",
    ] {
        server.sql(&database, migration);
    }
    let name = request("old").name;
    server.sql(
        &database,
        &format!(
            "INSERT INTO steadfast.operations (bucket, seq, digest, namespace, key, fingerprint, principal, route,
                 method, path, state, asynchronous, doubt, fence, lease_until_ms, attempts, first_sent_ms, keep_ms,
                 keep_from_claim, created_ms, changed_ms)
             SELECT {}, 1, decode('{}', 'hex'), 'principal ada', 'old', decode('{}', 'hex'), 'ada', 'orders', 'POST',
                 '/orders', 'claimed', false, 'none', decode('{}', 'hex'), now + 60000, 1, now, 3600000, false, now, now
             FROM (SELECT steadfast.now_ms() AS now) AS t;
             SELECT setval('steadfast.operation_seq', 1)",
            name.bucket().number(),
            name.digest(),
            "01".repeat(16),
            "ab".repeat(16),
        ),
    );
    let ledger = connect(&server.url(&database), options()).await;
    let claim = Claim {
        operation: OperationId::new(name.bucket(), 1, &name.digest()),
        digest: name.digest(),
        fence: Fence::from_bytes([0xab; 16]),
        ..granted(ledger.claim(request("new")).await.expect("a claim"))
    };
    assert_eq!(ledger.finish(&claim, answered("done")).await, Ok(Finished::Recorded(StateName::Completed)));
    let operation = accepted(&ledger, work("k")).await;
    assert_eq!(taken_in_time(&ledger).await.claim.operation, operation);
    assert_eq!(server.sql(&database, "SELECT version FROM steadfast.schema_version"), "5");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_loses_nothing_that_was_accepted_or_concluded() {
    let server = Arc::new(Server::start(&[]));
    let database = server.database();
    let url = server.url(&database);
    let ledger = connect(&url, options()).await;
    let mut callers = JoinSet::new();
    for caller in 0..16 {
        let ledger = Arc::clone(&ledger);
        callers.spawn(async move {
            let mut accepted = Vec::new();
            for number in 0..60 {
                if let Ok(Enqueued::Accepted { operation, .. }) =
                    ledger.enqueue(work(&format!("{caller}-{number}"))).await
                {
                    accepted.push(operation);
                }
            }
            accepted
        });
    }
    let mut workers = JoinSet::new();
    for _ in 0..4 {
        let ledger = Arc::clone(&ledger);
        workers.spawn(async move {
            let (mut concluded, mut idle) = (Vec::new(), 0);
            while idle < 30 {
                let jobs = ledger.take(wish(16)).await.map(|taken| taken.jobs).unwrap_or_default();
                if jobs.is_empty() {
                    idle += 1;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
                idle = 0;
                for job in jobs {
                    // The holder tries again for as long as it lives.
                    while ledger.conclude(&job.claim, done()).await.is_err() {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    concluded.push(job.claim.operation);
                }
            }
            concluded
        });
    }
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let server = Arc::clone(&server);
        tokio::task::spawn_blocking(move || {
            server.stop(Stop::Immediate);
            server.go();
        })
        .await
        .expect("a server that starts again");
    }
    let accepted: Vec<OperationId> = callers.join_all().await.into_iter().flatten().collect();
    let concluded: Vec<OperationId> = workers.join_all().await.into_iter().flatten().collect();
    assert_eq!(concluded.iter().collect::<HashSet<_>>().len(), concluded.len(), "each once");
    for id in concluded {
        let record = ledger.operation(id).await.expect("a ledger that works").expect("the operation");
        assert_eq!(record.state, StateName::Completed);
    }
    // The workers may have given up before all was given back that was taken while the server died.
    let rest = async {
        let unfinished = "SELECT count(*) FROM steadfast.operations WHERE state <> 'completed'";
        while server.sql(&database, unfinished) != "0" {
            for job in ledger.take(wish(100)).await.map(|taken| taken.jobs).unwrap_or_default() {
                ledger.conclude(&job.claim, done()).await.expect("a ledger that works");
            }
        }
    };
    tokio::time::timeout(PATIENCE, rest).await.expect("everything is given back and done");
    for id in accepted {
        assert!(ledger.operation(id).await.expect("a ledger that works").is_some());
    }
    assert_eq!(server.sql(&database, UNTRUE), "0");
}
