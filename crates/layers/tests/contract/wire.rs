//! HTTP/1.1 by hand: both ends of the tests read and write their own bytes, so that nothing between them and the
//! server under test repairs or hides anything.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Longer than anything here takes: reaching it means that an answer is missing.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most bytes of a head that a test reads.
const HEAD_BYTES_MAX: usize = 1 << 20;

/// Header fields in the order they came, names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers(pub(crate) Vec<(String, String)>);

impl Headers {
    /// The value of the first field of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// The values of all fields of this name.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str()).collect()
    }
}

/// The head of a message.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) first_line: String,
    pub(crate) headers: Headers,
}

impl Head {
    /// The status of an answer.
    pub(crate) fn status(&self) -> u16 {
        let status = self.first_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("no status in `{}`", self.first_line))
    }
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) stream: TcpStream,
    /// What was read and not looked at yet.
    pub(crate) unread: Vec<u8>,
}

impl Line {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a socket option");
        Self { stream, unread: Vec::new() }
    }

    pub(crate) async fn to(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).await.expect("somebody listens"))
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the peer takes it");
    }

    /// Sends one chunk of a chunked body; an empty one ends it.
    pub(crate) async fn send_chunk(&mut self, bytes: &[u8]) {
        let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        self.send(&chunk).await;
    }

    /// Says that nothing more will be sent.
    pub(crate) async fn finish(&mut self) {
        // The peer may have closed it already.
        let _ = self.stream.shutdown().await;
    }

    /// Reads what there is; how many bytes that was.
    async fn fill(&mut self) -> io::Result<usize> {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.unread)).await;
        read.unwrap_or_else(|_| {
            panic!("nothing came; before it: {:?}", String::from_utf8_lossy(&self.unread))
        })
    }

    /// Reads a head, or `None` where the peer closed the connection before one.
    pub(crate) async fn head(&mut self) -> Option<Head> {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.unread.len() < HEAD_BYTES_MAX, "a head without end");
            if matches!(self.fill().await, Ok(0) | Err(_)) {
                return None;
            }
        };
        let head: Vec<u8> = self.unread.drain(..end).collect();
        // Latin 1, so that every byte is one character.
        let text: String = head.iter().map(|byte| char::from(*byte)).collect();
        let mut lines = text.trim_end().split("\r\n");
        let first_line = lines.next().unwrap_or_default().to_owned();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header: `{line}`"));
            (name.to_ascii_lowercase(), value.trim().to_owned())
        });
        Some(Head { first_line, headers: Headers(headers.collect()) })
    }

    /// Exactly so many bytes.
    pub(crate) async fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < count {
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.unread.drain(..count).collect())
    }

    /// The next chunk of a chunked body; empty where it ended.
    pub(crate) async fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let size = loop {
            if let Some(at) = self.unread.windows(2).position(|window| window == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..at + 2).collect();
                let text = String::from_utf8_lossy(&line[..at]).into_owned();
                break usize::from_str_radix(&text, 16).map_err(|_| io::ErrorKind::InvalidData)?;
            }
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let mut chunk = self.exactly(size + 2).await?;
        chunk.truncate(size);
        Ok(chunk)
    }

    /// A body that is framed by these headers.
    pub(crate) async fn body(&mut self, headers: &Headers) -> io::Result<Vec<u8>> {
        if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
            let mut body = Vec::new();
            loop {
                let chunk = self.chunk().await?;
                if chunk.is_empty() {
                    return Ok(body);
                }
                body.extend(chunk);
            }
        }
        match headers.get("content-length") {
            Some(length) => self.exactly(length.parse().map_err(|_| io::ErrorKind::InvalidData)?).await,
            None => Ok(Vec::new()),
        }
    }

    /// Everything until the peer closes the connection.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while matches!(self.fill().await, Ok(read) if read > 0) {}
        std::mem::take(&mut self.unread)
    }

    /// The next final answer to a request with `method`, and whether its body came whole.
    pub(crate) async fn answer(&mut self, method: &str) -> Option<Answer> {
        let head = loop {
            let head = self.head().await?;
            if head.status() >= 200 {
                break head;
            }
        };
        let status = head.status();
        let bodiless = method == "HEAD" || status == 204 || status == 304;
        let framed =
            ["content-length", "transfer-encoding"].iter().any(|name| head.headers.get(name).is_some());
        let body = match (bodiless, framed) {
            (true, _) => Some(Vec::new()),
            (false, true) => self.body(&head.headers).await.ok(),
            (false, false) => Some(self.rest().await),
        };
        Some(Answer { status, headers: head.headers, whole: body.is_some(), body: body.unwrap_or_default() })
    }
}

/// An answer as its caller got it.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
    /// Whether the body came to its end.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    pub(crate) fn is_replay(&self) -> bool {
        self.header("idempotent-replayed") == Some("true")
    }
}

/// A request as its caller sends it.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    method: &'static str,
    target: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Ask {
    pub(crate) fn new(method: &'static str, target: &str) -> Self {
        Self { method, target: target.into(), headers: Vec::new(), body: Vec::new() }
    }

    /// A POST by Ada, who has a credential.
    pub(crate) fn post(target: &str) -> Self {
        Self::new("POST", target).header("Authorization", "Bearer ada").body("{\"seat\":1}")
    }

    pub(crate) fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.header("Idempotency-Key", key)
    }

    /// By somebody else, or, where `credential` is empty, by nobody.
    pub(crate) fn by(mut self, credential: &str) -> Self {
        self.headers.retain(|(name, _)| *name != "Authorization");
        if credential.is_empty() {
            self
        } else {
            self.header("Authorization", format!("Bearer {credential}"))
        }
    }

    pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    /// Its head; `framing` says how long its body is.
    pub(crate) fn head(&self, framing: &str) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: test\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.headers {
            head.extend(name.bytes().chain(*b": "));
            head.extend(value.chars().map(|char| u8::try_from(u32::from(char)).expect("Latin 1")));
            head.extend(b"\r\n");
        }
        head.extend(framing.bytes());
        head.extend(b"\r\n");
        head
    }

    /// The whole of it, its length declared.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head(&format!("Content-Length: {}\r\n", self.body.len()));
        bytes.extend(&self.body);
        bytes
    }

    /// Sends it over a connection of its own and waits for the answer.
    pub(crate) async fn to(&self, address: SocketAddr) -> Answer {
        let mut line = Line::to(address).await;
        line.send(&self.bytes()).await;
        line.answer(self.method).await.expect("an answer")
    }
}
