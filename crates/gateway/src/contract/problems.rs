//! Which refusals the gateway may answer on a route, by status.

use std::collections::BTreeMap;

use http::Method;
use steadfast_core::{Code, Lifecycle};
use steadfast_layers::{BackgroundMode, InProgress, KeySource, OnLedgerLoss};

use super::RouteContract;

/// The refusals for requests with `method`, by the status that each has here.
pub(super) fn problems(contract: &RouteContract<'_>, method: &Method) -> BTreeMap<u16, Vec<Code>> {
    let RouteContract { route, upstream, edge, abuse, .. } = contract;
    let mut found: Vec<(u16, Code)> = Vec::new();
    let mut add = |code: Code| found.push((code.status(), code));
    for code in [Code::TargetUnclear, Code::BodyInvalid, Code::UpstreamUnavailable, Code::DeadlineExceeded] {
        add(code);
    }
    // By hand anybody may be banned at any time.
    add(Code::Banned);
    if route.authentication.is_some() && abuse.baseline.as_ref().is_some_and(|rule| !rule.is_shadow) {
        add(Code::AbnormalUsageDetected);
    }
    let circuit = upstream.policy.circuit.as_ref().filter(|circuit| !circuit.is_shadow);
    let is_bounded = upstream.concurrency.as_ref().is_some_and(|policy| !policy.is_shadow);
    if circuit.is_some() {
        add(Code::CircuitOpen);
    }
    // A limit that nodes share may refuse while its store is lost.
    let has_shared_limit = contract.limits().any(|limit| limit.is_shared);
    if is_bounded || has_shared_limit || upstream.courtesy.is_some() || contract.keyed(method).is_some() {
        add(Code::TemporaryReducedCapacity);
    }
    if edge.body_bytes_max.is_some() || contract.keyed(method).is_some() {
        add(Code::BodyTooLarge);
    }
    if let Some(policy) = &route.authentication {
        add(Code::Unauthenticated);
        add(Code::AuthenticationUnavailable);
        if !policy.scopes.is_empty() || !policy.attributes.is_empty() {
            add(Code::Forbidden);
        }
    }
    if contract.limits().next().is_some() {
        add(Code::QuotaExceeded);
    }
    if route.cache.is_some() && [Method::GET, Method::HEAD].contains(method) {
        add(Code::NotCached);
    }
    if contract.requires_precondition(method) {
        add(Code::PreconditionRequired);
    }
    if let Some(policy) = contract.keyed(method) {
        for code in [Code::IdempotencyKeyInvalid, Code::ReplayUnavailable, Code::OutcomeInDoubt] {
            add(code);
        }
        add(Code::IdempotencyKeyReused);
        // Within a window, a request without a key is known by what it says.
        if policy.required && !matches!(policy.key, KeySource::Window(_)) {
            add(Code::IdempotencyKeyMissing);
        }
        add(Code::ReplayWithheld);
        if !policy.anonymous {
            add(Code::Unauthenticated);
        }
        if policy.retention.tombstone.is_some() {
            add(Code::KeyExpired);
        }
        if policy.on_ledger_loss == OnLedgerLoss::Refuse {
            add(Code::LedgerUnavailable);
        }
    }
    let background = contract.background(method);
    if background.is_some() {
        for code in [Code::BackgroundHeaderInvalid, Code::OperationDead, Code::OperationCancelled] {
            add(code);
        }
    }
    let is_always = background.is_some_and(|policy| policy.mode == BackgroundMode::Always);
    if !is_always && contract.keyed(method).is_none_or(|policy| !policy.required) {
        // By a broken connection, or after a time.
        found.extend(
            [Code::UpstreamAnswerLost.status(), 504].map(|status| (status, Code::UpstreamAnswerLost)),
        );
    }
    if let Some(policy) = contract.keyed(method) {
        // The first caller is told so in place of the answer that was lost.
        found.extend([(502, Code::OutcomeInDoubt), (504, Code::OutcomeInDoubt)]);
        let status = match policy.in_progress {
            InProgress::Wait(_) | InProgress::Conflict => 409,
            InProgress::TooManyRequests => 429,
            InProgress::Accepted => 202,
        };
        // A 202 is no refusal, and has no problem.
        if status != 202 {
            found.push((status, Code::OperationInProgress));
        }
    }
    if let Some(policy) = &route.lifecycle {
        let Lifecycle { gone, brownouts, .. } = &policy.lifecycle;
        if !brownouts.is_empty() {
            found.push((policy.brownout_status, Code::Brownout));
        }
        if *gone {
            found.push((Code::VersionGone.status(), Code::VersionGone));
        }
    }
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for (status, code) in found {
        by_status.entry(status).or_default().push(code);
    }
    for codes in by_status.values_mut() {
        codes.sort_by_key(|code| code.as_str());
        codes.dedup();
    }
    by_status
}
