//! `steadfast config diff`: what a reload would change in a running gateway, before it does.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;
use steadfast_admin::api::{ConfigView, OverriddenView};
use steadfast_gateway::config::{self, Difference, Environment};

use super::{admin_client::AdminClient, config::load_in, print};
use crate::{
    arguments::{ConfigDiffArguments, Output},
    exit::{Exit, code_of, failed},
};

/// The longest value that a table shows.
const VALUE_CHARS_MAX: usize = 40;

/// The differences, as JSON has them.
#[derive(Serialize)]
struct Differing {
    file: String,
    differences: Vec<Difference>,
    overridden: Vec<OverriddenView>,
}

/// Runs the command.
pub(crate) fn run(arguments: &ConfigDiffArguments) -> anyhow::Result<Exit> {
    let running = running(&AdminClient::new(arguments.admin.admin))?;
    let file = arguments.config.clone().or_else(|| running.file.map(PathBuf::from)).ok_or_else(|| {
        let message = "the running gateway was started without a config file: name one with --config";
        failed(Exit::Usage, message)
    })?;
    let said = load_in(&file, Environment::of_process().without_overrides())?.config;
    let differences = config::diff(&running.toml, &config::effective(&said)).map_err(|error| {
        failed(Exit::Unreachable, format!("the gateway's config cannot be read: {error}"))
    })?;
    let is_overridden = |path: &str| running.overridden.iter().find(|one| one.path == path);
    let (without_effect, differences): (Vec<_>, Vec<_>) =
        differences.into_iter().partition(|one| is_overridden(&one.path).is_some());
    let file = file.display().to_string();
    match arguments.output {
        Output::Table => {
            print::data(&table(&differences))?;
            for OverriddenView { path, by } in
                without_effect.iter().filter_map(|one| is_overridden(&one.path))
            {
                print::message(&format!(
                    "`{path}` differs too, but the gateway has it from {by}, whatever {file} says"
                ));
            }
            if differences.is_empty() {
                print::message(&format!("{file} says what is in force"));
            }
        }
        Output::Ndjson => print::ndjson(&differences)?,
        Output::Json => {
            print::json(&Differing {
                file,
                differences: differences.clone(),
                overridden: running.overridden,
            })?;
        }
    }
    Ok(if differences.is_empty() { Exit::Ok } else { Exit::Failure })
}

/// The config in force. That it cannot be had is never said by the exit code that says that something differs.
fn running(client: &AdminClient) -> anyhow::Result<ConfigView> {
    client.get("/api/config").map_err(|error| match code_of(&error) {
        Exit::Failure => failed(Exit::Unreachable, format!("{error:#}")),
        _ => error,
    })
}

fn table(differences: &[Difference]) -> String {
    let shown = |value: &Option<Value>| match value {
        Some(value) => print::shortened(&value.to_string(), VALUE_CHARS_MAX),
        None => "-".to_owned(),
    };
    let rows: Vec<_> = differences
        .iter()
        .map(|one| {
            let when = if one.needs_restart { "after a restart" } else { "on reload" };
            [one.path.clone(), shown(&one.running), shown(&one.file), when.to_owned()]
        })
        .collect();
    print::table(["SETTING", "RUNNING", "FILE", "TAKES EFFECT"], &rows)
}
