//! A kept answer as the answer to one request: whole, in part, or without its body.

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use steadfast_ledger::BootInstant;

use crate::HeldBody;

use super::{
    conditional::{has_it, without_body},
    entry::Entry,
    range::Part,
    status::{CacheOutcome, Said},
};

/// The answer to a request for `method` with `request`'s fields, marked with what the cache did.
pub(super) fn give<B>(
    entry: &Entry,
    method: &Method,
    request: &HeaderMap,
    now: BootInstant,
    said: Said,
    outcome: CacheOutcome,
) -> Response<HeldBody<B>> {
    let mut headers = entry.headers.clone();
    headers.insert(header::AGE, HeaderValue::from(entry.age(now)));
    said.mark(&mut headers);
    let mut status = entry.status;
    let mut body = entry.body.clone();
    if status == StatusCode::OK && has_it(request, entry) {
        status = StatusCode::NOT_MODIFIED;
        without_body(&mut headers);
        body.clear();
    } else if *method == Method::HEAD {
        if status != StatusCode::NO_CONTENT {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        body.clear();
    } else if status == StatusCode::OK {
        let whole = body.len();
        let range = match Part::of(request, entry) {
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
    response.extensions_mut().insert(outcome);
    response
}
