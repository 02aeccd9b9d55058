//! `steadfast operations`: listing, showing, settling and (in `erase.rs`) erasing operations, through a running gateway's admin API.

use std::{
    io::{BufRead, IsTerminal, Write},
    path::Path,
};

use anyhow::Context;
use steadfast_admin::api::{
    AnswerView, OperationDetail, OperationView, PageView, SettleAnswer, SettleRequest, SettledView,
};

use super::{
    admin_client::{AdminClient, escaped, query},
    erase, print,
};
use crate::{
    arguments::{OperationsArguments, OperationsCommand, Output, SettleArguments},
    exit::{Exit, failed},
};

/// How many operations are asked for at once.
const PAGE_ROWS: u32 = 500;
/// How much of a key, a path or a route a table shows.
const CELL_CHARS: usize = 40;

/// Runs the command.
pub(crate) fn run(arguments: OperationsArguments) -> anyhow::Result<Exit> {
    let client = AdminClient::new(arguments.admin.admin);
    let output = arguments.output;
    match arguments.command {
        OperationsCommand::List { state, route, key, cases, limit } => {
            let wanted = Wanted { state, route, key, cases };
            list(&client, &wanted, limit, output)?;
        }
        OperationsCommand::Get { id, body } => get(&client, &id, body, output)?,
        OperationsCommand::Settle(arguments) => settle(&client, &arguments, output)?,
        OperationsCommand::Erase(arguments) => erase::run(&client, &arguments, output)?,
    }
    Ok(Exit::Ok)
}

/// Which operations are wanted.
struct Wanted {
    state: Option<String>,
    route: Option<String>,
    key: Option<String>,
    cases: bool,
}

impl Wanted {
    fn page(&self, limit: u32, before: Option<&str>) -> String {
        let limit = limit.to_string();
        query(&[
            ("state", self.state.as_deref()),
            ("route", self.route.as_deref()),
            ("key", self.key.as_deref()),
            ("cases", self.cases.then_some("true")),
            ("limit", Some(&limit)),
            ("before", before),
        ])
    }
}

