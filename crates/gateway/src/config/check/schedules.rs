//! Checks what a config says of things that are done at certain times.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderName, HeaderValue, Method, uri::PathAndQuery};
use steadfast_worker::{Missed, Timetable};

use super::{
    super::{
        Route, ScheduleConfig, ScheduleTimes,
        raw::{At, RawConfig, RawMissed, RawSchedule},
        suggest::advice,
    },
    Checker, Finding, time_or,
};

/// How many there may be.
const SCHEDULES_MAX: usize = 1_000;

/// How late something may be done that is not to be made up for, unless stated.
const LATE: Duration = Duration::from_secs(60);

/// The largest body.
const BODY_BYTES_MAX: usize = 64 << 10;

impl Checker<'_> {
    pub(super) fn schedules(
        &mut self,
        raw: &RawConfig,
        routes: &[Route],
    ) -> BTreeMap<String, ScheduleConfig> {
        let mut schedules = BTreeMap::new();
        if raw.schedules.len() > SCHEDULES_MAX {
            let what = format!("there are {} schedules; {SCHEDULES_MAX} may be", raw.schedules.len());
            self.error(&(0..0), what, "let one of them do what several do".into());
            return schedules;
        }
        for (name, schedule) in &raw.schedules {
            if let Some(schedule) = self.schedule(name, schedule, routes) {
                schedules.insert(name.clone(), schedule);
            }
        }
        schedules
    }

    fn schedule(&mut self, name: &str, raw: &At<RawSchedule>, routes: &[Route]) -> Option<ScheduleConfig> {
        let (span, raw) = (raw.span(), raw.get());
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !(1..=64).contains(&name.len()) || !name.bytes().all(is_plain) {
            let what = format!("the schedule's name `{}` is not a plain name", name.escape_debug());
            self.error(&span, what, "use 1 to 64 letters, digits, `-`, `_` and `.`".into());
            return None;
        }
        let times = self.schedule_times(name, &span, raw);
        let route = self.schedule_route(name, &raw.route, routes);
        let method = match &raw.method {
            None => Some(Method::POST),
            Some(method) => self.take(&method.span(), parsed_method(name, method.get())),
        };
        let path = self.take(&raw.path.span(), parsed_path(name, raw.path.get()));
        let headers = self.schedule_headers(name, raw)?;
        let body = raw.body.as_ref().map(At::get).cloned().unwrap_or_default();
        if body.len() > BODY_BYTES_MAX {
            let what = format!("`schedules.{name}.body` has {} bytes; {BODY_BYTES_MAX} may be", body.len());
            self.error(
                &raw.body.as_ref().map_or(0..0, At::span),
                what,
                "let the upstream look the rest up".into(),
            );
        }
        let missed = raw.missed.as_ref().map_or(RawMissed::Last, |missed| *missed.get());
        if let Some(late) = raw.late.as_ref().filter(|_| missed != RawMissed::Skip) {
            let what = format!("`schedules.{name}.late` says nothing without `missed = \"skip\"`");
            self.error(&late.span(), what, "remove it, or add that".into());
        }
        Some(ScheduleConfig {
            times: times?,
            missed: match missed {
                RawMissed::Last => Missed::Last,
                RawMissed::All => Missed::All,
                RawMissed::Skip => Missed::Skip { after: time_or(raw.late.as_ref(), LATE) },
            },
            route: route?,
            method: method?,
            path: path?,
            headers,
            body,
        })
    }

    fn schedule_times(
        &mut self,
        name: &str,
        span: &std::ops::Range<usize>,
        raw: &RawSchedule,
    ) -> Option<ScheduleTimes> {
        match (&raw.cron, &raw.every) {
            (Some(cron), None) => {
                let zone = raw.time_zone.as_ref().map_or("UTC", |zone| zone.get());
                let checked = Timetable::cron(cron.get(), zone).map_err(|error| {
                    let what = format!("`schedules.{name}`: {error}");
                    (
                        what,
                        "write something like cron = \"30 3 * * mon-fri\" and time_zone = \"Europe/Berlin\""
                            .into(),
                    )
                });
                self.take(&cron.span(), checked)?;
                Some(ScheduleTimes::Cron { expression: cron.get().clone(), time_zone: zone.to_owned() })
            }
            (None, Some(every)) => {
                if let Some(zone) = &raw.time_zone {
                    let what = format!("`schedules.{name}.time_zone` says nothing of `every`");
                    self.error(&zone.span(), what, "remove it, or say when with `cron`".into());
                }
                Some(ScheduleTimes::Every(every.get().0))
            }
            (Some(_), Some(every)) => {
                let what = format!("`schedules.{name}` has both `cron` and `every`");
                self.error(&every.span(), what, "leave one of them".into());
                None
            }
            (None, None) => {
                if !self.partial {
                    let what = format!("`schedules.{name}` does not say when");
                    self.error(span, what, "add `cron = \"0 3 * * *\"` or `every = \"15m\"`".into());
                }
                None
            }
        }
    }

    fn schedule_route(&mut self, name: &str, raw: &At<String>, routes: &[Route]) -> Option<String> {
        let found = routes.iter().find(|route| *route.name == **raw.get());
        let is_background =
            |route: &Route| route.idempotency.as_ref().is_some_and(|policy| policy.background.is_some());
        match found {
            Some(route) if is_background(route) => Some(raw.get().clone()),
            Some(_) => {
                let what = format!(
                    "`schedules.{name}.route`: the route `{}` does nothing in the background",
                    raw.get()
                );
                self.error(&raw.span(), what, "add `async = \"allowed\"` to the route".into());
                None
            }
            // A route that is wrong itself is told of where it stands.
            None if self.partial || !self.errors.is_empty() => None,
            None => {
                let names: Vec<&str> = routes.iter().map(|route| &*route.name).collect();
                let what = format!("`schedules.{name}.route`: there is no route named `{}`", raw.get());
                self.error(&raw.span(), what, advice(raw.get(), &names));
                None
            }
        }
    }

    fn schedule_headers(&mut self, name: &str, raw: &RawSchedule) -> Option<Vec<(HeaderName, HeaderValue)>> {
        let mut headers = Vec::new();
        for (field, value) in &raw.headers {
            let parsed =
                HeaderName::from_bytes(field.as_bytes()).ok().zip(HeaderValue::from_str(value.get()).ok());
            let finding = parsed.ok_or_else(|| {
                let what = format!("`schedules.{name}.headers.{}` is no header field", field.escape_debug());
                (what, "write something like headers = { content-type = \"application/json\" }".to_owned())
            });
            headers.push(self.take(&value.span(), finding)?);
        }
        Some(headers)
    }
}

fn parsed_method(name: &str, text: &str) -> Finding<Method> {
    Method::from_bytes(text.as_bytes())
        .ok()
        .filter(|_| text.bytes().all(|byte| byte.is_ascii_uppercase()))
        .ok_or_else(|| {
            (
                format!("`schedules.{name}.method`: `{}` is no method", text.escape_debug()),
                "write \"POST\"".into(),
            )
        })
}

fn parsed_path(name: &str, text: &str) -> Finding<String> {
    let parsed = text.parse::<PathAndQuery>().ok().filter(|_| text.starts_with('/'));
    parsed.map(|_| text.to_owned()).ok_or_else(|| {
        let what = format!("`schedules.{name}.path`: `{}` is no path", text.escape_debug());
        (what, "write something like \"/reports/nightly\"".into())
    })
}
