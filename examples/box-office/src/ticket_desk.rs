//! The ticket desk: makes a ticket for an order, keeps its page in a folder, and e-mails it.
//!
//! It is repeatable. A ticket is made once for an `Idempotency-Key`, however often it is asked for and wherever an
//! earlier request came to its end; and so it has to be asked under a key.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{FromRef, Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use bytes::Bytes;
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use crate::answer::Answer;
use crate::arrivals::Arrival;
use crate::database::Database;
use crate::effects;
use crate::postman::{Letter, MailOutcome, Postman};
use crate::refusal::{Refusal, parse};
use crate::server::{self, AnswerLost, RunningService, StartError};
use crate::shelf;
use crate::temper::{self, Mood, Temper, Turn};
use crate::tickets::{self, Begun, LISTED_MAX, Making, NewTicket};

/// What a ticket desk needs to start.
#[derive(Debug, Clone)]
pub struct TicketDeskConfig {
    /// Where to listen; port 0 takes any free one (the default, on 127.0.0.1).
    pub address: SocketAddr,
    /// The file of its database, created if it is not there.
    pub database: PathBuf,
    /// The folder of the tickets' pages, created if it is not there.
    pub folder: PathBuf,
    /// The mail server it sends by, in plain SMTP.
    pub mail_server: SocketAddr,
    /// How long it waits for the mail server: until it may send the letter, and again for the answer (default: 5 s).
    pub mail_patience: Duration,
    /// Its temper at the start (default: perfect health).
    pub temper: Temper,
}

impl TicketDeskConfig {
    /// A desk in perfect health on any free port, with its books in `database` and its pages in `folder`.
    pub fn new(database: impl Into<PathBuf>, folder: impl Into<PathBuf>, mail_server: SocketAddr) -> Self {
        TicketDeskConfig {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            database: database.into(),
            folder: folder.into(),
            mail_server,
            mail_patience: Duration::from_secs(5),
            temper: Temper::default(),
        }
    }
}

/// The ticket desk.
#[derive(Debug)]
pub struct TicketDesk;

impl TicketDesk {
    /// Starts a ticket desk on a thread of its own; once this returns, it answers.
    ///
    /// # Errors
    /// [`StartError`] when its temper is out of bounds, or its address, database or folder cannot be had.
    pub fn start(config: TicketDeskConfig) -> Result<RunningService, StartError> {
        let TicketDeskConfig { address, database: path, folder, mail_server, mail_patience, temper } = config;
        let mood = Mood::new(temper)?;
        shelf::open(&folder).map_err(|source| StartError::Folder { path: folder.clone(), source })?;
        let tools = Arc::new(Tools { folder, postman: Postman::new(mail_server, mail_patience) });
        server::start(
            address,
            path,
            |connection| connection.execute_batch(tickets::SCHEMA),
            |database| {
                Router::new()
                    .route(tickets::PATH, post(make_ticket).get(list_tickets))
                    .route("/tickets/{id}", get(show_ticket))
                    .route("/tickets/{id}/pdf", get(show_page))
                    .route("/statement", get(show_statement))
                    .route("/effects", get(effects::probe))
                    .route("/temper", get(temper::show).put(temper::change))
                    .with_state(Desk { database, mood, tools })
            },
        )
    }
}

#[derive(Clone)]
struct Desk {
    database: Database,
    mood: Mood,
    tools: Arc<Tools>,
}

#[derive(Debug)]
struct Tools {
    folder: PathBuf,
    postman: Postman,
}

impl FromRef<Desk> for Database {
    fn from_ref(desk: &Desk) -> Database {
        desk.database.clone()
    }
}

impl FromRef<Desk> for Mood {
    fn from_ref(desk: &Desk) -> Mood {
        desk.mood.clone()
    }
}

/// `POST /tickets`: makes a ticket, in whatever way the plan says.
async fn make_ticket(
    State(desk): State<Desk>,
    Extension(arrival): Extension<Arrival>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let new: NewTicket = parse(body)?;
    new.check()?;
    let fate = desk.mood.befalls().await;
    if fate.turn == Turn::Refuse {
        return Err(Refusal::NotExecuted("the ticket desk"));
    }
    let answer = desk.execute(new, arrival, fate.turn).await?;
    Ok(match fate.turn {
        Turn::Answer | Turn::Refuse => answer.into_response(),
        Turn::FailAfter => {
            let detail = json!({ "error": "internal", "detail": "something broke; whether the ticket was made is for you to find out" });
            Answer::new(StatusCode::INTERNAL_SERVER_ERROR, &detail).into_response()
        }
        Turn::Lose => (Extension(AnswerLost), StatusCode::OK).into_response(),
    })
}

