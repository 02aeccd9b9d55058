//! `steadfast config`: writing, checking and showing configs.

use std::{
    io::{ErrorKind, Write},
    path::Path,
};

use anyhow::Context;
use steadfast_gateway::config::{self, Environment, Loaded, Overrides};

use steadfast_ledger::Keys;

use super::{config_diff, serve::OWN_VARIABLES};
use crate::{
    arguments::{ConfigArguments, ConfigCommand},
    exit::{Exit, failed},
};

/// Runs the command.
pub(crate) fn run(arguments: ConfigArguments) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout();
    match arguments.command {
        ConfigCommand::Init { file } => {
            init(&file)?;
            writeln!(out, "{}", file.display())?;
        }
        ConfigCommand::Check { config } => {
            load(&config)?;
            writeln!(out, "{} is valid", config.display())?;
        }
        ConfigCommand::Show { config, effective: true } => {
            write!(out, "{}", config::effective(&load(&config)?.config))?;
        }
        ConfigCommand::Show { config, effective: false } => {
            load(&config)?;
            let text = std::fs::read_to_string(&config).with_context(|| config.display().to_string())?;
            write!(out, "{text}")?;
        }
        ConfigCommand::Diff(arguments) => return config_diff::run(&arguments),
        ConfigCommand::Schema => {
            serde_json::to_writer_pretty(&mut out, &config::schema())?;
            writeln!(out)?;
        }
        ConfigCommand::NewKey => {
            let key = Keys::new_line().context("the operating system gives no random bytes")?;
            writeln!(out, "{key}")?;
        }
    }
    Ok(Exit::Ok)
}

fn init(file: &Path) -> anyhow::Result<()> {
    let created = std::fs::OpenOptions::new().write(true).create_new(true).open(file);
    match created {
        Ok(mut created) => {
            created.write_all(config::starter().as_bytes()).with_context(|| file.display().to_string())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(failed(
            Exit::NotAllowed,
            format!("{} is there already, and is not overwritten: name another file", file.display()),
        )),
        Err(error) => Err(error).with_context(|| format!("{} cannot be written", file.display())),
    }
}

fn load(file: &Path) -> anyhow::Result<Loaded> {
    load_in(file, Environment::of_process())
}

/// Reads a config in an environment, and says on stderr what is odd about it.
#[expect(clippy::print_stderr, reason = "warnings are messages: they go beside the data, to the terminal")]
pub(super) fn load_in(file: &Path, environment: Environment) -> anyhow::Result<Loaded> {
    let environment = environment.with_known_elsewhere(OWN_VARIABLES);
    let loaded = config::load(file, &environment, &Overrides::default())
        .map_err(|errors| failed(Exit::ConfigInvalid, errors.to_string()))?;
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    Ok(loaded)
}
