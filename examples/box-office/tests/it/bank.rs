//! The bank: what it charges, what it says, and what it does not say.

use std::io::ErrorKind;

use box_office::{BankTemper, EffectKind, standing_by_reference};

use crate::client::{Client, get, post, put, try_post};
use crate::lone_bank;

const CHARGE: &str = r#"{"card":"4242424242424242","amount_cents":2500,"reference":"order-1"}"#;

#[test]
fn charges_and_shows_the_charge() {
    let (bank, _folder) = lone_bank(BankTemper::default(), false);
    let created = post(bank.addr(), "/charges", &[("x-client-reference", "ada")], CHARGE);
    assert_eq!((created.status, created.header("location")), (201, Some("/charges/1")));
    let shown = get(bank.addr(), "/charges/1").json();
    assert_eq!(shown["client_reference"], "ada");
    assert_eq!(shown["card_ending"], "4242");
    let listed = get(bank.addr(), "/charges?reference=order-1").json();
    assert_eq!((&listed["count"], &listed["charges"][0]), (&1.into(), &shown));
    assert_eq!(get(bank.addr(), "/charges?reference=order-2").status, 404);
    assert_eq!(get(bank.addr(), "/charges/2").status, 404);
}

#[test]
fn charges_twice_what_is_asked_twice() {
    let (bank, _folder) = lone_bank(BankTemper::default(), false);
    for _ in 0..2 {
        assert_eq!(post(bank.addr(), "/charges", &[("idempotency-key", "k")], CHARGE).status, 201);
    }
    let statement = get(bank.addr(), "/statement").json();
    assert_eq!((&statement["count"], &statement["total_cents"]), (&2.into(), &5000.into()));
    assert_eq!(statement["by_reference"][0]["count"], 2);
    let counts = bank.effects_by_key().unwrap();
    assert_eq!((counts.len(), counts[0].count, counts[0].response_status), (1, 2, Some(201)));
    assert_eq!(get(bank.addr(), "/effects?key=k").json()["count"], 2);
}

#[test]
fn says_what_is_wrong_with_a_charge() {
    let (bank, _folder) = lone_bank(BankTemper::default(), false);
    for body in [
        "",
        "{",
        r#"{"card":"4242424242424242","amount_cents":1}"#,
        r#"{"card":"4242","amount_cents":1,"reference":"r"}"#,
        r#"{"card":"4242424242424242","amount_cents":0,"reference":"r"}"#,
        r#"{"card":"4242424242424242","amount_cents":1,"reference":" "}"#,
    ] {
        let answer = post(bank.addr(), "/charges", &[], body);
        assert_eq!((answer.status, &answer.json()["error"]), (422, &"bad-input".into()), "{body}");
    }
    assert_eq!(get(bank.addr(), "/charges?limit=few").json()["error"], "bad-input");
    let declined = CHARGE.replace("4242424242424242", "4000000000000002");
    assert_eq!(post(bank.addr(), "/charges", &[], &declined).status, 402);
    assert!(bank.effects().unwrap().is_empty());
    assert!(bank.arrivals().unwrap().iter().all(|arrival| arrival.effect.is_none()));
}

#[test]
fn a_lost_answer_is_lost_and_still_charged() {
    let (bank, _folder) = lone_bank(BankTemper { lose_ratio: 1.0, ..BankTemper::default() }, false);
    let lost = try_post(bank.addr(), "/charges", &[("x-client-reference", "ada")], CHARGE).err().unwrap();
    assert_eq!(lost.kind(), ErrorKind::UnexpectedEof);
    let effects = bank.effects().unwrap();
    assert_eq!((effects.len(), effects[0].kind, effects[0].given_status), (1, EffectKind::Charge, None));
    assert_eq!(standing_by_reference(bank.database(), EffectKind::Charge).unwrap()["ada"], 1);
}

#[test]
fn a_failure_after_charging_is_charged_and_a_refusal_is_not() {
    let (bank, _folder) = lone_bank(BankTemper { fail_after_ratio: 1.0, ..BankTemper::default() }, false);
    assert_eq!(post(bank.addr(), "/charges", &[], CHARGE).status, 500);
    assert_eq!(bank.effects().unwrap()[0].given_status, Some(500));
    assert_eq!(put(bank.addr(), "/temper", r#"{"refuse_ratio":1}"#).status, 200);
    let refused = post(bank.addr(), "/charges", &[], CHARGE);
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(bank.effects().unwrap().len(), 1);
}

#[test]
fn changes_its_temper_while_running_and_refuses_an_impossible_one() {
    let (bank, _folder) = lone_bank(BankTemper::default(), false);
    assert_eq!(put(bank.addr(), "/temper", r#"{"refuse_ratio":1.0,"seed":9}"#).status, 200);
    assert_eq!(get(bank.addr(), "/temper").json()["seed"], 9);
    assert_eq!(put(bank.addr(), "/temper", r#"{"lose_ratio":2}"#).status, 422);
    assert_eq!(put(bank.addr(), "/temper", r#"{"mood":"bad"}"#).status, 422);
    assert_eq!(post(bank.addr(), "/charges", &[], CHARGE).status, 503);
    assert_eq!(put(bank.addr(), "/temper", "{}").status, 200);
    assert_eq!(post(bank.addr(), "/charges", &[], CHARGE).status, 201);
}

#[test]
fn the_same_seed_gives_the_same_bad_minute() {
    let temper = r#"{"seed":42,"refuse_ratio":0.3,"fail_after_ratio":0.3,"lose_ratio":0.3}"#;
    let (bank, _folder) = lone_bank(BankTemper::default(), false);
    let minute = || -> Vec<Option<u16>> {
        assert_eq!(put(bank.addr(), "/temper", temper).status, 200);
        (0..30)
            .map(|_| try_post(bank.addr(), "/charges", &[], CHARGE).ok().map(|answer| answer.status))
            .collect()
    };
    let first = minute();
    assert_eq!(first, minute());
    for fate in [None, Some(201), Some(500), Some(503)] {
        assert!(first.contains(&fate), "{fate:?} is missing from {first:?}");
    }
}

#[test]
fn a_caller_that_hangs_up_is_charged_all_the_same() {
    let temper = BankTemper { latency_ms_min: 50, latency_ms_max: 50, ..BankTemper::default() };
    let (bank, _folder) = lone_bank(temper, false);
    let mut client = Client::connect(bank.addr());
    client.write("POST", "/charges", &[], CHARGE).unwrap();
    // Once the arrival is in the books, the request is being executed; then hang up.
    until(|| bank.arrivals().unwrap().len() == 1);
    drop(client);
    until(|| bank.effects().unwrap().len() == 1);
}

fn until(holds: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed().as_secs() < 10, "waited 10 s in vain");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}
