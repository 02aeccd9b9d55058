//! Bans by hand: made, listed and lifted, each of which is written down as a security event.

use std::time::Duration;

use axum::{
    Json,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use serde::Deserialize;
use steadfast_core::{Ban, BanOrder, BanSource, BanSubject, BanTime, Timestamp, is_challenge};
use steadfast_ledger::{BanError, Revision};

use crate::{
    api::{BanRequest, BanView, LiftBanRequest},
    instant::rfc3339,
    parameters::{bad_query, flag, read_json, read_time},
    problem::Problem,
    router::AdminParts,
    settle::{BY_CHARS_MAX, REASON_CHARS_MAX, stated},
};

/// The longest body of an order.
const BODY_BYTES_MAX: usize = 16 << 10;

/// The longest time that can be stated: ten years.
const TIME_MAX: Duration = Duration::from_secs(3_650 * 86_400);

const BAN: &str = "Send {\"subject\": \"203.0.113.0/24\", \"for\": \"2h\", \"reason\": \"…\", \"by\": \"…\"}, with \"challenge\": \"https://…\" \
                   where there is one. A principal is \"principal:NAME\".";
const LIFT: &str = "Send {\"subject\": \"203.0.113.0/24\", \"reason\": \"…\", \"by\": \"…\"}.";
const LIST: &str = "There is `all` (those that ended within a day too).";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    #[serde(default, deserialize_with = "flag")]
    all: bool,
}

pub(crate) async fn list(
    State(parts): State<AdminParts>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Vec<BanView>>, Problem> {
    let Query(ListQuery { all }) = query.map_err(|rejection| bad_query(&rejection, LIST))?;
    let now = parts.control.now();
    let in_ledger = parts.ledger.bans(Revision::default()).await?.bans;
    let in_ledger = in_ledger.into_iter().filter(|ban| all || ban.holds(now)).map(|ban| (ban, false));
    let bans = parts.control.bans_beside_the_ledger().into_iter().chain(in_ledger);
    Ok(Json(bans.map(|(ban, is_shadow)| view(&ban, is_shadow, now)).collect()))
}

pub(crate) async fn ban(State(parts): State<AdminParts>, body: Body) -> Result<Json<BanView>, Problem> {
    let BanRequest { subject: text, time, challenge, reason, by } =
        read_json(body, BODY_BYTES_MAX, BAN).await?;
    let subject = subject(&text, BAN)?;
    if parts.control.is_never_banned(&subject) {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "never-banned",
            format!("{subject} is never kept out: `abuse.never` has it, or it is a trusted proxy."),
            "Ban somebody else, or change the config and reload.",
        ));
    }
    let (reason, by) = noted(&reason, &by)?;
    let lasts = match time.as_deref() {
        None => BanTime::ForEver,
        Some(text) => BanTime::For(lasting(text)?),
    };
    if challenge.as_deref().is_some_and(|challenge| !is_challenge(challenge)) {
        return Err(Problem::bad_request("`challenge` is not a URL of http or https.", BAN));
    }
    let now = parts.control.now();
    let order = BanOrder {
        subject: subject.clone(),
        source: BanSource::ByHand,
        at: now,
        lasts,
        reason: reason.clone(),
        by: by.clone(),
        challenge: challenge.map(Into::into),
        repeats: 0,
    };
    let banned = parts.ledger.ban(order).await;
    let result = result(&banned);
    tracing::info!(
        target: "audit",
        action = "bans_add",
        kind = "security",
        %subject,
        lasts = time.as_deref().unwrap_or("for ever"),
        by,
        reason,
        result,
        "somebody was to be banned"
    );
    // A person's order changes something, always.
    let ban = banned.map_err(|error| refused(&subject, error))?.ok_or_else(|| not_found(&subject))?;
    tracing::warn!(
        target: "security",
        event = "banned",
        %subject,
        source = ban.source.as_str(),
        until = ban.until.map(rfc3339),
        by,
        reason,
        mode = "enforce",
        "a caller was banned"
    );
    parts.control.bans_changed(true).await;
    Ok(Json(view(&ban, false, now)))
}

