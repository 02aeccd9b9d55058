//! Claims about bodies that are too large for memory, and about forms that are built anew for every retry.

use super::{
    Stand,
    backend::{Act, Gate},
    refusal::Again,
    routes::{BODY_BYTES_MAX, MEMORY_BYTES_MAX},
    wire::{Answer, Ask, Line},
};

/// A body in which every piece differs from every other.
fn large(bytes: usize) -> Vec<u8> {
    (0_u32..).flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()).take(bytes).collect()
}

/// Sends a body in chunks of this size.
async fn chunked(stand: &Stand, ask: &Ask, body: &[u8], chunk_bytes: usize) -> Answer {
    let mut line = Line::to(stand.address).await;
    line.send(&ask.head("Transfer-Encoding: chunked\r\n")).await;
    for chunk in body.chunks(chunk_bytes) {
        line.send_chunk(chunk).await;
    }
    line.send_chunk(b"").await;
    line.answer("POST").await.expect("an answer")
}

pub(crate) async fn a_body_too_large_for_memory_arrives_whole_with_its_length(stand: Stand) {
    for (number, bytes) in [MEMORY_BYTES_MAX, MEMORY_BYTES_MAX + 1, BODY_BYTES_MAX].into_iter().enumerate() {
        let body = large(bytes);
        let ask = Ask::post("/spooled").body(&body);
        assert_eq!(stand.ask(&ask.clone().key(&format!("declared {number}"))).await.status, 201);
        assert_eq!(stand.last_seen().body, body);
        let ask = ask.key(&format!("chunked {number}"));
        assert_eq!(chunked(&stand, &ask, &body, 1_000).await.status, 201);
        let seen = stand.last_seen();
        assert_eq!(seen.body, body);
        assert_eq!(seen.headers.get("transfer-encoding"), None);
        // A socket has a length; a handler in the same process may do without.
        let length = seen.headers.get("content-length");
        assert!(length.is_none_or(|length| length == body.len().to_string()), "{length:?}");
    }
}

pub(crate) async fn a_spooled_request_is_replayed_however_it_was_framed(stand: Stand) {
    let body = large(BODY_BYTES_MAX);
    let ask = Ask::post("/spooled").key("k").body(&body);
    let first = stand.ask(&ask).await;
    assert_eq!(first.status, 201);
    for chunk_bytes in [1_000, MEMORY_BYTES_MAX, BODY_BYTES_MAX] {
        let again = chunked(&stand, &ask, &body, chunk_bytes).await;
        assert!(again.is_replay(), "{chunk_bytes}: {}", again.text());
        assert_eq!(again.body, first.body);
    }
    assert_eq!(stand.backend.count(), 1);
}

pub(crate) async fn a_spooled_body_that_differs_is_another_request(stand: Stand) {
    let mut body = large(BODY_BYTES_MAX);
    assert_eq!(stand.ask(&Ask::post("/spooled").key("k").body(&body)).await.status, 201);
    let last = body.last_mut().expect("it is large");
    *last ^= 1;
    let answer = stand.ask(&Ask::post("/spooled").key("k").body(&body)).await;
    answer.refused(422, "idempotency-key-reused", Again::Never);
    assert_eq!(stand.backend.count(), 1);
}

pub(crate) async fn a_spooled_upload_that_breaks_off_executes_nothing_and_leaves_the_key_free(stand: Stand) {
    let declared = format!("Content-Length: {BODY_BYTES_MAX}\r\n");
    for framing in [declared.as_str(), "Transfer-Encoding: chunked\r\n"] {
        let mut line = Line::to(stand.address).await;
        line.send(&Ask::post("/spooled").key("k").head(framing)).await;
        line.send_chunk(&large(MEMORY_BYTES_MAX + 1)).await;
        line.finish().await;
        // Who hung up may not be told, but where it is, it is told so.
        if let Some(answer) = line.answer("POST").await {
            answer.refused(400, "body-invalid", Again::Never);
        }
        assert_eq!(stand.backend.count(), 0);
    }
    let ask = Ask::post("/spooled").key("k").body(large(BODY_BYTES_MAX));
    assert_eq!(stand.ask(&ask).await.text(), "done 1");
}

pub(crate) async fn a_spooled_upload_that_stalls_is_given_up_and_leaves_the_key_free(stand: Stand) {
    let mut line = Line::to(stand.address).await;
    let declared = format!("Content-Length: {BODY_BYTES_MAX}\r\n");
    line.send(&Ask::post("/impatient").key("k").head(&declared)).await;
    line.send(&large(MEMORY_BYTES_MAX + 1)).await;
    let answer = line.answer("POST").await.expect("an answer");
    answer.refused(408, "body-invalid", Again::Helps);
    assert_eq!(stand.backend.count(), 0);
    let ask = Ask::post("/impatient").key("k").body(large(BODY_BYTES_MAX));
    assert_eq!(stand.ask(&ask).await.status, 201);
}

