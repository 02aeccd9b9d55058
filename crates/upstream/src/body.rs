//! The body of an upstream's answer. It carries its connection along and drives it, and puts it back into the
//! pool when it ends.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::{connection::Connection, pool::Pool};

/// The body of an upstream's answer; dropping it unfinished closes its connection.
pub struct UpstreamBody<B: Body<Data = Bytes> + Unpin + Send + 'static>
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    incoming: Incoming,
    connection: Option<Borrowed<B>>,
}

/// A connection and where it goes back to.
type Borrowed<B> = (Box<Connection<B>>, Arc<Pool<B>>);

impl<B> UpstreamBody<B>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub(crate) fn new(incoming: Incoming, connection: Connection<B>, pool: Arc<Pool<B>>) -> Self {
        Self { incoming, connection: Some((Box::new(connection), pool)) }
    }

    /// After the last frame: lets the connection come to rest, and puts it back if it can be used again.
    pub(crate) fn release(&mut self, context: &mut Context<'_>) {
        if let Some((mut connection, pool)) = self.connection.take() {
            connection.drive(context);
            if connection.is_ready() {
                pool.put(*connection);
            }
        }
    }
}

impl<B> Body for UpstreamBody<B>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut polled = Pin::new(&mut self.incoming).poll_frame(context);
        if polled.is_pending()
            && let Some((connection, _)) = &mut self.connection
        {
            // Asking for a frame told the connection to read one.
            connection.drive(context);
            polled = Pin::new(&mut self.incoming).poll_frame(context);
        }
        match &polled {
            Poll::Ready(Some(Err(_))) => self.connection = None,
            Poll::Ready(_) if self.incoming.is_end_stream() => self.release(context),
            Poll::Ready(None) => self.release(context),
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