impl Desk {
    /// Four steps that are not one: the ticket is written down, its page stored, its e-mail sent, the ticket settled.
    /// Wherever they break off, the same key again goes on: the page is the same page, the e-mail has the same
    /// `Message-ID`.
    async fn execute(&self, new: NewTicket, arrival: Arrival, turn: Turn) -> Result<Answer, Refusal> {
        let asking = arrival.clone();
        let begun = self.database.run(move |connection| tickets::begin(connection, new, &asking)).await?;
        let making = match begun {
            Begun::Answered(answer) => return Ok(answer),
            Begun::Making(making) => making,
        };
        match self.carry_out(&making).await {
            Ok(outcome) => {
                let given = match turn {
                    Turn::Answer | Turn::Refuse => Some(StatusCode::CREATED),
                    Turn::FailAfter => Some(StatusCode::INTERNAL_SERVER_ERROR),
                    Turn::Lose => None,
                };
                self.database
                    .run(move |connection| tickets::settle(connection, &making, &arrival, &outcome, given))
                    .await
            }
            Err(refusal) => {
                self.database.run(move |connection| tickets::stop(connection, &making)).await?;
                Err(refusal)
            }
        }
    }

    /// Stores the page and sends the e-mail.
    async fn carry_out(&self, making: &Making) -> Result<MailOutcome, Refusal> {
        let new = &making.new;
        let pdf = making.page().pdf().map_err(|error| Refusal::BadInput(error.to_string()))?;
        self.store(new.file_name(), pdf.clone()).await?;
        let intended = making.clone();
        self.database.run(move |connection| tickets::intend(connection, &intended)).await?;
        let letter = Letter {
            to: &new.email,
            subject: format!("Your ticket for order {}", new.order),
            text: format!(
                "Dear {},\n\nhere is your ticket for {}, seat {}. Show its code at the door.\n\nThe ticket desk\n",
                new.holder, new.event, new.seat
            ),
            message_id: making.message_id(),
            at_ms: making.asked_at_ms(),
            file_name: new.file_name(),
            pdf,
        };
        Ok(self.tools.postman.deliver(letter).await)
    }

    async fn store(&self, name: String, bytes: Vec<u8>) -> Result<(), Refusal> {
        let tools = self.tools.clone();
        // The disk is waited for on a thread that has nothing else to do.
        let stored = tokio::task::spawn_blocking(move || shelf::store(&tools.folder, &name, &bytes)).await;
        Ok(stored.map_err(std::io::Error::other)??)
    }
}

/// `GET /tickets/{id}`.
async fn show_ticket(
    State(database): State<Database>,
    path: Result<Path<i64>, PathRejection>,
) -> Result<Answer, Refusal> {
    let Path(id) = path?;
    database.run(move |connection| tickets::show(connection, id)).await
}

/// `GET /tickets/{id}/pdf`: the page of a ticket that was made.
async fn show_page(
    State(desk): State<Desk>,
    path: Result<Path<i64>, PathRejection>,
) -> Result<Response, Refusal> {
    let Path(id) = path?;
    let name = desk.database.run(move |connection| tickets::file_name(connection, id)).await?;
    let tools = desk.tools.clone();
    let read = tokio::task::spawn_blocking(move || std::fs::read(tools.folder.join(name))).await;
    match read {
        Ok(Ok(pdf)) => Ok(([(header::CONTENT_TYPE, "application/pdf")], pdf).into_response()),
        // Somebody took it out of the folder.
        _ => Err(Refusal::NotFound),
    }
}

#[derive(Debug, Deserialize)]
struct Listing {
    /// Only the tickets of this order.
    order: Option<String>,
    /// Only the tickets after this one.
    #[serde(default)]
    after: i64,
    limit: Option<u32>,
}

/// `GET /tickets?order=…&after=…&limit=…`: the tickets, oldest first; 404 when an order was named and has none.
async fn list_tickets(
    State(database): State<Database>,
    query: Result<Query<Listing>, QueryRejection>,
) -> Result<Answer, Refusal> {
    let Query(Listing { order, after, limit }) = query?;
    let named = order.is_some();
    let found = database
        .run(move |connection| {
            tickets::list(connection, order.as_deref(), after, limit.unwrap_or(LISTED_MAX))
        })
        .await?;
    let status = if named && found.is_empty() { StatusCode::NOT_FOUND } else { StatusCode::OK };
    Ok(Answer::new(status, &json!({ "count": found.len(), "tickets": found })))
}

/// `GET /statement`.
async fn show_statement(State(database): State<Database>) -> Result<Answer, Refusal> {
    let statement = database.run(tickets::statement).await?;
    Ok(Answer::new(StatusCode::OK, &statement))
}
