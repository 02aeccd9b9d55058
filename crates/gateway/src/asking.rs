//! Asking those who know who is calling: one client for each place, with bounded time and bounded answers.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Limited};
use steadfast_layers::{Outbound, UpstreamTally, trace};
use steadfast_ledger::{BoxFuture, Clock};
use steadfast_upstream::{Address, HostPolicy, Protocol, TlsError, Upstream, UpstreamPolicy};
use tokio::time::timeout;
use tower::Service;

use crate::stack::RequestBody;

/// How long an answer may take, its body included. Callers wait for it.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The longest answer that is taken in, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A client of one place.
pub(crate) struct Asking {
    client: Upstream<RequestBody>,
    place: String,
}

impl Asking {
    /// A client of what is at `address`.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub(crate) fn new(name: &str, address: &Address, clock: &Clock) -> Result<Self, TlsError> {
        let mut policy = UpstreamPolicy::new(name, address.clone());
        // A connection is driven by the request that uses it, on whichever thread that is.
        policy.protocol = Protocol::Http1;
        policy.host = HostPolicy::Upstream;
        policy.first_byte_timeout = ANSWER_MAX;
        policy.total_timeout = ANSWER_MAX;
        // What is counted of it is no upstream's of the config.
        let client = Upstream::new(policy, clock.clone(), Arc::new(UpstreamTally::default()))?;
        Ok(Self { client, place: address.to_string() })
    }

    async fn once(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let mut request = request.map(RequestBody::from);
        let agent = HeaderValue::from_static("steadfast");
        request.headers_mut().entry(header::USER_AGENT).or_insert(agent);
        let answer = self.client.clone().call(request).await.map_err(|failed| failed.to_string())?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        Ok(Response::from_parts(parts, body.map_err(|error| error.to_string())?.to_bytes()))
    }
}

impl fmt::Debug for Asking {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Asking").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Outbound for Asking {
    fn ask(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, String>> {
        // The tries of a question are not those of the request that waits for it, and no caller's to read.
        Box::pin(trace::unnoted(async move {
            // Questions change nothing: one is asked again where a connection that was kept turned out to be closed.
            let again = request.clone();
            let asked = async {
                match self.once(request).await {
                    Ok(answer) => Ok(answer),
                    Err(_) => self.once(again).await,
                }
            };
            // Both together: whoever waits for it waits no longer than that.
            let answered = timeout(ANSWER_MAX, asked).await;
            let answered =
                answered.unwrap_or_else(|_| Err(format!("no answer came within {} s", ANSWER_MAX.as_secs())));
            answered.map_err(|error| format!("{}: {error}", self.place))
        }))
    }
}
