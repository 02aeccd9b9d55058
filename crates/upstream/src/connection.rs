//! One HTTP/1.1 connection to an upstream, driven by whoever uses it.
//!
//! No task stands behind it: the exchange that uses it polls it, so a request crosses no channel to another task
//! and wakes nobody. While it is idle nobody polls it; before it is used again it is looked at.

use std::{
    os::fd::{AsFd, OwnedFd},
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1},
};
use hyper_util::rt::TokioIo;
use rustix::{
    io::Errno,
    net::{RecvFlags, recv},
};
use tokio::time::Instant;

use crate::{outgoing::OutgoingBody, stream::Stream};

/// A connection and the way to send requests over it.
pub(crate) struct Connection<B: OutgoingBody> {
    sender: http1::SendRequest<B>,
    /// `None` once it has ended: the connection is of no more use. It is dropped at that moment, because what it
    /// still held is answered by its drop.
    driver: Option<Pin<Box<Driver<B>>>>,
    /// The same socket, to look at without reading from it.
    socket: OwnedFd,
    /// Whether what comes over it is wrapped in TLS, whose own messages come unasked.
    is_tls: bool,
    /// When it was last used.
    used_at: Instant,
}

/// What reads and writes for it.
type Driver<B> = http1::Connection<TokioIo<Stream>, B>;

/// How an exchange failed.
pub(crate) enum ExchangeError<B> {
    /// Not a byte was written: here is the request back.
    Unsent(Box<Request<B>>),
    /// It may have been executed.
    Lost(hyper::Error),
}

impl<B: OutgoingBody> Connection<B> {
    /// Speaks HTTP/1.1 over `stream`.
    pub(crate) async fn over(stream: Stream) -> Result<Self, String> {
        let socket = stream.as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
        let is_tls = stream.is_tls();
        let (sender, driver) = handshake(stream).await?;
        Ok(Self { sender, driver: Some(Box::pin(driver)), socket, is_tls, used_at: Instant::now() })
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) fn exchange(
        &mut self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<Incoming>, ExchangeError<B>>> {
        let answer = self.sender.try_send_request(request);
        Exchange { answer, driver: &mut self.driver }
    }

    fn failure(mut error: TrySendError<Request<B>>) -> ExchangeError<B> {
        match error.take_message() {
            Some(request) => ExchangeError::Unsent(Box::new(request)),
            None => ExchangeError::Lost(error.into_error()),
        }
    }

    /// Lets the connection read and write what it can.
    pub(crate) fn drive(&mut self, context: &mut Context<'_>) {
        drive(&mut self.driver, context);
    }

    /// Whether another request can be sent over it.
    pub(crate) fn is_ready(&self) -> bool {
        self.driver.is_some() && self.sender.is_ready()
    }

    /// Whether it was used within `idle`.
    pub(crate) fn is_fresh(&self, now: Instant, idle: Duration) -> bool {
        now.saturating_duration_since(self.used_at) < idle
    }

    /// Notes that it is being put aside.
    pub(crate) fn rest(&mut self, now: Instant) {
        self.used_at = now;
    }

    /// Whether the peer has left it open and silent, asked of the kernel: the runtime may not have heard yet
    /// that the peer closed it.
    pub(crate) fn is_silent(&mut self) -> bool {
        let mut byte = [0_u8; 1];
        match recv(&self.socket, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN) => true,
            // A ticket for the next session, perhaps, or word that this one is over: whoever reads it knows.
            Ok((1.., _)) if self.is_tls => {
                drive(&mut self.driver, &mut Context::from_waker(Waker::noop()));
                self.is_ready()
            }
            _ => false,
        }
    }
}

pin_project_lite::pin_project! {
    // An exchange under way: a struct, because what an async block is given takes room twice in it.
    struct Exchange<'a, B: OutgoingBody, F> {
        #[pin]
        answer: F,
        driver: &'a mut Option<Pin<Box<Driver<B>>>>,
    }
}

impl<B, F> Future for Exchange<'_, B, F>
where
    B: OutgoingBody,
    F: Future<Output = Result<Response<Incoming>, TrySendError<Request<B>>>>,
{
    type Output = Result<Response<Incoming>, ExchangeError<B>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        drive(this.driver, context);
        this.answer.poll(context).map_err(Connection::failure)
    }
}

/// Speaks HTTP/1.1 over `stream`.
pub(crate) async fn handshake<B: OutgoingBody>(
    stream: Stream,
) -> Result<(http1::SendRequest<B>, Driver<B>), String> {
    // Head and body of a small request go out in one buffer: a plain send costs less than a gathering one.
    let mut builder = http1::Builder::new();
    builder.writev(false).handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())
}

/// Polls a driver, and drops it when it ends.
fn drive<F: Future>(driver: &mut Option<Pin<Box<F>>>, context: &mut Context<'_>) {
    if driver.as_mut().is_some_and(|driver| driver.as_mut().poll(context).is_ready()) {
        *driver = None;
    }
}
