//! Where questions of one thread wait for each other, and go to the store together.
//!
//! A worker of the gateway is a thread with a runtime of its own. Each has a lane, with a connection of its own, so
//! that neither a question nor its answer ever changes threads. Few drivers carry the questions: whoever is free
//! takes all that wait. So a single caller is carried at once, and under load what comes in while the store answers
//! goes out as one call of one script; nobody waits for a batch to fill.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use redis::RedisResult;
use tokio::sync::{Notify, oneshot};

use crate::{
    ask::{Answers, Question},
    call::{self, Carried},
    connection::{self, Connection},
    health::Reason,
    store::Inner,
};

/// How many calls of a lane are under way at once: while one is answered, the next is on its way.
const DRIVERS: usize = 2;
/// How many questions go in one call. The store does nothing else meanwhile, so a call should take it about a
/// millisecond at most.
const BATCH_MAX: usize = 128;
/// How long opening a connection may take: longer than a request waits, so that a store far away, a Cluster or TLS can be
/// entered at all.
const OPEN_MAX: Duration = Duration::from_secs(1);
/// How many questions wait in a lane at most. More than that can only be when the store is slower than the callers
/// come; they go by `on_loss`.
const WAITING_MAX: usize = 4_096;

/// A question that waits, and who waits for its answer. Nobody does for what is given back.
struct Waiting {
    question: Question,
    reply: Option<oneshot::Sender<Option<Answers>>>,
    since: Instant,
}

/// The lane of one thread.
pub(crate) struct Lane {
    waiting: Mutex<VecDeque<Waiting>>,
    arrived: Notify,
    is_closed: AtomicBool,
    /// How many drivers run. They end with the runtime that they run on.
    drivers: AtomicUsize,
    /// With how often the store had been lost when it was opened.
    connection: tokio::sync::Mutex<Option<(u64, Connection)>>,
}

thread_local! {
    /// The lanes of this thread: one for each store, of which a process has one, or two for the moment of a reload.
    static LANES: RefCell<Vec<(u64, Weak<Lane>)>> = const { RefCell::new(Vec::new()) };
}

/// Asks the store. `None`: it is lost, or gave no answer in time.
pub(crate) async fn ask(inner: &Arc<Inner>, question: Question) -> Option<Answers> {
    let (reply, answer) = oneshot::channel();
    here(inner).push(Waiting { question, reply: Some(reply), since: Instant::now() })?;
    answer.await.ok().flatten()
}

/// Tells the store something that nobody waits for.
pub(crate) fn tell(inner: &Arc<Inner>, question: Question) {
    // What finds no room is not given back: the count is too high then, never too low.
    let _ = here(inner).push(Waiting { question, reply: None, since: Instant::now() });
}

/// This thread's lane.
fn here(inner: &Arc<Inner>) -> Arc<Lane> {
    LANES.with_borrow_mut(|lanes| {
        let found = lanes.iter().find(|(id, _)| *id == inner.id).and_then(|(_, lane)| lane.upgrade());
        if let Some(lane) = found.filter(|lane| lane.is_driven()) {
            return lane;
        }
        lanes.retain(|(id, lane)| *id != inner.id && lane.strong_count() > 0);
        let lane = Lane::open(inner);
        lanes.push((inner.id, Arc::downgrade(&lane)));
        lane
    })
}

impl Lane {
    fn open(inner: &Arc<Inner>) -> Arc<Self> {
        let lane = Arc::new(Self {
            waiting: Mutex::new(VecDeque::new()),
            arrived: Notify::new(),
            is_closed: AtomicBool::new(false),
            drivers: AtomicUsize::new(DRIVERS),
            connection: tokio::sync::Mutex::new(None),
        });
        for _ in 0..DRIVERS {
            let driver = Driver { lane: Arc::clone(&lane), inner: Arc::downgrade(inner) };
            #[expect(clippy::disallowed_methods, reason = "drivers end when their store is dropped")]
            drop(tokio::spawn(driver.run()));
        }
        inner.keep(&lane);
        lane
    }

    fn push(&self, waiting: Waiting) -> Option<()> {
        let mut queue = self.locked();
        if queue.len() >= WAITING_MAX {
            return None;
        }
        queue.push_back(waiting);
        drop(queue);
        self.arrived.notify_one();
        Some(())
    }