pub(crate) async fn a_spooled_upload_that_turns_out_too_large_is_refused(stand: Stand) {
    let mut line = Line::to(stand.address).await;
    line.send(&Ask::post("/spooled").key("k").head("Transfer-Encoding: chunked\r\n")).await;
    line.send_chunk(&large(BODY_BYTES_MAX)).await;
    line.send_chunk(b"x").await;
    let answer = line.answer("POST").await.expect("an answer");
    answer.refused(413, "body-too-large", Again::Never);
    assert_eq!(stand.backend.count(), 0);
}

pub(crate) async fn a_spooled_duplicate_of_what_is_refused_executes_afresh(stand: Stand) {
    let gate = Gate::closed();
    stand.backend.will(Act::answer(429, "slow down").held_by(&gate));
    let body = large(BODY_BYTES_MAX);
    let ask = Ask::post("/spooled").key("k").body(&body);
    let mut first = stand.send(&ask).await;
    stand.backend.reached(1).await;
    let mut second = stand.send(&ask).await;
    stand.ledger.claims_asked(3).await;
    gate.open();
    assert_eq!(first.answer("POST").await.expect("an answer").status, 429);
    assert_eq!(second.answer("POST").await.expect("an answer").text(), "done 2");
    assert!(stand.backend.seen().iter().all(|seen| seen.body == body), "both were sent whole");
}

pub(crate) async fn what_must_be_read_as_a_whole_is_held_to_memory(stand: Stand) {
    let json = format!("{{\"order\":{{\"id\":1}},\"note\":\"{}\"}}", "x".repeat(MEMORY_BYTES_MAX));
    let typed = |path, kind: &str| Ask::post(path).header("Content-Type", kind).body(&json);
    for ask in [
        typed("/json", "application/json; charset=utf-8").key("k"),
        Ask::post("/json").key("k").body(&json),
        // Whatever it says that it is: without its key it would go unprotected.
        typed("/field", "application/json"),
        typed("/field", "text/plain"),
    ] {
        for answer in [stand.ask(&ask).await, chunked(&stand, &ask, json.as_bytes(), 1_000).await] {
            let document = answer.refused(413, "body-too-large", Again::Never);
            let detail = document["detail"].as_str().expect("words");
            assert!(detail.contains("`request_memory_max`"), "{detail}");
        }
    }
    assert_eq!(stand.backend.count(), 0);
    // What is no JSON counts byte by byte there, and need not be in memory for that.
    let ask = typed("/json", "application/octet-stream").key("k");
    assert_eq!(stand.ask(&ask).await.status, 201);
    assert!(stand.ask(&ask).await.is_replay());
}

/// A form with a file in it, as a client builds it with this boundary.
fn form(boundary: &str, sent_at: &str, file: &[u8]) -> Ask {
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"sent_at\"\r\n\r\n{sent_at}\r\n\
         --{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\
         Content-Type: application/pdf\r\n\r\n"
    );
    let body = [head.as_bytes(), file, format!("\r\n--{boundary}--\r\n").as_bytes()].concat();
    let kind = format!("multipart/form-data; boundary={boundary}");
    Ask::post("/multipart").header("Content-Type", kind).body(body)
}

pub(crate) async fn a_multipart_body_with_another_boundary_is_the_same_request(stand: Stand) {
    for (number, bytes) in [100, 3 * MEMORY_BYTES_MAX].into_iter().enumerate() {
        let (key, file) = (number.to_string(), large(bytes));
        let ask = |boundary, sent_at| form(boundary, sent_at, &file).key(&key);
        let first = stand.ask(&ask("one", "10:00")).await;
        assert_eq!(first.status, 201, "{}", first.text());
        let rebuilt = ask("------------two", "10:01");
        let again = stand.ask(&rebuilt).await;
        assert!(again.is_replay(), "{}", again.text());
        assert_eq!(again.body, first.body);
        assert_eq!(stand.backend.count(), number + 1);
    }
}

pub(crate) async fn a_multipart_body_with_another_part_is_another_request(stand: Stand) {
    for (number, bytes) in [100, 3 * MEMORY_BYTES_MAX].into_iter().enumerate() {
        let key = number.to_string();
        let mut file = large(bytes);
        assert_eq!(stand.ask(&form("one", "10:00", &file).key(&key)).await.status, 201);
        file[bytes / 2] ^= 1;
        let answer = stand.ask(&form("one", "10:00", &file).key(&key)).await;
        answer.refused(422, "idempotency-key-reused", Again::Never);
        assert_eq!(stand.backend.count(), number + 1);
    }
}

pub(crate) async fn what_is_no_multipart_counts_byte_by_byte(stand: Stand) {
    let ask = |body: &[u8]| Ask::post("/multipart").key("k").header("Content-Type", "text/plain").body(body);
    let body = large(2 * MEMORY_BYTES_MAX);
    assert_eq!(stand.ask(&ask(&body)).await.status, 201);
    assert!(stand.ask(&ask(&body)).await.is_replay());
    stand.ask(&ask(b"--one\r\n")).await.refused(422, "idempotency-key-reused", Again::Never);
}
