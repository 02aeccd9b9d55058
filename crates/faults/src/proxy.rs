//! The proxy itself: one task that accepts, owns every connection's task, and ends them all when it goes.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};

use crate::armed::Armed;
use crate::connection;
use crate::conversation::{Conversation, count_drawn};
use crate::dice::fresh_seed;
use crate::listener::Reservation;
use crate::plan::{Direction, Plan, PlanError};
use crate::pump::Held;
use crate::stats::{Board, Stats};

/// The most connections that are open at once; further ones are reset and counted.
pub const CONNECTIONS_MAX: usize = 2048;

/// The pause after a failed `accept` (out of file descriptors, say), so that it is not retried hotly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A TCP proxy on its own port that forwards to one upstream and injects the faults of its [`Plan`].
///
/// Dropping it stops its tasks as soon as the runtime gets to it: the port is freed, connections are closed.
/// [`FaultProxy::stop`] also waits for that.
#[derive(Debug)]
pub struct FaultProxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    tasks: JoinSet<()>,
}

/// What the proxy's tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) upstream: SocketAddr,
    pub(crate) plan: watch::Sender<Arc<Armed>>,
    pub(crate) held: watch::Sender<Held>,
    pub(crate) severed: watch::Sender<u64>,
    pub(crate) board: Board,
}

enum Command {
    Close(oneshot::Sender<io::Result<()>>),
    Open(oneshot::Sender<io::Result<()>>),
    Stop,
}

impl FaultProxy {
    /// Starts a proxy on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// As [`FaultProxy::start_on`].
    pub fn start(upstream: SocketAddr, plan: Plan) -> io::Result<FaultProxy> {
        Self::start_on((Ipv4Addr::LOCALHOST, 0).into(), upstream, plan)
    }

    /// Starts a proxy on `listen`.
    ///
    /// # Errors
    /// The address cannot be bound, the plan is invalid ([`io::ErrorKind::InvalidInput`]), or no tokio runtime
    /// is running here.
    pub fn start_on(listen: SocketAddr, upstream: SocketAddr, plan: Plan) -> io::Result<FaultProxy> {
        Handle::try_current().map_err(io::Error::other)?;
        let armed = Armed::new(plan, fresh_seed())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let reservation = Reservation::of(listen)?;
        let listener = reservation.listen()?;
        let addr = reservation.addr();
        let shared = Arc::new(Shared {
            upstream,
            board: Board::new(armed.seed()),
            plan: watch::Sender::new(Arc::new(armed)),
            held: watch::Sender::new(Held::default()),
            severed: watch::Sender::new(0),
        });
        let (commands, received) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        tasks.spawn(Acceptor::new(reservation, Arc::clone(&shared)).run(listener, received));
        Ok(FaultProxy { addr, shared, commands, tasks })
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where connections are forwarded to.
    pub fn upstream(&self) -> SocketAddr {
        self.shared.upstream
    }

    /// The seed of the plan in force; the same seed, plan and order of connections repeat the same faults.
    pub fn seed(&self) -> u64 {
        self.shared.plan.borrow().seed()
    }

    /// The plan in force, its seed filled in.
    pub fn plan(&self) -> Plan {
        self.shared.plan.borrow().plan().clone()
    }

    /// Replaces the plan; counts of draws (`skip`, `times`) begin anew, the seed stays unless the plan has one.
    ///
    /// New connections follow the new plan at once. An open connection follows it from its next exchange, to
    /// which it is then like a new connection (a refusal excepted); an exchange under way ends under the old
    /// plan. Bytes that hang under the old plan flow on at once.
    ///
    /// # Errors
    /// The plan is invalid; the old one stays.
    pub fn set(&self, plan: Plan) -> Result<(), PlanError> {
        let armed = Arc::new(Armed::new(plan, self.seed())?);
        self.shared.board.update(|stats| stats.seed = armed.seed());
        self.shared.plan.send_replace(armed);
        Ok(())
    }

    /// What was seen and done so far.
    pub fn stats(&self) -> Stats {
        self.shared.board.snapshot()
    }

    /// Waits until the counts satisfy `reached`, and returns them.
    ///
    /// Waits for ever if they never do: put a timeout around it.
    pub async fn wait_for(&self, reached: impl FnMut(&Stats) -> bool) -> Stats {
        self.shared.board.wait_for(reached).await
    }

    /// Holds back all bytes of a direction, on open and new connections, until [`FaultProxy::release`].
    ///
    /// They are read (up to 128 KiB for each connection), so `received_bytes` tells when something is held. A
    /// write that is under way may still pass.
    pub fn hold(&self, direction: Direction) {
        self.shared.held.send_modify(|held| *held.of(direction) = true);
    }

    /// Lets the bytes of a direction flow again.
    pub fn release(&self, direction: Direction) {
        self.shared.held.send_modify(|held| *held.of(direction) = false);
    }

    /// Whether a direction is held.
    pub fn is_held(&self, direction: Direction) -> bool {
        *self.shared.held.borrow().clone().of(direction)
    }

    /// Resets every open connection, on both sides; wait for `connections.open == 0` to see it done.
    pub fn sever(&self) {
        self.shared.severed.send_modify(|times| *times += 1);
    }

    /// Closes the listener, so that connecting is refused; open connections go on. No-op if it is closed.
    ///
    /// # Errors
    /// The proxy's task is gone.
    pub async fn close_listener(&self) -> io::Result<()> {
        self.command(Command::Close).await
    }

    /// Opens the listener again on the same port, which nobody else was given meanwhile. No-op if it is open.
    ///
    /// # Errors
    /// The socket cannot be opened, or the proxy's task is gone.
    pub async fn reopen(&self) -> io::Result<()> {
        self.command(Command::Open).await
    }

    /// Stops the proxy and waits until its port is free and its connections are closed.
    pub async fn stop(mut self) {
        // If the task is gone already, there is nothing to stop.
        let _ = self.commands.send(Command::Stop).await;
        while let Some(ended) = self.tasks.join_next().await {
            resume_panic(ended);
        }
    }

    async fn command(&self, command: fn(oneshot::Sender<io::Result<()>>) -> Command) -> io::Result<()> {
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the proxy has stopped");
        let (done, result) = oneshot::channel();
        self.commands.send(command(done)).await.map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }
}

struct Acceptor {
    reservation: Reservation,
    shared: Arc<Shared>,
    connections: JoinSet<()>,
}

impl Acceptor {
    fn new(reservation: Reservation, shared: Arc<Shared>) -> Self {
        Acceptor { reservation, shared, connections: JoinSet::new() }
    }

