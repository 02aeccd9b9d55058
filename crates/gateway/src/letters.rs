//! What the routes in force say about dead letters: what one gets that goes round again, and as what an edited one is
//! accepted anew.

use std::{sync::Arc, time::Duration};

use steadfast_core::{FingerprintBuilder, Owner};
use steadfast_layers::under_own_key;
use steadfast_ledger::{Enqueue, KeptRequest, Lane, OperationName, Redrive};

use crate::edge::Edge;

/// Knows the routes in force.
#[derive(Clone)]
pub struct LettersDesk {
    edge: Arc<Edge>,
}

/// A dead letter as somebody edited it.
#[derive(Clone, Debug)]
pub struct Edited {
    /// The name of what it is now.
    pub name: OperationName,
    /// Who made the original.
    pub owner: Owner,
    /// The route it came by.
    pub route: Box<str>,
    /// The request's method.
    pub method: Box<str>,
    /// What to send.
    pub request: KeptRequest,
    /// The lane in which the original stood.
    pub lane: Option<Lane>,
}

/// An edited letter is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotEdited {
    /// Nobody can send it: its route is gone, or lets nothing happen in the background.
    NoRoute,
    /// Its body is longer than its route keeps: so many bytes.
    TooLarge(usize),
}

impl LettersDesk {
    pub(crate) fn new(edge: Arc<Edge>) -> Self {
        Self { edge }
    }

    /// The names of the routes that let something happen in the background.
    #[must_use]
    pub fn routes(&self) -> Vec<Arc<str>> {
        self.edge.routes.load().jobs.names().cloned().collect()
    }

    /// What a dead letter of this route gets that goes round again; `None` where nobody can send it.
    #[must_use]
    pub fn chance(&self, route: &str) -> Option<Redrive> {
        self.edge.routes.load().jobs.chance(route)
    }

    /// Counts a dead letter that was sent round again by hand.
    pub fn note_redriven(&self, route: &str) {
        self.edge.metrics.jobs.redriven(route);
    }

    /// As what an edited letter is accepted, by its route's policy now.
    ///
    /// # Errors
    /// [`NotEdited`]: it is not.
    pub fn work(&self, edited: Edited) -> Result<Enqueue, NotEdited> {
        let routes = self.edge.routes.load();
        let policy = routes.jobs.policy(&edited.route).ok_or(NotEdited::NoRoute)?;
        let background = policy.background.as_ref().ok_or(NotEdited::NoRoute)?;
        if edited.request.body.len() > background.request_bytes_max {
            return Err(NotEdited::TooLarge(background.request_bytes_max));
        }
        let Edited { name, owner, method, request, lane, .. } = edited;
        let (path, query) = match request.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (&*request.target, None),
        };
        let kind = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let kind = kind.map(|(_, value)| value);
        let mut fingerprint = FingerprintBuilder::new(&method, path, query, kind.as_deref());
        fingerprint.body(&request.body);
        Ok(Enqueue {
            fingerprint: fingerprint.finish(),
            route: Arc::clone(&policy.route),
            path: path.into(),
            repeatable_for: policy.repeatable_for,
            retention: policy.retention,
            delay: Duration::ZERO,
            priority: background.priority,
            tries_max: background.tries_max,
            age_max: background.age_max,
            request: under_own_key(&request, &name),
            name,
            owner,
            method,
            lane,
        })
    }
}

impl std::fmt::Debug for LettersDesk {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LettersDesk").finish_non_exhaustive()
    }
}
