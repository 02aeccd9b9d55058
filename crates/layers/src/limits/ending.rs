//! What of a limit ends with its answer: a place that was taken comes free, and what only the answer told is charged.
//! Both happen when the answer has been sent, or dropped, or never came.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use steadfast_core::{LimitAlgorithm, Quota};

use super::{
    policy::CostFromAnswer,
    route::RouteLimits,
    store::{LimitedKey, Take},
};
use crate::{Decision, HeldBody, idempotency::Protection};

/// One limit that was charged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charged {
    /// Which of the route's limits.
    pub(crate) index: u8,
    pub(crate) key: LimitedKey,
    pub(crate) cost: u64,
    pub(crate) quota: Quota,
    /// When.
    pub(crate) at: Duration,
}

/// What was charged to a request, and is not settled yet.
#[derive(Debug)]
pub(crate) struct Unsettled {
    limits: Arc<RouteLimits>,
    charged: Vec<Charged>,
    /// How many bytes of the answer were sent.
    bytes: u64,
    /// Whether there was an answer at all.
    is_answered: bool,
}

impl Unsettled {
    pub(crate) fn new(limits: Arc<RouteLimits>, charged: Vec<Charged>) -> Self {
        Self { limits, charged, bytes: 0, is_answered: false }
    }

    /// Takes in what an answer's head tells.
    pub(crate) fn answered<R>(&mut self, response: &Response<R>) {
        self.is_answered = true;
        if is_replay(response) {
            // It cost the upstream nothing.
            for charged in &mut self.charged {
                let limit = &self.limits.limits[usize::from(charged.index)];
                if !limit.policy.holds_places() {
                    self.limits.give_back(charged, charged.cost);
                    limit.tally.refunded.add();
                    charged.cost = 0;
                }
            }
            self.charged.retain(|charged| charged.cost > 0);
        }
        for charged in &mut self.charged {
            let policy = &self.limits.limits[usize::from(charged.index)].policy;
            if let Some(CostFromAnswer::Header(name)) = &policy.cost_from_answer
                && let Some(cost) = whole_number(response.headers(), name)
            {
                self.limits.settle(charged, cost);
                charged.cost = cost;
            }
        }
    }

    /// Whether something is left to do when the answer's body has ended.
    pub(crate) fn is_needed(&self) -> bool {
        self.charged.iter().any(|charged| {
            let policy = &self.limits.limits[usize::from(charged.index)].policy;
            policy.holds_places() || matches!(policy.cost_from_answer, Some(CostFromAnswer::Bytes))
        })
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        for charged in &self.charged {
            let policy = &self.limits.limits[usize::from(charged.index)].policy;
            if policy.holds_places() {
                self.limits.give_back(charged, charged.cost);
            } else if matches!(policy.cost_from_answer, Some(CostFromAnswer::Bytes)) && self.is_answered {
                self.limits.settle(charged, self.bytes);
            }
        }
    }
}

impl RouteLimits {
    fn give_back(&self, charged: &Charged, cost: u64) {
        let Quota { algorithm, period, .. } = charged.quota;
        let began = |at| period.around(at).0;
        // What was charged in a window that is over went with it.
        if algorithm == LimitAlgorithm::FixedWindow
            && began(charged.at) != began(self.limiter.local().clock().now())
        {
            return;
        }
        self.with_take(charged, cost, |store, take| store.give_back(take));
    }

    /// Charges what a request cost in all, beyond what it was charged before.
    fn settle(&self, charged: &Charged, cost: u64) {
        if cost > charged.cost {
            self.with_take(charged, cost - charged.cost, |store, take| store.charge(take));
        } else if cost < charged.cost {
            self.give_back(charged, charged.cost - cost);
        }
    }

    fn with_take(
        &self,
        charged: &Charged,
        cost: u64,
        act: impl FnOnce(&dyn super::store::LimitStore, &Take<'_>),
    ) {
        let limit = &self.limits[usize::from(charged.index)];
        let take = Take {
            limit: &limit.policy.name,
            key: charged.key,
            cost,
            quota: charged.quota,
            enforced: true,
            wait_max: Duration::ZERO,
        };
        act(self.store_of(limit), &take);
    }
}

/// Whether it is the stored answer of an earlier request.
fn is_replay<R>(response: &Response<R>) -> bool {
    response.extensions().get::<Decision>().is_some_and(|made| made.protection == Protection::Replayed)
}

fn whole_number(headers: &HeaderMap, name: &http::HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// The body of an answer that limits wait for the end of; or any other.
#[derive(Debug)]
pub struct LimitedBody<R> {
    body: HeldBody<R>,
    unsettled: Option<Box<Unsettled>>,
}

impl<R: Body<Data = Bytes> + Unpin> LimitedBody<R> {
    pub(crate) fn wrap(body: HeldBody<R>, unsettled: Option<Box<Unsettled>>) -> HeldBody<Self> {
        match (body, unsettled) {
            (HeldBody::Whole(bytes), None) => HeldBody::Whole(bytes),
            (body, unsettled) => {
                let unsettled = unsettled.filter(|_| !body.is_end_stream());
                HeldBody::Passed(Self { body, unsettled })
            }
        }
    }
}

impl<R: Body<Data = Bytes> + Unpin> Body for LimitedBody<R> {
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(unsettled) = &mut self.unsettled {
            if let Some(Ok(frame)) = &frame {
                unsettled.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
            }
            if !matches!(frame, Some(Ok(_))) || self.body.is_end_stream() {
                self.unsettled = None;
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
