//! The body of an upstream's answer. Over HTTP/1.1 it carries its connection along and drives it, and puts it back
//! into the pool when it ends.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::{connection::Connection, load::InFlight, outgoing::OutgoingBody, pool::Pool};

/// The body of an upstream's answer; dropping it unfinished closes its connection, or resets its stream.
pub struct UpstreamBody<B: OutgoingBody> {
    incoming: Incoming,
    connection: Option<Borrowed<B>>,
    /// How long it may stay without a byte.
    silence_max: Option<Duration>,
    /// Runs while it does; made once it has to be waited for.
    silence: Option<Pin<Box<Sleep>>>,
    /// Its endpoint is busy with it until it ended or was dropped.
    in_flight: Option<InFlight>,
    /// What was read of it already, to find out what the answer means.
    ahead: VecDeque<Result<Frame<Bytes>, BodyError>>,
}

/// A connection and where it goes back to.
type Borrowed<B> = (Box<Connection<B>>, Arc<Pool<B>>);

/// The body of an answer broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The connection failed.
    #[error("{0}")]
    Broken(#[from] hyper::Error),
    /// Nothing came for too long.
    #[error("not a byte came for {} ms", .0.as_millis())]
    Silent(Duration),
}

impl<B: OutgoingBody> UpstreamBody<B> {
    pub(crate) fn new(incoming: Incoming, silence_max: Option<Duration>) -> Self {
        Self {
            incoming,
            connection: None,
            silence_max,
            silence: None,
            in_flight: None,
            ahead: VecDeque::new(),
        }
    }

    /// Lets it drive `connection`, over which it comes.
    pub(crate) fn over(mut self, connection: Connection<B>, pool: Arc<Pool<B>>) -> Self {
        self.connection = Some((Box::new(connection), pool));
        self
    }

    /// Counts it as being under way, until it ended or was dropped.
    pub(crate) fn counted(mut self, in_flight: Option<InFlight>) -> Self {
        self.in_flight = in_flight.filter(|_| !self.incoming.is_end_stream());
        self
    }

    /// After the last frame: lets the connection come to rest, and puts it back if it can be used again.
    pub(crate) fn release(&mut self, context: &mut Context<'_>) {
        self.in_flight = None;
        if let Some((mut connection, pool)) = self.connection.take() {
            connection.drive(context);
            if connection.is_ready() {
                pool.put(*connection);
            }
        }
    }

    /// Reads it, unless it is larger than `bytes_max`. Whatever is read comes first when it is read again.
    pub(crate) async fn read_ahead(&mut self, bytes_max: usize) -> Option<Bytes> {
        let mut read = BytesMut::new();
        loop {
            let frame = std::future::poll_fn(|context| self.poll_next(context)).await;
            let Some(frame) = frame else { return Some(read.freeze()) };
            let whole = match &frame {
                Ok(frame) => {
                    read.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                    read.len() <= bytes_max
                }
                Err(_) => false,
            };
            self.ahead.push_back(frame);
            if !whole {
                return None;
            }
            // hyper says nothing more of a body whose last byte came.
            if self.incoming.is_end_stream() {
                return Some(read.freeze());
            }
        }
    }

    fn poll_incoming(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(context);
        match &mut self.connection {
            Some((connection, _)) if polled.is_pending() => {
                // Asking for a frame told the connection to read one.
                connection.drive(context);
                Pin::new(&mut self.incoming).poll_frame(context)
            }
            _ => polled,
        }
    }

    /// Whether it has been silent for too long.
    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<Duration> {
        let Some(silence_max) = self.silence_max else { return Poll::Pending };
        let silence = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(silence_max)));
        silence.as_mut().poll(context).map(|()| silence_max)
    }

    /// A byte came: the next silence is another one.
    fn hear(&mut self) {
        if let (Some(silence), Some(silence_max)) = (&mut self.silence, self.silence_max) {
            silence.as_mut().reset(Instant::now() + silence_max);
        }
    }

    /// The next frame that was not read yet.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = self.poll_incoming(context);
        match &polled {
            Poll::Pending => {
                if let Poll::Ready(silence_max) = self.poll_silence(context) {
                    self.connection = None;
                    return Poll::Ready(Some(Err(BodyError::Silent(silence_max))));
                }
            }
            Poll::Ready(Some(Err(_))) => (self.connection, self.in_flight) = (None, None),
            Poll::Ready(_) if self.incoming.is_end_stream() => self.release(context),
            Poll::Ready(None) => self.release(context),
            Poll::Ready(Some(Ok(_))) => self.hear(),
        }
        polled.map(|frame| frame.map(|frame| frame.map_err(BodyError::Broken)))
    }
}

impl<B: OutgoingBody> Body for UpstreamBody<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.ahead.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => self.poll_next(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_empty() && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.incoming.size_hint();
        let ahead = self.ahead.iter().flatten().filter_map(Frame::data_ref).map(Bytes::len).sum::<usize>();
        if ahead > 0 {
            if let Some(upper) = hint.upper() {
                hint.set_upper(upper + ahead as u64);
            }
            hint.set_lower(hint.lower() + ahead as u64);
        }
        hint
    }
}
