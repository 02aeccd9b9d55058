//! One direction of one connection: a reader that stamps what it reads, a short queue, and a writer that lets
//! it go when, how fast and as far as the faults allow.
//!
//! Reading runs ahead of writing by at most [`QUEUE_CHUNKS`] chunks, so a delay does not stop the flow, and a
//! slow receiver slows its sender.

use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::armed::{Armed, Cut, CutHow, Effects};
use crate::conversation::{Conversation, Turn, interim_len};
use crate::dice::Dice;
use crate::pace::{Pacer, slice_len};
use crate::plan::{Direction, Goodbye, Scope};
use crate::stats::{Board, Stats};

/// The most that is read at once.
pub(crate) const CHUNK_BYTES: usize = 16 * 1024;
/// The most chunks that wait between reader and writer.
pub(crate) const QUEUE_CHUNKS: usize = 8;

/// Why a connection ends before both sides have finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Reset both sides.
    Reset,
    /// Close both sides in order.
    Close,
    /// Take leave of the client, and let the upstream finish its reply.
    ReplyDropped(Goodbye),
}

/// Which directions are held back by hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) toward_upstream: bool,
    pub(crate) toward_client: bool,
}

/// What every pump of a proxy looks at.
#[derive(Clone, Copy)]
pub(crate) struct Controls<'a> {
    pub(crate) plan: &'a watch::Sender<Arc<Armed>>,
    pub(crate) held: &'a watch::Sender<Held>,
    pub(crate) board: &'a Board,
}

/// What is read on one side and still to be written on the other.
#[derive(Debug)]
struct Parcel {
    due: Instant,
    turn: Arc<Turn>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Bytes(Vec<u8>),
    /// The sender closed its side in order.
    Finish,
    /// The sender's connection was reset.
    Reset,
}

/// Carries everything that `source` sends to `sink`, until it finishes or a fault ends the connection.
pub(crate) async fn pump(
    direction: Direction,
    source: &TcpStream,
    sink: &TcpStream,
    conversation: &Conversation,
    controls: Controls<'_>,
) -> Result<(), End> {
    let (queue, parcels) = mpsc::channel(QUEUE_CHUNKS);
    let reader = Reader::new(direction, source, conversation, controls);
    let writer = Writer::new(direction, sink, conversation, controls);
    let read = async {
        reader.run(queue).await;
        Ok(())
    };
    tokio::try_join!(read, writer.run(parcels)).map(|_| ())
}

impl Held {
    pub(crate) fn of(&mut self, direction: Direction) -> &mut bool {
        match direction {
            Direction::TowardUpstream => &mut self.toward_upstream,
            Direction::TowardClient => &mut self.toward_client,
        }
    }
}

struct Reader<'a> {
    direction: Direction,
    source: &'a TcpStream,
    conversation: &'a Conversation,
    controls: Controls<'a>,
    jitter: Dice,
    last_due: Instant,
}

impl<'a> Reader<'a> {
    fn new(
        direction: Direction,
        source: &'a TcpStream,
        conversation: &'a Conversation,
        controls: Controls<'a>,
    ) -> Self {
        let turn = conversation.turn();
        let jitter = turn.armed.jitter_dice(turn.connection, direction);
        Reader { direction, source, conversation, controls, jitter, last_due: Instant::now() }
    }

    async fn run(mut self, queue: mpsc::Sender<Parcel>) {
        // A place in the queue comes first: nothing is read that could not wait there.
        while let Ok(place) = queue.reserve().await {
            let content = self.read().await;
            let turn = match (&content, self.direction) {
                (Content::Bytes(_), Direction::TowardUpstream) => {
                    let latest = || Arc::clone(&self.controls.plan.borrow());
                    self.conversation.client_spoke(latest, self.controls.board)
                }
                (Content::Bytes(_), Direction::TowardClient) => self.conversation.turn(),
                (Content::Finish | Content::Reset, Direction::TowardUpstream) => {
                    self.conversation.client_leaves();
                    self.conversation.turn()
                }
                (Content::Finish | Content::Reset, Direction::TowardClient) => self.conversation.turn(),
            };
            let ends = !matches!(content, Content::Bytes(_));
            let due = self.due(turn.drawn.effects(self.direction));
            place.send(Parcel { due, turn, content });
            if ends {
                return;
            }
        }
    }

    async fn read(&self) -> Content {
        loop {
            if self.source.readable().await.is_err() {
                return Content::Reset;
            }
            // Allocated only now, so that an idle connection costs no buffer.
            let mut bytes = Vec::with_capacity(CHUNK_BYTES);
            match self.source.try_read_buf(&mut bytes) {
                Ok(0) => return Content::Finish,
                Ok(len) => {
                    self.controls.board.update(|stats| {
                        stats.traffic_mut(self.direction).received_bytes += len as u64;
                    });
                    return Content::Bytes(bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Content::Reset,
            }
        }
    }

    /// When what was just read may go on; never before what was read earlier.
    fn due(&mut self, effects: &Effects) -> Instant {
        let delay_ms =
            effects.latency.map_or(0, |latency| latency.fixed_ms + self.jitter.up_to(latency.jitter_ms));
        self.last_due = self.last_due.max(Instant::now() + Duration::from_millis(delay_ms));
        self.last_due
    }
}

struct Writer<'a> {
    direction: Direction,
    sink: &'a TcpStream,
    conversation: &'a Conversation,
    controls: Controls<'a>,
    turn: Arc<Turn>,
    pacer: Pacer,
    /// Bytes that passed since the connection, or its latest plan, began.
    passed_connection: u64,
    /// Bytes that passed since the exchange began.
    passed_exchange: u64,
    hang_counted: bool,
    half_closed: bool,
}

impl<'a> Writer<'a> {
    fn new(
        direction: Direction,
        sink: &'a TcpStream,
        conversation: &'a Conversation,
        controls: Controls<'a>,
    ) -> Self {
        Writer {
            direction,
            sink,
            conversation,
            controls,
            turn: conversation.turn(),
            pacer: Pacer::new(),
            passed_connection: 0,
            passed_exchange: 0,
            hang_counted: false,
            half_closed: false,
        }
    }

