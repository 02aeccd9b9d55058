//! How the ledger's records look in JSON.

use base64::{Engine, prelude::BASE64_STANDARD};
use steadfast_core::{Answer, Mode};
use steadfast_ledger::{AttemptRecord, Counts, OperationRecord, SettlementRecord};

use crate::{
    api::{AnswerView, AttemptView, CountsView, OperationView, SettlementView},
    instant::rfc3339,
};

/// One operation, as lists show it.
pub(crate) fn operation(record: &OperationRecord) -> OperationView {
    let mode = match record.mode {
        Mode::Synchronous => "synchronous",
        Mode::Asynchronous => "asynchronous",
    };
    OperationView {
        id: record.id.to_string(),
        state: record.state.as_str().to_owned(),
        doubtful: record.doubtful,
        mode: mode.to_owned(),
        namespace: record.name.namespace().as_str().to_owned(),
        key: record.name.key().as_str().to_owned(),
        principal: record.owner.principal.as_ref().map(|principal| principal.as_str().to_owned()),
        credential: record
            .owner
            .credential
            .map(|digest| format!("{:032x}", u128::from_be_bytes(*digest.as_bytes()))),
        route: record.route.to_string(),
        method: record.method.to_string(),
        path: record.path.to_string(),
        fingerprint: format!("{:032x}", u128::from_be_bytes(*record.fingerprint.as_bytes())),
        attempt_count: record.attempts,
        created_at: rfc3339(record.created_at),
        changed_at: rfc3339(record.changed_at),
        expires_at: record.expires_at.map(rfc3339),
        answer_status: record.answer_status,
        cases_open: record.cases_open,
        settlement: record.settlement.as_ref().map(settlement),
    }
}

/// One attempt.
pub(crate) fn attempt(record: &AttemptRecord) -> AttemptView {
    AttemptView {
        number: record.number,
        fence: record.fence.to_string(),
        began_at: rfc3339(record.began_at),
        ended_at: record.ended_at.map(rfc3339),
        end: record.end.as_deref().map(str::to_owned),
        cause: record.cause.as_deref().map(str::to_owned),
        status: record.status,
        evidence: record.evidence,
        request_id: record.request_id.as_deref().map(str::to_owned),
        excerpt: record.excerpt.as_deref().map(str::to_owned),
    }
}

/// A stored answer; its body only where `with_body` says so.
pub(crate) fn answer(answer: &Answer, with_body: bool) -> AnswerView {
    let headers = answer.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_owned(), String::from_utf8_lossy(&value).into()));
    let (body, body_base64) = match answer.body.as_deref().filter(|_| with_body).map(std::str::from_utf8) {
        None => (None, None),
        Some(Ok(text)) => (Some(text.to_owned()), None),
        Some(Err(_)) => (None, answer.body.as_ref().map(|body| BASE64_STANDARD.encode(body))),
    };
    AnswerView {
        status: answer.status,
        headers: headers.collect(),
        body_bytes: answer.body.as_ref().map(|body| body.len() as u64),
        body,
        body_base64,
    }
}

/// How many operations need attention.
pub(crate) fn counts(counts: Counts) -> CountsView {
    let Counts { claimed, in_doubt, dead, cases_open } = counts;
    CountsView { claimed, in_doubt, dead, cases_open }
}

fn settlement(record: &SettlementRecord) -> SettlementView {
    SettlementView {
        happened: record.happened,
        by: record.by.to_string(),
        reason: record.reason.to_string(),
        at: rfc3339(record.at),
    }
}
