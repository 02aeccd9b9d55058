//! Which endpoints a request was sent to before, so that its next attempt goes to another one.

use std::sync::{Arc, Mutex, PoisonError};

/// A request's extension that its attempts share: who tries again puts it there, and whoever chooses an endpoint
/// looks at it and adds its choice.
#[derive(Clone, Debug, Default)]
pub struct Tried(Arc<Mutex<Vec<EndpointId>>>);

/// Which endpoint; no two in a process are the same, whatever their upstreams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndpointId(pub u64);

impl Tried {
    /// Whether the request was sent there.
    #[must_use]
    pub fn contains(&self, endpoint: EndpointId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&endpoint)
    }

    /// It is going to be sent there.
    pub fn add(&self, endpoint: EndpointId) {
        let mut tried = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !tried.contains(&endpoint) {
            tried.push(endpoint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_attempts_of_a_request_know_of_each_others_endpoints() {
        let (first, second) = (EndpointId(1), EndpointId(2));
        let tried = Tried::default();
        let of_next_attempt = tried.clone();
        tried.add(first);
        assert!(of_next_attempt.contains(first));
        assert!(!of_next_attempt.contains(second));
    }
}