    /// All that wait, or as many as go together. `None`: the store is not used any more.
    async fn take(&self) -> Option<Vec<Waiting>> {
        loop {
            let arrived = self.arrived.notified();
            {
                let mut queue = self.locked();
                let count = queue.len().min(BATCH_MAX);
                if count > 0 {
                    let batch = queue.drain(..count).collect();
                    if !queue.is_empty() {
                        self.arrived.notify_one();
                    }
                    return Some(batch);
                }
            }
            if self.is_closed.load(Ordering::Acquire) {
                return None;
            }
            arrived.await;
        }
    }

    /// Ends its drivers.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.arrived.notify_waiters();
    }

    pub(crate) fn is_driven(&self) -> bool {
        self.drivers.load(Ordering::Acquire) == DRIVERS
    }

    fn locked(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What carries a lane's questions.
struct Driver {
    lane: Arc<Lane>,
    inner: Weak<Inner>,
}

impl Driver {
    async fn run(self) {
        while let Some(batch) = self.lane.take().await {
            let Some(inner) = self.inner.upgrade() else { return };
            self.carry(&inner, batch).await;
        }
    }

    async fn carry(&self, inner: &Inner, batch: Vec<Waiting>) {
        // Those who came before the loss was known; they too do not wait for it.
        if !inner.health.is_well() {
            return;
        }
        // The first one has waited longest. To wait for its turn is to wait for the store.
        if batch.first().is_some_and(|oldest| oldest.since.elapsed() >= inner.patience) {
            inner.health.lose(Reason::new("it answers more slowly than it is asked"));
            return;
        }
        inner.calls.fetch_add(1, Ordering::Relaxed);
        let (questions, replies): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|waiting| (waiting.question, waiting.reply)).unzip();
        let carried = match tokio::time::timeout(inner.patience, self.answers(inner, &questions)).await {
            Ok(Ok(carried)) => carried,
            Ok(Err(error)) => {
                if connection::is_broken(&error) {
                    self.disconnect();
                }
                inner.health.lose(connection::reason(&error));
                return;
            }
            Err(_) => {
                self.disconnect();
                inner.health.lose(Reason::new(format!("no answer within {:?}", inner.patience)));
                return;
            }
        };
        for (answers, reply) in carried.answers.into_iter().zip(replies) {
            if let Some(reply) = reply {
                let _ = reply.send(answers);
            }
        }
        for question in carried.undo {
            let _ = self.lane.push(Waiting { question, reply: None, since: Instant::now() });
        }
        if let Some(error) = carried.failure {
            inner.health.lose(connection::reason(&error));
        }
    }

    /// What the store says to each question; to some nothing, where a node of a Cluster did not answer.
    async fn answers(&self, inner: &Inner, questions: &[Question]) -> RedisResult<Carried> {
        let (mut connection, was_open) = self.connection(inner).await?;
        match call::ask(&mut connection, &inner.script, questions).await {
            // One that the server closed while it was idle, say. Where the server did count before it was lost, it
            // counts twice: too much, never too little.
            Err(error) if was_open && error.is_connection_dropped() => {
                self.disconnect();
                let (mut connection, _) = self.connection(inner).await?;
                call::ask(&mut connection, &inner.script, questions).await
            }
            answers => answers,
        }
    }

    /// Gives a connection up, unless somebody is opening another just now.
    fn disconnect(&self) {
        if let Ok(mut connection) = self.lane.connection.try_lock() {
            connection.take();
        }
    }

    /// The lane's connection, and whether it was open before.
    async fn connection(&self, inner: &Inner) -> RedisResult<(Connection, bool)> {
        // What was open before a loss may be a connection to nowhere.
        if let Some((opened, connection)) = &*self.lane.connection.lock().await
            && *opened == inner.health.losses()
        {
            return Ok((connection.clone(), true));
        }
        let (lane, health) = (Arc::clone(&self.lane), Arc::clone(&inner.health));
        let (location, patience) = (inner.location.clone(), inner.patience);
        // It goes on when whoever waits for it does not wait any longer: then the store is lost, and there is a connection
        // when it is found again.
        #[expect(clippy::disallowed_methods, reason = "it ends within a second")]
        let opening = tokio::spawn(async move {
            let mut kept = lane.connection.lock().await;
            if let Some((opened, connection)) = &*kept
                && *opened == health.losses()
            {
                return Ok(connection.clone());
            }
            let connection = Connection::open(&location, OPEN_MAX, patience).await?;
            *kept = Some((health.losses(), connection.clone()));
            Ok(connection)
        });
        let opened =
            opening.await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::NotConnected).into()));
        opened.map(|connection| (connection, false))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.lane.drivers.fetch_sub(1, Ordering::AcqRel);
    }
}
