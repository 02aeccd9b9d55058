//! Keeps calls from a service whose circuit is open, and lets the circuit judge it by its answers.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use steadfast_core::{AnswerPolicy, Code, Reading, circuit::Held};
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    AttemptFailed, Circuit, Deadline, Permit, call_answered, call_failed, held_by_circuit,
    trace::{self, Facts, Part, Verdict},
};

/// Wraps a service in [`CircuitService`].
#[derive(Clone, Debug)]
pub struct CircuitLayer {
    circuit: Circuit,
    answers: Arc<AnswerPolicy>,
}

impl CircuitLayer {
    /// Lets `circuit` judge the service by its answers, read as `answers` says, unless they carry a [`Reading`].
    #[must_use]
    pub fn new(circuit: Circuit, answers: AnswerPolicy) -> Self {
        Self { circuit, answers: Arc::new(answers) }
    }
}

impl<S> Layer<S> for CircuitLayer {
    type Service = CircuitService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitService { inner, circuit: self.circuit.clone(), answers: Arc::clone(&self.answers) }
    }
}

/// See the [module](self)'s words.
#[derive(Clone, Debug)]
pub struct CircuitService<S> {
    inner: S,
    circuit: Circuit,
    answers: Arc<AnswerPolicy>,
}

impl<S, B, R> Service<Request<B>> for CircuitService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<AttemptFailed>,
{
    type Response = Response<R>;
    type Error = AttemptFailed;
    type Future = CircuitFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), AttemptFailed>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let deadline = request.extensions().get::<Deadline>().copied();
        let admitted = match self.circuit.admit(Instant::now(), deadline) {
            Ok(permit) => Admitted::Yes(permit),
            Err(held) => {
                self.circuit.count_refused();
                let (code, retry_after) = (Code::CircuitOpen, Some(held.retry_after));
                trace::note(Part::Circuit, Verdict::Refused, || Facts::Refusal { code, retry_after });
                Admitted::No(held)
            }
        };
        let inner = matches!(admitted, Admitted::Yes(_)).then(|| self.inner.call(request));
        CircuitFuture { inner, admitted, answers: Arc::clone(&self.answers) }
    }
}

enum Admitted {
    Yes(Permit),
    No(Held),
}

pin_project_lite::pin_project! {
    /// The answer of a [`CircuitService`].
    pub struct CircuitFuture<F> {
        #[pin]
        inner: Option<F>,
        admitted: Admitted,
        answers: Arc<AnswerPolicy>,
    }
}

