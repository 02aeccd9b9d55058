//! `steadfast usage`: who still calls which version of an API, as a running gateway counted it.

use steadfast_admin::api::UsageView;

use super::{
    admin_client::{AdminClient, escaped},
    print,
};
use crate::{
    arguments::{Output, UsageArguments},
    exit::Exit,
};

const HEADING: [&str; 6] = ["VERSION", "CALLER", "REQUESTS", "REFUSED", "FIRST", "LAST"];

/// Runs the command.
pub(crate) fn run(arguments: &UsageArguments) -> anyhow::Result<Exit> {
    let client = AdminClient::new(arguments.admin.admin);
    let path = match &arguments.version {
        Some(version) => format!("/api/usage?version={}", escaped(version)),
        None => "/api/usage".to_owned(),
    };
    let usage: Vec<UsageView> = client.get(&path)?;
    match arguments.output {
        Output::Json => print::json(&usage)?,
        Output::Ndjson => print::ndjson(&usage)?,
        Output::Table => {
            print::data(&print::table(HEADING, &usage.iter().map(row).collect::<Vec<_>>()))?;
            if usage.is_empty() {
                print::message("Nobody called a version since the gateway was started.");
            }
        }
    }
    Ok(Exit::Ok)
}

fn row(line: &UsageView) -> [String; 6] {
    let caller = match (line.by.as_str(), &line.caller) {
        ("principal", Some(name)) => name.clone(),
        (by, Some(caller)) => format!("{by} {caller}"),
        (by, None) => format!("({by})"),
    };
    let (first, last) = (line.first_at.clone(), line.last_at.clone());
    [line.version.clone(), caller, line.requests.to_string(), line.refused.to_string(), first, last]
}
