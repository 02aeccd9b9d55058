//! The ticket desk's way to the mail server: SMTP, said honestly.
//!
//! SMTP knows no idempotency. A message whose acceptance was lost has to be sent again, and only its `Message-ID` tells
//! the receiver that it is the same. So each message is offered once, and what is known afterwards is told exactly.

use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use lettre::message::header::ContentType;
use lettre::message::{Attachment, Body, Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, Message};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::tasks;

/// Who the desk says it is.
const DOMAIN: &str = "tickets.box-office.example";

/// An e-mail with a ticket in it.
#[derive(Debug)]
pub(crate) struct Letter<'a> {
    pub(crate) to: &'a Address,
    pub(crate) subject: String,
    pub(crate) text: String,
    /// The same for the same letter, however often it is sent.
    pub(crate) message_id: String,
    /// Milliseconds since the Unix epoch.
    pub(crate) at_ms: u64,
    pub(crate) file_name: String,
    pub(crate) pdf: Vec<u8>,
}

/// What the desk knows about a letter it offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MailOutcome {
    /// The mail server has it.
    Sent,
    /// The mail server does not have it, and asking again later may work.
    NotSent { why: String },
    /// The mail server refused it for good, as long as nobody changes anything.
    Refused { why: String },
    /// The mail server may or may not have it.
    Unknown { why: String },
}

/// The way to one mail server.
#[derive(Debug)]
pub(crate) struct Postman {
    server: SocketAddr,
    from: Mailbox,
    pdf: ContentType,
    /// For everything up to the letter, and again for the answer to it.
    patience: Duration,
}

impl Postman {
    pub(crate) fn new(server: SocketAddr, patience: Duration) -> Postman {
        let from = Address::new("desk", DOMAIN).expect("the desk's own address is one");
        let pdf = ContentType::parse("application/pdf").expect("this is a content type");
        Postman { server, from: Mailbox::new(Some("The ticket desk".into()), from), pdf, patience }
    }

    /// Offers one letter, once.
    pub(crate) async fn deliver(&self, letter: Letter<'_>) -> MailOutcome {
        let to = letter.to.clone();
        let message = match self.message(letter) {
            Ok(message) => message.formatted(),
            Err(error) => return MailOutcome::Refused { why: error.to_string() },
        };
        let mut connection = match timeout(self.patience, self.introduce(to)).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(outcome)) => return outcome,
            Err(_) => {
                return MailOutcome::NotSent { why: "the mail server did not answer in time".into() };
            }
        };
        let outcome = match timeout(self.patience, connection.message(&message)).await {
            Ok(Ok(_)) => MailOutcome::Sent,
            Ok(Err(error)) => after_the_letter(&error),
            Err(_) => MailOutcome::Unknown { why: "the mail server did not acknowledge in time".into() },
        };
        // A farewell that nobody waits for.
        let farewell = async move { connection.abort().await };
        tasks::spawn(timeout(self.patience, farewell));
        outcome
    }

    /// Everything up to the letter itself: until here, there is nothing that the mail server could have.
    async fn introduce(&self, to: Address) -> Result<AsyncSmtpConnection, MailOutcome> {
        let stream = TcpStream::connect(self.server).await.map_err(|error| MailOutcome::NotSent {
            why: format!("the mail server cannot be reached: {error}"),
        })?;
        // The end of a letter is written by itself, and would wait for the letter to be acknowledged.
        let _ = stream.set_nodelay(true);
        let name = ClientId::Domain(DOMAIN.into());
        let introduced = async {
            let mut connection = AsyncSmtpConnection::connect_with_transport(Box::new(stream), &name).await?;
            connection.command(Mail::new(Some(self.from.email.clone()), Vec::new())).await?;
            connection.command(Rcpt::new(to, Vec::new())).await?;
            connection.command(Data).await?;
            Ok(connection)
        };
        introduced.await.map_err(|error| before_the_letter(&error))
    }

    fn message(&self, letter: Letter<'_>) -> Result<Message, lettre::error::Error> {
        // Bytes, so that it travels as base64 whatever it looks like: mail servers may rewrite what they take for text.
        let page = Attachment::new(letter.file_name).body(Body::new(letter.pdf), self.pdf.clone());
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, letter.to.clone()))
            .subject(letter.subject)
            .message_id(Some(letter.message_id))
            .date(UNIX_EPOCH + Duration::from_millis(letter.at_ms))
            .multipart(MultiPart::mixed().singlepart(SinglePart::plain(letter.text)).singlepart(page))
    }
}

/// What an error says before a letter was begun.
fn before_the_letter(error: &SmtpError) -> MailOutcome {
    let why = error.to_string();
    if error.is_permanent() { MailOutcome::Refused { why } } else { MailOutcome::NotSent { why } }
}

/// What an error says once the whole letter was on its way. Only an answer that refuses it says that it was not kept.
fn after_the_letter(error: &SmtpError) -> MailOutcome {
    let why = error.to_string();
    if error.is_permanent() {
        MailOutcome::Refused { why }
    } else if error.is_transient() {
        MailOutcome::NotSent { why }
    } else {
        MailOutcome::Unknown { why }
    }
}
