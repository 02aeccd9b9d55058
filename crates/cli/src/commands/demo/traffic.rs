//! The customers: they double-click, lose patience, lose answers, try again as the gateway tells them, come back,
//! and sometimes reuse a key for something else.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    client::{Client, Lost, Reply},
    dice::Dice,
    intent::{Intent, Stream},
    tally::Tally,
};

/// How many customers there are at once: enough to race, few enough for a small machine.
const CUSTOMERS: usize = 16;
/// The first pause before another try; each doubles, and half of it is thrown.
const PAUSE_MS: u64 = 40;
/// The longest pause.
const PAUSE_MS_MAX: u64 = 800;
/// How long a customer keeps trying after the doors closed: longer than a lease, for which a gateway that was killed
/// keeps its claims in a shared database.
const LAST_TRIES: Duration = Duration::from_secs(60);

/// How long what was begun within that may still take: a few calls of a second or two.
const LAST_TRY_MAX: Duration = Duration::from_secs(15);

/// What all calls for one intent ended with.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) key: String,
    pub(super) endings: Vec<Ending>,
    /// What another request under the same key was told.
    pub(super) slip: Option<Ending>,
}

/// What one call ended with, after all its tries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The box office's own final answer, first or replayed.
    Answered(Answer),
    /// Nobody knows, says the gateway.
    InDoubt,
    /// The key belongs to another request, says the gateway.
    KeyReused,
    /// No final answer: what was heard last.
    GaveUp(String),
}

/// A final answer: what a replay has to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) location: Option<String>,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Customers at work.
#[derive(Debug)]
pub(super) struct Traffic {
    customers: JoinSet<Vec<Heard>>,
    closed: watch::Sender<Option<Instant>>,
}

/// What every customer needs.
#[derive(Clone, Debug)]
struct Square {
    to: SocketAddr,
    stream: Stream,
    tally: Arc<Tally>,
    /// The number of the next intent.
    next: Arc<AtomicU64>,
    /// When the last tries end, once no more is asked.
    closed: watch::Receiver<Option<Instant>>,
}

impl Traffic {
    pub(super) fn start(to: SocketAddr, stream: Stream, tally: Arc<Tally>) -> Self {
        let (closed, receiver) = watch::channel(None);
        let square = Square { to, stream, tally, next: Arc::default(), closed: receiver };
        let mut customers = JoinSet::new();
        for _ in 0..CUSTOMERS {
            customers.spawn(square.clone().customer());
        }
        Self { customers, closed }
    }

    /// Has nothing more asked, lets every call end (within [`LAST_TRIES`]), and returns what was heard.
    ///
    /// # Errors
    /// A customer panicked, or did not come to an end.
    pub(super) async fn finish(mut self) -> anyhow::Result<Vec<Heard>> {
        self.closed.send_replace(Some(Instant::now() + LAST_TRIES));
        let mut heard = Vec::new();
        let all = async {
            while let Some(customer) = self.customers.join_next().await {
                heard.extend(customer.context("a customer panicked")?);
            }
            anyhow::Ok(())
        };
        timeout(LAST_TRIES + LAST_TRY_MAX, all).await.context("the customers did not come to an end")??;
        Ok(heard)
    }
}

impl Square {
    async fn customer(mut self) -> Vec<Heard> {
        let mut heard = Vec::new();
        while self.closed.borrow().is_none() {
            let intent = Arc::new(self.stream.intent(self.next.fetch_add(1, Ordering::Relaxed)));
            let rest = intent.manners.rest;
            heard.push(self.pursue(intent).await);
            tokio::select! {
                () = sleep(rest) => {}
                _ = self.closed.changed() => {}
            }
        }
        heard
    }

    /// Asks for one thing until everything about it is said.
    async fn pursue(&self, intent: Arc<Intent>) -> Heard {
        let begun = Instant::now();
        let mut clicks = JoinSet::new();
        for (click, after) in intent.manners.clicks.iter().enumerate() {
            let (square, intent, at) = (self.clone(), Arc::clone(&intent), begun + *after);
            clicks.spawn(async move {
                sleep_until(at).await;
                square.call(&intent, &intent.body, click as u64).await
            });
        }
        let mut endings = clicks.join_all().await;
        if intent.manners.comes_back {
            endings.push(self.call(&intent, &intent.body, 10).await);
        }
        let answered = endings.iter().any(|ending| matches!(ending, Ending::Answered(_)));
        let slip = match &intent.manners.slips {
            Some(other) if answered => Some(self.call(&intent, other, 11).await),
            _ => None,
        };
        Heard { key: intent.key.clone(), endings, slip }
    }

