//! One command a file.

mod admin_client;
mod bans;
mod cache;
mod circuits;
mod config;
mod config_diff;
mod credentials;
mod dead_letters;
#[cfg(feature = "demo")]
mod demo;
mod erase;
mod explain;
mod explain_desk;
mod limits;
mod limits_desk;
mod operations;
mod print;
mod queue;
mod serve;
mod status;
mod up;
mod usage;
mod watch;

use clap::CommandFactory;

use crate::{
    arguments::{Arguments, Command},
    exit::Exit,
};

/// Runs the command that was asked for.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    match arguments.command {
        Command::Up(arguments) => up::run(arguments),
        Command::Serve(arguments) => serve::run(arguments),
        Command::Config(arguments) => config::run(arguments),
        Command::Operations(arguments) => operations::run(arguments),
        Command::DeadLetters(arguments) => dead_letters::run(arguments),
        Command::Queue(arguments) => queue::run(arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Cache(arguments) => cache::run(&arguments),
        Command::Circuits(arguments) => circuits::run(arguments),
        Command::Usage(arguments) => usage::run(&arguments),
        Command::Limits(arguments) => limits::run(arguments),
        Command::Bans(arguments) => bans::run(arguments),
        Command::Credentials(arguments) => credentials::run(arguments),
        Command::Reload(arguments) => status::reload(&arguments),
        Command::Status(arguments) => status::status(&arguments),
        Command::Health(arguments) => status::health(&arguments),
        #[cfg(feature = "demo")]
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "steadfast", &mut std::io::stdout());
            Ok(Exit::Ok)
        }
    }
}
