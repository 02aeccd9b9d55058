//! Constant load of every kind, none of which may fail: keyed and unkeyed requests, over connections that are kept
//! and over new ones.

use std::{cell::Cell, net::SocketAddr};

use crate::serve::PATIENCE;
use e2e::{Ask, Caller};

/// How a caller asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// An order under a key, and its replay.
    Keyed,
    /// An order without one.
    Unkeyed,
}

/// Callers that ask one request after another until they are told to stop.
#[derive(Debug)]
pub(crate) struct Load {
    /// How many requests each caller has had answered.
    pub(crate) answered: Vec<Cell<usize>>,
    over: Cell<bool>,
}

impl Load {
    pub(crate) fn new() -> Self {
        Self { answered: vec![Cell::new(0); 2 * KINDS.len()], over: Cell::new(false) }
    }

    /// Runs the callers until [`Load::end`]; a request that fails, for whatever reason, fails the test.
    ///
    /// `replays` is whether a key that was just used is known to whoever answers next.
    pub(crate) async fn run(&self, addr: SocketAddr, replays: bool) {
        let callers = KINDS.iter().cycle().zip(&self.answered).enumerate();
        let mut waiting: Vec<_> = callers
            .map(|(number, ((kind, keeps), answered))| {
                Box::pin(self.ask(number, *kind, *keeps, addr, answered, replays))
            })
            .collect();
        std::future::poll_fn(|context| {
            waiting.retain_mut(|caller| caller.as_mut().poll(context).is_pending());
            if waiting.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    }

    /// Lets the callers end.
    pub(crate) fn end(&self) {
        self.over.set(true);
    }

    /// Waits until every caller has had `more` answers more.
    pub(crate) async fn goes_on(&self, more: usize) {
        let before: Vec<_> = self.answered.iter().map(Cell::get).collect();
        e2e::await_that("every caller goes on", PATIENCE, async || {
            let each = self.answered.iter().zip(&before);
            each.map(|(now, before)| now.get() - before).all(|answers| answers >= more).then_some(())
        })
        .await;
    }

    /// How many requests were answered.
    pub(crate) fn total(&self) -> usize {
        self.answered.iter().map(Cell::get).sum()
    }

    async fn ask(
        &self,
        number: usize,
        kind: Kind,
        keeps: bool,
        addr: SocketAddr,
        answered: &Cell<usize>,
        replays: bool,
    ) {
        let mut line = Caller::new(addr, PATIENCE);
        while !self.over.get() {
            let round = answered.get();
            let what = || format!("caller {number} ({kind:?}, keeps its connection: {keeps}), round {round}");
            if !keeps {
                line = Caller::new(addr, PATIENCE);
            }
            match kind {
                Kind::Keyed => {
                    let order = Ask::order(&format!("order-{number}-{round}"));
                    let first =
                        line.ask(&order).await.unwrap_or_else(|error| panic!("{}: {error:?}", what()));
                    assert_eq!(first.status, 201, "{}: {first:?}", what());
                    if replays {
                        let again =
                            line.ask(&order).await.unwrap_or_else(|error| panic!("{}: {error:?}", what()));
                        assert_eq!((again.kept(), again.is_replay()), (first.kept(), true), "{}", what());
                    }
                }
                Kind::Unkeyed => {
                    let body = r#"{"event":"open-air","buyer":"nobody","tickets":1}"#;
                    let answer = line.ask(&Ask::post("/orders", body)).await;
                    let answer = answer.unwrap_or_else(|error| panic!("{}: {error:?}", what()));
                    assert_eq!(answer.status, 201, "{}: {answer:?}", what());
                }
            }
            answered.set(round + 1);
        }
    }
}

/// What is asked, and whether over a connection that is kept.
const KINDS: [(Kind, bool); 4] =
    [(Kind::Keyed, true), (Kind::Keyed, false), (Kind::Unkeyed, true), (Kind::Unkeyed, false)];
