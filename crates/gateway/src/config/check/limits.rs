//! Checks what a config says of limits on callers.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use http::{HeaderName, HeaderValue};
use steadfast_core::{LimitAlgorithm, Period, Quota};
use steadfast_layers::{
    Cost, CostFromAnswer, ENFORCED_ON_ALL, Expression, InvalidExpression, InvalidTemplate, LIMIT_VARIABLES,
    LIMITS_MAX, LimitHeaders, LimitPolicy, Per, RefusalTemplate,
};

use super::{
    super::{
        quota::parse_quota,
        raw::{
            At, RawAlgorithm, RawConfig, RawCost, RawLimit, RawLimitHeaders, RawPlan, RawRefusal, RawRoute,
        },
        suggest::{advice, listed},
    },
    Checker, Finding,
};

/// The longest expression, in characters.
const EXPRESSION_CHARS_MAX: usize = 4096;

/// The most that a request can cost.
const COST_MAX: u64 = 1_000_000_000_000;

/// What a limit can be per, but for headers and expressions.
const PER: [(&str, Per); 6] = [
    ("principal", Per::Principal),
    ("tenant", Per::Tenant),
    ("credential", Per::Credential),
    ("ip", Per::Address),
    ("route", Per::Route),
    ("path", Per::Path),
];

const PER_NEXT: &str = "write \"principal\", \"tenant\", \"credential\", \"ip\", \"route\", \"path\", \"header:NAME\", { cel = \"…\" }, or a list of these";

/// What a limit allows, as it is stated; or what of it a plan states.
struct Stated<'a> {
    rate: Option<&'a At<String>>,
    burst: Option<&'a At<u64>>,
    max: Option<&'a At<u64>>,
}

