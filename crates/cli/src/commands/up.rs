//! `steadfast up --to URL`: a gateway in front of one API, without a config.

use steadfast_gateway::config::{self, UpOptions};

use super::serve;
use crate::{
    arguments::UpArguments,
    exit::{Exit, failed},
    logging,
};

/// Runs the command.
pub(crate) fn run(arguments: UpArguments) -> anyhow::Result<Exit> {
    logging::start();
    let options = UpOptions {
        to: arguments.to.clone(),
        listen: Some(arguments.listen.to_string()),
        admin: Some(arguments.admin.to_string()),
        ledger: Some(arguments.ledger.clone()),
        workers: arguments.workers.map(|workers| workers.to_string()),
        repeatable_for: arguments.repeatable_for.clone(),
        refused: arguments.refused.clone(),
        timeout: Some(arguments.timeout.clone()),
    };
    let invalid = |errors: config::ConfigErrors| failed(Exit::ConfigInvalid, errors.to_string());
    let config = config::for_up(&options).map_err(invalid)?.config;
    serve::block_on(serve::serve(config, None, None, |running| announce(&arguments, running)))
}

/// Says where it serves and what it assumed, on stderr: stdout is the access log's.
#[expect(clippy::print_stderr, reason = "the first words to the person who started it")]
fn announce(arguments: &UpArguments, running: &serve::Running) {
    let proxy = running.address();
    let repeatable = match &arguments.repeatable_for {
        Some(time) => format!("repeatable for {time}: an unknown outcome may run again with the same key"),
        None => "not repeatable: an unknown outcome is held in doubt, never run again on a guess".into(),
    };
    eprintln!(
        "steadfast {version}

  proxy   http://{proxy}  →  {to}
  admin   http://{admin}
  ledger  {ledger}

Assumed: callers may be anonymous; an Idempotency-Key is optional on POST and PATCH;
the API is {repeatable}.

The same POST twice; the second is a replay (see Idempotent-Replayed: true):

  for i in 1 2; do curl -i http://{proxy}/ -H 'Idempotency-Key: \"try-1\"' -d hello; done
",
        version = env!("CARGO_PKG_VERSION"),
        to = arguments.to,
        admin = arguments.admin,
        ledger = arguments.ledger,
    );
}
