//! What is known of bans outlives the loss of the ledger that told of them.

use std::time::Duration;

use steadfast_core::{BanOrder, BanSource, BanSubject, BanTime};
use steadfast_layers::BanList;
use steadfast_ledger::{Bans, LedgerError};

use crate::contract::fresh_ledger;

#[tokio::test]
async fn a_list_that_cannot_follow_its_ledger_stays_as_it_is_and_catches_up() {
    let (ledger, clock, _folder) = fresh_ledger();
    let list = BanList::default();
    let now = clock.wall();
    let ban = async |address: &str| {
        let order = BanOrder {
            subject: address.parse().expect("a subject"),
            source: BanSource::ByHand,
            at: now,
            lasts: BanTime::For(Duration::from_secs(60)),
            reason: "".into(),
            by: "".into(),
            challenge: None,
            repeats: 0,
        };
        ledger.ban(order).await.expect("a ledger that works");
    };
    let held = || list.in_force(now).0[0];
    ban("203.0.113.7").await;
    list.follow(&*ledger).await.expect("a ledger that works");
    assert_eq!(held(), 1);
    ban("203.0.113.8").await;
    ledger.fail_bans(Some(LedgerError::Full));
    assert_eq!(list.follow(&*ledger).await, Err(LedgerError::Full));
    assert_eq!(held(), 1);
    ledger.fail_bans(None);
    list.follow(&*ledger).await.expect("a ledger that works again");
    assert_eq!(held(), 2);

    // A ledger that was put back to before all that.
    let (earlier, _, _kept) = fresh_ledger();
    list.follow(&*earlier).await.expect("a ledger that works");
    assert_eq!(held(), 0);

    // Another one that counts the same changes, as a standby may that took over: it was lost for a moment.
    let (standby, _, _kept) = fresh_ledger();
    list.follow(&*ledger).await.expect("a ledger that works");
    for address in ["198.51.100.1", "198.51.100.2"] {
        let subject: BanSubject = address.parse().expect("a subject");
        let by = || "".into();
        let order = BanOrder {
            subject,
            source: BanSource::ByHand,
            at: now,
            lasts: BanTime::ForEver,
            reason: by(),
            by: by(),
            challenge: None,
            repeats: 0,
        };
        standby.ban(order).await.expect("a ledger that works");
    }
    standby.lift("198.51.100.2".parse().expect("a subject"), now).await.expect("a ban");
    standby.fail_bans(Some(LedgerError::Unreachable("gone".into())));
    list.follow(&*standby).await.expect_err("it is gone");
    standby.fail_bans(None);
    let let_in = list.follow(&*standby).await.expect("a ledger that works");
    assert_eq!((held(), let_in), (1, vec!["198.51.100.2".parse().expect("a subject")]));
}
