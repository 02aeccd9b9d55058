//! Stopped and started again on the same port and the same books.

use box_office::{Bank, BankConfig, BankTemper, BoxOffice, OfficeConfig, StartError, arrivals, effects};
use tempfile::TempDir;

use crate::client::{Client, get, post};
use crate::lone_bank;
use crate::office::seats_left;
use crate::port::Port;

const ORDER: &str = r#"{"event":"spring-gala","buyer":"ada","tickets":2,"card":"4242424242424242"}"#;

#[test]
fn keeps_everything_on_the_same_books() {
    let folder = TempDir::new().unwrap();
    let (office_port, bank_port) = (Port::reserve(), Port::reserve());
    let bank_config = BankConfig {
        address: bank_port.addr(),
        honours_keys: true,
        ..BankConfig::new(folder.path().join("bank.db"))
    };
    let office_config = OfficeConfig {
        address: office_port.addr(),
        bank: Some(format!("http://{}", bank_port.addr())),
        honours_keys: true,
        ..OfficeConfig::new(folder.path().join("office.db"))
    };
    let bank = Bank::start(bank_config.clone()).unwrap();
    let office = BoxOffice::start(office_config.clone()).unwrap();
    let headers = [("idempotency-key", "k-1")];
    let first = post(office.addr(), "/orders", &headers, ORDER);
    let before = office.effects().unwrap();
    office.stop();
    bank.stop();
    assert_eq!(effects(&office_config.database).unwrap(), before);
    assert_eq!(arrivals(&bank_config.database).unwrap().len(), 1);

    let bank = Bank::start(bank_config).unwrap();
    let office = BoxOffice::start(office_config).unwrap();
    assert_eq!(get(office.addr(), "/orders/1").text, first.text);
    assert_eq!(seats_left(&office, "spring-gala"), 198);
    assert_eq!(post(office.addr(), "/orders", &headers, ORDER).text, first.text);
    assert_eq!(post(office.addr(), "/orders", &[], ORDER).header("location"), Some("/orders/2"));
    assert_eq!(get(bank.addr(), "/statement").json()["count"], 2);
}

#[test]
fn an_order_cut_off_at_the_bank_is_unsettled_afterwards() {
    // A bank that takes the connection and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = TempDir::new().unwrap();
    let config = OfficeConfig {
        bank: Some(format!("http://{}", silent.local_addr().unwrap())),
        ..OfficeConfig::new(folder.path().join("office.db"))
    };
    let office = BoxOffice::start(config.clone()).unwrap();
    let mut client = Client::connect(office.addr());
    client.write("POST", "/orders", &[], ORDER).unwrap();
    // The charge is on its way once the bank has the connection.
    let charge = silent.accept().unwrap();
    office.stop();
    assert!(client.read().is_err());
    drop(charge);
    let office = BoxOffice::start(config).unwrap();
    assert_eq!(get(office.addr(), "/orders/1").json()["status"], "unsettled");
    assert_eq!(effects(office.database()).unwrap()[0].given_status, None);
}

#[test]
fn says_that_the_address_is_taken() {
    let (bank, folder) = lone_bank(BankTemper::default(), false);
    let again = BankConfig { address: bank.addr(), ..BankConfig::new(folder.path().join("other.db")) };
    assert!(matches!(Bank::start(again), Err(StartError::Bind { .. })));
}
