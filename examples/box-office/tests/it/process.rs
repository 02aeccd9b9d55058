//! The services as a process of their own: ready, killed, started again, ended.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use box_office::effects;
use serde_json::Value;
use tempfile::TempDir;

use crate::client::{get, post};
use crate::port::Port;

pub(crate) struct Served {
    child: Child,
    ready: Value,
}

impl Served {
    pub(crate) fn start(data: &Path, more: &[&str]) -> Served {
        let mut child = Command::new(env!("CARGO_BIN_EXE_box-office"))
            .args(["serve", "--data"])
            .arg(data)
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Served { child, ready: serde_json::from_str(&line).unwrap() }
    }

    pub(crate) fn addr(&self, service: &str) -> SocketAddr {
        self.ready[service].as_str().unwrap().parse().unwrap()
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn what_was_answered_outlives_a_kill() {
    let folder = TempDir::new().unwrap();
    let (office, bank) = (Port::reserve(), Port::reserve());
    let (office_addr, bank_addr) = (office.addr().to_string(), bank.addr().to_string());
    let mut more =
        vec!["--office", &office_addr, "--bank", &bank_addr, "--temper", r#"{"latency_ms_max":2}"#];
    let mut served = Served::start(folder.path(), &more);
    let order = r#"{"event":"spring-gala","buyer":"ada","tickets":2,"card":"4242424242424242"}"#;
    let sold = post(served.addr("office"), "/orders", &[("x-client-reference", "cart-1")], order);
    assert_eq!(sold.status, 201);
    served.kill();
    for service in ["office_database", "bank_database"] {
        let kept = effects(Path::new(served.ready[service].as_str().unwrap())).unwrap();
        assert_eq!((kept.len(), kept[0].reference.as_deref()), (1, Some("cart-1")));
    }
    more.truncate(4);
    let mut again = Served::start(folder.path(), &more);
    assert_eq!(get(office.addr(), "/orders/1").text, sold.text);
    drop(again.child.stdin.take());
    assert!(again.child.wait().unwrap().success());
}

#[test]
fn serves_the_box_office_alone() {
    let folder = TempDir::new().unwrap();
    let mut served = Served::start(folder.path(), &["--single"]);
    assert!(served.ready["bank"].is_null() && served.ready["ticket_desk"].is_null());
    let free =
        post(served.addr("office"), "/orders", &[], r#"{"event":"open-air","buyer":"ada","tickets":1}"#);
    assert_eq!(free.json()["status"], "free");
    drop(served.child.stdin.take());
    assert!(served.child.wait().unwrap().success());
}
