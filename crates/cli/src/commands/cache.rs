//! `steadfast cache`: what a running gateway keeps of answers, and forgetting it.

use steadfast_admin::api::{CacheView, PurgeRequest, PurgedView};

use super::{admin_client::AdminClient, print};
use crate::{
    arguments::{CacheArguments, CacheCommand, Output, PurgeArguments},
    exit::Exit,
};

pub(crate) fn run(arguments: &CacheArguments) -> anyhow::Result<Exit> {
    let client = AdminClient::new(arguments.admin.admin);
    match &arguments.command {
        CacheCommand::Show => show(&client, arguments.output)?,
        CacheCommand::Purge(what) => purge(&client, what, arguments.output)?,
    }
    Ok(Exit::Ok)
}

fn show(client: &AdminClient, output: Output) -> anyhow::Result<()> {
    let held: CacheView = client.get("/api/cache")?;
    match output {
        Output::Json => print::json(&held),
        Output::Ndjson => print::ndjson(std::slice::from_ref(&held)),
        Output::Table => print::data(&print::pairs(&[
            ("targets", held.targets.to_string()),
            ("bytes", held.bytes.to_string()),
            ("bytes at most", held.bytes_max.to_string()),
        ])),
    }
}

fn purge(client: &AdminClient, what: &PurgeArguments, output: Output) -> anyhow::Result<()> {
    let order = PurgeRequest {
        url: what.url.clone(),
        prefix: what.prefix.clone(),
        tag: what.tag.clone(),
        all: what.all,
        by: what.by.clone(),
    };
    let purged: PurgedView = client.post("/api/cache/purge", &order)?;
    match output {
        Output::Json => print::json(&purged),
        Output::Ndjson => print::ndjson(std::slice::from_ref(&purged)),
        Output::Table => print::data(&format!("{} answers forgotten\n", purged.purged)),
    }
}
