//! One step of a trace: which part decided what, by which facts, and how it is told to operators and to callers.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use steadfast_core::{Code, OperationId};

use crate::Principal;

/// Which part of the gateway decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// What every request must be: a head and a body that can be read, and are not too large.
    Request,
    /// Which route serves it.
    Route,
    /// Who is kept out for harm that they do.
    Abuse,
    /// Who is calling, and whether they may.
    Authenticate,
    /// Whether the version is still served.
    Version,
    /// Whether a change says what it changes.
    Precondition,
    /// A limit on callers.
    Limit,
    /// Whether an answer is kept.
    Cache,
    /// The claim of a keyed request in the ledger.
    Claim,
    /// Keeping a request in the ledger, to be sent later.
    Accept,
    /// Writing down how the attempt of a keyed request ended.
    Outcome,
    /// Whether another try follows.
    Retry,
    /// A place among the requests that the upstream is given at once.
    Shed,
    /// The pace at which the upstream wants to be called.
    Courtesy,
    /// The upstream's circuit.
    Circuit,
    /// One try against an endpoint of the upstream.
    Attempt,
    /// The instant by which there must be an answer.
    Deadline,
    /// The answer in place of a refusal.
    Fallback,
}

impl Part {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Route => "route",
            Self::Abuse => "abuse",
            Self::Authenticate => "authenticate",
            Self::Version => "version",
            Self::Precondition => "precondition",
            Self::Limit => "limit",
            Self::Cache => "cache",
            Self::Claim => "claim",
            Self::Accept => "accept",
            Self::Outcome => "outcome",
            Self::Retry => "retry",
            Self::Shed => "shed",
            Self::Courtesy => "courtesy",
            Self::Circuit => "circuit",
            Self::Attempt => "attempt",
            Self::Deadline => "deadline",
            Self::Fallback => "fallback",
        }
    }

    /// Which part refuses with this code, where it does not say so itself.
    #[must_use]
    pub fn refusing_with(code: Code) -> Self {
        match code {
            Code::RouteNotFound | Code::MethodNotAllowed | Code::TargetUnclear => Self::Route,
            Code::Banned | Code::AbnormalUsageDetected => Self::Abuse,
            Code::Unauthenticated | Code::Forbidden | Code::AuthenticationUnavailable => Self::Authenticate,
            Code::Brownout | Code::VersionGone => Self::Version,
            Code::PreconditionRequired => Self::Precondition,
            Code::QuotaExceeded => Self::Limit,
            Code::NotCached => Self::Cache,
            Code::IdempotencyKeyMissing
            | Code::IdempotencyKeyInvalid
            | Code::IdempotencyKeyReused
            | Code::OperationInProgress
            | Code::ReplayWithheld
            | Code::ReplayUnavailable
            | Code::OutcomeInDoubt
            | Code::OperationDead
            | Code::OperationCancelled
            | Code::KeyExpired
            | Code::LedgerUnavailable => Self::Claim,
            Code::TemporaryReducedCapacity => Self::Shed,
            Code::CircuitOpen => Self::Circuit,
            Code::UpstreamUnavailable | Code::UpstreamAnswerLost => Self::Attempt,
            Code::DeadlineExceeded => Self::Deadline,
            // The request itself is at fault: its body, or what it asks for.
            Code::BodyTooLarge
            | Code::BodyInvalid
            | Code::BackgroundHeaderInvalid
            | Code::OperationNotFound
            | Code::OperationFinished => Self::Request,
        }
    }
}

/// What it decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The request goes on.
    Passed,
    /// It goes no further.
    Refused,
    /// In shadow mode: it would have gone no further.
    WouldRefuse,
    /// It goes on, because nobody could say.
    Uncounted,
    /// Somebody else's operation has its key.
    Occupied,
    /// It gets the stored answer.
    Replayed,
    /// It goes on at another try.
    Repeated,
    /// There was an answer.
    Answered,
    /// There was none.
    Failed,
    /// It is written.
    Written,
    /// It had not ended.
    UnderWay,
}

impl Verdict {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Refused => "refused",
            Self::WouldRefuse => "would_refuse",
            Self::Uncounted => "uncounted",
            Self::Occupied => "occupied",
            Self::Replayed => "replayed",
            Self::Repeated => "repeated",
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Written => "written",
            Self::UnderWay => "under_way",
        }
    }
}

