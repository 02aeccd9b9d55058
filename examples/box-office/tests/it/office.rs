//! The box office: what it sells, and what it says when the bank does not answer.

use box_office::{BankTemper, BoxOffice, EffectKind, OfficeConfig, arrivals, standing_by_reference};
use tempfile::TempDir;

use crate::client::{Client, get, post, put};
use crate::town;

const ORDER: &str = r#"{"event":"spring-gala","buyer":"ada","tickets":2,"card":"4242424242424242"}"#;
const HEADERS: [(&str, &str); 2] = [("idempotency-key", "k-1"), ("x-client-reference", "cart-1")];

#[test]
fn sells_tickets_and_charges_for_them() {
    let town = town(BankTemper::default(), false);
    let sold = post(town.office.addr(), "/orders", &HEADERS, ORDER);
    assert_eq!((sold.status, sold.header("location")), (201, Some("/orders/1")));
    assert_eq!(sold.json(), get(town.office.addr(), "/orders/1").json());
    assert_eq!((&sold.json()["status"], &sold.json()["amount_cents"]), (&"paid".into(), &8000.into()));
    let charges = get(town.bank.addr(), "/charges?reference=order-1").json();
    assert_eq!(charges["charges"][0]["client_reference"], "cart-1");
    assert_eq!(charges["charges"][0]["charge"], sold.json()["charge"]);
    let charge = &town.bank.effects().unwrap()[0];
    assert_eq!((charge.key.as_deref(), charge.reference.as_deref()), (Some("order-1"), Some("cart-1")));
    assert_eq!(seats_left(&town.office, "spring-gala"), 198);
    let effect = &town.office.effects().unwrap()[0];
    assert_eq!((effect.given_status, effect.body.as_deref()), (Some(201), Some(&*sold.text)));
}

#[test]
fn registers_students_one_seat_each() {
    let town = town(BankTemper::default(), false);
    let body = r#"{"student":"grace","event":"chamber-night"}"#;
    for id in 1..=3 {
        let registered = post(town.office.addr(), "/register", &[], body);
        let place = format!("/registrations/{id}");
        assert_eq!((registered.status, registered.header("location")), (201, Some(&*place)));
        assert_eq!(get(town.office.addr(), &place).json(), registered.json());
    }
    let refused = post(town.office.addr(), "/register", &[], body);
    assert_eq!((refused.status, &refused.json()["error"]), (409, &"sold-out".into()));
    assert_eq!(town.office.effects().unwrap().len(), 3);
}

