//! Every refusal a caller can meet, in one table: code, status, title and what to do next.
//!
//! Each code has a page in `docs/problems/`, which the gateway serves below [`HELP_BASE`].

/// Where the pages are served; the `type` of a problem is this and its code.
pub const HELP_BASE: &str = "/.steadfast/problems/";

/// Whether the same request with the same key will later succeed by itself. Clients that obey
/// `Stripe-Should-Retry` or `X-Should-Retry` are told so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resend {
    /// It will: send it again, with the same key.
    Yes,
    /// It will not: sending it again changes nothing.
    No,
}

impl Resend {
    /// The value of the retry-hint headers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "true",
            Self::No => "false",
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])+ $variant:ident = $code:literal, $status:literal, $title:literal, $resend:ident, $next:literal;)+) => {
        /// A refusal's code: the `code` of the problem document, and the name of its page.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $($(#[$doc])+ $variant),+ }

        impl Code {
            /// Every code there is.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The code as callers see it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code),+ }
            }

            /// The status it usually comes with.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status),+ }
            }

            /// What it means, in a few words.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),+ }
            }

            /// Whether sending the same request again will help, where nothing more is known.
            #[must_use]
            pub const fn resend(self) -> Resend {
                match self { $(Self::$variant => Resend::$resend),+ }
            }

            /// What to do next, in a sentence.
            #[must_use]
            pub const fn next_step(self) -> &'static str {
                match self { $(Self::$variant => $next),+ }
            }
        }
    };
}

