//! Checks what a config says of trying requests again, and of what answers mean.

use steadfast_core::{Backoff, Reading, RetryBudgetPolicy};
use steadfast_layers::{InvalidExpression, RetryPolicy};
use steadfast_upstream::{AnswerRule, AnswerRules};

use super::{
    super::raw::{At, RawAnswer, RawMeans, RawRetry},
    Checker, time_or,
};

/// The longest expression, in characters.
const WHEN_CHARS_MAX: usize = 4096;

impl Checker<'_> {
    /// What `raw` says is in the place of what is said in `otherwise`, key by key.
    pub(super) fn retry(&mut self, raw: &RawRetry, otherwise: &RetryPolicy) -> RetryPolicy {
        let base = time_or(raw.base.as_ref(), otherwise.backoff.base);
        // Where one of the two is stated the other stays in step with it.
        let cap = time_or(raw.cap.as_ref(), otherwise.backoff.cap.max(base));
        let base = if raw.base.is_none() { base.min(cap) } else { base };
        if let Some(stated) = raw.cap.as_ref().filter(|_| cap < base && !self.partial) {
            let what = "`retry.cap` is shorter than `retry.base`, so no pause ever grows";
            self.error(&stated.span(), what.into(), "lengthen cap, or shorten base".into());
        }
        let number = |raw: &Option<At<u64>>, otherwise: u32| {
            raw.as_ref().map_or(otherwise, |number| u32::try_from(*number.get()).unwrap_or(u32::MAX))
        };
        let methods = match &raw.methods {
            None => otherwise.methods.clone(),
            Some(list) if list.get().is_empty() => Vec::new(),
            Some(list) => self.method_list(list, "only safe methods would be repeated"),
        };
        if let Some(list) = &raw.methods {
            for text in list.get().iter().filter(|text| text.get() == "POST" || text.get() == "PATCH") {
                let what = format!(
                    "`retry.methods` has {}: what was lost would be sent twice, and could take effect twice",
                    text.get()
                );
                let next = "protect it by `idempotency` on its route, and say `repeatable_for` if the upstream takes \
                            the same key once; or remove it here";
                self.error(&text.span(), what, next.into());
            }
        }
        RetryPolicy {
            attempts: number(&raw.attempts, otherwise.attempts),
            backoff: Backoff { base, cap },
            methods,
            budget: RetryBudgetPolicy {
                percent: raw.budget.as_ref().map_or(otherwise.budget.percent, |share| share.get().0),
                per_second_min: number(&raw.budget_min, otherwise.budget.per_second_min),
            },
            is_shadow: raw.mode.as_ref().map_or(otherwise.is_shadow, |mode| mode.get().is_shadow()),
        }
    }

    pub(super) fn answer_rules(&mut self, raw: &[At<RawAnswer>]) -> AnswerRules {
        let mut rules = Vec::new();
        for raw in raw {
            let RawAnswer { when, means } = raw.get();
            let means = match means.get() {
                RawMeans::Completed => Reading::Completed,
                RawMeans::Refused => Reading::Refused,
                RawMeans::Unknown => Reading::Unknown,
            };
            let rule = if when.get().chars().count() > WHEN_CHARS_MAX {
                let what = format!("`answers.when` is longer than {WHEN_CHARS_MAX} characters");
                Err((what, "write several rules".into()))
            } else {
                AnswerRule::new(when.get(), means).map_err(|invalid| match invalid {
                    InvalidExpression::Syntax(told) => (
                        format!("`answers.when` is no CEL: {told}"),
                        "write something like 'status == 503 && headers[\"x-reason\"] == \"busy\"'"
                            .to_owned(),
                    ),
                    InvalidExpression::Unknown(name) => (
                        format!("`answers.when` asks about `{name}`, which there is not"),
                        "ask about status, headers, body, method or path".to_owned(),
                    ),
                })
            };
            rules.extend(self.take(&when.span(), rule));
        }
        rules.into_iter().collect()
    }
}