    async fn run(mut self, mut parcels: mpsc::Receiver<Parcel>) -> Result<(), End> {
        while let Some(parcel) = parcels.recv().await {
            if parcel.due > Instant::now() {
                sleep_until(parcel.due).await;
            }
            self.enter(parcel.turn);
            self.pass_gates().await?;
            match parcel.content {
                Content::Bytes(bytes) => self.deliver(&bytes).await?,
                Content::Finish => {
                    finish(self.sink);
                    return Ok(());
                }
                Content::Reset => return Err(End::Reset),
            }
        }
        Ok(())
    }

    /// Takes over the faults of the turn in which a parcel was read.
    fn enter(&mut self, turn: Arc<Turn>) {
        if Arc::ptr_eq(&turn, &self.turn) {
            return;
        }
        if !Arc::ptr_eq(&turn.armed, &self.turn.armed) {
            self.passed_connection = 0;
        }
        self.passed_exchange = 0;
        self.hang_counted = false;
        self.turn = turn;
    }

    /// Waits while the direction is held by hand or hangs by plan.
    async fn pass_gates(&mut self) -> Result<(), End> {
        let direction = self.direction;
        if *self.controls.held.borrow().clone().of(direction) {
            let mut held = self.controls.held.subscribe();
            // The sender outlives every pump, so the channel cannot close while this waits.
            let _ = held.wait_for(|held| !*held.clone().of(direction)).await;
        }
        if !self.turn.drawn.effects(direction).hang {
            return Ok(());
        }
        let mut plans = self.controls.plan.subscribe();
        let armed = &self.turn.armed;
        if !Arc::ptr_eq(&plans.borrow(), armed) {
            return Ok(());
        }
        if !self.hang_counted {
            self.hang_counted = true;
            self.count(|stats| stats.faults.hung += 1);
        }
        tokio::select! {
            _ = plans.wait_for(|latest| !Arc::ptr_eq(latest, armed)) => Ok(()),
            () = self.conversation.client_left() => Err(End::Reset),
        }
    }

    async fn deliver(&mut self, bytes: &[u8]) -> Result<(), End> {
        if self.direction == Direction::TowardUpstream || self.conversation.answered() {
            return self.forward(bytes).await;
        }
        let (interim, reply) = bytes.split_at(interim_len(bytes));
        self.forward(interim).await?;
        if reply.is_empty() {
            return Ok(());
        }
        if let Some(fault) = self.turn.drawn.drop_reply {
            self.count(|stats| stats.faults.replies_dropped += 1);
            return Err(End::ReplyDropped(fault.then));
        }
        // Before the first byte goes: the client may speak again as soon as it has it.
        self.conversation.answer_passes(self.controls.board);
        self.forward(reply).await
    }

    /// Writes as much, as fast, as the cuts and rates allow.
    async fn forward(&mut self, mut bytes: &[u8]) -> Result<(), End> {
        while !bytes.is_empty() && !self.half_closed {
            let turn = Arc::clone(&self.turn);
            let effects = turn.drawn.effects(self.direction);
            let cut =
                effects.cuts.iter().map(|cut| (self.left_before(*cut), cut.how)).min_by_key(|cut| cut.0);
            let allowed = cut.map_or(u64::MAX, |(left, _)| left);
            let len = slice_len(effects, bytes.len()).min(usize::try_from(allowed).unwrap_or(usize::MAX));
            if len > 0 {
                self.pacer.ready().await;
                self.pass_gates().await?;
                write_all(self.sink, &bytes[..len]).await.map_err(|_| End::Reset)?;
                self.pacer.sent(effects, len);
                self.passed_connection += len as u64;
                self.passed_exchange += len as u64;
                self.count(|stats| stats.traffic_mut(self.direction).forwarded_bytes += len as u64);
            }
            if let Some((left, how)) = cut
                && left == len as u64
            {
                self.cut(how)?;
            }
            bytes = &bytes[len..];
        }
        Ok(())
    }

    fn left_before(&self, cut: Cut) -> u64 {
        let passed = match cut.scope {
            Scope::Connection => self.passed_connection,
            Scope::Exchange => self.passed_exchange,
        };
        cut.after_bytes.saturating_sub(passed)
    }

    fn cut(&mut self, how: CutHow) -> Result<(), End> {
        match how {
            CutHow::Reset => {
                self.count(|stats| stats.faults.reset += 1);
                Err(End::Reset)
            }
            CutHow::Truncate => {
                self.count(|stats| stats.faults.truncated += 1);
                Err(End::Close)
            }
            CutHow::HalfClose => {
                // What still comes is read and discarded, so that the sender notices nothing.
                self.half_closed = true;
                finish(self.sink);
                self.count(|stats| stats.faults.half_closed += 1);
                Ok(())
            }
        }
    }

    fn count(&self, change: impl FnOnce(&mut Stats)) {
        self.controls.board.update(change);
    }
}

/// Tells the peer that nothing more will come.
pub(crate) fn finish(sink: &TcpStream) {
    // It fails only where the connection is gone already, which the reader sees too.
    let _ = SockRef::from(sink).shutdown(Shutdown::Write);
}

async fn write_all(sink: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        sink.writable().await?;
        match sink.try_write(bytes) {
            Ok(len) => bytes = &bytes[len..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
