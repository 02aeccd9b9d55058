//! The gate of a version: counts who still calls it, and refuses while it is switched off or when it is gone. It stands
//! behind authentication, so that who is refused is counted by name.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use steadfast_core::{Code, Lifecycle, Resend, Served, Timestamp};
use steadfast_ledger::Clock;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    IdentityPolicy, LifecyclePolicy, Problem, RequestId, refusable::RefusableFuture, usage::VersionUsage,
};

/// A version's gate.
#[derive(Debug)]
pub struct VersionGate {
    /// When it is open, and what is said where it is not.
    pub policy: LifecyclePolicy,
    /// Where requests are counted.
    pub usage: Arc<VersionUsage>,
    /// Which headers tell callers apart that nobody verified.
    pub identity: IdentityPolicy,
    /// What time it is.
    pub clock: Clock,
}

impl VersionGate {
    /// Counts `request`, and says why it is refused, if it is.
    fn ask<B>(&self, request: &Request<B>) -> Option<Problem> {
        let now = self.clock.wall();
        let served = self.policy.lifecycle.served(now);
        self.usage.note(request, &self.identity, now, served != Served::Yes);
        let problem = match served {
            Served::Yes => return None,
            Served::NotUntil(end) => {
                self.usage.tally.browned_out.add();
                Problem::new(Code::Brownout)
                    .status(self.policy.brownout_status)
                    .retry_after(end.since(now))
                    .detail(self.policy.off_until(end))
            }
            Served::NoMore => self.no_more(now),
        };
        Some(problem.instance(request.extensions().get::<RequestId>()))
    }

    /// It is gone, or in a brownout that it does not come back from.
    fn no_more(&self, now: Timestamp) -> Problem {
        let sunset = self.policy.lifecycle.sunset.unwrap_or(now);
        if now < sunset {
            self.usage.tally.browned_out.add();
            let status = self.policy.brownout_status;
            let problem = Problem::new(Code::Brownout).status(status).resend(Resend::No);
            return problem.detail(self.policy.off_until(sunset));
        }
        self.usage.tally.gone.add();
        let since = format!("`{}` is not served since {}.", self.policy.version, instant(sunset));
        Problem::new(Code::VersionGone).detail(since + &self.policy.where_to_go())
    }
}

impl LifecyclePolicy {
    fn off_until(&self, end: Timestamp) -> String {
        let Lifecycle { sunset, gone, .. } = self.lifecycle;
        let for_good = sunset.filter(|_| gone).map(|at| format!(", and for good on {}", instant(at)));
        let until = match sunset.filter(|at| gone && end >= *at) {
            Some(_) => "It is switched off now, so that whoever still calls it notices".to_owned(),
            None => {
                format!("It is switched off until {}, so that whoever still calls it notices", instant(end))
            }
        };
        let version = &self.version;
        let (for_good, where_to_go) = (for_good.unwrap_or_default(), self.where_to_go());
        format!("`{version}` is deprecated. {until}{for_good}.{where_to_go}")
    }

    fn where_to_go(&self) -> String {
        let said = |words: &str, uri: &Option<Box<str>>| {
            uri.as_ref().map(|uri| format!(" {words}: {uri}.")).unwrap_or_default()
        };
        said("Its successor", &self.successor) + &said("How to move", &self.docs)
    }
}

/// An instant as people and programs read it.
fn instant(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or_default().to_string()
}

/// Wraps a service in [`VersionGateService`].
#[derive(Clone, Debug)]
pub struct VersionGateLayer(Option<Arc<VersionGate>>);

impl VersionGateLayer {
    /// `None` lets everything through, and counts nothing.
    #[must_use]
    pub fn new(gate: Option<VersionGate>) -> Self {
        Self(gate.map(Arc::new))
    }
}

impl<S> Layer<S> for VersionGateLayer {
    type Service = VersionGateService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        VersionGateService { inner, gate: self.0.clone() }
    }
}

/// See the [module](self)'s words.
#[derive(Clone, Debug)]
pub struct VersionGateService<S> {
    inner: S,
    gate: Option<Arc<VersionGate>>,
}

