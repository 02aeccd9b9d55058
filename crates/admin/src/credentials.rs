//! Credentials: made, listed, replaced and revoked. A key is in the answer that made it and nowhere else; the audit log has
//! its id.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use serde::Deserialize;
use steadfast_core::{ApiKey, CredentialId, Timestamp};
use steadfast_ledger::{CredentialError, CredentialRecord, Issue, LedgerError, Revision};

use crate::{
    api::{
        CreateCredentialRequest, CredentialView, IssuedView, RevokeCredentialRequest, RotateCredentialRequest,
    },
    instant::rfc3339,
    parameters::{bad_query, flag, read_json, read_time},
    problem::Problem,
    router::AdminParts,
    settle::{BY_CHARS_MAX, REASON_CHARS_MAX},
};

const BODY_BYTES_MAX: usize = 64 << 10;

const PRINCIPAL_CHARS_MAX: usize = 200;
const VALUE_CHARS_MAX: usize = 200;
const ATTRIBUTES_MAX: usize = 20;
const SCOPES_MAX: usize = 100;

/// For how long a replaced key goes on, unless stated.
const OVERLAP: Duration = Duration::from_secs(24 * 3_600);

/// The longest time that can be stated: ten years.
const TIME_MAX: Duration = Duration::from_secs(3_650 * 24 * 3_600);

const CREATE: &str = "Send \"principal\": \"…\", with \"scopes\": […], \"attributes\": {…}, \"expires_in\": \"90d\" and \
                      \"authenticator\": \"…\" where they are wanted.";
const CHANGE: &str =
    "Send {\"reason\": \"…\", \"by\": \"…\"}; to rotate, with \"overlap\": \"24h\" and \"expires_in\".";
const LIST: &str = "There are `principal` and `all` (the ended ones too).";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    principal: Option<String>,
    #[serde(default, deserialize_with = "flag")]
    all: bool,
}

