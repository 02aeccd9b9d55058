//! Gives an upstream's own OpenAPI document to callers with what the gateway adds to it. It is asked for each time, so that
//! it is never an old one; what was added is kept for as long as it stays the same. Where anything is not as it should
//! be, it is passed on as it came.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use steadfast_core::Code;
use steadfast_layers::{Problem, RequestId};
use tower::{Layer, Service};

use super::{
    RouteContract,
    annotate::{Known, annotated},
};
use crate::{
    config::{Config, Route, UpstreamConfig},
    stack::{EdgeRequest, EdgeResponse, ReplyBody},
};

/// The largest document that is added to.
const DOCUMENT_BYTES_MAX: usize = 4 << 20;

/// What is known of the operations of each upstream that has a document, by its name.
pub(crate) type KnownOperations<'c> = BTreeMap<&'c str, Arc<[Known]>>;

/// What is known of the operations of upstreams in `config`.
pub(crate) fn known_operations(config: &Config) -> KnownOperations<'_> {
    let contracts = RouteContract::all(config);
    let documented = config.upstreams.iter().filter(|(_, upstream)| upstream.openapi.is_some());
    let known = documented.map(|(name, _)| {
        let of_it = contracts.iter().filter(|contract| contract.route.upstream == *name);
        (name.as_str(), of_it.map(Known::of).collect())
    });
    known.collect()
}

/// Where a route gives an upstream's document, and what is added to it.
pub(crate) struct Annotations {
    /// The paths by which callers get it.
    paths: Vec<String>,
    known: Arc<[Known]>,
    /// What came last, and what it became, if anything could be added.
    last: Mutex<Option<(Bytes, Option<Bytes>)>>,
}

impl Annotations {
    /// Those of a route, if the upstream has a document and the route leads to it.
    pub(crate) fn of(route: &Route, upstream: &UpstreamConfig, known: &KnownOperations<'_>) -> Option<Self> {
        let openapi = upstream.openapi.as_deref()?;
        let paths = public_paths(route, openapi);
        if paths.is_empty() {
            return None;
        }
        let known = Arc::clone(known.get(route.upstream.as_str())?);
        Some(Self { paths, known, last: Mutex::default() })
    }

    fn added_to(&self, document: &Bytes) -> Option<Bytes> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, became)) = last.filter(|(came, _)| came == document) {
            return became;
        }
        let became = annotated(document, &self.known).map(Bytes::from);
        let pair = (document.clone(), became.clone());
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(pair);
        became
    }
}

/// The paths that `route` asks its upstream for as `asked`.
fn public_paths(route: &Route, asked: &str) -> Vec<String> {
    let Some(rewrite) = &route.rewrite else { return vec![asked.to_owned()] };
    let below = |path: &str, prefix: &str| {
        path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/')).map(str::to_owned)
    };
    let Some(rest) = below(asked, &rewrite.add_prefix) else { return Vec::new() };
    let mut paths = vec![format!("{}{rest}", rewrite.strip_prefix)];
    // What does not begin with the prefix is passed on without taking anything away.
    if !rewrite.strip_prefix.is_empty() && below(&rest, &rewrite.strip_prefix).is_none() {
        paths.push(rest);
    }
    paths
}

/// Wraps a service in [`AnnotateService`].
#[derive(Clone)]
pub(crate) struct AnnotateLayer(Option<Arc<Annotations>>);

impl AnnotateLayer {
    /// `None` passes everything on as it is.
    pub(crate) fn new(annotations: Option<Annotations>) -> Self {
        Self(annotations.map(Arc::new))
    }
}

impl<S> Layer<S> for AnnotateLayer {
    type Service = AnnotateService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AnnotateService { inner, annotations: self.0.clone() }
    }
}

/// See the [module](self)'s words.
#[derive(Clone)]
pub(crate) struct AnnotateService<S> {
    inner: S,
    annotations: Option<Arc<Annotations>>,
}

