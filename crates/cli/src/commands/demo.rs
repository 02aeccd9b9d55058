//! `steadfast demo`: the main job on real input. A box office and its bank, which execute whatever arrives, stand
//! behind a gateway that is killed again and again, while clumsy customers ask through a network that loses
//! answers. In between one reseller asks for far more than it may, of which the others must notice nothing, and half-way
//! the bank has a bad minute, through which the gateway carries whoever asks. In the end three books are compared: the
//! ledger, the box office's and the bank's.

mod bad_minute;
mod books;
mod chaos;
mod client;
mod dice;
mod gateway;
mod intent;
mod noise;
mod progress;
mod report;
mod resellers;
mod scenes;
mod tally;
mod traffic;
mod verdict;
mod watchers;
mod world;

use std::{
    io::{IsTerminal, Write},
    sync::Arc,
    time::Duration,
};

use steadfast_gateway::config::parse_duration;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};

use self::{
    books::Books,
    gateway::Gateway,
    intent::Stream,
    progress::Progress,
    report::{Finding, LostAnswers, Report, Shown},
    resellers::Resellers,
    scenes::Scenes,
    tally::Tally,
    traffic::{Heard, Traffic},
    watchers::Watchers,
    world::World,
};
use super::{print, serve};
use crate::{
    arguments::{DemoArguments, Output},
    exit::{Exit, failed},
};

/// The longest run: what is heard is kept in memory until the end.
const TIME_MAX: Duration = Duration::from_secs(10 * 3600);

/// Runs the command.
pub(crate) fn run(arguments: &DemoArguments) -> anyhow::Result<Exit> {
    let time = parse_duration(&arguments.duration)?;
    anyhow::ensure!(time <= TIME_MAX, "--for is at most {} h", TIME_MAX.as_secs() / 3600);
    let seed = arguments.seed.unwrap_or_else(dice::fresh_seed);
    serve::block_on(play(arguments, time, seed))
}

/// Starts the world, lets it run, and says what became of it.
async fn play(arguments: &DemoArguments, time: Duration, seed: u64) -> anyhow::Result<Exit> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    say("Starting a bank, a box office, a gateway, and a network that loses answers …");
    let mut world = tokio::select! {
        world = World::start(seed, arguments.ledger.as_deref()) => world?,
        () = stopped(&mut interrupt, &mut terminate) => return Err(failed(Exit::Interrupted, "interrupted before anything ran")),
    };
    introduce(&world, time, seed);
    let tally = Arc::new(Tally::default());
    let stream = Stream { seed, run: dice::fresh_name() };
    let played = tokio::select! {
        played = perform(&mut world, &stream, time, &tally, &mut interrupt, &mut terminate) => played,
        // A second signal does not wait for the books.
        () = stopped_twice() => Err(failed(Exit::Interrupted, "interrupted before the books were compared")),
    };
    match played {
        Ok(report) => {
            let passed = report.verdict == Finding::Passed;
            let kept = world.end(report.verdict == Finding::Violated).await;
            print_report(&report, arguments.output)?;
            if let Some(folder) = kept {
                say(&format!("All databases and logs are kept in {}", folder.display()));
            }
            Ok(if passed { Exit::Ok } else { Exit::Failure })
        }
        Err(error) => {
            if let Some(folder) = world.end(true).await {
                say(&format!("All databases and logs are kept in {}", folder.display()));
            }
            Err(error)
        }
    }
}

