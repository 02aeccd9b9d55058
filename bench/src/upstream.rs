//! The upstream behind every contestant: one thread that answers any request with the same few bytes, and costs as
//! little as a server can.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process;

use anyhow::Context;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;

use crate::{server, wire};

/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 256;
/// Bytes of one request, its body included; a longer one ends its connection.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// The listener's name among the events; connections count from 0.
const LISTENER: u64 = u64::MAX;

/// Serves until killed. Prints its port on the first line.
///
/// # Errors
/// The listener fails.
pub(crate) fn run_child(bytes: usize) -> anyhow::Result<()> {
    server::end_with_parent()?;
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen")?;
    listener.set_nonblocking(true)?;
    println!("{}", listener.local_addr()?.port());
    Upstream::new(listener, bytes)?.serve()
}

struct Upstream {
    listener: TcpListener,
    epoll: OwnedFd,
    conversations: Vec<Option<Conversation>>,
    free: Vec<usize>,
    ok: Vec<u8>,
    created: Vec<u8>,
}

struct Conversation {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Upstream {
    fn new(listener: TcpListener, bytes: usize) -> anyhow::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        let whole = |status: &str| {
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {bytes}\r\n\r\n"
            );
            let mut answer = head.into_bytes();
            answer.resize(answer.len() + bytes, b'x');
            answer
        };
        let (ok, created) = (whole("200 OK"), whole("201 Created"));
        Ok(Self { listener, epoll, conversations: Vec::new(), free: Vec::new(), ok, created })
    }

    fn serve(mut self) -> anyhow::Result<()> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                if event.data.u64() == LISTENER {
                    self.accept()?;
                } else {
                    self.converse(event.data.u64() as usize, &mut buffer);
                }
            }
        }
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
            self.conversations[slot] = Some(Conversation { stream, input: Vec::new(), output: Vec::new() });
        }
    }

    fn converse(&mut self, slot: usize, buffer: &mut [u8]) {
        let Some(conversation) = &mut self.conversations[slot] else { return };
        if conversation.step(buffer, &self.ok, &self.created).is_err() {
            // Closing the socket takes it out of epoll too.
            self.conversations[slot] = None;
            self.free.push(slot);
        }
    }
}

impl Conversation {
    /// Reads what came and answers every whole request in it.
    fn step(&mut self, buffer: &mut [u8], ok: &[u8], created: &[u8]) -> anyhow::Result<()> {
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
            self.output.extend_from_slice(if head.post { created } else { ok });
        }
        self.input.drain(..taken);
        self.flush()
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
    _server: server::Server,
}

/// Starts the upstream beside this process.
///
/// # Errors
/// It does not start or does not say its port.
pub(crate) fn start(bytes: usize) -> anyhow::Result<Running> {
    let mut command = process::Command::new(std::env::current_exe()?);
    command.args(["upstream", "--bytes", &bytes.to_string()]).stdout(process::Stdio::piped());
    let mut child = command.spawn().context("cannot start the upstream")?;
    let mut line = String::new();
    let output = child.stdout.take().context("the upstream has no standard output")?;
    io::BufRead::read_line(&mut io::BufReader::new(output), &mut line)?;
    let server = server::Server::of("upstream", child);
    Ok(Running { port: line.trim().parse().context("the upstream did not say its port")?, _server: server })
}
