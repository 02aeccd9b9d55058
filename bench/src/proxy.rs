//! Plain proxying: small answers to GET over 64 connections, against the two proxies that everybody knows.

use clap::{Args, ValueEnum};

use crate::contestants::{self, sqlite_ledger};
use crate::load::{Expect, Keys, Load, Manners};
use crate::machine::Conditions;
use crate::report::{Bar, Report};
use crate::rounds::{Contestant, Rounds};
use crate::server::loopback;
use crate::upstream;
use crate::workplace::Place;

/// What this benchmark may be told.
#[derive(Args)]
pub(crate) struct Proxy {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    rounds: Rounds,
    /// Connections
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// The size of the answers
    #[arg(long, default_value_t = 256)]
    bytes: usize,
    /// Measure only these
    #[arg(long, value_delimiter = ',')]
    only: Vec<Name>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    Steadfast,
    Nginx,
    Haproxy,
    /// The upstream itself: what load and upstream can do at most
    Direct,
}

impl Proxy {
    /// Runs it.
    ///
    /// # Errors
    /// A contestant does not start or answers wrongly.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let place = self.place.enter()?;
        let conditions = Conditions::measure(&place)?;
        let upstream = upstream::start(self.bytes)?;
        let mut running = Vec::new();
        for name in [Name::Steadfast, Name::Nginx, Name::Haproxy] {
            if self.takes_part(name) {
                let (label, contestant) = match name {
                    Name::Nginx => ("nginx", contestants::nginx(&place, upstream.port)?),
                    Name::Haproxy => ("haproxy", contestants::haproxy(&place, upstream.port)?),
                    Name::Steadfast | Name::Direct => {
                        let ledger = sqlite_ledger(&place, "ledger");
                        ("steadfast", contestants::steadfast(&place, "steadfast", upstream.port, &ledger)?)
                    }
                };
                running.push((label, contestant));
            }
        }
        let mut ports: Vec<_> = running.iter().map(|(label, contestant)| (*label, contestant.port)).collect();
        if self.only.contains(&Name::Direct) {
            ports.push(("direct", upstream.port));
        }
        let contestants: Vec<_> =
            ports.into_iter().map(|(label, port)| self.contestant(label, port)).collect();
        let measured = self.rounds.measure(&contestants)?;
        let mut report = Report::new("proxy", conditions, measured);
        report.relate("vs_nginx", "steadfast", "nginx", Bar::AtLeast(0.85));
        report.relate("vs_haproxy", "steadfast", "haproxy", Bar::AtLeast(1.0));
        report.notes.push(format!(
            "GET, answers of {} bytes, {} connections kept alive. All contestants on one thread with their access log \
             written to a file, and all tell the upstream who is calling (X-Forwarded-For, -Proto, -Host, Via); ours also \
             gives request ids and keeps metrics.",
            self.bytes, self.connections
        ));
        report.print(place.output)
    }

    fn takes_part(&self, name: Name) -> bool {
        self.only.is_empty() || self.only.contains(&name)
    }

    fn contestant(&self, name: &'static str, port: u16) -> Contestant<'_> {
        Contestant {
            name,
            run: Box::new(move |_, until| {
                Load {
                    to: loopback(port),
                    path: "/events".to_owned(),
                    post_bytes: None,
                    connections: self.connections,
                    until,
                    rate: None,
                    keys: Keys::None,
                    fields: Vec::new(),
                    expect: Expect { status: 200, bytes: self.bytes, replayed: None },
                    manners: Manners::default(),
                }
                .run()
            }),
        }
    }
}
