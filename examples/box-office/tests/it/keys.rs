//! Services that honour keys: the repeatable kind.

use std::sync::Barrier;
use std::thread;

use box_office::{BankTemper, EffectKind, standing_by_reference};

use crate::client::{get, post, put, try_post};
use crate::{lone_bank, town};

const ORDER: &str = r#"{"event":"spring-gala","buyer":"ada","tickets":2,"card":"4242424242424242"}"#;
const HEADERS: [(&str, &str); 2] = [("idempotency-key", "k-1"), ("x-client-reference", "cart-1")];

#[test]
fn gives_the_first_answer_again() {
    let town = town(BankTemper::default(), true);
    for (path, body) in [("/orders", ORDER), ("/register", r#"{"student":"grace","event":"open-air"}"#)] {
        let first = post(town.office.addr(), path, &HEADERS, body);
        let again = post(town.office.addr(), path, &HEADERS, body);
        assert_eq!((first.status, again.status), (201, 201));
        assert_eq!((&again.text, again.header("location")), (&first.text, first.header("location")));
        assert_eq!(
            (first.header("idempotent-replayed"), again.header("idempotent-replayed")),
            (None, Some("true"))
        );
    }
    assert!(town.office.effects_by_key().unwrap().iter().all(|count| count.count == 1));
    let arrived = town.office.arrivals().unwrap();
    assert_eq!(arrived.iter().filter(|arrival| arrival.key.as_deref() == Some("k-1")).count(), 4);
    assert_eq!(arrived.iter().filter(|arrival| arrival.effect.is_some()).count(), 2);
}

#[test]
fn refuses_a_key_that_comes_with_another_request() {
    let town = town(BankTemper::default(), true);
    assert_eq!(post(town.office.addr(), "/orders", &HEADERS, ORDER).status, 201);
    let other = post(town.office.addr(), "/orders", &HEADERS, &ORDER.replace("ada", "eve"));
    assert_eq!((other.status, &other.json()["error"]), (422, &"key-reused".into()));
}

#[test]
fn charges_once_however_many_ask_at_once() {
    let temper = BankTemper { seed: 3, latency_ms_max: 5, lose_ratio: 0.3, ..BankTemper::default() };
    let (bank, _folder) = lone_bank(temper, true);
    let body = r#"{"card":"4242424242424242","amount_cents":2500,"reference":"order-1"}"#;
    let barrier = Barrier::new(16);
    let answers: Vec<_> = thread::scope(|scope| {
        let ask = || {
            barrier.wait();
            try_post(bank.addr(), "/charges", &HEADERS, body).ok()
        };
        let asking: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|asking| asking.join().unwrap()).collect()
    });
    let given: Vec<_> = answers.iter().flatten().map(|answer| (answer.status, &answer.text)).collect();
    assert!(
        given.len() < 16 && given.iter().all(|answer| *answer == given[0] && answer.0 == 201),
        "{given:?}"
    );
    assert_eq!(bank.effects().unwrap().len(), 1);
    assert_eq!(bank.arrivals().unwrap().len(), 16);
}

#[test]
fn orders_once_however_many_ask_at_once() {
    let town = town(BankTemper { latency_ms_min: 20, latency_ms_max: 20, ..BankTemper::default() }, true);
    let barrier = Barrier::new(8);
    let statuses: Vec<u16> = thread::scope(|scope| {
        let ask = || {
            barrier.wait();
            post(town.office.addr(), "/orders", &HEADERS, ORDER).status
        };
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|asking| asking.join().unwrap()).collect()
    });
    assert!(
        statuses.contains(&201) && statuses.iter().all(|status| [201, 409].contains(status)),
        "{statuses:?}"
    );
    assert_eq!(post(town.office.addr(), "/orders", &HEADERS, ORDER).status, 201);
    assert_eq!(town.office.effects().unwrap().len(), 1);
    assert_eq!(town.bank.effects().unwrap().len(), 1);
}

#[test]
fn settles_an_order_in_doubt_when_it_is_asked_again() {
    let town = town(BankTemper { lose_ratio: 1.0, ..BankTemper::default() }, true);
    assert_eq!(post(town.office.addr(), "/orders", &HEADERS, ORDER).status, 502);
    put(town.bank.addr(), "/temper", "{}");
    let settled = post(town.office.addr(), "/orders", &HEADERS, ORDER);
    assert_eq!((settled.status, &settled.json()["status"]), (201, &"paid".into()));
    assert_eq!(get(town.bank.addr(), "/statement").json()["count"], 1);
}

#[test]
fn executes_afresh_after_the_bank_did_nothing() {
    let town = town(BankTemper { refuse_ratio: 1.0, ..BankTemper::default() }, true);
    assert_eq!(post(town.office.addr(), "/orders", &HEADERS, ORDER).status, 503);
    put(town.bank.addr(), "/temper", "{}");
    assert_eq!(post(town.office.addr(), "/orders", &HEADERS, ORDER).status, 201);
    assert_eq!(standing_by_reference(town.office.database(), EffectKind::Order).unwrap()["cart-1"], 1);
    assert_eq!(standing_by_reference(town.bank.database(), EffectKind::Charge).unwrap()["cart-1"], 1);
}
