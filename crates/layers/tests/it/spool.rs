//! What bodies take up, in memory and on disk: bounded, and given back however a request ends.

use std::{path::Path, sync::Arc, time::Duration};

use steadfast_layers::{Spool, SpoolLimits};

use crate::{
    contract::{
        Stand,
        refusal::Again,
        routes::{BODY_BYTES_MAX, MEMORY_BYTES_MAX},
        wire::{Ask, Line},
    },
    stand::spooling,
};

/// A stand, its spool, and the spool's folder.
struct House {
    stand: Stand,
    spool: Arc<Spool>,
    folder: tempfile::TempDir,
}

async fn house(change: impl FnOnce(&mut SpoolLimits)) -> House {
    let folder = tempfile::tempdir().expect("a folder");
    let mut limits = SpoolLimits { folder: folder.path().into(), ..SpoolLimits::default() };
    change(&mut limits);
    let spool = Spool::new(limits);
    House { stand: spooling(Arc::clone(&spool)).await, spool, folder }
}

impl House {
    /// Begins an upload that waits for its last byte, and is on disk up to there.
    async fn begin(&self, key: &str) -> Line {
        let taken = self.spool.requests();
        let mut line = Line::to(self.stand.address).await;
        let declared = format!("Content-Length: {BODY_BYTES_MAX}\r\n");
        line.send(&Ask::post("/spooled").key(key).head(&declared)).await;
        line.send(&[b'x'; BODY_BYTES_MAX - 1]).await;
        until("it is spooled", || self.spool.requests() > taken).await;
        line
    }

