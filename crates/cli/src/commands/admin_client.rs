//! Asks a running gateway's admin API: one request a connection, and every refusal an exit code.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use steadfast_admin::api::ProblemView;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};

use super::serve::block_on;
use crate::exit::{Exit, failed};

/// How long it may take to connect to an address on the same machine.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// How long an answer may take: longer than anything that the admin API waits for.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// The admin API at one address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdminClient {
    address: SocketAddr,
}

/// What it answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    body: Bytes,
}

impl AdminClient {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Asks, and fails where it is refused.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask("GET", path, Bytes::new())?.accepted()
    }

    /// Sends an order, and fails where it is refused.
    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, order: &impl Serialize) -> anyhow::Result<T> {
        self.ask("POST", path, serde_json::to_vec(order)?.into())?.accepted()
    }

    /// Asks, and takes whatever is answered.
    pub(crate) fn look(&self, path: &str) -> anyhow::Result<Reply> {
        self.ask("GET", path, Bytes::new())
    }

    fn ask(&self, method: &str, path: &str, body: Bytes) -> anyhow::Result<Reply> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, application/problem+json")
            .body(Full::new(body))?;
        block_on(async move {
            let stream = match timeout(CONNECT_TIME_MAX, TcpStream::connect(self.address)).await {
                Ok(connected) => connected.map_err(|error| self.unreachable(&error))?,
                Err(late) => return Err(self.unreachable(&late)),
            };
            match timeout(ANSWER_TIME_MAX, exchange(stream, request)).await {
                Ok(Ok(reply)) => Ok(reply),
                Ok(Err(error)) => Err(self.unreachable(&*error)),
                Err(late) => Err(self.unreachable(&late)),
            }
        })
    }

    fn unreachable(&self, error: &dyn std::fmt::Display) -> anyhow::Error {
        let address = self.address;
        failed(
            Exit::Unreachable,
            format!(
                "no gateway's admin API answers at {address} ({error}): is it running? Its address is set by --admin or \
                 STEADFAST_ADMIN"
            ),
        )
    }
}

async fn exchange(
    stream: TcpStream,
    request: Request<Full<Bytes>>,
) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It is driven beside the request, and ends with it.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await?.to_bytes();
    Ok(Reply { status, body })
}

impl Reply {
    /// Reads what was answered, whatever its status.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let status = self.status;
            failed(
                Exit::Failure,
                format!("what answers there is not a gateway's admin API, or one of another version ({status}; {error})"),
            )
        })
    }

    fn accepted<T: DeserializeOwned>(self) -> anyhow::Result<T> {
        if self.status.is_success() {
            return self.read();
        }
        let problem: ProblemView = self.read()?;
        let exit = match self.status {
            StatusCode::FORBIDDEN | StatusCode::CONFLICT => Exit::NotAllowed,
            StatusCode::NOT_FOUND => Exit::NotFound,
            StatusCode::UNPROCESSABLE_ENTITY => Exit::ConfigInvalid,
            StatusCode::SERVICE_UNAVAILABLE => Exit::Unreachable,
            _ => Exit::Failure,
        };
        Err(failed(exit, format!("{} {}", problem.detail, problem.next_step)))
    }
}

/// A query of what is given, escaped.
pub(crate) fn query(parameters: &[(&str, Option<&str>)]) -> String {
    let given = parameters.iter().filter_map(|(name, value)| value.map(|value| (name, value)));
    let pairs: Vec<_> = given.map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

/// `text` as one component of a URL: everything but letters, digits and `-._~` is escaped.
pub(crate) fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_escapes_what_would_end_it() {
        let given = query(&[("state", None), ("key", Some("a&b=c d%é")), ("limit", Some("5"))]);
        assert_eq!(given, "?key=a%26b%3Dc%20d%25%C3%A9&limit=5");
        assert_eq!(query(&[("state", None)]), "");
    }
}
