//! As much of HTTP/1.1 as a load generator and its upstream need: where a message ends. Both ends are ours and every
//! message says its length, so that reading stays cheap and core 1 is never the bottleneck.

use anyhow::bail;

/// Headers a message may have; a server that sends more fails the benchmark.
const HEADERS_MAX: usize = 48;

/// What is known of a message once its head is complete.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The status of an answer; 0 for a request.
    pub(crate) status: u16,
    /// Whether a request is a POST.
    pub(crate) post: bool,
    /// Bytes of head and body together.
    pub(crate) whole: usize,
    /// Bytes of the body.
    pub(crate) body: usize,
    /// Whether the other side closes the connection after this message.
    pub(crate) closes: bool,
    /// Whether the answer says that it is a replay, in any of the contestants' ways.
    pub(crate) replayed: bool,
}

/// Reads the head of an answer, if `input` holds one.
///
/// # Errors
/// It is not HTTP/1.1, or does not say its length.
pub(crate) fn answer(input: &[u8]) -> anyhow::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = answer.parse(input)? else { return Ok(None) };
    let status = answer.code.unwrap_or_default();
    let mut read = lengths(head, answer.headers, true)?;
    read.status = status;
    Ok(Some(read))
}

/// Reads the head of a request, if `input` holds one.
///
/// # Errors
/// It is not HTTP/1.1, or its body is chunked.
pub(crate) fn request(input: &[u8]) -> anyhow::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head) = request.parse(input)? else { return Ok(None) };
    let post = request.method == Some("POST");
    let mut read = lengths(head, request.headers, false)?;
    read.post = post;
    Ok(Some(read))
}

fn lengths(head: usize, headers: &[httparse::Header<'_>], length_required: bool) -> anyhow::Result<Head> {
    let (mut body, mut closes, mut replayed) = (None, false, false);
    for header in headers {
        let name = header.name;
        if name.eq_ignore_ascii_case("content-length") {
            body = Some(std::str::from_utf8(header.value)?.trim().parse()?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            bail!("a chunked message, where every side knows its length");
        } else if name.eq_ignore_ascii_case("connection") {
            closes = header.value.eq_ignore_ascii_case(b"close");
        } else if name.eq_ignore_ascii_case("idempotent-replayed")
            || name.eq_ignore_ascii_case("idempotency-replayed")
        {
            replayed = header.value == b"true";
        }
    }
    if length_required && body.is_none() {
        bail!("an answer without a length");
    }
    let body = body.unwrap_or(0);
    Ok(Head { status: 0, post: false, whole: head + body, body, closes, replayed })
}

#[cfg(test)]
mod tests {
    use super::{answer, request};

    #[test]
    fn knows_where_an_answer_ends() {
        let bytes = b"HTTP/1.1 201 Created\r\nContent-Length: 3\r\nIdempotent-Replayed: true\r\n\r\nabcHTTP";
        let head = answer(bytes).unwrap().unwrap();
        assert_eq!((head.status, head.body, head.whole, head.replayed), (201, 3, bytes.len() - 4, true));
        assert_eq!(answer(&bytes[..30]).unwrap(), None);
    }

    #[test]
    fn an_answer_must_say_its_length() {
        assert!(answer(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
    }

    #[test]
    fn a_request_without_a_length_has_no_body() {
        let head = request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().unwrap();
        assert_eq!((head.body, head.post), (0, false));
    }
}