impl Checker<'_> {
    pub(super) fn limits(&mut self, raw: &RawConfig) -> BTreeMap<String, LimitPolicy> {
        let mut limits = BTreeMap::new();
        for (name, limit) in &raw.limits {
            if let Some(policy) = self.limit(name, limit) {
                limits.insert(name.clone(), policy);
            }
        }
        if !self.partial {
            for (name, limit) in &raw.limits {
                let names = |route: &At<RawRoute>| {
                    route
                        .get()
                        .limits
                        .as_ref()
                        .is_some_and(|list| list.get().iter().any(|one| one.get() == name))
                };
                if !raw.routes.iter().any(names) {
                    self.warn(&limit.span(), format!("no route names the limit `{name}`"));
                }
            }
        }
        limits
    }

    fn limit(&mut self, name: &str, raw: &At<RawLimit>) -> Option<LimitPolicy> {
        let (span, raw) = (raw.span(), raw.get());
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !(1..=64).contains(&name.len()) || !name.bytes().all(is_plain) {
            let what = format!("the limit's name `{}` is not a plain name", name.escape_debug());
            self.error(&span, what, "use 1 to 64 letters, digits, `-`, `_` and `.`: callers read it".into());
        }
        let per = self.take(&raw.per.span(), per(name, &raw.per.get().0));
        let algorithm = match raw.algorithm.as_ref().map(At::get) {
            None | Some(RawAlgorithm::TokenBucket) => LimitAlgorithm::TokenBucket,
            Some(RawAlgorithm::LeakyBucket) => LimitAlgorithm::LeakyBucket,
            Some(RawAlgorithm::FixedWindow) => LimitAlgorithm::FixedWindow,
            Some(RawAlgorithm::SlidingWindow) => LimitAlgorithm::SlidingWindow,
            Some(RawAlgorithm::Concurrency) => LimitAlgorithm::Concurrency,
        };
        let stated = Stated { rate: raw.rate.as_ref(), burst: raw.burst.as_ref(), max: raw.max.as_ref() };
        let quota = self.quota(&format!("limits.{name}"), &span, algorithm, &stated, None);
        let mut plans = Vec::new();
        for (plan, raw_plan) in &raw.plans {
            let path = format!("limits.{name}.plans.{plan}");
            let RawPlan { rate, burst, max } = raw_plan.get();
            let stated = Stated { rate: rate.as_ref(), burst: burst.as_ref(), max: max.as_ref() };
            // Where the limit itself is wrong, that is what is told.
            if quota.is_some()
                && let Some(quota) = self.quota(&path, &raw_plan.span(), algorithm, &stated, quota)
            {
                plans.push((plan.as_str().into(), quota));
            }
        }
        let cost_from_answer = match &raw.cost_from_answer {
            None => None,
            Some(stated) => Some(self.take(&stated.span(), cost_from_answer(name, stated.get()))?),
        };
        if algorithm == LimitAlgorithm::Concurrency {
            let beside = [
                ("cost", raw.cost.as_ref().map(At::span)),
                ("cost_from_answer", raw.cost_from_answer.as_ref().map(At::span)),
            ];
            for (key, place) in beside {
                if let Some(place) = place.filter(|_| !self.partial) {
                    let what = format!("`limits.{name}.{key}` says nothing where places are counted");
                    self.error(&place, what, "remove it: each request takes one place".into());
                }
            }
        }
        let cost = match &raw.cost {
            Some(stated) => self.take(&stated.span(), cost(name, stated.get()))?,
            None => Cost::Constant(u64::from(cost_from_answer.is_none())),
        };
        if let (Cost::Constant(cost), Some(stated), Some(quota)) = (&cost, &raw.cost, quota) {
            let most = quota.cost_max();
            if *cost > most && !self.partial {
                let what = format!(
                    "`limits.{name}.cost` is {cost}, and no more than {most} is ever let through at once"
                );
                self.error(&stated.span(), what, "lower it, or raise burst or rate".into());
            }
            if *cost == 0 && cost_from_answer.is_none() && !self.partial {
                let what = format!("`limits.{name}.cost` is 0, so nothing is ever counted");
                self.error(&stated.span(), what, "leave it out for 1, or say cost_from_answer".into());
            }
        }
        let is_shadow = raw.mode.as_ref().is_some_and(|mode| mode.get().is_shadow());
        if let Some(enforce) = raw.enforce.as_ref().filter(|_| is_shadow && !self.partial) {
            let what = format!("`limits.{name}.enforce` beside `mode = \"shadow\"` does nothing");
            self.error(&enforce.span(), what, "remove one of them".into());
        }
        let percent = raw.enforce.as_ref().map_or(100, |enforce| enforce.get().0.min(100));
        let enforced = if is_shadow { 0 } else { ENFORCED_ON_ALL * percent / 100 };
        Some(LimitPolicy {
            name: name.into(),
            per: per?,
            quota: quota?,
            plans,
            cost,
            cost_from_answer,
            enforced,
            is_shared: false,
        })
    }

    /// What is allowed. `otherwise` is what the limit allows, where a plan is asked about.
    fn quota(
        &mut self,
        path: &str,
        span: &Range<usize>,
        algorithm: LimitAlgorithm,
        stated: &Stated<'_>,
        otherwise: Option<Quota>,
    ) -> Option<Quota> {
        let is_bucket = matches!(algorithm, LimitAlgorithm::TokenBucket | LimitAlgorithm::LeakyBucket);
        let is_places = algorithm == LimitAlgorithm::Concurrency;
        let misplaced = [
            ("rate", stated.rate.map(At::span).filter(|_| is_places)),
            ("burst", stated.burst.map(At::span).filter(|_| !is_bucket)),
            ("max", stated.max.map(At::span).filter(|_| !is_places)),
        ];
        for (key, place) in misplaced {
            if let Some(place) = place.filter(|_| !self.partial) {
                let what = format!("`{path}.{key}` says nothing of a limit that counts so");
                let next = match key {
                    "max" => "remove it, or write algorithm = \"concurrency\"",
                    "burst" => "remove it, or write algorithm = \"token_bucket\"",
                    _ => "write max = 10, say: how many at once",
                };
                self.error(&place, what, next.into());
            }
        }
        if is_places {
            let Some(count) = stated.max.map(|max| *max.get()).or(otherwise.map(|quota| quota.count)) else {
                self.error(
                    span,
                    format!("`{path}` has no `max`"),
                    "add max = 10, say: how many at once".into(),
                );
                return None;
            };
            return Some(Quota { algorithm, count, period: Period::Month, burst: 1 });
        }
        let rate = match (stated.rate, otherwise) {
            (Some(rate), _) => {
                let parsed = parse_quota(rate.get());
                let parsed =
                    parsed.map_err(|invalid| (format!("`{path}.rate`: {}", invalid.what), invalid.next));
                self.take(&rate.span(), parsed)?
            }
            (None, Some(quota)) => (quota.count, quota.period),
            (None, None) => {
                self.error(span, format!("`{path}` has no `rate`"), "add rate = \"100/min\", say".into());
                return None;
            }
        };
        let burst = match (stated.burst, stated.rate, otherwise) {
            (Some(burst), ..) => *burst.get(),
            (None, None, Some(quota)) => quota.burst,
            (None, ..) => rate.0,
        };
        Some(Quota { algorithm, count: rate.0, period: rate.1, burst: if is_bucket { burst } else { 1 } })
    }

    /// The limits that a route names; those of them that there are.
    pub(super) fn route_limits(
        &mut self,
        raw: &RawRoute,
        all: &BTreeMap<String, At<RawLimit>>,
    ) -> Vec<String> {
        let Some(list) = &raw.limits else { return Vec::new() };
        let names: Vec<&str> = all.keys().map(String::as_str).collect();
        let mut limits: Vec<String> = Vec::new();
        for name in list.get() {
            if limits.contains(name.get()) {
                self.error(
                    &name.span(),
                    format!("`{}` is there twice", name.get()),
                    "remove one of them".into(),
                );
            } else if !names.contains(&name.get().as_str()) {
                let what = format!("there is no limit `{}`", name.get());
                let next = match names.as_slice() {
                    [] => format!("add [limits.{}] with what it is per, and its rate", name.get()),
                    names => advice(name.get(), names),
                };
                self.error(&name.span(), what, next);
            } else {
                limits.push(name.get().clone());
            }
            let asks_who = all.get(name.get()).is_some_and(|limit| asks_who(&limit.get().per.get().0));
            if asks_who && raw.authentication.is_none() && !self.partial {
                let what = format!(
                    "the limit `{}` asks who is calling, and the route does not authenticate: everybody is counted by \
                     address",
                    name.get()
                );
                self.warn(&name.span(), what);
            }
        }
        if limits.len() > LIMITS_MAX {
            let what = format!("a route has {} limits", limits.len());
            self.error(&list.span(), what, format!("leave {LIMITS_MAX} of them"));
        }
        limits
    }

    pub(super) fn limit_headers(&mut self, raw: &RawRoute) -> LimitHeaders {
        let kind = raw.limit_headers.as_ref();
        if let Some(stated) = kind.filter(|_| raw.limits.is_none() && !self.partial) {
            let what = "`limit_headers` says nothing on a route without `limits`";
            self.error(&stated.span(), what.into(), "name its limits, or remove it".into());
        }
        let (standard, older) = match kind.map(At::get) {
            None | Some(RawLimitHeaders::Standard) => (true, false),
            Some(RawLimitHeaders::Older) => (false, true),
            Some(RawLimitHeaders::Both) => (true, true),
            Some(RawLimitHeaders::None) => (false, false),
        };
        LimitHeaders { standard, older }
    }

    pub(super) fn refusal(&mut self, raw: &RawRefusal) -> Option<Arc<RefusalTemplate>> {
        let kind = match &raw.content_type {
            None => HeaderValue::from_static("application/json"),
            Some(stated) => {
                let value = HeaderValue::from_str(stated.get()).map_err(|_| {
                    let what = format!("`refusal.content_type` is not one: {}", stated.get().escape_debug());
                    (what, "write something like \"application/json\"".to_owned())
                });
                self.take(&stated.span(), value)?
            }
        };
        let template = RefusalTemplate::new(raw.body.get(), kind).map_err(|invalid| match invalid {
            InvalidTemplate::Unknown(name) => {
                let names: Vec<&str> = RefusalTemplate::names().collect();
                (format!("`refusal.body` asks for `{name}`, which a refusal does not have"), advice(&name, &names))
            }
            InvalidTemplate::NotJson(why) => (
                format!("`refusal.body`: {invalid}", invalid = InvalidTemplate::NotJson(why)),
                "put texts in quotes and leave numbers without: {\"error\":\"{code}\",\"retry_after\":{retry_after}}"
                    .to_owned(),
            ),
        });
        self.take(&raw.body.span(), template).map(Arc::new)
    }
}