#[test]
fn the_same_request_twice_takes_effect_twice() {
    let town = town(BankTemper::default(), false);
    for path_and_body in [("/orders", ORDER), ("/register", r#"{"student":"grace","event":"open-air"}"#)] {
        for _ in 0..2 {
            assert_eq!(post(town.office.addr(), path_and_body.0, &HEADERS, path_and_body.1).status, 201);
        }
    }
    let counts = town.office.effects_by_key().unwrap();
    let told: Vec<_> = counts.iter().map(|count| (count.kind, count.key.as_deref(), count.count)).collect();
    assert_eq!(told, [(EffectKind::Order, Some("k-1"), 2), (EffectKind::Registration, Some("k-1"), 2)]);
    assert_eq!(standing_by_reference(town.bank.database(), EffectKind::Charge).unwrap()["cart-1"], 2);
    let arrived = arrivals(town.office.database()).unwrap();
    assert_eq!(arrived.iter().filter(|arrival| arrival.key.as_deref() == Some("k-1")).count(), 4);
    assert!(arrived.iter().all(|arrival| arrival.effect.is_some()));
}

#[test]
fn refuses_clearly_what_it_cannot_do() {
    let town = town(BankTemper::default(), false);
    let office = town.office.addr();
    let refusal = |path, body: &str| {
        let answer = post(office, path, &[], body);
        (answer.status, answer.json()["error"].as_str().unwrap().to_owned())
    };
    let bad = (422, "bad-input".to_owned());
    assert_eq!(refusal("/orders", &ORDER.replace("spring-gala", "no-show")), (404, "unknown-event".into()));
    assert_eq!(refusal("/orders", &ORDER.replace("spring-gala", "chamber-night").replace('2', "4")).0, 409);
    assert_eq!(refusal("/orders", &ORDER.replace(":2", ":0")), bad);
    assert_eq!(refusal("/orders", &ORDER.replace(":2", ":21")), bad);
    assert_eq!(refusal("/orders", r#"{"event":"spring-gala","buyer":"ada","tickets":2}"#), bad);
    assert_eq!(refusal("/orders", "[]"), bad);
    assert_eq!(refusal("/register", r#"{"student":"","event":"open-air"}"#), bad);
    assert_eq!(refusal("/orders", &"x".repeat(65 * 1024)), (413, "unreadable-body".into()));
    assert_eq!(refusal("/nowhere", ""), (404, "not-found".into()));
    assert_eq!(get(office, "/orders/first").json()["error"], "not-found");
    assert_eq!(get(office, "/effects").status, 422);
    assert_eq!(get(office, "/orders/1").status, 404);
    assert!(town.office.effects().unwrap().is_empty());
    assert_eq!(seats_left(&town.office, "spring-gala"), 200);
}

#[test]
fn gives_the_seats_back_when_the_card_is_declined_or_the_bank_did_nothing() {
    let town = town(BankTemper::default(), false);
    let declined =
        post(town.office.addr(), "/orders", &HEADERS, &ORDER.replace("4242424242424242", "4000000000000002"));
    assert_eq!((declined.status, &declined.json()["charged"]), (402, &"no".into()));
    put(town.bank.addr(), "/temper", r#"{"refuse_ratio":1}"#);
    let busy = post(town.office.addr(), "/orders", &HEADERS, ORDER);
    assert_eq!((busy.status, &busy.json()["charged"]), (503, &"no".into()));
    assert_eq!(seats_left(&town.office, "spring-gala"), 200);
    let counts = town.office.effects_by_key().unwrap();
    assert_eq!((counts[0].count, counts[0].undone), (0, 2));
    let probed = get(town.office.addr(), "/effects?reference=cart-1");
    assert_eq!((probed.status, &probed.json()["count"]), (404, &0.into()));
}

#[test]
fn admits_that_it_does_not_know_when_the_banks_answer_is_lost() {
    let town = town(BankTemper { lose_ratio: 1.0, ..BankTemper::default() }, false);
    let lost = post(town.office.addr(), "/orders", &HEADERS, ORDER);
    assert_eq!((lost.status, &lost.json()["charged"]), (502, &"unknown".into()));
    assert_eq!(get(town.office.addr(), "/orders/1").json()["status"], "unsettled");
    assert_eq!(get(town.bank.addr(), "/charges?reference=order-1").json()["count"], 1);
    assert_eq!(get(town.office.addr(), "/effects?reference=cart-1&key=k-1").json()["count"], 1);
    assert_eq!(seats_left(&town.office, "spring-gala"), 198);
}

#[test]
fn waits_for_the_bank_only_so_long() {
    let folder = TempDir::new().unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let office = BoxOffice::start(OfficeConfig {
        bank: Some(format!("http://{}", silent.local_addr().unwrap())),
        bank_patience: std::time::Duration::from_millis(30),
        ..OfficeConfig::new(folder.path().join("office.db"))
    })
    .unwrap();
    let late = post(office.addr(), "/orders", &[], ORDER);
    assert_eq!((late.status, &late.json()["charged"]), (502, &"unknown".into()));
    drop(silent);
    let unreachable = post(office.addr(), "/orders", &[], ORDER);
    assert_eq!((unreachable.status, &unreachable.json()["charged"]), (503, &"no".into()));
}

#[test]
fn sends_its_charges_where_it_is_told() {
    let town = town(BankTemper::default(), false);
    let mut client = Client::connect(town.office.addr());
    assert_eq!(client.send("PUT", "/bank", &[], r#"{"url":"ftp://bank"}"#).unwrap().status, 422);
    assert_eq!(client.send("PUT", "/bank", &[], r#"{"url":"http://127.0.0.1:1"}"#).unwrap().status, 200);
    assert_eq!(client.send("POST", "/orders", &[], ORDER).unwrap().status, 503);
    let back = format!(r#"{{"url":"{}"}}"#, town.bank.url());
    assert_eq!(client.send("PUT", "/bank", &[], &back).unwrap().status, 200);
    assert_eq!(client.send("POST", "/orders", &[], ORDER).unwrap().status, 201);
}

#[test]
fn charges_nothing_without_a_bank() {
    let folder = TempDir::new().unwrap();
    let office = BoxOffice::start(OfficeConfig::new(folder.path().join("office.db"))).unwrap();
    let free = post(office.addr(), "/orders", &[], r#"{"event":"spring-gala","buyer":"ada","tickets":2}"#);
    assert_eq!((free.status, &free.json()["status"]), (201, &"free".into()));
    assert_eq!(post(office.addr(), "/orders", &[], ORDER).status, 422);
}

pub(crate) fn seats_left(office: &box_office::RunningService, event: &str) -> i64 {
    let events = get(office.addr(), "/events").json();
    let found = events["events"].as_array().unwrap().iter().find(|found| found["id"] == event).unwrap();
    found["seats_left"].as_i64().unwrap()
}
