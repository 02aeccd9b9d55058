//! Credentials are found again, replaced with an overlap, revoked once, and their changes are told in order.

use std::time::Duration;

use steadfast_core::{ApiKey, CredentialId, Timestamp};

use super::Harness;
use crate::{CredentialError, CredentialRecord, ENDED_KEPT, Issue, Revision, SharedLedger};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const HOUR: Duration = Duration::from_secs(3_600);

fn credential(principal: &str) -> CredentialRecord {
    let key = ApiKey::random("sf");
    CredentialRecord {
        id: key.id(),
        digest: key.digest(),
        prefix: "sf".into(),
        principal: principal.into(),
        attributes: vec![("plan".into(), "pro = good".into()), ("tenant".into(), "Zürich".into())],
        scopes: vec!["orders:read".into(), "orders:write".into()],
        created_at: NOW,
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
        replaces: None,
    }
}

async fn issued(ledger: &SharedLedger, record: CredentialRecord) -> CredentialRecord {
    let order = Issue { record: record.clone(), overlap_until: record.created_at };
    ledger.issue(order).await.expect("a credential");
    record
}

async fn all(ledger: &SharedLedger) -> Vec<CredentialRecord> {
    ledger.credentials(Revision::default()).await.expect("a ledger that works").records
}

async fn found(ledger: &SharedLedger, id: CredentialId) -> CredentialRecord {
    all(ledger).await.into_iter().find(|record| record.id == id).expect("the credential")
}

/// What was issued is there after a restart, to the letter.
pub async fn keeps_credentials_over_a_restart<H: Harness>(mut harness: H) {
    let ada = issued(&harness.ledger(), credential("ada")).await;
    let bob = CredentialRecord {
        attributes: Vec::new(),
        scopes: Vec::new(),
        created_at: NOW.after(HOUR),
        expires_at: Some(NOW.after(HOUR * 2)),
        ..credential("bob")
    };
    let bob = issued(&harness.ledger(), bob).await;
    harness.restart().await;
    assert_eq!(all(&harness.ledger()).await, [ada, bob]);
}

/// Rotation ends the old one after the overlap, and never later than it would have ended.
pub async fn replaces_a_credential_with_an_overlap<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let soon = Some(NOW.after(HOUR / 2));
    for (expires_at, expected) in [(None, NOW.after(HOUR)), (soon, NOW.after(HOUR / 2))] {
        let old = issued(&ledger, CredentialRecord { expires_at, ..credential("ada") }).await;
        let new = CredentialRecord { replaces: Some(old.id), ..credential("ada") };
        let order = Issue { record: new.clone(), overlap_until: NOW.after(HOUR) };
        ledger.issue(order).await.expect("a credential");
        assert_eq!(found(&ledger, old.id).await.expires_at, Some(expected));
        assert_eq!(found(&ledger, new.id).await, new);
    }
}

/// What has ended, or never was, is not replaced, and nothing comes of the order.
pub async fn replaces_no_credential_that_has_ended<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let old = issued(&ledger, credential("ada")).await;
    ledger.revoke(old.id, NOW).await.expect("a revocation");
    let before = ledger.credentials(Revision::default()).await.expect("a ledger that works").revision;
    let replacing = |replaces| Issue {
        record: CredentialRecord { replaces: Some(replaces), ..credential("ada") },
        overlap_until: NOW.after(HOUR),
    };
    assert_eq!(ledger.issue(replacing(old.id)).await, Err(CredentialError::Ended));
    let never = CredentialId::from_bits(7);
    assert_eq!(ledger.issue(replacing(never)).await, Err(CredentialError::NotFound));
    assert_eq!(all(&ledger).await.len(), 1);
    let after = ledger.credentials(before).await.expect("a ledger that works");
    assert_eq!((after.revision, after.records.len()), (before, 0));
}

/// The second revocation changes nothing about the first.
pub async fn revokes_a_credential_once<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let ada = issued(&ledger, credential("ada")).await;
    ledger.revoke(ada.id, NOW.after(HOUR)).await.expect("a revocation");
    assert_eq!(ledger.revoke(ada.id, NOW.after(HOUR * 2)).await, Err(CredentialError::Ended));
    let ada = found(&ledger, ada.id).await;
    assert_eq!(ada.revoked_at, Some(NOW.after(HOUR)));
    assert!(ada.is_active(NOW) && !ada.is_active(NOW.after(HOUR)));
    let never = CredentialId::from_bits(7);
    assert_eq!(ledger.revoke(never, NOW).await, Err(CredentialError::NotFound));
}

/// Whoever asks what changed is told of everything since, and of nothing else.
pub async fn tells_which_credentials_changed<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let changed = async |since| ledger.credentials(since).await.expect("a ledger that works");
    let none = changed(Revision::default()).await;
    assert_eq!(none.records, []);
    let (ada, bob) = (issued(&ledger, credential("ada")).await, issued(&ledger, credential("bob")).await);
    let two = changed(none.revision).await;
    assert_eq!(two.records.len(), 2);
    ledger.note_used(vec![(ada.id, NOW)]).await.expect("a use");
    assert_eq!(changed(two.revision).await.records, [], "a use is no change");
    ledger.revoke(bob.id, NOW).await.expect("a revocation");
    let last = changed(two.revision).await;
    assert_eq!(last.records.iter().map(|record| record.id).collect::<Vec<_>>(), [bob.id]);
    assert_eq!(changed(last.revision).await.records, []);
}

/// The latest use counts, whoever tells of it last.
pub async fn notes_when_credentials_were_used<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let (ada, bob) = (issued(&ledger, credential("ada")).await, issued(&ledger, credential("bob")).await);
    let never = CredentialId::from_bits(7);
    ledger.note_used(vec![(bob.id, NOW), (never, NOW), (ada.id, NOW.after(HOUR))]).await.expect("uses");
    ledger.note_used(vec![(ada.id, NOW), (bob.id, NOW.after(HOUR))]).await.expect("uses");
    for id in [ada.id, bob.id] {
        assert_eq!(found(&ledger, id).await.last_used_at, Some(NOW.after(HOUR)));
    }
}

/// What ended long ago makes room.
pub async fn forgets_credentials_that_ended_long_ago<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let expired = issued(&ledger, CredentialRecord { expires_at: Some(NOW), ..credential("ada") }).await;
    let revoked = issued(&ledger, credential("bob")).await;
    ledger.revoke(revoked.id, NOW).await.expect("a revocation");
    let lasting = issued(&ledger, credential("eve")).await;
    let at = |created_at| CredentialRecord { created_at, ..credential("new") };
    issued(&ledger, at(NOW.after(ENDED_KEPT))).await;
    assert_eq!(all(&ledger).await.len(), 4, "their time is not over yet");
    issued(&ledger, at(NOW.after(ENDED_KEPT + HOUR))).await;
    let left: Vec<_> = all(&ledger).await.into_iter().map(|record| record.id).collect();
    assert!(left.len() == 3 && left.contains(&lasting.id), "{expired:?} and {revoked:?} go");
}
