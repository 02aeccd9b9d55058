//! What a caller is told who is not let through: 401 with a challenge (RFC 6750, section 3), 403 with what is missing, 503
//! where nobody could find out.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use steadfast_core::Code;

use crate::{Problem, RequestId, trace::Facts};

/// When to come again where it could not be found out who is calling.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// Why a request is not let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Nobody knows who is calling.
    Unauthenticated {
        /// The challenges.
        challenges: Vec<HeaderValue>,
        /// What is wrong.
        detail: Cow<'static, str>,
    },
    /// It is known who is calling, and that they may not.
    Forbidden {
        /// The challenge, where more scopes would do.
        challenge: Option<HeaderValue>,
        /// What is missing.
        detail: String,
    },
    /// It could not be found out who is calling.
    Unavailable {
        /// Why not.
        detail: &'static str,
    },
    /// Another service refused it, in these words.
    Theirs(Box<Theirs>),
}

/// What another service said to a request that it does not let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Theirs {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Refusal {
    /// What is noted of it.
    pub(super) fn facts(&self) -> Facts {
        let (code, retry_after) = match self {
            Self::Unauthenticated { .. } => (Code::Unauthenticated, None),
            Self::Forbidden { .. } => (Code::Forbidden, None),
            Self::Unavailable { .. } => (Code::AuthenticationUnavailable, Some(COME_AGAIN)),
            Self::Theirs(theirs) => return Facts::Theirs(theirs.status.as_u16()),
        };
        Facts::Refusal { code, retry_after }
    }

    pub(super) fn into_response<B: From<Bytes>>(self, request_id: Option<&RequestId>) -> Response<B> {
        match self {
            Self::Unauthenticated { challenges, detail } => {
                let problem = Problem::new(Code::Unauthenticated).detail(detail).instance(request_id);
                let mut response = problem.into_response();
                response.headers_mut().remove(header::WWW_AUTHENTICATE);
                for challenge in challenges {
                    response.headers_mut().append(header::WWW_AUTHENTICATE, challenge);
                }
                response
            }
            Self::Forbidden { challenge, detail } => {
                let problem = Problem::new(Code::Forbidden).detail(detail).instance(request_id);
                let mut response = problem.into_response();
                if let Some(challenge) = challenge {
                    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
                }
                response
            }
            Self::Unavailable { detail } => Problem::new(Code::AuthenticationUnavailable)
                .detail(detail)
                .retry_after(COME_AGAIN)
                .instance(request_id)
                .into_response(),
            Self::Theirs(theirs) => {
                let mut response = Response::new(B::from(theirs.body));
                *response.status_mut() = theirs.status;
                *response.headers_mut() = theirs.headers;
                response
            }
        }
    }
}

/// `text` within quotes, as the parameter of a challenge.
pub(super) fn quoted(text: &str) -> String {
    let plain = text.chars().map(|letter| match letter {
        '"' | '\\' => '\'',
        letter if letter.is_ascii_graphic() || letter == ' ' => letter,
        _ => '?',
    });
    format!("\"{}\"", plain.collect::<String>())
}