/// By what it decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Facts {
    /// There is nothing more to say.
    None,
    /// Who is calling.
    Caller(Principal),
    /// A refusal.
    Refusal {
        /// Its code.
        code: Code,
        /// When to come again.
        retry_after: Option<Duration>,
    },
    /// The status of another service's refusal.
    Theirs(u16),
    /// How a limit stands.
    Limit {
        /// Its name.
        policy: Arc<str>,
        /// How much is left.
        remaining: Option<u64>,
        /// In how many seconds: nothing of it counts any more, or, where it refuses, the same request could go.
        reset_s: Option<u32>,
        /// How long it lets the request wait.
        wait: Duration,
        /// Whether it is enforced on this caller. One that is not (shadow mode) is the operator's alone.
        enforced: bool,
        /// Whether the route tells its callers how its limits stand. Where it does not, the numbers are the operator's.
        is_told: bool,
    },
    /// How an operation stands.
    Operation {
        /// Its id, once it is known.
        operation: Option<OperationId>,
        /// The number of its attempt, where one was granted.
        attempt: Option<u32>,
        /// Its state.
        state: Option<&'static str>,
    },
    /// One try.
    Attempt {
        /// Its number, from 1, among all of this request.
        number: u32,
        /// Where it went.
        endpoint: Arc<str>,
        /// How it ended.
        end: Option<AttemptEnd>,
    },
    /// Another try follows, or could.
    Pause {
        /// How the last one ended.
        why: &'static str,
        /// After so long.
        pause: Duration,
    },
    /// Why, in a word.
    Why(&'static str),
}

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    /// With this status.
    Status(u16),
    /// Without an answer: why, in a word.
    Nothing(&'static str),
}

/// One step of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// How long after the request's beginning.
    pub at: Duration,
    /// How long it took, where it took time and ended.
    pub took: Option<Duration>,
    /// Which part decided.
    pub part: Part,
    /// What.
    pub verdict: Verdict,
    /// By what.
    pub facts: Facts,
}

/// One fact of a step, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it is.
    pub name: &'static str,
    /// Its value.
    pub value: FactValue,
    /// Whether callers are told of it too.
    pub is_for_callers: bool,
}

/// A fact's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FactValue {
    /// A count, or a time in the unit that the fact's name says.
    Number(u64),
    /// A word of the gateway's own: lower-case letters, digits, `-` and `_`.
    Word(&'static str),
    /// A name.
    Text(String),
}

impl Step {
    /// Its facts, by name.
    #[must_use]
    pub fn facts(&self) -> Vec<Fact> {
        let mut facts = Vec::new();
        let mut put = |name, value, is_for_callers| facts.push(Fact { name, value, is_for_callers });
        match &self.facts {
            Facts::None => {}
            Facts::Caller(principal) => {
                put("principal", FactValue::Text(principal.name().to_owned()), false);
            }
            Facts::Refusal { code, retry_after } => {
                put("code", FactValue::Word(code.as_str()), true);
                if let Some(after) = retry_after {
                    put("t", FactValue::Number(seconds(*after)), true);
                }
            }
            Facts::Theirs(status) => put("status", FactValue::Number((*status).into()), true),
            Facts::Limit { policy, remaining, reset_s, wait, enforced, is_told } => {
                put("policy", FactValue::Text((**policy).to_owned()), true);
                if let Some(remaining) = remaining {
                    put("remaining", FactValue::Number(*remaining), *is_told);
                }
                if let Some(reset_s) = reset_s {
                    // What passed says in `RateLimit` when it is reset, a little late by chance: not twice.
                    let is_told = *is_told && self.verdict == Verdict::Refused;
                    put("t", FactValue::Number((*reset_s).into()), is_told);
                }
                if !wait.is_zero() {
                    put("wait_ms", FactValue::Number(millis(*wait)), true);
                }
                if !enforced {
                    put("mode", FactValue::Word("shadow"), false);
                }
            }
            Facts::Operation { operation, attempt, state } => {
                if let Some(operation) = operation {
                    put("operation", FactValue::Text(operation.to_string()), true);
                }
                if let Some(attempt) = attempt {
                    put("attempt", FactValue::Number((*attempt).into()), true);
                }
                if let Some(state) = state {
                    put("state", FactValue::Word(state), true);
                }
            }
            Facts::Attempt { number, endpoint, end } => {
                put("number", FactValue::Number((*number).into()), true);
                put("endpoint", FactValue::Text((**endpoint).to_owned()), false);
                match end {
                    Some(AttemptEnd::Status(status)) => {
                        put("status", FactValue::Number((*status).into()), true);
                    }
                    Some(AttemptEnd::Nothing(why)) => put("why", FactValue::Word(why), true),
                    None => {}
                }
            }
            Facts::Pause { why, pause } => {
                put("why", FactValue::Word(why), true);
                put("pause_ms", FactValue::Number(millis(*pause)), true);
            }
            Facts::Why(why) => put("why", FactValue::Word(why), true),
        }
        facts
    }

    /// Whether its caller may know of it.
    pub(super) fn is_for_callers(&self) -> bool {
        // That counts are lost just now is no caller's to know: it could go by that.
        self.verdict != Verdict::Uncounted && !matches!(self.facts, Facts::Limit { enforced: false, .. })
    }

    /// It as it is remembered for long. Of a principal only the beginning of its name is: its attributes may be large.
    pub(super) fn remembered(&self) -> Self {
        let facts = match &self.facts {
            Facts::Caller(principal) => Facts::Caller(Principal::named(beginning(principal.name()))),
            facts => facts.clone(),
        };
        Self { at: self.at, took: self.took, part: self.part, verdict: self.verdict, facts }
    }

