//! The requests that a running gateway can explain, as its admin API shows them.

use std::time::Duration;

use serde_json::Value;
use steadfast_admin::{
    api::{ExplainedView, RefusalView, StepView},
    rfc3339,
};
use steadfast_core::Timestamp;
use steadfast_gateway::{Explained, FactValue, Step};

pub(crate) fn view(explained: &Explained) -> ExplainedView {
    ExplainedView {
        at: rfc3339(Timestamp::from_millis(explained.at_ms)),
        because: explained.because.as_str().to_owned(),
        method: explained.method.to_string(),
        path: explained.path.to_string(),
        route: explained.route.as_deref().map(str::to_owned),
        client: explained.client.to_canonical().to_string(),
        status: explained.status,
        took_ms: millis(explained.took),
        refusal: explained.refusal.as_ref().map(|refusal| RefusalView {
            code: refusal.code.as_str().to_owned(),
            policy: refusal.policy.as_deref().map(str::to_owned),
            detail: refusal.detail.to_string(),
            next_step: refusal.next_step.to_owned(),
            retry_after: refusal.retry_after_s,
        }),
        operation: explained.operation.map(|operation| operation.to_string()),
        steps: explained.steps.iter().map(step).collect(),
        steps_left_out: explained.steps_left_out,
    }
}

fn step(step: &Step) -> StepView {
    let facts = step.facts().into_iter().map(|fact| {
        let value = match fact.value {
            FactValue::Number(number) => Value::from(number),
            FactValue::Word(word) => Value::from(word),
            FactValue::Text(text) => Value::from(text),
        };
        (fact.name.to_owned(), value)
    });
    StepView {
        at_ms: millis(step.at),
        took_ms: step.took.map(millis),
        part: step.part.as_str().to_owned(),
        verdict: step.verdict.as_str().to_owned(),
        facts: facts.collect(),
    }
}

/// To the microsecond.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}
