//! The claims held in this process right now. The heartbeat renews these and no others: a claim whose holder is
//! gone is left to run out.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use steadfast_core::{Fence, OperationId};

/// The claims whose holders live in this process.
#[derive(Clone, Debug, Default)]
pub struct LiveClaims(Arc<Mutex<HashMap<Fence, OperationId>>>);

/// A holder's grip on its claim; dropping it lets the lease run out.
#[derive(Debug)]
pub struct Held {
    claims: LiveClaims,
    fence: Fence,
}

impl LiveClaims {
    /// Holds the claim with this fence until the result is dropped.
    #[must_use]
    pub fn hold(&self, operation: OperationId, fence: Fence) -> Held {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(fence, operation);
        Held { claims: self.clone(), fence }
    }

    /// Everything held at this moment.
    #[must_use]
    pub fn all(&self) -> Vec<(Fence, OperationId)> {
        let claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        claims.iter().map(|(fence, operation)| (*fence, *operation)).collect()
    }

    /// How many are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the claim with this fence is held.
    #[must_use]
    pub fn is_held(&self, fence: Fence) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&fence)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.claims.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.fence);
    }
}
