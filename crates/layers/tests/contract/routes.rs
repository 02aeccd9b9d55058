//! The routes that the contract's claims are made about: one for every choice that a route has.

use std::time::Duration;

use http::{HeaderName, header};
use steadfast_core::{AnswerPolicy, Backoff};
use steadfast_layers::{
    AttemptTimes, BackgroundMode, BackgroundPolicy, BodyFingerprint, IdempotencyPolicy, InProgress, Kept,
    KeySource, NamespaceScope, OnLedgerLoss, Ordering, OrderingKey,
};
use steadfast_ledger::LaneTrouble;

/// The largest body that is accepted, and the largest answer that is kept, in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 16 << 10;
/// Up to how many bytes a body stays in memory where that is less.
pub(crate) const MEMORY_BYTES_MAX: usize = 4 << 10;
/// The largest body that is kept for later, in bytes.
pub(crate) const KEPT_BYTES_MAX: usize = 2 << 10;
/// For how long the window's requests are one.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);
/// For how long an answer is kept.
pub(crate) const KEEP: Duration = Duration::from_secs(24 * 3600);
/// For how long a key stays taken after that, where it does.
pub(crate) const TOMBSTONE: Duration = Duration::from_secs(30 * 24 * 3600);
/// For how long the repeatable upstream remembers keys.
pub(crate) const REPEATABLE: Duration = Duration::from_secs(3600);

/// What is left for later: at most two seconds are waited for its end, and what was refused comes again in an hour.
fn left(mode: BackgroundMode) -> BackgroundPolicy {
    let hour = Duration::from_secs(3600);
    BackgroundPolicy {
        request_bytes_max: KEPT_BYTES_MAX,
        wait_max: Duration::from_secs(2),
        backoff: Backoff { base: hour, cap: 24 * hour },
        ..BackgroundPolicy::new(mode)
    }
}

fn ordered(by: OrderingKey, trouble: LaneTrouble) -> Option<Ordering> {
    Some(Ordering { by, trouble })
}

/// Every route's path with what it says.
pub(crate) fn routes() -> Vec<(&'static str, IdempotencyPolicy)> {
    let plain = |path: &str| IdempotencyPolicy {
        request_bytes_max: BODY_BYTES_MAX,
        answer_bytes_max: BODY_BYTES_MAX,
        ..IdempotencyPolicy::for_route(path)
    };
    let path = |path| (path, plain(path));
    let with = |path, change: fn(&mut IdempotencyPolicy)| {
        let mut policy = plain(path);
        change(&mut policy);
        (path, policy)
    };
    let hasty = |path| {
        let mut policy = plain(path);
        policy.times = AttemptTimes { total: Duration::from_millis(100), late: Duration::from_secs(10) };
        policy
    };
    let mut hastier = hasty("/hastier");
    hastier.times.late = Duration::from_millis(100);
    let mut hasty_repeatable = hasty("/hasty-repeatable");
    hasty_repeatable.repeatable_for = Some(REPEATABLE);
    let redacting = Kept { redact: vec!["card.number".into()], ..Kept::default() };
    let mut hasty_redacted = hasty("/hasty-redacted");
    hasty_redacted.kept = redacting.clone();
    vec![
        path("/orders"),
        path("/refunds"),
        ("/hasty", hasty("/hasty")),
        ("/hastier", hastier),
        ("/hasty-repeatable", hasty_repeatable),
        ("/hasty-redacted", hasty_redacted),
        ("/redacted", IdempotencyPolicy { kept: redacting, ..plain("/redacted") }),
        with("/unkept", |policy| policy.kept = Kept { body: false, path: false, ..Kept::default() }),
        with("/few-headers", |policy| policy.kept.headers = Some(vec![header::LOCATION])),
        with("/required", |policy| policy.required = true),
        with("/open", |policy| policy.anonymous = true),
        with("/brief", |policy| policy.in_progress = InProgress::Wait(Duration::from_millis(100))),
        with("/conflict", |policy| policy.in_progress = InProgress::Conflict),
        with("/limited", |policy| policy.in_progress = InProgress::TooManyRequests),
        with("/accepted", |policy| policy.in_progress = InProgress::Accepted),
        with("/declared", |policy| {
            policy.answers = AnswerPolicy {
                refused: vec![425, 429, 503],
                completed: vec![500],
                ..AnswerPolicy::default()
            };
        }),
        with("/entombed", |policy| policy.retention.tombstone = Some(TOMBSTONE)),
        with("/repeatable", |policy| policy.repeatable_for = Some(REPEATABLE)),
        with("/forwarding", |policy| policy.on_ledger_loss = OnLedgerLoss::Forward),
        with("/impatient", |policy| {
            policy.request_idle_max = Duration::from_millis(100);
            policy.request_memory_max = MEMORY_BYTES_MAX;
        }),
        with("/field", |policy| {
            policy.key = KeySource::HeaderOrField("order.id".into());
            policy.request_memory_max = MEMORY_BYTES_MAX;
        }),
        with("/derived", |policy| {
            policy.key = KeySource::Fields(vec!["event".into(), "student".into()]);
            policy.required = true;
        }),
        with("/window", |policy| policy.key = KeySource::Window(WINDOW)),
        with("/json", |policy| {
            policy.fingerprint = BodyFingerprint::Json { omit: vec!["sent_at".into()] };
            policy.request_memory_max = MEMORY_BYTES_MAX;
        }),
        with("/spooled", |policy| policy.request_memory_max = MEMORY_BYTES_MAX),
        with("/multipart", |policy| {
            policy.fingerprint = BodyFingerprint::Multipart { omit: vec!["sent_at".into()] };
            policy.request_memory_max = MEMORY_BYTES_MAX;
        }),
        with("/later", |policy| {
            let by = OrderingKey::Header(HeaderName::from_static("x-account"));
            let ordering = ordered(by, LaneTrouble::Passes);
            policy.background = Some(BackgroundPolicy { ordering, ..left(BackgroundMode::Always) });
        }),
        with("/later-open", |policy| {
            policy.anonymous = true;
            let ordering = ordered(OrderingKey::Field("account.id".into()), LaneTrouble::Blocks);
            policy.background = Some(BackgroundPolicy { ordering, ..left(BackgroundMode::Always) });
        }),
        with("/later-trusted", |policy| {
            let kept_credentials = vec![header::AUTHORIZATION];
            policy.background = Some(BackgroundPolicy { kept_credentials, ..left(BackgroundMode::Always) });
        }),
        with("/later-window", |policy| {
            policy.key = KeySource::Window(WINDOW);
            policy.background = Some(left(BackgroundMode::Always));
        }),
        with("/rather", |policy| policy.background = Some(left(BackgroundMode::Allowed))),
        with("/otherwise", |policy| policy.background = Some(left(BackgroundMode::OnFailure))),
        with("/principals", |policy| policy.namespace = NamespaceScope::Principal),
    ]
}
