//! What whoever is banned is told: that they are, until when, and what they can do. Why a person banned them is that person's.

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use steadfast_core::{Ban, BanSource, BanSubject, Code, Timestamp};

use super::security_log::instant;
use crate::{Problem, RequestId};

const SOLVE: &str =
    "Stop sending, and follow the link in challenge: whoever is welcome is let in from there.";
const ASK: &str = "Stop sending, and ask whoever runs this API; name the instance.";

/// The answer to a banned caller's request.
pub(super) fn banned<B: From<Bytes>>(
    ban: &Ban,
    now: Timestamp,
    request_id: Option<&RequestId>,
) -> Response<B> {
    let who = match ban.subject {
        BanSubject::Network(_) => "Your address is banned",
        BanSubject::Principal(_) => "You are banned, from wherever you call",
    };
    let until = ban.until.map_or_else(String::new, |until| format!(" until {}", instant(until)));
    let why = match ban.source {
        BanSource::Unauthenticated => ": too many requests from it had no good credential",
        BanSource::LimitStorm => ": too many requests went on beyond the limits",
        BanSource::ByHand | BanSource::Config => "",
    };
    let mut problem = Problem::new(Code::Banned).detail(format!("{who}{until}{why}.")).instance(request_id);
    problem = match ban.until {
        Some(until) => problem.retry_after(until.since(now)).member("until", instant(until).into()),
        None => problem.next_step(ASK),
    };
    let Some(challenge) = &ban.challenge else { return problem.into_response() };
    let problem = problem.member("challenge", (**challenge).into()).next_step(SOLVE);
    let mut response = problem.into_response();
    if let Ok(link) = HeaderValue::from_str(&format!("<{challenge}>; rel=\"help\"; title=\"challenge\"")) {
        response.headers_mut().append(header::LINK, link);
    }
    response
}