    async fn is_empty(&self) {
        until("everything is given back", || {
            (self.spool.requests(), self.spool.bytes(), self.spool.memory_bytes()) == (0, 0, 0)
        })
        .await;
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

fn upload(key: &str) -> Ask {
    Ask::post("/spooled").key(key).body([b'x'; BODY_BYTES_MAX])
}

fn names_in(folder: &Path) -> usize {
    std::fs::read_dir(folder).expect("the folder").count()
}

#[tokio::test]
async fn a_place_is_taken_while_an_upload_comes_and_given_back_when_it_was_sent() {
    let house = house(|_| {}).await;
    let mut line = house.begin("k").await;
    assert_eq!((house.spool.requests(), house.spool.bytes()), (1, BODY_BYTES_MAX as u64));
    line.send(b"x").await;
    assert_eq!(line.answer("POST").await.expect("an answer").text(), "done 1");
    house.is_empty().await;
    assert_eq!(names_in(house.folder.path()), 0, "files have no names: nobody has to remove them");
    assert!(house.stand.ask(&upload("k")).await.is_replay());
    house.is_empty().await;
}

#[tokio::test]
async fn a_caller_that_hangs_up_midway_gives_its_place_back() {
    let house = house(|_| {}).await;
    drop(house.begin("k").await);
    house.is_empty().await;
    assert_eq!(house.stand.backend.count(), 0);
    assert_eq!(house.stand.ask(&upload("k")).await.text(), "done 1", "nothing was claimed");
}

#[tokio::test]
async fn an_upload_that_is_refused_gives_its_place_back() {
    let house = house(|_| {}).await;
    house.stand.ask(&upload("k").by("")).await.refused(401, "unauthenticated", Again::Never);
    house.is_empty().await;
}

#[tokio::test]
async fn a_handler_that_panics_gives_the_place_back() {
    let house = house(|_| {}).await;
    let mut line = house.stand.send(&upload("k").header("X-Panic", "yes")).await;
    assert!(line.answer("POST").await.is_none(), "its connection ended");
    house.is_empty().await;
}

#[tokio::test]
async fn more_requests_than_there_is_room_for_are_told_to_come_again() {
    let house = house(|limits| limits.requests_max = 2).await;
    let mut one = house.begin("1").await;
    let two = house.begin("2").await;
    let refused = house.stand.ask(&upload("3")).await;
    refused.refused(503, "temporary-reduced-capacity", Again::HelpsAfter);
    assert_eq!(house.stand.backend.count(), 0);
    // What fits in memory goes on.
    let small = Ask::post("/spooled").key("small").body([b'x'; MEMORY_BYTES_MAX]);
    assert_eq!(house.stand.ask(&small).await.status, 201);
    drop(two);
    until("there is room again", || house.spool.requests() < 2).await;
    assert_eq!(house.stand.ask(&upload("3")).await.text(), "done 2", "nothing was claimed before");
    one.send(b"x").await;
    assert_eq!(one.answer("POST").await.expect("an answer").status, 201);
    house.is_empty().await;
}

#[tokio::test]
async fn more_bytes_than_there_is_room_for_are_told_to_come_again() {
    let house = house(|limits| limits.bytes_max = BODY_BYTES_MAX as u64 + 1_000).await;
    let one = house.begin("1").await;
    let refused = house.stand.ask(&upload("2")).await;
    refused.refused(503, "temporary-reduced-capacity", Again::HelpsAfter);
    // One that does not say how large it is finds out on the way.
    let mut line = Line::to(house.stand.address).await;
    line.send(&Ask::post("/spooled").key("2").head("Transfer-Encoding: chunked\r\n")).await;
    line.send_chunk(&[b'x'; MEMORY_BYTES_MAX + 1]).await;
    let refused = line.answer("POST").await.expect("an answer");
    refused.refused(503, "temporary-reduced-capacity", Again::HelpsAfter);
    assert_eq!(house.stand.backend.count(), 0);
    drop(one);
    house.is_empty().await;
    assert_eq!(house.stand.ask(&upload("2")).await.text(), "done 1", "nothing was claimed before");
}

#[tokio::test]
async fn what_finds_no_room_in_memory_goes_to_disk_though_it_is_small() {
    let house = house(|limits| limits.memory_max = 1_500).await;
    let piece = [b'x'; 500];
    let mut line = Line::to(house.stand.address).await;
    line.send(&Ask::post("/spooled").key("k").head("Transfer-Encoding: chunked\r\n")).await;
    // The first piece is not counted; with the third there is no more room.
    for _ in 0..2 {
        line.send_chunk(&piece).await;
    }
    until("it is in memory", || house.spool.memory_bytes() > 1_000).await;
    assert_eq!(house.spool.requests(), 0);
    for _ in 0..2 {
        line.send_chunk(&piece).await;
    }
    until("it is on disk", || house.spool.requests() == 1).await;
    until("its memory is given back", || house.spool.memory_bytes() == 0).await;
    line.send_chunk(b"").await;
    assert_eq!(line.answer("POST").await.expect("an answer").status, 201);
    assert_eq!(house.stand.last_seen().body, piece.repeat(4));
    house.is_empty().await;
    // Where it must be in memory, there is no room.
    let mut line = Line::to(house.stand.address).await;
    line.send(&Ask::post("/json").key("k").head("Transfer-Encoding: chunked\r\n")).await;
    for _ in 0..4 {
        line.send_chunk(&piece).await;
    }
    let refused = line.answer("POST").await.expect("an answer");
    refused.refused(503, "temporary-reduced-capacity", Again::HelpsAfter);
    house.is_empty().await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_refuses_and_claims_nothing() {
    let house = house(|limits| limits.folder.push("missing")).await;
    assert!(house.spool.check().is_err());
    let refused = house.stand.ask(&upload("k")).await;
    refused.refused(503, "temporary-reduced-capacity", Again::HelpsAfter);
    assert_eq!(house.stand.backend.count(), 0);
    house.is_empty().await;
    std::fs::create_dir(house.folder.path().join("missing")).expect("a folder");
    assert!(house.spool.check().is_ok());
    assert_eq!(house.stand.ask(&upload("k")).await.text(), "done 1");
}

#[tokio::test]
async fn where_nothing_is_spooled_what_is_too_large_for_memory_is_refused() {
    let house = house(|limits| limits.requests_max = 0).await;
    let document = house.stand.ask(&upload("k")).await.refused(413, "body-too-large", Again::Never);
    assert!(document["detail"].as_str().is_some_and(|detail| detail.contains("`request_memory_max`")));
    assert_eq!(house.stand.backend.count(), 0);
}
