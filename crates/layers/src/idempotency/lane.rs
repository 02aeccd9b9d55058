//! Which lane a request goes in: what it must not overtake.

use steadfast_core::{canonical_json, lane_digest};
use steadfast_ledger::Lane;

use super::{Ordering, OrderingKey, naming, serve::KeyedRequest};

/// The lane of a request of this route; none where it has no ordering key, or an empty one.
pub(super) fn lane(route: &str, ordering: &Ordering, request: &KeyedRequest) -> Option<Lane> {
    let digest = match &ordering.by {
        OrderingKey::Header(name) => {
            let value = request.parts.headers.get(name)?.as_bytes().trim_ascii();
            (!value.is_empty()).then(|| lane_digest(route, value))?
        }
        // However it is written: one account is one lane.
        OrderingKey::Field(path) => {
            let value = naming::field(request.body.in_memory(), path)?;
            lane_digest(route, &canonical_json(value.get().as_bytes(), &[]).ok()?)
        }
    };
    Some(Lane { digest, trouble: ordering.trouble })
}
