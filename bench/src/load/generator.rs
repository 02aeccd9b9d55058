//! The load generator: one thread, raw sockets, one `write` and one `read` a request, so that it can outrun every
//! contestant from the core it shares with the upstream. It checks every answer.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;

use super::{Load, Outcome, Refused, Until};
use crate::cores::CoreTicks;
use crate::wire;

/// Latencies are kept from a microsecond to a minute.
const LATENCY_US_MAX: u64 = 60_000_000;
/// How long the last answers are waited for.
const LAST_ANSWERS_MAX: Duration = Duration::from_secs(30);
/// Errors after which a load gives up.
const ERRORS_MAX: u64 = 1_000;

/// Runs `load` to its end.
///
/// # Errors
/// The first connections cannot be opened; what goes wrong later is counted.
pub(super) fn run(load: Load) -> anyhow::Result<Outcome> {
    Generator::new(load)?.run()
}

struct Generator {
    load: Load,
    epoll: OwnedFd,
    clients: Vec<Client>,
    idle: Vec<usize>,
    body: Vec<u8>,
    asked: u64,
    tally: Tally,
    times: Times,
}

struct Client {
    stream: TcpStream,
    head: String,
    head_fixed: usize,
    input: Vec<u8>,
    /// When the request that is under way began, or should have.
    began: Option<Instant>,
    answers: u64,
}

struct Tally {
    histogram: Histogram<u64>,
    refused: Histogram<u64>,
    answers: u64,
    late: u64,
    errors: u64,
    first_error: Option<String>,
    reconnected: u64,
    hung_up: u64,
}

/// The instants of a load: sending begins, measuring begins, both end.
struct Times {
    begin: Instant,
    measure: Instant,
    end: Option<Instant>,
}

