//! `steadfast explain`: why one request was refused, or slow.

use steadfast_admin::api::{ExplainView, ExplainedView, LedgerSearched, RefusalView, StepView};

use super::{
    admin_client::{AdminClient, escaped},
    operations, print,
};
use crate::{
    arguments::{ExplainArguments, Output},
    exit::Exit,
};

const HEADING: [&str; 5] = ["AT", "TOOK", "PART", "DECIDED", "BY"];

/// A part that took this share of the whole time, at least, is what the time went into.
const MOST: f64 = 0.5;

/// Runs the command.
pub(crate) fn run(arguments: &ExplainArguments) -> anyhow::Result<Exit> {
    let client = AdminClient::new(arguments.admin.admin);
    let found: ExplainView = client.get(&format!("/api/explain/{}", escaped(&arguments.request_id)))?;
    match arguments.output {
        Output::Json => print::json(&found)?,
        Output::Ndjson => print::ndjson(&[found])?,
        Output::Table => print::data(&told(&found))?,
    }
    Ok(Exit::Ok)
}

/// Everything that was found, as a story.
fn told(found: &ExplainView) -> String {
    let mut parts: Vec<String> = found.requests.iter().map(request).collect();
    parts.extend(searched(found).map(|words| format!("{words}\n")));
    parts.extend(found.operations.iter().map(|operation| operations::described(operation, false)));
    parts.join("\n")
}

/// What there is to say of the ledger beside what it told.
fn searched(found: &ExplainView) -> Option<&'static str> {
    match (found.requests.is_empty(), found.operations.is_empty(), found.ledger) {
        (true, ..) => Some(
            "This node does not remember it: it was neither refused nor slow here, or newer requests took its place. \
             The ledger says what it worked for.",
        ),
        (false, false, LedgerSearched::Not) => Some(
            "The ledger was not searched for other requests with this id. The operation that this one names:",
        ),
        (false, true, LedgerSearched::Not) => {
            Some("The operation that it names is gone, and the ledger was not searched for others.")
        }
        (false, false, _) => Some("The ledger says what requests with this id worked for:"),
        (false, true, LedgerSearched::InPart) => Some(
            "The ledger was searched in part only: none of its newest attempts is known to be of a request with this id.",
        ),
        (false, true, LedgerSearched::Whole) => None,
    }
}

fn request(request: &ExplainedView) -> String {
    let mut facts = vec![
        ("request", format!("{} {}", request.method, request.path)),
        ("route", request.route.clone().unwrap_or_else(|| "(none)".to_owned())),
        ("at", request.at.clone()),
        ("from", request.client.clone()),
        ("verdict", verdict(request)),
    ];
    if let Some(refusal) = &request.refusal {
        let after = refusal.retry_after.map_or_else(String::new, |after| format!(" (after {after} s)"));
        facts.push(("next step", format!("{}{after}", refusal.next_step)));
    }
    if let Some(operation) = &request.operation {
        facts.push(("operation", operation.clone()));
    }
    let rows: Vec<_> = request.steps.iter().map(row).collect();
    let mut text = print::pairs(&facts);
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&print::table(HEADING, &rows));
    }
    if request.steps_left_out > 0 {
        text.push_str(&format!("({} steps more found no room)\n", request.steps_left_out));
    }
    text
}

/// What became of it, in a sentence.
fn verdict(request: &ExplainedView) -> String {
    let took = milliseconds(request.took_ms);
    let status = request.status.map_or_else(String::new, |status| status.to_string());
    match (&request.refusal, request.because.as_str()) {
        (Some(refusal), _) => {
            let by =
                refusing(request, refusal).map_or_else(String::new, |step| format!(" by {}", named(step)));
            format!("refused{by} with {status} {}: {}", refusal.code, refusal.detail)
        }
        (None, "refused") => {
            format!("refused with {status} by the service that was asked who is calling, in its own words")
        }
        (None, "left") => {
            format!("its caller left after {took}, before there was an answer{}", most(request))
        }
        (None, _) => format!("answered {status} after {took}{}", most(request)),
    }
}

/// The step that refused it: of several limits the one that the problem names.
fn refusing<'a>(request: &'a ExplainedView, refusal: &RefusalView) -> Option<&'a StepView> {
    let refused = || request.steps.iter().rev().filter(|step| step.verdict == "refused");
    let is_named = |step: &&StepView| refusal.policy.is_some() && policy(step) == refusal.policy.as_deref();
    refused().find(is_named).or_else(|| refused().next())
}

fn policy(step: &StepView) -> Option<&str> {
    step.facts.get("policy").and_then(serde_json::Value::as_str)
}

