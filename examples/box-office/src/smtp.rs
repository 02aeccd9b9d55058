//! The receiving side of SMTP (RFC 5321), as far as a sink needs it, with the faults of a bad day.
//!
//! A line ends with CRLF and with nothing else; so a message ends where its sender says, whatever is in it.

use std::collections::BTreeSet;
use std::io;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::mails::Message;
use crate::sink::{Letterbox, Mishap};
use crate::tasks;
use crate::temper::{Fate, Turn};

/// Sessions at once; more wait in the kernel's queue.
const SESSIONS_MAX: usize = 256;
/// How long a session may take in all.
const SESSION_TIME_MAX: Duration = Duration::from_secs(300);
/// The longest command, and the piece of a message that is read at once (RFC 5321 asks for 512 and 1,000).
const LINE_BYTES_MAX: usize = 2048;
/// The largest message; the greeting says so.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Recipients of one message at most (RFC 5321 asks for 100).
const RECIPIENTS_MAX: usize = 100;
/// The longest address (RFC 5321: 256 with its brackets).
const ADDRESS_BYTES_MAX: usize = 254;
/// The pause after a failed accept (out of file descriptors), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Takes sessions until its task is ended.
pub(crate) async fn serve(listener: StdListener, letterbox: Letterbox) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let sessions = Arc::new(Semaphore::new(SESSIONS_MAX));
    loop {
        let slot = sessions.clone().acquire_owned().await;
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let letterbox = letterbox.clone();
        tasks::spawn(async move {
            let session = Session { stream: BufReader::new(stream), letterbox, greeted: false, letter: None };
            // A session that ends in an error is one whose other side hung up, or talks about something else.
            let _ = timeout(SESSION_TIME_MAX, session.run()).await;
            drop(slot);
        });
    }
}

/// What a line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Command {
    Hello {
        extended: bool,
    },
    Mail {
        sender: String,
        size: usize,
    },
    Recipient(String),
    Data,
    Reset,
    Noop,
    Quit,
    /// The command is known; what comes with it makes no sense.
    Malformed,
    Unknown,
}

impl Command {
    fn parse(line: &str) -> Command {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => Command::Hello { extended: true },
            "HELO" => Command::Hello { extended: false },
            "MAIL" => mail_command(rest).unwrap_or(Command::Malformed),
            "RCPT" => match path_after("TO:", rest) {
                Some((recipient, "")) if is_recipient(recipient) => Command::Recipient(recipient.to_owned()),
                _ => Command::Malformed,
            },
            "DATA" => Command::Data,
            "RSET" => Command::Reset,
            "NOOP" => Command::Noop,
            "QUIT" => Command::Quit,
            _ => Command::Unknown,
        }
    }
}

fn mail_command(rest: &str) -> Option<Command> {
    let (sender, parameters) = path_after("FROM:", rest)?;
    let mut size = 0;
    for parameter in parameters.split_ascii_whitespace() {
        let (name, value) = parameter.split_once('=')?;
        match name.to_ascii_uppercase().as_str() {
            "SIZE" => size = value.parse().ok()?,
            "BODY" => {}
            _ => return None,
        }
    }
    Some(Command::Mail { sender: sender.to_owned(), size })
}

/// The address in `FROM:<address> parameters`, and the parameters.
fn path_after<'a>(label: &str, rest: &'a str) -> Option<(&'a str, &'a str)> {
    let found = rest.get(..label.len())?;
    let path = rest.get(label.len()..)?.trim_start().strip_prefix('<')?;
    let (address, parameters) = path.split_once('>')?;
    let fits = found.eq_ignore_ascii_case(label) && address.len() <= ADDRESS_BYTES_MAX;
    fits.then(|| (address, parameters.trim()))
}

fn is_recipient(address: &str) -> bool {
    let plain = address.chars().all(|letter| letter.is_ascii_graphic());
    plain && address.rsplit_once('@').is_some_and(|(name, domain)| !name.is_empty() && !domain.is_empty())
}

/// A letter on its way in: who it is from, who it is for, and what will become of it.
#[derive(Debug)]
struct Letter {
    sender: String,
    recipients: BTreeSet<String>,
    fate: Fate,
}

/// What happens to a letter that its fate keeps out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusing {
    /// 421 at once, and the connection closed.
    Busy,
    /// 451 for each recipient.
    Later,
    /// The whole message is read; then the connection is closed without a word.
    HangUp,
}

