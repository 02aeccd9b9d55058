//! The body of a request on its way to an upstream.

use bytes::Bytes;
use http::Request;
use http_body::Body;
use steadfast_layers::RequestBody;

/// A body that can be sent to an upstream, and perhaps twice.
pub trait OutgoingBody:
    Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
    + From<Bytes>
    + Unpin
    + Send
    + Sized
    + 'static
{
    /// The same body again, where it is whole in memory and nothing of it was taken.
    fn again(&self) -> Option<Self>;
}

impl<B> OutgoingBody for RequestBody<B>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Unpin + Send + 'static,
{
    fn again(&self) -> Option<Self> {
        Self::again(self)
    }
}

/// The same request again, where its body is there again.
pub(crate) fn again<B: OutgoingBody>(request: &Request<B>) -> Option<Request<B>> {
    let mut again = Request::new(request.body().again()?);
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.version_mut() = request.version();
    again.headers_mut().clone_from(request.headers());
    Some(again)
}
