//! Checks what a config says of an upstream.

use std::{ops::Range, time::Duration};

use steadfast_core::AnswerPolicy;
use steadfast_layers::AttemptTimes;
use steadfast_upstream::{Address, UpstreamPolicy};

use super::{
    super::{
        UpstreamContract,
        raw::{At, RawTimeout, RawUpstream, Status, Time},
    },
    Checker, Finding, Upstream, time_or, whole,
};

impl Checker<'_> {
    pub(super) fn upstream(&mut self, name: &str, raw: &At<RawUpstream>) -> Option<Upstream> {
        let url = &raw.get().url;
        let named = self.take(&raw.span(), check_name(name));
        let address = self.take(&url.span(), parse_url(url.get()));
        let default = UpstreamPolicy::new(name, address?);
        let raw = raw.get();
        let times = self.times(raw.timeout.as_ref().map(At::get), &default);
        let answers = self.answers(raw);
        named?;
        let contract = UpstreamContract {
            answers,
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
            connect_timeout: times.connect,
            first_byte_timeout: times.first_byte,
            idle_timeout: time_or(raw.idle_timeout.as_ref(), default.idle_timeout),
            idle_max: raw.idle_max.as_ref().map_or(default.idle_max, |max| whole(*max.get())),
            ..default
        };
        Some((policy, contract))
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
        for (name, time, stated) in
            [("connect", connect, &raw.connect), ("first_byte", first_byte, &raw.first_byte)]
        {
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
        Times { connect, first_byte, attempt: AttemptTimes { total, late } }
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
    first_byte: Duration,
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
    let next = "write http://host:port";
    if !text.contains("://") {
        return Err((format!("`url`: `{text}` has no scheme"), format!("write http://{text}")));
    }
    let address = text.parse::<Address>().map_err(|error| (format!("`url`: {error}"), next.into()))?;
    // Odd brackets in a host are taken for nothing: what is shown has to be what was meant.
    if address.to_string().parse().as_ref() != Ok(&address) {
        return Err((format!("`url`: `{text}` has no host that can be reached"), next.into()));
    }
    Ok(address)
}
