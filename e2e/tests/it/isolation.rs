//! One upstream that hangs, and what those of another notice of it: nothing.

use std::{fs, time::Duration};

use e2e::Gateway;
use tempfile::TempDir;

use crate::limited::{Limited, median, open_loop, p99};

const ROUNDS: usize = 3;
const TIME: Duration = Duration::from_secs(2);
const DEADLINE: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_dependency_that_hangs_slows_nobody_elses_requests_and_its_own_callers_have_an_answer_in_time() {
    let folder = TempDir::new().expect("a folder");
    let well = Limited::start(100, Duration::from_millis(5)).await;
    let ill = Limited::start(100, Duration::from_millis(5)).await;
    let path = folder.path().join("steadfast.toml");
    let config = format!(
        "ledger = \"sqlite:{}\"
[upstreams.well]
url = \"http://{}\"
concurrency = {{ max = 20 }}
[upstreams.ill]
url = \"http://{}\"
concurrency = {{ max = 20 }}
timeout = {{ queue = \"100ms\" }}
[[routes]]
path = \"/well\"
upstream = \"well\"
[[routes]]
path = \"/ill\"
upstream = \"ill\"
deadline = \"{}ms\"
",
        folder.path().join("ledger.db").display(),
        well.addr(),
        ill.addr(),
        DEADLINE.as_millis()
    );
    fs::write(&path, config).expect("a config");
    let mut gateway = Gateway::serve(folder.path(), "gateway", &path);
    gateway.start().await;
    let (mut ratios, mut late) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ill.recover();
        let (quiet, healthy) = tokio::join!(
            open_loop(gateway.addr(), "/well", 100, TIME),
            open_loop(gateway.addr(), "/ill", 50, TIME)
        );
        assert!(quiet.iter().chain(&healthy).all(|seen| seen.status == 200), "{quiet:?} {healthy:?}");
        ill.hang();
        let (beside, hanging) = tokio::join!(
            open_loop(gateway.addr(), "/well", 100, TIME),
            open_loop(gateway.addr(), "/ill", 100, TIME)
        );
        assert!(beside.iter().all(|seen| seen.status == 200), "{beside:?}");
        assert!(hanging.iter().all(|seen| matches!(seen.status, 503 | 504)), "{hanging:?}");
        let allowed = p99(&quiet).mul_f64(1.5) + Duration::from_millis(2);
        ratios.push(p99(&beside).as_secs_f64() / allowed.as_secs_f64());
        late.push(p99(&hanging));
    }
    // The figures of the issue are the benchmark's, on a quiet machine; here others may compile beside it.
    let (ratio, last) = (median(ratios.clone()), median(late));
    assert!(ratio <= 1.5, "its p99 beside a hanging upstream is {ratios:?} of what is allowed");
    assert!(last <= DEADLINE + Duration::from_millis(100), "a caller had its answer after {last:?}");
}
