//! A caller with one connection that it keeps, a limit to its patience, and answers that can be compared.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinSet};

/// One request.
#[derive(Clone, Debug)]
pub struct Ask {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The header fields as they came.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

/// Why there was no whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// No connection: nothing was sent.
    NotConnected,
    /// The connection broke.
    Cut(String),
    /// The caller ran out of patience, and hung up.
    HungUp,
}

/// Sends requests one after another.
#[derive(Debug)]
pub struct Caller {
    addr: SocketAddr,
    patience: Duration,
    line: Option<Line>,
}

#[derive(Debug)]
struct Line {
    sender: http1::SendRequest<Full<Bytes>>,
    /// Drives the connection; ends, and closes it, when this is dropped.
    _driver: JoinSet<()>,
}

impl Ask {
    /// A GET.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), headers: Vec::new(), body: Bytes::new() }
    }

    /// A POST of a JSON document.
    #[must_use]
    pub fn post(path: impl Into<String>, body: impl Into<Bytes>) -> Self {
        let json = ("content-type".into(), "application/json".into());
        Self { method: Method::POST, path: path.into(), headers: vec![json], body: body.into() }
    }

    /// A POST of bytes that mean nothing to anybody, under a key.
    #[must_use]
    pub fn upload(path: impl Into<String>, key: &str, body: impl Into<Bytes>) -> Self {
        let kind = ("content-type".into(), "application/octet-stream".into());
        let headers = vec![kind, ("idempotency-key".into(), key.into())];
        Self { method: Method::POST, path: path.into(), headers, body: body.into() }
    }

    /// The order of one ticket under a key, which is also its reference.
    #[must_use]
    pub fn order(key: &str) -> Self {
        let body = format!(r#"{{"event":"open-air","buyer":"{key}","tickets":1}}"#);
        Self::post("/orders", body).header("idempotency-key", key).header("x-client-reference", key)
    }

    /// The same with one more header field.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

impl Answer {
    /// The first header field of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; `null` where it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The code of a refusal by the gateway.
    #[must_use]
    pub fn code(&self) -> Option<String> {
        let is_problem = self.header("content-type") == Some("application/problem+json");
        is_problem.then(|| self.json()["code"].as_str().map(str::to_owned)).flatten()
    }

    /// Whether it is the upstream's word, and final.
    #[must_use]
    pub fn is_conclusive(&self) -> bool {
        self.code().is_none() && self.header("steadfast-outcome").is_none() && self.status < 500
    }

    /// Whether it was marked as a replay.
    #[must_use]
    pub fn is_replay(&self) -> bool {
        self.header("idempotent-replayed") == Some("true")
    }

    /// Whether it says that the same request will later succeed by itself.
    #[must_use]
    pub fn says_retry(&self) -> bool {
        self.header("x-should-retry") == Some("true")
    }

    /// What every replay of it must have too: status, header fields that are kept, body.
    #[must_use]
    pub fn kept(&self) -> (u16, Vec<(String, String)>, Bytes) {
        let passing = [
            "connection",
            "content-length",
            "date",
            "idempotent-replayed",
            "keep-alive",
            "transfer-encoding",
            "x-request-id",
        ];
        let is_kept = |name: &str| !passing.contains(&name) && !name.starts_with("steadfast-");
        let mut headers: Vec<_> = self.headers.iter().filter(|(name, _)| is_kept(name)).cloned().collect();
        headers.sort();
        (self.status, headers, self.body.clone())
    }
}

impl Caller {
    /// A caller of `addr` that hangs up after `patience`.
    #[must_use]
    pub fn new(addr: SocketAddr, patience: Duration) -> Self {
        Self { addr, patience, line: None }
    }

    /// Sends a request and waits for the whole answer. Dropping the future hangs up.
    ///
    /// # Errors
    /// [`NoAnswer`] says how it went wrong; the next request goes over a new connection.
    pub async fn ask(&mut self, ask: &Ask) -> Result<Answer, NoAnswer> {
        // Taken, so that whoever drops this future closes the connection.
        let line = self.line.take().filter(|line| line.sender.is_ready());
        let exchange = exchange(line, self.addr, ask);
        match tokio::time::timeout(self.patience, exchange).await {
            Ok(Ok((answer, line))) => {
                self.line = Some(line);
                Ok(answer)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(NoAnswer::HungUp),
        }
    }
}

async fn exchange(line: Option<Line>, addr: SocketAddr, ask: &Ask) -> Result<(Answer, Line), NoAnswer> {
    let mut line = match line {
        Some(line) => line,
        None => open(addr).await?,
    };
    let cut = |error: hyper::Error| NoAnswer::Cut(error.to_string());
    let mut request = Request::builder().method(&ask.method).uri(&ask.path).header("host", addr.to_string());
    for (name, value) in &ask.headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(ask.body.clone())).expect("a valid request");
    let response = line.sender.send_request(request).await.map_err(cut)?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(cut)?.to_bytes();
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    // Ready again, or closing: either way the next request must know.
    let _ = line.sender.ready().await;
    Ok((Answer { status: head.status.as_u16(), headers, body }, line))
}

async fn open(addr: SocketAddr) -> Result<Line, NoAnswer> {
    let stream = TcpStream::connect(addr).await.map_err(|_| NoAnswer::NotConnected)?;
    let _ = stream.set_nodelay(true);
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| NoAnswer::Cut(error.to_string()))?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        let _ = connection.await;
    });
    Ok(Line { sender, _driver: driver })
}
