//! Clients that build their body anew for every retry: Python's `requests`, which makes up a boundary for each form,
//! and `json.dumps` with its members in another order. Replies are lost between client and gateway.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use e2e::Gateway;
use serde_json::Value;
use steadfast_faults::{DropReply, FaultProxy, Goodbye, Plan, When};
use tempfile::TempDir;

use crate::{python, uploads::Taker};

/// What is installed, and nothing newer.
const PINS: &[&str] = &["requests==2.32.5"];
const CALLS: usize = 6;

/// Makes calls, each tried until there is an answer; says of each what was answered, and how every try was built.
const CLIENT: &str = r#"
import io, json, random, sys, time
import requests

base, path, calls = sys.argv[1], sys.argv[2], int(sys.argv[3])
random.seed(7)

def form(number, size):
    fields = {"order": str(number), "sent_at": str(time.time_ns())}
    return {"data": fields, "files": {"file": (f"{number}.bin", io.BytesIO(bytes(size)), "application/octet-stream")}}

def small_form(number):
    return form(number, 100)

def large_form(number):
    return form(number, 2_000_000)

def document(number):
    members = [("order", {"id": number, "note": "caf\u00e9"}), ("lines", [1, 2.5, None]), ("sent_at", time.time_ns())]
    random.shuffle(members)
    text = json.dumps(dict(members), ensure_ascii=random.random() < 0.5, indent=random.choice([None, 2]))
    return {"data": text.encode(), "headers": {"Content-Type": "application/json"}}

build = {"/forms": small_form, "/large-forms": large_form, "/bytes": small_form, "/documents": document}[path]
for number in range(calls):
    told = {"built": []}
    for attempt in range(10):
        options = build(number)
        headers = options.pop("headers", {}) | {"Idempotency-Key": f"{path}-{number}"}
        request = requests.Request("POST", base + path, headers=headers, **options).prepare()
        body = request.body if len(request.body) < 10_000 else request.body[:300]
        told["built"].append(request.headers["Content-Type"] + " " + body.decode("latin-1"))
        try:
            # A connection of its own, so that nothing below sends the same bytes again.
            with requests.Session() as session:
                answer = session.send(request, timeout=60)
        except requests.ConnectionError:
            continue
        told["status"], told["text"] = answer.status_code, answer.text
        told["replayed"] = answer.headers.get("Idempotent-Replayed") == "true"
        break
    print(json.dumps(told), flush=True)
"#;

struct House {
    taker: Taker,
    front: FaultProxy,
    _gateway: Gateway,
    _folder: TempDir,
}

impl House {
    /// A gateway whose every second reply or so is lost on the way to the caller.
    async fn open() -> Self {
        let folder = TempDir::new().expect("a folder");
        let taker = Taker::start(std::time::Duration::ZERO).await;
        let config = folder.path().join("steadfast.toml");
        let route = |path: &str, fingerprint: &str| {
            format!(
                "[[routes]]\npath = \"{path}\"\nupstream = \"taker\"\n\
                 idempotency = {{ anonymous = true, fingerprint = {fingerprint} }}\n"
            )
        };
        let text = format!(
            "ledger = \"sqlite:{}\"\n[upstreams.taker]\nurl = \"http://{}\"\n{}{}{}{}",
            folder.path().join("ledger.db").display(),
            taker.addr(),
            route("/forms", "{ multipart = { omit = [\"sent_at\"] } }"),
            route("/large-forms", "{ multipart = { omit = [\"sent_at\"] } }"),
            route("/documents", "{ json = { omit = [\"sent_at\"] } }"),
            route("/bytes", "\"bytes\""),
        );
        std::fs::write(&config, text).expect("the test's folder");
        let mut gateway = Gateway::serve(folder.path(), "gateway", &config);
        gateway.start().await;
        let when = When { times: Some(6), ..When::every_exchange().with_probability(0.5) };
        let plan = Plan {
            seed: Some(7),
            drop_reply: Some(DropReply { then: Goodbye::Close, when }),
            ..Plan::default()
        };
        let front = FaultProxy::start(gateway.addr(), plan).expect("a proxy");
        Self { taker, front, _gateway: gateway, _folder: folder }
    }

    /// Runs the client; what it says of each call.
    async fn calls(&self, path: &'static str) -> Vec<Value> {
        let python = python::environment("requests", PINS);
        let told = client(&python, self.front.addr(), path).await;
        assert_eq!(told.len(), CALLS);
        let dropped = self.front.stats().faults.replies_dropped;
        assert!(dropped >= 3, "only {dropped} replies were lost: nothing is proven");
        told
    }

    /// Every call took effect once, its caller was told of it, and what was sent again was built anew.
    async fn holds(&self, path: &'static str) {
        let told = self.calls(path).await;
        let texts: BTreeSet<&str> = told.iter().map(|told| told["text"].as_str().expect("a text")).collect();
        assert_eq!((texts.len(), self.taker.taken()), (CALLS, CALLS as u64), "{told:?}");
        assert!(told.iter().all(|told| told["status"] == 201), "{told:?}");
        let mut retried = 0;
        for told in &told {
            let built = told["built"].as_array().expect("a list");
            let different: BTreeSet<&str> = built.iter().filter_map(Value::as_str).collect();
            assert_eq!(different.len(), built.len(), "a body was not built anew: {told}");
            assert_eq!(told["replayed"], built.len() > 1, "{told}");
            retried += usize::from(built.len() > 1);
        }
        assert!(retried >= 2, "{told:?}");
    }
}

async fn client(python: &Path, to: SocketAddr, path: &'static str) -> Vec<Value> {
    let (python, to) = (python.to_owned(), format!("http://{to}"));
    let calling = move || {
        Command::new(python)
            .args(["-c", CLIENT, &to, path, &CALLS.to_string()])
            .stdin(Stdio::null())
            .output()
            .expect("python runs")
    };
    let output = tokio::task::spawn_blocking(calling).await.expect("it does not panic");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test]
async fn a_form_with_a_new_boundary_is_replayed() {
    House::open().await.holds("/forms").await;
}

#[tokio::test]
async fn a_spooled_form_with_a_new_boundary_is_replayed() {
    House::open().await.holds("/large-forms").await;
}

#[tokio::test]
async fn a_document_with_its_members_in_another_order_is_replayed() {
    House::open().await.holds("/documents").await;
}

/// What the fingerprint is for: by bytes, a form that was built anew is another request.
#[tokio::test]
async fn without_a_fingerprint_that_knows_forms_a_new_boundary_is_refused() {
    let house = House::open().await;
    let told = house.calls("/bytes").await;
    let refused = told.iter().filter(|told| told["status"] == 422).count();
    assert!(refused >= 2, "{told:?}");
    assert_eq!(house.taker.taken(), CALLS as u64, "nothing took effect twice all the same");
}
