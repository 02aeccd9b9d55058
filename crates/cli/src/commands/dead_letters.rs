//! `steadfast dead-letters`: looking at dead letters, sending them round again, editing and removing them, through a running
//! gateway's admin API.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::Context;
use serde::Serialize;
use steadfast_admin::api::{
    ByHandRequest, ChangedView, EditLetterRequest, EditedView, LetterDetail, LetterGroupView, LetterQuery,
    LetterView, LettersView, PurgeLettersRequest, PurgedLettersView, RedriveRequest, RedriveView, RunView,
};

use super::{
    admin_client::{AdminClient, escaped, query},
    operations, print,
};
use crate::{
    arguments::{
        ByHandArguments, DeadLettersArguments, DeadLettersCommand, EditLetterArguments,
        LetterFilterArguments, Output, PurgeLettersArguments, RedriveArguments,
    },
    exit::{Exit, code_of, failed},
};

/// How many letters are asked for at once.
const PAGE_ROWS: u32 = 500;
/// How much of a key or a path a table shows.
const CELL_CHARS: usize = 40;

/// Runs the command.
pub(crate) fn run(arguments: DeadLettersArguments) -> anyhow::Result<Exit> {
    let client = AdminClient::new(arguments.admin.admin);
    let output = arguments.output;
    match arguments.command {
        DeadLettersCommand::List { filter, limit, each } => {
            let of = read_filter(&filter);
            if each || of.route.is_some() {
                list(&client, &of, limit, output)?
            } else {
                groups(&client, &of, output)?
            }
        }
        DeadLettersCommand::Show { id, body } => show(&client, &id, body, output)?,
        DeadLettersCommand::Redrive(arguments) => return redrive(&client, &arguments, output),
        DeadLettersCommand::Purge(arguments) => return purge(&client, &arguments, output),
        DeadLettersCommand::Edit(arguments) => edit(&client, &arguments, output)?,
        DeadLettersCommand::Settle(arguments) => operations::settle(&client, &arguments, output)?,
        DeadLettersCommand::Runs => runs(&client, output)?,
        DeadLettersCommand::Stop { run, by_hand } => turn(&client, run, "stop", by_hand, output)?,
        DeadLettersCommand::Resume { run, by_hand } => turn(&client, run, "resume", by_hand, output)?,
    }
    Ok(Exit::Ok)
}

fn read_filter(filter: &LetterFilterArguments) -> LetterQuery {
    let LetterFilterArguments { route, end, cause, status, older_than, in_doubt, not_in_doubt } =
        filter.clone();
    let in_doubt = in_doubt.then_some(true).or(not_in_doubt.then_some(false));
    LetterQuery { route, end, cause, status, older_than, in_doubt }
}

/// The filter as a query, with what else there is.
fn written(of: &LetterQuery, more: &[(&str, Option<&str>)]) -> String {
    let status = of.status.map(|status| status.to_string());
    let in_doubt = of.in_doubt.map(|in_doubt| in_doubt.to_string());
    let mut parameters = vec![
        ("route", of.route.as_deref()),
        ("end", of.end.as_deref()),
        ("cause", of.cause.as_deref()),
        ("status", status.as_deref()),
        ("older_than", of.older_than.as_deref()),
        ("in_doubt", in_doubt.as_deref()),
    ];
    parameters.extend_from_slice(more);
    query(&parameters)
}

fn told<T: Serialize>(value: &T, output: Output, words: impl FnOnce() -> String) -> anyhow::Result<()> {
    match output {
        Output::Json => print::json(value),
        Output::Ndjson => print::ndjson(std::slice::from_ref(value)),
        Output::Table => print::data(&words()),
    }
}

fn groups(client: &AdminClient, of: &LetterQuery, output: Output) -> anyhow::Result<()> {
    let groups: Vec<LetterGroupView> = client.get(&format!("/api/dead-letters{}", written(of, &[])))?;
    match output {
        Output::Json => print::json(&groups),
        Output::Ndjson => print::ndjson(&groups),
        Output::Table => {
            print::data(&group_table(&groups))?;
            if groups.is_empty() {
                print::message("There are no such dead letters.");
            }
            Ok(())
        }
    }
}

fn group_table(groups: &[LetterGroupView]) -> String {
    let heading = ["ROUTE", "COUNT", "IN DOUBT", "END", "CAUSE", "STATUS", "OLDEST", "NEWEST"];
    let row = |group: &LetterGroupView| {
        [
            group.route.clone(),
            group.count.to_string(),
            group.in_doubt.to_string(),
            group.end.clone(),
            or_dash(group.cause.as_ref()),
            or_dash(group.status),
            seconds(&group.oldest_at),
            seconds(&group.newest_at),
        ]
    };
    print::table(heading, &groups.iter().map(row).collect::<Vec<_>>())
}

