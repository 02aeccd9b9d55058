//! One connection: who is at the other end, which protocol they speak, and their requests until they leave.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    caller::Caller,
    certificates::Certificates,
    config::{EdgePolicy, Listener},
    drain::{Drain, Open},
    edge::{Edge, ToldBody},
    handover::Holder,
    patient::Patient,
    proxy_protocol,
    quiet::Quiet,
    tunnel::{self, Ends},
    woken::Woken,
};

/// What every connection of HTTP/2 begins with, if nothing was agreed on before (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long to wait before a preface that has come in part is looked at again: at first, and at most. Each time it is
/// twice as long, so that whoever sends one byte and no more costs next to nothing.
const PREFACE_PAUSE: Duration = Duration::from_millis(2);
const PREFACE_PAUSE_MAX: Duration = Duration::from_secs(1);
/// How much of a stream, and of a connection of HTTP/2, may be on its way in before it is read, in bytes.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// Where connections come in: one listener's policy, and what serves them.
pub(crate) struct Door {
    pub(crate) listener: Listener,
    pub(crate) holder: Holder,
    pub(crate) certificates: Option<Arc<Certificates>>,
    pub(crate) policy: EdgePolicy,
    pub(crate) edge: Arc<Edge>,
    pub(crate) drain: Drain,
}