impl<S> Service<EdgeRequest> for AnnotateService<S>
where
    S: Service<EdgeRequest, Response = EdgeResponse, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = EdgeResponse;
    type Error = Infallible;
    type Future = AnnotateFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: EdgeRequest) -> Self::Future {
        let asks = |annotations: &&Arc<Annotations>| {
            [Method::GET, Method::HEAD].contains(request.method())
                && annotations.paths.iter().any(|path| path == request.uri().path())
        };
        let Some(annotations) = self.annotations.as_ref().filter(asks).cloned() else {
            return AnnotateFuture { way: Way::Passed { inner: self.inner.call(request) } };
        };
        // The whole document as it is: not coded, not a part of it, and not only whether it is still the same.
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        for name in [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::RANGE, header::IF_RANGE] {
            headers.remove(name);
        }
        let is_head = request.method() == Method::HEAD;
        let request_id = request.extensions().get::<RequestId>().cloned();
        let answer = self.inner.call(request);
        let reading = async move {
            let Ok(response) = answer.await;
            Ok(annotate(response, &annotations, is_head, request_id.as_ref()).await)
        };
        AnnotateFuture { way: Way::Read { reading: Box::pin(reading) } }
    }
}

async fn annotate(
    mut response: EdgeResponse,
    annotations: &Annotations,
    is_head: bool,
    request_id: Option<&RequestId>,
) -> EdgeResponse {
    let headers = response.headers();
    let is_coded = headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity");
    if response.status() != StatusCode::OK || is_coded {
        return response;
    }
    if is_head {
        // How long it becomes is not known without it.
        response.headers_mut().remove(header::CONTENT_LENGTH);
        drop_marks(&mut response);
        return response;
    }
    let (mut parts, mut body) = response.into_parts();
    let mut read: Vec<Bytes> = Vec::new();
    let mut bytes = 0;
    loop {
        match body.frame().await {
            None => break,
            Some(Err(error)) => {
                tracing::info!(%error, "an upstream's OpenAPI document broke off");
                return Problem::new(Code::UpstreamAnswerLost).instance(request_id).into_response();
            }
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else { continue };
                bytes += data.len();
                read.push(data);
            }
        }
        if bytes > DOCUMENT_BYTES_MAX {
            tracing::warn!(
                bytes_max = DOCUMENT_BYTES_MAX,
                "an upstream's OpenAPI document is too large to add to"
            );
            return EdgeResponse::from_parts(parts, body.after(read));
        }
    }
    let document = match <[Bytes; 1]>::try_from(read) {
        Ok([whole]) => whole,
        Err(read) => read
            .into_iter()
            .fold(BytesMut::with_capacity(bytes), |mut whole, part| {
                whole.extend_from_slice(&part);
                whole
            })
            .freeze(),
    };
    let Some(became) = annotations.added_to(&document) else {
        tracing::debug!("an upstream's OpenAPI document is passed on as it is: nothing can be added to it");
        return EdgeResponse::from_parts(parts, ReplyBody::whole(document));
    };
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(became.len()));
    parts.headers.remove(header::TRANSFER_ENCODING);
    let mut response = EdgeResponse::from_parts(parts, ReplyBody::whole(became));
    drop_marks(&mut response);
    response
}

/// Takes away what was said of the bytes as they came.
fn drop_marks(response: &mut EdgeResponse) {
    const DIGESTS: [&str; 4] = ["content-md5", "digest", "content-digest", "repr-digest"];
    let headers = response.headers_mut();
    for name in [header::ETAG, header::LAST_MODIFIED, header::ACCEPT_RANGES] {
        headers.remove(name);
    }
    for name in DIGESTS {
        headers.remove(name);
    }
}

pin_project_lite::pin_project! {
    /// The answer of an [`AnnotateService`].
    pub(crate) struct AnnotateFuture<F> {
        #[pin]
        way: Way<F>,
    }
}

pin_project_lite::pin_project! {
    #[project = WayProjection]
    enum Way<F> {
        Passed {
            #[pin]
            inner: F,
        },
        Read { reading: Pin<Box<dyn Future<Output = Result<EdgeResponse, Infallible>> + Send>> },
    }
}

impl<F> Future for AnnotateFuture<F>
where
    F: Future<Output = Result<EdgeResponse, Infallible>>,
{
    type Output = Result<EdgeResponse, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().way.project() {
            WayProjection::Passed { inner } => inner.poll(context),
            WayProjection::Read { reading } => reading.as_mut().poll(context),
        }
    }
}
