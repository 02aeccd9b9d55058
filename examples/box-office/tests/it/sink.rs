//! The sink, spoken to as senders do, good ones and bad ones.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use box_office::{Sink, SinkConfig, mails};
use tempfile::TempDir;

use crate::client::{get, put};

fn sink() -> (Sink, TempDir) {
    let folder = TempDir::new().unwrap();
    (sink_in(&folder), folder)
}

fn sink_in(folder: &TempDir) -> Sink {
    Sink::start(SinkConfig::new(folder.path().join("sink.db"), folder.path().join("mails"))).unwrap()
}

/// One SMTP session.
struct Sender {
    stream: BufReader<TcpStream>,
}

impl Sender {
    fn connect(sink: &Sink) -> Sender {
        let stream = TcpStream::connect(sink.smtp_addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut sender = Sender { stream: BufReader::new(stream) };
        assert_eq!(sender.hear(), 220);
        assert_eq!(sender.say("EHLO test"), 250);
        sender
    }

    fn write(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// The code of the last line of an answer.
    fn hear(&mut self) -> u16 {
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            if line.as_bytes()[3] == b' ' {
                return line[..3].parse().unwrap();
            }
        }
    }

    fn say(&mut self, line: &str) -> u16 {
        self.write(&format!("{line}\r\n"));
        self.hear()
    }

    /// Sends a message, which ends without its last CRLF.
    fn send(&mut self, recipients: &[&str], message: &str) -> u16 {
        assert_eq!(self.say("MAIL FROM:<desk@example.com>"), 250);
        for recipient in recipients {
            assert_eq!(self.say(&format!("RCPT TO:<{recipient}>")), 250);
        }
        assert_eq!(self.say("DATA"), 354);
        self.say(&format!("{message}\r\n."))
    }

    /// Whether the other side has closed the connection, and said no more.
    fn is_over(&mut self) -> bool {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).is_ok() && rest.is_empty()
    }
}

const LETTER: &str = "Message-ID: <1@test>\r\nSubject: One\r\n\r\nhello";

#[test]
fn keeps_a_mail_as_it_was_sent() {
    let (sink, folder) = sink();
    let mut sender = Sender::connect(&sink);
    assert_eq!(sender.send(&["ada@example.com"], &format!("{LETTER}\r\n..\r\n..dots\nbare\n.\nline")), 250);
    assert_eq!(sender.say("QUIT"), 221);
    assert!(sender.is_over());
    let kept = mails(sink.database()).unwrap();
    assert_eq!((kept[0].recipient.as_str(), kept[0].subject.as_str()), ("ada@example.com", "One"));
    let file = fs::read_to_string(folder.path().join("mails").join(&kept[0].file)).unwrap();
    assert_eq!(file, format!("{LETTER}\r\n.\r\n.dots\nbare\n.\nline\r\n"));
}

#[test]
fn knows_a_mail_again_by_its_name_and_recipient() {
    let (sink, folder) = sink();
    let mut sender = Sender::connect(&sink);
    assert_eq!(sender.send(&["ada@example.com"], LETTER), 250);
    assert_eq!(sender.send(&["ada@example.com", "eve@example.com"], LETTER), 250);
    // Who it is does not change while the sink sleeps.
    sink.stop();
    let sink = sink_in(&folder);
    assert_eq!(Sender::connect(&sink).send(&["ada@example.com"], LETTER), 250);
    let told = get(sink.addr(), "/mails?recipient=ada@example.com").json();
    assert_eq!((&told["arrived"], &told["recognised_repeats"]), (&2.into(), &2.into()));
    assert_eq!((&told["arrived_twice"], &told["mails"][0]["offered"]), (&0.into(), &3.into()));
    assert_eq!(told["mails"].as_array().unwrap().len(), 1);
    assert_eq!(fs::read_dir(folder.path().join("mails")).unwrap().count(), 2);
}

#[test]
fn insists_on_the_order_of_things() {
    let (sink, _folder) = sink();
    let mut sender = Sender::connect(&sink);
    for (line, code) in [
        ("RCPT TO:<ada@example.com>", 503),
        ("DATA", 503),
        ("MAIL FROM:<desk@example.com>", 250),
        ("MAIL FROM:<desk@example.com>", 503),
        ("DATA", 503),
        ("RSET", 250),
        ("DATA", 503),
        ("NOOP", 250),
        ("MAIL FROM:<desk@example.com> SIZE=99999999", 552),
        ("MAIL", 501),
        ("TURN", 500),
    ] {
        assert_eq!(sender.say(line), code, "{line}");
    }
    assert_eq!(sender.send(&["ada@example.com"], LETTER), 250);
    let mut rude = BufReader::new(TcpStream::connect(sink.smtp_addr()).unwrap());
    rude.get_mut().write_all(b"MAIL FROM:<desk@example.com>\r\n").unwrap();
    let said: Vec<_> = rude.lines().take(2).map(|line| line.unwrap()[..3].to_owned()).collect();
    assert_eq!(said, ["220", "503"]);
}

#[test]
fn keeps_no_mail_that_is_too_large_and_none_that_was_cut_off() {
    let (sink, folder) = sink();
    let mut sender = Sender::connect(&sink);
    let large = format!("{LETTER}\r\n{}", "x".repeat(2 * 1024 * 1024));
    assert_eq!(sender.send(&["ada@example.com"], &large), 552);
    assert_eq!(sender.say("MAIL FROM:<desk@example.com>"), 250);
    assert_eq!(sender.say("RCPT TO:<ada@example.com>"), 250);
    assert_eq!(sender.say("DATA"), 354);
    sender.write(LETTER);
    drop(sender);
    // One that comes later is kept, so that there was time for the other.
    assert_eq!(Sender::connect(&sink).send(&["eve@example.com"], LETTER), 250);
    assert_eq!(mails(sink.database()).unwrap().len(), 1);
    assert_eq!(fs::read_dir(folder.path().join("mails")).unwrap().count(), 1);
}

#[test]
fn hangs_up_on_whoever_sends_no_lines() {
    let (sink, _folder) = sink();
    for nonsense in [&"x".repeat(4000), "NOOP\n"] {
        let mut sender = Sender::connect(&sink);
        sender.write(nonsense);
        assert_eq!(sender.hear(), 500);
        // What it had not read is thrown away, which may tear the connection.
        let mut rest = Vec::new();
        let _ = sender.stream.read_to_end(&mut rest);
        assert!(rest.is_empty());
    }
}

#[test]
fn refuses_a_closed_domain_until_it_is_open_also_after_a_restart() {
    let (sink, folder) = sink();
    let closed = put(sink.addr(), "/closed", r#"{"domains":["Example.com"]}"#);
    assert_eq!(closed.json()["domains"][0], "example.com");
    sink.stop();
    let sink = sink_in(&folder);
    let mut sender = Sender::connect(&sink);
    assert_eq!(sender.say("MAIL FROM:<desk@example.com>"), 250);
    assert_eq!(sender.say("RCPT TO:<ada@EXAMPLE.com>"), 550);
    assert_eq!(sender.say("RCPT TO:<ada@example.org>"), 250);
    assert_eq!(put(sink.addr(), "/closed", r#"{"domains":[]}"#).status, 200);
    assert_eq!(sender.say("RCPT TO:<ada@example.com>"), 250);
    assert_eq!(get(sink.addr(), "/mails").json()["mishaps"]["closed_domain"], 1);
    for body in ["{}", r#"{"domains":[" "]}"#, r#"{"domain":[]}"#] {
        assert_eq!(put(sink.addr(), "/closed", body).status, 422, "{body}");
    }
}
