//! A connection that became something else, a WebSocket say: bytes pass both ways until both have ended, or until
//! nothing was said for too long. It belongs to no config any more, so no reload touches it.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::Response;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use steadfast_upstream::Tunnel;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

/// How long a tunnel may stay silent where its upstream says nothing of it.
const SILENCE_MAX: Duration = Duration::from_secs(300);

/// Both ends of a tunnel to be.
pub(crate) struct Ends {
    caller: OnUpgrade,
    upstream: OnUpgrade,
    silence_max: Duration,
}

impl Ends {
    /// The caller's end, and the end of the upstream that answered so.
    pub(crate) fn new<B>(caller: OnUpgrade, response: &mut Response<B>) -> Self {
        let silence_max =
            response.extensions_mut().remove().map_or(SILENCE_MAX, |Tunnel { silence_max }| silence_max);
        Self { caller, upstream: hyper::upgrade::on(response), silence_max }
    }
}

/// Passes bytes both ways until the tunnel ends.
pub(crate) async fn run(ends: Ends) {
    let both = tokio::try_join!(ends.caller, ends.upstream);
    let ended = match both {
        Ok((caller, upstream)) => pass(caller, upstream, ends.silence_max).await,
        Err(error) => Err(io::Error::other(error)),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a tunnel ended badly");
    }
}

async fn pass(caller: Upgraded, upstream: Upgraded, silence_max: Duration) -> io::Result<()> {
    let heard = Arc::new(Heard { began: Instant::now(), last_ms: AtomicU64::new(0) });
    let listening = |end| Listening { end: TokioIo::new(end), heard: Arc::clone(&heard) };
    let (mut caller, mut upstream) = (listening(caller), listening(upstream));
    tokio::select! {
        passed = tokio::io::copy_bidirectional(&mut caller, &mut upstream) => passed.map(|_| ()),
        () = heard.silence(silence_max) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// When the last byte came, from either end.
struct Heard {
    began: Instant,
    last_ms: AtomicU64,
}

impl Heard {
    /// Ends after a silence so long.
    async fn silence(&self, silence_max: Duration) {
        loop {
            let last = self.began + Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            let until = last + silence_max;
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    fn note(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(now, Ordering::Relaxed);
    }
}

/// One end, which notes when something comes from it.
struct Listening {
    end: TokioIo<Upgraded>,
    heard: Arc<Heard>,
}

impl AsyncRead for Listening {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.end).poll_read(context, buffer);
        if read.is_ready() {
            self.heard.note();
        }
        read
    }
}

impl AsyncWrite for Listening {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.end).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.end).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.end).poll_shutdown(context)
    }
}
