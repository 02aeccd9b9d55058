//! Hits of the cache: small and larger answers to GET over 64 connections, against nginx's `proxy_cache`.

use clap::Args;

use crate::contestants::{self, sqlite_ledger};
use crate::load::{Expect, Keys, Load, Manners};
use crate::machine::Conditions;
use crate::report::{Bar, Report};
use crate::rounds::{Contestant, Rounds};
use crate::server::loopback;
use crate::upstream;
use crate::workplace::Place;

/// How much faster than nginx's hits ours are at least.
const TIMES_NGINX: f64 = 1.2;

/// What this benchmark may be told.
#[derive(Args)]
pub(crate) struct Cache {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    rounds: Rounds,
    /// Connections
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// The size of the small answers
    #[arg(long, default_value_t = 256)]
    small: usize,
    /// The size of the large answers
    #[arg(long, default_value_t = 16 << 10)]
    large: usize,
}

impl Cache {
    /// Runs it.
    ///
    /// # Errors
    /// A contestant does not start or answers wrongly.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let place = self.place.enter()?;
        let conditions = Conditions::measure(&place)?;
        let (small, large) = (upstream::start(self.small)?, upstream::start(self.large)?);
        let nginx = contestants::nginx_cache(&place, small.port, large.port)?;
        let ledger = sqlite_ledger(&place, "ledger");
        let steadfast = contestants::steadfast_cache(&place, small.port, large.port, &ledger)?;
        let contestants = [
            self.contestant("steadfast_small", steadfast.port, "/small", self.small),
            self.contestant("nginx_small", nginx.port, "/small", self.small),
            self.contestant("steadfast_large", steadfast.port, "/large", self.large),
            self.contestant("nginx_large", nginx.port, "/large", self.large),
        ];
        let measured = self.rounds.measure(&contestants)?;
        let mut report = Report::new("cache", conditions, measured);
        report.relate("small_vs_nginx", "steadfast_small", "nginx_small", Bar::AtLeast(TIMES_NGINX));
        report.relate("large_vs_nginx", "steadfast_large", "nginx_large", Bar::AtLeast(TIMES_NGINX));
        report.notes.push(format!(
            "GET of one target, answered from the cache, with {} and {} bytes, over {} connections kept alive. Both on one \
             thread with their access log written to a file. nginx keeps answers in files (which the system keeps in \
             memory) and sends them with sendfile; ours also sends Age, Cache-Status and request ids, and keeps metrics.",
            self.small, self.large, self.connections
        ));
        report.print(place.output)
    }

    fn contestant(&self, name: &'static str, port: u16, path: &'static str, bytes: usize) -> Contestant<'_> {
        Contestant {
            name,
            run: Box::new(move |_, until| {
                Load {
                    to: loopback(port),
                    path: path.to_owned(),
                    post_bytes: None,
                    connections: self.connections,
                    until,
                    rate: None,
                    keys: Keys::None,
                    fields: Vec::new(),
                    expect: Expect { status: 200, bytes, replayed: None },
                    manners: Manners::default(),
                }
                .run()
            }),
        }
    }
}
