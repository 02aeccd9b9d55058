//! A customer's HTTP client: one connection, one request at a time, and an honest word for every way to lose an
//! answer.

use std::{fmt, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A client of one address.
#[derive(Debug)]
pub(super) struct Client {
    to: SocketAddr,
    line: Option<Line>,
}

/// An open connection.
#[derive(Debug)]
struct Line {
    sender: SendRequest<Full<Bytes>>,
    /// Drives the connection; ends with it.
    _driver: JoinSet<()>,
}

/// An answer that arrived whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) location: Option<String>,
    pub(super) body: Bytes,
    /// `Idempotent-Replayed: true`.
    pub(super) replayed: bool,
    /// `X-Should-Retry`, where it was said.
    pub(super) should_retry: Option<bool>,
    /// `Steadfast-Outcome`: `refused` or `in-doubt`, where the answer is not final.
    pub(super) outcome: Option<String>,
    /// Which rungs of the ladder of degradation were used.
    pub(super) degraded: Option<String>,
    /// The `code` of a problem that the gateway answered itself.
    pub(super) code: Option<String>,
}

/// No answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// No connection.
    Unreachable,
    /// The connection ended before the answer did.
    Broken,
    /// The customer's patience did.
    TimedOut,
}

impl fmt::Display for Lost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Unreachable => "nobody listens",
            Self::Broken => "the connection broke",
            Self::TimedOut => "no answer in time",
        })
    }
}

impl std::error::Error for Lost {}

impl Client {
    pub(super) fn new(to: SocketAddr) -> Self {
        Self { to, line: None }
    }

    /// Sends one request, and reads the whole answer within `patience`.
    ///
    /// # Errors
    /// [`Lost`]; the connection is given up with the answer.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
        patience: Duration,
    ) -> Result<Reply, Lost> {
        let line = self.line.take();
        match timeout(patience, exchange(self.to, line, request)).await {
            Ok(Ok((reply, line))) => {
                self.line = Some(line);
                Ok(reply)
            }
            Ok(Err(lost)) => Err(lost),
            Err(_) => Err(Lost::TimedOut),
        }
    }

    /// Reads a page.
    ///
    /// # Errors
    /// [`Lost`]
    pub(super) async fn get(&mut self, path: &str, patience: Duration) -> Result<Reply, Lost> {
        self.get_as(None, path, patience).await
    }

    /// Reads a page as whoever has this API key.
    ///
    /// # Errors
    /// [`Lost`]
    pub(super) async fn get_as(
        &mut self,
        key: Option<&str>,
        path: &str,
        patience: Duration,
    ) -> Result<Reply, Lost> {
        let mut request = Request::get(path).header(header::HOST, self.to.to_string());
        if let Some(key) = key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        let request = request.body(Full::default()).map_err(|_| Lost::Unreachable)?;
        self.send(request, patience).await
    }
}

async fn exchange(
    to: SocketAddr,
    line: Option<Line>,
    request: Request<Full<Bytes>>,
) -> Result<(Reply, Line), Lost> {
    let mut line = match line.filter(|line| !line.sender.is_closed()) {
        Some(line) => line,
        None => connect(to).await?,
    };
    line.sender.ready().await.map_err(|_| Lost::Broken)?;
    let response = line.sender.send_request(request).await.map_err(|_| Lost::Broken)?;
    Ok((read(response).await?, line))
}

async fn connect(to: SocketAddr) -> Result<Line, Lost> {
    let stream = TcpStream::connect(to).await.map_err(|_| Lost::Unreachable)?;
    // Without it a small request waits for an acknowledgement; that it cannot be set is no reason to stop.
    let _ = stream.set_nodelay(true);
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|_| Lost::Broken)?;
    let mut driver = JoinSet::new();
    // What breaks the connection is told to whoever waits for an answer on it.
    driver.spawn(async move { drop(connection.await) });
    Ok(Line { sender, _driver: driver })
}

async fn read(response: Response<Incoming>) -> Result<Reply, Lost> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|_| Lost::Broken)?.to_bytes();
    let text = |name| text(&head.headers, name);
    let is_problem = text("content-type").is_some_and(|kind| kind.starts_with("application/problem+json"));
    Ok(Reply {
        status: head.status.as_u16(),
        location: text("location").map(str::to_owned),
        replayed: text("idempotent-replayed") == Some("true"),
        should_retry: text("x-should-retry").map(|hint| hint == "true"),
        outcome: text("steadfast-outcome").map(str::to_owned),
        degraded: text("steadfast-degraded").map(str::to_owned),
        code: if is_problem { problem_code(&body) } else { None },
        body,
    })
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn problem_code(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Problem {
        code: String,
    }
    serde_json::from_slice::<Problem>(body).ok().map(|problem| problem.code)
}
