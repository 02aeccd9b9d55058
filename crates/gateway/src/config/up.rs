//! The config of `steadfast up --to URL`: one route for everything, and what it assumes.

use std::borrow::Cow;

use steadfast_core::AnswerPolicy;
use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use super::{
    environment::scalar,
    error::{ConfigErrors, Place},
    load::{Loaded, read_table},
    schema::schema,
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
    let url = if options.to.contains("://") { options.to.clone() } else { format!("http://{}", options.to) };
    let also_refused: Vec<String> = options.refused.iter().map(u16::to_string).collect();
    let refused_by_default: Vec<String> =
        AnswerPolicy::default().refused.iter().map(u16::to_string).collect();
    let mut source = Source::new("steadfast up", "");
    let mut flag = |name, text, kind| Spanned::new(source.overlay(Place::Flag(name)), scalar(text, kind));

    let mut upstream = DeTable::new();
    put(&mut upstream, "url", flag("--to", &url, "string"));
    if let Some(text) = &options.repeatable_for {
        put(&mut upstream, "repeatable_for", flag("--repeatable-for", text, "string"));
    }
    if let Some(text) = &options.timeout {
        let total = flag("--timeout", text, "string");
        put(&mut upstream, "timeout", table_of("total", total));
    }
    let mut refused = DeArray::new();
    for status in &refused_by_default {
        refused.push(Spanned::new(0..0, scalar(status, "integer")));
    }
    for status in also_refused.iter().filter(|status| !refused_by_default.contains(status)) {
        refused.push(flag("--refused", status, "integer"));
    }
    put(&mut upstream, "refused", Spanned::new(0..0, DeValue::Array(refused)));

    let mut root = DeTable::new();
    for (key, name, kind, text) in [
        ("listen", "--listen", "string", &options.listen),
        ("admin", "--admin", "string", &options.admin),
        ("ledger", "--ledger", "string", &options.ledger),
        ("workers", "--workers", "integer", &options.workers),
    ] {
        if let Some(text) = text {
            put(&mut root, key, flag(name, text, kind));
        }
    }
    let upstream = Spanned::new(0..0, DeValue::Table(upstream));
    put(&mut root, "upstreams", table_of(UPSTREAM, upstream));
    let mut routes = DeArray::new();
    routes.push(route());
    put(&mut root, "routes", Spanned::new(0..0, DeValue::Array(routes)));
    read_table(&source, &schema(), Spanned::new(0..0, root), Vec::new(), Vec::new())
}

/// The one route: everything, to the one upstream.
fn route<'i>() -> Spanned<DeValue<'i>> {
    let anonymous = Spanned::new(0..0, DeValue::Boolean(true));
    let mut route = DeTable::new();
    put(&mut route, "path", Spanned::new(0..0, scalar("/*", "string")));
    put(&mut route, "upstream", Spanned::new(0..0, scalar(UPSTREAM, "string")));
    put(&mut route, "idempotency", table_of("anonymous", anonymous));
    Spanned::new(0..0, DeValue::Table(route))
}

fn table_of<'i>(key: &'i str, value: Spanned<DeValue<'i>>) -> Spanned<DeValue<'i>> {
    let mut table = DeTable::new();
    put(&mut table, key, value);
    Spanned::new(0..0, DeValue::Table(table))
}

fn put<'i>(table: &mut DeTable<'i>, key: &'i str, value: Spanned<DeValue<'i>>) {
    table.insert(Spanned::new(value.span(), Cow::Borrowed(key)), value);
}
