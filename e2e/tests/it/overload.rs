//! Three times as much as an upstream can do: it goes on doing what it can.

use std::{fs, time::Duration};

use e2e::Gateway;
use tempfile::TempDir;

use crate::limited::{Limited, Seen, median, open_loop, p99};

const ROUNDS: usize = 3;
const TIME: Duration = Duration::from_secs(2);
/// What the upstream serves at once, and for how long each: a hundred a second.
const PLACES: usize = 5;
const SERVICE: Duration = Duration::from_millis(50);

#[tokio::test]
async fn an_overloaded_upstream_goes_on_doing_what_it_can_and_the_rest_is_refused_at_once() {
    let folder = TempDir::new().expect("a folder");
    let upstream = Limited::start(PLACES, SERVICE).await;
    let path = folder.path().join("steadfast.toml");
    let config = format!(
        "ledger = \"sqlite:{}\"
[upstreams.bank]
url = \"http://{}\"
concurrency = {{ max = {PLACES} }}
[[routes]]
path = \"/*\"
upstream = \"bank\"
",
        folder.path().join("ledger.db").display(),
        upstream.addr()
    );
    fs::write(&path, config).expect("a config");
    let mut gateway = Gateway::serve(folder.path(), "gateway", &path);
    gateway.start().await;
    let served = |seen: &[Seen]| seen.iter().copied().filter(|seen| seen.status == 200).collect::<Vec<_>>();
    let (mut kept, mut slower, mut refused_after) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let quiet = open_loop(gateway.addr(), "/", 40, TIME).await;
        assert_eq!(served(&quiet).len(), quiet.len(), "{quiet:?}");
        let peak = served(&open_loop(gateway.addr(), "/", 100, TIME).await).len();
        let over = open_loop(gateway.addr(), "/", 300, TIME).await;
        let accepted = served(&over);
        let refused: Vec<_> = over.iter().copied().filter(|seen| seen.status != 200).collect();
        assert!(refused.iter().all(|seen| seen.status == 503), "{refused:?}");
        assert!(refused.len() > over.len() / 2, "{} of {} were refused", refused.len(), over.len());
        kept.push(accepted.len() as f64 / peak as f64);
        slower.push(p99(&accepted).as_secs_f64() / p99(&quiet).as_secs_f64());
        refused_after.push(median(refused.iter().map(|seen| seen.took).collect()));
    }
    // The figures of the issue are the benchmark's, on a quiet machine; here others may compile beside it.
    assert!(median(kept.clone()) >= 0.85, "goodput is {kept:?} of its peak");
    assert!(median(slower.clone()) <= 3.0, "what is accepted takes {slower:?} as long as when it is quiet");
    let refused_after = median(refused_after);
    assert!(refused_after < SERVICE / 2, "half of what is refused waits for {refused_after:?}");
}