impl Generator {
    fn new(load: Load) -> anyhow::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let body = load.post_bytes.map_or_else(Vec::new, json_of);
        let mut clients = Vec::with_capacity(load.connections);
        for index in 0..load.connections {
            let client = Client::connect(&load, index, body.len()).context("cannot connect")?;
            client.watch(&epoll, index)?;
            clients.push(client);
        }
        let begin = Instant::now();
        let (measure, end) = match load.until {
            Until::Answers(_) => (begin, None),
            Until::Seconds { warm_up, measured } => {
                let measure = begin + Duration::from_secs_f64(warm_up);
                (measure, Some(measure + Duration::from_secs_f64(measured)))
            }
        };
        let tally = Tally {
            histogram: Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)?,
            refused: Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)?,
            answers: 0,
            late: 0,
            errors: 0,
            first_error: None,
            reconnected: 0,
            hung_up: 0,
        };
        let idle = (0..clients.len()).rev().collect();
        let times = Times { begin, measure, end };
        Ok(Self { load, epoll, clients, idle, body, asked: 0, tally, times })
    }

    fn run(mut self) -> anyhow::Result<Outcome> {
        let mut ticks = None;
        let mut events = Vec::with_capacity(256);
        let mut buffer = vec![0; 64 * 1024];
        let mut finished = None;
        loop {
            let now = Instant::now();
            if ticks.is_none() && now >= self.times.measure {
                ticks = Some(CoreTicks::now()?);
            }
            if finished.is_none() && self.is_over(now) {
                finished = Some((now, CoreTicks::now()?));
            }
            match &finished {
                None => self.ask_all_due(now),
                Some((when, _))
                    if self.idle.len() == self.clients.len() || now > *when + LAST_ANSWERS_MAX =>
                {
                    break;
                }
                Some(_) => {}
            }
            let timeout = self.timeout(now, finished.is_some());
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                self.listen(event.data.u64() as usize, &mut buffer, finished.is_some());
            }
        }
        let Some((end, ticks_at_end)) = finished else { bail!("a load ended before its end") };
        let unanswered = self.clients.len() - self.idle.len();
        if unanswered > 0 {
            self.tally.error(format!("{unanswered} requests were not answered within {LAST_ANSWERS_MAX:?}"));
        }
        let busy = ticks.map(|ticks| ticks_at_end.busy_since(&ticks)).unwrap_or_default();
        Ok(self.tally.outcome(end.saturating_duration_since(self.times.measure), busy))
    }

    fn is_over(&self, now: Instant) -> bool {
        let enough = match self.load.until {
            Until::Answers(answers) => self.tally.answers + self.tally.hung_up >= answers,
            Until::Seconds { .. } => false,
        };
        enough || self.times.end.is_some_and(|end| now >= end) || self.tally.errors >= ERRORS_MAX
    }

    /// Sends every request whose time has come, as far as connections are free.
    fn ask_all_due(&mut self, now: Instant) {
        while let Some(&index) = self.idle.last() {
            let enough = matches!(self.load.until, Until::Answers(answers) if self.asked >= answers);
            let due = self.due();
            if enough || due.is_some_and(|due| due > now) || self.tally.errors >= ERRORS_MAX {
                return;
            }
            self.idle.pop();
            self.ask(index, due.unwrap_or_else(Instant::now));
        }
    }

    /// When the next request should be sent, where there is a rate.
    fn due(&self) -> Option<Instant> {
        let rate = self.load.rate?;
        Some(self.times.begin + Duration::from_secs_f64(self.asked as f64 / rate))
    }

    /// How long to wait for answers at most.
    fn timeout(&self, now: Instant, finished: bool) -> Timespec {
        let mut wait = Duration::from_millis(100);
        if !finished {
            let ends =
                self.times.end.into_iter().chain((self.times.measure > now).then_some(self.times.measure));
            let due = if self.idle.is_empty() { None } else { self.due() };
            for instant in ends.chain(due) {
                wait = wait.min(instant.saturating_duration_since(now));
            }
        }
        Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) }
    }

    fn ask(&mut self, index: usize, began: Instant) {
        let number = self.asked;
        self.asked += 1;
        let client = &mut self.clients[index];
        if let Err(error) = client.send(&self.load, number, &self.body) {
            self.tally.error(format!("sending: {error}"));
            self.reopen(index);
            return;
        }
        client.began = Some(began);
        if self.load.manners.hang_up_every.is_some_and(|every| number % every == every - 1) {
            self.tally.hung_up += 1;
            self.reopen(index);
        }
    }

    fn listen(&mut self, index: usize, buffer: &mut [u8], finished: bool) {
        let client = &mut self.clients[index];
        match client.receive(buffer) {
            Ok(None) => {}
            Ok(Some(head)) => {
                let now = Instant::now();
                let began = client.began.take();
                client.answers += 1;
                let closes = head.closes
                    || self.load.manners.answers_per_connection.is_some_and(|most| client.answers >= most);
                let took = began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
                let is_refusal = self.load.manners.takes_refusals && matches!(head.status, 503 | 504);
                match self.complaint(&head) {
                    Some(complaint) if !is_refusal => self.tally.error(complaint),
                    _ if now < self.times.measure => {}
                    // The last ones count: who waits longest is still waiting at the end.
                    Some(_) => self.tally.refuse(took),
                    None if !finished => self.tally.answer(took, self.load.manners.patience_ms),
                    None => {}
                }
                if closes { self.reopen(index) } else { self.idle.push(index) }
            }
            Err(error) => {
                let waited = client.began.take().is_some();
                if waited {
                    self.tally.error(format!("receiving: {error:#}"));
                } else {
                    // A server may close a connection on which it owes nothing.
                    self.idle.retain(|other| *other != index);
                }
                self.reopen(index);
            }
        }
    }

    fn complaint(&self, head: &wire::Head) -> Option<String> {
        let expect = self.load.expect;
        let right = head.status == expect.status
            && head.body == expect.bytes
            && expect.replayed.is_none_or(|replayed| replayed == head.replayed);
        (!right).then(|| format!("expected {expect:?}, got {head:?}"))
    }

    /// Replaces a connection. Dropping the old socket takes it out of epoll.
    fn reopen(&mut self, index: usize) {
        let opened = Client::connect(&self.load, index, self.body.len());
        match opened.and_then(|client| client.watch(&self.epoll, index).map(|()| client)) {
            Ok(client) => {
                self.clients[index] = client;
                self.tally.reconnected += 1;
            }
            Err(error) => {
                self.clients[index].began = None;
                self.tally.error(format!("reconnecting: {error}"));
            }
        }
        self.idle.push(index);
    }
}

