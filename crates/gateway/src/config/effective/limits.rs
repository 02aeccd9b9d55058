//! Limits, as a config says them.

use std::collections::BTreeMap;

use steadfast_core::{LimitAlgorithm, Quota};
use steadfast_layers::{
    Cost, CostFromAnswer, ENFORCED_ON_ALL, LimitHeaders, LimitPolicy, Per, RefusalTemplate,
};
use toml::{Table, Value};

use super::{
    super::{
        quota::write_quota,
        raw::{
            At, Percent, RawAlgorithm, RawCost, RawLimit, RawLimitHeaders, RawMode, RawPer, RawPlan,
            RawRefusal,
        },
    },
    plain, some,
};

pub(super) fn limits(limits: &BTreeMap<String, LimitPolicy>) -> BTreeMap<String, At<RawLimit>> {
    limits.iter().map(|(name, policy)| (name.clone(), At::nowhere(limit(policy)))).collect()
}

fn limit(policy: &LimitPolicy) -> RawLimit {
    let per: Vec<Value> = policy.per.iter().map(one_per).collect();
    let per = match <[Value; 1]>::try_from(per) {
        Ok([one]) => one,
        Err(several) => Value::Array(several),
    };
    let plan = |(name, quota): &(Box<str>, Quota)| {
        let (rate, burst, max) = stated(quota);
        (name.to_string(), At::nowhere(RawPlan { rate, burst, max }))
    };
    let (rate, burst, max) = stated(&policy.quota);
    let is_shadow = policy.enforced == 0;
    let cost = match &policy.cost {
        Cost::Constant(cost) => Value::Integer(i64::try_from(*cost).unwrap_or(i64::MAX)),
        Cost::Expression(expression) => Value::String(plain(expression.text())),
    };
    RawLimit {
        per: At::nowhere(RawPer(per)),
        algorithm: some(match policy.quota.algorithm {
            LimitAlgorithm::TokenBucket => RawAlgorithm::TokenBucket,
            LimitAlgorithm::LeakyBucket => RawAlgorithm::LeakyBucket,
            LimitAlgorithm::FixedWindow => RawAlgorithm::FixedWindow,
            LimitAlgorithm::SlidingWindow => RawAlgorithm::SlidingWindow,
            LimitAlgorithm::Concurrency => RawAlgorithm::Concurrency,
        }),
        rate,
        burst,
        max,
        cost: if policy.quota.algorithm == LimitAlgorithm::Concurrency { None } else { some(RawCost(cost)) },
        cost_from_answer: policy.cost_from_answer.as_ref().and_then(|cost| {
            some(match cost {
                CostFromAnswer::Bytes => "bytes".to_owned(),
                CostFromAnswer::Header(name) => format!("header:{name}"),
            })
        }),
        plans: policy.plans.iter().map(plan).collect(),
        mode: some(RawMode::of(is_shadow)),
        // Hundredths were rounded down to what a limit counts them in.
        enforce: if is_shadow {
            None
        } else {
            some(Percent((policy.enforced * 100).div_ceil(ENFORCED_ON_ALL)))
        },
    }
}

type Stated = (Option<At<String>>, Option<At<u64>>, Option<At<u64>>);

/// The rate, the burst and the most at once, as far as the algorithm goes by them.
fn stated(quota: &Quota) -> Stated {
    let rate = || some(write_quota(quota.count, quota.period));
    match quota.algorithm {
        LimitAlgorithm::TokenBucket | LimitAlgorithm::LeakyBucket => (rate(), some(quota.burst), None),
        LimitAlgorithm::FixedWindow | LimitAlgorithm::SlidingWindow => (rate(), None, None),
        LimitAlgorithm::Concurrency => (None, None, some(quota.count)),
    }
}

fn one_per(per: &Per) -> Value {
    match per {
        Per::Expression(expression) => {
            Value::Table(Table::from_iter([("cel".to_owned(), Value::String(plain(expression.text())))]))
        }
        other => Value::String(other.to_string()),
    }
}

pub(super) fn headers(headers: LimitHeaders) -> RawLimitHeaders {
    match (headers.standard, headers.older) {
        (true, false) => RawLimitHeaders::Standard,
        (false, true) => RawLimitHeaders::Older,
        (true, true) => RawLimitHeaders::Both,
        (false, false) => RawLimitHeaders::None,
    }
}

pub(super) fn refusal(template: &RefusalTemplate) -> RawRefusal {
    // It was a text of the config before it was a header's value.
    let kind = String::from_utf8_lossy(template.content_type().as_bytes()).into_owned();
    RawRefusal { body: At::nowhere(plain(&template.body())), content_type: some(plain(&kind)) }
}
