//! Starts the services as a process of their own, to be killed by whoever tests what survives.

use std::fs::File;
use std::io::{Read, Write, stdin, stdout};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread::Builder;

use box_office::{
    Bank, BankConfig, BoxOffice, Event, OfficeConfig, RunningService, Sink, SinkConfig, Temper, TicketDesk,
    TicketDeskConfig,
};
use clap::{Args, Parser, Subcommand};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// A box office and its bank, real services without idempotency of their own; a ticket desk, and the sink of its mails.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT comes or, where standard input is a pipe, until that closes. Prints one line of
    /// JSON with the addresses and databases when ready.
    Serve(Box<Serve>),
}

#[derive(Debug, Args)]
struct Serve {
    /// Where the box office listens.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    office: SocketAddr,
    /// Where the bank listens.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    bank: SocketAddr,
    /// Where the ticket desk listens.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    ticket_desk: SocketAddr,
    /// Where the sink of the desk's mails listens for questions, by HTTP.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    sink: SocketAddr,
    /// Where the sink listens for mails, by SMTP.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    smtp: SocketAddr,
    /// The folder of the databases, the tickets and the mails, created if it is not there.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where the box office sends its charges: the bank itself, unless a gateway stands between.
    #[arg(long, value_name = "URL")]
    bank_url: Option<String>,
    /// Where the ticket desk sends its mails: the sink itself, unless something stands between.
    #[arg(long, value_name = "ADDRESS")]
    mail_server: Option<SocketAddr>,
    /// The bank's temper, as for `PUT /temper`, such as '{"seed":7,"lose_ratio":0.2}'.
    #[arg(long, value_name = "JSON", value_parser = json::<Temper>)]
    temper: Option<Temper>,
    /// The ticket desk's temper, likewise.
    #[arg(long, value_name = "JSON", value_parser = json::<Temper>)]
    ticket_desk_temper: Option<Temper>,
    /// The sink's temper, likewise.
    #[arg(long, value_name = "JSON", value_parser = json::<Temper>)]
    sink_temper: Option<Temper>,
    /// The events on sale, such as '[{"id":"gala","title":"Gala","seats":9,"price_cents":100}]'.
    #[arg(long, value_name = "JSON", value_parser = json::<Events>)]
    events: Option<Events>,
    /// Honour idempotency keys in the box office and the bank; the ticket desk always does.
    #[arg(long)]
    honours_keys: bool,
    /// Start the box office alone: everything is free, and no card is taken.
    #[arg(long, conflicts_with_all = [
        "bank", "bank_url", "temper", "ticket_desk", "ticket_desk_temper", "mail_server", "sink", "smtp", "sink_temper"
    ])]
    single: bool,
}

#[derive(Debug, Clone, serde::Deserialize)]
struct Events(Vec<Event>);

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(text)
}

fn main() -> ExitCode {
    let Command::Serve(serve) = Cli::parse().command;
    match run(*serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nowhere is left to report to if standard error is closed.
            let _ = writeln!(std::io::stderr(), "box-office: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(serve: Serve) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::create_dir_all(&serve.data)?;
    // Before anything listens, so that a signal sent on the ready line is not missed.
    let ended = end()?;
    let beside = (!serve.single).then(|| Beside::start(&serve)).transpose()?;
    let defaults = OfficeConfig::new(serve.data.join("office.db"));
    let office = BoxOffice::start(OfficeConfig {
        address: serve.office,
        bank: beside.as_ref().map(|beside| serve.bank_url.unwrap_or_else(|| beside.bank.url())),
        events: serve.events.map_or_else(|| defaults.events.clone(), |Events(events)| events),
        honours_keys: serve.honours_keys,
        ..defaults
    })?;
    let ready = serde_json::json!({
        "office": office.addr(),
        "office_database": office.database(),
        "bank": beside.as_ref().map(|beside| beside.bank.addr()),
        "bank_database": beside.as_ref().map(|beside| beside.bank.database()),
        "ticket_desk": beside.as_ref().map(|beside| beside.ticket_desk.addr()),
        "ticket_desk_database": beside.as_ref().map(|beside| beside.ticket_desk.database()),
        "sink": beside.as_ref().map(|beside| beside.sink.addr()),
        "sink_database": beside.as_ref().map(|beside| beside.sink.database()),
        "smtp": beside.as_ref().map(|beside| beside.sink.smtp_addr()),
    });
    writeln!(stdout(), "{ready}")?;
    stdout().flush()?;
    ended.recv()?;
    office.stop();
    drop(beside);
    Ok(())
}

/// The services beside the box office; dropping them stops them, the desk before its sink.
struct Beside {
    bank: RunningService,
    ticket_desk: RunningService,
    sink: Sink,
}

impl Beside {
    fn start(serve: &Serve) -> Result<Beside, box_office::StartError> {
        let bank = Bank::start(BankConfig {
            address: serve.bank,
            temper: serve.temper.unwrap_or_default(),
            honours_keys: serve.honours_keys,
            ..BankConfig::new(serve.data.join("bank.db"))
        })?;
        let sink = Sink::start(SinkConfig {
            address: serve.sink,
            smtp: serve.smtp,
            temper: serve.sink_temper.unwrap_or_default(),
            ..SinkConfig::new(serve.data.join("sink.db"), serve.data.join("mails"))
        })?;
        let mail_server = serve.mail_server.unwrap_or_else(|| sink.smtp_addr());
        let books = serve.data.join("ticket-desk.db");
        let ticket_desk = TicketDesk::start(TicketDeskConfig {
            address: serve.ticket_desk,
            temper: serve.ticket_desk_temper.unwrap_or_default(),
            ..TicketDeskConfig::new(books, serve.data.join("tickets"), mail_server)
        })?;
        Ok(Beside { bank, ticket_desk, sink })
    }
}

/// Hears of the first reason to end.
fn end() -> std::io::Result<mpsc::Receiver<()>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let on_signal = sender.clone();
    Builder::new().name("signals".into()).spawn(move || {
        if signals.forever().next().is_some() {
            let _ = on_signal.try_send(());
        }
    })?;
    // Only a pipe: a background process often has /dev/null there, which is at its end from the start.
    let input = File::from(stdin().as_fd().try_clone_to_owned()?);
    if input.metadata()?.file_type().is_fifo() {
        Builder::new().name("stdin".into()).spawn(move || {
            let mut input = input;
            let mut ignored = [0; 256];
            while matches!(input.read(&mut ignored), Ok(1..)) {}
            let _ = sender.try_send(());
        })?;
    } else {
        // The receiver lasts as long as the signal thread's sender.
        drop(sender);
    }
    Ok(receiver)
}
