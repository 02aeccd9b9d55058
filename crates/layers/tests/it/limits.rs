//! Limits round a service of one's own, whose principals are known.

use std::{
    convert::Infallible,
    future::ready,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use steadfast_core::{CredentialId, LimitAlgorithm, LimitDecision, Period, Quota, Timestamp};
use steadfast_layers::{
    ClientAddress, HeldBody, LIMITED_KEYS_MAX, Limit, LimitClock, LimitHeaders, LimitPolicy, LimitStore,
    LimitTally, LimitedKey, Limiter, LimitsLayer, LocalLimits, Look, LookedUp, Per, Principal,
    PrincipalFacts, RouteLimits, Take, Taken, TakenLater,
};
use steadfast_ledger::Clock;
use tower::{Layer, ServiceExt, service_fn};

const STANDARD: LimitHeaders = LimitHeaders { standard: true, older: false };

fn a_day(count: u64) -> Quota {
    let period = Period::Time(Duration::from_secs(86_400));
    Quota { algorithm: LimitAlgorithm::TokenBucket, count, period, burst: count }
}

struct World {
    limiter: Arc<Limiter>,
    limits: Vec<Arc<Limit>>,
    clock: Clock,
}

impl World {
    fn of(policies: Vec<LimitPolicy>) -> Self {
        let clock = Clock::manual(Timestamp::from_millis(1_795_737_600_000));
        let limiter = Arc::new(Limiter::new(LimitClock::new(clock.clone()), 10_000));
        let limits = policies
            .into_iter()
            .map(|policy| Arc::new(Limit::new(policy, Arc::new(LimitTally::default()), Arc::default())));
        Self { limiter, limits: limits.collect(), clock }
    }

    fn route(&self) -> Arc<RouteLimits> {
        let limits = self.limits.clone();
        RouteLimits::new("a route".into(), limits, Arc::clone(&self.limiter), STANDARD, false)
            .expect("limits")
    }

    async fn ask(&self, who: Option<&Principal>, address: &str) -> Response<Bytes> {
        let mut request = Request::new(());
        if let Some(who) = who {
            request.extensions_mut().insert(who.clone());
        }
        let address: IpAddr = address.parse().expect("an address");
        request.extensions_mut().insert(ClientAddress(address));
        let inner = service_fn(|_: Request<()>| {
            ready(Ok::<_, Infallible>(Response::new(HeldBody::Passed(Full::new(Bytes::from_static(
                b"done",
            ))))))
        });
        let Ok(response) = LimitsLayer::new(Some(self.route())).layer(inner).oneshot(request).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        Response::from_parts(parts, body)
    }

    async fn passes(&self, who: Option<&Principal>, address: &str, times: usize) -> usize {
        let mut passed = 0;
        for _ in 0..times {
            passed += usize::from(self.ask(who, address).await.status() == 200);
        }
        passed
    }
}

fn principal(name: &str, attributes: &[(&str, &str)], credential: Option<u64>) -> Principal {
    Principal::new(PrincipalFacts {
        name: name.into(),
        credential: credential.map(CredentialId::from_bits),
        attributes: attributes.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        ..PrincipalFacts::default()
    })
}

#[tokio::test]
async fn a_principal_has_one_count_wherever_it_calls_from_and_nobody_is_counted_by_address() {
    let world = World::of(vec![LimitPolicy::new("p", Per::Principal, a_day(3))]);
    let acme = principal("acme", &[], None);
    assert_eq!(world.passes(Some(&acme), "192.0.2.1", 2).await, 2);
    assert_eq!(world.passes(Some(&acme), "192.0.2.2", 5).await, 1);
    assert_eq!(world.passes(Some(&principal("Acme", &[], None)), "192.0.2.1", 5).await, 3);
    // Without a principal, or with one that has no name, the address counts; a principal of that name is another.
    assert_eq!(world.passes(None, "192.0.2.1", 2).await, 2);
    assert_eq!(world.passes(Some(&principal("", &[], None)), "192.0.2.1", 5).await, 1);
    assert_eq!(world.passes(Some(&principal("192.0.2.1", &[], None)), "192.0.2.9", 5).await, 3);
}

#[tokio::test]
async fn tenants_and_credentials_are_counted_and_stand_for_their_principal_where_there_is_none() {
    let world = World::of(vec![LimitPolicy::new("t", Per::Tenant, a_day(3))]);
    let of = |name, tenant: &str| principal(name, &[("tenant", tenant)], None);
    assert_eq!(world.passes(Some(&of("ada", "acme")), "192.0.2.1", 2).await, 2);
    assert_eq!(world.passes(Some(&of("eve", "acme")), "192.0.2.1", 5).await, 1);
    assert_eq!(world.passes(Some(&of("eve", "other")), "192.0.2.1", 5).await, 3);
    assert_eq!(world.passes(Some(&principal("eve", &[], None)), "192.0.2.1", 5).await, 3);

    let world = World::of(vec![LimitPolicy::new("c", Per::Credential, a_day(3))]);
    assert_eq!(world.passes(Some(&principal("ada", &[], Some(1))), "192.0.2.1", 5).await, 3);
    assert_eq!(world.passes(Some(&principal("ada", &[], Some(2))), "192.0.2.1", 5).await, 3);
}

#[tokio::test]
async fn a_plan_allows_what_it_says_and_its_callers_are_told_that() {
    let policy = LimitPolicy {
        plans: vec![("pro".into(), a_day(5))],
        ..LimitPolicy::new("p", Per::Principal, a_day(2))
    };
    let world = World::of(vec![policy]);
    let on = |name, plan: &str| principal(name, &[("plan", plan)], None);
    let first = world.ask(Some(&on("pro", "pro")), "192.0.2.1").await;
    assert_eq!(first.headers()["ratelimit-policy"], "\"p\";q=5;w=86400");
    assert_eq!(world.passes(Some(&on("pro", "pro")), "192.0.2.1", 9).await, 4);
    assert_eq!(world.passes(Some(&on("free", "free")), "192.0.2.1", 9).await, 2);
    let free = world.ask(Some(&on("free", "free")), "192.0.2.1").await;
    assert_eq!(free.headers()["ratelimit-policy"], "\"p\";q=2;w=86400");
    // A plan that changes goes on with what was counted.
    assert_eq!(world.passes(Some(&on("free", "pro")), "192.0.2.1", 9).await, 3);
}

#[tokio::test]
async fn raised_limits_hold_for_their_time_for_one_alone() {
    let world = World::of(vec![
        LimitPolicy::new("p", Per::Principal, a_day(2)),
        LimitPolicy { per: vec![Per::Principal, Per::Route], ..LimitPolicy::new("pr", Per::Route, a_day(2)) },
    ]);
    let acme = principal("acme", &[], None);
    assert_eq!(world.passes(Some(&acme), "192.0.2.1", 5).await, 2);
    let raise = steadfast_layers::Raise {
        limit: None,
        subject: "acme".into(),
        factor: 2.0,
        until: world.limiter.until(Duration::from_secs(3_600)),
        reason: "".into(),
        by: "".into(),
    };
    world.limiter.raise(&world.limits, raise).expect("raised");
    assert_eq!(world.passes(Some(&acme), "192.0.2.1", 5).await, 2);
    assert_eq!(world.passes(Some(&principal("other", &[], None)), "192.0.2.1", 5).await, 2);
    // All of its counts are found, and forgotten.
    let found = world.limiter.standings(&world.limits, "acme", None, true).await.expect("found");
    assert_eq!(found.len(), 2);
    assert_eq!(world.passes(Some(&acme), "192.0.2.1", 9).await, 4);
    world.limiter.standings(&world.limits, "acme", None, true).await.expect("found");
    world.clock.advance(Duration::from_secs(3_600));
    assert_eq!(world.passes(Some(&acme), "192.0.2.1", 9).await, 2);
}

/// A store that nodes share, which says what the test wants, later.
#[derive(Debug, Default)]
struct Elsewhere {
    says: Mutex<Vec<Taken>>,
    asked: Mutex<Vec<(String, LimitedKey)>>,
}

impl LimitStore for Elsewhere {
    fn take(&self, takes: &[Take<'_>], _: &mut [Taken]) -> Option<TakenLater> {
        self.asked
            .lock()
            .expect("a lock")
            .extend(takes.iter().map(|take| (take.limit.to_string(), take.key)));
        let said = self.says.lock().expect("a lock").remove(0);
        let said = vec![said; takes.len()];
        Some(Box::pin(async move {
            tokio::task::yield_now().await;
            said
        }))
    }

    fn give_back(&self, _: &Take<'_>) {}

    fn charge(&self, _: &Take<'_>) {}

    fn look(&self, _: Vec<Look>) -> LookedUp {
        Box::pin(ready(Ok(Vec::new())))
    }
}

#[tokio::test]
async fn what_is_counted_elsewhere_is_waited_for_and_its_refusal_costs_nothing_here() {
    let world = World::of(vec![
        LimitPolicy { is_shared: true, ..LimitPolicy::new("shared", Per::Principal, a_day(9)) },
        LimitPolicy::new("here", Per::Principal, a_day(3)),
    ]);
    let elsewhere = Arc::new(Elsewhere::default());
    world.limiter.share_through(Arc::clone(&elsewhere) as _);
    let acme = principal("acme", &[], None);
    let allowed = Taken::Told(LimitDecision::Allowed {
        remaining: 8,
        reset: Duration::from_secs(1),
        wait: Duration::ZERO,
    });
    let refused = Taken::Told(LimitDecision::Refused { remaining: 0, after: Some(Duration::from_secs(5)) });
    *elsewhere.says.lock().unwrap() = vec![allowed, refused, refused, Taken::Lost, Taken::Uncounted, allowed];
    let mut answers = Vec::new();
    for _ in 0..7 {
        answers.push(world.ask(Some(&acme), "192.0.2.1").await);
    }
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status().as_u16()).collect();
    // The last one is refused here, before anybody else is asked.
    assert_eq!(statuses, [200, 429, 429, 503, 200, 200, 429]);
    assert_eq!(answers[0].headers()["ratelimit-policy"], "\"shared\";q=9;w=86400, \"here\";q=3;w=86400");
    let told = answers[1].headers()["ratelimit"].to_str().expect("text").to_owned();
    assert!(told.starts_with("\"shared\";r=0;t="), "{told}");
    let lost = String::from_utf8_lossy(answers[3].body()).into_owned();
    assert!(
        lost.contains("temporary-reduced-capacity") && lost.contains("\"violated-policies\":[\"shared\"]"),
        "{lost}"
    );
    let asked = elsewhere.asked.lock().unwrap();
    assert_eq!(asked.len(), 6);
    assert!(asked.iter().all(|one| *one == asked[0]), "the same key for the same caller");
    let tally = world.limits[0].tally();
    assert_eq!((tally.allowed.get(), tally.refused.get(), tally.uncounted.get()), (2, 3, 1));
}

/// A store that never says anything.
#[derive(Debug)]
struct Silent;

impl LimitStore for Silent {
    fn take(&self, _: &[Take<'_>], _: &mut [Taken]) -> Option<TakenLater> {
        Some(Box::pin(std::future::pending()))
    }

    fn give_back(&self, _: &Take<'_>) {}

    fn charge(&self, _: &Take<'_>) {}

    fn look(&self, _: Vec<Look>) -> LookedUp {
        Box::pin(ready(Ok(Vec::new())))
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_while_somebody_else_is_asked_leaves_no_place_taken_here() {
    let places = Quota { algorithm: LimitAlgorithm::Concurrency, ..a_day(1) };
    let world = World::of(vec![
        LimitPolicy::new("places", Per::Address, places),
        LimitPolicy { is_shared: true, ..LimitPolicy::new("shared", Per::Address, a_day(9)) },
    ]);
    world.limiter.share_through(Arc::new(Silent));
    for _ in 0..3 {
        let left = tokio::time::timeout(Duration::from_secs(1), world.ask(None, "192.0.2.1")).await;
        assert!(left.is_err(), "it waits: its place was free");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_its_turn_goes_then_and_one_that_leaves_frees_its_place() {
    let calm = Quota {
        algorithm: LimitAlgorithm::LeakyBucket,
        count: 1,
        period: Period::Time(Duration::from_secs(1)),
        burst: 3,
    };
    let world = World::of(vec![LimitPolicy::new("calm", Per::Address, calm)]);
    let began = tokio::time::Instant::now();
    for second in 0..3 {
        assert_eq!(world.ask(None, "192.0.2.1").await.status(), 200);
        // The clock of limits stands still: each waits for all before it.
        assert_eq!(began.elapsed().as_secs(), (0..=second).sum::<u64>());
    }
    assert_eq!(world.ask(None, "192.0.2.1").await.status(), 429);
    assert_eq!(world.limits[0].tally().delayed.get(), 2);
}

#[test]
fn a_million_counts_take_up_less_than_two_hundred_megabytes() {
    // Of the sliding window, whose counts are the largest.
    let quota = Quota { algorithm: LimitAlgorithm::SlidingWindow, ..a_day(100) };
    let limits = LocalLimits::new(LimitClock::new(Clock::system()), LIMITED_KEYS_MAX);
    let limit: Arc<str> = "per-address".into();
    let before = resident_bytes();
    for number in 0..1_000_000_u64 {
        let rest = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let key = LimitedKey { subject: number, rest: rest ^ (rest >> 29) };
        let take = Take { limit: &limit, key, cost: 1, quota, enforced: true, wait_max: Duration::ZERO };
        let _ = limits.take(&[take], &mut [Taken::Uncounted]);
    }
    let held = limits.held();
    let bytes = resident_bytes() - before;
    assert_eq!((held, limits.evicted()), (1_000_000, 0));
    println!("{} bytes a count", bytes / held);
    assert!(bytes < 200_000_000, "{bytes} bytes");
}

/// How much memory this process takes up: pages of four kilobytes.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    statm.split_whitespace().nth(1).expect("resident").parse::<u64>().expect("a number") * 4_096
}
