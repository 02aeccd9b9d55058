//! The config of `steadfast up --to URL`: one route for everything, and what it assumes.

use steadfast_core::AnswerPolicy;

use super::{
    check::Checker,
    duration::parse_duration,
    error::{ConfigErrors, Place},
    load::Loaded,
    raw::{At, RawConfig, RawIdempotency, RawRoute, RawTimeout, RawUpstream, Status, Time},
    source::Source,
};

/// The name of its only upstream.
const UPSTREAM: &str = "upstream";

/// What `steadfast up` is asked for, as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpOptions {
    /// `--to`: the upstream's URL; without a scheme it is `http://`.
    pub to: String,
    /// `--listen`; as in a file unless stated.
    pub listen: Option<String>,
    /// `--admin`; as in a file unless stated.
    pub admin: Option<String>,
    /// `--ledger`; `sqlite:steadfast.db` unless stated.
    pub ledger: Option<String>,
    /// `--workers`; one per core unless stated.
    pub workers: Option<String>,
    /// `--repeatable-for`: the upstream honours the forwarded key for that long. Not repeatable unless stated.
    pub repeatable_for: Option<String>,
    /// `--refused`: statuses that mean not executed, beside 425 and 429.
    pub refused: Vec<u16>,
    /// `--timeout`: how long the upstream may take to answer; as in a file unless stated.
    pub timeout: Option<String>,
}

/// The config of `steadfast up`: all requests go to one upstream; keys are optional on POST and PATCH, and
/// accepted from callers without a credential.
///
/// # Errors
/// [`ConfigErrors`], each at its flag.
pub fn for_up(options: &UpOptions) -> Result<Loaded, ConfigErrors> {
    let mut source = Source::new("steadfast up", "");
    let mut at = |flag, text: &String| At::new(text.clone(), source.overlay(Place::Flag(flag)));
    let raw_listen = options.listen.as_ref().map(|text| at("--listen", text));
    let raw_admin = options.admin.as_ref().map(|text| at("--admin", text));
    let raw_ledger = options.ledger.as_ref().map(|text| at("--ledger", text));
    let to = if options.to.contains("://") { options.to.clone() } else { format!("http://{}", options.to) };
    let url = at("--to", &to);
    let workers = match options.workers.as_ref().map(|text| text.parse::<u64>()) {
        None => None,
        Some(Ok(workers)) if (1..=1024).contains(&workers) => Some(At::nowhere(workers)),
        Some(_) => {
            let next = "choose a number from 1 to 1024";
            return Err(ConfigErrors::one(Place::Flag("--workers"), "it is not a number of threads", next));
        }
    };
    let mut duration =
        |flag, text: Option<&String>, example: &str| match text.map(|text| parse_duration(text)) {
            None => Ok(None),
            Some(Ok(time)) => Ok(Some(At::new(Time(time), source.overlay(Place::Flag(flag))))),
            Some(Err(error)) => {
                let next = format!("write something like {example}");
                Err(ConfigErrors::one(Place::Flag(flag), error.to_string(), next))
            }
        };
    let repeatable_for = duration("--repeatable-for", options.repeatable_for.as_ref(), "24h")?;
    let total = duration("--timeout", options.timeout.as_ref(), "30s")?;
    let timeout = total.map(|total| {
        At::nowhere(RawTimeout {
            first_byte: Some(total.clone()),
            total: Some(total),
            ..RawTimeout::default()
        })
    });
    let refused_span = source.overlay(Place::Flag("--refused"));
    let mut refused = AnswerPolicy::default().refused;
    for status in &options.refused {
        if !(400..=599).contains(status) {
            let what = format!("{status} cannot mean that nothing was executed");
            return Err(ConfigErrors::one(Place::Flag("--refused"), what, "choose statuses from 400 to 599"));
        }
        if !refused.contains(status) {
            refused.push(*status);
        }
    }
    let refused = refused.into_iter().map(|status| At::new(Status(status), refused_span.clone())).collect();
    let upstream = RawUpstream {
        url,
        repeatable_for,
        refused: Some(At::new(refused, refused_span)),
        completed: None,
        in_progress: None,
        timeout,
        idle_timeout: None,
        idle_max: None,
    };
    let idempotency = RawIdempotency { anonymous: Some(At::nowhere(true)), ..RawIdempotency::default() };
    let route = RawRoute {
        path: At::nowhere("/*".into()),
        name: None,
        methods: None,
        upstream: At::nowhere(UPSTREAM.into()),
        deadline: None,
        idempotency: Some(At::nowhere(idempotency)),
    };
    let raw = RawConfig {
        listen: raw_listen,
        admin: raw_admin,
        ledger: raw_ledger,
        workers,
        upstreams: [(UPSTREAM.to_owned(), At::nowhere(upstream))].into(),
        routes: vec![At::nowhere(route)],
        ..RawConfig::default()
    };
    Checker::new(&source, Vec::new(), Vec::new()).finish(&raw)
}