/// What a limit is per.
fn per(name: &str, raw: &toml::Value) -> Finding<Vec<Per>> {
    let invalid = |what: String| Err((format!("`limits.{name}.per` {what}"), PER_NEXT.to_owned()));
    let list = match raw {
        toml::Value::Array(list) if list.is_empty() => return invalid("is empty".into()),
        toml::Value::Array(list) => list.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut per: Vec<Per> = Vec::new();
    for one in list {
        let one = match one {
            toml::Value::String(text) => one_per(name, text)?,
            toml::Value::Table(table) => {
                match (table.get("cel").and_then(toml::Value::as_str), table.len()) {
                    (Some(text), 1) => Per::Expression(expression(&format!("limits.{name}.per"), text)?),
                    _ => return invalid("is a table of something else than `cel`".into()),
                }
            }
            _ => return invalid("is neither a text nor a table".into()),
        };
        if per.contains(&one) {
            return invalid(format!("has `{one}` twice"));
        }
        per.push(one);
    }
    Ok(per)
}

/// Whether a limit is per something that only authentication tells.
fn asks_who(per: &toml::Value) -> bool {
    match per {
        toml::Value::String(text) => matches!(&**text, "principal" | "tenant" | "credential"),
        toml::Value::Array(list) => list.iter().any(asks_who),
        _ => false,
    }
}

fn one_per(name: &str, text: &str) -> Finding<Per> {
    if let Some(header) = text.strip_prefix("header:") {
        let header = HeaderName::from_bytes(header.trim().as_bytes()).map_err(|_| {
            let what =
                format!("`limits.{name}.per`: `{}` is not the name of a header", header.escape_debug());
            (what, "write something like \"header:X-Tenant\"".to_owned())
        })?;
        return Ok(Per::Header(header));
    }
    let known = PER.iter().find(|(known, _)| *known == text);
    known.map(|(_, per)| per.clone()).ok_or_else(|| {
        let names: Vec<&str> = PER.iter().map(|(name, _)| *name).collect();
        let what = format!("`limits.{name}.per` cannot be \"{}\"", text.escape_debug());
        let next = super::super::suggest::nearest(text, names.iter().copied());
        (what, next.map_or_else(|| PER_NEXT.to_owned(), |meant| format!("did you mean \"{meant}\"?")))
    })
}

fn expression(path: &str, text: &str) -> Finding<Expression> {
    if text.chars().count() > EXPRESSION_CHARS_MAX {
        let what = format!("`{path}` is longer than {EXPRESSION_CHARS_MAX} characters");
        return Err((what, "write a shorter one".into()));
    }
    Expression::new(text, &LIMIT_VARIABLES).map_err(|invalid| match invalid {
        InvalidExpression::Syntax(told) => (
            format!("`{path}` is no CEL: {told}"),
            "write something like 'headers[\"x-tenant\"]' or 'path.startsWith(\"/export\") ? 10 : 1'"
                .to_owned(),
        ),
        InvalidExpression::Unknown(unknown) => (
            format!("`{path}` asks about `{unknown}`, which there is not"),
            format!("ask about {}", listed(&LIMIT_VARIABLES)),
        ),
    })
}

fn cost(name: &str, raw: &RawCost) -> Finding<Cost> {
    match &raw.0 {
        toml::Value::Integer(cost) => match u64::try_from(*cost).ok().filter(|cost| *cost <= COST_MAX) {
            Some(cost) => Ok(Cost::Constant(cost)),
            None => Err((
                format!("`limits.{name}.cost` is out of bounds"),
                format!("choose a number from 0 to {COST_MAX}"),
            )),
        },
        toml::Value::String(text) => Ok(Cost::Expression(expression(&format!("limits.{name}.cost"), text)?)),
        _ => Err((
            format!("`limits.{name}.cost` is neither a number nor an expression"),
            "write a whole number, or an expression in quotes: 'method == \"GET\" ? 1 : 5'".into(),
        )),
    }
}

fn cost_from_answer(name: &str, text: &str) -> Finding<CostFromAnswer> {
    if text == "bytes" {
        return Ok(CostFromAnswer::Bytes);
    }
    let header =
        text.strip_prefix("header:").and_then(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok());
    header.map(CostFromAnswer::Header).ok_or_else(|| {
        let what = format!("`limits.{name}.cost_from_answer` cannot be \"{}\"", text.escape_debug());
        (what, "write \"bytes\" or \"header:X-Tokens-Used\"".into())
    })
}
