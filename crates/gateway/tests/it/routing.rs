//! Claims about which route serves a request. Each route has an upstream of its own name, whose path tells where a
//! request went.

use crate::{
    contract::{
        Stand,
        backend::Backend,
        refusal::Again,
        wire::{Answer, Ask, Line},
    },
    stand::from_file,
    upstream::Upstream,
};

const FILE: &str = r#"
[upstreams.all]
url = "http://UPSTREAM/all"
[upstreams.pay]
url = "http://UPSTREAM/pay"
[upstreams.items]
url = "http://UPSTREAM/items"
[upstreams.tenant]
url = "http://UPSTREAM/tenant"
[upstreams.beta]
url = "http://UPSTREAM/beta"

[[routes]]
path = "/*"
methods = ["GET", "POST"]
upstream = "all"

[[routes]]
path = "/payments"
methods = ["POST"]
upstream = "pay"
idempotency = { required = true }

[[routes]]
path = "/orders/{id}/items"
upstream = "items"

[[routes]]
path = "/payments"
name = "beta"
methods = ["POST"]
headers = { x-beta = true }
upstream = "beta"

[[routes]]
path = "/*"
name = "tenants"
hosts = ["*.tenants.example"]
methods = ["GET"]
upstream = "tenant"
"#;

/// One route for tenants, and one for two names of one API.
const KEYED: &str = r#"
[upstreams.all]
url = "http://UPSTREAM"

[[routes]]
path = "/*"
name = "tenants"
hosts = ["*.tenants.example"]
upstream = "all"
idempotency = {}

[[routes]]
path = "/*"
name = "names"
hosts = ["api.example", "api.example.org"]
upstream = "all"
idempotency = {}
"#;

#[tokio::test]
async fn a_key_is_a_tenants_own_and_shared_by_the_names_of_one_api() {
    let upstream = Upstream::start(Backend::new()).await;
    let stand = from_file(KEYED, &upstream);
    let ask = |host: &str| Ask::post(&format!("http://{host}/orders")).key("1");
    for (host, is_replay) in [
        ("a.tenants.example", false),
        ("b.tenants.example", false),
        ("A.tenants.example:8080", true),
        ("api.example", false),
        ("api.example.org", true),
    ] {
        let answer = stand.ask(&ask(host)).await;
        assert_eq!((answer.status, answer.is_replay()), (201, is_replay), "{host}");
    }
    assert_eq!(stand.backend.count(), 3);
}

async fn stand() -> (Stand, Upstream) {
    let upstream = Upstream::start(Backend::new()).await;
    (from_file(FILE, &upstream), upstream)
}

/// Asks for `host`.
async fn ask_host(stand: &Stand, method: &'static str, target: &str, host: &str) -> Answer {
    let mut line = Line::to(stand.address).await;
    line.send(format!("{method} {target} HTTP/1.1\r\n{host}Content-Length: 0\r\n\r\n").as_bytes()).await;
    line.answer(method).await.expect("an answer")
}

#[tokio::test]
async fn a_request_goes_by_its_host_path_method_and_headers() {
    let (stand, _upstream) = stand().await;
    for (ask, went) in [
        (Ask::new("GET", "/payments?a=1"), "/all/payments?a=1"),
        (Ask::post("/payments").key("1"), "/pay/payments"),
        (Ask::post("/payments").header("X-Beta", "yes"), "/beta/payments"),
        (Ask::post("/payments/"), "/all/payments/"),
        (Ask::new("DELETE", "/orders/7%20a/items"), "/items/orders/7%20a/items"),
        (Ask::new("GET", "/orders//items"), "/all/orders//items"),
        (Ask::new("GET", "/orders/7"), "/all/orders/7"),
        (Ask::new("GET", "http://a.b.TENANTS.example:80/x"), "/tenant/x"),
        (Ask::post("http://a.tenants.example/x"), "/all/x"),
        (Ask::new("GET", "http://tenants.example/x"), "/all/x"),
    ] {
        let answer = stand.ask(&ask).await;
        assert_eq!(answer.status, 201, "{ask:?}: {}", answer.text());
        assert_eq!(stand.last_seen().target, went, "{ask:?}");
    }
    ask_host(&stand, "GET", "/x", "Host: A.tenants.example:8080\r\n").await;
    assert_eq!(stand.last_seen().target, "/tenant/x");
    stand.ask(&Ask::post("/payments")).await.refused(400, "idempotency-key-missing", Again::Never);
}

#[tokio::test]
async fn a_path_that_is_served_for_other_methods_is_answered_405_with_these() {
    let (stand, _upstream) = stand().await;
    for (target, allow) in
        [("/payments", "GET, POST"), ("/x", "GET, POST"), ("http://a.tenants.example/x", "GET, POST")]
    {
        let answer = stand.ask(&Ask::new("DELETE", target)).await;
        let document = answer.refused(405, "method-not-allowed", Again::Never);
        assert_eq!(answer.header("allow"), Some(allow), "{target}");
        assert!(document["detail"].as_str().is_some_and(|detail| detail.contains(allow)), "{document}");
    }
    assert_eq!(stand.backend.count(), 0);
}

#[tokio::test]
async fn what_only_some_upstreams_take_for_another_route_reaches_none() {
    let (stand, _upstream) = stand().await;
    for target in [
        "/x/../payments",
        "/./payments",
        "/x/%2e%2E/payments",
        "/..;/payments",
        "/x%2f..%2fpayments",
        "/%70ayments",
        "//payments",
        "/payments;a=b",
        "/payments%3Ba",
        "/orders%2F7/items",
        "/orders/7//items",
        "/x\\..\\payments",
    ] {
        let answer = stand.ask(&Ask::post(target).key("1")).await;
        let document = answer.refused(400, "target-unclear", Again::Never);
        assert!(document["detail"].as_str().is_some_and(|detail| detail.ends_with('.')), "{document}");
    }
    assert_eq!(stand.backend.count(), 0);
    // Where every reading is the same route's, the path goes on as it came.
    stand.ask(&Ask::post("/files/a%2Fb//c;v=1")).await;
    assert_eq!(stand.last_seen().target, "/all/files/a%2Fb//c;v=1");
}

#[tokio::test]
async fn two_hosts_are_refused_and_the_targets_own_goes_before_the_header() {
    let (stand, _upstream) = stand().await;
    for hosts in [
        "Host: a.tenants.example\r\nHost: b.example\r\n",
        "Host: me@a.tenants.example\r\n",
        "Host: b.example, a.tenants.example\r\n",
    ] {
        let answer = ask_host(&stand, "GET", "/x", hosts).await;
        answer.refused(400, "target-unclear", Again::Never);
    }
    assert_eq!(stand.backend.count(), 0);
    ask_host(&stand, "GET", "http://me@b.example:81/x", "Host: a.tenants.example\r\n").await;
    let seen = stand.last_seen();
    assert_eq!((seen.target.as_str(), seen.headers.all("host")), ("/all/x", vec!["b.example:81"]));
}
