//! One caller that asks for far too much, and what the others notice of it: nothing.

use std::{fs, net::SocketAddr, time::Duration};

use e2e::{Ask, Gateway};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::limited::{Limited, Seen, median, open_loop_of, p99};

const ROUNDS: usize = 5;
const TIME: Duration = Duration::from_secs(2);

/// What each caller may ask for in a second, and how many times as much the noisy one does.
const RATE: u32 = 8;
const TIMES: u32 = 50;

/// How many others there are.
const OTHERS: u32 = 8;

#[tokio::test]
async fn one_caller_at_fifty_times_its_limit_slows_nobody_else_and_has_nobody_else_refused() {
    let folder = TempDir::new().expect("a folder");
    let upstream = Limited::start(100, Duration::from_millis(5)).await;
    let path = folder.path().join("steadfast.toml");
    let config = format!(
        "ledger = \"sqlite:{}\"
[edge]
trusted_proxies = [\"127.0.0.1\"]
[upstreams.shop]
url = \"http://{}\"
[limits.per-address]
per = \"ip\"
rate = \"{RATE}/s\"
[[routes]]
path = \"/*\"
upstream = \"shop\"
limits = [\"per-address\"]
",
        folder.path().join("ledger.db").display(),
        upstream.addr()
    );
    fs::write(&path, config).expect("a config");
    let mut gateway = Gateway::serve(folder.path(), "gateway", &path);
    gateway.start().await;
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let quiet = others(gateway.addr()).await;
        let noisy = from("192.0.2.1");
        let (beside, refused) =
            tokio::join!(others(gateway.addr()), open_loop_of(gateway.addr(), &noisy, RATE * TIMES, TIME));
        assert!(quiet.iter().chain(&beside).all(|seen| seen.status == 200), "{quiet:?} {beside:?}");
        assert!(refused.iter().all(|seen| matches!(seen.status, 200 | 429)), "{refused:?}");
        let passed = refused.iter().filter(|seen| seen.status == 200).count();
        // The burst, and the rate for as long as it took.
        assert!(passed <= (RATE * 4) as usize, "{passed} of the noisy one's passed");
        let allowed = p99(&quiet).mul_f64(1.3) + Duration::from_millis(2);
        ratios.push(p99(&beside).as_secs_f64() / allowed.as_secs_f64());
    }
    let ratio = median(ratios.clone());
    assert!(ratio <= 1.0, "the others' p99 beside a noisy caller is {ratios:?} of what is allowed");
}

fn from(address: &str) -> Ask {
    Ask::get("/").header("X-Forwarded-For", address)
}

/// What all others see, each of whom stays just below what it may ask for.
async fn others(gateway: SocketAddr) -> Vec<Seen> {
    let mut asking = JoinSet::new();
    for number in 0..OTHERS {
        let ask = from(&format!("198.51.100.{number}"));
        asking.spawn(async move { open_loop_of(gateway, &ask, RATE - 1, TIME).await });
    }
    asking.join_all().await.into_iter().flatten().collect()
}
