//! The decision trace: what each part decided about a request on its way, so that "why was this refused?" has an
//! answer.
//!
//! A request's future is polled by one thread at a time, so whoever decides something tells the thread, not the
//! request: [`note`] writes into the trace of the request that is being polled just now ([`traced`]), and does nothing
//! where none is. No layer's future grows for it, and what goes on without its caller, in a task of its own, notes
//! nothing. Traces are kept on a shelf by each thread and used again, so that a plain request allocates nothing for
//! its own: it pays for a look at the clock where an attempt begins and ends, and what policies decide between is dated
//! by that.
//!
//! What stands in a trace may be shown to whoever runs the gateway: names of policies, principals and endpoints,
//! numbers and times. Credentials, keys and queries never do.

mod step;

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::{HeaderName, HeaderValue};
use steadfast_core::Code;

pub use step::{AttemptEnd, Fact, FactValue, Facts, Part, Step, Verdict};

/// The header in which a refusal says what was decided: a List (RFC 9651, section 3.1) with one Token a step.
pub const DECISION_HEADER: HeaderName = HeaderName::from_static("steadfast-decision");

/// How many bytes that has at the most; of a longer one the first steps are left out.
const HEADER_BYTES_MAX: usize = 1_024;

/// How many steps of one request are kept; later ones are counted.
pub const STEPS_MAX: usize = 48;

/// How many traces a thread keeps at hand.
const SHELF_MAX: usize = 256;

/// Traces with room for more steps than this are not kept at hand.
const SHELVED_STEPS_MAX: usize = 16;

/// How many steps there is room for from the beginning.
const ROOM: usize = 8;

thread_local! {
    /// The trace of the request that this thread polls.
    static CURRENT: RefCell<Option<Box<Notes>>> = const { RefCell::new(None) };
    #[expect(clippy::vec_box, reason = "they are handed out as boxes, and are to keep their places")]
    static SHELF: RefCell<Vec<Box<Notes>>> = const { RefCell::new(Vec::new()) };
    /// How many traces were begun.
    static BEGUN: Cell<u32> = const { Cell::new(0) };
}

#[derive(Debug)]
struct Notes {
    /// Which trace it is.
    serial: u32,
    began: Instant,
    steps: Vec<Step>,
    /// From which step on none has its time yet.
    undated: usize,
    attempts: u32,
    left_out: u32,
}

impl Notes {
    /// Looks at the clock, and dates what was decided since it was looked at last.
    fn date(&mut self) -> Duration {
        let now = self.began.elapsed();
        for step in &mut self.steps[self.undated..] {
            step.at = now;
        }
        self.undated = self.steps.len();
        now
    }

    fn date_all(&mut self) {
        if self.undated < self.steps.len() {
            self.date();
        }
    }

    /// Adds what was decided just now, to be dated soon; its place, where there was room.
    fn add(&mut self, part: Part, verdict: Verdict, facts: Facts) -> Mark {
        let place = self.steps.len();
        if place >= STEPS_MAX {
            self.left_out = self.left_out.saturating_add(1);
            return Mark::default();
        }
        self.steps.push(Step { at: Duration::ZERO, took: None, part, verdict, facts });
        Mark(Some((self.serial, place as u32)))
    }

    /// The same, dated at once.
    fn add_dated(&mut self, part: Part, verdict: Verdict, facts: Facts) -> Mark {
        let mark = self.add(part, verdict, facts);
        self.date();
        mark
    }
}

/// What was decided about one request so far.
#[derive(Debug, Default)]
pub struct Trace(Option<Box<Notes>>);

impl Trace {
    /// The trace of a request that began then.
    #[must_use]
    pub fn begin(began: Instant) -> Self {
        let shelved = SHELF.try_with(|shelf| shelf.borrow_mut().pop()).ok().flatten();
        let mut notes = shelved.unwrap_or_else(|| {
            let steps = Vec::with_capacity(ROOM);
            Box::new(Notes { serial: 0, began, steps, undated: 0, attempts: 0, left_out: 0 })
        });
        let serial = BEGUN.get().wrapping_add(1);
        BEGUN.set(serial);
        (notes.serial, notes.began) = (serial, began);
        Self(Some(notes))
    }

