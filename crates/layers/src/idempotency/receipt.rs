//! The 202 for an operation that is not over: where it can be watched, and when to look.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Body;
use steadfast_core::{OperationId, StateName, Timestamp};

use super::{decision::Protection, replay, serve::decided};
use crate::HeldBody;

/// When to look again at what may be over any moment.
pub(super) const COME_AGAIN: Duration = Duration::from_secs(1);

/// What a caller is told of an operation that is not over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receipt {
    pub(super) operation: OperationId,
    pub(super) state: StateName,
    /// When it is due, where that is known.
    pub(super) due_at: Option<Timestamp>,
    /// When to look.
    pub(super) look_after: Duration,
}

impl Receipt {
    /// The answer that the caller gets.
    pub(super) fn into_response<R: Body<Data = Bytes>>(
        self,
        protection: Protection,
    ) -> Response<HeldBody<R>> {
        let location = format!("/.steadfast/operations/{}", self.operation);
        let due_at =
            self.due_at.map_or_else(String::new, |at| format!(",\"next_attempt_at\":\"{}\"", written(at)));
        let state = self.state.as_str();
        let body = format!("{{\"operation\":\"{location}\",\"state\":\"{state}\"{due_at}}}");
        let mut response = Response::new(HeldBody::whole(Bytes::from(body)));
        *response.status_mut() = StatusCode::ACCEPTED;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let seconds = self.look_after.as_millis().div_ceil(1_000).max(1);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)));
        // An id is plain ASCII.
        if let Ok(location) = HeaderValue::from_str(&location) {
            headers.insert(header::LOCATION, location);
        }
        replay::mark_operation(headers, self.operation);
        decided(response, protection, Some(self.operation))
    }
}

/// An instant as people write it.
fn written(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or_default().to_string()
}
