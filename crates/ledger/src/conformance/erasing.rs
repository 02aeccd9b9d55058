//! Erasing: what is kept of somebody goes, and what they did is not done again.

use std::time::Duration;

use steadfast_core::{
    AttemptEnd, CredentialDigest, Fingerprint, Namespace, Next, NotSentCause, OperationId, Owner, Principal,
    StateName,
};

use super::{
    Harness,
    fixture::{
        BUSY, KEEP, TIMED_OUT, accepted, answer, answered, asking, completed, conclude, dead, doubtful,
        finish, granted, keeping, name, owner, record, refused, repeatable, replay, request, standing, sweep,
        take, take_one, work,
    },
};
use crate::{
    ClaimRequest, Enqueue, Erase, Erased, Finished, KeepFrom, Lane, LaneTrouble, Occupied, Settlement,
    SharedLedger, Verdict, Whose,
};

const MINUTE: Duration = Duration::from_secs(60);

/// More calls than any search through a small ledger takes.
const CALLS_MAX: u32 = 1_000;

fn adas() -> Whose {
    Whose::Principal(Principal::new("ada"))
}

/// Erases, at most `limit` at a time, until all were looked at; the sum of it.
async fn erase_by(ledger: &SharedLedger, whose: Whose, limit: u32, dry_run: bool) -> Erased {
    let (mut sum, mut from) = (Erased::default(), None);
    for _ in 0..CALLS_MAX {
        let order = Erase { whose: whose.clone(), from, limit, dry_run };
        let erased = ledger.erase(order).await.expect("a ledger that works");
        assert!(erased.erased as usize + erased.left.len() <= limit as usize, "{erased:?}");
        sum.erased += erased.erased;
        sum.left.extend(erased.left);
        from = erased.next;
        if from.is_none() {
            sum.left.sort();
            return sum;
        }
    }
    panic!("a search without end");
}

async fn erase(ledger: &SharedLedger, whose: Whose) -> Erased {
    erase_by(ledger, whose, 100, false).await
}

/// Nothing of the operation says whose it was or what it did.
async fn is_erased(ledger: &SharedLedger, id: OperationId) {
    let found = record(ledger, id).await;
    assert_eq!((found.id, found.state), (id, StateName::Tombstone));
    assert!(found.name.is_erased() && id.names(&found.name.digest()));
    assert_eq!((found.name.namespace(), found.name.key().as_str()), (&Namespace::erased(), "(erased)"));
    assert_eq!((found.owner, &*found.path), (Owner::default(), ""));
    assert_eq!(found.fingerprint, Fingerprint::from_bytes([0; 16]));
    assert_eq!((found.answer_status, found.cases_open, found.settlement), (None, 0, None));
    assert_eq!(ledger.answer(id).await, Ok(None));
    assert_eq!(ledger.attempts(id).await.map(|attempts| attempts.len()), Ok(0));
}

/// A principal's operations are erased, and nobody else's; the key stays taken, whatever is asked with it.
pub async fn erases_what_a_principal_made_and_keeps_the_key_taken<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let claim = completed(&ledger, request("k")).await;
    let bobs = || ClaimRequest { name: name("principal bob", "k"), owner: owner("bob"), ..request("k") };
    completed(&ledger, bobs()).await;
    assert_eq!(erase(&ledger, adas()).await, Erased { erased: 1, ..Erased::default() });
    ledger.scour().await.expect("a ledger that works");
    harness.restart().await;
    let ledger = harness.ledger();
    is_erased(&ledger, claim.operation).await;
    for asked in [1, 2] {
        let found = standing(&ledger, asking("k", asked)).await;
        assert_eq!((found.operation, &found.occupied), (claim.operation, &Occupied::Tombstone));
        assert_eq!(
            found.fingerprint,
            asking("k", asked).fingerprint,
            "there is nothing that it could differ from"
        );
    }
    assert_eq!(replay(&ledger, bobs()).await, answer(201, "done"));
    assert_eq!(erase(&ledger, adas()).await, Erased::default(), "all of it is gone");
}

