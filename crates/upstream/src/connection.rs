//! One connection to an upstream, driven by whoever uses it.
//!
//! No task stands behind it: the exchange that uses it polls it, so a request crosses no channel to another task
//! and wakes nobody. While it is idle nobody polls it; before it is used again it is looked at.

use std::{os::fd::OwnedFd, pin::Pin, task::Context, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1},
};
use hyper_util::rt::TokioIo;
use rustix::net::{RecvFlags, recv};
use tokio::{net::TcpStream, time::Instant};

use crate::Address;

/// A connection and the way to send requests over it.
pub(crate) struct Connection<B: Body + 'static> {
    sender: http1::SendRequest<B>,
    /// `None` once it has ended: the connection is of no more use. It is dropped at that moment, because what it
    /// still held is answered by its drop.
    driver: Option<Pin<Box<Driver<B>>>>,
    /// The same socket, to look at without reading from it.
    socket: OwnedFd,
    /// When it was last used.
    used_at: Instant,
}

/// What reads and writes for it.
type Driver<B> = http1::Connection<TokioIo<TcpStream>, B>;

/// How an exchange failed.
pub(crate) enum ExchangeError<B> {
    /// Not a byte was written: here is the request back.
    Unsent(Box<Request<B>>),
    /// It may have been executed.
    Lost(hyper::Error),
}

impl<B> Connection<B>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Makes a connection. The error is for the log.
    pub(crate) async fn open(address: &Address, timeout: Duration) -> Result<Self, String> {
        let connecting = TcpStream::connect((address.host(), address.port()));
        let stream = match tokio::time::timeout(timeout, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(format!("{address}: {error}")),
            Err(_) => return Err(format!("{address}: no connection within {} ms", timeout.as_millis())),
        };
        let prepared = stream.set_nodelay(true).and_then(|()| {
            use std::os::fd::AsFd;
            stream.as_fd().try_clone_to_owned()
        });
        let socket = prepared.map_err(|error| format!("{address}: {error}"))?;
        // Head and body of a small request go out in one buffer: a plain send costs less than a gathering one.
        let (sender, driver) = http1::Builder::new()
            .writev(false)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| format!("{address}: {error}"))?;
        Ok(Self { sender, driver: Some(Box::pin(driver)), socket, used_at: Instant::now() })
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<B>,
    ) -> Result<Response<Incoming>, ExchangeError<B>> {
        let mut answer = std::pin::pin!(self.sender.try_send_request(request));
        let driver = &mut self.driver;
        std::future::poll_fn(|context| {
            drive(driver, context);
            answer.as_mut().poll(context)
        })
        .await
        .map_err(Self::failure)
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
    pub(crate) fn is_silent(&self) -> bool {
        let mut byte = [0_u8; 1];
        matches!(
            recv(&self.socket, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT),
            Err(rustix::io::Errno::AGAIN)
        )
    }
}

/// Polls a driver, and drops it when it ends.
fn drive<F: Future>(driver: &mut Option<Pin<Box<F>>>, context: &mut Context<'_>) {
    if driver.as_mut().is_some_and(|driver| driver.as_mut().poll(context).is_ready()) {
        *driver = None;
    }
}
