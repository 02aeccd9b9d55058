//! Thousands of orders at once: nothing is lost, nothing is counted twice, nobody waits long.

use std::thread;

use box_office::{BankTemper, EffectKind, standing_by_reference};

use crate::client::Client;
use crate::office::seats_left;
use crate::town;

const CLIENTS: usize = 16;
const ORDERS_EACH: usize = 125;

#[test]
fn counts_every_order_of_a_storm_once() {
    let town = town(BankTemper::default(), false);
    let begun = std::time::Instant::now();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let office = town.office.addr();
            scope.spawn(move || {
                let mut connection = Client::connect(office);
                for order in 0..ORDERS_EACH {
                    let reference = format!("{client}-{order}");
                    let headers = [("x-client-reference", &*reference), ("idempotency-key", &*reference)];
                    let body = r#"{"event":"open-air","buyer":"ada","tickets":1,"card":"4242424242424242"}"#;
                    assert_eq!(connection.send("POST", "/orders", &headers, body).unwrap().status, 201);
                }
            });
        }
    });
    let count = CLIENTS * ORDERS_EACH;
    println!("{:.0} orders/s", count as f64 / begun.elapsed().as_secs_f64());
    for (database, kind) in
        [(town.office.database(), EffectKind::Order), (town.bank.database(), EffectKind::Charge)]
    {
        let counted = standing_by_reference(database, kind).unwrap();
        assert_eq!(counted.len(), count);
        assert!(counted.values().all(|count| *count == 1));
    }
    assert_eq!(seats_left(&town.office, "open-air"), 1_000_000 - i64::try_from(count).unwrap());
}
