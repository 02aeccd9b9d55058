//! What the policies towards an upstream cost while it is well: small answers to GET over 64 connections, through the
//! gateway with none of them and with all of them.

use clap::Args;

use crate::contestants;
use crate::load::{Expect, Keys, Load, Manners};
use crate::machine::Conditions;
use crate::report::{Bar, Report};
use crate::rounds::{Contestant, Rounds};
use crate::server::loopback;
use crate::upstream;
use crate::workplace::Place;

/// The least share of plain proxying that is left with everything on.
const SHARE_OF_PLAIN: f64 = 0.9;

/// Every policy that the config has for an upstream. Limits lie where this load never meets them: what is measured is
/// what it costs to ask.
const UPSTREAM_SAYS: &str = r#"
timeout = { connect = "2s", tls = "2s", write = "5s", first_byte = "5s", between_bytes = "1m", try = "4s", total = "8s", late = "30s", queue = "1s" }
retry = { attempts = 3, budget = "20%" }
circuit = { slow = "2s" }
concurrency = { max = 1000, min = 100, queue = 1000, adaptive = true }
courtesy = { rate = "1000000/s", burst = 1000 }
"#;

/// And those of a route.
const ROUTE_SAYS: &str = r#"
deadline = "10s"
priority = "critical"
retry = { attempts = 2, budget = "10%" }
fallback = { body = '{"items":[]}' }
"#;

/// What this benchmark may be told.
#[derive(Args)]
pub(crate) struct Policies {
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
}

impl Policies {
    /// Runs it.
    ///
    /// # Errors
    /// A gateway does not start or answers wrongly.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let place = self.place.enter()?;
        let conditions = Conditions::measure(&place)?;
        let upstream = upstream::start(self.bytes)?;
        let plain = contestants::steadfast_with(&place, "plain", upstream.port, "", "")?;
        let all = contestants::steadfast_with(&place, "policies", upstream.port, UPSTREAM_SAYS, ROUTE_SAYS)?;
        let contestants = [("plain", plain.port), ("policies", all.port)];
        let contestants = contestants.map(|(name, port)| self.contestant(name, port));
        let measured = self.rounds.measure(&contestants)?;
        let mut report = Report::new("policies", conditions, measured);
        report.relate("vs_plain", "policies", "plain", Bar::AtLeast(SHARE_OF_PLAIN));
        report.notes.push(format!(
            "GET, answers of {} bytes, {} connections kept alive; the same gateway, one worker, access log written to a \
             file. With policies: {}, {}.",
            self.bytes,
            self.connections,
            UPSTREAM_SAYS.trim().replace('\n', ", "),
            ROUTE_SAYS.trim().replace('\n', ", ")
        ));
        report.print(place.output)
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
