//! Checks what a config says of an upstream.

use std::{net::SocketAddr, ops::Range, time::Duration};

use http::{HeaderValue, uri::Authority};
use steadfast_core::AnswerPolicy;
use steadfast_layers::{AttemptTimes, RetryPolicy};
use steadfast_upstream::{Address, HostPolicy, Protocol, TlsClient, TlsFiles, UpstreamPolicy};

use super::{
    super::{
        UpstreamConfig, UpstreamContract,
        raw::{At, RawHttp, RawTimeout, RawUpstream, RawUpstreamTls, Status, Time},
    },
    Checker, Finding, time_or, whole,
};

impl Checker<'_> {
    pub(super) fn upstream(
        &mut self,
        name: &str,
        raw: &At<RawUpstream>,
        resolver: &[SocketAddr],
    ) -> Option<UpstreamConfig> {
        let named = self.take(&raw.span(), check_name(name));
        let addresses = self.addresses(name, raw);
        let raw = raw.get();
        let addresses = addresses?;
        let default = UpstreamPolicy::new(name, addresses.first()?.clone());
        let times = self.times(raw.timeout.as_ref().map(At::get), &default);
        let answers = self.answers(raw);
        let rules = self.answer_rules(&raw.answers);
        let retry = raw.retry.as_ref().map(|retry| self.retry(retry.get(), &RetryPolicy::default()));
        named?;
        let contract = UpstreamContract {
            answers: answers.clone(),
            repeatable_for: raw.repeatable_for.as_ref().map(|time| time.get().0),
            times: times.attempt,
        };
        if let Some(repeatable_for) = &raw.repeatable_for
            && repeatable_for.get().0 < times.attempt.total
        {
            self.warn(
                &repeatable_for.span(),
                "`repeatable_for` is shorter than timeout.total: an attempt that timed out is never repeated"
                    .into(),
            );
        }
        let policy = UpstreamPolicy {
            protocol: match raw.http.as_ref().map(At::get) {
                Some(RawHttp::One) => Protocol::Http1,
                Some(RawHttp::Two) => Protocol::Http2,
                Some(RawHttp::Auto) => Protocol::Negotiated,
                None => default.protocol,
            },
            tls: self.upstream_tls(raw.tls.as_ref(), &default.addresses[0])?,
            host: match &raw.host {
                Some(host) => self.take(&host.span(), parse_host(host.get()))?,
                None => default.host,
            },
            connect_timeout: times.connect,
            tls_timeout: times.tls,
            write_timeout: times.write,
            first_byte_timeout: times.first_byte,
            try_timeout: times.one_try,
            total_timeout: times.attempt.total,
            between_bytes_timeout: times.between_bytes,
            idle_timeout: time_or(raw.idle_timeout.as_ref(), default.idle_timeout),
            idle_max: raw.idle_max.as_ref().map_or(default.idle_max, |max| whole(*max.get())),
            answers,
            resolver: resolver.to_vec(),
            health: match &raw.health {
                Some(health) => Some(self.health(health)?),
                None => None,
            },
            circuit: raw.circuit.as_ref().map(|circuit| self.circuit(circuit.get())),
            slow_start: raw
                .balance
                .as_ref()
                .and_then(|balance| balance.get().slow_start.as_ref())
                .map(|time| time.get().0),
            addresses,
            rules,
            ..default
        };
        let concurrency = self.concurrency(raw.concurrency.as_ref(), raw.timeout.as_ref().map(At::get));
        let courtesy = self.courtesy(raw.courtesy.as_ref());
        let openapi = self.openapi(raw.openapi.as_ref());
        Some(UpstreamConfig { policy, contract, retry, concurrency, courtesy, openapi })
    }

    /// Where its endpoints are; at least one.
    fn addresses(&mut self, name: &str, raw: &At<RawUpstream>) -> Option<Vec<Address>> {
        let urls = match (&raw.get().url, &raw.get().urls) {
            (Some(url), None) => vec![url],
            (None, Some(urls)) if !urls.get().is_empty() => urls.get().iter().collect(),
            (None, Some(urls)) => {
                let next = "list where it is, as in urls = [\"http://a:8000\", \"http://b:8000\"]";
                self.error(&urls.span(), "`urls` is empty".into(), next.into());
                return None;
            }
            (Some(_), Some(urls)) => {
                let next = "put the one of `url` into `urls`, and remove `url`";
                self.error(
                    &urls.span(),
                    format!("the upstream `{name}` has both `url` and `urls`"),
                    next.into(),
                );
                return None;
            }
            // The schema has said so already.
            (None, None) => return None,
        };
        let mut addresses: Vec<Address> = Vec::with_capacity(urls.len());
        let mut all_right = true;
        for url in urls {
            let Some(address) = self.take(&url.span(), parse_url(url.get())) else {
                all_right = false;
                continue;
            };
            let alike = addresses.first().is_none_or(|first| first.is_alike(&address));
            if !alike || addresses.contains(&address) {
                let (what, next) = if alike {
                    ("is there twice", "remove one of them")
                } else {
                    (
                        "has another scheme or path than the first one",
                        "list places that answer alike; make another upstream of the rest",
                    )
                };
                self.error(&url.span(), format!("`urls`: `{address}` {what}"), next.into());
                all_right = false;
                continue;
            }
            addresses.push(address);
        }
        all_right.then_some(addresses)
    }

    fn upstream_tls(&mut self, raw: Option<&At<RawUpstreamTls>>, address: &Address) -> Option<TlsClient> {
        let Some(raw) = raw else { return Some(TlsClient::default()) };
        if !address.is_tls() {
            let next = "write the url with https://, or remove `tls`";
            self.error(&raw.span(), "`tls` is only for an https:// upstream".into(), next.into());
            return None;
        }
        let (span, raw) = (raw.span(), raw.get());
        let path = |text: &Option<At<String>>| text.as_ref().map(|path| path.get().into());
        let certificate = match (path(&raw.certificate_file), path(&raw.key_file)) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                let what = "`tls` has one of `certificate_file` and `key_file`, which go together";
                self.error(&span, what.into(), "add the other one".into());
                return None;
            }
        };
        let server_name = raw.server_name.as_ref().map(|name| name.get().clone());
        let client = TlsClient::load(TlsFiles { roots: path(&raw.ca_file), certificate, server_name });
        let next = "name a PEM file that the user whom the gateway runs as can read";
        self.take(&span, client.map_err(|error| (format!("`tls`: {error}"), next.into())))
    }

    /// The times of `raw`. Where one of them is stated, the others' defaults stay in step with it.
    fn times(&mut self, raw: Option<&RawTimeout>, default: &UpstreamPolicy) -> Times {
        let none = RawTimeout::default();
        let raw = raw.unwrap_or(&none);
        let stated = |time: &Option<At<Time>>| time.as_ref().map(|time| time.get().0);
        let times = UpstreamContract::default().times;
        let total = stated(&raw.total)
            .unwrap_or_else(|| times.total.max(stated(&raw.first_byte).unwrap_or_default()));
        let first_byte = stated(&raw.first_byte).unwrap_or(total);
        let connect = stated(&raw.connect).unwrap_or_else(|| default.connect_timeout.min(total));
        let late = stated(&raw.late).unwrap_or(times.late);
        let (tls, one_try) = (stated(&raw.tls), stated(&raw.one_try));
        for (name, time, stated) in [
            ("connect", connect, &raw.connect),
            ("tls", tls.unwrap_or_default(), &raw.tls),
            ("first_byte", first_byte, &raw.first_byte),
            ("try", one_try.unwrap_or_default(), &raw.one_try),
        ] {
            if let Some(stated) = stated
                && time > total
                && !self.partial
            {
                self.error(
                    &stated.span(),
                    format!("`timeout.{name}` is longer than `timeout.total`, so it never ends a wait"),
                    format!("lengthen total, or shorten {name}"),
                );
            }
        }
        let between_bytes = stated(&raw.between_bytes).unwrap_or(default.between_bytes_timeout);
        let write = stated(&raw.write);
        Times {
            connect,
            tls,
            write,
            first_byte,
            one_try,
            between_bytes,
            attempt: AttemptTimes { total, late },
        }
    }

    fn answers(&mut self, raw: &RawUpstream) -> AnswerPolicy {
        let default = AnswerPolicy::default();
        let listed = |raw: &Option<At<Vec<At<Status>>>>, default: Vec<u16>| {
            raw.as_ref().map_or(default, |list| list.get().iter().map(|status| status.get().0).collect())
        };
        let answers = AnswerPolicy {
            refused: listed(&raw.refused, default.refused),
            completed: listed(&raw.completed, default.completed),
            in_progress: listed(&raw.in_progress, default.in_progress),
        };
        for (key, list) in [("refused", &raw.refused), ("in_progress", &raw.in_progress)] {
            for status in list.iter().flat_map(|list| list.get()) {
                self.refusing_status(&status.span(), status.get().0, key);
            }
        }
        for status in raw.completed.iter().flat_map(|list| list.get()) {
            if answers.refused.contains(&status.get().0) {
                self.error(
                    &status.span(),
                    format!("{} is in `completed` and in `refused`", status.get().0),
                    "decide whether it means executed or not executed, and leave it in one of them".into(),
                );
            }
        }
        if let Some(refused) = &raw.refused
            && !answers.refused.contains(&429)
            && !answers.completed.contains(&429)
        {
            self.warn(
                &refused.span(),
                "`refused` goes before its default and leaves out 429: a 429 of this upstream will be replayed as \
                 the final answer; add 429 here, or to `completed` if that is meant"
                    .into(),
            );
        }
        answers
    }

    fn refusing_status(&mut self, span: &Range<usize>, status: u16, key: &str) {
        if status < 400 {
            self.error(
                span,
                format!("`{key}` has {status}, which says that the request was executed"),
                "list only statuses from 400 to 599".into(),
            );
        }
    }
}

