//! Bans last, grow with each repeat, are lifted once, and their changes are told in order.

use std::time::Duration;

use steadfast_core::{Ban, BanOrder, BanSource, BanSubject, BanTime, REPEATED_WITHIN, Timestamp};

use super::Harness;
use crate::{BanError, Revision, SharedLedger};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const MINUTE: Duration = Duration::from_secs(60);

fn subject(text: &str) -> BanSubject {
    text.parse().expect("a subject")
}

fn by_hand(of: &str, lasts: BanTime) -> BanOrder {
    BanOrder {
        subject: subject(of),
        source: BanSource::ByHand,
        at: NOW,
        lasts,
        reason: "it „scrapes“ prices".into(),
        by: "ada".into(),
        challenge: Some("https://example.org/human?a=b".into()),
        repeats: 0,
    }
}

fn automatic(of: &str, at: Timestamp) -> BanOrder {
    BanOrder {
        source: BanSource::Unauthenticated,
        at,
        challenge: None,
        ..by_hand(of, BanTime::Growing { first: MINUTE, longest: MINUTE * 3 })
    }
}

async fn made(ledger: &SharedLedger, order: BanOrder) -> Ban {
    ledger.ban(order).await.expect("a ledger that works").expect("a ban")
}

async fn all(ledger: &SharedLedger) -> Vec<Ban> {
    ledger.bans(Revision::default()).await.expect("a ledger that works").bans
}

/// What was banned is banned after a restart, to the letter.
pub async fn keeps_bans_over_a_restart<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let network = made(&ledger, by_hand("203.0.113.0/24", BanTime::ForEver)).await;
    let principal = BanOrder { at: NOW.after(MINUTE), ..by_hand("principal:Zoë", BanTime::For(MINUTE)) };
    let principal = made(&ledger, principal).await;
    let address = made(&ledger, automatic("2001:db8::/64", NOW.after(MINUTE * 2))).await;
    assert_eq!((network.until, principal.until), (None, Some(NOW.after(MINUTE * 2))));
    drop(ledger);
    harness.restart().await;
    assert_eq!(all(&harness.ledger()).await, [network, principal, address]);
}

/// Of each subject there is one ban, and what nobody decided changes none that holds.
pub async fn bans_a_subject_once<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    made(&ledger, by_hand("203.0.113.7", BanTime::For(MINUTE))).await;
    assert_eq!(ledger.ban(automatic("203.0.113.7", NOW)).await, Ok(None));
    let longer = made(&ledger, by_hand("203.0.113.7", BanTime::ForEver)).await;
    assert_eq!(all(&ledger).await, [longer]);
}

/// Each repeat lasts twice as long as the one before it, up to the longest time.
pub async fn lets_repeated_bans_grow<H: Harness>(mut harness: H) {
    let mut at = NOW;
    for (repeats, minutes) in [(0, 1), (1, 2), (2, 3), (3, 3)] {
        let ban = made(&harness.ledger(), automatic("203.0.113.7", at)).await;
        let until = at.after(MINUTE * minutes);
        assert_eq!((ban.repeats, ban.until), (repeats, Some(until)));
        at = until;
        harness.restart().await;
    }
}

/// A ban is lifted once, and whoever was let off begins anew.
pub async fn lifts_a_ban_once<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let ban = made(&ledger, automatic("203.0.113.7", NOW)).await;
    let soon = NOW.after(MINUTE / 2);
    let lifted = ledger.lift(ban.subject.clone(), soon).await.expect("a ban");
    assert_eq!(lifted, Ban { lifted_at: Some(soon), ..ban });
    assert!(!lifted.holds(NOW) && !lifted.holds(soon), "whatever the clocks say");
    assert_eq!(all(&ledger).await, [lifted]);
    assert_eq!(ledger.lift(subject("203.0.113.7"), soon).await, Err(BanError::NotFound));
    assert_eq!(ledger.lift(subject("203.0.113.8"), soon).await, Err(BanError::NotFound));
    assert_eq!(made(&ledger, automatic("203.0.113.7", soon)).await.repeats, 0);
    let ended = soon.after(MINUTE);
    assert_eq!(ledger.lift(subject("203.0.113.7"), ended).await, Err(BanError::NotFound), "its time is over");
}

/// Whoever asks what changed is told of everything since, and of nothing else.
pub async fn tells_which_bans_changed<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let changed = async |since| ledger.bans(since).await.expect("a ledger that works");
    let none = changed(Revision::default()).await;
    assert_eq!(none.bans, []);
    let first = made(&ledger, by_hand("203.0.113.7", BanTime::ForEver)).await;
    made(&ledger, by_hand("principal:acme", BanTime::ForEver)).await;
    let two = changed(none.revision).await;
    assert_eq!(two.bans.len(), 2);
    assert_eq!(ledger.ban(automatic("principal:acme", NOW)).await, Ok(None));
    assert_eq!(changed(two.revision).await.bans, []);
    ledger.lift(first.subject.clone(), NOW.after(MINUTE)).await.expect("a ban");
    let last = changed(two.revision).await;
    assert_eq!(last.bans.iter().map(|ban| &ban.subject).collect::<Vec<_>>(), [&first.subject]);
    assert_eq!(changed(last.revision).await.bans, []);
}

/// What ended more than a day ago makes room.
pub async fn forgets_bans_that_ended_long_ago<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    made(&ledger, by_hand("203.0.113.7", BanTime::For(MINUTE))).await;
    made(&ledger, by_hand("203.0.113.8", BanTime::ForEver)).await;
    ledger.lift(subject("203.0.113.8"), NOW.after(MINUTE)).await.expect("a ban");
    made(&ledger, by_hand("203.0.113.9", BanTime::ForEver)).await;
    let end = NOW.after(MINUTE).after(REPEATED_WITHIN);
    made(&ledger, BanOrder { at: end, ..by_hand("203.0.113.10", BanTime::ForEver) }).await;
    assert_eq!(all(&ledger).await.len(), 4, "their time is not over yet");
    made(&ledger, BanOrder { at: end.after(MINUTE), ..by_hand("203.0.113.10", BanTime::ForEver) }).await;
    let left: Vec<_> = all(&ledger).await.into_iter().map(|ban| ban.subject.to_string()).collect();
    assert_eq!(left, ["203.0.113.9", "203.0.113.10"]);
}