impl Letter {
    /// How this letter is kept out, if it is: the three ways take turns.
    fn refusing(&self) -> Option<Refusing> {
        let way = match self.fate.draw % 3 {
            0 => Refusing::Busy,
            1 => Refusing::Later,
            _ => Refusing::HangUp,
        };
        (self.fate.turn == Turn::Refuse).then_some(way)
    }
}

/// Whether a session goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    GoOn,
    Close,
}

struct Session {
    stream: BufReader<TcpStream>,
    letterbox: Letterbox,
    greeted: bool,
    letter: Option<Letter>,
}

impl Session {
    async fn run(mut self) -> io::Result<()> {
        // Answers are small and somebody waits for each of them.
        let _ = self.stream.get_ref().set_nodelay(true);
        self.say("220 sink.box-office.example ESMTP").await?;
        while let Some(command) = self.hear().await? {
            if self.obey(command).await? == Then::Close {
                break;
            }
        }
        Ok(())
    }

    async fn obey(&mut self, command: Command) -> io::Result<Then> {
        match command {
            Command::Hello { extended } => {
                (self.greeted, self.letter) = (true, None);
                if extended {
                    let size = format!("250-SIZE {MESSAGE_BYTES_MAX}");
                    self.say(&format!("250-sink.box-office.example\r\n{size}\r\n250 8BITMIME")).await?;
                } else {
                    self.say("250 sink.box-office.example").await?;
                }
            }
            Command::Mail { .. } if !self.greeted => self.say("503 5.5.1 say hello first").await?,
            Command::Mail { .. } if self.letter.is_some() => {
                self.say("503 5.5.1 one letter at a time").await?;
            }
            Command::Mail { size, .. } if size > MESSAGE_BYTES_MAX => self.say(TOO_LARGE).await?,
            Command::Mail { sender, .. } => return self.open_letter(sender).await,
            Command::Recipient(recipient) => self.address_letter(recipient).await?,
            Command::Data => return self.take_letter().await,
            Command::Reset => {
                self.letter = None;
                self.say("250 2.0.0 forgotten").await?;
            }
            Command::Noop => self.say("250 2.0.0 still here").await?,
            Command::Quit => {
                self.say("221 2.0.0 farewell").await?;
                return Ok(Then::Close);
            }
            Command::Malformed => self.say("501 5.5.4 that makes no sense").await?,
            Command::Unknown => self.say("500 5.5.2 what is that?").await?,
        }
        Ok(Then::GoOn)
    }

    async fn open_letter(&mut self, sender: String) -> io::Result<Then> {
        let fate = self.letterbox.mood.befalls().await;
        let letter = Letter { sender, recipients: BTreeSet::new(), fate };
        if letter.refusing() == Some(Refusing::Busy) {
            self.letterbox.count(Mishap::Busy).await;
            self.say("421 4.3.2 too busy, come back later").await?;
            return Ok(Then::Close);
        }
        self.letter = Some(letter);
        self.say("250 2.1.0 go on").await?;
        Ok(Then::GoOn)
    }

    async fn address_letter(&mut self, recipient: String) -> io::Result<()> {
        let Some(letter) = &mut self.letter else { return self.say("503 5.5.1 who is it from?").await };
        if letter.refusing() == Some(Refusing::Later) {
            self.letterbox.count(Mishap::Later).await;
            return self.say("451 4.3.0 not now, try again").await;
        }
        if letter.recipients.len() >= RECIPIENTS_MAX {
            return self.say("452 4.5.3 too many recipients").await;
        }
        match self.letterbox.is_closed(&recipient).await {
            Ok(true) => {
                self.letterbox.count(Mishap::ClosedDomain).await;
                self.say("550 5.1.2 this domain takes no mail").await
            }
            Ok(false) => {
                letter.recipients.insert(recipient);
                self.say("250 2.1.5 known here").await
            }
            Err(_) => self.say(NOT_KEPT).await,
        }
    }

