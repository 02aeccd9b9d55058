//! An answer that can be stored and given again: status, `Location`, JSON body.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::Value;

/// What a handler decided to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) location: Option<String>,
    /// JSON text.
    pub(crate) body: String,
    /// Whether this was decided for an earlier request with the same key.
    pub(crate) replayed: bool,
}

impl Answer {
    pub(crate) fn new(status: StatusCode, body: &Value) -> Self {
        Answer { status, location: None, body: body.to_string(), replayed: false }
    }

    /// 201, with the address of what was created.
    pub(crate) fn created(location: String, body: &Value) -> Self {
        Answer { location: Some(location), ..Answer::new(StatusCode::CREATED, body) }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let json = HeaderValue::from_static("application/json");
        let mut response = (self.status, [(header::CONTENT_TYPE, json)], self.body).into_response();
        if let Some(Ok(location)) = self.location.map(HeaderValue::try_from) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        if self.replayed {
            response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
        }
        response
    }
}