    async fn run(mut self, listener: TcpListener, mut commands: mpsc::Receiver<Command>) {
        let mut listener = Some(listener);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    // Whoever asked may have stopped waiting; the command is carried out all the same.
                    Some(Command::Close(done)) => {
                        listener = None;
                        self.note_listening(false);
                        let _ = done.send(Ok(()));
                    }
                    Some(Command::Open(done)) => {
                        let _ = done.send(self.open(&mut listener));
                    }
                    Some(Command::Stop) | None => break,
                },
                accepted = accept(listener.as_ref()) => match accepted {
                    Ok(client) => self.admit(client),
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                },
                Some(ended) = self.connections.join_next() => resume_panic(ended),
            }
        }
        drop(listener);
        self.note_listening(false);
        self.connections.shutdown().await;
    }

    fn open(&self, listener: &mut Option<TcpListener>) -> io::Result<()> {
        if listener.is_none() {
            *listener = Some(self.reservation.listen()?);
            self.note_listening(true);
        }
        Ok(())
    }

    fn note_listening(&self, listening: bool) {
        self.shared.board.update(|stats| stats.listening = listening);
    }

    fn admit(&mut self, client: TcpStream) {
        let board = &self.shared.board;
        if self.connections.len() >= CONNECTIONS_MAX {
            board.update(|stats| {
                stats.connections.accepted += 1;
                stats.connections.over_limit += 1;
            });
            return connection::reset(client);
        }
        let armed = Arc::clone(&self.shared.plan.borrow());
        let number = armed.next_connection();
        let lasting = armed.draw_connection(number);
        if lasting.refuse {
            board.update(|stats| {
                stats.connections.accepted += 1;
                stats.faults.refused += 1;
            });
            return connection::reset(client);
        }
        // Subscribed before it is counted: whoever saw the connection counted can sever it.
        let severed = self.shared.severed.subscribe();
        let guard = connection::OpenGuard::new(Arc::clone(&self.shared));
        count_drawn(board, &lasting);
        let conversation = Conversation::new(armed, number, lasting);
        self.connections.spawn(connection::run(client, conversation, guard, severed));
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(client, _)| client),
        None => std::future::pending().await,
    }
}

/// A panic in a task is a bug of ours: it is not to vanish.
pub(crate) fn resume_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}
