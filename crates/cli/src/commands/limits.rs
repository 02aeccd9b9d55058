//! `steadfast limits`: how the limits on callers stand, and what one caller is counted, through a running gateway's admin
//! API.

use steadfast_admin::api::{
    LimitChangedView, LimitCountView, LimitRaiseRequest, LimitResetRequest, LimitView, LimitsView,
};

use super::{
    admin_client::{AdminClient, query},
    print,
};
use crate::{
    arguments::{LimitRaiseArguments, LimitResetArguments, LimitsArguments, LimitsCommand, Output},
    exit::Exit,
};

/// Runs the command.
pub(crate) fn run(arguments: LimitsArguments) -> anyhow::Result<Exit> {
    let client = AdminClient::new(arguments.admin.admin);
    let output = arguments.output;
    match arguments.command {
        LimitsCommand::List => list(&client, output)?,
        LimitsCommand::Get(get) => {
            let whose = [
                ("subject", Some(&*get.whose.principal)),
                ("limit", get.whose.limit.as_deref()),
                ("plan", get.plan.as_deref()),
            ];
            let counts: Vec<LimitCountView> = client.get(&format!("/api/limits/counts{}", query(&whose)))?;
            show(&counts, output)?;
        }
        LimitsCommand::Reset(reset) => {
            let LimitResetArguments { whose, reason, by } = reset;
            let order = LimitResetRequest { subject: whose.principal, limit: whose.limit, reason, by };
            let changed: LimitChangedView = client.post("/api/limits/reset", &order)?;
            let counts = if changed.changed == 1 { "count" } else { "counts" };
            told(
                &changed,
                &format!("{}: {} {counts} forgotten\n", changed.subject, changed.changed),
                output,
            )?;
        }
        LimitsCommand::Raise(raise) => {
            let LimitRaiseArguments { whose, factor, time, reason, by } = raise;
            let (subject, limit) = (whose.principal, whose.limit);
            let which = limit.clone().map_or_else(|| "all limits".to_owned(), |limit| format!("`{limit}`"));
            let order = LimitRaiseRequest { subject, limit, factor, time: Some(time.clone()), reason, by };
            let changed: LimitChangedView = client.post("/api/limits/raise", &order)?;
            let words = if factor == 1.0 {
                format!("{}: {which} as usual again\n", changed.subject)
            } else {
                format!("{}: {which} times {factor} for {time}\n", changed.subject)
            };
            told(&changed, &words, output)?;
        }
    }
    Ok(Exit::Ok)
}

fn told(changed: &LimitChangedView, words: &str, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => print::json(changed),
        Output::Ndjson => print::ndjson(std::slice::from_ref(changed)),
        Output::Table => print::data(words),
    }
}

const HEADING: [&str; 9] =
    ["LIMIT", "PER", "ALLOWS", "MODE", "TRACKED", "LET THROUGH", "REFUSED", "WOULD REFUSE", "MOST REFUSED"];

fn list(client: &AdminClient, output: Output) -> anyhow::Result<()> {
    let view: LimitsView = client.get("/api/limits")?;
    match output {
        Output::Json => print::json(&view),
        Output::Ndjson => print::ndjson(&view.limits),
        Output::Table => {
            print::data(&print::table(HEADING, &view.limits.iter().map(row).collect::<Vec<_>>()))?;
            if view.limits.is_empty() {
                print::message("There are no limits.");
            }
            if !view.raised.is_empty() {
                let rows: Vec<_> = view
                    .raised
                    .iter()
                    .map(|raised| {
                        let limit = raised.limit.clone().unwrap_or_else(|| "all".to_owned());
                        let left = format!("{:.0}s", raised.left_seconds);
                        let factor = format!("x{}", raised.factor);
                        [
                            raised.subject.clone(),
                            limit,
                            factor,
                            left,
                            raised.by.clone(),
                            raised.reason.clone(),
                        ]
                    })
                    .collect();
                print::data("\n")?;
                print::data(&print::table(["RAISED", "LIMIT", "BY FACTOR", "LEFT", "BY", "REASON"], &rows))?;
            }
            Ok(())
        }
    }
}

fn row(limit: &LimitView) -> [String; 9] {
    let allows = match (limit.period_seconds, limit.burst) {
        (None, _) => format!("{} at once", limit.limit),
        (Some(seconds), Some(burst)) if burst != limit.limit => {
            format!("{}/{}, {burst} at once", limit.limit, period(seconds))
        }
        (Some(seconds), _) => format!("{}/{}", limit.limit, period(seconds)),
    };
    let most = limit.most_refused.first().map_or_else(
        || "-".to_owned(),
        |most| format!("{} ({})", most.subject, most.refused + most.would_refuse),
    );
    [
        limit.name.clone(),
        limit.per.join(", "),
        format!("{allows} ({})", limit.algorithm.replace('_', " ")),
        limit.mode.clone(),
        limit.tracked.to_string(),
        limit.allowed.to_string(),
        limit.refused.to_string(),
        limit.would_refuse.to_string(),
        most,
    ]
}

/// A period as a config writes it: `min`, `10s`, `30d`.
fn period(seconds: f64) -> String {
    let units = [("d", 86_400.0), ("h", 3_600.0), ("min", 60.0), ("s", 1.0)];
    let (unit, times) = units
        .into_iter()
        .map(|(unit, length)| (unit, seconds / length))
        .find(|(_, times)| *times >= 1.0 && times.fract() == 0.0)
        .unwrap_or(("s", seconds));
    if times == 1.0 { unit.to_owned() } else { format!("{times}{unit}") }
}

fn show(counts: &[LimitCountView], output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => print::json(&counts),
        Output::Ndjson => print::ndjson(counts),
        Output::Table => {
            let rows: Vec<_> = counts
                .iter()
                .map(|count| {
                    let reset =
                        count.reset_seconds.map_or_else(|| "-".to_owned(), |reset| format!("{reset:.0}s"));
                    [
                        count.limit.clone(),
                        count.remaining.to_string(),
                        format!("{:.0}s", count.retry_after_seconds),
                        reset,
                        count.count.chars().take(16).collect(),
                    ]
                })
                .collect();
            print::data(&print::table(["LIMIT", "REMAINING", "MAY GO IN", "RESET IN", "COUNT"], &rows))?;
            if counts.is_empty() {
                print::message("Nothing is counted of it: all of its limits are whole.");
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_written_as_in_a_config() {
        for (seconds, written) in
            [(1.0, "s"), (10.0, "10s"), (60.0, "min"), (90.0, "90s"), (86_400.0, "d"), (2_592_000.0, "30d")]
        {
            assert_eq!(period(seconds), written);
        }
    }
}
