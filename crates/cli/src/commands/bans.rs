//! `steadfast bans`: who is kept out, through a running gateway's admin API.

use steadfast_admin::api::{BanRequest, BanView, LiftBanRequest};

use super::{
    admin_client::{AdminClient, query},
    print,
};
use crate::{
    arguments::{AddBanArguments, BansArguments, BansCommand, Output, RemoveBanArguments},
    exit::Exit,
};

/// Runs the command.
pub(crate) fn run(arguments: BansArguments) -> anyhow::Result<Exit> {
    let client = AdminClient::new(arguments.admin.admin);
    let output = arguments.output;
    match arguments.command {
        BansCommand::List { all } => list(&client, all, output)?,
        BansCommand::Add(AddBanArguments { subject, time, challenge, reason, by }) => {
            let order = BanRequest { subject, time, challenge, reason, by };
            let ban: BanView = client.post("/api/bans", &order)?;
            let until =
                ban.until.as_ref().map_or_else(|| "for ever".to_owned(), |until| format!("until {until}"));
            told(&ban, &format!("{} is banned {until}\n", ban.subject), output)?;
        }
        BansCommand::Remove(RemoveBanArguments { subject, reason, by }) => {
            let ban: BanView = client.post("/api/bans/lift", &LiftBanRequest { subject, reason, by })?;
            told(&ban, &format!("{} is let in again\n", ban.subject), output)?;
        }
    }
    Ok(Exit::Ok)
}

fn told(ban: &BanView, words: &str, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => print::json(ban),
        Output::Ndjson => print::ndjson(std::slice::from_ref(ban)),
        Output::Table => print::data(words),
    }
}

fn list(client: &AdminClient, all: bool, output: Output) -> anyhow::Result<()> {
    let bans: Vec<BanView> = client.get(&format!("/api/bans{}", query(&[("all", all.then_some("true"))])))?;
    match output {
        Output::Json => print::json(&bans),
        Output::Ndjson => print::ndjson(&bans),
        Output::Table => {
            print::data(&print::table(HEADING, &bans.iter().map(row).collect::<Vec<_>>()))?;
            if bans.is_empty() {
                print::message("Nobody is banned.");
            }
            Ok(())
        }
    }
}

const HEADING: [&str; 7] = ["SUBJECT", "STATE", "SOURCE", "SINCE", "UNTIL", "BY", "REASON"];

fn row(ban: &BanView) -> [String; 7] {
    let seconds = |time: &str| time.get(..19).unwrap_or(time).replace('T', " ");
    [
        ban.subject.clone(),
        ban.state.clone(),
        ban.source.clone(),
        seconds(&ban.began_at),
        ban.until.as_deref().map_or_else(|| "for ever".to_owned(), seconds),
        ban.by.clone(),
        ban.reason.clone(),
    ]
}