/// A key that was erased is taken for as long as it would have been, and then names a new operation.
pub async fn frees_an_erased_key_when_its_retention_ends<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    for (key, tombstone, swept) in
        [("kept", None, false), ("entombed", Some(KEEP), false), ("swept", Some(KEEP), true)]
    {
        let asked = || keeping(key, KeepFrom::Finish, tombstone);
        let first = completed(&ledger, asked()).await;
        harness.advance(KEEP / 2).await;
        assert_eq!(erase(&ledger, adas()).await.erased, 1, "{key}");
        harness.advance(KEEP / 2 - MINUTE).await;
        if tombstone.is_some() {
            harness.advance(KEEP).await;
        }
        assert_eq!(standing(&ledger, asked()).await.occupied, Occupied::Tombstone, "{key}");
        harness.advance(MINUTE * 2).await;
        if swept {
            assert_eq!(sweep(&ledger, 10).await, (1, 0), "{key}");
        }
        let next = granted(&ledger, asked()).await;
        assert_eq!(next.attempt, 1);
        assert_ne!(next.operation, first.operation);
        let found = record(&ledger, next.operation).await;
        assert_eq!((found.name, found.owner), (asked().name, owner("ada")), "{key}");
        assert_eq!(&*found.path, "/orders");
        finish(&ledger, &next, AttemptEnd::NotSent(NotSentCause::HeldBack)).await;
        assert_eq!(erase(&ledger, adas()).await.erased, 1, "{key}: what was released is erased too");
    }
}

/// What is under way or in doubt is left and named: to forget it would be to guess.
pub async fn leaves_what_is_unfinished_or_in_doubt<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let live = granted(&ledger, request("live")).await;
    let doubt = doubtful(&ledger, request("doubt")).await;
    let done = completed(&ledger, request("done")).await;
    let mut left = vec![live.operation, doubt.operation];
    left.sort();
    assert_eq!(
        erase_by(&ledger, adas(), 100, true).await,
        Erased { erased: 1, left: left.clone(), next: None }
    );
    assert_eq!(erase(&ledger, adas()).await, Erased { erased: 1, left, next: None });
    is_erased(&ledger, done.operation).await;
    assert_eq!(record(&ledger, doubt.operation).await.state, StateName::InDoubt);
    finish(&ledger, &live, answered(201, "done")).await;
    assert_eq!(replay(&ledger, request("live")).await, answer(201, "done"));
}

/// Evidence, cases and settlements are a person's words and answers, and go with the rest.
pub async fn erases_evidence_cases_and_settlements<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let claim = doubtful(&ledger, request("settled")).await;
    let verdict = Verdict::Happened(Some(answer(201, "found")));
    let settlement = Settlement { verdict, by: "eve".into(), reason: "ada called".into() };
    ledger.settle(claim.operation, settlement).await.expect("a settlement");
    finish(&ledger, &claim, answered(201, "another")).await;
    let found = record(&ledger, claim.operation).await;
    assert!(found.settlement.is_some() && found.cases_open == 1);
    assert_eq!(erase(&ledger, adas()).await.erased, 1);
    is_erased(&ledger, claim.operation).await;
}

/// An answer that comes after the erasure is not kept.
pub async fn takes_no_late_answer_into_what_was_erased<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let first = doubtful(&ledger, repeatable("k", KEEP)).await;
    let second = granted(&ledger, repeatable("k", KEEP)).await;
    finish(&ledger, &second, answered(201, "second")).await;
    erase(&ledger, adas()).await;
    for claim in [&first, &second] {
        let late = finish(&ledger, claim, answered(201, "late")).await;
        assert_eq!(late, Finished::Superseded(StateName::Tombstone));
    }
    assert_eq!(finish(&ledger, &first, TIMED_OUT).await, Finished::Superseded(StateName::Tombstone));
    is_erased(&ledger, first.operation).await;
}