impl Door {
    /// Serves a connection until it ends.
    pub(crate) async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, _open: Open) {
        // Small answers must not wait for more to come.
        let _ = stream.set_nodelay(true);
        let opened = tokio::select! {
            // Whoever has sent nothing yet loses nothing.
            () = self.drain.idle_closed() => return,
            opened = tokio::time::timeout(self.policy.header_timeout, Box::pin(self.open(stream, peer))) => {
                opened
            }
        };
        let ended = match opened {
            Ok(Ok((Speaking::Plain(stream), is_http2, caller))) => self.speak(stream, is_http2, caller).await,
            Ok(Ok((Speaking::Tls(stream), is_http2, caller))) => self.speak(stream, is_http2, caller).await,
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err("it said nothing in time".into()),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, %peer, "a connection ended badly");
        }
    }

    /// Finds out who is calling, and which version of HTTP they speak.
    async fn open(&self, mut stream: TcpStream, peer: SocketAddr) -> io::Result<(Speaking, bool, Caller)> {
        let told =
            if self.listener.is_told_by(peer.ip()) { proxy_protocol::read(&mut stream).await? } else { None };
        let ip = told.unwrap_or(peer).ip();
        match &self.certificates {
            None => {
                let is_http2 = begins_with_preface(&stream).await?;
                Ok((Speaking::Plain(stream), is_http2, Caller::new(ip, false, None)))
            }
            Some(certificates) => {
                let stream = TlsAcceptor::from(certificates.current()).accept(stream).await?;
                let connection = stream.get_ref().1;
                let is_http2 = connection.alpn_protocol() == Some(b"h2");
                let shown = connection.peer_certificates().and_then(|chain| chain.first());
                // Bytes as a structured field: base64 between colons (RFC 9440, section 2.1).
                let shown = shown.map(|der| format!(":{}:", BASE64_STANDARD.encode(der)));
                let shown = shown.and_then(|text| HeaderValue::from_str(&text).ok());
                Ok((Speaking::Tls(Box::new(stream)), is_http2, Caller::new(ip, true, shown)))
            }
        }
    }

    async fn speak<S>(&self, stream: S, is_http2: bool, caller: Caller) -> Result<(), Failed>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = Patient::new(stream, self.policy.write_timeout);
        let caller = Arc::new(caller);
        // Boxed, so that a connection takes up no room for what it does not speak.
        if is_http2 {
            Box::pin(self.speak_http2(TokioIo::new(stream), caller)).await
        } else {
            self.speak_http1(stream, caller).await
        }
    }

    /// Serves HTTP/1.1. Buffers and all else that requests need is let go while none comes: a connection at rest is
    /// its socket and little more.
    async fn speak_http1<S>(&self, mut stream: Patient<S>, caller: Arc<Caller>) -> Result<(), Failed>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut quiet = Quiet::of(&caller, stream.is_stalled(), self.policy.header_timeout);
        let mut closing = std::pin::pin!(self.drain.idle_closed());
        loop {
            let rested = Box::pin(self.speak_while_asked(stream, &caller, &mut quiet)).await?;
            let Some((rested, begun)) = rested else { return Ok(()) };
            stream = rested;
            if begun.is_empty() {
                tokio::select! {
                    woken = stream.wake() => if !woken? { return Ok(()) },
                    () = quiet.too_long() => return Err("no request came in time".into()),
                    () = &mut closing => return Ok(()),
                }
            } else if quiet.is_too_long() {
                return Err("a request's head did not come whole in time".into());
            } else {
                stream.unread(begun);
            }
        }
    }

    /// Serves requests for as long as they come. Returns the stream when none has for a while, with what has come of
    /// the next one's head; nothing when the connection is over.
    async fn speak_while_asked<S>(
        &self,
        stream: Patient<S>,
        caller: &Arc<Caller>,
        quiet: &mut Quiet<'_>,
    ) -> Result<Option<(Patient<S>, Bytes)>, Failed>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let switched: Mutex<Option<Ends>> = Mutex::default();
        let service = service_fn(|request| self.answer(request, caller, &switched));
        let policy = &self.policy;
        let mut connection = http1::Builder::new()
            .half_close(self.listener.half_close)
            .max_headers(policy.headers_max)
            .max_buf_size(policy.header_bytes_max)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let aside = async {
            tokio::select! {
                () = quiet.for_a_while() => Aside::Quiet,
                () = self.drain.idle_closed() => Aside::Closing,
            }
        };
        let aside = tokio::select! {
            biased;
            served = &mut connection => Err(served),
            aside = Woken::new(aside) => Ok(aside),
        };
        let served = match aside {
            Ok(Aside::Quiet) => {
                let parts = connection.into_parts();
                return Ok(parts.map(|parts| (parts.io.into_inner(), parts.read_buf)));
            }
            Ok(Aside::Closing) => {
                // The request under way is answered, and no other is read.
                Pin::new(&mut connection).graceful_shutdown();
                connection.await
            }
            Err(served) => served,
        };
        let ends = switched.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ends) = ends {
            tunnel::run(ends).await;
        }
        served.map(|()| None).map_err(Failed::from)
    }

    /// Answers a request; what is to become a tunnel is left in `switched` until the connection lets go of it.
    async fn answer(
        &self,
        mut request: Request<Incoming>,
        caller: &Arc<Caller>,
        switched: &Mutex<Option<Ends>>,
    ) -> Result<Response<ToldBody>, Infallible> {
        let asks = request.headers().contains_key(header::UPGRADE);
        let here = asks.then(|| hyper::upgrade::on(&mut request));
        let mut response = self.edge.serve(request, caller).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS
            && let Some(here) = here
        {
            let ends = Ends::new(here, &mut response);
            *switched.lock().unwrap_or_else(PoisonError::into_inner) = Some(ends);
        } else if self.drain.is_asked() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }

    async fn speak_http2<S>(&self, stream: TokioIo<Patient<S>>, caller: Arc<Caller>) -> Result<(), Failed>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let policy = &self.policy;
        let stalled = stream.inner().is_stalled();
        let (edge, theirs) = (Arc::clone(&self.edge), Arc::clone(&caller));
        let service = service_fn(move |request| {
            let (edge, caller) = (Arc::clone(&edge), Arc::clone(&theirs));
            async move { edge.serve(request, &caller).await }
        });
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(policy.streams_max)
            .max_header_list_size(u32::try_from(policy.header_bytes_max).unwrap_or(u32::MAX))
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        let mut connection = std::pin::pin!(builder.serve_connection(stream, service));
        let mut quiet = Quiet::of(&caller, stalled, policy.header_timeout);
        tokio::select! {
            served = connection.as_mut() => return served.map_err(Failed::from),
            () = self.drain.asked() => {}
            () = quiet.too_long() => {}
        }
        // What is under way is answered. Who has nothing under way and does not say goodbye is not waited for.
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            served = connection => served.map_err(Failed::from),
            () = quiet.for_a_while() => Ok(()),
        }
    }
}

/// What happens beside a connection of HTTP/1.1.
enum Aside {
    /// Nothing has been asked for a while.
    Quiet,
    /// Nobody is to wait for a next request any more.
    Closing,
}

/// Why a connection ended badly, for the log.
type Failed = Box<dyn std::error::Error + Send + Sync>;

/// A connection whose other end is known.
enum Speaking {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Whether HTTP/2 is spoken with prior knowledge. Looks at the first bytes and leaves them where they are.
async fn begins_with_preface(stream: &TcpStream) -> io::Result<bool> {
    let mut begin = [0; PREFACE.len()];
    let mut pause = PREFACE_PAUSE;
    loop {
        let length = stream.peek(&mut begin).await?;
        if length == 0 || !PREFACE.starts_with(&begin[..length]) {
            return Ok(false);
        }
        if length == PREFACE.len() {
            return Ok(true);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PREFACE_PAUSE_MAX);
    }
}
