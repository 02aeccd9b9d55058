//! Claims about what happens when the ledger cannot be reached.

use steadfast_ledger::LedgerError;

use super::{Stand, refusal::Again, wire::Ask};

fn lost() -> Option<LedgerError> {
    Some(LedgerError::Unreachable("a test says so".into()))
}

pub(crate) async fn a_lost_ledger_refuses_and_sends_nothing(stand: Stand) {
    let ask = Ask::post("/orders").key("k");
    for error in [lost(), Some(LedgerError::Full), Some(LedgerError::ReadOnly), Some(LedgerError::Closed)] {
        stand.ledger.fail_claims(error);
        let answer = stand.ask(&ask).await;
        answer.refused(503, "ledger-unavailable", Again::HelpsAfter);
        assert!(!answer.text().contains("a test says so"), "what went wrong is for the log");
    }
    assert_eq!(stand.backend.count(), 0);
    stand.ledger.fail_claims(None);
    assert_eq!(stand.ask(&ask).await.text(), "done 1");
}

pub(crate) async fn a_route_may_forward_without_the_ledger_and_says_so(stand: Stand) {
    stand.ledger.fail_claims(lost());
    let ask = Ask::post("/forwarding").key("k");
    for number in 1..=2 {
        let answer = stand.ask(&ask).await;
        assert_eq!((answer.status, answer.text()), (201, format!("done {number}")));
        assert_eq!(answer.header("steadfast-protection"), Some("none"));
        assert_eq!(answer.header("steadfast-operation"), None);
    }
    assert_eq!(stand.last_seen().key(), Some("k"));
    stand.ledger.fail_claims(None);
    let answer = stand.ask(&ask).await;
    assert_eq!((answer.text().as_str(), answer.header("steadfast-protection")), ("done 3", None));
}

pub(crate) async fn an_overloaded_ledger_refuses_everywhere(stand: Stand) {
    stand.ledger.fail_claims(Some(LedgerError::Overloaded { open_max: 1 }));
    for path in ["/orders", "/forwarding"] {
        let answer = stand.ask(&Ask::post(path).key("k")).await;
        answer.refused(503, "temporary-reduced-capacity", Again::HelpsAfter);
    }
    assert_eq!(stand.backend.count(), 0);
}

pub(crate) async fn an_unkeyed_request_needs_no_ledger(stand: Stand) {
    stand.ledger.fail_claims(lost());
    assert_eq!(stand.ask(&Ask::post("/orders")).await.status, 201);
    assert_eq!(stand.ask(&Ask::new("GET", "/orders")).await.status, 201);
}