impl Client {
    fn connect(load: &Load, index: usize, body_bytes: usize) -> std::io::Result<Self> {
        let stream = TcpStream::connect(load.to)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut head = match load.post_bytes {
            None => format!("GET {} HTTP/1.1\r\nHost: {}\r\n", load.path, load.to),
            Some(_) => format!(
                "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {body_bytes}\r\n",
                load.path, load.to
            ),
        };
        if !load.fields.is_empty() {
            head += &format!("{}\r\n", load.fields[index % load.fields.len()]);
        }
        let head_fixed = head.len();
        Ok(Self { stream, head, head_fixed, input: Vec::new(), began: None, answers: 0 })
    }

    fn watch(&self, epoll: &OwnedFd, index: usize) -> std::io::Result<()> {
        Ok(epoll::add(epoll, &self.stream, EventData::new_u64(index as u64), EventFlags::IN)?)
    }

    /// Sends one request. It is far smaller than an empty socket's buffer, and the last answer has emptied the
    /// socket, so it goes out whole.
    fn send(&mut self, load: &Load, number: u64, body: &[u8]) -> std::io::Result<()> {
        self.head.truncate(self.head_fixed);
        load.keys.write_header(number, &mut self.head);
        self.head.push_str("\r\n");
        if body.is_empty() {
            return self.stream.write_all(self.head.as_bytes());
        }
        let mut whole = Vec::with_capacity(self.head.len() + body.len());
        whole.extend_from_slice(self.head.as_bytes());
        whole.extend_from_slice(body);
        self.stream.write_all(&whole)
    }

    /// Reads what came; returns the head once the whole answer is there.
    fn receive(&mut self, buffer: &mut [u8]) -> anyhow::Result<Option<wire::Head>> {
        let read = match self.stream.read(buffer) {
            Ok(0) => bail!("the connection was closed"),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if self.began.is_none() {
            bail!("bytes that nobody asked for");
        }
        // Nearly always the whole answer comes at once, and need not be kept.
        if self.input.is_empty()
            && let Some(head) = wire::answer(&buffer[..read])?
            && head.whole == read
        {
            return Ok(Some(head));
        }
        self.input.extend_from_slice(&buffer[..read]);
        match wire::answer(&self.input)? {
            Some(head) if self.input.len() > head.whole => bail!("more bytes than the answer has"),
            Some(head) if self.input.len() == head.whole => {
                self.input.clear();
                Ok(Some(head))
            }
            _ => Ok(None),
        }
    }
}

impl Tally {
    fn answer(&mut self, took: Duration, patience_ms: Option<f64>) {
        let is_late = patience_ms.is_some_and(|patience_ms| took.as_secs_f64() * 1_000.0 > patience_ms);
        *(if is_late { &mut self.late } else { &mut self.answers }) += 1;
        self.histogram.saturating_record(took.as_micros().max(1) as u64);
    }

    fn refuse(&mut self, took: Duration) {
        self.refused.saturating_record(took.as_micros().max(1) as u64);
    }

    fn error(&mut self, what: String) {
        self.errors += 1;
        self.first_error.get_or_insert(what);
    }

    fn outcome(self, measured: Duration, busy: Vec<f64>) -> Outcome {
        let at = |quantile| self.histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        let refused_at = |quantile| self.refused.value_at_quantile(quantile) as f64 / 1_000.0;
        let seconds = measured.as_secs_f64();
        Outcome {
            answers: self.answers,
            errors: self.errors,
            seconds,
            per_second: self.answers as f64 / seconds.max(f64::MIN_POSITIVE),
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: self.histogram.max() as f64 / 1_000.0,
            first_error: self.first_error,
            late: self.late,
            refused: Refused {
                count: self.refused.len(),
                p50_ms: refused_at(0.5),
                p99_ms: refused_at(0.99),
                p999_ms: refused_at(0.999),
                max_ms: self.refused.max() as f64 / 1_000.0,
            },
            reconnected: self.reconnected,
            hung_up: self.hung_up,
            busy,
        }
    }
}

/// A JSON object of about this many bytes.
fn json_of(bytes: usize) -> Vec<u8> {
    let (open, close) = (br#"{"event":"reading-week","note":""#, br#""}"#);
    let mut json = open.to_vec();
    json.resize(bytes.saturating_sub(close.len()).max(open.len()), b'n');
    json.extend_from_slice(close);
    json
}
