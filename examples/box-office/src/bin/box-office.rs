//! Starts the box office and its bank as a process of their own, to be killed by whoever tests what survives.

use std::fs::File;
use std::io::{Read, Write, stdin, stdout};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread::Builder;

use box_office::{Bank, BankConfig, BankTemper, BoxOffice, Event, OfficeConfig};
use clap::{Args, Parser, Subcommand};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// A box office and its bank: two real services without idempotency of their own.
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
    /// The folder of the two databases, created if it is not there.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where the box office sends its charges: the bank itself, unless a gateway stands between.
    #[arg(long, value_name = "URL")]
    bank_url: Option<String>,
    /// The bank's temper, as for `PUT /temper`, such as '{"seed":7,"lose_ratio":0.2}'.
    #[arg(long, value_name = "JSON", value_parser = json::<BankTemper>)]
    temper: Option<BankTemper>,
    /// The events on sale, such as '[{"id":"gala","title":"Gala","seats":9,"price_cents":100}]'.
    #[arg(long, value_name = "JSON", value_parser = json::<Events>)]
    events: Option<Events>,
    /// Honour idempotency keys, in both services.
    #[arg(long)]
    honours_keys: bool,
    /// Start the box office alone: everything is free, and no card is taken.
    #[arg(long, conflicts_with_all = ["bank", "bank_url", "temper"])]
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
    let bank = (!serve.single)
        .then(|| {
            Bank::start(BankConfig {
                address: serve.bank,
                temper: serve.temper.unwrap_or_default(),
                honours_keys: serve.honours_keys,
                ..BankConfig::new(serve.data.join("bank.db"))
            })
        })
        .transpose()?;
    let defaults = OfficeConfig::new(serve.data.join("office.db"));
    let office = BoxOffice::start(OfficeConfig {
        address: serve.office,
        bank: bank.as_ref().map(|bank| serve.bank_url.unwrap_or_else(|| bank.url())),
        events: serve.events.map_or_else(|| defaults.events.clone(), |Events(events)| events),
        honours_keys: serve.honours_keys,
        ..defaults
    })?;
    let ready = serde_json::json!({
        "office": office.addr(),
        "office_database": office.database(),
        "bank": bank.as_ref().map(|bank| bank.addr()),
        "bank_database": bank.as_ref().map(|bank| bank.database()),
    });
    writeln!(stdout(), "{ready}")?;
    stdout().flush()?;
    ended.recv()?;
    office.stop();
    if let Some(bank) = bank {
        bank.stop();
    }
    Ok(())
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
