//! `steadfast status`, `health` and `reload`: how a running gateway is, and telling it to read its config again.

use serde::Serialize;
use steadfast_admin::api::{CheckView, CountsView, HealthView, ReloadView};

use super::{admin_client::AdminClient, print};
use crate::{
    arguments::{AdminArguments, HealthArguments, Output, StatusArguments},
    exit::Exit,
};

/// How a running gateway is, as JSON has it.
#[derive(Serialize)]
struct Status {
    status: String,
    checks: Vec<CheckView>,
    /// `null` where the ledger does not say.
    counts: Option<CountsView>,
}

/// Says how a running gateway is.
pub(crate) fn status(arguments: &StatusArguments) -> anyhow::Result<Exit> {
    let client = AdminClient::new(arguments.admin.admin);
    let HealthView { status, checks } = client.look("/readyz?verbose")?.read()?;
    let status = Status { status, checks, counts: client.get("/api/counts").ok() };
    match arguments.output {
        Output::Json => print::json(&status)?,
        Output::Ndjson => print::ndjson(std::slice::from_ref(&status))?,
        Output::Table => print::data(&described(&status))?,
    }
    Ok(verdict(&status.status))
}

fn described(status: &Status) -> String {
    let mut facts = vec![("status", status.status.clone())];
    facts.extend(status.checks.iter().map(|check| {
        let mark = if check.ok { "ok" } else { "NOT OK" };
        (&*check.name, format!("{mark}: {} ({} ms)", check.detail, check.took_ms))
    }));
    if let Some(counts) = status.counts {
        facts.push(("claimed", counts.claimed.to_string()));
        facts.push(("in doubt", counts.in_doubt.to_string()));
        facts.push(("dead", counts.dead.to_string()));
        facts.push(("cases open", counts.cases_open.to_string()));
    }
    print::pairs(&facts)
}

/// Says whether a running gateway is alive, or ready.
pub(crate) fn health(arguments: &HealthArguments) -> anyhow::Result<Exit> {
    let client = AdminClient::new(arguments.admin.admin);
    let path = if arguments.ready { "/readyz?verbose" } else { "/livez" };
    let HealthView { status, checks } = client.look(path)?.read()?;
    print::data(&format!("{status}\n"))?;
    for check in checks.iter().filter(|check| !check.ok) {
        print::message(&format!("steadfast: {}: {}", check.name, print::printable(&check.detail)));
    }
    Ok(verdict(&status))
}

fn verdict(status: &str) -> Exit {
    if matches!(status, "ok" | "ready") { Exit::Ok } else { Exit::Failure }
}

/// Makes a running gateway read its config again.
pub(crate) fn reload(arguments: &AdminArguments) -> anyhow::Result<Exit> {
    let client = AdminClient::new(arguments.admin);
    let ReloadView { notes } = client.post("/api/reload", &serde_json::json!({}))?;
    print::message("The config was read again and is in force.");
    notes.iter().for_each(|note| print::message(&print::printable(note)));
    Ok(Exit::Ok)
}
