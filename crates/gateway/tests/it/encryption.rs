//! A gateway whose config names a key file keeps no plain answer, and one without the key replays none.

use std::{fs, time::Duration};

use steadfast_gateway::{
    Gateway, LogTo,
    config::{Config, Encryption, LedgerLocation},
};
use steadfast_ledger::Keys;

use crate::{
    contract::{
        backend::{Act, Backend},
        refusal::Again,
        wire::{Answer, Ask},
    },
    stand::config,
    upstream::Upstream,
};

const SECRET: &str = "a secret that nobody may read";

/// Asks a gateway that is started for this and stopped after it.
async fn asked(config: &Config, ask: &Ask) -> Answer {
    let log = LogTo { writer: Box::new(std::io::sink()), text: false };
    let gateway = Gateway::start(config, log).await.expect("it starts");
    let answer = ask.to(gateway.address()).await;
    assert_eq!(gateway.drain(Duration::from_secs(5)).await, 0);
    answer
}

#[tokio::test]
async fn answers_are_encrypted_with_the_keys_of_the_config() {
    let folder = tempfile::tempdir().expect("a folder");
    let upstream = Upstream::start(Backend::new()).await;
    let backend = upstream.backend();
    let keys = Keys::parse(&Keys::new_line().expect("random bytes")).expect("a key");
    let plain = Config {
        ledger: LedgerLocation::Sqlite(folder.path().join("ledger.db")),
        ..config(upstream.address())
    };
    let encryption = Some(Encryption { key_file: "not looked at".into(), keys });
    let encrypted = Config { encryption, ..plain.clone() };
    backend.will(Act::answer(201, SECRET).header("X-Own", SECRET));
    let ask = Ask::post("/orders").key("k");
    assert_eq!(asked(&encrypted, &ask).await.text(), SECRET);
    let file = fs::read(folder.path().join("ledger.db")).expect("the ledger");
    assert!(!file.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()));
    // From the store: this gateway has not seen it before.
    let replay = asked(&encrypted, &ask).await;
    assert_eq!((replay.text().as_str(), replay.header("x-own")), (SECRET, Some(SECRET)));
    assert!(replay.is_replay());
    asked(&plain, &ask).await.refused(409, "replay-unavailable", Again::Never);
    assert_eq!(backend.count(), 1);
}