    /// One into which nothing is written.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// Adds what was decided just now, by who is not polled.
    pub fn add(&mut self, part: Part, verdict: Verdict, facts: Facts) {
        if let Some(notes) = &mut self.0 {
            notes.add_dated(part, verdict, facts);
        }
    }

    /// What was decided, in the order in which it began.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        self.0.as_ref().map_or(&[], |notes| &notes.steps)
    }

    /// Them as they are remembered for long: each takes up little.
    #[must_use]
    pub fn remembered(&self) -> Box<[Step]> {
        self.steps().iter().map(Step::remembered).collect()
    }

    /// Whether another service refused it, in its own words.
    #[must_use]
    pub fn is_refused_elsewhere(&self) -> bool {
        let theirs = |step: &Step| step.verdict == Verdict::Refused && matches!(step.facts, Facts::Theirs(_));
        self.steps().iter().any(theirs)
    }

    /// Adds the refusal that its caller gets, unless the part that refused noted it itself.
    pub fn refused(&mut self, code: Code, retry_after: Option<Duration>) {
        let is_noted = self.steps().iter().any(|step| step.code() == Some(code));
        if !is_noted {
            let facts = Facts::Refusal { code, retry_after };
            self.add(Part::refusing_with(code), Verdict::Refused, facts);
        }
    }

    /// What was decided, as its caller may read it in [`DECISION_HEADER`]; nothing where nothing was noted.
    #[must_use]
    pub fn told_to_caller(&self) -> Option<HeaderValue> {
        let mut told: Vec<String> = Vec::new();
        let mut bytes = 0;
        for step in self.steps().iter().rev().filter(|step| step.is_for_callers()) {
            let item = step.told();
            bytes += item.len() + ", ".len();
            if bytes > HEADER_BYTES_MAX {
                break;
            }
            told.push(item);
        }
        told.reverse();
        HeaderValue::from_str(&told.join(", ")).ok().filter(|value| !value.is_empty())
    }

    /// How many steps found no room.
    #[must_use]
    pub fn left_out(&self) -> u32 {
        self.0.as_ref().map_or(0, |notes| notes.left_out)
    }
}

/// Puts it back on the shelf.
impl Drop for Trace {
    fn drop(&mut self) {
        let Some(mut notes) = self.0.take() else { return };
        if notes.steps.capacity() > SHELVED_STEPS_MAX {
            return;
        }
        notes.steps.clear();
        (notes.undated, notes.attempts, notes.left_out) = (0, 0, 0);
        // A thread that ends has no shelf any more.
        let _ = SHELF.try_with(|shelf| {
            let mut shelf = shelf.borrow_mut();
            if shelf.len() < SHELF_MAX {
                shelf.push(notes);
            }
        });
    }
}

/// Lets whatever `inner` does be noted in `trace`.
pub fn traced<F: Future>(trace: &mut Trace, inner: F) -> Traced<'_, F> {
    Traced { inner, trace }
}

pin_project_lite::pin_project! {
    /// See [`traced`].
    pub struct Traced<'a, F> {
        #[pin]
        inner: F,
        trace: &'a mut Trace,
    }
}

impl<F: Future> Future for Traced<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _noted = Noted::into(this.trace);
        this.inner.poll(context)
    }
}

/// While it lives, the thread notes into a trace; then, however that ends, into the one before.
struct Noted<'a> {
    trace: &'a mut Trace,
    before: Option<Box<Notes>>,
}

impl<'a> Noted<'a> {
    fn into(trace: &'a mut Trace) -> Self {
        let before = swapped(trace.0.take());
        Self { trace, before }
    }
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.trace.0 = swapped(self.before.take());
        if let Some(notes) = &mut self.trace.0 {
            notes.date_all();
        }
    }
}

/// Lets the thread note into `notes`; those into which it noted before.
fn swapped(notes: Option<Box<Notes>>) -> Option<Box<Notes>> {
    // A thread that ends notes nothing any more.
    CURRENT.try_with(|current| current.replace(notes)).ok().flatten()
}

