//! What is published of a route whose requests are done in the background.

use serde_json::{Map, Value, json};
use steadfast_layers::{BackgroundMode, BackgroundPolicy};

use super::words::time;

/// What callers are told of it in words.
pub(super) fn paragraph(policy: &BackgroundPolicy) -> String {
    let later = "answered 202 as soon as it is safely kept, and done after that: look at the `Location`, which also tells of \
                 its result, or `DELETE` it to call it off";
    let when = match policy.mode {
        BackgroundMode::Always => format!(
            "A request is {later}. With `Prefer: wait=10` it is answered itself if it ends within so many seconds, {} at most.",
            time(policy.wait_max)
        ),
        BackgroundMode::Allowed => format!(
            "With `Prefer: respond-async` a request is {later}. With `Prefer: respond-async, wait=10` it is answered itself if \
             it ends within so many seconds, {} at most.",
            time(policy.wait_max)
        ),
        BackgroundMode::OnFailure => {
            format!("A request that cannot be sent just now, or is refused, is {later}.")
        }
    };
    let due = match policy.delay_max.is_zero() {
        true => String::new(),
        false => format!(
            " `Steadfast-Delay: 90` (seconds) or `Steadfast-Run-At: 2027-01-01T00:00:00Z` says when it is to be done, up to {} \
             ahead.",
            time(policy.delay_max)
        ),
    };
    let effort = match policy.tries_max {
        1 => "It is tried once".to_owned(),
        tries => format!("It is tried up to {tries} times"),
    };
    format!("{when}{due} {effort}, within {} after it is due.", time(policy.age_max))
}

/// The headers by which callers say it.
pub(super) fn parameters(policy: &BackgroundPolicy) -> Vec<(&'static str, &'static str, Value)> {
    let mut parameters = Vec::new();
    if policy.mode != BackgroundMode::OnFailure {
        let said = match policy.mode {
            BackgroundMode::Allowed => {
                "`respond-async` to be answered later, `wait=10` to wait so many seconds for the end."
            }
            BackgroundMode::Always | BackgroundMode::OnFailure => {
                "`wait=10` to wait so many seconds for the end."
            }
        };
        parameters.push(("Prefer", said, json!({ "type": "string" })));
    }
    if !policy.delay_max.is_zero() {
        let seconds = json!({ "type": "integer", "minimum": 0, "maximum": policy.delay_max.as_secs() });
        parameters.push(("Steadfast-Delay", "In how many seconds it is to be done.", seconds));
        let instant = json!({ "type": "string", "format": "date-time" });
        parameters.push(("Steadfast-Run-At", "When it is to be done. Not with Steadfast-Delay.", instant));
    }
    parameters
}

/// The 202.
pub(super) fn response(policy: &BackgroundPolicy) -> Value {
    let text = |description: &str| json!({ "description": description, "schema": { "type": "string" } });
    let mut headers = Map::new();
    headers.insert("Location".into(), text("The operation, to be looked at and called off."));
    headers.insert("Steadfast-Operation".into(), text("Its id."));
    let seconds = json!({
        "description": "The seconds after which to look at it.",
        "schema": { "type": "integer", "minimum": 1 },
    });
    headers.insert("Retry-After".into(), seconds);
    if policy.mode != BackgroundMode::OnFailure {
        headers.insert("Preference-Applied".into(), text("Which preferences were followed."));
    }
    let schema = json!({
        "type": "object",
        "required": ["operation", "state"],
        "properties": {
            "operation": { "type": "string", "description": "Where to look, as in Location." },
            "state": { "type": "string", "description": "queued or claimed." },
            "next_attempt_at": { "type": "string", "format": "date-time", "description": "When it is due." },
        },
    });
    json!({
        "description": "It is safely kept, and is done after this.",
        "headers": headers,
        "content": { "application/json": { "schema": schema } },
    })
}

/// The same for programs.
pub(super) fn extension(policy: &BackgroundPolicy) -> Value {
    let mode = match policy.mode {
        BackgroundMode::Always => "always",
        BackgroundMode::Allowed => "allowed",
        BackgroundMode::OnFailure => "on_failure",
    };
    json!({
        "mode": mode,
        "attempts": policy.tries_max,
        "max_age_seconds": policy.age_max.as_secs(),
        "max_delay_seconds": policy.delay_max.as_secs(),
        "max_wait_seconds": policy.wait_max.as_secs(),
        "body_bytes_max": policy.request_bytes_max,
        "ordered": policy.ordering.is_some(),
    })
}
