//! One dead letter with all that a person needs to decide what becomes of it.

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use steadfast_core::{Rerun, StateName, rerun};
use steadfast_ledger::{KeptRequest, KeptWork, OperationRecord};

use super::{found, kept};
use crate::{
    api::{KeptRequestView, LetterDetail},
    instant::rfc3339,
    operations::parse_id,
    parameters::{bad_query, flag},
    problem::Problem,
    router::AdminParts,
    view,
};

/// How much of a body is shown where it is not asked for as a whole, in bytes.
const BODY_EXCERPT_BYTES: usize = 1_024;

/// What is shown in place of a secret.
const MASK: &str = "***";

/// Names, or parts of names, of header fields whose values are secrets.
const SECRETS: [&str; 9] =
    ["authorization", "cookie", "token", "secret", "password", "passwd", "api-key", "apikey", "signature"];

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShowQuery {
    #[serde(default, deserialize_with = "flag")]
    body: bool,
}

pub(crate) async fn show(
    State(parts): State<AdminParts>,
    Path(id): Path<String>,
    query: Result<Query<ShowQuery>, QueryRejection>,
) -> Result<Json<LetterDetail>, Problem> {
    let Query(query) = query.map_err(|rejection| {
        bad_query(&rejection, "Ask with body=true for the request's whole body, or with nothing.")
    })?;
    let id = parse_id(&id)?;
    let record = found(&parts, id).await?;
    let work = kept(&parts, &record).await?;
    let attempts = parts.ledger.attempts(id).await?;
    if query.body {
        tracing::info!(target: "audit", action = "read_request", operation = %id, "a request's body was read");
    }
    Ok(Json(LetterDetail {
        operation: view::operation(&record),
        request: request_view(&work.request, query.body),
        attempts: attempts.iter().map(view::attempt).collect(),
        tries: work.stamina.tries,
        tries_max: work.stamina.tries_max,
        give_up_at: rfc3339(work.stamina.give_up_at),
        ordered: work.lane.is_some(),
        redrive_refused: redrive_refused(&parts, &record, &work).await?,
    }))
}

/// Why it cannot be sent round again, in words; `None` where it can.
async fn redrive_refused(
    parts: &AdminParts,
    record: &OperationRecord,
    work: &KeptWork,
) -> Result<Option<String>, Problem> {
    if record.state != StateName::Dead {
        return Ok(Some(format!("it is {}, not dead", record.state.as_str())));
    }
    let Some(chance) = parts.control.chance(&record.route) else {
        return Ok(Some(format!(
            "its route `{}` is gone, or lets nothing happen in the background",
            record.route
        )));
    };
    let now = parts.ledger.now().await?;
    let may = rerun(work.first_sent, now, work.repeatable_for, chance.repeatable_for);
    if record.doubtful && may == Rerun::Forbidden {
        let why = "nobody knows whether it took effect, and its upstream may not be asked again: settle it";
        return Ok(Some(why.to_owned()));
    }
    Ok(None)
}

/// The request, without what looks like a secret.
fn request_view(request: &KeptRequest, whole: bool) -> KeptRequestView {
    let shown = if whole { request.body.len() } else { request.body.len().min(BODY_EXCERPT_BYTES) };
    let (body, body_base64) = match text(&request.body[..shown], shown < request.body.len()) {
        Some(text) => (Some(text.to_owned()), None),
        None => (None, whole.then(|| BASE64_STANDARD.encode(&request.body))),
    };
    let headers = request.headers.iter().map(|(name, value)| {
        let value =
            if is_secret(name) { MASK.to_owned() } else { String::from_utf8_lossy(&value).into_owned() };
        (name.to_owned(), value)
    });
    KeptRequestView {
        // What cannot be decrypted is told as nothing.
        target: Some(request.target.to_string()).filter(|target| !target.is_empty()),
        headers: headers.collect(),
        body_bytes: request.body.len() as u64,
        body_is_whole: shown == request.body.len() && (body.is_some() || body_base64.is_some()),
        body,
        body_base64,
    }
}

/// The bytes as text, if they are; where they are cut off, without the piece of a character at their end.
fn text(bytes: &[u8], is_cut: bool) -> Option<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) if is_cut && error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRETS.iter().any(|secret| name.contains(secret))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn request(body: &'static [u8]) -> KeptRequest {
        let headers = [("Authorization", "Bearer abc"), ("x-api-key", "k"), ("content-type", "text/plain")];
        KeptRequest {
            target: "/pay?x=1".into(),
            headers: headers.into_iter().collect(),
            body: Bytes::from_static(body),
        }
    }

    #[test]
    fn secrets_are_masked_and_everything_else_is_shown() {
        let view = request_view(&request(b"buy"), false);
        let values: Vec<_> = view.headers.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, ["***", "***", "text/plain"]);
        assert_eq!((view.target.as_deref(), view.body.as_deref()), (Some("/pay?x=1"), Some("buy")));
        assert!(view.body_is_whole);
    }

    #[test]
    fn a_long_body_is_cut_between_characters_unless_it_is_asked_for() {
        let long: &'static str = Box::leak(format!("x{}", "ä".repeat(1_000)).into_boxed_str());
        let view = request_view(&request(long.as_bytes()), false);
        assert_eq!(view.body.as_ref().map(String::len), Some(BODY_EXCERPT_BYTES - 1));
        assert_eq!((view.body_is_whole, view.body_bytes), (false, 2_001));
        let view = request_view(&request(long.as_bytes()), true);
        assert_eq!((view.body.as_deref(), view.body_is_whole), (Some(long), true));
    }

    #[test]
    fn what_is_no_text_comes_in_base_64_where_it_is_asked_for() {
        let view = request_view(&request(b"\xff\x00"), false);
        assert_eq!((&view.body, &view.body_base64, view.body_is_whole), (&None, &None, false));
        let view = request_view(&request(b"\xff\x00"), true);
        assert_eq!((view.body_base64.as_deref(), view.body_is_whole), (Some("/wA="), true));
    }
}
