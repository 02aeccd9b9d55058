//! Answers: kept byte for byte, whatever is in them.

use bytes::Bytes;
use steadfast_core::{Answer, AttemptEnd, HeaderFields};

use super::{
    Harness,
    fixture::{finish, granted, replay, request},
};

/// Stores the answer, ends the process, and expects the same answer from a replay and from a read.
async fn keeps<H: Harness>(mut harness: H, answers: Vec<Answer>) {
    let mut ids = Vec::new();
    for (number, answer) in answers.iter().enumerate() {
        let claim = granted(&harness.ledger(), request(&format!("k{number}"))).await;
        finish(&harness.ledger(), &claim, AttemptEnd::Answered(answer.clone())).await;
        ids.push(claim.operation);
    }
    harness.restart().await;
    let ledger = harness.ledger();
    for (number, answer) in answers.into_iter().enumerate() {
        // Not `assert_eq`: five megabytes in a message help nobody.
        assert!(replay(&ledger, request(&format!("k{number}"))).await == answer, "replay of {number}");
        assert!(ledger.answer(ids[number]).await == Ok(Some(answer)), "answer of {number}");
    }
}

/// Order, repetition, empty values and bytes that are no text survive.
pub async fn keeps_headers_in_order_and_byte_for_byte<H: Harness>(harness: H) {
    let fields: [(&str, &[u8]); 6] = [
        ("x-b", b"2"),
        ("x-a", b"1"),
        ("x-b", b"3"),
        ("x-empty", b""),
        ("x-binary", b"\x80\xff\t\xfe"),
        ("content-type", b"application/octet-stream"),
    ];
    let headers = fields.into_iter().collect();
    let body = Some(Bytes::from((0..=255).collect::<Vec<u8>>()));
    let none = Answer { status: 204, headers: HeaderFields::default(), body: Some(Bytes::new()) };
    keeps(harness, vec![Answer { status: 200, headers, body }, none]).await;
}

/// An empty body is replayed; one that was too large to keep is not.
pub async fn tells_an_empty_body_from_one_that_is_unavailable<H: Harness>(harness: H) {
    let answer = |body| Answer { status: 200, headers: HeaderFields::default(), body };
    keeps(harness, vec![answer(Some(Bytes::new())), answer(None)]).await;
}

/// Large bodies come back whole.
pub async fn keeps_a_body_of_five_megabytes<H: Harness>(harness: H) {
    let body: Vec<u8> = (0..5_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    keeps(
        harness,
        vec![Answer { status: 200, headers: HeaderFields::default(), body: Some(Bytes::from(body)) }],
    )
    .await;
}
