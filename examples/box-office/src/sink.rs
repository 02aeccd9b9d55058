//! The sink: where mails end. It takes them by SMTP, keeps each as a file, and tells by HTTP what arrived.
//!
//! It is as flaky as its temper: slow, refusing for a while (421, 451), hanging up before a mail is kept, or after.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{FromRef, Query, State};
use axum::routing::get;
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use crate::answer::Answer;
use crate::database::Database;
use crate::mails::{self, LISTED_MAX, Message};
use crate::refusal::{Refusal, parse};
use crate::server::{self, RunningService, StartError};
use crate::temper::{self, Mood, Temper};
use crate::{shelf, smtp, tasks};

/// What a sink needs to start.
#[derive(Debug, Clone)]
pub struct SinkConfig {
    /// Where to listen for questions, by HTTP; port 0 takes any free one (the default, on 127.0.0.1).
    pub address: SocketAddr,
    /// Where to listen for mails, by SMTP; likewise.
    pub smtp: SocketAddr,
    /// The file of its database, created if it is not there.
    pub database: PathBuf,
    /// The folder of the mails, created if it is not there.
    pub folder: PathBuf,
    /// Its temper at the start (default: perfect health).
    pub temper: Temper,
    /// Whether a mail whose `Message-ID` its recipient has already is acknowledged and not kept again (default: yes).
    pub recognises_repeats: bool,
}

impl SinkConfig {
    /// A sink in perfect health on any free ports, with its books in `database` and its mails in `folder`.
    pub fn new(database: impl Into<PathBuf>, folder: impl Into<PathBuf>) -> Self {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        SinkConfig {
            address: anywhere,
            smtp: anywhere,
            database: database.into(),
            folder: folder.into(),
            temper: Temper::default(),
            recognises_repeats: true,
        }
    }
}

/// A running sink; dropping it stops it.
#[derive(Debug)]
pub struct Sink {
    service: RunningService,
    smtp: SocketAddr,
}

impl Sink {
    /// Starts a sink on a thread of its own; once this returns, it takes mails and answers.
    ///
    /// # Errors
    /// [`StartError`] when its temper is out of bounds, or an address, its database or its folder cannot be had.
    pub fn start(config: SinkConfig) -> Result<Sink, StartError> {
        let SinkConfig { address, smtp, database: path, folder, temper, recognises_repeats } = config;
        let mood = Mood::new(temper)?;
        shelf::open(&folder).map_err(|source| StartError::Folder { path: folder.clone(), source })?;
        let listener = listen(smtp).map_err(|source| StartError::Bind { address: smtp, source })?;
        let smtp = listener.local_addr()?;
        let service = server::start(
            address,
            path,
            |connection| connection.execute_batch(mails::SCHEMA),
            |database| {
                let folder = Arc::from(folder);
                let letterbox = Letterbox { database, mood, folder, recognises_repeats };
                tasks::spawn(smtp::serve(listener, letterbox.clone()));
                Router::new()
                    .route("/mails", get(list_mails))
                    .route("/closed", get(show_closed).put(put_closed))
                    .route("/temper", get(temper::show).put(temper::change))
                    .with_state(letterbox)
            },
        )?;
        Ok(Sink { service, smtp })
    }

    /// Where it takes mails.
    pub fn smtp_addr(&self) -> SocketAddr {
        self.smtp
    }

    /// Stops it as [`RunningService::stop`] does.
    pub fn stop(self) {
        self.service.stop();
    }
}

/// Where it answers, and its books.
impl Deref for Sink {
    type Target = RunningService;

    fn deref(&self) -> &RunningService {
        &self.service
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// What the sink did to whoever sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mishap {
    /// 421, and the connection closed.
    Busy,
    /// 451 for a recipient.
    Later,
    /// The connection closed after the message, which was not kept.
    HungUp,
    /// 451 for a message that was kept.
    Denied,
    /// The connection closed after the message, which was kept.
    Unacknowledged,
    /// 550, because the domain is closed.
    ClosedDomain,
}

impl Mishap {
    fn as_str(self) -> &'static str {
        match self {
            Mishap::Busy => "busy",
            Mishap::Later => "later",
            Mishap::HungUp => "hung_up",
            Mishap::Denied => "denied",
            Mishap::Unacknowledged => "unacknowledged",
            Mishap::ClosedDomain => "closed_domain",
        }
    }
}

/// Where the mails of all sessions go; cheap to clone.
#[derive(Clone)]
pub(crate) struct Letterbox {
    database: Database,
    pub(crate) mood: Mood,
    folder: Arc<std::path::Path>,
    recognises_repeats: bool,
}

impl FromRef<Letterbox> for Database {
    fn from_ref(letterbox: &Letterbox) -> Database {
        letterbox.database.clone()
    }
}

impl FromRef<Letterbox> for Mood {
    fn from_ref(letterbox: &Letterbox) -> Mood {
        letterbox.mood.clone()
    }
}

impl Letterbox {
    /// Keeps a message; once this returns, it outlives the process.
    pub(crate) async fn take(&self, message: Message, bytes: Vec<u8>) -> Result<(), Refusal> {
        let folder = self.folder.clone();
        let staged = tokio::task::spawn_blocking(move || shelf::stage(&folder, &bytes)).await;
        let staged = staged.map_err(io::Error::other)??;
        let recognises_repeats = self.recognises_repeats;
        self.database
            .run(move |connection| mails::take(connection, &message, staged, recognises_repeats))
            .await
    }

    pub(crate) async fn is_closed(&self, recipient: &str) -> Result<bool, Refusal> {
        let recipient = recipient.to_owned();
        self.database.run(move |connection| mails::is_closed(connection, &recipient)).await
    }

    pub(crate) async fn count(&self, mishap: Mishap) {
        // A count that cannot be written is no reason to be kinder.
        let _ = self.database.run(move |connection| mails::count_mishap(connection, mishap.as_str())).await;
    }
}

#[derive(Debug, Deserialize)]
struct Listing {
    /// Only the mails for this recipient.
    recipient: Option<String>,
    /// Only the mails after this one.
    #[serde(default)]
    after: i64,
    limit: Option<u32>,
}

/// `GET /mails?recipient=…&after=…&limit=…`: the totals over all mails, and the mails asked for, oldest first.
async fn list_mails(
    State(database): State<Database>,
    query: Result<Query<Listing>, QueryRejection>,
) -> Result<Answer, Refusal> {
    let Query(Listing { recipient, after, limit }) = query?;
    let told = database
        .run(move |connection| -> Result<_, Refusal> {
            let mut told = mails::totals(connection)?;
            let limit = limit.unwrap_or(LISTED_MAX);
            told["mails"] = json!(mails::list(connection, recipient.as_deref(), after, limit)?);
            Ok(told)
        })
        .await?;
    Ok(Answer::new(StatusCode::OK, &told))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Closed {
    domains: Vec<String>,
}

/// `GET /closed`: the domains whose mail is refused for good.
async fn show_closed(State(database): State<Database>) -> Result<Answer, Refusal> {
    let domains = database.run(mails::closed).await?;
    Ok(Answer::new(StatusCode::OK, &json!({ "domains": domains })))
}

/// `PUT /closed`: mail for these domains is refused from now on, and for no others; an empty list mends everything.
async fn put_closed(
    State(database): State<Database>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Answer, Refusal> {
    let Closed { domains } = parse(body)?;
    database.run(move |connection| mails::close(connection, &domains)).await?;
    show_closed(State(database)).await
}