/// A part, and which one of several.
fn named(step: &StepView) -> String {
    match policy(step) {
        Some(policy) => format!("{} `{policy}`", step.part),
        None => step.part.clone(),
    }
}

/// What most of the time went into, where that is one thing.
fn most(request: &ExplainedView) -> String {
    let took = |step: &StepView| step.took_ms.unwrap_or(request.took_ms - step.at_ms);
    let lasting = request.steps.iter().filter(|step| step.took_ms.is_some() || step.verdict == "under_way");
    let longest = lasting.max_by(|one, other| took(one).total_cmp(&took(other)));
    match longest.filter(|step| took(step) >= request.took_ms * MOST) {
        Some(step) => format!("; most of that went into {} ({})", step.part, milliseconds(took(step))),
        None => String::new(),
    }
}

fn row(step: &StepView) -> [String; 5] {
    let facts = step.facts.iter().map(|(name, value)| match value {
        serde_json::Value::String(text) => format!("{name}={text}"),
        value => format!("{name}={value}"),
    });
    [
        milliseconds(step.at_ms),
        step.took_ms.map_or_else(|| "-".to_owned(), milliseconds),
        step.part.clone(),
        step.verdict.replace('_', " "),
        facts.collect::<Vec<_>>().join(" "),
    ]
}

fn milliseconds(ms: f64) -> String {
    format!("{ms:.3} ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(json: serde_json::Value) -> StepView {
        serde_json::from_value(json).expect("a step")
    }

    fn refused() -> ExplainedView {
        let json = serde_json::json!({
            "at": "2026-11-30T20:00:00.000Z", "because": "refused", "method": "GET", "path": "/orders",
            "route": "orders", "client": "127.0.0.1", "status": 429, "took_ms": 0.2,
            "refusal": {
                "code": "quota-exceeded", "policy": "per-customer",
                "detail": "The limit `per-customer` allows 1 requests a minute to each principal; none is left.",
                "next_step": "Send it again.", "retry_after": 60
            },
            "operation": null,
            "steps": [
                {"at_ms": 0.01, "took_ms": null, "part": "authenticate", "verdict": "passed",
                 "facts": {"principal": "acme"}},
                {"at_ms": 0.02, "took_ms": null, "part": "limit", "verdict": "refused",
                 "facts": {"policy": "per-customer", "remaining": 0, "t": 60}}
            ],
            "steps_left_out": 0
        });
        serde_json::from_value(json).expect("a request")
    }

    #[test]
    fn a_refused_request_is_told_in_a_sentence_and_its_steps() {
        let expected = "\
request    GET /orders
route      orders
at         2026-11-30T20:00:00.000Z
from       127.0.0.1
verdict    refused by limit `per-customer` with 429 quota-exceeded: The limit `per-customer` allows 1 requests a minute to each principal; none is left.
next step  Send it again. (after 60 s)

AT        TOOK  PART          DECIDED  BY
0.010 ms  -     authenticate  passed   principal=acme
0.020 ms  -     limit         refused  policy=per-customer remaining=0 t=60
";
        assert_eq!(request(&refused()), expected);
    }

    #[test]
    fn of_several_limits_that_refused_the_one_of_the_problem_is_named() {
        let mut both = refused();
        both.steps.push(step(serde_json::json!({
            "at_ms": 0.03, "took_ms": null, "part": "limit", "verdict": "refused",
            "facts": {"policy": "per-route", "remaining": 0, "t": 2}
        })));
        let told = verdict(&both);
        assert!(told.starts_with("refused by limit `per-customer` with 429"), "{told}");
    }

    #[test]
    fn a_slow_request_says_what_its_time_went_into() {
        let attempt = serde_json::json!({
            "at_ms": 1.0, "took_ms": 1_500.0, "part": "attempt", "verdict": "answered", "facts": {"number": 1}
        });
        let slow = ExplainedView {
            because: "slow".to_owned(),
            status: Some(200),
            took_ms: 1_600.0,
            refusal: None,
            steps: vec![step(attempt)],
            ..refused()
        };
        assert_eq!(
            verdict(&slow),
            "answered 200 after 1600.000 ms; most of that went into attempt (1500.000 ms)"
        );
        let shed = serde_json::json!({
            "at_ms": 1.0, "took_ms": null, "part": "shed", "verdict": "under_way", "facts": {}
        });
        let left =
            ExplainedView { because: "left".to_owned(), status: None, steps: vec![step(shed)], ..slow };
        assert_eq!(
            verdict(&left),
            "its caller left after 1600.000 ms, before there was an answer; most of that went into shed (1599.000 ms)"
        );
    }
}
