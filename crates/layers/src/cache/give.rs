//! A kept answer as the answer to one request: whole, in part, or without its body.

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use steadfast_ledger::BootInstant;

use crate::HeldBody;

use super::{
    conditional::{has_it, without_body},
    entry::Entry,
    range::Part,
    serve::Asks,
    status::{CacheOutcome, Said},
};

/// Who is given an answer: what they ask for, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker<'a> {
    pub(super) method: &'a Method,
    pub(super) headers: &'a HeaderMap,
    pub(super) asks: &'a Asks,
}

impl<'a> Asker<'a> {
    pub(super) fn of<B>(request: &'a Request<B>, asks: &'a Asks) -> Self {
        Self { method: request.method(), headers: request.headers(), asks }
    }
}

/// The answer to who asks, which says what the cache did.
pub(super) fn give<B>(
    entry: &Entry,
    asker: Asker<'_>,
    now: BootInstant,
    said: Said,
) -> Response<HeldBody<B>> {
    let mut headers = entry.given_header(now, said);
    let mut status = entry.status;
    let mut body = entry.body.clone();
    if status == StatusCode::OK && asker.asks.is_conditional && has_it(asker.headers, entry) {
        status = StatusCode::NOT_MODIFIED;
        without_body(&mut headers);
        body.clear();
    } else if *asker.method == Method::HEAD {
        if status != StatusCode::NO_CONTENT {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        body.clear();
    } else if status == StatusCode::OK && asker.asks.has_range {
        let whole = body.len();
        let range = match Part::of(asker.headers, entry) {
            Part::Whole => None,
            Part::Bytes(bytes) => {
                status = StatusCode::PARTIAL_CONTENT;
                body = body.slice(bytes.clone());
                Some(format!("bytes {}-{}/{whole}", bytes.start, bytes.end - 1))
            }
            Part::Unsatisfiable => {
                status = StatusCode::RANGE_NOT_SATISFIABLE;
                without_body(&mut headers);
                body.clear();
                Some(format!("bytes */{whole}"))
            }
        };
        if let Some(range) = range.and_then(|range| HeaderValue::try_from(range).ok()) {
            headers.insert(header::CONTENT_RANGE, range);
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
    }
    let mut response = Response::new(HeldBody::whole(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// The same answer, and for the log, in which way it came about.
pub(super) fn noted<B>(mut response: Response<B>, outcome: CacheOutcome) -> Response<B> {
    response.extensions_mut().insert(outcome);
    response
}
