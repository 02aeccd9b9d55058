//! What is kept of answers: how much, and forgetting it, by URL, by prefix, by tag or all of it. Each purge is written
//! down by name.

use axum::{Json, body::Body, extract::State};

use crate::{
    api::{CacheView, PurgeRequest, PurgedView},
    control::Forget,
    parameters::read_json,
    problem::Problem,
    router::AdminParts,
    settle::{BY_CHARS_MAX, stated},
};

const BODY_BYTES_MAX: usize = 64 << 10;

const EXPECTED: &str = "Send one of {\"url\": \"…\"}, {\"prefix\": \"…\"}, {\"tag\": \"…\"} and {\"all\": true}, with \"by\": \"…\".";

pub(crate) async fn show(State(parts): State<AdminParts>) -> Json<CacheView> {
    let held = parts.control.cache();
    Json(CacheView { targets: held.targets, bytes: held.bytes, bytes_max: held.bytes_max })
}

pub(crate) async fn purge(State(parts): State<AdminParts>, body: Body) -> Result<Json<PurgedView>, Problem> {
    let request: PurgeRequest = read_json(body, BODY_BYTES_MAX, EXPECTED).await?;
    let by = stated("by", &request.by, BY_CHARS_MAX, "Say who you are: your name, or your account's.")?;
    let forget = forget(&request)?;
    let purged = parts.control.purge(&forget);
    tracing::info!(target: "audit", action = "purge", what = ?forget, purged, by = &*by, "a purge was asked for");
    Ok(Json(PurgedView { purged }))
}

fn forget(request: &PurgeRequest) -> Result<Forget, Problem> {
    let refused = |detail: &str| Problem::bad_request(detail.to_owned(), EXPECTED);
    let forget = match (&request.url, &request.prefix, &request.tag, request.all) {
        (Some(url), None, None, false) => Forget::Url(url.clone()),
        (None, Some(prefix), None, false) => Forget::Prefix(prefix.clone()),
        (None, None, Some(tag), false) => Forget::Tag(tag.clone()),
        (None, None, None, true) => Forget::All,
        _ => return Err(refused("It does not say what to forget, or says it twice.")),
    };
    match &forget {
        Forget::Url(text) | Forget::Prefix(text) if !text.starts_with('/') && !text.contains("://") => {
            Err(refused("A URL begins with its scheme and its host, or with `/` for every host."))
        }
        Forget::Tag(text) if text.is_empty() => Err(refused("The tag is empty.")),
        _ => Ok(forget),
    }
}