/// Lets nothing that `inner` does be noted, whoever awaits it: what is asked on the gateway's own behalf is no part of
/// what was decided about a request.
pub fn unnoted<F: Future>(inner: F) -> Unnoted<F> {
    Unnoted { inner }
}

pin_project_lite::pin_project! {
    /// See [`unnoted`].
    pub struct Unnoted<F> {
        #[pin]
        inner: F,
    }
}

impl<F: Future> Future for Unnoted<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let mut nothing = Trace::none();
        let _noted = Noted::into(&mut nothing);
        self.project().inner.poll(context)
    }
}

/// Notes what was decided about the request that is being polled. It gets the time of the next look at the clock: when
/// something begins or ends, or when the thread has polled it as far as it goes, which is microseconds later.
pub fn note(part: Part, verdict: Verdict, facts: impl FnOnce() -> Facts) {
    with_current(|notes| {
        let facts = facts();
        notes.add(part, verdict, facts);
    });
}

/// Does something to the trace of the request that is being polled, where one is: a thread that ends has none.
fn with_current<T>(change: impl FnOnce(&mut Notes) -> T) -> Option<T> {
    CURRENT.try_with(|current| current.borrow_mut().as_deref_mut().map(change)).ok().flatten()
}

/// Where something stands in a trace that has begun and not ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark(Option<(u32, u32)>);

/// Notes that something begins that takes time: waiting for a place, asking the ledger.
pub fn begin(part: Part, facts: impl FnOnce() -> Facts) -> Mark {
    with_current(|notes| {
        let facts = facts();
        notes.add_dated(part, Verdict::UnderWay, facts)
    })
    .unwrap_or_default()
}

/// Notes that an attempt begins, at the endpoint of this name. Attempts are numbered by themselves.
pub fn begin_attempt(endpoint: impl FnOnce() -> Arc<str>) -> Mark {
    with_current(|notes| {
        notes.attempts += 1;
        let facts = Facts::Attempt { number: notes.attempts, endpoint: endpoint(), end: None };
        notes.add_dated(Part::Attempt, Verdict::UnderWay, facts)
    })
    .unwrap_or_default()
}

