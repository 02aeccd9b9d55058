//! Editing a dead letter: what comes of it is another operation, with a key of its own, for what is sent is no longer what was
//! asked. Its key is made of the original's id and of what is sent, so that who edits twice in the same way, because an answer
//! was lost, has made one operation.

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderName, HeaderValue, StatusCode},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use steadfast_core::{FingerprintBuilder, HeaderFields, Key, OperationId, StateName};
use steadfast_ledger::{Enqueued, KeptRequest, OperationName, OperationRecord};

use super::{by_hand, found, kept, no_route, refused, require_dead};
use crate::{
    api::{EditLetterRequest, EditedView},
    control::{EditRefused, EditedLetter},
    operations::parse_id,
    parameters::read_json,
    problem::Problem,
    router::AdminParts,
};

/// The longest body of an order, which holds a request's.
const BODY_BYTES_MAX: usize = 24 << 20;

const HEADERS_MAX: usize = 100;

/// Header fields that say how one message travels, or that the gateway writes itself.
const NOT_KEPT: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "idempotency-key",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];

const EXPECTED: &str = "Send one of \"body\" and \"body_base64\", or \"headers\": [[\"name\", \"value\"]], or \
                        \"remove_headers\": [\"name\"]; with \"reason\", \"by\", and \"purge\": true to remove the original.";

pub(crate) async fn edit(
    State(parts): State<AdminParts>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<EditedView>, Problem> {
    let id = parse_id(&id)?;
    let order: EditLetterRequest = read_json(body, BODY_BYTES_MAX, EXPECTED).await?;
    let (reason, by) = by_hand(&order.reason, &order.by)?;
    let record = found(&parts, id).await?;
    require_dead(&record)?;
    require_no_doubt(&record)?;
    let work = kept(&parts, &record).await?;
    let lane = work.lane;
    let request = edited(work.request, &order)?;
    let name = OperationName::new(record.name.namespace().clone(), new_key(id, &record, &request)?);
    let key = name.key().as_str().to_owned();
    let letter = EditedLetter {
        name,
        owner: record.owner.clone(),
        route: record.route.clone(),
        method: record.method.clone(),
        request,
        lane,
    };
    let work = parts.control.edited(letter).map_err(|refusal| not_edited(&refusal, &record))?;
    let enqueued = parts.ledger.enqueue(work).await;
    let (made, result) = match &enqueued {
        Ok(Enqueued::Accepted { operation, .. }) => (Some(*operation), format!("{operation} was made")),
        Ok(Enqueued::Occupied(standing)) => {
            (Some(standing.operation), format!("{} was made before", standing.operation))
        }
        Err(error) => (None, format!("failed: {error}")),
    };
    tracing::info!(
        target: "audit",
        action = "edit_dead_letter",
        operation = %id,
        purge = order.purge,
        by = &*by,
        reason = &*reason,
        result,
        "a dead letter was to be edited"
    );
    enqueued?;
    let made = made.unwrap_or(id);
    let mut original_state = StateName::Dead;
    if order.purge {
        original_state = parts.ledger.purge(id).await.map_err(|error| refused(error, id))?;
    }
    let state = parts.ledger.operation(made).await?.map_or(StateName::Absent, |record| record.state);
    let waits = lane.is_some() && !order.purge;
    Ok(Json(EditedView {
        id: made.to_string(),
        key,
        state: state.as_str().to_owned(),
        original: id.to_string(),
        original_state: original_state.as_str().to_owned(),
        note: waits.then(|| {
            "It stands behind the original in its order: where trouble blocks that, purge the original."
                .to_owned()
        }),
    }))
}

/// What is in doubt may have taken effect: to send something like it under another key might do so twice.
fn require_no_doubt(record: &OperationRecord) -> Result<(), Problem> {
    if !record.doubtful {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::CONFLICT,
        "letter-in-doubt",
        format!("{} was not edited: nobody knows whether it took effect.", record.id),
        "Find out, and settle it: steadfast dead-letters settle. What did not happen can be edited then.",
    ))
}