impl<F, R, E> Future for CircuitFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<AttemptFailed>,
{
    type Output = Result<Response<R>, AttemptFailed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (permit, inner) = match (this.admitted, this.inner.as_pin_mut()) {
            (Admitted::Yes(permit), Some(inner)) => (permit, inner),
            (Admitted::No(held), _) => return Poll::Ready(Err(held_by_circuit(*held))),
            // There is no leave without a call.
            (Admitted::Yes(_), None) => return Poll::Pending,
        };
        let answered = ready!(inner.poll(context)).map_err(Into::into);
        let end = match &answered {
            Ok(response) => {
                let status = response.status().as_u16();
                let said = response.extensions().get::<Reading>().copied();
                call_answered(status, said.unwrap_or_else(|| this.answers.read(status, false)))
            }
            Err(failed) => call_failed(failed),
        };
        permit.end(end, Instant::now());
        Poll::Ready(answered)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, sync::Mutex, time::Duration};

    use steadfast_core::{
        UnknownCause,
        circuit::{CallEnd, CircuitPolicy, Phase},
    };
    use tokio::time::advance;

    use super::*;
    use crate::{ByHand, Siblings, UpstreamTally};

    fn policy() -> CircuitPolicy {
        CircuitPolicy { volume_min: 4, probes: 1, ..CircuitPolicy::default() }
    }

    fn circuit(policy: CircuitPolicy, tally: &Arc<UpstreamTally>, siblings: &Siblings) -> Circuit {
        Circuit::new(policy, "bank", "http://bank", Arc::clone(tally), siblings)
    }

    /// A service that answers with one status after the other; 0 stands for no answer, 1 for one that never comes.
    #[derive(Clone)]
    struct Script(Arc<Mutex<VecDeque<u16>>>);

    impl Script {
        fn of(statuses: &[u16]) -> Self {
            Self(Arc::new(Mutex::new(statuses.iter().copied().collect())))
        }
    }

    impl Service<Request<()>> for Script {
        type Response = Response<()>;
        type Error = AttemptFailed;
        type Future = Pin<Box<dyn Future<Output = Result<Response<()>, AttemptFailed>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), AttemptFailed>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            let status = self.0.lock().unwrap().pop_front().expect("it was not to be asked");
            Box::pin(async move {
                match status {
                    0 => Err(AttemptFailed::Lost { cause: UnknownCause::Timeout, detail: String::new() }),
                    1 => std::future::pending().await,
                    status => Ok(Response::builder().status(status).body(()).unwrap()),
                }
            })
        }
    }

    async fn ask(service: &mut CircuitService<Script>) -> Result<u16, AttemptFailed> {
        service.call(Request::new(())).await.map(|response| response.status().as_u16())
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_circuit_answers_at_once_and_asks_nobody_until_a_probe_succeeds() {
        let tally = Arc::new(UpstreamTally::default());
        let circuit = circuit(policy(), &tally, &Siblings::default());
        let script = Script::of(&[500, 503, 0, 408, 500, 200, 200]);
        let mut service = CircuitLayer::new(circuit.clone(), AnswerPolicy::default()).layer(script);
        for _ in 0..4 {
            let _ = ask(&mut service).await;
        }
        assert_eq!(circuit.view(Instant::now()).phase, Phase::Open);
        let failed = ask(&mut service).await.unwrap_err();
        let AttemptFailed::HeldBack { code: Code::CircuitOpen, retry_after: Some(after), .. } = failed else {
            panic!("{failed:?}")
        };
        assert!(after <= Duration::from_secs(5) && after > Duration::from_secs(4), "{after:?}");
        assert_eq!((tally.circuit_refused.get(), tally.circuits_open.get()), (1, 1));
        advance(Duration::from_secs(5)).await;
        assert_eq!(ask(&mut service).await, Ok(500), "a probe");
        advance(Duration::from_secs(8)).await;
        assert!(ask(&mut service).await.is_err(), "twice as long");
        advance(Duration::from_secs(2)).await;
        assert_eq!(ask(&mut service).await, Ok(200));
        assert_eq!(ask(&mut service).await, Ok(200));
        assert_eq!((tally.circuit_opened.get(), tally.circuits_open.get()), (2, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_callers_own_fault_never_opens_it_nor_does_too_much_of_them() {
        let tally = Arc::new(UpstreamTally::default());
        let circuit = circuit(policy(), &tally, &Siblings::default());
        for status in [400, 401, 404, 409, 422, 425, 429] {
            let mut service =
                CircuitLayer::new(circuit.clone(), AnswerPolicy::default()).layer(Script::of(&[status; 50]));
            for _ in 0..50 {
                assert_eq!(ask(&mut service).await, Ok(status));
            }
        }
        assert!(circuit.is_closed());
        let broken = AttemptFailed::Broken { detail: String::new() };
        assert_eq!(call_failed(&broken), CallEnd::Unjudged);
        assert_eq!(call_answered(503, Reading::Refused), CallEnd::Failed);
        assert_eq!(call_answered(500, Reading::Completed), CallEnd::Succeeded);
    }

    #[tokio::test(start_paused = true)]
    async fn in_shadow_it_counts_what_it_would_refuse_and_refuses_nothing() {
        let tally = Arc::new(UpstreamTally::default());
        let shadow = CircuitPolicy { is_shadow: true, ..policy() };
        let circuit = circuit(shadow, &tally, &Siblings::default());
        let mut service =
            CircuitLayer::new(circuit.clone(), AnswerPolicy::default()).layer(Script::of(&[500; 10]));
        for _ in 0..10 {
            assert_eq!(ask(&mut service).await, Ok(500));
        }
        assert_eq!((tally.circuit_would_refuse.get(), tally.circuit_refused.get()), (6, 0));
        assert_eq!(tally.circuits_open.get(), 1);
        let now = Instant::now();
        assert!(circuit.look(now).is_ok());
        circuit.order(ByHand::Open(now + Duration::from_secs(60)), now);
        assert!(circuit.look(now).is_err(), "by hand it is meant");
        assert!(ask(&mut service).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_its_deadline_ended_counts_and_one_that_its_caller_left_does_not() {
        let tally = Arc::new(UpstreamTally::default());
        for (deadline_ms, left_after_ms, opens) in [
            (Some(1_000), 1_000, true),
            (Some(100), 100, false),
            (Some(9_000), 2_000, false),
            (None, 60_000, false),
        ] {
            let circuit = circuit(policy(), &tally, &Siblings::default());
            let mut service =
                CircuitLayer::new(circuit.clone(), AnswerPolicy::default()).layer(Script::of(&[1; 4]));
            for _ in 0..4 {
                let mut request = Request::new(());
                if let Some(ms) = deadline_ms {
                    let deadline = Instant::now() + Duration::from_millis(ms);
                    request.extensions_mut().insert(Deadline(deadline));
                }
                let call = service.call(request);
                assert!(tokio::time::timeout(Duration::from_millis(left_after_ms), call).await.is_err());
            }
            assert_eq!(!circuit.is_closed(), opens, "{deadline_ms:?} {left_after_ms}");
        }
    }
}
