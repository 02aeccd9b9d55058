//! The bytes between the gateway and an upstream: TCP, TLS over it, or a Unix socket. An upstream that takes no byte of
//! what is being sent to it is not waited for longer than it may be.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    time::Sleep,
};
use tokio_rustls::client::TlsStream;

/// A stream to an upstream.
#[derive(Debug)]
pub(crate) struct Stream {
    transport: Transport,
    /// How long it may take no byte.
    write_timeout: Option<Duration>,
    /// Runs while it does; made once it has to be waited for.
    stalled: Option<Pin<Box<Sleep>>>,
}

/// What the bytes go over.
#[derive(Debug)]
pub(crate) enum Transport {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

impl Stream {
    pub(crate) fn new(transport: Transport, write_timeout: Option<Duration>) -> Self {
        Self { transport, write_timeout, stalled: None }
    }

    /// Whether what comes over it is wrapped in TLS.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self.transport, Transport::Tls(_))
    }

    /// What became of bytes that were to be written: while none is taken, time runs.
    fn watched<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let Some(limit) = self.write_timeout else { return polled };
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(stalled.as_mut().poll(context));
        let told = format!("not a byte was taken for {} ms", limit.as_millis());
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, told)))
    }
}

/// Does the same with whichever transport it is.
macro_rules! each {
    ($stream:expr, $inner:ident => $action:expr) => {
        match &mut $stream.transport {
            Transport::Tcp($inner) => {
                let $inner = Pin::new($inner);
                $action
            }
            Transport::Tls($inner) => {
                let $inner = Pin::new(&mut **$inner);
                $action
            }
            Transport::Unix($inner) => {
                let $inner = Pin::new($inner);
                $action
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, inner => inner.poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = each!(self, inner => inner.poll_write(context, bytes));
        self.watched(context, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = each!(self, inner => inner.poll_flush(context));
        self.watched(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => inner.poll_shutdown(context))
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.transport {
            Transport::Tcp(stream) => stream.as_fd(),
            Transport::Tls(stream) => stream.get_ref().0.as_fd(),
            Transport::Unix(stream) => stream.as_fd(),
        }
    }
}
