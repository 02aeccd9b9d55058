//! Why a request had no effect, and the one table that turns that into a status and a JSON error.

use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::answer::Answer;
use crate::database::DatabaseError;

/// A request that was refused, and took no effect.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The request's body or query does not say what is needed.
    #[error("{0}")]
    BadInput(String),
    /// The request's body is too long, or ended before its end.
    #[error("{0}")]
    Unreadable(#[from] BytesRejection),
    /// There is no such event.
    #[error("there is no event called `{0}`")]
    UnknownEvent(String),
    /// There is nothing at this address.
    #[error("there is nothing here")]
    NotFound,
    /// Fewer seats are left than were asked for.
    #[error("`{event}` has {seats_left} seats left")]
    SoldOut { event: String, seats_left: i64 },
    /// The bank does not take this card.
    #[error("the card was declined")]
    CardDeclined,
    /// The service named is having a bad minute, and did nothing.
    #[error("{0} is busy, and did nothing")]
    NotExecuted(&'static str),
    /// A request with this key is still being worked on.
    #[error("a request with this idempotency key is still being worked on")]
    InProgress,
    /// This key came before with a different request.
    #[error("this idempotency key came before with a different request")]
    KeyReused,
    /// A file that is needed cannot be written.
    #[error("the file could not be stored: {0}")]
    NotStored(#[from] std::io::Error),
    /// The database failed, and nothing was kept.
    #[error("nothing was done: {0}")]
    Database(#[from] DatabaseError),
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Refusal::BadInput(rejection.to_string())
    }
}

impl From<PathRejection> for Refusal {
    // Everything here is numbered: nothing has a name that is no number.
    fn from(_: PathRejection) -> Self {
        Refusal::NotFound
    }
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Refusal::Database(error.into())
    }
}

impl Refusal {
    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Refusal::BadInput(_) => (StatusCode::UNPROCESSABLE_ENTITY, "bad-input"),
            Refusal::Unreadable(rejection) => (rejection.status(), "unreadable-body"),
            Refusal::UnknownEvent(_) => (StatusCode::NOT_FOUND, "unknown-event"),
            Refusal::NotFound => (StatusCode::NOT_FOUND, "not-found"),
            Refusal::SoldOut { .. } => (StatusCode::CONFLICT, "sold-out"),
            Refusal::CardDeclined => (StatusCode::PAYMENT_REQUIRED, "card-declined"),
            Refusal::NotExecuted(_) => (StatusCode::SERVICE_UNAVAILABLE, "not-executed"),
            Refusal::InProgress => (StatusCode::CONFLICT, "in-progress"),
            Refusal::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "key-reused"),
            Refusal::NotStored(_) => (StatusCode::INTERNAL_SERVER_ERROR, "not-stored"),
            Refusal::Database(_) => (StatusCode::INTERNAL_SERVER_ERROR, "database"),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code) = self.status_and_code();
        let mut response =
            Answer::new(status, &json!({ "error": code, "detail": self.to_string() })).into_response();
        if matches!(self, Refusal::NotExecuted(_) | Refusal::InProgress) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// Reads a JSON body, whatever its content type says.
///
/// # Errors
/// [`Refusal::BadInput`] with the place and the cause; [`Refusal::Unreadable`] when the body is too long or cut off.
pub(crate) fn parse<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, Refusal> {
    serde_json::from_slice(&body?)
        .map_err(|error| Refusal::BadInput(format!("the body is not what is needed: {error}")))
}

/// Refuses text that is empty or over 200 bytes.
///
/// # Errors
/// [`Refusal::BadInput`], naming the field.
pub(crate) fn require_text(field: &str, text: &str) -> Result<(), Refusal> {
    if text.trim().is_empty() || text.len() > 200 {
        return Err(Refusal::BadInput(format!("`{field}` must be text of 1 to 200 bytes")));
    }
    Ok(())
}
