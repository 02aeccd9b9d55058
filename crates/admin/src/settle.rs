//! Settling what is in doubt, by hand: checked whole before anything is written, and written down by name.

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderName, HeaderValue, StatusCode},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use steadfast_core::{
    Answer, Doubt, Event, Fence, HeaderFields, OperationId, Refused, State as LifeState, StateName,
    transition,
};
use steadfast_ledger::{OperationRecord, SettleError, Settlement, Verdict};

use crate::{
    api::{SettleAnswer, SettleRequest, SettledView},
    operations::parse_id,
    parameters::read_json,
    problem::Problem,
    router::AdminParts,
};

/// The longest body of a settlement, which may hold an answer.
const BODY_BYTES_MAX: usize = 1 << 20;
pub(crate) const REASON_CHARS_MAX: usize = 2_000;
pub(crate) const BY_CHARS_MAX: usize = 200;
const ANSWER_HEADERS_MAX: usize = 100;

/// Header fields that say how one message travelled, or that replays never repeat.
const NOT_REPLAYED: [&str; 11] = [
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

const EXPECTED: &str = "Send {\"happened\": true or false, \"reason\": \"…\", \"by\": \"…\"}, with \"answer\" where it \
                        is known and \"dry_run\": true to see what would become of it.";

pub(crate) async fn settle(
    State(parts): State<AdminParts>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<SettledView>, Problem> {
    let id = parse_id(&id)?;
    let request: SettleRequest = read_json(body, BODY_BYTES_MAX, EXPECTED).await?;
    let dry_run = request.dry_run;
    let settlement = settlement(request)?;
    let state = if dry_run {
        let record = parts.ledger.operation(id).await?;
        let record = record.ok_or_else(|| Problem::no_such_operation(&id.to_string()))?;
        planned(&record, &settlement.verdict).map_err(refused)?
    } else {
        write(&parts, id, settlement).await?
    };
    Ok(Json(SettledView { id: id.to_string(), state: state.as_str().to_owned(), dry_run }))
}

/// Settles it, and leaves word in the audit log whether or not it could be done.
async fn write(parts: &AdminParts, id: OperationId, settlement: Settlement) -> Result<StateName, Problem> {
    let happened = matches!(settlement.verdict, Verdict::Happened(_));
    let answer_status = match &settlement.verdict {
        Verdict::Happened(Some(answer)) => Some(answer.status),
        Verdict::Happened(None) | Verdict::DidNotHappen => None,
    };
    let (by, reason) = (settlement.by.clone(), settlement.reason.clone());
    let settled = parts.ledger.settle(id, settlement).await;
    let result = match &settled {
        Ok(settled) => settled.state.as_str().to_owned(),
        Err(error) => format!("refused: {error}"),
    };
    tracing::info!(
        target: "audit",
        action = "settle",
        operation = %id,
        happened,
        answer_status,
        by = &*by,
        reason = &*reason,
        result,
        "a settlement was asked for"
    );
    match settled {
        Ok(settled) => Ok(settled.state),
        Err(SettleError::NotFound) => Err(Problem::no_such_operation(&id.to_string())),
        Err(SettleError::Refused(refusal)) => Err(refused(refusal)),
        Err(SettleError::Ledger(error)) => Err(error.into()),
    }
}

fn refused(refusal: Refused) -> Problem {
    let next_step = match refusal {
        Refused::InProgress => "Wait until its attempt has ended; then look at it again.",
        Refused::Finished(_) => "There is nothing to settle: its outcome is known. Look at it again.",
        Refused::StaleFence | Refused::InDoubt | Refused::NoSuchTransition { .. } => {
            "Only what is in doubt, or dead, can be settled. Look at it again."
        }
    };
    Problem::new(
        StatusCode::CONFLICT,
        "settlement-refused",
        format!("It was not settled: {refusal}."),
        next_step,
    )
}

/// The state that a settlement would lead to.
fn planned(record: &OperationRecord, verdict: &Verdict) -> Result<StateName, Refused> {
    let doubt = if record.doubtful { Doubt::Standing } else { Doubt::None };
    let (mode, fence) = (record.mode, Fence::from_bytes([0; 16]));
    let state = match record.state {
        StateName::Absent => LifeState::Absent,
        StateName::Queued => LifeState::Queued { doubt },
        StateName::Claimed => LifeState::Claimed { mode, fence, doubt },
        StateName::Waiting => LifeState::Waiting { doubt },
        StateName::InDoubt => LifeState::InDoubt { mode },
        StateName::Completed => LifeState::Completed { answer: None },
        StateName::Released => LifeState::Released,
        StateName::Dead => LifeState::Dead { doubt },
        StateName::Cancelled => LifeState::Cancelled,
        StateName::Tombstone => LifeState::Tombstone,
    };
    let event = match verdict {
        Verdict::Happened(answer) => Event::SettleHappened { answer: answer.as_ref().map(Answer::digest) },
        Verdict::DidNotHappen => Event::SettleDidNotHappen,
    };
    transition(state, event).map(|transition| transition.state.name())
}

/// Checks what was sent, and reads it into what the ledger takes.
fn settlement(request: SettleRequest) -> Result<Settlement, Problem> {
    let SettleRequest { happened, reason, by, answer, dry_run: _ } = request;
    let reason =
        stated("reason", &reason, REASON_CHARS_MAX, "Say how you know: what you looked up, and where.")?;
    let by = stated("by", &by, BY_CHARS_MAX, "Say who you are: your name, or your account's.")?;
    let verdict = match (happened, answer) {
        (true, answer) => Verdict::Happened(answer.map(read_answer).transpose()?),
        (false, None) => Verdict::DidNotHappen,
        (false, Some(_)) => {
            return Err(Problem::bad_request(
                "What did not happen has no answer.",
                "Leave the answer out, or say that it happened.",
            ));
        }
    };
    Ok(Settlement { verdict, by, reason })
}

/// A text that somebody must have stated.
pub(crate) fn stated(
    field: &str,
    text: &str,
    chars_max: usize,
    next_step: &str,
) -> Result<Box<str>, Problem> {
    let text = text.trim();
    let chars = text.chars().count();
    if chars == 0 || chars > chars_max || text.chars().any(|char| char.is_control() && char != '\n') {
        return Err(Problem::bad_request(
            format!("`{field}` must have 1 to {chars_max} characters, and no control characters."),
            next_step,
        ));
    }
    Ok(text.into())
}

fn read_answer(answer: SettleAnswer) -> Result<Answer, Problem> {
    let SettleAnswer { status, headers, body, body_base64 } = answer;
    if !(200..=599).contains(&status) {
        return Err(bad_answer(format!("{status} is not the status of a final answer: 200 to 599 are.")));
    }
    if headers.len() > ANSWER_HEADERS_MAX {
        return Err(bad_answer(format!("It has more than {ANSWER_HEADERS_MAX} header fields.")));
    }
    let headers = headers.iter().map(|(name, value)| read_header(name, value));
    let headers = headers.collect::<Result<HeaderFields, _>>()?;
    let body = match (body, body_base64) {
        (Some(_), Some(_)) => return Err(bad_answer("It has both a `body` and a `body_base64`.".to_owned())),
        (Some(text), None) => Bytes::from(text),
        (None, Some(text)) => {
            let decoded = BASE64_STANDARD.decode(text);
            Bytes::from(
                decoded.map_err(|error| bad_answer(format!("`body_base64` is not base 64: {error}.")))?,
            )
        }
        (None, None) => Bytes::new(),
    };
    if matches!(status, 204 | 205 | 304) && !body.is_empty() {
        return Err(bad_answer(format!("An answer with status {status} has no body.")));
    }
    Ok(Answer { status, headers, body: Some(body) })
}

fn read_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Problem> {
    let shown: String = name.chars().take(64).collect();
    let name = HeaderName::from_bytes(name.as_bytes());
    let name = name.map_err(|_| bad_answer(format!("`{shown}` is not a header field's name.")))?;
    if NOT_REPLAYED.contains(&name.as_str()) {
        return Err(bad_answer(format!("Replays do not repeat `{shown}`.")));
    }
    let value = HeaderValue::from_str(value).map_err(|_| {
        bad_answer(format!("The value of `{shown}` is not one that a header field can have."))
    })?;
    Ok((name, value))
}

fn bad_answer(found: String) -> Problem {
    Problem::bad_request(
        format!("The answer cannot be replayed as it is. {found}"),
        "Send the answer as the caller should see it, or leave it out where it is not known.",
    )
}
