//! The upstream behind every contestant: one thread that answers any request with the same few bytes, and costs as
//! little as a server can. It may be told to take its time, and to hang.

mod places;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;

use crate::{server, wire};
use places::{Asked, Places};

/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 256;
/// Bytes of one request, its body included; a longer one ends its connection.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// The listener's name among the events; connections count from 0.
const LISTENER: u64 = u64::MAX;
/// And that of standard input, where orders come from.
const ORDERS: u64 = u64::MAX - 1;
/// From now on, requests are taken and never answered.
const HANG: u8 = b'h';
/// From now on, requests are answered again.
const RECOVER: u8 = b'r';

/// What an upstream may be told.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// The size of its answers
    #[arg(long)]
    pub(crate) bytes: usize,
    /// How long it works on each request; without it, it answers at once and whatever comes
    #[arg(long)]
    pub(crate) service_ms: Option<u64>,
    /// How many it works on at once; the others wait
    #[arg(long, default_value_t = 1)]
    pub(crate) places: usize,
}

/// Serves until killed. Prints its port on the first line.
///
/// # Errors
/// The listener fails.
pub(crate) fn run_child(manner: Manner) -> anyhow::Result<()> {
    server::end_with_parent()?;
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen")?;
    listener.set_nonblocking(true)?;
    println!("{}", listener.local_addr()?.port());
    Upstream::new(listener, manner)?.serve()
}

struct Upstream {
    listener: TcpListener,
    epoll: OwnedFd,
    conversations: Vec<Option<Conversation>>,
    free: Vec<usize>,
    visits: u64,
    asked: Vec<Asked>,
    places: Option<Places>,
    hangs: bool,
    answers: Answers,
}

/// What GET and POST are answered.
struct Answers {
    ok: Vec<u8>,
    created: Vec<u8>,
}

struct Conversation {
    stream: TcpStream,
    visit: u64,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Upstream {
    fn new(listener: TcpListener, manner: Manner) -> anyhow::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        epoll::add(&epoll, io::stdin(), EventData::new_u64(ORDERS), EventFlags::IN)?;
        let places = manner.service_ms.map(Duration::from_millis);
        Ok(Self {
            listener,
            epoll,
            conversations: Vec::new(),
            free: Vec::new(),
            visits: 0,
            asked: Vec::new(),
            places: places.map(|service| Places::new(manner.places, service)),
            hangs: false,
            answers: Answers::of(manner.bytes),
        })
    }

    fn serve(mut self) -> anyhow::Result<()> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let timeout = self.timeout();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    ORDERS => self.obey(&mut buffer)?,
                    slot => self.converse(slot as usize, &mut buffer),
                }
            }
            self.answer_who_was_served();
        }
    }

    /// How long until somebody was served.
    fn timeout(&self) -> Option<Timespec> {
        let end = self.places.as_ref()?.next_end()?;
        let wait = end.saturating_duration_since(Instant::now());
        Some(Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) })
    }

    /// Reads orders. When there can be no more, nobody listens for them.
    fn obey(&mut self, buffer: &mut [u8]) -> anyhow::Result<()> {
        let read = io::stdin().read(buffer)?;
        match buffer[..read].last() {
            None => epoll::delete(&self.epoll, io::stdin())?,
            Some(order) => self.hangs = *order == HANG,
        }
        Ok(())
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let slot = self.free.pop().unwrap_or_else(|| {
                self.conversations.push(None);
                self.conversations.len() - 1
            });
            epoll::add(&self.epoll, &stream, EventData::new_u64(slot as u64), EventFlags::IN)?;
            self.visits += 1;
            let (visit, input, output) = (self.visits, Vec::new(), Vec::new());
            self.conversations[slot] = Some(Conversation { stream, visit, input, output });
        }
    }

    fn converse(&mut self, slot: usize, buffer: &mut [u8]) {
        let Some(conversation) = &mut self.conversations[slot] else { return };
        self.asked.clear();
        let mut taken = conversation.read(slot, buffer, &mut self.asked);
        // Those that it hangs with are never heard of again.
        if taken.is_ok() && !self.hangs {
            taken = match &mut self.places {
                None => {
                    for asked in &self.asked {
                        conversation.output.extend_from_slice(self.answers.to(*asked));
                    }
                    conversation.flush()
                }
                Some(places) => {
                    let now = Instant::now();
                    self.asked.iter().try_for_each(|asked| places.ask(*asked, now))
                }
            };
        }
        if taken.is_err() {
            self.close(slot);
        }
    }

    /// Answers all whose time in their places is over, but who has left.
    fn answer_who_was_served(&mut self) {
        while let Some(served) = self.places.as_mut().and_then(|places| places.ended(Instant::now())) {
            let Some(conversation) = &mut self.conversations[served.slot] else { continue };
            if conversation.visit != served.visit {
                continue;
            }
            conversation.output.extend_from_slice(self.answers.to(served));
            if conversation.flush().is_err() {
                self.close(served.slot);
            }
        }
    }

    /// Ends a conversation. Closing the socket takes it out of epoll too.
    fn close(&mut self, slot: usize) {
        self.conversations[slot] = None;
        self.free.push(slot);
    }
}

