//! The seam to whoever else is asked: an authority for its keys, an introspection, a forward-auth service.

use std::fmt;

use bytes::Bytes;
use http::{Request, Response};
use steadfast_ledger::BoxFuture;

/// Sends small requests to one place and takes small answers in, whole and in bounded time.
pub trait Outbound: fmt::Debug + Send + Sync + 'static {
    /// Asks; the reason in words where no answer came. The request's target is a path.
    fn ask(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, String>>;
}