    async fn take_letter(&mut self) -> io::Result<Then> {
        let Some(letter) = self.letter.take_if(|letter| !letter.recipients.is_empty()) else {
            self.say("503 5.5.1 who is it for?").await?;
            return Ok(Then::GoOn);
        };
        self.say("354 write, and end with a dot on a line of its own").await?;
        let Some(bytes) = self.read_message().await? else {
            self.say(TOO_LARGE).await?;
            return Ok(Then::GoOn);
        };
        if letter.refusing() == Some(Refusing::HangUp) {
            self.letterbox.count(Mishap::HungUp).await;
            return Ok(Then::Close);
        }
        let message = Message::new(letter.sender, letter.recipients, &bytes);
        if self.letterbox.take(message, bytes).await.is_err() {
            self.say(NOT_KEPT).await?;
            return Ok(Then::GoOn);
        }
        match letter.fate.turn {
            Turn::Answer | Turn::Refuse => self.say("250 2.0.0 it is here").await?,
            Turn::FailAfter => {
                self.letterbox.count(Mishap::Denied).await;
                self.say(NOT_KEPT).await?;
            }
            Turn::Lose => {
                self.letterbox.count(Mishap::Unacknowledged).await;
                return Ok(Then::Close);
            }
        }
        Ok(Then::GoOn)
    }

    /// A message up to its dot, without the dots that were doubled; `None` if it was too large to keep.
    async fn read_message(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut message = Vec::new();
        let mut too_large = false;
        let mut at_line_start = true;
        loop {
            let piece = self.read_piece().await?;
            if piece.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let ends_line = piece.ends_with(b"\r\n");
            if at_line_start && piece == b".\r\n" {
                return Ok((!too_large).then_some(message));
            }
            let text = if at_line_start && piece.starts_with(b".") { &piece[1..] } else { &piece };
            too_large |= message.len() + text.len() > MESSAGE_BYTES_MAX;
            if !too_large {
                message.extend_from_slice(text);
            }
            at_line_start = ends_line;
        }
    }

    /// The next command; `None` when the other side has gone, or talks as nobody may.
    async fn hear(&mut self) -> io::Result<Option<Command>> {
        let line = self.read_piece().await?;
        if line.is_empty() {
            return Ok(None);
        }
        let Some(line) = line.strip_suffix(b"\r\n") else {
            self.say("500 5.5.2 this is no line").await?;
            return Ok(None);
        };
        Ok(Some(Command::parse(&String::from_utf8_lossy(line))))
    }

    /// A line with its end, or as much of it as is read at once; nothing at the end of the connection.
    async fn read_piece(&mut self) -> io::Result<Vec<u8>> {
        let mut piece = Vec::new();
        (&mut self.stream).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut piece).await?;
        Ok(piece)
    }

    async fn say(&mut self, line: &str) -> io::Result<()> {
        self.stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).await
    }
}

const TOO_LARGE: &str = "552 5.3.4 too large";
const NOT_KEPT: &str = "451 4.3.0 it could not be kept, try again";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn understands_what_senders_say() {
        let mail = |sender: &str, size| Command::Mail { sender: sender.into(), size };
        for (line, command) in [
            ("EHLO there", Command::Hello { extended: true }),
            ("helo there", Command::Hello { extended: false }),
            ("MAIL FROM:<desk@example.com>", mail("desk@example.com", 0)),
            ("mail from: <> SIZE=17 BODY=8BITMIME", mail("", 17)),
            ("RCPT TO:<ada@example.com>", Command::Recipient("ada@example.com".into())),
            ("DATA", Command::Data),
            ("rset", Command::Reset),
            ("NOOP whatever", Command::Noop),
            ("QUIT", Command::Quit),
            ("VRFY ada", Command::Unknown),
            ("", Command::Unknown),
        ] {
            assert_eq!(Command::parse(line), command, "{line}");
        }
    }

    #[test]
    fn says_of_nonsense_that_it_is_nonsense() {
        let long = format!("RCPT TO:<{}@example.com>", "a".repeat(254));
        for line in [
            "MAIL",
            "MAIL FROM:desk@example.com",
            "MAIL FROM:<desk@example.com",
            "MAIL FROM:<desk@example.com> SIZE=big",
            "MAIL FROM:<desk@example.com> SMTPUTF8",
            "RCPT TO:<>",
            "RCPT TO:<ada>",
            "RCPT TO:<ada @example.com>",
            "RCPT FROM:<ada@example.com>",
            "RCPT TO:<ada@example.com> NOTIFY=NEVER",
            &long,
        ] {
            assert_eq!(Command::parse(line), Command::Malformed, "{line}");
        }
    }
}
