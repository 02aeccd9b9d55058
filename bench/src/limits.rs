//! What a limit on callers costs that none of them reaches: small answers to GET over 64 connections, through the gateway
//! without one, with one by principal whose callers bring an API key, and with one by address; through nginx with and
//! without `limit_req`, and through a proxy of axum with and without tower_governor. Each is compared with itself without a
//! limit; who proxies faster is another benchmark's. The bar is on what the limit and the API key cost together.

use clap::Args;

use crate::contestants;
use crate::load::{Expect, Keys, Load, Manners};
use crate::machine::Conditions;
use crate::report::{Bar, Report};
use crate::rounds::{Contestant, Rounds};
use crate::server::loopback;
use crate::upstream;
use crate::workplace::Place;

/// The least share of plain proxying that is left with a limit.
const SHARE_OF_PLAIN: f64 = 0.95;

/// A limit that this load never meets: what is measured is what it costs to ask, to count and to tell.
const LIMIT: &str = "
[limits.per-address]
per = \"ip\"
rate = \"1000000/s\"
";

/// The same by principal, and who that is.
const LIMIT_BY_KEY: &str = "
[authentication.customers]
api_keys = { prefix = \"sf\" }

[limits.per-customer]
per = \"principal\"
rate = \"1000000/s\"
";

/// What this benchmark may be told.
#[derive(Args)]
pub(crate) struct Limits {
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

impl Limits {
    /// Runs it.
    ///
    /// # Errors
    /// A contestant does not start or answers wrongly.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let place = self.place.enter()?;
        let conditions = Conditions::measure(&place)?;
        let upstream = upstream::start(self.bytes)?;
        let port = upstream.port;
        let plain = contestants::steadfast_with(&place, "steadfast", port, "", "")?;
        let (known, key) = contestants::steadfast_with_a_key(
            &place,
            "steadfast_known_and_limited",
            &contestants::one_route(
                port,
                LIMIT_BY_KEY,
                "authentication = { by = [\"customers\"] }\nlimits = [\"per-customer\"]",
            ),
        )?;
        let key = format!("Authorization: Bearer {key}");
        let limited = contestants::steadfast_with(
            &place,
            "steadfast_limited",
            port,
            LIMIT,
            "limits = [\"per-address\"]",
        )?;
        let quiet = contestants::steadfast_with(
            &place,
            "steadfast_untold",
            port,
            LIMIT,
            "limits = [\"per-address\"]\nlimit_headers = \"none\"",
        )?;
        let nginx = contestants::nginx(&place, port)?;
        let nginx_limited = contestants::nginx_limited(&place, port)?;
        let governed = [false, true].map(|limited| contestants::tower_governor(&place, port, limited));
        let [axum, tower_governor] = governed;
        let (axum, tower_governor) = (axum?, tower_governor?);
        let contestants = [
            ("steadfast", plain.port),
            ("steadfast_known_and_limited", known.port),
            ("steadfast_limited", limited.port),
            ("steadfast_untold", quiet.port),
            ("nginx", nginx.port),
            ("nginx_limit_req", nginx_limited.port),
            ("axum", axum.port),
            ("tower_governor", tower_governor.port),
        ];
        let contestants = contestants.map(|(name, port)| {
            let fields = if port == known.port { vec![key.clone()] } else { Vec::new() };
            self.contestant(name, port, fields)
        });
        let measured = self.rounds.measure(&contestants)?;
        let mut report = Report::new("limits", conditions, measured);
        let bar = Bar::AtLeast(SHARE_OF_PLAIN);
        report.relate("known_and_limited_vs_plain", "steadfast_known_and_limited", "steadfast", bar);
        report.relate("limited_vs_plain", "steadfast_limited", "steadfast", Bar::Reported);
        report.relate("untold_vs_plain", "steadfast_untold", "steadfast", Bar::Reported);
        report.relate("nginx_limit_req_vs_nginx", "nginx_limit_req", "nginx", Bar::Reported);
        report.relate("tower_governor_vs_axum", "tower_governor", "axum", Bar::Reported);
        report.relate("limited_vs_nginx_limit_req", "steadfast_limited", "nginx_limit_req", Bar::Reported);
        report.relate("limited_vs_tower_governor", "steadfast_limited", "tower_governor", Bar::Reported);
        report.notes.push(format!(
            "GET, answers of {} bytes, {} connections kept alive, all from one address; one thread each. \
             `steadfast_known_and_limited` asks for an API key and counts by its principal, the others by address. The gateway and \
             nginx write an access log to a file; the proxy of axum writes none, and does little else. Ours tells every \
             caller how its limit stands (RateLimit, RateLimit-Policy), tower_governor does with use_headers(), nginx \
             does not; `steadfast_untold` does not either.",
            self.bytes, self.connections
        ));
        report.print(place.output)
    }

    fn contestant(&self, name: &'static str, port: u16, fields: Vec<String>) -> Contestant<'_> {
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
                    fields: fields.clone(),
                    expect: Expect { status: 200, bytes: self.bytes, replayed: None },
                    manners: Manners::default(),
                }
                .run()
            }),
        }
    }
}