/// Traffic and chaos until the time is up or a signal comes; then the comparison.
async fn perform(
    world: &mut World,
    stream: &Stream,
    time: Duration,
    tally: &Arc<Tally>,
    interrupt: &mut Signal,
    terminate: &mut Signal,
) -> anyhow::Result<Report> {
    let keys = resellers::enrol(world.gateway.admin(), &stream.run, time).await?;
    let begun = Instant::now();
    let progress = Progress::start(Arc::clone(tally), begun + time);
    let traffic = Traffic::start(world.toward_gateway.addr(), stream.clone(), Arc::clone(tally));
    let mut scenes = Scenes::within(time, begun);
    let watching = scenes.map(|scenes| {
        let gateway = world.gateway.address();
        (Watchers::start(gateway, scenes.bad_minute), Resellers::start(gateway, keys, scenes))
    });
    tokio::select! {
        raged = trouble(world, stream.seed, time, tally, scenes) => raged?,
        () = stopped(interrupt, terminate) => {
            // Half a bad minute says nothing, and customers who end their retries need the bank.
            if let Some(scenes) = scenes.take() {
                scenes.bad_minute.is_over(&world.bank, &world.toward_bank, chaos::bank_temper(stream.seed), tally).await?;
            }
            come_back(&mut world.gateway, tally).await?;
        }
    }
    let shown = match (scenes, watching) {
        (Some(scenes), Some((watchers, resellers))) => Shown {
            noise: Some(resellers.finish(scenes).await?),
            bad_minute: Some(watchers.finish(scenes.bad_minute, tally).await?),
        },
        _ => Shown::default(),
    };
    let seconds = begun.elapsed().as_secs();
    tally.tell("the doors are closed; customers end their retries");
    let heard: Vec<Heard> = traffic.finish().await?;
    tally.tell("comparing three books, once the ledger has no attempt under way (or its lease is over)");
    let books = Books::read(world, &stream.prefix()).await?;
    drop(progress);
    let lost = LostAnswers {
        to_customers: world.toward_gateway.stats().faults.replies_dropped,
        to_gateway: world.toward_office.stats().faults.replies_dropped,
    };
    Ok(Report::new(stream.seed, seconds, tally, lost, &verdict::judge(&heard, &books), shown))
}

/// Everything that goes wrong on purpose, until the time is up.
async fn trouble(
    world: &mut World,
    seed: u64,
    time: Duration,
    tally: &Tally,
    scenes: Option<Scenes>,
) -> anyhow::Result<()> {
    let World { gateway, bank, toward_bank, .. } = world;
    let happens = async {
        match scenes {
            Some(Scenes { bad_minute, .. }) => {
                bad_minute.happen(bank, toward_bank, chaos::bank_temper(seed), tally).await
            }
            None => Ok(()),
        }
    };
    tokio::try_join!(chaos::rage(gateway, seed, time, tally, scenes), happens).map(|_| ())
}

/// Starts the gateway where the signal came between a kill and a restart.
async fn come_back(gateway: &mut Gateway, tally: &Tally) -> anyhow::Result<()> {
    gateway.start().await?;
    if tally.restarts.get() < tally.kills.get() {
        tally.restarts.add_one();
    }
    Ok(())
}

/// The first SIGINT or SIGTERM.
async fn stopped(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// The second SIGINT.
async fn stopped_twice() {
    match signal(SignalKind::interrupt()) {
        Ok(mut interrupt) => {
            interrupt.recv().await;
            interrupt.recv().await;
        }
        // The first one ends the run all the same.
        Err(_) => std::future::pending().await,
    }
}

/// Says what was started, and where.
fn introduce(world: &World, time: Duration, seed: u64) {
    let gateway = &world.gateway;
    say(&format!(
        "
  bank          {bank}, slow and moody, and in for a bad minute
  box office    http://{office}, executes whatever arrives and ignores keys
  gateway       http://{address}, between proxies that lose answers
  its admin     http://{admin}
  its config    {config}
  its ledger    {ledger}
  its logs      {access_log}
                {messages}
  customers     16, who double-click, lose patience and try again
  resellers     33, who read the list of events; one of them without end
  traffic       {seconds} s, seed {seed}

Watch it from another terminal:
  steadfast operations --admin {admin} list --state in_doubt
  steadfast status --admin {admin}
",
        bank = world.bank.url(),
        office = world.office.addr(),
        address = gateway.address(),
        admin = gateway.admin(),
        config = gateway.config().display(),
        ledger = gateway.ledger_to_show(),
        access_log = gateway.access_log().display(),
        messages = gateway.messages().display(),
        seconds = time.as_secs_f64(),
    ));
}

/// Says something to the person at the terminal: stdout is the report's.
fn say(words: &str) {
    // Nobody is left to tell where stderr is closed.
    let _ = writeln!(std::io::stderr(), "{words}");
}

fn print_report(report: &Report, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => print::json(report),
        Output::Ndjson => print::ndjson(std::slice::from_ref(report)),
        Output::Table => {
            let coloured = std::io::stdout().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|no_color| no_color.is_empty());
            print::data(&report.table(coloured))
        }
    }
}
