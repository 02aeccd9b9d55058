//! The body of an answer that is kept while it streams to its caller. Nobody waits for it to be whole, and one that
//! turns out too large, or breaks off, is not kept.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use steadfast_ledger::Clock;

use crate::{HeldBody, RouteTally};

use super::{collapse::Lead, entry::Entry, epochs::Epoch, key::Key, store::CacheStore};

/// The body of an answer on a route with a cache.
#[derive(Debug)]
pub enum CacheBody<R> {
    /// It passes.
    Passed(R),
    /// It is kept as it passes.
    Recorded(Box<Recorded<R>>),
}

/// See the [module](self)'s words.
#[derive(Debug)]
pub struct Recorded<R> {
    inner: HeldBody<R>,
    /// What has come so far; nothing once it is kept, or will not be.
    record: Option<Record>,
}

/// An answer that is being kept.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) store: Arc<CacheStore>,
    pub(super) key: Key,
    pub(super) epoch: Epoch,
    pub(super) entry: Entry,
    /// Others wait for it.
    pub(super) lead: Option<Lead>,
    pub(super) bytes_max: usize,
    /// How long the answer said that its body is.
    pub(super) length: Option<u64>,
    pub(super) tally: Arc<RouteTally>,
    pub(super) clock: Clock,
    pub(super) body: Vec<u8>,
}

impl Record {
    fn keep(mut self) {
        // Some servers give up a body before its announced end without anybody noticing.
        if self.length.is_some_and(|length| length != self.body.len() as u64) {
            return;
        }
        self.body.shrink_to_fit();
        self.entry.body = Bytes::from(self.body);
        let entry = Arc::new(self.entry);
        self.store.keep(&self.key, Arc::clone(&entry), self.epoch);
        self.tally.cache_stored.add();
        if let Some(lead) = self.lead {
            lead.kept(entry);
        }
    }

    /// It is not kept, and would not be the next time.
    fn give_up(self) {
        if self.lead.is_some_and(Lead::alone) {
            self.store.keep_apart(&self.key, self.clock.boot());
        }
    }
}

impl<R> CacheBody<R> {
    /// A body that only passes.
    pub(super) fn passed(body: HeldBody<R>) -> HeldBody<Self> {
        match body {
            HeldBody::Whole(bytes) => HeldBody::Whole(bytes),
            HeldBody::Passed(body) => HeldBody::Passed(Self::Passed(body)),
            HeldBody::Resumed(read, rest) => HeldBody::Resumed(read, Self::Passed(rest)),
        }
    }
}

impl<R: Body<Data = Bytes> + Unpin> CacheBody<R> {
    /// A body that is kept as it passes.
    pub(super) fn recorded(inner: HeldBody<R>, record: Record) -> HeldBody<Self> {
        if inner.is_end_stream() {
            record.keep();
            return Self::passed(inner);
        }
        HeldBody::Passed(Self::Recorded(Box::new(Recorded { inner, record: Some(record) })))
    }
}

impl<R: Body<Data = Bytes> + Unpin> Body for CacheBody<R> {
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        match &mut *self {
            Self::Passed(body) => Pin::new(body).poll_frame(context),
            Self::Recorded(recorded) => recorded.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Passed(body) => body.is_end_stream(),
            Self::Recorded(recorded) => recorded.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Passed(body) => body.size_hint(),
            Self::Recorded(recorded) => recorded.inner.size_hint(),
        }
    }
}

impl<R: Body<Data = Bytes> + Unpin> Recorded<R> {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        match &polled {
            Poll::Pending => {}
            Poll::Ready(None) => self.end(),
            // It broke off: who waits for it asks for itself.
            Poll::Ready(Some(Err(_))) => self.record = None,
            Poll::Ready(Some(Ok(frame))) => {
                match (frame.data_ref(), &mut self.record) {
                    (Some(data), Some(record)) if record.body.len() + data.len() <= record.bytes_max => {
                        record.body.extend_from_slice(data);
                    }
                    // Too large; or it has trailers, which are not kept.
                    _ => {
                        if let Some(record) = self.record.take() {
                            record.give_up();
                        }
                    }
                }
                // Who knows that this was the last one does not ask again.
                if self.inner.is_end_stream() {
                    self.end();
                }
            }
        }
        polled
    }

    fn end(&mut self) {
        if let Some(record) = self.record.take() {
            record.keep();
        }
    }
}