codes! {
    /// The route requires a key, and none came.
    IdempotencyKeyMissing = "idempotency-key-missing", 400, "An idempotency key is required", No,
        "Send an Idempotency-Key header with a new random value, and the same value with every retry.";
    /// The key is malformed, or two of them disagree.
    IdempotencyKeyInvalid = "idempotency-key-invalid", 400, "The idempotency key is not valid", No,
        "Send one Idempotency-Key of 1 to 255 printable ASCII characters.";
    /// The key belongs to another request.
    IdempotencyKeyReused = "idempotency-key-reused", 422, "The idempotency key was used for another request", No,
        "Use a new key for a new request; to retry the first one, send exactly what was sent then.";
    /// The first request with this key is still running.
    OperationInProgress = "operation-in-progress", 409, "The first request with this key is still running", Yes,
        "Send the same request with the same key again after the time in Retry-After.";
    /// The answer belongs to somebody else.
    ReplayWithheld = "replay-withheld", 409, "The answer belongs to another credential", No,
        "Retry with the credential that made the first request, or use a new key for a new request.";
    /// The operation is done, but its answer was too large, streamed or cut off.
    ReplayUnavailable = "replay-unavailable", 409, "The request took effect, but its answer was not kept", No,
        "Do not send it again: it took effect. Read the result from the API itself.";
    /// Nobody knows whether the request took effect.
    OutcomeInDoubt = "outcome-in-doubt", 409, "Nobody knows yet whether the request took effect", No,
        "Do not send it under another key. Watch the operation at its link until it is settled.";
    /// The operation ran out of attempts.
    OperationDead = "operation-dead", 409, "The operation ran out of attempts", No,
        "An operator can inspect it and send it round again; to ask anew, use a new key.";
    /// The operation was called off.
    OperationCancelled = "operation-cancelled", 409, "The operation was cancelled", No,
        "Use a new key for a new request.";
    /// The key was used long ago, and its answer is gone.
    KeyExpired = "key-expired", 410, "The key was used before, and its answer is no longer kept", No,
        "Use a new key for a new request.";
    /// No connection to the upstream: nothing was sent.
    UpstreamUnavailable = "upstream-unavailable", 502, "The upstream cannot be reached; nothing was sent", Yes,
        "Nothing was executed. Send the same request with the same key again.";
    /// The upstream's answer to an unkeyed request was lost.
    UpstreamAnswerLost = "upstream-answer-lost", 502, "The upstream's answer was lost", No,
        "It may have taken effect. Send an Idempotency-Key with writes, so that a retry is safe.";
    /// The deadline passed.
    DeadlineExceeded = "deadline-exceeded", 504, "The deadline passed before there was an answer", Yes,
        "Send the same request again, with the same key if it had one, or with a longer deadline.";
    /// The caller wants an answer from the cache, and there is none.
    NotCached = "not-cached", 504, "No answer is kept, and none may be fetched", No,
        "Send the request without `only-if-cached`.";
    /// Nothing is known of who is calling.
    Unauthenticated = "unauthenticated", 401, "A credential is required", No,
        "Send the credential that this API asks for.";
    /// The caller asked for more than a limit allows it.
    QuotaExceeded = "quota-exceeded", 429, "A limit was reached; nothing was sent", Yes,
        "Nothing was executed. Send the same request with the same key again after the time in Retry-After.";
    /// It is known who is calling, and that they may not.
    Forbidden = "forbidden", 403, "The credential does not allow this", No,
        "Use a credential with the scope or plan that is named, or ask the operator for one.";
    /// Whoever is calling is banned, for a time or for good.
    Banned = "banned", 403, "You are banned for now; nothing was sent", No,
        "Stop sending. Come again after the time in Retry-After, or go by the link in challenge, or ask the operator.";
    /// The caller asks for far more than it usually does.
    AbnormalUsageDetected = "abnormal-usage-detected", 429, "You ask for far more than you usually do; nothing was sent", Yes,
        "Nothing was executed. Slow down, and send the same request with the same key again after the time in Retry-After.";
    /// It could not be found out who is calling.
    AuthenticationUnavailable = "authentication-unavailable", 503, "Nobody could check the credential; nothing was sent", Yes,
        "Nothing was executed. Send the same request with the same credential and key again after the time in Retry-After.";
    /// More requests are under way than can be held.
    TemporaryReducedCapacity = "temporary-reduced-capacity", 503, "Too much is under way; nothing was sent", Yes,
        "Nothing was executed. Send the same request with the same key again after the time in Retry-After.";
    /// The circuit of the upstream is open.
    CircuitOpen = "circuit-open", 503, "The upstream is failing, and is left alone for a while; nothing was sent", Yes,
        "Nothing was executed. Send the same request with the same key again after the time in Retry-After.";
    /// The ledger cannot be written.
    LedgerUnavailable = "ledger-unavailable", 503, "The ledger cannot be reached; nothing was sent", Yes,
        "Nothing was executed. Send the same request with the same key again after the time in Retry-After.";
    /// The body is larger than the route accepts.
    BodyTooLarge = "body-too-large", 413, "The request's body is too large", No,
        "Send a smaller body, or ask the operator to raise the route's limit.";
    /// The body did not arrive whole, or cannot be read as the route needs it.
    BodyInvalid = "body-invalid", 400, "The request's body cannot be read", No,
        "Send the whole body, in the form that this route asks for.";
    /// What the request says about being done later cannot be followed.
    BackgroundHeaderInvalid = "background-header-invalid", 400, "When it is to be done cannot be followed", No,
        "Send one of Steadfast-Delay (seconds) and Steadfast-Run-At (an instant), within the time that the route allows.";
    /// The operation is over: it cannot be called off any more.
    OperationFinished = "operation-finished", 409, "The operation is over", No,
        "There is nothing left to call off. Look at the operation itself.";
    /// The route asks for a precondition, and none came.
    PreconditionRequired = "precondition-required", 428, "The change must say what it changes", No,
        "Read the resource, and send its ETag as If-Match with the change; to create it, send If-None-Match: *.";
    /// This version is switched off for a while, so that whoever still calls it notices.
    Brownout = "brownout", 503, "This version is switched off for a while, on purpose; nothing was sent", Yes,
        "Move to the version that the Link header names; until then, send the same request again after the time in Retry-After.";
    /// This version has reached its end.
    VersionGone = "version-gone", 410, "This version is no longer served; nothing was sent", No,
        "Move to the version that the Link header names.";
    /// No route matches.
    RouteNotFound = "route-not-found", 404, "Nothing is served here", No,
        "Check the host and the path.";
    /// The path is served, but not for this method.
    MethodNotAllowed = "method-not-allowed", 405, "The method is not served here", No,
        "Use one of the methods in the Allow header.";
    /// Two servers might take the target for different ones.
    TargetUnclear = "target-unclear", 400, "The request's target can be read in more than one way", No,
        "Send the path in its plain form, and one Host header.";
    /// There is no such operation, or it is another caller's.
    OperationNotFound = "operation-not-found", 404, "There is no such operation", No,
        "Check the id, and send the credential that made the operation.";
}

impl Code {
    /// The type that IANA registers for it, where it does: every client knows that one, whoever sends it
    /// (draft-ietf-httpapi-ratelimit-headers).
    #[must_use]
    pub const fn registered_type(self) -> Option<&'static str> {
        match self {
            Self::QuotaExceeded => Some("https://iana.org/assignments/http-problem-types#quota-exceeded"),
            Self::AbnormalUsageDetected => {
                Some("https://iana.org/assignments/http-problem-types#abnormal-usage-detected")
            }
            _ => None,
        }
    }

    /// The code that callers see as `text`.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text)
    }
}
