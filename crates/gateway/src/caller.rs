//! Who is calling, as far as the connection tells; and the body that they send.

use std::{
    future::poll_fn,
    net::IpAddr,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderValue;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use steadfast_layers::BodyTooLarge;
use tokio::time::{Instant, Sleep};

/// Whoever is at the other end of a connection. Every request under way on it holds it.
#[derive(Debug)]
pub(crate) struct Caller {
    /// Their address, or what a PROXY protocol header said that it is.
    pub(crate) ip: IpAddr,
    /// The same as text.
    pub(crate) ip_text: Box<str>,
    /// And as the value of a field.
    pub(crate) ip_value: HeaderValue,
    /// Whether they speak TLS.
    pub(crate) is_tls: bool,
    /// The certificate that they showed, as `Client-Cert` has it.
    pub(crate) certificate: Option<HeaderValue>,
    /// How many requests they sent.
    requests: AtomicU64,
}

impl Caller {
    pub(crate) fn new(ip: IpAddr, is_tls: bool, certificate: Option<HeaderValue>) -> Self {
        let ip = ip.to_canonical();
        let ip_text = ip.to_string().into_boxed_str();
        // An address is printable ASCII.
        let ip_value = HeaderValue::from_str(&ip_text);
        let ip_value = ip_value.unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        Self { ip, ip_text, ip_value, is_tls, certificate, requests: AtomicU64::new(0) }
    }

    /// Counts a request.
    pub(crate) fn count(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// How many requests there were.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

/// The body of a request as it comes: bounded in size, and in how long it may stay away. The default is one that has
/// nothing in it.
#[derive(Debug, Default)]
pub(crate) struct CallerBody {
    incoming: Option<Incoming>,
    /// How many bytes may still come.
    left: u64,
    silence_max: Duration,
    /// Made once it has to be waited for.
    silence: Option<Pin<Box<Sleep>>>,
}

/// A request's body did not come whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallerBodyError {
    /// The connection failed.
    #[error("{0}")]
    Broken(#[from] hyper::Error),
    /// Nothing came for too long.
    #[error("not a byte came for {} ms", .0.as_millis())]
    Silent(Duration),
    /// More came than may.
    #[error("{0}")]
    TooLarge(#[from] BodyTooLarge),
}

impl CallerBody {
    pub(crate) fn new(incoming: Incoming, bytes_max: Option<u64>, silence_max: Duration) -> Self {
        Self { incoming: Some(incoming), left: bytes_max.unwrap_or(u64::MAX), silence_max, silence: None }
    }

    /// Whether its length, where it is told, is more than may come.
    pub(crate) fn is_too_large(&self) -> bool {
        self.size_hint().lower() > self.left
    }

    /// Waits for the end of a body that says that it is empty. Over HTTP/2 it may turn out not to be, and a request that
    /// contradicts itself is not passed on (RFC 9113, section 8.1.1).
    pub(crate) async fn end_if_empty(&mut self) -> Result<(), CallerBodyError> {
        while !self.is_end_stream() && self.size_hint().exact() == Some(0) {
            match poll_fn(|context| Pin::new(&mut *self).poll_frame(context)).await {
                Some(frame) => drop(frame?),
                None => break,
            }
        }
        Ok(())
    }

    fn take(&mut self, frame: &Frame<Bytes>) -> Result<(), BodyTooLarge> {
        if let Some(silence) = &mut self.silence {
            silence.as_mut().reset(Instant::now() + self.silence_max);
        }
        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
        self.left = self.left.checked_sub(bytes).ok_or(BodyTooLarge)?;
        Ok(())
    }
}

impl Body for CallerBody {
    type Data = Bytes;
    type Error = CallerBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallerBodyError>>> {
        let this = &mut *self;
        let Some(incoming) = &mut this.incoming else { return Poll::Ready(None) };
        match Pin::new(incoming).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => match this.take(&frame) {
                Ok(()) => Poll::Ready(Some(Ok(frame))),
                Err(too_large) => Poll::Ready(Some(Err(too_large.into()))),
            },
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let silence_max = this.silence_max;
                let silence = this.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(silence_max)));
                let silent = silence.as_mut().poll(context);
                silent.map(|()| Some(Err(CallerBodyError::Silent(silence_max))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
