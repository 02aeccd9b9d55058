//! The ticket desk and the sink of its mails: one ticket and one mail for a key, whatever goes wrong on the way.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Barrier;
use std::time::Duration;
use std::{fs, thread};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use box_office::{
    EffectKind, MailState, RunningService, Sink, SinkConfig, Temper, TicketDesk, TicketDeskConfig, mails,
    tickets,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Answer, get, post, put, try_post};
use crate::page;

/// A ticket desk, and the sink it sends to.
struct Counter {
    desk: RunningService,
    sink: Sink,
    folder: TempDir,
}

impl Counter {
    fn open(desk: Temper, sink: Temper, recognises_repeats: bool) -> Counter {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        let sink_config =
            SinkConfig { temper: sink, recognises_repeats, ..SinkConfig::new(at("sink.db"), at("mails")) };
        let sink = Sink::start(sink_config).unwrap();
        let desk_config = TicketDeskConfig::new(at("desk.db"), at("tickets"), sink.smtp_addr());
        let desk = TicketDesk::start(TicketDeskConfig { temper: desk, ..desk_config }).unwrap();
        Counter { desk, sink, folder }
    }

    fn in_health() -> Counter {
        Counter::open(Temper::default(), Temper::default(), true)
    }

    fn ask(&self, key: &str, body: &str) -> Answer {
        post(self.desk.addr(), "/tickets", &[("idempotency-key", key)], body)
    }

    /// Asks again and again, as a gateway does; how often it took.
    fn insist(&self, key: &str, body: &str) -> u32 {
        for asked in 1..=200 {
            let answer = try_post(self.desk.addr(), "/tickets", &[("idempotency-key", key)], body);
            if answer.is_ok_and(|answer| answer.status == 201) {
                return asked;
            }
        }
        panic!("200 times in vain");
    }

    fn page_of(&self, order: &str) -> PathBuf {
        self.folder.path().join("tickets").join(format!("{order}.pdf"))
    }

    fn totals(&self) -> Value {
        get(self.sink.addr(), "/mails").json()
    }

    /// The one mail there is, as a file.
    fn mail(&self) -> String {
        let mails = mails(self.sink.database()).unwrap();
        assert_eq!(mails.len(), 1);
        fs::read_to_string(self.folder.path().join("mails").join(&mails[0].file)).unwrap()
    }
}

fn ticket(order: &str) -> String {
    format!(
        r#"{{"order":"{order}","event":"Spring Gala","holder":"Zoë (Łódź)","email":"zoe@example.com","seat":"C 12"}}"#
    )
}

#[test]
fn makes_a_ticket_whose_code_says_what_its_words_say() {
    let counter = Counter::in_health();
    let made = counter.ask("k-1", &ticket("o-1"));
    assert_eq!((made.status, made.header("location")), (201, Some("/tickets/1")), "{}", made.text);
    let pdf = fs::read(counter.page_of("o-1")).unwrap();
    let page = page::read(&pdf);
    assert_eq!(page.code, "ticket: 1\norder: o-1\nevent: Spring Gala\nseat: C 12\nholder: Zoë (Łódź)");
    let words: Vec<_> = page.words.iter().map(Vec::as_slice).collect();
    assert_eq!(words, [&b"Spring Gala"[..], b"Zo\xEB (?\xF3d?)", b"C 12", b"Ticket 1, order o-1"]);
    let files = fs::read_dir(counter.folder.path().join("tickets")).unwrap();
    assert_eq!(files.count(), 1, "nothing else is in the folder");
}

#[test]
fn the_mail_has_the_page_attached() {
    let counter = Counter::in_health();
    let made = counter.ask("k 1", &ticket("o-1")).json();
    let mail = counter.mail();
    for line in [
        "From: \"The ticket desk\" <desk@tickets.box-office.example>",
        "To: zoe@example.com",
        "Subject: Your ticket for order o-1",
        "Message-ID: <k=201@tickets.box-office.example>",
    ] {
        assert!(mail.lines().any(|found| found == line), "`{line}` is missing in\n{mail}");
    }
    assert_eq!(made["message_id"], "<k=201@tickets.box-office.example>");
    let (_, part) = mail.split_once("Content-Type: application/pdf\r\n").unwrap();
    assert!(mail.contains("Content-Disposition: attachment; filename=\"o-1.pdf\"\r\n"), "{mail}");
    let (_, body) = part.split_once("\r\n\r\n").unwrap();
    let (body, _) = body.split_once("--").unwrap();
    let body: String = body.split_ascii_whitespace().collect();
    assert_eq!(STANDARD.decode(body).unwrap(), fs::read(counter.page_of("o-1")).unwrap());
}

