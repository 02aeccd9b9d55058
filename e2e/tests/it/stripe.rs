//! A real client and a real (if fake) API: the official `stripe` library, unmodified, against `localstripe`, which
//! ignores idempotency keys. Replies are lost between client and gateway; the library retries by itself.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use e2e::{Ask, Caller, Gateway, Port, Process, await_that};
use steadfast_faults::{DropReply, FaultProxy, Goodbye, Plan, When};
use tempfile::TempDir;

use crate::python;

/// What is installed, and nothing newer.
const PINS: &[&str] = &[
    "stripe==16.1.0",
    "requests==2.32.5",
    "localstripe==1.15.10",
    "aiohttp==3.13.2",
    "python-dateutil==2.9.0.post0",
];
const PATIENCE: Duration = Duration::from_secs(120);
const SECRET: &str = "sk_test_12345";
const CUSTOMERS: usize = 8;

/// Makes customers one after another, as any shop would.
const SHOP: &str = r#"
import sys, stripe
stripe_client = stripe.StripeClient(sys.argv[2], base_addresses={"api": sys.argv[1]}, max_network_retries=8)
for number in range(int(sys.argv[3])):
    customer = stripe_client.v1.customers.create({"email": f"customer-{number}@example.com"})
    print(customer.id, flush=True)
"#;

/// Runs the shop; the ids of the customers that it was given.
async fn shop(python: &Path, to: SocketAddr) -> Vec<String> {
    let (python, to) = (python.to_owned(), format!("http://{to}"));
    let selling = move || {
        Command::new(python)
            .args(["-c", SHOP, &to, SECRET, &CUSTOMERS.to_string()])
            .stdin(Stdio::null())
            .output()
            .expect("python runs")
    };
    let output = tokio::task::spawn_blocking(selling).await.expect("it does not panic");
    assert!(output.status.success(), "every call succeeds: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// The ids of all customers that there are.
async fn customers(api: SocketAddr) -> Vec<String> {
    let ask = Ask::get("/v1/customers?limit=100").header("authorization", format!("Bearer {SECRET}"));
    let answer = Caller::new(api, PATIENCE).ask(&ask).await.expect("an answer of localstripe");
    assert_eq!(answer.status, 200, "{answer:?}");
    let listed = answer.json();
    let ids = listed["data"].as_array().expect("a list").iter();
    ids.map(|customer| customer["id"].as_str().expect("an id").to_owned()).collect()
}

/// Loses some replies, the same ones whenever the requests are the same.
fn losing_replies() -> Plan {
    let when = When { times: Some(6), ..When::every_exchange().with_probability(0.5) };
    Plan { seed: Some(7), drop_reply: Some(DropReply { then: Goodbye::Close, when }), ..Plan::default() }
}

#[tokio::test]
async fn the_stripe_client_makes_one_customer_a_call_through_the_gateway_and_several_without() {
    let python = python::environment("stripe", PINS);
    let folder = TempDir::new().unwrap();
    let port = Port::reserve();
    let arguments = ["-m", "localstripe", "--from-scratch", "--port", &port.addr().port().to_string()];
    let mut api = Process::start(folder.path(), "localstripe", &python, arguments, &[]);
    await_that("localstripe serves", PATIENCE, async || {
        assert!(api.ended().is_none(), "localstripe ended: {}", api.errors());
        tokio::net::TcpStream::connect(port.addr()).await.ok()
    })
    .await;
    let ledger = format!("sqlite:{}", folder.path().join("ledger.db").display());
    let mut gateway = Gateway::up(folder.path(), "gateway", port.addr(), &ledger, &[]);
    gateway.start().await;

    let front = FaultProxy::start(gateway.addr(), losing_replies()).unwrap();
    let mut told = shop(&python, front.addr()).await;
    let dropped = front.stats().faults.replies_dropped;
    assert!(dropped >= 3, "only {dropped} replies were lost: nothing is proven");
    let mut made = customers(port.addr()).await;
    told.sort();
    made.sort();
    assert_eq!(told.len(), CUSTOMERS);
    assert_eq!(made, told, "one customer a call, and the one that the caller was told of");

    let straight = FaultProxy::start(port.addr(), losing_replies()).unwrap();
    shop(&python, straight.addr()).await;
    let dropped = straight.stats().faults.replies_dropped;
    let made_straight = customers(port.addr()).await.len() - made.len();
    assert_eq!(
        made_straight as u64,
        CUSTOMERS as u64 + dropped,
        "without the gateway a lost reply is a duplicate"
    );
}
