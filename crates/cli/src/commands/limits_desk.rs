//! The limits of a running gateway, as its admin API shows and changes them.

use std::time::Duration;

use steadfast_admin::{
    LimitsRefused,
    api::{
        LimitCountView, LimitCountsQuery, LimitRaiseRequest, LimitView, LimitsView, RaisedView, RefusedView,
    },
};
use steadfast_core::{LimitAlgorithm, LimitDecision};
use steadfast_gateway::{LimitReport, LimitsDesk, NoSuchSubject, RefusedSubject, Standing};

pub(crate) fn list(desk: &LimitsDesk) -> LimitsView {
    let raised = desk.raised().into_iter().map(|(raise, left)| RaisedView {
        subject: raise.subject.to_string(),
        limit: raise.limit.map(|limit| limit.to_string()),
        factor: raise.factor,
        left_seconds: rounded(left),
        reason: raise.reason.to_string(),
        by: raise.by.to_string(),
    });
    LimitsView { limits: desk.list().into_iter().map(limit).collect(), raised: raised.collect() }
}

fn limit(report: LimitReport) -> LimitView {
    let quota = report.quota;
    let is_bucket = matches!(quota.algorithm, LimitAlgorithm::TokenBucket | LimitAlgorithm::LeakyBucket);
    let is_places = quota.algorithm == LimitAlgorithm::Concurrency;
    LimitView {
        name: report.name.to_string(),
        per: report.per,
        algorithm: match quota.algorithm {
            LimitAlgorithm::TokenBucket => "token_bucket",
            LimitAlgorithm::LeakyBucket => "leaky_bucket",
            LimitAlgorithm::FixedWindow => "fixed_window",
            LimitAlgorithm::SlidingWindow => "sliding_window",
            LimitAlgorithm::Concurrency => "concurrency",
        }
        .to_owned(),
        limit: quota.count,
        period_seconds: (!is_places).then(|| rounded(quota.period.length())),
        burst: is_bucket.then_some(quota.burst),
        mode: match report.enforced_percent {
            0 => "shadow".to_owned(),
            100.. => "enforce".to_owned(),
            percent => format!("{percent}%"),
        },
        tracked: report.tracked,
        allowed: report.allowed,
        refused: report.refused,
        would_refuse: report.would_refuse,
        most_refused: report.most_refused.into_iter().map(refused_subject).collect(),
    }
}

fn refused_subject(RefusedSubject { subject, refused, would_refuse }: RefusedSubject) -> RefusedView {
    RefusedView { subject: subject.into(), refused, would_refuse }
}

pub(crate) async fn counts(
    desk: &LimitsDesk,
    whose: &LimitCountsQuery,
    reset: bool,
) -> Result<Vec<LimitCountView>, LimitsRefused> {
    let LimitCountsQuery { subject, limit, plan } = whose;
    let found = desk.standings(subject, limit.as_deref(), plan.as_deref(), reset).await.map_err(refused)?;
    Ok(found.into_iter().map(count).collect())
}

fn count(Standing { limit, key, decision }: Standing) -> LimitCountView {
    let (remaining, retry_after, reset) = match decision {
        LimitDecision::Allowed { remaining, reset, wait } => {
            // It was asked whether one could go, and none went.
            (remaining + 1, wait, Some(reset))
        }
        LimitDecision::Refused { remaining, after } => (remaining, after.unwrap_or_default(), None),
    };
    LimitCountView {
        limit: limit.to_string(),
        count: format!("{:032x}", key.digest()),
        remaining,
        retry_after_seconds: rounded(retry_after),
        reset_seconds: reset.map(rounded),
    }
}

/// Raises limits, or takes that back.
pub(crate) fn raise(
    desk: &LimitsDesk,
    order: &LimitRaiseRequest,
    time: Duration,
) -> Result<usize, LimitsRefused> {
    let LimitRaiseRequest { subject, limit, factor, reason, by, .. } = order;
    if *factor == 1.0 {
        return Ok(desk.lower(subject, limit.as_deref()));
    }
    desk.raise(subject, limit.as_deref(), *factor, time, [reason, by]).map_err(refused)?;
    Ok(1)
}

fn refused(refused: NoSuchSubject) -> LimitsRefused {
    match refused {
        NoSuchSubject::NoSuchLimit => LimitsRefused::NoSuchLimit,
        NoSuchSubject::TooMany => LimitsRefused::TooMany,
        NoSuchSubject::Lost(why) => LimitsRefused::Lost(why),
    }
}

/// In seconds, to three places.
fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e3).round() / 1e3
}
