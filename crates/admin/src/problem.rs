//! Refusals of the admin API: what is wrong, and what to do next (RFC 9457).

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use steadfast_core::Code;
use steadfast_ledger::LedgerError;

use crate::api::ProblemView;

/// A refusal.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    next_step: String,
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<String>,
        next_step: impl Into<String>,
    ) -> Self {
        Self { status, code, detail: detail.into(), next_step: next_step.into() }
    }

    /// A request whose query, body or path is not what is expected.
    pub(crate) fn bad_request(detail: impl Into<String>, next_step: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "request-invalid", detail, next_step)
    }

    /// There is no operation with this id.
    pub(crate) fn no_such_operation(id: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            Code::OperationNotFound.as_str(),
            format!("There is no operation {id}. It may have expired."),
            "Find it with GET /api/operations, by its key or its state.",
        )
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        tracing::warn!(%error, "the ledger failed a request of the admin API");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::LedgerUnavailable.as_str(),
            format!("The ledger did not do it: {error}."),
            "Look at GET /readyz?verbose and at the gateway's log; then ask again.",
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let view = ProblemView {
            r#type: "about:blank".to_owned(),
            title: self.status.canonical_reason().unwrap_or("Refused").to_owned(),
            status: self.status.as_u16(),
            code: self.code.to_owned(),
            detail: self.detail,
            next_step: self.next_step,
        };
        let kind = HeaderValue::from_static("application/problem+json");
        (self.status, [(CONTENT_TYPE, kind)], Json(view)).into_response()
    }
}