fn list(client: &AdminClient, wanted: &Wanted, limit: u32, output: Output) -> anyhow::Result<()> {
    let mut found: Vec<OperationView> = Vec::new();
    let (mut left, mut before) = (limit, None::<String>);
    while left > 0 {
        let rows = wanted.page(left.min(PAGE_ROWS), before.as_deref());
        let page: PageView = client.get(&format!("/api/operations{rows}"))?;
        left = left.saturating_sub(u32::try_from(page.operations.len()).unwrap_or(u32::MAX));
        found.extend(page.operations);
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    match output {
        Output::Json => print::json(&found)?,
        Output::Ndjson => print::ndjson(&found)?,
        Output::Table => {
            print::data(&print::table(LIST_HEADING, &found.iter().map(list_row).collect::<Vec<_>>()))?
        }
    }
    if output == Output::Table {
        match (found.is_empty(), before) {
            (true, _) => print::message("There are no such operations."),
            (false, Some(_)) => {
                print::message(&format!("There are more: these are the {limit} newest (--limit)."))
            }
            (false, None) => {}
        }
    }
    Ok(())
}

const LIST_HEADING: [&str; 8] = ["ID", "STATE", "METHOD", "PATH", "KEY", "ATTEMPTS", "ANSWER", "CHANGED"];

fn list_row(operation: &OperationView) -> [String; 8] {
    let cases = if operation.cases_open > 0 { " (case open)" } else { "" };
    [
        operation.id.clone(),
        format!("{}{cases}", operation.state),
        operation.method.clone(),
        print::shortened(&operation.path, CELL_CHARS),
        print::shortened(&operation.key, CELL_CHARS),
        operation.attempt_count.to_string(),
        or_dash(operation.answer_status),
        operation.changed_at.clone(),
    ]
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn get(client: &AdminClient, id: &str, body: bool, output: Output) -> anyhow::Result<()> {
    let asked = query(&[("body", body.then_some("true"))]);
    let operation: OperationDetail = client.get(&format!("/api/operations/{}{asked}", escaped(id)))?;
    match output {
        Output::Json => print::json(&operation),
        Output::Ndjson => print::ndjson(&[operation]),
        Output::Table => print::data(&described(&operation, body)),
    }
}

pub(super) fn described(detail: &OperationDetail, with_body: bool) -> String {
    let operation = &detail.operation;
    let doubt = if operation.doubtful { " (an attempt's outcome is unknown)" } else { "" };
    let mut facts = vec![
        ("id", operation.id.clone()),
        ("state", format!("{}{doubt}", operation.state)),
        ("request", format!("{} {}", operation.method, operation.path)),
        ("route", operation.route.clone()),
        ("namespace", operation.namespace.clone()),
        ("key", operation.key.clone()),
        ("principal", or_dash(operation.principal.as_ref())),
        ("credential", or_dash(operation.credential.as_ref())),
        ("mode", operation.mode.clone()),
        ("created", operation.created_at.clone()),
        ("changed", operation.changed_at.clone()),
        ("expires", or_dash(operation.expires_at.as_ref())),
        ("cases open", operation.cases_open.to_string()),
    ];
    if let Some(settlement) = &operation.settlement {
        let found = if settlement.happened { "it happened" } else { "it did not happen" };
        facts.push(("settled", format!("{found}, says {} at {}", settlement.by, settlement.at)));
        facts.push(("reason", settlement.reason.clone()));
    }
    let mut text = print::pairs(&facts);
    if !detail.attempts.is_empty() {
        let rows: Vec<_> = detail.attempts.iter().map(attempt_row).collect();
        text.push('\n');
        text.push_str(&print::table(
            ["ATTEMPT", "BEGAN", "ENDED", "END", "CAUSE", "STATUS", "EVIDENCE", "REQUEST"],
            &rows,
        ));
    }
    if let Some(answer) = &detail.answer {
        text.push('\n');
        text.push_str(&described_answer(answer, with_body));
    }
    text
}

fn attempt_row(attempt: &steadfast_admin::api::AttemptView) -> [String; 8] {
    [
        attempt.number.to_string(),
        attempt.began_at.clone(),
        or_dash(attempt.ended_at.as_ref()),
        attempt.end.clone().unwrap_or_else(|| "under way".to_owned()),
        or_dash(attempt.cause.as_ref()),
        or_dash(attempt.status),
        if attempt.evidence { "yes" } else { "-" }.to_owned(),
        or_dash(attempt.request_id.as_ref()),
    ]
}

fn described_answer(answer: &AnswerView, with_body: bool) -> String {
    let mut text = format!("ANSWER {}\n", answer.status);
    for (name, value) in &answer.headers {
        text.push_str(&format!("{}: {}\n", print::printable(name), print::printable(value)));
    }
    match (answer.body_bytes, &answer.body, &answer.body_base64) {
        (None, _, _) => text.push_str("(its body was not kept)\n"),
        (Some(_), Some(body), _) => {
            let lines = body.lines().map(|line| format!("{}\n", print::printable(line)));
            text.push('\n');
            text.extend(lines);
        }
        (Some(bytes), None, Some(_)) => {
            text.push_str(&format!("({bytes} bytes that are not text; -o json has them in base 64)\n"));
        }
        (Some(bytes), None, None) if with_body => text.push_str(&format!("({bytes} bytes)\n")),
        (Some(bytes), None, None) => text.push_str(&format!("({bytes} bytes; --body shows them)\n")),
    }
    text
}

pub(super) fn settle(
    client: &AdminClient,
    arguments: &SettleArguments,
    output: Output,
) -> anyhow::Result<()> {
    let path = format!("/api/operations/{}/settle", escaped(&arguments.id));
    let mut order = SettleRequest {
        happened: arguments.happened,
        reason: arguments.reason.clone(),
        by: arguments.by.clone(),
        answer: answer(arguments)?,
        dry_run: true,
    };
    // What would come of it is asked first: nobody is made to confirm what is then refused.
    let planned: SettledView = client.post(&path, &order)?;
    if arguments.dry_run {
        return told(&planned, "would become", output);
    }
    if !arguments.yes {
        confirm(client, arguments, &planned)?;
    }
    order.dry_run = false;
    let settled: SettledView = client.post(&path, &order)?;
    told(&settled, "is now", output)
}

fn told(settled: &SettledView, verb: &str, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => print::json(settled),
        Output::Ndjson => print::ndjson(std::slice::from_ref(settled)),
        Output::Table => print::data(&format!("{} {verb} {}\n", settled.id, settled.state)),
    }
}

/// Shows what is about to be written, and waits for a yes.
#[expect(clippy::print_stderr, reason = "a question to the person at the terminal")]
fn confirm(client: &AdminClient, arguments: &SettleArguments, planned: &SettledView) -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() {
        return Err(failed(
            Exit::Usage,
            "nobody can be asked whether to settle it: say --yes, or --dry-run to see what would be done",
        ));
    }
    let detail: OperationDetail = client.get(&format!("/api/operations/{}", escaped(&arguments.id)))?;
    let found = if arguments.happened { "it took effect" } else { "it took NO effect" };
    let follows = match (arguments.happened, arguments.answer_status) {
        (true, Some(status)) => format!("replays will answer {status}"),
        (true, None) => "its key stays taken; a replay will say that the answer is not known".to_owned(),
        (false, _) => "the next request with its key EXECUTES".to_owned(),
    };
    eprintln!("{}", described(&detail, false));
    eprint!("You say that {found}. It becomes {}, and {follows}. Settle it? [y/N] ", planned.state);
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    if matches!(line.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(failed(Exit::Failure, "nothing was changed"))
}

/// The answer that replays will show, of a type that is guessed from its body.
fn answer(arguments: &SettleArguments) -> anyhow::Result<Option<SettleAnswer>> {
    let Some(status) = arguments.answer_status else { return Ok(None) };
    let body = arguments.answer_body.as_deref().map(read).transpose()?.unwrap_or_default();
    let kind = match std::str::from_utf8(&body) {
        Ok("") => None,
        Ok(text) if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() => Some("application/json"),
        Ok(_) => Some("text/plain; charset=utf-8"),
        Err(_) => Some("application/octet-stream"),
    };
    let headers = kind.map(|kind| ("content-type".to_owned(), kind.to_owned())).into_iter().collect();
    Ok(Some(SettleAnswer::new(status, headers, &body)))
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))
}
