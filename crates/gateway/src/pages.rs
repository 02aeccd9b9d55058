//! The page of every refusal, served by the gateway itself: the link in a problem works wherever it runs.

use steadfast_core::Code;

macro_rules! pages {
    ($($variant:ident => $file:literal),+ $(,)?) => {
        /// The page of `code`, in Markdown.
        pub(crate) const fn page(code: Code) -> &'static str {
            match code {
                $(Code::$variant => include_str!(concat!("../../../docs/problems/", $file, ".md"))),+
            }
        }
    };
}

pages! {
    IdempotencyKeyMissing => "idempotency-key-missing",
    IdempotencyKeyInvalid => "idempotency-key-invalid",
    IdempotencyKeyReused => "idempotency-key-reused",
    OperationInProgress => "operation-in-progress",
    ReplayWithheld => "replay-withheld",
    ReplayUnavailable => "replay-unavailable",
    OutcomeInDoubt => "outcome-in-doubt",
    OperationDead => "operation-dead",
    OperationCancelled => "operation-cancelled",
    KeyExpired => "key-expired",
    UpstreamUnavailable => "upstream-unavailable",
    UpstreamAnswerLost => "upstream-answer-lost",
    DeadlineExceeded => "deadline-exceeded",
    NotCached => "not-cached",
    Unauthenticated => "unauthenticated",
    Forbidden => "forbidden",
    Banned => "banned",
    AbnormalUsageDetected => "abnormal-usage-detected",
    AuthenticationUnavailable => "authentication-unavailable",
    TemporaryReducedCapacity => "temporary-reduced-capacity",
    CircuitOpen => "circuit-open",
    LedgerUnavailable => "ledger-unavailable",
    BodyTooLarge => "body-too-large",
    BodyInvalid => "body-invalid",
    BackgroundHeaderInvalid => "background-header-invalid",
    OperationFinished => "operation-finished",
    PreconditionRequired => "precondition-required",
    Brownout => "brownout",
    VersionGone => "version-gone",
    RouteNotFound => "route-not-found",
    MethodNotAllowed => "method-not-allowed",
    TargetUnclear => "target-unclear",
    OperationNotFound => "operation-not-found",
    QuotaExceeded => "quota-exceeded",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_served_its_own_page() {
        for code in Code::ALL {
            assert!(page(*code).contains(code.title()), "{}", code.as_str());
        }
    }
}
