//! An admin API on a free port, and raw requests to it.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use serde_json::Value;
use steadfast_admin::{
    AdminParts, BoxFuture, CacheHolds, CircuitOrder, CircuitOrdered, CircuitReport, ConfigOrigin, Control,
    EditRefused, EditedLetter, EndpointReport, Forget, LimitsRefused, OrderRefused, Readiness, ReloadReport,
    UsageBy, UsageReport,
    api::{ExplainedView, LimitCountView, LimitCountsQuery, LimitRaiseRequest, LimitView, LimitsView},
    router, serve,
};
use steadfast_core::{
    Answer, AttemptEnd, Ban, BanSource, BanSubject, Fence, Fingerprint, Key, Namespace, Next, OperationId,
    Owner, Principal, Timestamp, UnknownCause,
    circuit::{Circuit, CircuitPolicy},
};
use steadfast_ledger::{
    Backlog, Claim, ClaimOutcome, ClaimRequest, Claims, Conclusion, Durability, Enqueue, Enqueued, KeepFrom,
    KeptRequest, OperationName, Priority, Redrive, Retention, Wish,
    sqlite::{SqliteLedger, SqliteOptions},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinSet,
};

/// The gateway that the admin API belongs to, as far as it knows.
pub(crate) struct Gateway {
    pub(crate) draining: AtomicBool,
    pub(crate) reload: Mutex<Result<ReloadReport, String>>,
    /// What was last wanted of the circuits of `bank`.
    pub(crate) ordered: Mutex<Option<CircuitOrder>>,
    pub(crate) forgotten: Mutex<Vec<Forget>>,
    /// What it remembers of requests, with their ids.
    pub(crate) explained: Mutex<Vec<(String, ExplainedView)>>,
    /// What was done about limits.
    pub(crate) limits_changed: Mutex<Vec<String>>,
    pub(crate) key_prefixes: Mutex<Vec<(String, String)>>,
    /// The routes of letters that were sent round again by hand.
    pub(crate) redriven: Mutex<Vec<String>>,
    /// How often it was told that bans changed.
    pub(crate) bans_changed: std::sync::atomic::AtomicUsize,
    /// How often it was told that credentials changed.
    pub(crate) credentials_changed: std::sync::atomic::AtomicUsize,
}

impl Readiness for Gateway {
    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

impl Control for Gateway {
    fn reload(&self) -> BoxFuture<'_, Result<ReloadReport, String>> {
        let result = self.reload.lock().unwrap().clone();
        Box::pin(std::future::ready(result))
    }

    fn explained(&self, request_id: &str) -> Vec<ExplainedView> {
        self.explained
            .lock()
            .unwrap()
            .iter()
            .filter(|(id, _)| id == request_id)
            .map(|(_, one)| one.clone())
            .collect()
    }

    fn limits(&self) -> LimitsView {
        let limit = LimitView {
            name: "per-customer".to_owned(),
            per: vec!["principal".to_owned()],
            algorithm: "token_bucket".to_owned(),
            limit: 100,
            period_seconds: Some(60.0),
            burst: Some(20),
            mode: "shadow".to_owned(),
            tracked: 2,
            allowed: 7,
            refused: 0,
            would_refuse: 3,
            most_refused: Vec::new(),
        };
        LimitsView { limits: vec![limit], raised: Vec::new() }
    }

