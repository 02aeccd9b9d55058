//! The ticket desk killed between any two of its steps, started again, and asked again.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;
use std::{fs, thread};

use box_office::{MailState, Sink, SinkConfig, mails, tickets};
use tempfile::TempDir;

use crate::client::{Client, post};
use crate::process::Served;

/// What a sink in health says in one session: its greeting, three lines to EHLO, then one each to MAIL, RCPT, DATA and
/// the message.
const LINES: usize = 8;

/// Stands between the desk and its sink, for one session, and holds back what the sink says from its `n`-th line on.
struct Gate {
    addr: SocketAddr,
    /// Told when the line has come.
    reached: mpsc::Receiver<()>,
}

impl Gate {
    fn closing_at(line: usize, sink: SocketAddr) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (reaches, reached) = mpsc::sync_channel(1);
        thread::spawn(move || {
            let (mut desk, _) = listener.accept().unwrap();
            let mut sink = TcpStream::connect(sink).unwrap();
            let (mut from_desk, mut to_sink) = (desk.try_clone().unwrap(), sink.try_clone().unwrap());
            let onward = thread::spawn(move || {
                // Ends when the desk is killed.
                let _ = std::io::copy(&mut from_desk, &mut to_sink);
                let _ = to_sink.shutdown(Shutdown::Both);
            });
            let mut said = BufReader::new(&mut sink).lines();
            for said in said.by_ref().take(line - 1) {
                desk.write_all(format!("{}\r\n", said.unwrap()).as_bytes()).unwrap();
            }
            said.next().unwrap().unwrap();
            reaches.send(()).unwrap();
            onward.join().unwrap();
        });
        Gate { addr, reached }
    }
}

fn sink_in(folder: &Path) -> Sink {
    Sink::start(SinkConfig::new(folder.join("sink.db"), folder.join("mails"))).unwrap()
}

fn desk_in(folder: &Path, mail_server: SocketAddr) -> Served {
    Served::start(folder, &["--mail-server", &mail_server.to_string()])
}

fn ticket(order: &str) -> String {
    format!(r#"{{"order":"{order}","event":"Gala","holder":"Ada","email":"ada@example.com","seat":"C 12"}}"#)
}

#[test]
fn killed_at_any_word_of_the_sink_it_makes_one_ticket_and_one_mail() {
    for line in 1..=LINES {
        let (folder, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let sink = sink_in(elsewhere.path());
        let gate = Gate::closing_at(line, sink.smtp_addr());
        let mut desk = desk_in(folder.path(), gate.addr);
        let mut client = Client::connect(desk.addr("ticket_desk"));
        let key = [("idempotency-key", "k-1")];
        client.write("POST", "/tickets", &key, &ticket("o-1")).unwrap();
        gate.reached.recv_timeout(Duration::from_secs(10)).unwrap();
        desk.kill();
        let books = folder.path().join("ticket-desk.db");
        assert_eq!(tickets(&books).unwrap()[0].mail, MailState::InDoubt, "killed at line {line}");
        let arrived_before = mails(sink.database()).unwrap().len();
        assert_eq!(arrived_before, usize::from(line == LINES), "killed at line {line}");

        let desk = desk_in(folder.path(), sink.smtp_addr());
        let made = post(desk.addr("ticket_desk"), "/tickets", &key, &ticket("o-1"));
        assert_eq!(made.status, 201, "killed at line {line}: {}", made.text);
        let arrived = mails(sink.database()).unwrap();
        assert_eq!(arrived.len(), 1, "killed at line {line}");
        assert_eq!(arrived[0].offered, if line == LINES { 2 } else { 1 }, "killed at line {line}");
        let made = tickets(&books).unwrap();
        assert_eq!((made.len(), made[0].made, made[0].executions), (1, true, 2));
        assert_eq!(fs::read_dir(folder.path().join("tickets")).unwrap().count(), 1);
    }
}

#[test]
fn killed_again_and_again_it_makes_each_ticket_once() {
    let (folder, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let sink = sink_in(elsewhere.path());
    let orders: Vec<String> = (0..16).map(|order| format!("o-{order}")).collect();
    for (order, delay_ms) in orders.iter().zip(0..) {
        let mut desk = desk_in(folder.path(), sink.smtp_addr());
        let mut client = Client::connect(desk.addr("ticket_desk"));
        client.write("POST", "/tickets", &[("idempotency-key", order)], &ticket(order)).unwrap();
        // Whatever it is at by then.
        thread::sleep(Duration::from_millis(delay_ms));
        desk.kill();
    }
    let desk = desk_in(folder.path(), sink.smtp_addr());
    for order in &orders {
        let key = [("idempotency-key", order.as_str())];
        assert_eq!(post(desk.addr("ticket_desk"), "/tickets", &key, &ticket(order)).status, 201);
    }
    let arrived = mails(sink.database()).unwrap();
    assert_eq!(arrived.len(), orders.len());
    let made = tickets(&folder.path().join("ticket-desk.db")).unwrap();
    assert!(made.len() == orders.len() && made.iter().all(|ticket| ticket.made));
    // Nothing unfinished is left beside the pages.
    assert_eq!(fs::read_dir(folder.path().join("tickets")).unwrap().count(), orders.len());
}
