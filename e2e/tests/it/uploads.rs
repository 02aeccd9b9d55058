//! Uploads that are larger than the memory they may take: through a real gateway, broken off, killed, retried, and
//! with the disk full.

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use e2e::{Answer, Ask, Caller, Gateway, await_that};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

const PATIENCE: Duration = Duration::from_secs(60);
const MB: usize = 1 << 20;
const UPLOAD_BYTES: usize = 64 * MB;
/// How much more memory than before the gateway may take for an upload many times as large.
const MEMORY_BYTES_MAX: u64 = 24 << 20;
/// How long the upstream pauses after every piece, where it is slow.
const PAUSE: Duration = Duration::from_millis(2);

/// An upstream that takes uploads and says what came: how many there were, how large this one was, and a sum that
/// depends on every byte and its place.
pub(crate) struct Taker {
    addr: SocketAddr,
    taken: Arc<AtomicU64>,
    _serving: JoinSet<()>,
}

impl Taker {
    pub(crate) async fn start(pause: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let taken = Arc::new(AtomicU64::new(0));
        let mut serving = JoinSet::new();
        let count = Arc::clone(&taken);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let count = Arc::clone(&count);
                let service = service_fn(move |request| take(request, pause, Arc::clone(&count)));
                connections.spawn(async move {
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { addr, taken, _serving: serving }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }
}

async fn take(
    request: Request<Incoming>,
    pause: Duration,
    count: Arc<AtomicU64>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let declared = request.headers().get("content-length").cloned();
    let mut body = request.into_body();
    let (mut bytes, mut sum) = (0, 0);
    while let Some(frame) = body.frame().await {
        // What does not come whole has no effect.
        let Ok(frame) = frame else { return Ok(Response::default()) };
        if let Some(data) = frame.data_ref() {
            bytes += data.len();
            sum = data.iter().fold(sum, |sum, byte| summed(sum, *byte));
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    let number = count.fetch_add(1, Ordering::SeqCst) + 1;
    let mut response = Response::new(Full::new(Bytes::from(told(number, bytes, sum))));
    *response.status_mut() = hyper::StatusCode::CREATED;
    if let Some(declared) = declared {
        response.headers_mut().insert("x-declared", declared);
    }
    Ok(response)
}

fn summed(sum: u32, byte: u8) -> u32 {
    sum.wrapping_mul(31).wrapping_add(u32::from(byte))
}

fn told(number: u64, bytes: usize, sum: u32) -> String {
    format!("{number}: {bytes} bytes, {sum:08x}")
}

/// A body in which no two pieces are the same.
fn body(bytes: usize) -> Bytes {
    (0_u32..).flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()).take(bytes).collect()
}

fn sum_of(body: &[u8]) -> u32 {
    body.iter().fold(0, |sum, byte| summed(sum, *byte))
}

/// A gateway with a spool in a folder of its own, in front of an upstream that takes uploads.
struct House {
    gateway: Gateway,
    taker: Taker,
    folder: TempDir,
}

impl House {
    /// Not started yet.
    async fn built(pause: Duration) -> Self {
        let folder = TempDir::new().expect("a folder");
        let taker = Taker::start(pause).await;
        let config = folder.path().join("steadfast.toml");
        let (ledger, spool) = (folder.path().join("ledger.db"), folder.path().join("spool"));
        std::fs::create_dir(&spool).expect("the test's folder");
        let text = format!(
            r#"ledger = "sqlite:{}"
workers = 1

[spool]
folder = "{}"

[upstreams.taker]
url = "http://{}"
timeout = {{ total = "60s" }}

[[routes]]
path = "/*"
upstream = "taker"
idempotency = {{ anonymous = true, request_bytes_max = "100MB" }}
"#,
            ledger.display(),
            spool.display(),
            taker.addr()
        );
        std::fs::write(&config, text).expect("the test's folder");
        Self { gateway: Gateway::serve(folder.path(), "gateway", &config), taker, folder }
    }

    async fn open(pause: Duration) -> Self {
        let mut house = Self::built(pause).await;
        house.gateway.start().await;
        house
    }

    fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    async fn ask(&self, ask: &Ask) -> Answer {
        Caller::new(self.gateway.addr(), PATIENCE).ask(ask).await.expect("an answer")
    }

    /// Sends the head of an upload and this much of its body.
    async fn begin(&self, key: &str, declared: usize, body: &[u8]) -> TcpStream {
        let mut line = TcpStream::connect(self.gateway.addr()).await.expect("the gateway");
        let head = format!(
            "POST /files HTTP/1.1\r\nHost: a\r\nIdempotency-Key: {key}\r\n\
             Content-Type: application/octet-stream\r\nContent-Length: {declared}\r\n\r\n"
        );
        line.write_all(head.as_bytes()).await.expect("it is read");
        line.write_all(body).await.expect("it is read");
        line
    }

    /// The files in the spool that the gateway has open, by their sizes.
    fn spooled(&self) -> Vec<u64> {
        let handles = std::fs::read_dir(format!("/proc/{}/fd", self.gateway.id())).expect("it runs");
        handles
            .filter_map(|handle| {
                let handle = handle.ok()?.path();
                let file = std::fs::read_link(&handle).ok()?;
                let is_spooled = file.starts_with(self.spool());
                is_spooled.then(|| std::fs::metadata(&handle).map_or(0, |metadata| metadata.len()))
            })
            .collect()
    }

    async fn gauge(&self, name: &str) -> u64 {
        let metrics = self.gateway.ask_admin(&Ask::get("/metrics")).await.expect("metrics");
        let text = String::from_utf8_lossy(&metrics.body).into_owned();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("{name} is missing:\n{text}"))
    }

    /// Waits until the upload that was begun is on disk up to so many bytes.
    async fn reaches(&self, bytes: usize) {
        await_that("it is spooled", PATIENCE, async || {
            self.spooled().first().is_some_and(|size| *size >= bytes as u64).then_some(())
        })
        .await;
        assert_eq!(names_in(&self.spool()), 0, "a file with a name would outlive the gateway");
        assert_eq!(self.gauge("steadfast_spool_requests").await, 1);
    }

    /// Waits until nothing is left of any upload.
    async fn is_empty(&self) {
        await_that("the space is given back", PATIENCE, async || {
            let bytes = self.gauge("steadfast_spool_bytes").await;
            let requests = self.gauge("steadfast_spool_requests").await;
            ((bytes, requests) == (0, 0) && self.spooled().is_empty()).then_some(())
        })
        .await;
    }

    /// The most memory that the gateway ever had resident.
    fn memory_peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.gateway.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
    }
}

fn names_in(folder: &Path) -> usize {
    std::fs::read_dir(folder).expect("the spool").count()
}

#[tokio::test]
async fn a_large_upload_takes_no_memory_and_is_replayed() {
    let house = House::open(PAUSE).await;
    assert_eq!(house.ask(&Ask::upload("/files", "small", "x")).await.status, 201);
    let before = house.memory_peak();
    let body = body(UPLOAD_BYTES);
    let upload = Ask::upload("/files", "k", body.clone());
    let first = house.ask(&upload).await;
    assert_eq!(first.status, 201, "{first:?}");
    assert_eq!(first.body, told(2, UPLOAD_BYTES, sum_of(&body)));
    assert_eq!(first.header("x-declared"), Some(UPLOAD_BYTES.to_string().as_str()));
    let again = house.ask(&upload).await;
    assert!(again.is_replay(), "{again:?}");
    assert_eq!(again.kept(), first.kept());
    assert_eq!(house.taker.taken(), 2);
    let taken = house.memory_peak() - before;
    assert!(taken < MEMORY_BYTES_MAX, "{taken} bytes more in memory for an upload of {UPLOAD_BYTES}");
    let mut other = body.to_vec();
    other[UPLOAD_BYTES / 2] ^= 1;
    let reused = house.ask(&Ask::upload("/files", "k", other)).await;
    assert_eq!(reused.code().as_deref(), Some("idempotency-key-reused"));
    house.is_empty().await;
}

#[tokio::test]
async fn a_caller_that_hangs_up_midway_leaves_nothing_and_its_retry_executes_once() {
    let house = House::open(Duration::ZERO).await;
    let body = body(UPLOAD_BYTES);
    let line = house.begin("k", body.len(), &body[..UPLOAD_BYTES / 2]).await;
    house.reaches(UPLOAD_BYTES / 4).await;
    drop(line);
    house.is_empty().await;
    assert_eq!((house.taker.taken(), house.gateway.state("k").await.as_str()), (0, "absent"));
    let upload = Ask::upload("/files", "k", body.clone());
    assert_eq!(house.ask(&upload).await.body, told(1, body.len(), sum_of(&body)));
    assert!(house.ask(&upload).await.is_replay());
    assert_eq!(house.taker.taken(), 1);
    house.is_empty().await;
}

#[tokio::test]
async fn a_caller_that_hangs_up_after_its_upload_finds_it_done() {
    let house = House::open(PAUSE).await;
    let body = body(8 * MB);
    let line = house.begin("k", body.len(), &body).await;
    await_that("it is claimed", PATIENCE, async || {
        (house.gateway.state("k").await == "claimed").then_some(())
    })
    .await;
    drop(line);
    await_that("it was sent all the same", PATIENCE, async || (house.taker.taken() == 1).then_some(())).await;
    house.gateway.idle(PATIENCE).await;
    let again = house.ask(&Ask::upload("/files", "k", body.clone())).await;
    assert!(again.is_replay(), "{again:?}");
    assert_eq!(again.body, told(1, body.len(), sum_of(&body)));
    house.is_empty().await;
}

#[tokio::test]
async fn a_gateway_killed_in_an_upload_leaves_no_file_and_claimed_nothing() {
    let mut house = House::open(Duration::ZERO).await;
    let body = body(UPLOAD_BYTES);
    let line = house.begin("k", body.len(), &body[..UPLOAD_BYTES / 2]).await;
    house.reaches(UPLOAD_BYTES / 4).await;
    house.gateway.kill();
    drop(line);
    assert_eq!(names_in(&house.spool()), 0);
    house.gateway.start().await;
    house.is_empty().await;
    assert_eq!(house.gateway.state("k").await, "absent");
    let answer = house.ask(&Ask::upload("/files", "k", body.clone())).await;
    assert_eq!(answer.body, told(1, body.len(), sum_of(&body)));
}

#[tokio::test]
async fn a_full_disk_refuses_uploads_clearly_and_claims_nothing() {
    let mut house = House::built(Duration::ZERO).await;
    let spool = house.spool().display().to_string();
    // A disk of its own for the gateway alone, and a small one.
    let script = "mount -t tmpfs -o size=16m tmpfs \"$0\" && exec setpriv --pdeathsig KILL -- \"$@\"";
    house.gateway.start_within(&["unshare", "--map-root-user", "--mount", "sh", "-c", script, &spool]);
    house.gateway.start().await;
    for attempt in 0..2 {
        let refused = house.ask(&Ask::upload("/files", "k", body(24 * MB))).await;
        assert_eq!(refused.code().as_deref(), Some("temporary-reduced-capacity"), "{attempt}: {refused:?}");
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
        let detail = refused.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.contains("disk") && detail.contains("full"), "{detail}");
        assert_eq!((house.taker.taken(), house.gateway.state("k").await.as_str()), (0, "absent"));
    }
    // What fits goes on: in memory, and, the space of the others given back, on disk.
    house.is_empty().await;
    assert_eq!(house.ask(&Ask::upload("/files", "small", "x")).await.status, 201);
    let fits = body(12 * MB);
    let answer = house.ask(&Ask::upload("/files", "k", fits.clone())).await;
    assert_eq!(answer.body, told(2, fits.len(), sum_of(&fits)));
}
