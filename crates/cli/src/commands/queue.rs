//! `steadfast queue`: what each route has to do in the background, letting it rest, and calling operations off, through a
//! running gateway's admin API.

use steadfast_admin::api::{CancelRequest, ChangedView, PauseRequest, PauseView, QueueView};

use super::{admin_client::AdminClient, print};
use crate::{
    arguments::{ByHandArguments, Output, QueueArguments, QueueCommand},
    exit::{Exit, code_of},
};

/// Runs the command.
pub(crate) fn run(arguments: QueueArguments) -> anyhow::Result<Exit> {
    let client = AdminClient::new(arguments.admin.admin);
    let output = arguments.output;
    match arguments.command {
        QueueCommand::List => list(&client, output)?,
        QueueCommand::Pause { route, time, by_hand: ByHandArguments { reason, by } } => {
            let order = PauseRequest { route, time, reason, by };
            let pause: PauseView = client.post("/api/queue/pause", &order)?;
            told(&pause, &format!("{} rests {}\n", pause.route, until(&pause)), output)?;
        }
        QueueCommand::Resume { route, by_hand: ByHandArguments { reason, by } } => {
            let order = PauseRequest { route, time: None, reason, by };
            let pause: PauseView = client.post("/api/queue/resume", &order)?;
            told(&pause, &format!("{} goes on\n", pause.route), output)?;
        }
        QueueCommand::Cancel { ids, by_hand } => return cancel(&client, &ids, &by_hand, output),
    }
    Ok(Exit::Ok)
}

fn told(pause: &PauseView, words: &str, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => print::json(pause),
        Output::Ndjson => print::ndjson(std::slice::from_ref(pause)),
        Output::Table => print::data(words),
    }
}

fn until(pause: &PauseView) -> String {
    pause.until.as_ref().map_or_else(|| "until it is resumed".to_owned(), |until| format!("until {until}"))
}

fn list(client: &AdminClient, output: Output) -> anyhow::Result<()> {
    let queues: Vec<QueueView> = client.get("/api/queue")?;
    match output {
        Output::Json => print::json(&queues),
        Output::Ndjson => print::ndjson(&queues),
        Output::Table => {
            print::data(&print::table(HEADING, &queues.iter().map(row).collect::<Vec<_>>()))?;
            if queues.is_empty() {
                print::message("No route lets anything happen in the background.");
            }
            Ok(())
        }
    }
}

const HEADING: [&str; 7] = ["ROUTE", "DUE", "LATER", "OLDEST", "STATE", "BY", "REASON"];

fn row(queue: &QueueView) -> [String; 7] {
    let dash = || "-".to_owned();
    let (state, by, reason) = match &queue.pause {
        Some(pause) => (format!("rests {}", until(pause)), pause.by.clone(), pause.reason.clone()),
        None if queue.configured => ("goes on".to_owned(), dash(), dash()),
        None => ("nobody sends it: not in the config".to_owned(), dash(), dash()),
    };
    [
        queue.route.clone(),
        queue.due.to_string(),
        queue.later.to_string(),
        queue.oldest_due_seconds.map_or_else(dash, |seconds| format!("{seconds}s")),
        state,
        by,
        reason,
    ]
}

/// Calls each of these operations off; one that is refused keeps no other from it.
fn cancel(
    client: &AdminClient,
    ids: &[String],
    by_hand: &ByHandArguments,
    output: Output,
) -> anyhow::Result<Exit> {
    let (mut cancelled, mut exit) = (Vec::new(), Exit::Ok);
    for id in ids {
        let ByHandArguments { reason, by } = by_hand.clone();
        match client.post::<ChangedView>("/api/queue/cancel", &CancelRequest { id: id.clone(), reason, by }) {
            Ok(view) => cancelled.push(view),
            Err(error) => {
                print::message(&format!("{id}: {error:#}"));
                exit = code_of(&error);
            }
        }
    }
    match output {
        Output::Json => print::json(&cancelled)?,
        Output::Ndjson => print::ndjson(&cancelled)?,
        Output::Table => {
            for view in &cancelled {
                let note = view.note.as_ref().map_or_else(String::new, |note| format!(" ({note})"));
                print::data(&format!("{} is {}{note}\n", view.id, view.state))?;
            }
        }
    }
    Ok(exit)
}
