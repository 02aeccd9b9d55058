//! What is said of a route in words, the same in every form of the document.

use std::time::Duration;

use http::{Method, StatusCode};
use steadfast_core::Brownout;
use steadfast_layers::{
    BackgroundMode, BodyFingerprint, IdempotencyPolicy, InProgress, KeySource, LifecyclePolicy,
};

use super::{RouteContract, background, callers};
use crate::config::write_instant;

/// What is said of requests with `method`, a paragraph each, with code in backticks.
pub(super) fn paragraphs(contract: &RouteContract<'_>, method: &Method) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(policy) = &contract.route.lifecycle {
        said.extend(lifecycle(policy));
    }
    said.extend(callers::paragraphs(contract));
    if contract.requires_precondition(method) {
        said.push(
            "Say what the change is based on: send the `ETag` of what you read as `If-Match`, or `If-None-Match: *` to \
             create what must not be there yet. Without either it is refused with 428; a 412 means that somebody was \
             faster."
                .to_owned(),
        );
    }
    match contract.keyed(method) {
        Some(policy) => {
            said.push(how_to_make_keys(policy));
            said.push(expiry(policy));
            said.extend(policy.background.as_ref().map(background::paragraph));
            said.push(while_it_runs(policy));
            said.push(retry_keyed());
        }
        None if method.is_safe() => said.push(
            "It may be sent again at any time: wait for the seconds in `Retry-After` where an answer has it, and a random \
             moment more."
                .to_owned(),
        ),
        None => said.push(
            "Requests here are not protected by a key: where no answer comes, nobody can tell whether it took effect. Send \
             it again only if doing it twice does no harm, or if the answer says that nothing was sent."
                .to_owned(),
        ),
    }
    if let Some(deadline) = contract.route.deadline {
        said.push(format!(
            "There is an answer within {}; ask for a shorter time with `Steadfast-Timeout: 2s`.",
            time(deadline)
        ));
    }
    if let Some(ttl) =
        contract.route.cache.as_ref().and_then(|cache| cache.ttl).filter(|_| *method == Method::GET)
    {
        said.push(format!("Answers may be up to {} old; `Age` says how old one is.", time(ttl)));
    }
    said
}

/// What is said of a version's end.
pub(super) fn lifecycle(policy: &LifecyclePolicy) -> Vec<String> {
    let lifecycle = &policy.lifecycle;
    let mut said = Vec::new();
    if let Some(at) = lifecycle.deprecated {
        said.push(format!("Version `{}` is deprecated as of {}.", policy.version, write_instant(at)));
    }
    if let Some(at) = lifecycle.sunset {
        said.push(match lifecycle.gone {
            true => format!("From {} on it is answered 410 (`version-gone`).", write_instant(at)),
            false => format!("It is expected to end on {}.", write_instant(at)),
        });
    }
    if let Some(successor) = &policy.successor {
        said.push(format!("Its successor is {successor}."));
    }
    if let Some(docs) = &policy.docs {
        said.push(format!("How to move is said at {docs}."));
    }
    let mut paragraphs = Vec::new();
    if !said.is_empty() {
        paragraphs.push(said.join(" "));
    }
    if !lifecycle.brownouts.is_empty() {
        let windows: Vec<String> = lifecycle.brownouts.iter().map(brownout).collect();
        paragraphs.push(format!(
            "So that whoever still calls it notices, it is switched off for a while, and answers {} (`brownout`): {}.",
            policy.brownout_status,
            windows.join("; ")
        ));
    }
    paragraphs
}

fn brownout(brownout: &Brownout) -> String {
    match *brownout {
        Brownout::Once { from, until } => {
            format!("from {} until {}", write_instant(from), write_instant(until))
        }
        Brownout::Repeated { from, until, every, lasts } => {
            let until = until.map_or_else(String::new, |until| format!(" until {}", write_instant(until)));
            format!("from {} on every {} for {}{until}", write_instant(from), time(every), time(lasts))
        }
    }
}

