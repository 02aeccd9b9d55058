//! How soon a job is sent that somebody leaves while the gateway has half as much to do as it can: left over HTTP at its
//! time, whatever became of those before it. What it can do is what it takes in and sends of as many as come at once.

use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use super::drain::ours;
use super::endpoint::Endpoint;
use crate::cores::CoreTicks;
use crate::load::Keys;
use crate::machine::percentile;
use crate::server::loopback;
use crate::wire;
use crate::workplace::Workplace;

/// Callers who leave jobs at once.
const CALLERS: usize = 64;
/// How long the gateway may send nothing while there is something to send.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// How soon jobs were sent.
pub(super) struct Pickup {
    /// Jobs a second that it took in and sent when it was given all that it takes.
    pub(super) most_per_second: f64,
    /// Half of that: what the others were measured at.
    pub(super) per_second: f64,
    /// From when a job should have been left until it reached the endpoint, in milliseconds: half of them, at most,
    pub(super) since_asked_p50_ms: f64,
    /// and 99 of 100.
    pub(super) since_asked_p99_ms: f64,
    /// The same from its 202 on; 0 where the job was quicker than the 202.
    pub(super) since_accepted_p99_ms: f64,
    /// The share of the time that the contestant's core worked.
    pub(super) busy: f64,
}

/// When each job should have been left, and when its 202 came.
type Left = Vec<(Instant, Instant)>;

/// Measures it with a ledger that is new, with jobs from `first` on.
///
/// # Errors
/// The gateway does not accept one, or sends one twice.
pub(super) fn measure(
    place: &Workplace,
    endpoint: &Endpoint,
    (name, ledger): (&str, &str),
    (first, at_once): (u64, u64),
    time: Duration,
) -> anyhow::Result<Pickup> {
    let mut gateway = ours(place, name, endpoint, ledger)?;
    let begin = Instant::now();
    leave_and_wait(endpoint, gateway.port, first, at_once, None)?;
    let most_per_second = at_once as f64 / begin.elapsed().as_secs_f64();
    let per_second = most_per_second / 2.0;
    let ticks = CoreTicks::now()?;
    let jobs = ((per_second * time.as_secs_f64()) as u64).max(1);
    let left = leave_and_wait(endpoint, gateway.port, first + at_once, jobs, Some(per_second))?;
    let busy = CoreTicks::now()?.busy_since(&ticks);
    gateway.server.must_still_run()?;
    drop(gateway);
    let deliveries = endpoint.deliveries();
    deliveries.must_be_exact()?;
    let came = deliveries.came().iter().flatten().zip(&left);
    let ms = |took: Duration| took.as_secs_f64() * 1_000.0;
    let (mut since_asked, mut since_accepted): (Vec<_>, Vec<_>) = came
        .map(|(came, (asked, accepted))| {
            (ms(came.saturating_duration_since(*asked)), ms(came.saturating_duration_since(*accepted)))
        })
        .unzip();
    Ok(Pickup {
        most_per_second,
        per_second,
        since_asked_p50_ms: percentile(&mut since_asked, 0.5),
        since_asked_p99_ms: percentile(&mut since_asked, 0.99),
        since_accepted_p99_ms: percentile(&mut since_accepted, 0.99),
        busy: busy.get(place.cores.contestant).copied().unwrap_or_default(),
    })
}

/// Leaves so many jobs from `first` on, at this rate if any, and waits until all of them were sent.
fn leave_and_wait(
    endpoint: &Endpoint,
    gateway: u16,
    first: u64,
    jobs: u64,
    rate: Option<f64>,
) -> anyhow::Result<Left> {
    endpoint.expect(first, jobs);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let left = LocalSet::new().block_on(&runtime, leave(gateway, first, jobs, rate))?;
    endpoint.wait_for_all(IDLE_MAX, |_| Ok(()))?;
    endpoint.deliveries().must_be_exact()?;
    Ok(left)
}

async fn leave(gateway: u16, first: u64, jobs: u64, rate: Option<f64>) -> anyhow::Result<Left> {
    let begin = Instant::now();
    let left = Rc::new(RefCell::new(vec![(begin, begin); jobs as usize]));
    let next = Rc::new(Cell::new(0));
    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        let mut caller = Caller::connect(gateway).await?;
        let (left, next) = (Rc::clone(&left), Rc::clone(&next));
        callers.push(tokio::task::spawn_local(async move {
            loop {
                let index: u64 = next.replace(next.get() + 1);
                if index >= jobs {
                    return anyhow::Ok(());
                }
                let due = rate.map(|rate| begin + Duration::from_secs_f64(index as f64 / rate));
                if let Some(due) = due {
                    tokio::time::sleep_until(due.into()).await;
                }
                let asked = due.unwrap_or_else(Instant::now);
                caller.leave(first + index).await?;
                left.borrow_mut()[index as usize] = (asked, Instant::now());
            }
        }));
    }
    for caller in callers {
        caller.await??;
    }
    Ok(left.take())
}

/// A connection that leaves one job at a time.
struct Caller {
    stream: TcpStream,
    request: String,
    input: Vec<u8>,
}

impl Caller {
    async fn connect(gateway: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(loopback(gateway)).await.context("the gateway does not listen")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, request: String::new(), input: Vec::new() })
    }

    async fn leave(&mut self, job: u64) -> anyhow::Result<()> {
        let body = format!("{{\"job\":{job}}}");
        self.request.clear();
        write!(
            self.request,
            "POST /noop/{job} HTTP/1.1\r\nHost: jobs\r\nContent-Type: application/json\r\n"
        )?;
        Keys::Unique { seed: 0 }.write_header(job, &mut self.request);
        write!(self.request, "Content-Length: {}\r\n\r\n{body}", body.len())?;
        self.stream.write_all(self.request.as_bytes()).await?;
        self.input.clear();
        loop {
            anyhow::ensure!(self.stream.read_buf(&mut self.input).await? > 0, "the gateway hung up");
            match wire::answer(&self.input)? {
                Some(head) if self.input.len() < head.whole => {}
                Some(head) if head.status == 202 => return Ok(()),
                Some(_) => bail!("job {job} was not accepted: {}", String::from_utf8_lossy(&self.input)),
                None => {}
            }
        }
    }
}
