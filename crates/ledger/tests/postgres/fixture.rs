//! What the tests of Postgres are told with.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use steadfast_core::{Answer, AttemptEnd, Fence, Fingerprint, Key, Namespace, Owner, Principal, Timestamp};
use steadfast_ledger::{
    Claim, ClaimOutcome, ClaimRequest, Clock, Durability, KeepFrom, OperationName, Retention, SharedLedger,
    conformance::Harness,
    postgres::{PostgresLedger, PostgresOptions, StoreTime},
};

use crate::server::Server;

/// Short enough for a test, long enough for a busy machine.
pub(crate) fn options() -> PostgresOptions {
    PostgresOptions {
        lock_timeout: Duration::from_millis(300),
        call_timeout: Duration::from_secs(20),
        pool_wait: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(5),
        ..PostgresOptions::default()
    }
}

/// Options whose every clock stands still until the test moves it.
pub(crate) fn options_at(clock: &Clock) -> PostgresOptions {
    PostgresOptions { clock: clock.clone(), store_time: StoreTime::Given(clock.clone()), ..options() }
}

pub(crate) fn still() -> Clock {
    Clock::manual(Timestamp::from_millis(1_700_000_000_000))
}

pub(crate) async fn connect(url: &str, options: PostgresOptions) -> Arc<PostgresLedger> {
    Arc::new(PostgresLedger::connect(url, options).await.expect("a ledger"))
}

pub(crate) fn request(key: &str) -> ClaimRequest {
    ClaimRequest {
        name: OperationName::new(
            Namespace::new("principal ada").expect("a namespace"),
            Key::new(key).expect("a key"),
        ),
        fingerprint: Fingerprint::from_bytes([1; 16]),
        owner: Owner { principal: Some(Principal::new("ada")), credential: None },
        fence: Fence::random(),
        route: Arc::from("orders"),
        method: "POST".into(),
        path: "/orders".into(),
        request_id: None,
        repeatable_for: None,
        retention: Retention { keep: Duration::from_secs(3_600), from: KeepFrom::Finish, tombstone: None },
        durability: Durability::Synced,
    }
}

pub(crate) fn granted(outcome: ClaimOutcome) -> Claim {
    match outcome {
        ClaimOutcome::Granted(claim) => claim,
        ClaimOutcome::Occupied(standing) => panic!("not granted: {:?}", standing.occupied),
    }
}

pub(crate) fn answered(body: &str) -> AttemptEnd {
    AttemptEnd::Answered(Answer {
        status: 201,
        headers: steadfast_core::HeaderFields::default(),
        body: Some(Bytes::copy_from_slice(body.as_bytes())),
    })
}

/// A ledger of the conformance suite, on a database of its own.
pub(crate) struct Fresh {
    server: Arc<Server>,
    database: String,
    clock: Clock,
    ledger: SharedLedger,
}

impl Fresh {
    pub(crate) async fn new() -> Self {
        let server = Server::shared();
        let (database, clock) = (server.database(), still());
        let ledger: SharedLedger = connect(&server.url(&database), options_at(&clock)).await;
        Self { server, database, clock, ledger }
    }

    /// Another node on the same database, with the same clock.
    pub(crate) async fn another(&self) -> SharedLedger {
        connect(&self.server.url(&self.database), options_at(&self.clock)).await
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }
}

impl Harness for Fresh {
    fn ledger(&self) -> SharedLedger {
        Arc::clone(&self.ledger)
    }

    async fn restart(&mut self) {
        // A node that dies leaves its transactions to Postgres, which rolls them back when the socket closes.
        self.ledger = self.another().await;
    }

    /// In steps small enough that the store never seems to have stalled; a long time passes in one leap, after
    /// which a lease time of steps makes the store count as steady again.
    async fn advance(&mut self, by: Duration) {
        let step = self.ledger.lease() / 4;
        let (mut left, steady) = (by, step * 5);
        if left > steady * 2 {
            self.clock.advance(left - steady);
            left = steady;
            self.ledger.check().await.expect("a ledger that works");
        }
        while !left.is_zero() {
            let next = left.min(step);
            self.clock.advance(next);
            left -= next;
            self.ledger.check().await.expect("a ledger that works");
        }
    }
}

/// Shuffles by a seed that is printed.
pub(crate) struct Shuffle(u64);

impl Shuffle {
    pub(crate) fn seeded() -> Self {
        let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
        let drawn = u64::from_le_bytes(Fence::random().as_bytes()[..8].try_into().expect("eight bytes"));
        let seed = seed.unwrap_or(drawn) | 1;
        println!("SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = usize::try_from(self.next() % (last as u64 + 1)).expect("an index");
            items.swap(last, other);
        }
    }
}