impl Answers {
    fn of(bytes: usize) -> Self {
        let whole = |status: &str| {
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {bytes}\r\n\r\n"
            );
            let mut answer = head.into_bytes();
            answer.resize(answer.len() + bytes, b'x');
            answer
        };
        Self { ok: whole("200 OK"), created: whole("201 Created") }
    }

    fn to(&self, asked: Asked) -> &[u8] {
        if asked.post { &self.created } else { &self.ok }
    }
}

impl Conversation {
    /// Reads what came, and tells every whole request in it.
    fn read(&mut self, slot: usize, buffer: &mut [u8], asked: &mut Vec<Asked>) -> anyhow::Result<()> {
        let read = match self.stream.read(buffer) {
            Ok(0) => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        self.input.extend_from_slice(&buffer[..read]);
        let mut taken = 0;
        while let Some(head) = wire::request(&self.input[taken..])? {
            anyhow::ensure!(head.whole <= REQUEST_BYTES_MAX, "a request of {} bytes", head.whole);
            if self.input.len() - taken < head.whole {
                break;
            }
            taken += head.whole;
            asked.push(Asked { slot, visit: self.visit, post: head.post });
        }
        self.input.drain(..taken);
        Ok(())
    }

    /// Answers are small and their readers wait for them, so a full socket means a peer that is gone: no second try
    /// is made to write, and the connection ends.
    fn flush(&mut self) -> anyhow::Result<()> {
        if !self.output.is_empty() {
            self.stream.write_all(&self.output)?;
            self.output.clear();
        }
        Ok(())
    }
}

/// The upstream as a child on core 1.
pub(crate) struct Running {
    /// Where it listens.
    pub(crate) port: u16,
    orders: process::ChildStdin,
    _server: server::Server,
}

impl Running {
    /// Lets it take requests, and answer none.
    ///
    /// # Errors
    /// It is gone.
    pub(crate) fn hang(&self) -> io::Result<()> {
        (&self.orders).write_all(&[HANG])
    }

    /// Lets it answer again what comes from now on.
    ///
    /// # Errors
    /// It is gone.
    pub(crate) fn recover(&self) -> io::Result<()> {
        (&self.orders).write_all(&[RECOVER])
    }
}

/// Starts an upstream that answers at once, beside this process.
///
/// # Errors
/// It does not start or does not say its port.
pub(crate) fn start(bytes: usize) -> anyhow::Result<Running> {
    start_with(Manner { bytes, service_ms: None, places: 1 })
}

/// Starts the upstream beside this process.
///
/// # Errors
/// It does not start or does not say its port.
pub(crate) fn start_with(manner: Manner) -> anyhow::Result<Running> {
    let mut command = process::Command::new(std::env::current_exe()?);
    command.args(["upstream", "--bytes", &manner.bytes.to_string(), "--places", &manner.places.to_string()]);
    if let Some(service_ms) = manner.service_ms {
        command.args(["--service-ms", &service_ms.to_string()]);
    }
    command.stdin(process::Stdio::piped()).stdout(process::Stdio::piped());
    let mut child = command.spawn().context("cannot start the upstream")?;
    let mut line = String::new();
    let output = child.stdout.take().context("the upstream has no standard output")?;
    io::BufRead::read_line(&mut io::BufReader::new(output), &mut line)?;
    let orders = child.stdin.take().context("the upstream has no standard input")?;
    let server = server::Server::of("upstream", child);
    let port = line.trim().parse().context("the upstream did not say its port")?;
    Ok(Running { port, orders, _server: server })
}
