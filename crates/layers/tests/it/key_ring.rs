//! What is known of keys outlives the loss of the ledger that told it.

use steadfast_core::ApiKey;
use steadfast_layers::{KeyRing, NamedAs};
use steadfast_ledger::{CredentialRecord, Credentials, Issue, LedgerError};

use crate::contract::fresh_ledger;

#[tokio::test]
async fn a_ring_that_cannot_follow_its_ledger_stays_as_it_is_and_catches_up() {
    let (ledger, clock, _folder) = fresh_ledger();
    let ring = KeyRing::new("sf", NamedAs::default(), None);
    let issue = async || {
        let key = ApiKey::random("sf");
        let record = CredentialRecord {
            id: key.id(),
            digest: key.digest(),
            prefix: "sf".into(),
            principal: "acme".into(),
            attributes: Vec::new(),
            scopes: Vec::new(),
            created_at: clock.wall(),
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
            replaces: None,
        };
        ledger.issue(Issue { record, overlap_until: clock.wall() }).await.expect("a key");
    };
    issue().await;
    ring.follow(&*ledger).await.expect("a ledger that works");
    assert_eq!(ring.len(), 1);
    issue().await;
    ledger.fail_credentials(Some(LedgerError::Full));
    assert_eq!(ring.follow(&*ledger).await, Err(LedgerError::Full));
    assert_eq!(ring.len(), 1);
    ledger.fail_credentials(None);
    ring.follow(&*ledger).await.expect("a ledger that works again");
    assert_eq!(ring.len(), 2);
}
