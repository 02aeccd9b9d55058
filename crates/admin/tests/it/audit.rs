//! Every settlement and every erasure leaves word of who asked for it, and why.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use crate::desk::Desk;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn settlements_reloads_and_bodies_read_are_written_down() {
    let log = Log::default();
    let writer = log.clone();
    // The test's runtime has one thread, so this subscriber hears the server too.
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _listening = tracing::subscriber::set_default(subscriber);
    let desk = Desk::open().await;
    let id = desk.in_doubt("k").await;
    let order = r#"{"happened": true, "reason": "on the statement", "by": "ada", "answer": {"status": 201, "body": "secret"}}"#;
    let path = format!("/api/operations/{id}/settle");
    assert_eq!(desk.post(&path, order).await.status, 200);
    desk.post(&path, order).await.refused(409, "settlement-refused");
    desk.get(&format!("/api/operations/{id}?body")).await;
    desk.post("/api/reload", "").await;
    let text = log.text();
    let audit: Vec<_> = text.lines().filter(|line| line.contains(" audit: ")).collect();
    assert_eq!(audit.len(), 4, "{text}");
    for said in [
        &*id.to_string(),
        "action=\"settle\"",
        "happened=true",
        "answer_status=201",
        "by=\"ada\"",
        "reason=\"on the statement\"",
    ] {
        assert!(audit[0].contains(said) && audit[1].contains(said), "{said}: {text}");
    }
    assert!(audit[0].contains("result=\"completed\"") && audit[1].contains("result=\"refused: "), "{text}");
    assert!(audit[2].contains("read_body") && audit[3].contains("reload"), "{text}");
    assert!(!text.contains("secret"));
}

#[tokio::test]
async fn erasures_are_written_down_without_saying_whose() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _listening = tracing::subscriber::set_default(subscriber);
    let desk = Desk::open().await;
    desk.completed("k", b"secret").await;
    let order = r#"{"principal": "ada", "reason": "ticket 4711", "by": "eve"}"#;
    assert_eq!(desk.post("/api/erase", order).await.status, 200);
    let text = log.text();
    let audit: Vec<_> = text.lines().filter(|line| line.contains(" audit: ")).collect();
    assert_eq!(audit.len(), 1, "{text}");
    for said in [
        "action=\"erase\"",
        "by_their=\"principal\"",
        "erased=1",
        "left=0",
        "by=\"eve\"",
        "reason=\"ticket 4711\"",
        "result=\"done\"",
    ] {
        assert!(audit[0].contains(said), "{said}: {text}");
    }
    assert!(!text.contains("ada") && !text.contains("secret"), "{text}");
}