#[test]
fn shows_what_it_made() {
    let counter = Counter::in_health();
    assert_eq!(get(counter.desk.addr(), "/tickets?order=o-1").status, 404);
    counter.ask("k-1", &ticket("o-1"));
    let shown = get(counter.desk.addr(), "/tickets/1").json();
    assert_eq!(
        (&shown["made"], &shown["mail"], &shown["executions"]),
        (&true.into(), &"sent".into(), &1.into())
    );
    assert_eq!(get(counter.desk.addr(), "/tickets?order=o-1").json()["tickets"][0], shown);
    assert_eq!(get(counter.desk.addr(), "/tickets/2").status, 404);
    assert_eq!(get(counter.desk.addr(), "/tickets/2/pdf").status, 404);
    let told = get(counter.desk.addr(), "/effects?key=k-1").json();
    assert_eq!((&told["count"], &told["effects"][0]["kind"]), (&1.into(), &"ticket".into()));
    let statement = get(counter.desk.addr(), "/statement").json();
    assert_eq!((&statement["made"], &statement["by_order"][0]["tickets"]), (&1.into(), &1.into()));
}

#[test]
fn the_same_key_again_is_the_same_ticket_and_no_second_mail() {
    let counter = Counter::in_health();
    let first = counter.ask("k-1", &ticket("o-1"));
    let again = counter.ask("k-1", &ticket("o-1"));
    assert_eq!((again.status, &again.text), (201, &first.text));
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    // Not even offered.
    assert_eq!(counter.totals()["offered"], 1);
    assert_eq!(counter.desk.effects().unwrap().len(), 1);
    assert_eq!(counter.desk.arrivals().unwrap().len(), 2);
}

#[test]
fn another_key_is_another_ticket_and_the_mail_arrives_twice() {
    let counter = Counter::in_health();
    for key in ["k-1", "k-2"] {
        assert_eq!(counter.ask(key, &ticket("o-1")).status, 201);
    }
    let totals = counter.totals();
    assert_eq!((&totals["arrived"], &totals["arrived_twice"]), (&2.into(), &1.into()));
    assert_eq!(get(counter.desk.addr(), "/statement").json()["by_order"][0]["tickets"], 2);
}

#[test]
fn says_what_is_wrong_with_a_request() {
    let counter = Counter::in_health();
    let good = ticket("o-1");
    for body in [
        String::new(),
        good.replace("o-1", "../o-1"),
        good.replace("zoe@example.com", "zoe"),
        good.replace("zoe@example.com", "zoe@example.com\\r\\nBcc: eve@example.com"),
        good.replace("C 12", " "),
    ] {
        let answer = counter.ask("k-1", &body);
        assert_eq!((answer.status, &answer.json()["error"]), (422, &"bad-input".into()), "{body}");
    }
    assert_eq!(post(counter.desk.addr(), "/tickets", &[], &good).status, 422, "without a key");
    assert_eq!(counter.ask("k-1", &good).status, 201);
    let other = counter.ask("k-1", &ticket("o-2"));
    assert_eq!((other.status, &other.json()["error"]), (422, &"key-reused".into()));
    assert_eq!(counter.totals()["arrived"], 1);
}

#[test]
fn makes_it_once_however_many_ask_at_once() {
    let slow = Temper { latency_ms_min: 30, latency_ms_max: 30, ..Temper::default() };
    let counter = Counter::open(Temper::default(), slow, true);
    let barrier = Barrier::new(8);
    let statuses: BTreeSet<u16> = thread::scope(|scope| {
        let ask = || {
            barrier.wait();
            counter.ask("k-1", &ticket("o-1")).status
        };
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|asking| asking.join().unwrap()).collect()
    });
    assert!(statuses.contains(&201) && statuses.is_subset(&BTreeSet::from([201, 409])), "{statuses:?}");
    assert_eq!(counter.ask("k-1", &ticket("o-1")).status, 201);
    assert_eq!(counter.totals()["offered"], 1);
}

#[test]
fn a_flaky_desk_and_a_flaky_sink_cost_repeats_and_no_second_mail() {
    let desk =
        Temper { seed: 5, refuse_ratio: 0.1, fail_after_ratio: 0.2, lose_ratio: 0.2, ..Temper::default() };
    let sink = Temper { seed: 6, refuse_ratio: 0.3, fail_after_ratio: 0.2, lose_ratio: 0.2, ..desk };
    let counter = Counter::open(desk, sink, true);
    let orders: Vec<String> = (0..40).map(|order| format!("o-{order}")).collect();
    let asked: u32 = orders.iter().map(|order| counter.insist(order, &ticket(order))).sum();
    assert!(asked > 60, "asked {asked} times only");
    let totals = counter.totals();
    assert_eq!((&totals["arrived"], &totals["arrived_twice"]), (&40.into(), &0.into()), "{totals}");
    assert!(totals["recognised_repeats"].as_i64().unwrap() > 0, "{totals}");
    for mishap in ["busy", "later", "hung_up", "denied", "unacknowledged"] {
        assert!(totals["mishaps"][mishap].as_i64() > Some(0), "{mishap} is missing in {totals}");
    }
    let books = counter.desk.effects_by_key().unwrap();
    assert!(
        books.len() == 40 && books.iter().all(|count| (count.kind, count.count) == (EffectKind::Ticket, 1))
    );
    let made = tickets(counter.desk.database()).unwrap();
    assert!(made.iter().all(|ticket| ticket.made && ticket.mail == MailState::Sent));
    assert!(made.iter().any(|ticket| ticket.executions > 1 && ticket.offers > 1));
    let sent: BTreeSet<_> = made.iter().map(|ticket| Some(ticket.message_id.clone())).collect();
    let arrived: BTreeSet<_> =
        mails(counter.sink.database()).unwrap().into_iter().map(|mail| mail.message_id).collect();
    assert_eq!(sent, arrived);
}