fn list(client: &AdminClient, of: &LetterQuery, limit: u32, output: Output) -> anyhow::Result<()> {
    let mut found: Vec<LetterView> = Vec::new();
    let (mut left, mut after) = (limit, None::<String>);
    while left > 0 {
        let rows = left.min(PAGE_ROWS).to_string();
        let asked = written(of, &[("limit", Some(&rows)), ("after", after.as_deref())]);
        let page: LettersView = client.get(&format!("/api/dead-letters/list{asked}"))?;
        left = left.saturating_sub(u32::try_from(page.letters.len()).unwrap_or(u32::MAX));
        found.extend(page.letters);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    match output {
        Output::Json => return print::json(&found),
        Output::Ndjson => return print::ndjson(&found),
        Output::Table => {}
    }
    let heading = ["ID", "ROUTE", "METHOD", "PATH", "KEY", "ATTEMPTS", "END", "IN DOUBT", "DEAD FOR"];
    let row = |letter: &LetterView| {
        let operation = &letter.operation;
        [
            operation.id.clone(),
            operation.route.clone(),
            operation.method.clone(),
            print::shortened(&operation.path, CELL_CHARS),
            print::shortened(&operation.key, CELL_CHARS),
            operation.attempt_count.to_string(),
            ended(&letter.end, letter.cause.as_deref(), letter.status),
            if operation.doubtful { "yes" } else { "no" }.to_owned(),
            for_long(letter.dead_for_seconds),
        ]
    };
    print::data(&print::table(heading, &found.iter().map(row).collect::<Vec<_>>()))?;
    match (found.is_empty(), after) {
        (true, _) => print::message("There are no such dead letters."),
        (false, Some(_)) => {
            print::message(&format!("There are more: these are the {limit} oldest (--limit)."))
        }
        (false, None) => {}
    }
    Ok(())
}

/// How an attempt ended, in few words.
fn ended(end: &str, cause: Option<&str>, status: Option<u16>) -> String {
    let status = status.map(|status| status.to_string());
    [Some(end), cause, status.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn for_long(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn seconds(time: &str) -> String {
    time.get(..19).unwrap_or(time).replace('T', " ")
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn show(client: &AdminClient, id: &str, body: bool, output: Output) -> anyhow::Result<()> {
    let asked = query(&[("body", body.then_some("true"))]);
    let letter: LetterDetail = client.get(&format!("/api/dead-letters/{}{asked}", escaped(id)))?;
    told(&letter, output, || described(&letter))
}

fn described(letter: &LetterDetail) -> String {
    let operation = &letter.operation;
    let doubt = if operation.doubtful { " (nobody knows whether it took effect)" } else { "" };
    let redrive =
        letter.redrive_refused.as_ref().map_or_else(|| "can be".to_owned(), |why| format!("no: {why}"));
    let mut text = print::pairs(&[
        ("id", operation.id.clone()),
        ("state", format!("{}{doubt}", operation.state)),
        ("route", operation.route.clone()),
        ("namespace", operation.namespace.clone()),
        ("key", operation.key.clone()),
        ("principal", or_dash(operation.principal.as_ref())),
        ("accepted", operation.created_at.clone()),
        ("changed", operation.changed_at.clone()),
        ("tries", format!("{} of {}, none after {}", letter.tries, letter.tries_max, letter.give_up_at)),
        ("in order", if letter.ordered { "yes" } else { "no" }.to_owned()),
        ("redriven", redrive),
    ]);
    let heading = ["ATTEMPT", "BEGAN", "ENDED", "END", "EXCERPT"];
    let row = |attempt: &steadfast_admin::api::AttemptView| {
        let end = attempt.end.as_deref().unwrap_or("under way");
        [
            attempt.number.to_string(),
            attempt.began_at.clone(),
            or_dash(attempt.ended_at.as_ref()),
            ended(end, attempt.cause.as_deref(), attempt.status),
            print::shortened(&or_dash(attempt.excerpt.as_ref()), 2 * CELL_CHARS),
        ]
    };
    text.push('\n');
    text.push_str(&print::table(heading, &letter.attempts.iter().map(row).collect::<Vec<_>>()));
    text.push_str(&described_request(letter));
    text
}

fn described_request(letter: &LetterDetail) -> String {
    let request = &letter.request;
    let Some(target) = &request.target else {
        return "\nREQUEST\n(it cannot be decrypted: the key with which it was encrypted is gone)\n"
            .to_owned();
    };
    let mut text = format!("\nREQUEST\n{} {}\n", letter.operation.method, print::printable(target));
    for (name, value) in &request.headers {
        text.push_str(&format!("{}: {}\n", print::printable(name), print::printable(value)));
    }
    let bytes = request.body_bytes;
    match (&request.body, &request.body_base64) {
        (Some(body), _) => {
            if !body.is_empty() {
                text.push('\n');
            }
            text.extend(body.lines().map(|line| format!("{}\n", print::printable(line))));
            if !request.body_is_whole {
                text.push_str(&format!("(the beginning of {bytes} bytes; --body shows them)\n"));
            }
        }
        (None, Some(_)) => {
            text.push_str(&format!("({bytes} bytes that are not text; -o json has them in base 64)\n"));
        }
        (None, None) => text.push_str(&format!("({bytes} bytes that are not text)\n")),
    }
    text
}

fn redrive(client: &AdminClient, arguments: &RedriveArguments, output: Output) -> anyhow::Result<Exit> {
    let of = read_filter(&arguments.filter);
    let (reason, by) = (arguments.reason.clone().unwrap_or_default(), arguments.by.clone());
    require_one(&arguments.ids, &of)?;
    if !arguments.ids.is_empty() {
        if arguments.dry_run || arguments.canary > 0 || arguments.rate.is_some() {
            let message = "--dry-run, --canary and --rate are for a filter: what is named by id goes at once";
            return Err(failed(Exit::Usage, message));
        }
        return each(client, &arguments.ids, "redrive", &ByHandRequest { reason, by }, output);
    }
    let order = RedriveRequest {
        of,
        rate: arguments.rate.clone(),
        canary: arguments.canary,
        dry_run: arguments.dry_run,
        reason,
        by,
    };
    let view: RedriveView = client.post("/api/dead-letters/redrive", &order)?;
    told(&view, output, || {
        let total = match &view.run {
            None => format!("{} would be sent round again\n", view.matched),
            Some(run) => format!(
                "run {} sends {} round again: see steadfast dead-letters runs\n",
                run.id, view.matched
            ),
        };
        format!("{}{total}", group_table(&view.groups))
    })?;
    Ok(Exit::Ok)
}

/// Either ids or a filter say which letters are meant.
fn require_one(ids: &[String], of: &LetterQuery) -> anyhow::Result<()> {
    match (ids.is_empty(), of.is_empty()) {
        (true, true) => Err(failed(
            Exit::Usage,
            "say which dead letters are meant: by id, or by --route, --end, --cause, --status, --older-than, --in-doubt or \
             --not-in-doubt",
        )),
        (false, false) => {
            Err(failed(Exit::Usage, "say which dead letters are meant by id or by a filter, not by both"))
        }
        (true, false) | (false, true) => Ok(()),
    }
}

/// Changes each of these operations; one that is refused keeps no other from being changed.
fn each(
    client: &AdminClient,
    ids: &[String],
    change: &str,
    order: &ByHandRequest,
    output: Output,
) -> anyhow::Result<Exit> {
    let (mut changed, mut exit) = (Vec::new(), Exit::Ok);
    for id in ids {
        match client.post::<ChangedView>(&format!("/api/dead-letters/{}/{change}", escaped(id)), order) {
            Ok(view) => changed.push(view),
            Err(error) => {
                print::message(&format!("{id}: {error:#}"));
                exit = code_of(&error);
            }
        }
    }
    match output {
        Output::Json => print::json(&changed)?,
        Output::Ndjson => print::ndjson(&changed)?,
        Output::Table => {
            let lines = changed.iter().map(|view| format!("{} is now {}\n", view.id, view.state));
            print::data(&lines.collect::<String>())?;
        }
    }
    Ok(exit)
}

fn purge(client: &AdminClient, arguments: &PurgeLettersArguments, output: Output) -> anyhow::Result<Exit> {
    let of = read_filter(&arguments.filter);
    let (reason, by) = (arguments.reason.clone().unwrap_or_default(), arguments.by.clone());
    require_one(&arguments.ids, &of)?;
    if !arguments.ids.is_empty() {
        if arguments.dry_run {
            return Err(failed(Exit::Usage, "--dry-run is for a filter: what is named by id is known"));
        }
        return each(client, &arguments.ids, "purge", &ByHandRequest { reason, by }, output);
    }
    let mut order = PurgeLettersRequest { of, from: None, dry_run: true, reason, by };
    let planned: PurgedLettersView = client.post("/api/dead-letters/purge", &order)?;
    if arguments.dry_run {
        told(&planned, output, || purged_words(&planned, "would be removed"))?;
        return Ok(Exit::Ok);
    }
    if !arguments.yes {
        confirm(&planned)?;
    }
    order.dry_run = false;
    let mut sum = PurgedLettersView::default();
    loop {
        let step: PurgedLettersView = client.post("/api/dead-letters/purge", &order)?;
        sum.purged += step.purged;
        sum.in_doubt += step.in_doubt;
        order.from = step.next;
        if order.from.is_none() {
            break;
        }
    }
    told(&sum, output, || purged_words(&sum, "removed"))?;
    Ok(Exit::Ok)
}

fn purged_words(view: &PurgedLettersView, verb: &str) -> String {
    let stay = match view.in_doubt {
        0 => String::new(),
        doubtful => format!("; {doubtful} in doubt stay until they are settled"),
    };
    format!("{} dead letters {verb}{stay}\n", view.purged)
}

/// Says what is about to go, and waits for a yes.
#[expect(clippy::print_stderr, reason = "a question to the person at the terminal")]
fn confirm(planned: &PurgedLettersView) -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() {
        return Err(failed(
            Exit::Usage,
            "nobody can be asked whether to remove them: say --yes, or --dry-run to see how many that would be",
        ));
    }
    eprint!(
        "{} dead letters lose their requests and attempts for good; {} in doubt stay. Their keys stay taken. Remove? [y/N] ",
        planned.purged, planned.in_doubt
    );
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    if matches!(line.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(failed(Exit::Failure, "nothing was changed"))
}

fn edit(client: &AdminClient, arguments: &EditLetterArguments, output: Output) -> anyhow::Result<()> {
    let mut order = EditLetterRequest {
        headers: arguments.header.iter().map(|header| read_header(header)).collect::<Result<_, _>>()?,
        remove_headers: arguments.remove_header.clone(),
        purge: arguments.purge,
        reason: arguments.by_hand.reason.clone(),
        by: arguments.by_hand.by.clone(),
        ..EditLetterRequest::default()
    };
    if let Some(file) = &arguments.body {
        let body = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
        (order.body, order.body_base64) = EditLetterRequest::body_of(body);
    }
    let edited: EditedView =
        client.post(&format!("/api/dead-letters/{}/edit", escaped(&arguments.id)), &order)?;
    told(&edited, output, || {
        let note = edited.note.as_ref().map_or_else(String::new, |note| format!("{note}\n"));
        format!(
            "{} is {}, with the key {}\n{} is {}\n{note}",
            edited.id, edited.state, edited.key, edited.original, edited.original_state
        )
    })
}

fn read_header(text: &str) -> anyhow::Result<(String, String)> {
    let parts = text.split_once(':').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
    parts.ok_or_else(|| failed(Exit::Usage, format!("`{text}` is not a header field: write 'name: value'")))
}

fn runs(client: &AdminClient, output: Output) -> anyhow::Result<()> {
    let runs: Vec<RunView> = client.get("/api/redrives")?;
    match output {
        Output::Json => return print::json(&runs),
        Output::Ndjson => return print::ndjson(&runs),
        Output::Table => {}
    }
    let heading =
        ["RUN", "STATE", "REDRIVEN", "OF", "STAYED", "RATE", "CANARY", "BEGAN", "BY", "LETTERS", "WHY"];
    print::data(&print::table(heading, &runs.iter().map(run_row).collect::<Vec<_>>()))?;
    if runs.is_empty() {
        print::message("No dead letters were ever redriven by a filter.");
    }
    Ok(())
}

fn run_row(run: &RunView) -> [String; 11] {
    let canary = match (run.canary, run.proven) {
        (0, _) => "-".to_owned(),
        (canary, true) => format!("{canary}, all well"),
        (canary, false) => format!("{} of {canary} tried", run.canaries.len()),
    };
    [
        run.id.to_string(),
        run.state.clone(),
        run.redriven.to_string(),
        run.matched.to_string(),
        (run.refused + run.failed).to_string(),
        run.rate.clone(),
        canary,
        seconds(&run.started_at),
        run.by.clone(),
        run.of.clone(),
        or_dash(run.why.as_ref()),
    ]
}

fn turn(
    client: &AdminClient,
    run: u64,
    turn: &str,
    ByHandArguments { reason, by }: ByHandArguments,
    output: Output,
) -> anyhow::Result<()> {
    let turned: RunView =
        client.post(&format!("/api/redrives/{run}/{turn}"), &ByHandRequest { reason, by })?;
    told(&turned, output, || format!("run {} is {}\n", turned.id, turned.state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_written_in_the_unit_that_people_would_take() {
        for (seconds, text) in [(0, "0s"), (119, "119s"), (120, "2m"), (7_200, "2h"), (200_000, "2d")] {
            assert_eq!(for_long(seconds), text);
        }
    }

    #[test]
    fn letters_are_meant_by_id_or_by_a_filter() {
        let route = LetterQuery { route: Some("orders".to_owned()), ..LetterQuery::default() };
        let ids = ["op_1".to_owned()];
        assert!(require_one(&ids, &LetterQuery::default()).is_ok());
        assert!(require_one(&[], &route).is_ok());
        assert_eq!(code_of(&require_one(&[], &LetterQuery::default()).expect_err("nothing")), Exit::Usage);
        assert_eq!(code_of(&require_one(&ids, &route).expect_err("both")), Exit::Usage);
    }
}