/// Notes how what began at `mark` ended; `tell` says what is known more than at its beginning. Nothing, where that was
/// in another request's trace.
pub fn end(mark: Mark, verdict: Verdict, tell: impl FnOnce(&mut Facts)) {
    let Mark(Some((serial, place))) = mark else { return };
    with_current(|notes| {
        if notes.serial != serial {
            return;
        }
        let elapsed = notes.date();
        if let Some(step) = notes.steps.get_mut(place as usize) {
            step.verdict = verdict;
            step.took = Some(elapsed.saturating_sub(step.at));
            tell(&mut step.facts);
        }
    });
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use steadfast_core::Code;

    use super::*;

    fn poll<F: Future>(trace: &mut Trace, inner: F) -> Poll<F::Output> {
        let mut context = Context::from_waker(Waker::noop());
        std::pin::pin!(traced(trace, inner)).as_mut().poll(&mut context)
    }

    fn refusal(code: Code) -> Facts {
        Facts::Refusal { code, retry_after: None }
    }

    #[test]
    fn each_request_has_what_was_decided_about_it_and_nothing_of_another() {
        let (mut outer, mut inner) = (Trace::begin(Instant::now()), Trace::begin(Instant::now()));
        note(Part::Limit, Verdict::Passed, || panic!("nobody is polled"));
        let nested = async {
            note(Part::Authenticate, Verdict::Passed, || Facts::None);
            let polled = poll(&mut inner, async {
                note(Part::Limit, Verdict::Refused, || refusal(Code::QuotaExceeded))
            });
            assert!(polled.is_ready());
            note(Part::Shed, Verdict::Passed, || Facts::None);
        };
        assert!(poll(&mut outer, nested).is_ready());
        let parts = |trace: &Trace| trace.steps().iter().map(|step| step.part).collect::<Vec<_>>();
        assert_eq!(parts(&outer), [Part::Authenticate, Part::Shed]);
        assert_eq!(parts(&inner), [Part::Limit]);
        assert_eq!(inner.steps()[0].facts, refusal(Code::QuotaExceeded));
    }

    #[test]
    fn what_is_asked_on_the_gateways_own_behalf_stands_in_no_trace() {
        let mut trace = Trace::begin(Instant::now());
        let _ = poll(&mut trace, async {
            let mark = begin(Part::Authenticate, || Facts::None);
            unnoted(async { note(Part::Attempt, Verdict::Answered, || panic!("it is not noted")) }).await;
            end(mark, Verdict::Refused, |facts| *facts = Facts::Theirs(403));
            note(Part::Fallback, Verdict::Passed, || Facts::None);
        });
        let parts: Vec<Part> = trace.steps().iter().map(|step| step.part).collect();
        assert_eq!(parts, [Part::Authenticate, Part::Fallback]);
        assert!(trace.is_refused_elsewhere(), "{trace:?}");
        let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            poll(&mut trace, unnoted(async { panic!("a client's mistake") }))
        }));
        assert!(broken.is_err());
        let _ = poll(&mut trace, async { note(Part::Claim, Verdict::Passed, || Facts::None) });
        assert_eq!(trace.steps().len(), 3);
    }

    #[test]
    fn a_request_that_panics_leaves_its_trace_to_itself() {
        let mut trace = Trace::begin(Instant::now());
        let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            poll(&mut trace, async {
                note(Part::Limit, Verdict::Passed, || Facts::None);
                panic!("a layer's mistake");
            })
        }));
        assert!(broken.is_err());
        assert_eq!(trace.steps().len(), 1);
        note(Part::Limit, Verdict::Passed, || panic!("nobody is polled"));
    }

    #[test]
    fn what_begins_ends_with_the_time_that_it_took() {
        let (mut trace, mut other) = (Trace::begin(Instant::now()), Trace::begin(Instant::now()));
        let mut mark = Mark::default();
        let _ = poll(&mut trace, async {
            mark = begin_attempt(|| "http://a".into());
            begin(Part::Shed, || Facts::None);
        });
        let _ = poll(&mut other, async { end(mark, Verdict::Refused, |_| panic!("another's")) });
        std::thread::sleep(Duration::from_millis(2));
        let _ = poll(&mut trace, async {
            end(mark, Verdict::Answered, |facts| {
                if let Facts::Attempt { end, .. } = facts {
                    *end = Some(AttemptEnd::Status(200));
                }
            });
        });
        let [attempt, shed] = trace.steps() else { panic!("{trace:?}") };
        assert_eq!((attempt.verdict, shed.verdict), (Verdict::Answered, Verdict::UnderWay));
        assert!(attempt.took.is_some_and(|took| took >= Duration::from_millis(2)), "{attempt:?}");
        assert_eq!(shed.took, None);
    }

    #[test]
    fn what_is_decided_at_once_has_the_time_of_what_comes_next_or_of_the_end_of_its_turn() {
        let mut trace = Trace::begin(Instant::now());
        let pause = || std::thread::sleep(Duration::from_millis(2));
        let _ = poll(&mut trace, async {
            note(Part::Authenticate, Verdict::Passed, || Facts::None);
            pause();
            note(Part::Limit, Verdict::Passed, || Facts::None);
            let mark = begin_attempt(|| "http://a".into());
            pause();
            end(mark, Verdict::Answered, |_| {});
            note(Part::Fallback, Verdict::Passed, || Facts::None);
            pause();
        });
        trace.add(Part::Courtesy, Verdict::Passed, Facts::None);
        let at: Vec<Duration> = trace.steps().iter().map(|step| step.at).collect();
        let [authenticated, limited, attempt, fallback, courtesy] = *at else { panic!("{trace:?}") };
        assert_eq!((authenticated, limited), (attempt, attempt));
        assert!(authenticated >= Duration::from_millis(2), "{trace:?}");
        assert!(fallback >= attempt + Duration::from_millis(4) && courtesy >= fallback, "{trace:?}");
    }

    #[test]
    fn a_refusal_is_noted_once_by_who_refused_or_for_them() {
        let mut trace = Trace::begin(Instant::now());
        trace.add(Part::Courtesy, Verdict::Refused, refusal(Code::TemporaryReducedCapacity));
        trace.refused(Code::TemporaryReducedCapacity, None);
        assert_eq!(trace.steps().len(), 1);
        trace.refused(Code::DeadlineExceeded, Some(Duration::from_secs(2)));
        trace.refused(Code::TemporaryReducedCapacity, None);
        assert!(!trace.is_refused_elsewhere());
        assert_eq!(
            trace.told_to_caller().expect("it was refused"),
            "courtesy;refused;code=temporary-reduced-capacity, deadline;refused;code=deadline-exceeded;t=2"
        );
        assert_eq!(Trace::none().told_to_caller(), None);
    }

    #[test]
    fn a_limit_in_shadow_mode_or_uncounted_is_the_operators_alone() {
        let mut trace = Trace::begin(Instant::now());
        let (remaining, reset_s, wait) = (Some(0), None, Duration::ZERO);
        let limit = |enforced| {
            let policy = "trial".into();
            Facts::Limit { policy, remaining, reset_s, wait, enforced, is_told: true }
        };
        trace.add(Part::Limit, Verdict::WouldRefuse, limit(false));
        trace.add(Part::Limit, Verdict::Uncounted, limit(true));
        assert_eq!(trace.told_to_caller(), None);
        trace.refused(Code::CircuitOpen, None);
        assert_eq!(trace.told_to_caller().expect("it was refused"), "circuit;refused;code=circuit-open");
    }

    #[test]
    fn a_long_story_is_told_from_its_end() {
        let mut trace = Trace::begin(Instant::now());
        for _ in 0..STEPS_MAX - 1 {
            trace.add(Part::Retry, Verdict::Repeated, Facts::Pause { why: "lost", pause: Duration::ZERO });
        }
        trace.refused(Code::CircuitOpen, None);
        let told = trace.told_to_caller().expect("it was refused");
        assert!(told.len() <= HEADER_BYTES_MAX, "{}", told.len());
        assert!(
            told.to_str().is_ok_and(|told| told.ends_with("circuit;refused;code=circuit-open")),
            "{told:?}"
        );
    }

    #[test]
    fn a_request_that_never_ends_has_a_bounded_trace() {
        let mut trace = Trace::begin(Instant::now());
        for _ in 0..STEPS_MAX + 3 {
            trace.add(Part::Claim, Verdict::Passed, Facts::None);
        }
        assert_eq!((trace.steps().len(), trace.left_out()), (STEPS_MAX, 3));
    }

    #[test]
    fn a_plain_request_uses_the_room_of_the_one_before_and_allocates_none() {
        let place = |trace: &Trace| {
            let notes = trace.0.as_deref().expect("it notes");
            (std::ptr::from_ref(notes).addr(), notes.steps.as_ptr().addr(), notes.steps.capacity())
        };
        let first = Trace::begin(Instant::now());
        let expected = place(&first);
        drop(first);
        for _ in 0..3 {
            let mut next = Trace::begin(Instant::now());
            assert_eq!(place(&next), expected);
            assert!(next.steps().is_empty());
            let _ = poll(&mut next, async {
                note(Part::Authenticate, Verdict::Passed, || Facts::None);
                let mark = begin_attempt(|| "http://a".into());
                end(mark, Verdict::Answered, |_| {});
            });
            assert_eq!(next.steps().len(), 2);
        }
    }

    #[test]
    fn the_shelf_is_bounded_and_holds_no_large_ones() {
        let all: Vec<Trace> = (0..SHELF_MAX + 9).map(|_| Trace::begin(Instant::now())).collect();
        drop(all);
        assert_eq!(SHELF.with_borrow(Vec::len), SHELF_MAX);
        let mut large = Trace::begin(Instant::now());
        for _ in 0..STEPS_MAX {
            large.add(Part::Claim, Verdict::Passed, Facts::None);
        }
        drop(large);
        assert_eq!(SHELF.with_borrow(Vec::len), SHELF_MAX - 1);
    }
}