/// The request as it is from now on.
fn edited(request: KeptRequest, order: &EditLetterRequest) -> Result<KeptRequest, Problem> {
    if request.target.is_empty() {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "request-unreadable",
            "Its request cannot be decrypted.",
            "Put the key back with which it was encrypted, and reload.",
        ));
    }
    let body = match (&order.body, &order.body_base64) {
        (Some(_), Some(_)) => return Err(bad("It has both a `body` and a `body_base64`.")),
        (Some(text), None) => Bytes::from(text.clone()),
        (None, Some(text)) => {
            let decoded = BASE64_STANDARD.decode(text);
            Bytes::from(decoded.map_err(|error| bad(format!("`body_base64` is not base 64: {error}.")))?)
        }
        (None, None) => request.body.clone(),
    };
    if order.headers.len() + order.remove_headers.len() > HEADERS_MAX {
        return Err(bad(format!("It changes more than {HEADERS_MAX} header fields.")));
    }
    let new: Vec<_> =
        order.headers.iter().map(|(name, value)| field(name, value)).collect::<Result<_, _>>()?;
    let gone: Vec<_> = order.remove_headers.iter().map(|name| header_name(name)).collect::<Result<_, _>>()?;
    let stays = |name: &str| {
        let is = |other: &HeaderName| name.eq_ignore_ascii_case(other.as_str());
        !new.iter().any(|(name, _)| is(name)) && !gone.iter().any(is)
    };
    let kept = request.headers.iter().filter(|(name, _)| stays(name));
    let kept = kept.map(|(name, value)| (name.to_owned(), value.to_vec()));
    let added = new.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
    let headers: HeaderFields = kept.chain(added).collect();
    let next = KeptRequest { target: request.target.clone(), headers, body };
    if next == request {
        return Err(bad("It changes nothing."));
    }
    Ok(next)
}

fn field(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Problem> {
    let name = header_name(name)?;
    let value = HeaderValue::from_str(value)
        .map_err(|_| bad(format!("The value of `{name}` is not one that a header field can have.")))?;
    Ok((name, value))
}

fn header_name(name: &str) -> Result<HeaderName, Problem> {
    let shown: String = name.chars().take(64).collect();
    let name = HeaderName::from_bytes(name.as_bytes());
    let name = name.map_err(|_| bad(format!("`{shown}` is not a header field's name.")))?;
    if NOT_KEPT.contains(&name.as_str()) {
        return Err(bad(format!("`{shown}` is the gateway's to write.")));
    }
    Ok(name)
}

/// The key of what the original becomes with this request.
fn new_key(id: OperationId, record: &OperationRecord, request: &KeptRequest) -> Result<Key, Problem> {
    let mut digest = FingerprintBuilder::new(&record.method, &request.target, None, None);
    for (name, value) in request.headers.iter() {
        digest.body(name.to_ascii_lowercase().as_bytes());
        digest.body(&[0]);
        digest.body(&value);
        digest.body(&[0]);
    }
    digest.body(&[0]);
    digest.body(&request.body);
    let digest = u128::from_be_bytes(*digest.finish().as_bytes());
    Key::new(&format!("edited-{id}-{digest:032x}")).map_err(|_| bad("Its key would be too long."))
}

fn not_edited(refusal: &EditRefused, record: &OperationRecord) -> Problem {
    match refusal {
        EditRefused::NoRoute => no_route(&record.route),
        EditRefused::TooLarge(max) => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body-too-large",
            format!("The route `{}` keeps bodies of {max} bytes at most.", record.route),
            "Send a shorter one, or let the route keep more.",
        ),
    }
}

fn bad(found: impl Into<String>) -> Problem {
    Problem::bad_request(found, EXPECTED)
}