#[test]
fn without_a_sink_that_recognises_it_a_mail_in_doubt_arrives_twice() {
    let counter = Counter::open(Temper::default(), Temper { lose_ratio: 1.0, ..Temper::default() }, false);
    let doubtful = counter.ask("k-1", &ticket("o-1"));
    assert_eq!((doubtful.status, &doubtful.json()["error"]), (502, &"mail-in-doubt".into()));
    assert_eq!(tickets(counter.desk.database()).unwrap()[0].mail, MailState::InDoubt);
    assert_eq!(get(counter.desk.addr(), "/effects?key=k-1").status, 404, "nothing is said to be made");
    put(counter.sink.addr(), "/temper", "{}");
    assert_eq!(counter.ask("k-1", &ticket("o-1")).status, 201);
    assert_eq!(counter.totals()["arrived_twice"], 1);
}

#[test]
fn knows_that_a_letter_which_was_never_begun_is_not_sent() {
    let counter = Counter::open(Temper::default(), Temper { refuse_ratio: 1.0, ..Temper::default() }, true);
    // 421, then 451: neither sink nor desk can be in doubt.
    for _ in 0..2 {
        let answer = counter.ask("k-1", &ticket("o-1"));
        assert_eq!((answer.status, &answer.json()["mail"]), (503, &"unsent".into()), "{}", answer.text);
    }
    // Hung up after the letter: the desk cannot know. And what it does not know, a later refusal does not tell it.
    for _ in 0..2 {
        let answer = counter.ask("k-1", &ticket("o-1"));
        assert_eq!(answer.json()["mail"], "in_doubt", "{}", answer.text);
    }
    assert_eq!(counter.totals()["arrived"], 0);
}

#[test]
fn a_closed_domain_breaks_the_ticket_until_it_is_mended() {
    let counter = Counter::in_health();
    put(counter.sink.addr(), "/closed", r#"{"domains":["Example.com"]}"#);
    for _ in 0..3 {
        let broken = counter.ask("k-1", &ticket("o-1"));
        assert_eq!(
            (broken.status, &broken.json()["error"]),
            (502, &"mail-refused".into()),
            "{}",
            broken.text
        );
        assert_eq!(broken.json()["mail"], "unsent");
    }
    let elsewhere = ticket("o-2").replace("example.com", "example.org");
    assert_eq!(counter.ask("k-2", &elsewhere).status, 201);
    assert_eq!(
        put(counter.sink.addr(), "/closed", r#"{"domains":[]}"#).json()["domains"].as_array().unwrap().len(),
        0
    );
    assert_eq!(counter.ask("k-1", &ticket("o-1")).status, 201);
    let totals = counter.totals();
    assert_eq!((&totals["arrived"], &totals["mishaps"]["closed_domain"]), (&2.into(), &3.into()));
    assert_eq!(get(counter.desk.addr(), "/tickets?order=o-1").json()["tickets"][0]["executions"], 4);
}

#[test]
fn a_folder_that_is_gone_breaks_the_ticket_until_it_is_back() {
    let counter = Counter::in_health();
    let folder = counter.folder.path().join("tickets");
    fs::remove_dir_all(&folder).unwrap();
    let broken = counter.ask("k-1", &ticket("o-1"));
    assert_eq!((broken.status, &broken.json()["error"]), (500, &"not-stored".into()));
    assert_eq!(counter.totals()["offered"], 0);
    fs::create_dir(&folder).unwrap();
    assert_eq!(counter.ask("k-1", &ticket("o-1")).status, 201);
    assert!(counter.page_of("o-1").exists());
}

#[test]
fn a_mail_server_that_is_silent_is_not_waited_for_long() {
    // Takes connections, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = TempDir::new().unwrap();
    let config = TicketDeskConfig::new(
        folder.path().join("desk.db"),
        folder.path().join("tickets"),
        silent.local_addr().unwrap(),
    );
    let desk =
        TicketDesk::start(TicketDeskConfig { mail_patience: Duration::from_millis(50), ..config }).unwrap();
    let answer = post(desk.addr(), "/tickets", &[("idempotency-key", "k-1")], &ticket("o-1"));
    assert_eq!((answer.status, &answer.json()["error"]), (503, &"not-mailed".into()));
}