    fn limit_counts<'a>(
        &'a self,
        whose: &'a LimitCountsQuery,
        reset: bool,
    ) -> BoxFuture<'a, Result<Vec<LimitCountView>, LimitsRefused>> {
        let found = match whose.limit.as_deref() {
            None | Some("per-customer") => Ok(vec![LimitCountView {
                limit: "per-customer".to_owned(),
                count: "2a".to_owned(),
                remaining: 12,
                retry_after_seconds: 0.0,
                reset_seconds: Some(4.8),
            }]),
            Some(_) => Err(LimitsRefused::NoSuchLimit),
        };
        if reset && found.is_ok() {
            self.limits_changed.lock().unwrap().push(format!("reset {}", whose.subject));
        }
        Box::pin(std::future::ready(found))
    }

    fn raise_limits(&self, order: &LimitRaiseRequest, time: Duration) -> Result<usize, LimitsRefused> {
        if order.limit.as_deref().is_some_and(|limit| limit != "per-customer") {
            return Err(LimitsRefused::NoSuchLimit);
        }
        let order = format!("raise {} x{} for {} s", order.subject, order.factor, time.as_secs());
        self.limits_changed.lock().unwrap().push(order);
        Ok(1)
    }

    fn work_routes(&self) -> Vec<String> {
        vec!["orders".to_owned()]
    }

    fn chance(&self, route: &str) -> Option<Redrive> {
        let (tries_max, age_max) = (1, Duration::from_secs(3_600));
        (route == "orders").then_some(Redrive { tries_max, age_max, repeatable_for: None })
    }

    fn note_redriven(&self, route: &str) {
        self.redriven.lock().unwrap().push(route.to_owned());
    }

    fn edited(&self, letter: EditedLetter) -> Result<Enqueue, EditRefused> {
        if letter.request.body.len() > 100 {
            return Err(EditRefused::TooLarge(100));
        }
        let EditedLetter { name, owner, method, request, lane, .. } = letter;
        Ok(Enqueue { name, owner, method, request, lane, ..work("any") })
    }

    fn effective_config(&self) -> String {
        "listen = \"127.0.0.1:8080\"\n".to_owned()
    }

    fn usage(&self) -> Vec<UsageReport> {
        let line = |version: &str, by| UsageReport {
            version: version.to_owned(),
            by,
            requests: 12,
            refused: 2,
            first: Timestamp::from_millis(1_000),
            last: Timestamp::from_millis(2_000),
        };
        vec![
            line("v1", UsageBy::Principal("acme".to_owned())),
            line("v1", UsageBy::Credential("00ff".to_owned())),
            line("v1", UsageBy::Anonymous),
            line("v2", UsageBy::Others),
        ]
    }

    fn endpoints(&self) -> Vec<EndpointReport> {
        let circuit = Circuit::new(CircuitPolicy::default(), 0).view(Duration::ZERO);
        let circuit =
            CircuitReport { view: circuit, age: Duration::from_secs(2), left: None, is_enforced: true };
        vec![EndpointReport {
            upstream: "bank".to_owned(),
            endpoint: "http://bank:9000".to_owned(),
            is_healthy: true,
            in_flight: 3,
            cost: Some(Duration::from_millis(12)),
            circuit: Some(circuit),
        }]
    }

    fn order_circuits(
        &self,
        upstream: &str,
        endpoint: Option<&str>,
        order: CircuitOrder,
    ) -> Result<CircuitOrdered, OrderRefused> {
        match (upstream, endpoint) {
            ("bank", None | Some("http://bank:9000")) => {
                *self.ordered.lock().unwrap() = Some(order);
                Ok(CircuitOrdered(1))
            }
            ("bank", Some(_)) => Err(OrderRefused::NoSuchEndpoint),
            ("plain", _) => Err(OrderRefused::NoCircuit),
            _ => Err(OrderRefused::NoSuchUpstream),
        }
    }

    fn config_origin(&self) -> ConfigOrigin {
        ConfigOrigin {
            file: Some("/etc/steadfast/steadfast.toml".to_owned()),
            overridden: vec![("listen".to_owned(), "--listen".to_owned())],
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000)
    }

    fn key_prefixes(&self) -> Vec<(String, String)> {
        self.key_prefixes.lock().unwrap().clone()
    }

    fn credentials_changed(&self) -> BoxFuture<'_, ()> {
        self.credentials_changed.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::ready(()))
    }

    fn is_never_banned(&self, subject: &BanSubject) -> bool {
        subject.to_string() == "10.0.0.1"
    }

    fn bans_beside_the_ledger(&self) -> Vec<(Ban, bool)> {
        let subject = "198.51.100.0/24".parse().unwrap();
        let ban = Ban {
            subject,
            source: BanSource::Config,
            began_at: self.now(),
            until: None,
            lifted_at: None,
            reason: "in the file".into(),
            by: "config".into(),
            challenge: None,
            repeats: 0,
        };
        vec![(ban, false)]
    }

    fn bans_changed(&self, _: bool) -> BoxFuture<'_, ()> {
        self.bans_changed.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::ready(()))
    }

    fn cache(&self) -> CacheHolds {
        CacheHolds { targets: 3, bytes: 4_096, bytes_max: 65_536 }
    }

    fn purge(&self, forget: &Forget) -> u64 {
        self.forgotten.lock().unwrap().push(forget.clone());
        2
    }
}

/// Work for later on the route `orders`.
pub(crate) fn work(key: &str) -> Enqueue {
    let headers = [("authorization", "Bearer secret"), ("content-type", "application/json")];
    Enqueue {
        name: OperationName::new(Namespace::of_route("orders"), Key::new(key).unwrap()),
        fingerprint: Fingerprint::from_bytes([1; 16]),
        owner: Owner { principal: Some(Principal::new("ada")), credential: None },
        route: "orders".into(),
        method: "POST".into(),
        path: "/orders".into(),
        repeatable_for: None,
        retention: Retention { keep: Duration::from_secs(3_600), from: KeepFrom::Finish, tombstone: None },
        request: KeptRequest {
            target: "/orders?x=1".into(),
            headers: headers.into_iter().collect(),
            body: Bytes::from_static(b"{\"item\":1}"),
        },
        delay: Duration::ZERO,
        priority: Priority::default(),
        lane: None,
        tries_max: 3,
        age_max: Duration::from_secs(3_600),
    }
}

pub(crate) struct Desk {
    pub(crate) address: SocketAddr,
    pub(crate) ledger: Arc<SqliteLedger>,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) end: Option<oneshot::Sender<()>>,
    pub(crate) tasks: JoinSet<()>,
    _folder: TempDir,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Expects a refusal with this status and code, which says what to do next.
    pub(crate) fn refused(&self, status: u16, code: &str) -> String {
        let problem = self.json();
        assert_eq!((self.status, problem["code"].as_str()), (status, Some(code)), "{self:?}");
        assert!(self.head.contains("content-type: application/problem+json\r\n"), "{self:?}");
        assert_eq!((&problem["status"], &problem["type"]), (&status.into(), &"about:blank".into()));
        assert!(!problem["next_step"].as_str().unwrap().is_empty());
        problem["detail"].as_str().unwrap().to_owned()
    }
}