pub(crate) async fn list(
    State(parts): State<AdminParts>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Vec<CredentialView>>, Problem> {
    let Query(ListQuery { principal, all }) = query.map_err(|rejection| bad_query(&rejection, LIST))?;
    let now = parts.control.now();
    let wanted = |record: &CredentialRecord| {
        (all || record.is_active(now)) && principal.as_deref().is_none_or(|name| *record.principal == *name)
    };
    let records = everything(&parts).await?.into_iter().filter(wanted);
    Ok(Json(records.map(|record| view(&record, now)).collect()))
}

pub(crate) async fn create(State(parts): State<AdminParts>, body: Body) -> Result<Json<IssuedView>, Problem> {
    let request: CreateCredentialRequest = read_json(body, BODY_BYTES_MAX, CREATE).await?;
    let prefix = prefix(&parts, request.authenticator.as_deref())?;
    let (key, now) = (ApiKey::random(&prefix), parts.control.now());
    let record = CredentialRecord {
        id: key.id(),
        digest: key.digest(),
        prefix: prefix.into(),
        principal: plain("principal", &request.principal, PRINCIPAL_CHARS_MAX)?.into(),
        attributes: attributes(&request.attributes)?,
        scopes: scopes(&request.scopes)?,
        created_at: now,
        expires_at: expiry(request.expires_in.as_deref(), now)?,
        revoked_at: None,
        last_used_at: None,
        replaces: None,
    };
    let said = Said::read(&request.by, &request.reason)?;
    issue(&parts, "credential-create", Issue { record, overlap_until: now }, &key, &said).await
}

pub(crate) async fn rotate(
    State(parts): State<AdminParts>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<IssuedView>, Problem> {
    let id = parse_id(&id)?;
    let request: RotateCredentialRequest = read_json(body, BODY_BYTES_MAX, CHANGE).await?;
    let said = Said::read(&request.by, &request.reason)?;
    let now = parts.control.now();
    let overlap = match request.overlap.as_deref() {
        None => OVERLAP,
        Some("0s" | "0") => Duration::ZERO,
        Some(text) => lasting("overlap", text)?,
    };
    let old =
        everything(&parts).await?.into_iter().find(|record| record.id == id).ok_or_else(|| not_found(id))?;
    let lasted = old.expires_at.map(|expires| expires.since(old.created_at));
    let expires_at = match request.expires_in.as_deref() {
        Some(_) => expiry(request.expires_in.as_deref(), now)?,
        // As long as the old one was to last when it was made.
        None => lasted.map(|lasted| now.after(lasted)),
    };
    let key = ApiKey::random(&old.prefix);
    let record = CredentialRecord {
        id: key.id(),
        digest: key.digest(),
        created_at: now,
        expires_at,
        revoked_at: None,
        last_used_at: None,
        replaces: Some(id),
        ..old
    };
    issue(&parts, "credential-rotate", Issue { record, overlap_until: now.after(overlap) }, &key, &said).await
}

pub(crate) async fn revoke(
    State(parts): State<AdminParts>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<CredentialView>, Problem> {
    let id = parse_id(&id)?;
    let request: RevokeCredentialRequest = read_json(body, BODY_BYTES_MAX, CHANGE).await?;
    let said = Said::read(&request.by, &request.reason)?;
    let now = parts.control.now();
    let revoked = parts.ledger.revoke(id, now).await;
    said.audit("credential-revoke", id, "", &revoked);
    revoked.map_err(|error| refused(id, error))?;
    parts.control.credentials_changed().await;
    let record = everything(&parts).await?.into_iter().find(|record| record.id == id);
    record.map(|record| Json(view(&record, now))).ok_or_else(|| not_found(id))
}

/// Who changes a credential, and why.
struct Said {
    by: String,
    reason: String,
}

impl Said {
    fn read(by: &str, reason: &str) -> Result<Self, Problem> {
        let noted = |field: &str, text: &str, chars_max| {
            if text.trim().is_empty() { Ok("not stated".to_owned()) } else { plain(field, text, chars_max) }
        };
        Ok(Self { by: noted("by", by, BY_CHARS_MAX)?, reason: noted("reason", reason, REASON_CHARS_MAX)? })
    }

    /// Writes down that a credential was to be changed, and what came of it.
    fn audit(&self, action: &str, id: CredentialId, principal: &str, result: &Result<(), CredentialError>) {
        let result = result.as_ref().map_or_else(|error| format!("refused: {error}"), |()| "done".to_owned());
        tracing::info!(
            target: "audit",
            action,
            credential = %id,
            principal,
            by = self.by,
            reason = self.reason,
            result,
            "a change of a credential was asked for"
        );
    }
}

async fn issue(
    parts: &AdminParts,
    action: &str,
    order: Issue,
    key: &ApiKey,
    said: &Said,
) -> Result<Json<IssuedView>, Problem> {
    let record = order.record.clone();
    let issued = parts.ledger.issue(order).await;
    said.audit(action, record.id, &record.principal, &issued);
    issued.map_err(|error| refused(record.replaces.unwrap_or(record.id), error))?;
    // Whoever gets the key may use it at once.
    parts.control.credentials_changed().await;
    let credential = view(&record, record.created_at);
    Ok(Json(IssuedView { credential, key: key.reveal().to_owned() }))
}

async fn everything(parts: &AdminParts) -> Result<Vec<CredentialRecord>, LedgerError> {
    Ok(parts.ledger.credentials(Revision::default()).await?.records)
}

/// What the keys of this authenticator begin with; of the only one, where none is named.
fn prefix(parts: &AdminParts, authenticator: Option<&str>) -> Result<String, Problem> {
    let prefixes = parts.control.key_prefixes();
    let names: Vec<&str> = prefixes.iter().map(|(name, _)| name.as_str()).collect();
    let refused =
        |detail: String, next: &str| Problem::new(StatusCode::CONFLICT, "no-authenticator", detail, next);
    match (authenticator, prefixes.as_slice()) {
        (_, []) => Err(refused(
            "The config has no authenticator that takes API keys.".into(),
            "Add [authentication.customers] with api_keys = {} to the config, and reload.",
        )),
        (None, [(_, prefix)]) => Ok(prefix.clone()),
        (None, _) => Err(refused(
            format!("Several authenticators take API keys: {}.", names.join(", ")),
            "Name the one that the key is for as \"authenticator\".",
        )),
        (Some(name), prefixes) => {
            prefixes.iter().find(|(known, _)| known == name).map(|(_, prefix)| prefix.clone()).ok_or_else(
                || {
                    let shown: String = name.chars().take(100).collect();
                    refused(
                        format!("No authenticator `{shown}` takes API keys; there is {}.", names.join(", ")),
                        "Name one of those, or add it to the config and reload.",
                    )
                },
            )
        }
    }
}

fn view(record: &CredentialRecord, now: Timestamp) -> CredentialView {
    let state = match record {
        CredentialRecord { revoked_at: Some(at), .. } if *at <= now => "revoked",
        CredentialRecord { expires_at: Some(at), .. } if *at <= now => "expired",
        _ => "active",
    };
    let pairs = record.attributes.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    CredentialView {
        id: record.id.to_string(),
        principal: record.principal.to_string(),
        prefix: record.prefix.to_string(),
        state: state.to_owned(),
        attributes: pairs.collect(),
        scopes: record.scopes.iter().map(ToString::to_string).collect(),
        created_at: rfc3339(record.created_at),
        expires_at: record.expires_at.map(rfc3339),
        revoked_at: record.revoked_at.map(rfc3339),
        last_used_at: record.last_used_at.map(rfc3339),
        replaces: record.replaces.map(|id| id.to_string()),
    }
}

fn parse_id(text: &str) -> Result<CredentialId, Problem> {
    text.parse().map_err(|_| {
        // It may be a key that somebody took for its id: it is not repeated.
        Problem::bad_request(
            "That is not the id of a credential: 12 characters of 0-9 and a-z.",
            "Take it from steadfast credentials list, or from the middle of the key.",
        )
    })
}

fn not_found(id: CredentialId) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "credential-not-found",
        format!("There is no credential {id}."),
        "Look at steadfast credentials list --all.",
    )
}

fn refused(id: CredentialId, error: CredentialError) -> Problem {
    match error {
        CredentialError::NotFound => not_found(id),
        CredentialError::Ended => Problem::new(
            StatusCode::CONFLICT,
            "credential-ended",
            format!("The credential {id} has ended already."),
            "Make a new one with steadfast credentials create.",
        ),
        CredentialError::TooMany => Problem::new(
            StatusCode::CONFLICT,
            "too-many-credentials",
            format!("It was not made: {error}."),
            "Revoke those that nobody uses: they are forgotten 90 days later.",
        ),
        CredentialError::Ledger(error) => error.into(),
    }
}

/// A text of one line that somebody must have stated.
fn plain(field: &str, text: &str, chars_max: usize) -> Result<String, Problem> {
    let text = text.trim();
    let chars = text.chars().count();
    if chars == 0 || chars > chars_max || text.chars().any(char::is_control) {
        return Err(Problem::bad_request(
            format!("`{field}` must have 1 to {chars_max} characters, and no control characters."),
            CREATE,
        ));
    }
    Ok(text.to_owned())
}

/// What is said of a principal beside its name, as the ledger keeps it.
type Attributes = Vec<(Box<str>, Box<str>)>;

fn attributes(given: &BTreeMap<String, String>) -> Result<Attributes, Problem> {
    let is_name = |name: &str| {
        (1..=40).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
    };
    if given.len() > ATTRIBUTES_MAX || !given.keys().all(|name| is_name(name)) {
        return Err(Problem::bad_request(
            format!(
                "`attributes` must be {ATTRIBUTES_MAX} at most, named by small letters, digits, `-` and `_`."
            ),
            "Such as {\"plan\": \"pro\", \"tenant\": \"acme\"}.",
        ));
    }
    let checked = given.iter().map(|(name, value)| {
        Ok((name.as_str().into(), plain(&format!("attributes.{name}"), value, VALUE_CHARS_MAX)?.into()))
    });
    checked.collect()
}

fn scopes(given: &[String]) -> Result<Vec<Box<str>>, Problem> {
    let is_scope = |text: &str| {
        (1..=100).contains(&text.len())
            && text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
    };
    if given.len() > SCOPES_MAX || !given.iter().all(|scope| is_scope(scope)) {
        return Err(Problem::bad_request(
            format!(
                "`scopes` must be {SCOPES_MAX} at most, of printable ASCII without spaces, quotes and backslashes."
            ),
            "Such as [\"orders:read\"].",
        ));
    }
    Ok(given.iter().map(|scope| scope.as_str().into()).collect())
}

fn expiry(time: Option<&str>, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
    time.map(|time| lasting("expires_in", time).map(|time| now.after(time))).transpose()
}

/// How long something is to last.
fn lasting(field: &str, text: &str) -> Result<Duration, Problem> {
    read_time(text, TIME_MAX).ok_or_else(|| {
        Problem::bad_request(
            format!("`{field}` is not a time from 1s to 3650d."),
            "Write a whole number and s, m, h or d: 90d.",
        )
    })
}