pub(crate) async fn lift(State(parts): State<AdminParts>, body: Body) -> Result<Json<BanView>, Problem> {
    let LiftBanRequest { subject: text, reason, by } = read_json(body, BODY_BYTES_MAX, LIFT).await?;
    let subject = subject(&text, LIFT)?;
    let (reason, by) = noted(&reason, &by)?;
    // Whom this node banned by itself just now, the ledger may not know yet.
    parts.control.bans_changed(false).await;
    let now = parts.control.now();
    let lifted = parts.ledger.lift(subject.clone(), now).await;
    let result = result(&lifted);
    tracing::info!(
        target: "audit",
        action = "bans_remove",
        kind = "security",
        %subject,
        by,
        reason,
        result,
        "a ban was to be lifted"
    );
    let is_in_config = |(ban, is_shadow): &(Ban, bool)| ban.subject == subject && !is_shadow;
    let ban = match lifted {
        Err(BanError::NotFound) if parts.control.bans_beside_the_ledger().iter().any(is_in_config) => {
            return Err(Problem::new(
                StatusCode::CONFLICT,
                "ban-in-config",
                format!("The ban of {subject} stands in the config."),
                "Remove it from `abuse.bans` there, and reload.",
            ));
        }
        lifted => lifted.map_err(|error| refused(&subject, error))?,
    };
    tracing::warn!(
        target: "security",
        event = "ban-lifted",
        %subject,
        source = ban.source.as_str(),
        by,
        reason,
        "a ban was lifted"
    );
    parts.control.bans_changed(false).await;
    Ok(Json(view(&ban, false, now)))
}

fn result<T>(result: &Result<T, BanError>) -> String {
    result.as_ref().map_or_else(|error| format!("refused: {error}"), |_| "done".to_owned())
}

fn subject(text: &str, expected: &str) -> Result<BanSubject, Problem> {
    text.parse().map_err(|error| {
        let shown: String = text.chars().filter(|char| !char.is_control()).take(100).collect();
        Problem::bad_request(format!("`subject`: `{shown}`: {error}."), expected)
    })
}

fn noted(reason: &str, by: &str) -> Result<(Box<str>, Box<str>), Problem> {
    let reason = stated("reason", reason, REASON_CHARS_MAX, "Say why: the audit log keeps it.")?;
    let by = stated("by", by, BY_CHARS_MAX, "Say who you are: your name, or your account's.")?;
    Ok((reason, by))
}

fn lasting(text: &str) -> Result<Duration, Problem> {
    read_time(text, TIME_MAX).ok_or_else(|| {
        Problem::bad_request(
            "`for` is not a time from 1s to 3650d.",
            "Write a whole number and s, m, h or d: 2h; or leave it out to ban for ever.",
        )
    })
}

fn view(ban: &Ban, is_shadow: bool, now: Timestamp) -> BanView {
    let state = match ban {
        Ban { lifted_at: Some(at), .. } if *at <= now => "lifted",
        ban if !ban.holds(now) => "ended",
        _ if is_shadow => "shadow",
        _ => "holds",
    };
    BanView {
        subject: ban.subject.to_string(),
        source: ban.source.as_str().to_owned(),
        state: state.to_owned(),
        began_at: rfc3339(ban.began_at),
        until: ban.until.map(rfc3339),
        lifted_at: ban.lifted_at.map(rfc3339),
        reason: ban.reason.to_string(),
        by: ban.by.to_string(),
        challenge: ban.challenge.as_ref().map(ToString::to_string),
        repeats: ban.repeats,
    }
}

fn not_found(subject: &BanSubject) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "ban-not-found",
        format!("There is no ban of {subject} that holds."),
        "Look at steadfast bans list. A ban of a network is lifted as a whole, by the network's name.",
    )
}

fn refused(subject: &BanSubject, error: BanError) -> Problem {
    match error {
        BanError::NotFound => not_found(subject),
        BanError::TooMany => Problem::new(
            StatusCode::CONFLICT,
            "too-many-bans",
            format!("It was not banned: {error}."),
            "Ban whole networks, and lift what nobody needs any more.",
        ),
        BanError::Ledger(error) => error.into(),
    }
}
