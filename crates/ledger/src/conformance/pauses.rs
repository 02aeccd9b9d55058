//! Routes that rest by hand: on every node, over a restart, until their time is over or somebody resumes them.

use std::time::Duration;

use super::{Harness, fixture::PAUSE};
use crate::{PauseOrder, RoutePause, SharedLedger};

fn order(route: &str, time: Option<Duration>) -> PauseOrder {
    PauseOrder { route: route.into(), time, by: "ada".into(), reason: "the bank is „down“".into() }
}

async fn resting(ledger: &SharedLedger) -> Vec<RoutePause> {
    ledger.pauses().await.expect("a ledger that works")
}

/// A route rests over a restart, and there is one pause of it, the last.
pub async fn keeps_a_route_at_rest_over_a_restart<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    ledger.pause(order("orders", Some(PAUSE))).await.expect("it rests");
    let orders = ledger.pause(order("orders", None)).await.expect("it rests");
    let refunds = ledger.pause(order("refunds", Some(PAUSE * 60))).await.expect("it rests");
    assert_eq!((orders.until, refunds.until), (None, Some(refunds.since.after(PAUSE * 60))));
    assert_eq!((&*orders.by, &*orders.reason), ("ada", "the bank is „down“"));
    drop(ledger);
    harness.restart().await;
    assert_eq!(resting(&harness.ledger()).await, [orders, refunds]);
}

/// A pause ends when its time is over, or when somebody resumes the route.
pub async fn ends_a_pause_by_its_time_or_by_hand<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    ledger.pause(order("orders", Some(PAUSE))).await.expect("it rests");
    let refunds = ledger.pause(order("refunds", None)).await.expect("it rests");
    harness.advance(PAUSE + Duration::from_millis(5)).await;
    assert_eq!(resting(&ledger).await, std::slice::from_ref(&refunds));
    assert_eq!(ledger.resume("orders".into()).await, Ok(None), "its time is over");
    assert_eq!(ledger.resume("refunds".into()).await, Ok(Some(refunds)));
    assert_eq!(ledger.resume("refunds".into()).await, Ok(None));
    assert_eq!(resting(&ledger).await, []);
}