/// How a key is made.
fn how_to_make_keys(policy: &IdempotencyPolicy) -> String {
    let make = "a new random value for every new request (a UUID, say; 1 to 255 printable ASCII characters), and the same \
                value with every retry of it";
    let otherwise = match policy.required {
        true => "Without one it is refused.",
        false if policy.background.is_some() => {
            "Without one nobody can tell a retry from a new request, and it may take effect twice."
        }
        false => "Without one it is not protected, and a retry may take effect twice.",
    };
    let key = match &policy.key {
        KeySource::Header => format!("Send `Idempotency-Key`: {make}. {otherwise}"),
        KeySource::HeaderOrField(field) => {
            format!("Send `Idempotency-Key`, or the field `{field}` of the JSON body: {make}. {otherwise}")
        }
        KeySource::Fields(fields) => {
            let fields: Vec<String> = fields.iter().map(|field| format!("`{field}`")).collect();
            format!(
                "The key is made from the body: two requests with the same {} are the same request.",
                fields.join(", ")
            )
        }
        KeySource::Window(window) => format!(
            "The same request by the same caller within {} is taken for the same one. Send `Idempotency-Key` to decide that \
             yourself: {make}.",
            time(*window)
        ),
    };
    let compared = match &policy.fingerprint {
        BodyFingerprint::Bytes => "the same method, path, query, content type and body, byte for byte",
        BodyFingerprint::Json { .. } => {
            "the same method, path, query and content type, and a JSON body that says the same"
        }
        BodyFingerprint::Multipart { .. } => {
            "the same method, path and query, and a body with the same parts"
        }
    };
    match policy.key {
        KeySource::Fields(_) => key,
        KeySource::Header | KeySource::HeaderOrField(_) | KeySource::Window(_) => {
            format!(
                "{key} A key belongs to one request: {compared}. Another one under it is refused with 422."
            )
        }
    }
}

/// How long answers are kept.
fn expiry(policy: &IdempotencyPolicy) -> String {
    let keep = match policy.key {
        KeySource::Window(window) => window,
        KeySource::Header | KeySource::HeaderOrField(_) | KeySource::Fields(_) => policy.retention.keep,
    };
    let after = match policy.retention.tombstone {
        Some(tombstone) => format!(
            "For {} more, the key is refused with 410 (`key-expired`); only then is it free again.",
            time(tombstone)
        ),
        None => "After that the same key executes afresh.".to_owned(),
    };
    let kept = match policy.kept.body {
        true => "a retry gets the same one",
        false => "a retry gets its status alone",
    };
    format!(
        "The answer is kept for {} after it was given, and {kept} with `Idempotent-Replayed: true`. {after}",
        time(keep)
    )
}

/// What a retry gets while the first request still runs.
fn while_it_runs(policy: &IdempotencyPolicy) -> String {
    let first = "While the first request still runs, a retry";
    if policy.background.as_ref().is_some_and(|background| background.mode == BackgroundMode::Always) {
        return "While it is not over, a retry gets the same 202.".to_owned();
    }
    match policy.in_progress {
        InProgress::Wait(wait) => {
            format!(
                "{first} waits for its answer, {} at most, and is then refused with 409 and `Retry-After`.",
                time(wait)
            )
        }
        InProgress::Conflict => format!("{first} is refused with 409 and `Retry-After`."),
        InProgress::TooManyRequests => format!("{first} is refused with 429 and `Retry-After`."),
        InProgress::Accepted => {
            format!("{first} is answered 202, with the `Location` of the operation to look at.")
        }
    }
}

fn retry_keyed() -> String {
    "Where no answer comes, send exactly the same request with the same key again. Obey `Retry-After`; `X-Should-Retry` says \
     whether a retry will help."
        .to_owned()
}

/// A status in words.
pub(super) fn status(status: u16) -> &'static str {
    let known = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    known.unwrap_or("Refused")
}

/// A duration as people say it, in the largest unit that says it exactly.
pub(super) fn time(duration: Duration) -> String {
    let ms = duration.as_millis();
    let units = [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second")];
    let exact = units.into_iter().find(|(unit, _)| ms >= *unit && ms.is_multiple_of(*unit));
    let (number, unit) = exact.map_or((ms, "millisecond"), |(length, unit)| (ms / length, unit));
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_in_the_largest_unit_that_is_exact() {
        for (ms, said) in [
            (0, "0 milliseconds"),
            (1, "1 millisecond"),
            (1_500, "1500 milliseconds"),
            (1_000, "1 second"),
            (90_000, "90 seconds"),
            (86_400_000, "1 day"),
            (604_800_000, "7 days"),
        ] {
            assert_eq!(time(Duration::from_millis(ms)), said);
        }
    }
}