    /// One click: a request, tried again for as long as that may help.
    async fn call(&self, intent: &Intent, body: &Bytes, click: u64) -> Ending {
        self.tally.asked.add_one();
        let mut client = Client::new(self.to);
        let mut dice = Dice::new(self.stream.seed ^ click, fingerprint(&intent.key));
        let mut pause_ms = PAUSE_MS;
        loop {
            self.tally.requests.add_one();
            let request = match request(self.to, intent, body) {
                Ok(request) => request,
                Err(error) => return Ending::GaveUp(error.to_string()),
            };
            let last = match client.send(request, intent.manners.patience).await {
                Ok(reply) => match self.hear(intent, reply) {
                    Next::Ended(ending) => return ending,
                    Next::Again(last) => last,
                },
                Err(lost) => {
                    self.tally.unanswered.add_one();
                    if intent.is_order() {
                        self.tally.orders().unanswered.add_one();
                    }
                    if lost != Lost::Unreachable {
                        self.tally.tell(format!("{}: {lost}; asking again with the same key", intent.key));
                    }
                    lost.to_string()
                }
            };
            let closed = *self.closed.borrow();
            if closed.is_some_and(|until| Instant::now() >= until) {
                return Ending::GaveUp(last);
            }
            sleep(Duration::from_millis(dice.between(pause_ms / 2, pause_ms))).await;
            pause_ms = (pause_ms * 2).min(PAUSE_MS_MAX);
        }
    }

    /// Counts what a customer was told of an order, for the story of the bank's bad minute.
    fn note_order(&self, reply: &Reply) {
        let seen = self.tally.orders();
        match (reply.code.as_deref(), &reply.outcome) {
            _ if reply.replayed => seen.replayed.add_one(),
            (Some("outcome-in-doubt"), _) => seen.in_doubt.add_one(),
            (None, Some(outcome)) if outcome == "in-doubt" => seen.in_doubt.add_one(),
            // Turned away because it was running or its key belonged to another: that is no news of the bank.
            (Some("operation-in-progress" | "idempotency-key-reused"), _) => {}
            (Some(_), _) | (None, Some(_)) => seen.refused.add_one(),
            (None, None) => seen.answered.add_one(),
        }
    }

    fn hear(&self, intent: &Intent, reply: Reply) -> Next {
        if reply.replayed {
            self.tally.replayed.add_one();
        }
        if intent.is_order() {
            self.note_order(&reply);
        }
        match reply.code.as_deref() {
            Some("operation-in-progress") => self.tally.conflicts.add_one(),
            Some("idempotency-key-reused") => {
                self.tally.conflicts.add_one();
                self.tally.tell(format!("{}: another request under its key was turned away", intent.key));
                return Next::Ended(Ending::KeyReused);
            }
            Some("outcome-in-doubt") if reply.should_retry != Some(true) => {
                self.tally.told_in_doubt.add_one();
                self.tally.tell(format!("{}: nobody knows what happened; not sent again", intent.key));
                return Next::Ended(Ending::InDoubt);
            }
            _ => {}
        }
        let described = || match &reply.code {
            Some(code) => format!("{} {code}", reply.status),
            None => reply.status.to_string(),
        };
        let by_status = matches!(reply.status, 408 | 425 | 429) || reply.status >= 500;
        if reply.should_retry.unwrap_or(by_status) {
            return Next::Again(described());
        }
        if reply.code.is_some() || by_status {
            return Next::Ended(Ending::GaveUp(described()));
        }
        let answer = Answer { status: reply.status, location: reply.location, body: reply.body };
        if answer.is_success() && !reply.replayed {
            self.tally.first_answers.add_one();
        }
        Next::Ended(Ending::Answered(answer))
    }
}

/// What to do after an answer.
enum Next {
    Ended(Ending),
    Again(String),
}

fn request(to: SocketAddr, intent: &Intent, body: &Bytes) -> http::Result<Request<Full<Bytes>>> {
    Request::post(intent.path)
        .header(header::HOST, to.to_string())
        .header(header::CONTENT_TYPE, "application/json")
        .header("idempotency-key", &intent.key)
        // Handed on by the gateway and the box office: it says in both books what the effect was for.
        .header("x-client-reference", &intent.key)
        .body(Full::new(body.clone()))
}

/// A number from a key, for its dice.
fn fingerprint(key: &str) -> u64 {
    key.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}