struct Times {
    connect: Duration,
    tls: Option<Duration>,
    write: Option<Duration>,
    first_byte: Duration,
    one_try: Option<Duration>,
    between_bytes: Duration,
    attempt: AttemptTimes,
}

fn check_name(name: &str) -> Finding<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if (1..=64).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    let what = format!("the upstream's name `{}` is not a plain name", name.escape_debug());
    Err((what, "use 1 to 64 letters, digits, `-` and `_`".into()))
}

fn parse_host(text: &str) -> Finding<HostPolicy> {
    match text {
        "caller" => Ok(HostPolicy::Caller),
        "upstream" => Ok(HostPolicy::Upstream),
        host => match (host.parse::<Authority>(), HeaderValue::from_str(host)) {
            (Ok(authority), Ok(value)) if !authority.as_str().contains('@') => Ok(HostPolicy::Named(value)),
            _ => Err((
                format!("`host`: `{}` is not a host", host.escape_debug()),
                "write \"caller\", \"upstream\", or a host such as \"api.example.com\"".into(),
            )),
        },
    }
}

pub(super) fn parse_url(text: &str) -> Finding<Address> {
    let authority =
        text.split_once("://").map_or(text, |(_, rest)| rest).split(['/', '?']).next().unwrap_or("");
    if authority.contains('@') {
        // Neither repeated here nor dropped silently.
        return Err((
            "`url` has a user or a password in it, which would not be sent".into(),
            "leave it out: callers' own credentials go through".into(),
        ));
    }
    let next = "write http://host:port, https://host:port or unix:/path/of/socket";
    if !text.contains("://") && !text.starts_with("unix:") {
        return Err((format!("`url`: `{text}` has no scheme"), format!("write http://{text}")));
    }
    let address = text.parse::<Address>().map_err(|error| (format!("`url`: {error}"), next.into()))?;
    // Odd brackets in a host are taken for nothing: what is shown has to be what was meant.
    if address.to_string().parse().as_ref() != Ok(&address) {
        return Err((format!("`url`: `{text}` has no host that can be reached"), next.into()));
    }
    Ok(address)
}
