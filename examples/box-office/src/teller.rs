//! The box office's way to its bank: a plain HTTP/1.1 client that says honestly what it knows about a charge.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::arrivals::{KEY_HEADER, REFERENCE_HEADER};
use crate::tasks;

/// Connections kept open between charges.
const IDLE_MAX: usize = 256;
/// How much of the bank's answer is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A bank's URL that cannot be used: only `http://host:port`, with a path if need be, can.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a bank's address: it must look like http://127.0.0.1:9000")]
pub struct InvalidBankUrl(String);

/// What to charge.
#[derive(Debug)]
pub(crate) struct Charge<'a> {
    pub(crate) card: &'a str,
    pub(crate) amount_cents: i64,
    /// Names the order; it is both the bank's reference and the idempotency key.
    pub(crate) order_key: &'a str,
    /// The reference of whoever ordered, handed on for the books.
    pub(crate) client_reference: Option<&'a str>,
}

/// What the box office knows about a charge it asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ChargeOutcome {
    /// The card was charged; the charge's number, if the bank's answer could be read.
    Charged { charge: Option<i64> },
    /// The bank refused this card for good; nothing was charged.
    Declined,
    /// Nothing was charged, and asking again later may work.
    NotCharged { why: String },
    /// The card may or may not have been charged.
    Unknown { why: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct BankAddress {
    authority: String,
    /// The authority with its port.
    dial: String,
    charges_path: Uri,
}

impl BankAddress {
    fn parse(url: &str) -> Result<Self, InvalidBankUrl> {
        let invalid = || InvalidBankUrl(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| invalid())?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(invalid)?;
        let dial = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
        let charges_path =
            format!("{}/charges", uri.path().trim_end_matches('/')).parse().map_err(|_| invalid())?;
        Ok(BankAddress { authority: authority.to_string(), dial, charges_path })
    }
}

type Connection = SendRequest<Full<Bytes>>;

/// The way to one bank, with its idle connections.
#[derive(Debug)]
pub(crate) struct Teller {
    way: Mutex<Way>,
    /// For connecting, and again for the whole exchange.
    patience: Duration,
}

#[derive(Debug)]
struct Way {
    bank: BankAddress,
    idle: Vec<Connection>,
}

impl Teller {
    pub(crate) fn new(url: &str, patience: Duration) -> Result<Teller, InvalidBankUrl> {
        let way = Way { bank: BankAddress::parse(url)?, idle: Vec::new() };
        Ok(Teller { way: Mutex::new(way), patience })
    }

    /// Charges go to another address from now on.
    pub(crate) fn redirect(&self, url: &str) -> Result<(), InvalidBankUrl> {
        let bank = BankAddress::parse(url)?;
        *self.lock() = Way { bank, idle: Vec::new() };
        Ok(())
    }

    /// Asks the bank for one charge, once.
    pub(crate) async fn charge(&self, charge: &Charge<'_>) -> ChargeOutcome {
        let bank = self.lock().bank.clone();
        let mut request = match request(&bank, charge) {
            Ok(request) => request,
            Err(error) => return ChargeOutcome::NotCharged { why: error.to_string() },
        };
        loop {
            let (mut connection, fresh) = match self.idle_connection().await {
                Some(connection) => (connection, false),
                None => match timeout(self.patience, connect(&bank.dial)).await {
                    Ok(Ok(connection)) => (connection, true),
                    Ok(Err(why)) => return ChargeOutcome::NotCharged { why },
                    Err(_) => {
                        return ChargeOutcome::NotCharged {
                            why: "the bank cannot be reached in time".into(),
                        };
                    }
                },
            };
            let exchange = async {
                let response = connection.try_send_request(request).await?;
                Ok::<_, TrySendError<_>>(self.read(&bank, connection, response).await)
            };
            match timeout(self.patience, exchange).await {
                Ok(Ok(outcome)) => return outcome,
                Ok(Err(mut error)) => match error.take_message() {
                    // Not a byte of it was sent: an idle connection that had closed meanwhile.
                    Some(unsent) if !fresh => request = unsent,
                    Some(_) => return ChargeOutcome::NotCharged { why: error.into_error().to_string() },
                    None => return ChargeOutcome::Unknown { why: error.into_error().to_string() },
                },
                Err(_) => return ChargeOutcome::Unknown { why: "the bank did not answer in time".into() },
            }
        }
    }

    async fn idle_connection(&self) -> Option<Connection> {
        loop {
            let mut connection = self.lock().idle.pop()?;
            if !connection.is_closed() && connection.ready().await.is_ok() {
                return Some(connection);
            }
        }
    }

    /// Reads the answer, and keeps its connection if it was read to the end.
    async fn read(
        &self,
        bank: &BankAddress,
        connection: Connection,
        response: Response<Incoming>,
    ) -> ChargeOutcome {
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.ok().map(http_body_util::Collected::to_bytes);
        if body.is_some() {
            let mut way = self.lock();
            if way.idle.len() < IDLE_MAX && way.bank == *bank {
                way.idle.push(connection);
            }
        }
        outcome(status, body.as_deref())
    }

    fn lock(&self) -> MutexGuard<'_, Way> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn connect(dial: &str) -> Result<Connection, String> {
    let stream =
        TcpStream::connect(dial).await.map_err(|error| format!("the bank cannot be reached: {error}"))?;
    // A charge is one small request that somebody waits for.
    let _ = stream.set_nodelay(true);
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // What breaks the connection is told to whoever waits for an answer on it.
    tasks::spawn(async move { drop(connection.await) });
    Ok(sender)
}

fn request(bank: &BankAddress, charge: &Charge<'_>) -> http::Result<Request<Full<Bytes>>> {
    let body =
        json!({ "card": charge.card, "amount_cents": charge.amount_cents, "reference": charge.order_key });
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(bank.charges_path.clone())
        .header(header::HOST, &bank.authority)
        .header(header::CONTENT_TYPE, "application/json")
        .header(KEY_HEADER, charge.order_key);
    if let Some(Ok(reference)) = charge.client_reference.map(HeaderValue::try_from) {
        request = request.header(REFERENCE_HEADER, reference);
    }
    request.body(Full::new(Bytes::from(body.to_string())))
}

/// What an answer says about the charge. Only what names a cause before any execution counts as "not charged".
fn outcome(status: StatusCode, body: Option<&[u8]>) -> ChargeOutcome {
    match status.as_u16() {
        200..=299 => {
            let answer: Option<Value> = body.and_then(|body| serde_json::from_slice(body).ok());
            ChargeOutcome::Charged { charge: answer.and_then(|answer| answer["charge"].as_i64()) }
        }
        402 | 422 => ChargeOutcome::Declined,
        400 | 401 | 403 | 404 | 405 | 413 | 425 | 429 | 503 => {
            ChargeOutcome::NotCharged { why: format!("the bank answered {status}") }
        }
        _ => ChargeOutcome::Unknown { why: format!("the bank answered {status}") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_plain_address_and_refuses_what_it_cannot_dial() {
        let bank = BankAddress::parse("http://127.0.0.1:9000/bank/").unwrap();
        assert_eq!(bank.dial, "127.0.0.1:9000");
        assert_eq!(bank.charges_path, "/bank/charges");
        assert_eq!(BankAddress::parse("http://bank").unwrap().dial, "bank:80");
        for url in ["", "bank:9000", "https://bank", "/charges"] {
            assert_eq!(BankAddress::parse(url).unwrap_err(), InvalidBankUrl(url.into()));
        }
    }

    #[test]
    fn claims_to_know_only_what_the_answer_says() {
        let of = |status: u16| outcome(StatusCode::from_u16(status).unwrap(), Some(br#"{"charge":7}"#));
        assert_eq!(of(201), ChargeOutcome::Charged { charge: Some(7) });
        assert_eq!(outcome(StatusCode::CREATED, None), ChargeOutcome::Charged { charge: None });
        assert_eq!(of(402), ChargeOutcome::Declined);
        assert!(matches!(of(503), ChargeOutcome::NotCharged { .. }));
        for status in [301, 408, 409, 500, 502, 504] {
            assert!(matches!(of(status), ChargeOutcome::Unknown { .. }), "{status}");
        }
    }
}
