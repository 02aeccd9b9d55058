//! What the promise costs: keyed first executions and replays beside our own plain proxying, and beside two libraries
//! that promise something like it.

use clap::{Args, ValueEnum};

use crate::contestants::{self, sqlite_ledger};
use crate::load::{Expect, Keys, Load, Manners, Until};
use crate::machine::Conditions;
use crate::report::{Bar, Report};
use crate::rounds::{Contestant, Rounds};
use crate::server::loopback;
use crate::stores::{self, AppendFsync};
use crate::upstream;
use crate::workplace::{Place, Workplace};

/// The seed of the keys that are executed before the rounds and replayed in them.
const REPLAYED_SEED: u64 = 0x5eed;

/// What this benchmark may be told.
#[derive(Args)]
pub(crate) struct Keyed {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    rounds: Rounds,
    /// Connections
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// The size of request bodies and answers
    #[arg(long, default_value_t = 256)]
    bytes: usize,
    /// Operations executed before the rounds and replayed in them
    #[arg(long, default_value_t = 10_000)]
    replayed: u64,
    /// Measure only these
    #[arg(long, value_delimiter = ',')]
    only: Vec<Group>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    /// Ours on SQLite: plain, first executions, replays
    Sqlite,
    /// Ours on Postgres: first executions
    Postgres,
    /// The Rust library on Redis
    Axum,
    /// The Node.js library on Redis
    Express,
}

/// Everything that runs while the rounds do.
#[derive(Default)]
struct Ring {
    entries: Vec<Entry>,
    contestants: Vec<contestants::Running>,
    stores: Vec<stores::Running>,
}

/// One kind of traffic to one server.
struct Entry {
    name: &'static str,
    port: u16,
    traffic: Traffic,
    fields: Vec<String>,
}

#[derive(Clone, Copy)]
enum Traffic {
    Plain,
    First,
    Replay,
}

impl Keyed {
    /// Runs it.
    ///
    /// # Errors
    /// A contestant or store does not start, or one answers wrongly.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let place = self.place.enter()?;
        let conditions = Conditions::measure(&place)?;
        let upstream = upstream::start(self.bytes)?;
        let mut ring = Ring::default();
        if self.takes_part(Group::Sqlite) {
            let gateway =
                contestants::steadfast(&place, "steadfast", upstream.port, &sqlite_ledger(&place, "ledger"))?;
            let port = gateway.port;
            ring.enter("plain", port, Traffic::Plain);
            ring.enter("first_sqlite", port, Traffic::First);
            ring.enter("replay", port, Traffic::Replay);
            ring.contestants.push(gateway);
            eprintln!("executing {} operations to replay", self.replayed);
            let keys = Keys::Unique { seed: REPLAYED_SEED };
            self.load(port, keys, Some(false), Vec::new(), Until::Answers(self.replayed)).run()?;
        }
        if self.takes_part(Group::Postgres) {
            let (postgres, url) = stores::postgres(&place)?;
            let gateway = contestants::steadfast(&place, "steadfast-postgres", upstream.port, &url)?;
            ring.enter("first_postgres", gateway.port, Traffic::First);
            ring.contestants.push(gateway);
            ring.stores.push(postgres);
        }
        self.enter_libraries(&place, &mut ring, upstream.port)?;

