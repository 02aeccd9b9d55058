//! `docs/metrics.md` names every metric that a running gateway has, as it describes it itself. `UPDATE_GOLDEN=1`
//! writes it.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use steadfast_gateway::{
    Gateway, LogTo,
    config::{Environment, Overrides, parse},
};

use crate::{
    contract::{backend::Backend, fresh_ledger, wire::Ask},
    upstream::Upstream,
};

/// What stands in the page before the table.
const MARK: &str =
    "<!-- The table is written by `UPDATE_GOLDEN=1 cargo nextest run -p steadfast-gateway golden`. -->\n";

/// One of everything that is counted by name.
const FILE: &str = r#"
shared = "redis://127.0.0.1:1"
[upstreams.bank]
url = "http://UPSTREAM"
[limits.per-address]
per = "ip"
rate = "100/min"
[[routes]]
path = "/*"
upstream = "bank"
limits = ["per-address"]
idempotency = { anonymous = true }
async = "allowed"
lifecycle = { version = "v1" }
"#;

#[derive(Default)]
struct Metric {
    help: String,
    kind: String,
    labels: Vec<String>,
}

#[tokio::test]
async fn the_page_of_metrics_names_each_with_its_type_labels_and_meaning() {
    let upstream = Upstream::start(Backend::new()).await;
    let text = FILE.replace("UPSTREAM", &upstream.address().to_string());
    let text = format!("listen = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nworkers = 1\n{text}");
    let loaded = parse("steadfast.toml", &text, &Environment::default(), &Overrides::default());
    let config = loaded.unwrap_or_else(|errors| panic!("{errors}")).config;
    let (ledger, clock, _folder) = fresh_ledger();
    let log = LogTo { writer: Box::new(std::io::sink()), text: false };
    let gateway = Gateway::start_with(&config, log, ledger, clock).expect("it starts");
    assert_eq!(Ask::new("GET", "/").to(gateway.address()).await.status, 201);
    // A request is counted when its answer has been sent, which is after its caller has it.
    let counted = || gateway.metrics().contains("http_server_request_duration_seconds_count");
    tokio::time::timeout(std::time::Duration::from_secs(20), async {
        while !counted() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    })
    .await
    .expect("the request is counted");

    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let written = fs::read_to_string(&page).expect("docs/metrics.md");
    let (before, _) = written.split_once(MARK).expect("the mark in docs/metrics.md");
    let actual = format!("{before}{MARK}{}", table(&metrics(&gateway.metrics())));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&page, actual).expect("docs/metrics.md is written");
    } else {
        assert_eq!(written, actual, "docs/metrics.md differs: run again with UPDATE_GOLDEN=1");
    }
}

/// Every metric by its name as it is asked for: counters end in `_total`.
fn metrics(text: &str) -> BTreeMap<String, Metric> {
    let mut found: BTreeMap<String, Metric> = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(named), Some(help)) => {
                named.clone_into(&mut name);
                help.trim_end_matches('.').clone_into(&mut found.entry(name.clone()).or_default().help);
            }
            (Some("#"), Some("TYPE"), Some(_), Some(kind)) => {
                kind.clone_into(&mut found.entry(name.clone()).or_default().kind);
            }
            _ => {
                let metric = found.entry(name.clone()).or_default();
                let labels = line.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
                let names = labels.map_or("", |(labels, _)| labels).split("\",");
                for label in names.filter_map(|label| label.split_once('=')).map(|(label, _)| label) {
                    // Where a histogram's buckets end is its own affair.
                    if label != "le" && !metric.labels.iter().any(|known| known == label) {
                        metric.labels.push(label.to_owned());
                    }
                }
            }
        }
    }
    found.remove("");
    let asked_for = |(name, metric): (String, Metric)| match &*metric.kind {
        "counter" => (format!("{name}_total"), metric),
        _ => (name, metric),
    };
    found.into_iter().filter(|(_, metric)| !metric.kind.is_empty()).map(asked_for).collect()
}

fn table(metrics: &BTreeMap<String, Metric>) -> String {
    let mut table = "\n| metric | type | labels | what it says |\n| --- | --- | --- | --- |\n".to_owned();
    for (name, Metric { help, kind, labels }) in metrics {
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { "—".to_owned() } else { labels.join(", ") };
        let _ = writeln!(table, "| `{name}` | {kind} | {labels} | {help} |");
    }
    table
}