impl<S, B, R> Service<Request<B>> for VersionGateService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: From<Bytes>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = RefusableFuture<S::Future, R>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.gate.as_ref().and_then(|gate| gate.ask(&request)) {
            None => RefusableFuture::passed(self.inner.call(request)),
            Some(problem) => RefusableFuture::refused(problem.into_response()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        future::{Ready, ready},
        time::Duration,
    };

    use http::StatusCode;
    use serde_json::Value;
    use steadfast_core::Brownout;

    use super::*;
    use crate::UsageTable;

    #[derive(Clone)]
    struct Inside;

    impl Service<Request<()>> for Inside {
        type Response = Response<Bytes>;
        type Error = Infallible;
        type Future = Ready<Result<Response<Bytes>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            ready(Ok(Response::new(Bytes::new())))
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn policy(gone: bool) -> LifecyclePolicy {
        LifecyclePolicy {
            version: "v1".into(),
            lifecycle: Lifecycle {
                deprecated: Some(at(0)),
                sunset: Some(at(1_000)),
                gone,
                brownouts: vec![
                    Brownout::Once { from: at(100), until: at(200) },
                    Brownout::Once { from: at(900), until: at(1_100) },
                ],
            },
            successor: Some("https://api.example/v2".into()),
            docs: Some("https://docs.example/move".into()),
            sunset_docs: None,
            brownout_status: 503,
        }
    }

    async fn answers(policy: &LifecyclePolicy, seconds: i64) -> (Response<Bytes>, Arc<VersionUsage>) {
        let table = UsageTable::default();
        let usage = table.version(&policy.version, &Arc::default());
        let gate = VersionGate {
            policy: policy.clone(),
            usage: Arc::clone(&usage),
            identity: IdentityPolicy::default(),
            clock: Clock::manual(at(seconds)),
        };
        let Ok(response) = VersionGateLayer::new(Some(gate)).layer(Inside).call(Request::new(())).await;
        (response, usage)
    }

    fn document(response: &Response<Bytes>) -> Value {
        serde_json::from_slice(response.body()).expect("JSON")
    }

    #[tokio::test]
    async fn a_brownout_says_why_until_when_and_where_to_go() {
        let (response, usage) = answers(&policy(true), 140).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["retry-after"], "60");
        let document = document(&response);
        assert_eq!((&document["code"], &document["retry_after"]), (&"brownout".into(), &60.into()));
        assert_eq!(
            document["detail"],
            "`v1` is deprecated. It is switched off until 1970-01-01T00:03:20Z, so that whoever still calls it \
             notices, and for good on 1970-01-01T00:16:40Z. Its successor: https://api.example/v2. How to move: \
             https://docs.example/move."
        );
        assert_eq!((usage.tally.requests.get(), usage.tally.browned_out.get()), (1, 1));
        let as_gone = LifecyclePolicy { brownout_status: 410, ..policy(true) };
        let (response, _) = answers(&as_gone, 140).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["retry-after"]),
            (410, &"60".parse().unwrap())
        );
    }

    #[tokio::test]
    async fn a_brownout_that_ends_after_the_end_promises_nothing() {
        let (response, _) = answers(&policy(true), 950).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(!response.headers().contains_key("retry-after"));
        assert_eq!(response.headers()["x-should-retry"], "false");
        assert!(!document(&response)["detail"].as_str().unwrap().contains("until"));
        let (response, _) = answers(&policy(false), 950).await;
        assert_eq!(response.headers()["retry-after"], "150");
    }

    #[tokio::test]
    async fn after_the_end_it_is_gone_or_served_as_it_is_said() {
        let (response, usage) = answers(&policy(true), 1_000).await;
        assert_eq!((response.status().as_u16(), usage.tally.gone.get()), (410, 1));
        assert_eq!(document(&response)["code"], "version-gone");
        let (response, usage) = answers(&policy(false), 1_200).await;
        assert_eq!((response.status(), usage.tally.requests.get()), (StatusCode::OK, 1));
    }

    #[tokio::test]
    async fn a_refusal_near_the_end_of_a_brownout_waits_a_second_at_least() {
        let mut policy = policy(true);
        policy.lifecycle.brownouts =
            vec![Brownout::Once { from: at(0), until: at(1).after(Duration::from_millis(1)) }];
        let (response, _) = answers(&policy, 1).await;
        assert_eq!(response.headers()["retry-after"], "1");
    }
}