        let contestants: Vec<_> =
            ring.entries.iter().enumerate().map(|(index, entry)| self.contestant(index, entry)).collect();
        let measured = self.rounds.measure(&contestants)?;
        let mut report = Report::new("keyed", conditions, measured);
        report.relate("first_vs_plain", "first_sqlite", "plain", Bar::AtLeast(0.40));
        report.relate("replay_vs_plain", "replay", "plain", Bar::AtLeast(0.75));
        report.relate("postgres_vs_plain", "first_postgres", "plain", Bar::Reported);
        report.relate("vs_axum_idempotent", "first_sqlite", "axum_idempotent", Bar::AtLeast(2.0));
        report.relate("vs_express_idempotency", "first_sqlite", "express_idempotency", Bar::AtLeast(2.0));
        report.relate("vs_axum_idempotent_synced", "first_sqlite", "axum_idempotent_synced", Bar::Reported);
        report.relate("gateway_vs_gateway", "first_sqlite", "axum_idempotent_gateway", Bar::Reported);
        report.relate(
            "gateway_vs_gateway_synced",
            "first_sqlite",
            "axum_idempotent_gateway_synced",
            Bar::Reported,
        );
        report.relate("library_vs_library", "library_sqlite", "axum_idempotent", Bar::Reported);
        report.relate("library_vs_library_synced", "library_sqlite", "axum_idempotent_synced", Bar::Reported);
        report.relate(
            "vs_express_idempotency_synced",
            "first_sqlite",
            "express_idempotency_synced",
            Bar::Reported,
        );
        report.notes.push(format!(
            "POST, bodies and answers of {} bytes, {} connections kept alive; ours on one thread with its access log \
             on, ledger on a real disk, every claim and every outcome synced to it before it counts.",
            self.bytes, self.connections
        ));
        report.notes.push(
            "The libraries are the service: a handler answers within the same process. Ours is a gateway with an \
             upstream behind it, except library_sqlite, which is our layers round such a handler; and the names with \
             _gateway are the Rust library in a service that passes requests on to the upstream. They keep no claim \
             before they execute. Redis runs on the load's core with its append-only file synced once a second, and \
             before each answer for the names that end in _synced."
                .to_owned(),
        );
        let stores: Vec<_> = ring.stores.iter().map(|store| store.described.as_str()).collect();
        if !stores.is_empty() {
            report.notes.push(format!("Stores on the load's core: {}.", stores.join("; ")));
        }
        report.print(place.output)
    }

    fn enter_libraries(&self, place: &Workplace, ring: &mut Ring, upstream: u16) -> anyhow::Result<()> {
        if !self.takes_part(Group::Axum) && !self.takes_part(Group::Express) {
            return Ok(());
        }
        if self.takes_part(Group::Axum) {
            let ledger = place.folder().join("library.db");
            let ours = contestants::library(place, "library_sqlite", &ledger, self.bytes)?;
            ring.enter("library_sqlite", ours.port, Traffic::First);
            ring.contestants.push(ours);
        }
        let names = [
            (
                AppendFsync::EverySecond,
                "redis",
                "axum_idempotent",
                "axum_idempotent_gateway",
                "express_idempotency",
            ),
            (
                AppendFsync::Always,
                "redis-synced",
                "axum_idempotent_synced",
                "axum_idempotent_gateway_synced",
                "express_idempotency_synced",
            ),
        ];
        for (sync, store, axum, gateway, express) in names {
            let redis = stores::redis(place, store, sync)?;
            if self.takes_part(Group::Axum) {
                for (name, upstream) in [(axum, None), (gateway, Some(upstream))] {
                    let (peer, fields) =
                        contestants::axum_idempotent(place, name, redis.port, self.bytes, upstream)?;
                    ring.enter_with(name, peer.port, Traffic::First, fields);
                    ring.contestants.push(peer);
                }
            }
            if self.takes_part(Group::Express) {
                let peer = contestants::express_idempotency(place, express, redis.port, self.bytes)?;
                ring.enter(express, peer.port, Traffic::First);
                ring.contestants.push(peer);
            }
            ring.stores.push(redis);
        }
        self.libraries_do_replay(ring)
    }

    /// A library that forwards everything for want of a session or a store would look fast: each must replay first.
    fn libraries_do_replay(&self, ring: &Ring) -> anyhow::Result<()> {
        for entry in ring.entries.iter().filter(|entry| entry.name.contains("_idempoten")) {
            // Of the two only the Rust library marks its replays; the other is believed.
            let marks = entry.name.starts_with("axum");
            for (keys, replayed) in [
                (Keys::Unique { seed: REPLAYED_SEED }, Some(false)),
                (Keys::Pool { seed: REPLAYED_SEED, size: 1 }, Some(marks)),
            ] {
                let mut load = self.load(entry.port, keys, replayed, entry.fields.clone(), Until::Answers(1));
                load.connections = 1;
                load.run().map_err(|error| error.context(format!("{} does not replay", entry.name)))?;
            }
        }
        Ok(())
    }

    fn takes_part(&self, group: Group) -> bool {
        self.only.is_empty() || self.only.contains(&group)
    }

    fn contestant<'a>(&'a self, index: usize, entry: &'a Entry) -> Contestant<'a> {
        Contestant {
            name: entry.name,
            run: Box::new(move |round, until| {
                let (keys, replayed) = match entry.traffic {
                    Traffic::Plain => (Keys::None, Some(false)),
                    Traffic::First => {
                        (Keys::Unique { seed: (u64::from(round) + 1) << 8 | index as u64 }, Some(false))
                    }
                    Traffic::Replay => (Keys::Pool { seed: REPLAYED_SEED, size: self.replayed }, Some(true)),
                };
                self.load(entry.port, keys, replayed, entry.fields.clone(), until).run()
            }),
        }
    }

    fn load(&self, port: u16, keys: Keys, replayed: Option<bool>, fields: Vec<String>, until: Until) -> Load {
        Load {
            to: loopback(port),
            path: "/orders".to_owned(),
            post_bytes: Some(self.bytes),
            connections: self.connections,
            until,
            rate: None,
            keys,
            fields,
            expect: Expect { status: 201, bytes: self.bytes, replayed },
            manners: Manners::default(),
        }
    }
}

impl Ring {
    fn enter(&mut self, name: &'static str, port: u16, traffic: Traffic) {
        self.enter_with(name, port, traffic, Vec::new());
    }

    fn enter_with(&mut self, name: &'static str, port: u16, traffic: Traffic, fields: Vec<String>) {
        self.entries.push(Entry { name, port, traffic, fields });
    }
}