    /// The code of a step that refused with one.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match (self.verdict, &self.facts) {
            (Verdict::Refused, Facts::Refusal { code, .. }) => Some(*code),
            (Verdict::Refused, Facts::Limit { remaining: Some(_), .. }) => Some(Code::QuotaExceeded),
            // It cannot be counted just now.
            (Verdict::Refused, Facts::Limit { remaining: None, .. }) => Some(Code::TemporaryReducedCapacity),
            _ => None,
        }
    }

    /// It as an item of a List of RFC 9651, as a caller may read it: `limit;refused;policy="per-customer";remaining=0`.
    pub(super) fn told(&self) -> String {
        let mut item = format!("{};{}", self.part.as_str(), self.verdict.as_str());
        for fact in self.facts().iter().filter(|fact| fact.is_for_callers) {
            // Writing to a string does not fail.
            let _ = match &fact.value {
                FactValue::Number(number) => {
                    write!(item, ";{}={}", fact.name, (*number).min(STRUCTURED_INTEGER_MAX))
                }
                FactValue::Word(word) => write!(item, ";{}={word}", fact.name),
                FactValue::Text(text) => write!(item, ";{}=\"{}\"", fact.name, structured_text(text)),
            };
        }
        item
    }
}

/// How many bytes of a principal's name are remembered.
const NAME_BYTES_MAX: usize = 256;

/// As much of a name as is remembered, to the boundary of a character.
fn beginning(name: &str) -> &str {
    let end = (0..=name.len().min(NAME_BYTES_MAX)).rev().find(|end| name.is_char_boundary(*end));
    &name[..end.unwrap_or(0)]
}

/// The largest integer of a structured field (RFC 9651, section 3.3.1).
const STRUCTURED_INTEGER_MAX: u64 = 999_999_999_999_999;

/// `text` as the inside of a structured field's String: what it cannot hold becomes `?`.
fn structured_text(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '"' | '\\' => plain.extend(['\\', letter]),
            ' '..='~' => plain.push(letter),
            _ => plain.push('?'),
        }
    }
    plain
}

/// Whole seconds, rounded up, at least one: as `Retry-After` says it.
fn seconds(time: Duration) -> u64 {
    millis(time).div_ceil(1_000).max(1)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PrincipalFacts;

    fn step(part: Part, verdict: Verdict, facts: Facts) -> Step {
        Step { at: Duration::ZERO, took: None, part, verdict, facts }
    }

    #[test]
    fn a_caller_reads_words_numbers_and_names_and_nothing_that_is_the_operators() {
        let limit = |verdict, is_told| {
            let facts = Facts::Limit {
                policy: "per \"customer\"\\é".into(),
                remaining: Some(u64::MAX),
                reset_s: Some(12),
                wait: Duration::ZERO,
                enforced: true,
                is_told,
            };
            step(Part::Limit, verdict, facts).told()
        };
        let name = "policy=\"per \\\"customer\\\"\\\\?\"";
        let left = "remaining=999999999999999";
        assert_eq!(limit(Verdict::Refused, true), format!("limit;refused;{name};{left};t=12"));
        assert_eq!(limit(Verdict::Passed, true), format!("limit;passed;{name};{left}"));
        assert_eq!(limit(Verdict::Refused, false), format!("limit;refused;{name}"));
        let attempt = Facts::Attempt {
            number: 2,
            endpoint: "http://10.0.0.1:80".into(),
            end: Some(AttemptEnd::Nothing("timeout")),
        };
        let attempt = step(Part::Attempt, Verdict::Failed, attempt);
        assert_eq!(attempt.told(), "attempt;failed;number=2;why=timeout");
        assert_eq!(attempt.facts()[1].value, FactValue::Text("http://10.0.0.1:80".into()));
        let held =
            Facts::Refusal { code: Code::CircuitOpen, retry_after: Some(Duration::from_millis(1_001)) };
        assert_eq!(
            step(Part::Circuit, Verdict::Refused, held).told(),
            "circuit;refused;code=circuit-open;t=2"
        );
    }

    #[test]
    fn of_a_principal_only_the_beginning_of_its_name_is_remembered() {
        let principal = Principal::new(PrincipalFacts {
            name: format!("a{}", "ö".repeat(500)).into(),
            attributes: vec![("groups".into(), "x".repeat(1 << 20).into())],
            ..PrincipalFacts::default()
        });
        let remembered = step(Part::Authenticate, Verdict::Passed, Facts::Caller(principal)).remembered();
        let Facts::Caller(principal) = &remembered.facts else { panic!("{remembered:?}") };
        assert_eq!(principal.name(), format!("a{}", "ö".repeat(127)));
        assert_eq!(principal.attributes().count(), 0);
    }
}