/// Each call erases no more than it was told to, and a dry run counts the same and changes nothing.
pub async fn erases_in_bounded_steps_and_counts_before<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let mut claims = Vec::new();
    for number in 0..5 {
        claims.push(completed(&ledger, request(&format!("k{number}"))).await);
    }
    let five = Erased { erased: 5, ..Erased::default() };
    assert_eq!(erase_by(&ledger, adas(), 2, true).await, five);
    for number in 0..5 {
        replay(&ledger, request(&format!("k{number}"))).await;
    }
    assert_eq!(erase_by(&ledger, adas(), 2, false).await, five);
    for claim in &claims {
        is_erased(&ledger, claim.operation).await;
    }
}

/// Where nothing verifies principals, an owner is known by the digest of a credential, and a room by its name.
pub async fn erases_by_credential_and_by_namespace<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let with = |key: &str, secret: &[u8]| {
        let credential = CredentialDigest::of([("authorization", secret)]);
        let name = name("route /orders", key);
        ClaimRequest { name, owner: Owner { principal: None, credential }, ..request(key) }
    };
    let adas = completed(&ledger, with("a", b"ada")).await;
    let bobs = completed(&ledger, with("b", b"bob")).await;
    let elsewhere =
        completed(&ledger, ClaimRequest { name: name("route /other", "a"), ..with("a", b"bob") }).await;
    let whose =
        Whose::Credential(CredentialDigest::of([("authorization", &b"ada"[..])]).expect("a credential"));
    assert_eq!(erase(&ledger, whose).await.erased, 1);
    is_erased(&ledger, adas.operation).await;
    assert_eq!(record(&ledger, bobs.operation).await.state, StateName::Completed);
    let room = Whose::Namespace(Namespace::new("route /orders").expect("a namespace"));
    assert_eq!(erase(&ledger, room).await.erased, 1);
    is_erased(&ledger, bobs.operation).await;
    assert_eq!(record(&ledger, elsewhere.operation).await.state, StateName::Completed);
}

/// A tombstone still says whose it is: that goes too, swept or not, and its time stays the same.
pub async fn erases_the_name_of_a_tombstone<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    for (key, swept) in [("swept", true), ("not swept", false)] {
        let asked = || keeping(key, KeepFrom::Finish, Some(KEEP));
        let claim = completed(&ledger, asked()).await;
        harness.advance(KEEP + MINUTE).await;
        if swept {
            assert_eq!(sweep(&ledger, 10).await, (0, 1));
        }
        assert_eq!(erase(&ledger, adas()).await.erased, 1, "{key}");
        is_erased(&ledger, claim.operation).await;
        harness.advance(KEEP - MINUTE * 3).await;
        assert_eq!(standing(&ledger, asked()).await.occupied, Occupied::Tombstone, "{key}");
        harness.advance(MINUTE * 3).await;
        let next = granted(&ledger, asked()).await;
        finish(&ledger, &next, AttemptEnd::NotSent(NotSentCause::HeldBack)).await;
        erase(&ledger, adas()).await;
    }
}

/// What was kept for a worker goes with its operation, and a lane goes on past what was erased.
pub async fn erases_what_was_kept_for_a_worker<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let lane = Some(Lane { digest: [1; 16], trouble: LaneTrouble::Blocks });
    let dead = dead(&ledger, Enqueue { lane, ..work("dead") }, BUSY).await;
    let queued = accepted(&ledger, Enqueue { lane, ..work("queued") }).await;
    assert!(take(&ledger, 10).await.is_empty(), "the head of the lane is dead");
    let erased = erase(&ledger, adas()).await;
    assert_eq!((erased.erased, erased.left), (1, vec![queued]));
    is_erased(&ledger, dead).await;
    assert_eq!(ledger.kept_work(dead).await, Ok(None));
    let job = take_one(&ledger).await;
    assert_eq!((job.claim.operation, job.request.clone()), (queued, work("queued").request));
    conclude(&ledger, &job, answered(201, "done"), Next::GiveUp).await;
    assert_eq!(erase(&ledger, adas()).await.erased, 1);
    assert_eq!(ledger.kept_work(queued).await, Ok(None));
    assert_eq!(refused(&ledger, work("queued")).await.occupied, Occupied::Tombstone);
}