impl Desk {
    pub(crate) async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = SqliteLedger::open(&folder.path().join("ledger.db"), SqliteOptions::default()).unwrap();
        let ledger = Arc::new(ledger);
        let gateway = Arc::new(Gateway {
            draining: AtomicBool::new(false),
            reload: Mutex::new(Ok(ReloadReport::default())),
            ordered: Mutex::new(None),
            forgotten: Mutex::default(),
            explained: Mutex::default(),
            limits_changed: Mutex::default(),
            key_prefixes: Mutex::new(vec![("customers".to_owned(), "sf".to_owned())]),
            redriven: Mutex::default(),
            bans_changed: std::sync::atomic::AtomicUsize::new(0),
            credentials_changed: std::sync::atomic::AtomicUsize::new(0),
        });
        let router = router(AdminParts {
            ledger: ledger.clone(),
            metrics: Arc::new(|| "# TYPE up gauge\nup 1\n# EOF\n".to_owned()),
            readiness: gateway.clone(),
            control: gateway.clone(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (end, ended) = oneshot::channel::<()>();
        let serving = serve(listener, router, async { drop(ended.await) }).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async { serving.await.unwrap() });
        Self { address, ledger, gateway, end: Some(end), tasks, _folder: folder }
    }

    /// Sends these bytes and reads to the end.
    pub(crate) async fn raw(&self, request: &str) -> Reply {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await.unwrap();
        let text = String::from_utf8(text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply { status, head: format!("{head}\r\n"), body: body.to_owned() }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        let host = self.address;
        self.raw(&format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")).await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Reply {
        self.post_with(path, "content-type: application/json\r\n", body).await
    }

    /// Posts with these header lines, each with its line end.
    pub(crate) async fn post_with(&self, path: &str, headers: &str, body: &str) -> Reply {
        let (host, length) = (self.address, body.len());
        let head = format!("POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n");
        self.raw(&format!("{head}{headers}connection: close\r\n\r\n{body}")).await
    }

    pub(crate) async fn claimed(&self, key: &str) -> Claim {
        self.claimed_by(None, key).await
    }

    /// Claims for the request of this id.
    pub(crate) async fn claimed_by(&self, request_id: Option<&str>, key: &str) -> Claim {
        let name = OperationName::new(Namespace::of_route("orders"), Key::new(key).unwrap());
        let request = ClaimRequest {
            name,
            fingerprint: Fingerprint::from_bytes([1; 16]),
            owner: Owner { principal: Some(Principal::new("ada")), credential: None },
            fence: Fence::random(),
            route: Arc::from("orders"),
            method: "POST".into(),
            path: "/orders".into(),
            request_id: request_id.map(Into::into),
            repeatable_for: None,
            retention: Retention {
                keep: Duration::from_secs(3_600),
                from: KeepFrom::Finish,
                tombstone: None,
            },
            durability: Durability::Synced,
        };
        match self.ledger.claim(request).await.unwrap() {
            ClaimOutcome::Granted(claim) => claim,
            ClaimOutcome::Occupied(standing) => panic!("not granted: {standing:?}"),
        }
    }

    pub(crate) async fn in_doubt(&self, key: &str) -> OperationId {
        let claim = self.claimed(key).await;
        let end = AttemptEnd::Unknown { cause: UnknownCause::Timeout, status: None };
        self.ledger.finish(&claim, end).await.unwrap();
        claim.operation
    }

    pub(crate) async fn completed(&self, key: &str, body: &'static [u8]) -> OperationId {
        let claim = self.claimed(key).await;
        let headers = [("content-type", "text/plain")].into_iter().collect();
        let answer = Answer { status: 201, headers, body: Some(Bytes::from_static(body)) };
        self.ledger.finish(&claim, AttemptEnd::Answered(answer)).await.unwrap();
        claim.operation
    }

    pub(crate) async fn left(&self, work: Enqueue) -> OperationId {
        match self.ledger.enqueue(work).await.unwrap() {
            Enqueued::Accepted { operation, .. } => operation,
            Enqueued::Occupied(standing) => panic!("it is taken: {standing:?}"),
        }
    }

    /// Leaves work, and lets its one attempt be its last.
    pub(crate) async fn dead(&self, work: Enqueue, end: AttemptEnd) -> OperationId {
        let id = self.left(work).await;
        let wishes = vec![Wish { route: "orders".into(), limit: 10, repeatable_for: None }];
        let jobs = self.ledger.take(wishes).await.unwrap().jobs;
        let job = jobs.iter().find(|job| job.claim.operation == id).unwrap();
        let excerpt = Some("closed for today".into());
        let conclusion = Conclusion { end, next: Next::GiveUp, excerpt };
        self.ledger.conclude(&job.claim, conclusion).await.unwrap();
        id
    }
}
