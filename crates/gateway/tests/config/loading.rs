//! From files, environment and flags to a config, or to nothing at all.

use std::{fs, time::Duration};

use http::Method;
use steadfast_gateway::config::{
    Environment, LedgerLocation, Overrides, PathPattern, Place, effective, load, parse, restart_needed,
};
use steadfast_layers::{BodyFingerprint, InProgress, Kept, KeySource, OnLedgerLoss};
use steadfast_ledger::Keys;

use crate::{SMALLEST, read};

const FULL: &str = r#"
listen = ":9080"
admin = "localhost:9081"
ledger = "sqlite:/var/lib/steadfast/ledger.db"
workers = 3
drain_timeout = "5s"

[edge]
header_timeout = "10s"
headers_max = 50
header_bytes_max = "32KB"
body_timeout = "3s"
connections_max = 100

[upstreams.bank]
url = "http://bank:9000/api"
repeatable_for = "24h"
refused = [429, 503]
completed = [500]
in_progress = [409, 423]
timeout = { connect = "1s", first_byte = "5s", total = "8s", late = "20s" }
idle_timeout = "2s"
idle_max = 7

[[routes]]
path = "/payments"
name = "payments"
methods = ["GET", "POST"]
upstream = "bank"
deadline = "10s"

[routes.idempotency]
required = true
keep = "7d"
tombstone = "30d"
namespace = "global"
key = { fields = ["order.id", "line"] }
in_progress = "wait"
in_progress_wait = "2s"
fingerprint = { json = { omit = ["sent_at"] } }
credential_headers = ["X-Api-Key"]
request_bytes_max = "2MB"
answer_bytes_max = 1000
on_ledger_loss = "forward"

[[routes]]
path = "/files/*"
upstream = "bank"
idempotency = { key = { window = "10s" }, in_progress = "409" }

[[routes]]
path = "/*"
upstream = "bank"
idempotency = { key = { field = "id" }, anonymous = true, fingerprint = "bytes" }
"#;

#[test]
fn everything_that_a_file_says_is_in_force() {
    let loaded = read(FULL).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.warnings, []);
    let config = loaded.config;
    assert_eq!((config.listen.to_string(), config.workers), ("0.0.0.0:9080".into(), 3));
    assert_eq!(config.admin.to_string(), "127.0.0.1:9081");
    assert_eq!(config.ledger, LedgerLocation::Sqlite("/var/lib/steadfast/ledger.db".into()));
    assert_eq!((config.edge.header_bytes_max, config.edge.body_timeout), (32 << 10, Duration::from_secs(3)));
    let bank = &config.upstreams["bank"];
    assert_eq!((bank.address.to_string(), bank.idle_max), ("http://bank:9000/api".into(), 7));
    assert_eq!(bank.first_byte_timeout, Duration::from_secs(5));
    let route = &config.routes[0];
    assert_eq!((&*route.name, &route.path), ("payments", &PathPattern::Exact("/payments".into())));
    assert_eq!(route.methods, [Method::GET, Method::POST]);
    let policy = route.idempotency.as_ref().expect("a policy");
    assert_eq!(policy.methods, [Method::POST]);
    assert_eq!(policy.key, KeySource::Fields(vec!["order.id".into(), "line".into()]));
    assert_eq!(policy.in_progress, InProgress::Wait(Duration::from_secs(2)));
    assert_eq!(policy.fingerprint, BodyFingerprint::Json { omit: vec!["sent_at".into()] });
    assert_eq!(policy.answers.refused, [429, 503]);
    assert_eq!(policy.repeatable_for, Some(Duration::from_secs(86_400)));
    assert_eq!((policy.times.total, policy.times.late), (Duration::from_secs(8), Duration::from_secs(20)));
    assert_eq!((policy.request_bytes_max, policy.answer_bytes_max), (2 << 20, 1_000));
    assert_eq!(policy.request_idle_max, Duration::from_secs(3));
    assert_eq!(policy.on_ledger_loss, OnLedgerLoss::Forward);
    let policy = config.routes[1].idempotency.as_ref().expect("a policy");
    assert_eq!(policy.key, KeySource::Window(Duration::from_secs(10)));
    assert_eq!(policy.methods, [Method::POST, Method::PATCH]);
}

#[test]
fn what_is_in_force_reads_as_the_same_config() {
    for text in [FULL, SMALLEST] {
        let config = read(text).unwrap_or_else(|errors| panic!("{errors}")).config;
        let text = effective(&config);
        let again = read(&text).unwrap_or_else(|errors| panic!("{errors}\n{text}")).config;
        assert_eq!(config, again);
    }
}

#[test]
fn a_password_is_never_shown() {
    let text = format!("ledger = \"postgres://me:hunter2@db/x?sslpassword=hunter3\"\n{SMALLEST}");
    let config = read(&text).unwrap_or_else(|errors| panic!("{errors}")).config;
    let shown = effective(&config);
    assert!(shown.contains("postgres://me:REDACTED@db/x?sslpassword=REDACTED"), "{shown}");
    let errors =
        read(&format!("{text}\n[edge]\nx = 1 # postgres://me:hunter2@db")).expect_err("an unknown key");
    assert!(!errors.to_string().contains("hunter"), "{errors}");
}

#[test]
fn a_stated_time_pulls_the_defaults_of_the_others_along() {
    let short = SMALLEST.replace("9000\"", "9000\"\ntimeout = { total = \"1s\" }");
    let config = read(&short).unwrap_or_else(|errors| panic!("{errors}")).config;
    let bank = &config.upstreams["bank"];
    assert_eq!(
        (bank.connect_timeout, bank.first_byte_timeout),
        (Duration::from_secs(1), Duration::from_secs(1))
    );
    let long = SMALLEST.replace("9000\"", "9000\"\ntimeout = { first_byte = \"2m\" }");
    let config = read(&long).unwrap_or_else(|errors| panic!("{errors}")).config;
    assert_eq!(config.contracts["bank"].times.total, Duration::from_secs(120));
}

#[test]
fn a_flag_goes_before_a_variable_and_a_variable_before_the_file() {
    let text = format!("listen = \"127.0.0.1:1\"\nadmin = \"127.0.0.1:2\"\nworkers = 1\n{SMALLEST}");
    let environment: Environment = [
        ("STEADFAST_LISTEN", "127.0.0.1:11"),
        ("STEADFAST_ADMIN", "127.0.0.1:12"),
        ("STEADFAST_WORKERS", "2"),
        ("STEADFAST_EDGE__HEADER_TIMEOUT", "7s"),
        ("STEADFAST_EDGE__HEADERS_MAX", "70"),
        ("STEADFAST_EDGE__HEADER_BYTES_MAX", "9KB"),
        ("STEADFAST_DRAIN_TIMEOUT", "9s"),
    ]
    .into_iter()
    .collect();
    let overrides = Overrides { listen: Some("127.0.0.1:21".into()), ..Overrides::default() };
    let loaded = parse("f", &text, &environment, &overrides).unwrap_or_else(|errors| panic!("{errors}"));
    let config = loaded.config;
    assert_eq!(loaded.warnings, []);
    assert_eq!((config.listen.port(), config.admin.port(), config.workers), (21, 12, 2));
    assert_eq!((config.edge.header_timeout, config.edge.headers_max), (Duration::from_secs(7), 70));
    assert_eq!((config.drain_timeout, config.edge.header_bytes_max), (Duration::from_secs(9), 9 << 10));
}

#[test]
fn what_is_wrong_with_a_variable_or_a_flag_is_said_of_it() {
    let environment: Environment =
        [("STEADFAST_WORKERS", "many"), ("STEADFAST_EDGE__BODY_TIMEOUT", "5")].into_iter().collect();
    let errors = parse("f", SMALLEST, &environment, &Overrides::default()).expect_err("bad variables");
    let places: Vec<_> = errors.errors().iter().map(|error| error.place.to_string()).collect();
    assert_eq!(
        places,
        ["environment variable STEADFAST_EDGE__BODY_TIMEOUT", "environment variable STEADFAST_WORKERS"]
    );
    let overrides = Overrides { ledger: Some("steadfast.db".into()), ..Overrides::default() };
    let errors = parse("f", SMALLEST, &Environment::default(), &overrides).expect_err("a bad flag");
    assert_eq!(errors.errors()[0].place, Place::Flag("--ledger"));
}

#[test]
fn a_variable_that_overrides_nothing_is_warned_about() {
    let environment = [
        ("STEADFAST_LISTN", "x"),
        ("STEADFAST_CONFIG", "x"),
        ("STEADFAST_SERVICE_HOST", "10.0.0.1"),
        ("STEADFAST_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
    ]
    .into_iter()
    .collect::<Environment>()
    .with_known_elsewhere(&["STEADFAST_CONFIG"]);
    let loaded =
        parse("f", SMALLEST, &environment, &Overrides::default()).unwrap_or_else(|errors| panic!("{errors}"));
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        ["environment variable STEADFAST_LISTN: it overrides nothing: did you mean STEADFAST_LISTEN?"]
    );
}

#[test]
fn texts_take_variables() {
    let text = SMALLEST.replace("127.0.0.1:9000", "${BANK}").replace("/*", "/$${x");
    let environment = [("BANK", "bank:1")].into_iter().collect();
    let errors = parse("f", &text, &environment, &Overrides::default()).expect_err("a parameter in a path");
    assert!(errors.to_string().contains("the path `/${x`"), "{errors}");
    let text = SMALLEST.replace("127.0.0.1:9000", "${BANK}");
    let config = parse("f", &text, &environment, &Overrides::default())
        .unwrap_or_else(|errors| panic!("{errors}"))
        .config;
    assert_eq!(config.upstreams["bank"].address.to_string(), "http://bank:1");
    assert!(read(&text).expect_err("unset").to_string().contains("`BANK` is not set"));
}

#[test]
fn the_ledger_can_be_kept_in_a_file_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("ledger");
    fs::write(&secret, "postgres://me:hunter2@db/x\n").expect("a secret");
    let text = format!("ledger_file = {:?}\n{SMALLEST}", secret.display().to_string());
    let config = read(&text).unwrap_or_else(|errors| panic!("{errors}")).config;
    assert_eq!(config.ledger, LedgerLocation::Postgres("postgres://me:hunter2@db/x".into()));
    // A flag says it anew, in the other way.
    let overrides = Overrides { ledger: Some("sqlite:a.db".into()), ..Overrides::default() };
    let loaded =
        parse("f", &text, &Environment::default(), &overrides).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.config.ledger, LedgerLocation::Sqlite("a.db".into()));
    fs::remove_file(&secret).expect("the secret goes");
    assert!(read(&text).expect_err("no such file").to_string().contains("cannot be read"));
}

#[test]
fn a_file_that_is_not_there_or_no_text_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("steadfast.toml");
    let load = || load(&path, &Environment::default(), &Overrides::default());
    assert!(matches!(load().expect_err("no file").errors()[0].place, Place::File(_)));
    fs::write(&path, b"\xff\xfe").expect("no UTF-8");
    assert!(load().is_err());
    fs::write(&path, SMALLEST).expect("a config");
    assert!(load().is_ok());
}

#[test]
fn all_errors_of_a_file_are_said_at_once_and_in_order() {
    let text = r#"
listen = "nowhere"
admin = "0.0.0.0:8081"
[upstreams.bank]
url = "https://bank"
[[routes]]
path = "payments"
methods = ["post"]
upstream = "bnak"
idempotency = { namespace = "principal" }
"#;
    let errors = read(text).expect_err("a bad file");
    let lines: Vec<_> = errors.errors().iter().map(|error| error.place.line().expect("a line")).collect();
    assert_eq!(lines, [2, 3, 5, 7, 8, 9, 10], "{errors}");
}

#[test]
fn odd_but_possible_things_are_warned_about() {
    let text = format!("{SMALLEST}\n[upstreams.spare]\nurl = \"http://spare:1\"\nrefused = [503]\n");
    let loaded = read(&text).unwrap_or_else(|errors| panic!("{errors}"));
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("leaves out 429"), "{warnings:?}");
    assert!(warnings[1].contains("no route uses the upstream `spare`"), "{warnings:?}");
    assert_eq!(read("").unwrap_or_else(|errors| panic!("{errors}")).warnings.len(), 1);
}

#[test]
fn what_only_a_restart_takes_over_is_named() {
    let config = |text: &str| read(text).unwrap_or_else(|errors| panic!("{errors}")).config;
    let (old, new) =
        (config(FULL), config(&FULL.replace(":9080", ":9090").replace("workers = 3", "workers = 4")));
    assert_eq!(restart_needed(&old, &new), ["listen", "workers"]);
    assert!(restart_needed(&old, &config(&FULL.replace("\"7d\"", "\"8d\""))).is_empty());
}

#[test]
fn a_route_keeps_what_it_says() {
    let kept = |text: &str| {
        let table = format!("[routes.idempotency.kept]\n{text}");
        let config = read(&SMALLEST.replace("idempotency = {}", &table));
        let config = config.unwrap_or_else(|errors| panic!("{errors}")).config;
        let shown = read(&effective(&config)).unwrap_or_else(|errors| panic!("{errors}")).config;
        assert_eq!(shown, config);
        config.routes[0].idempotency.clone().expect("a policy").kept
    };
    assert_eq!(kept(""), Kept::default());
    let all = kept("drop_headers = [\"X-Customer\"]\nredact = [\"card.number\", \"token\"]\npath = false");
    let expected = Kept {
        drop_headers: vec![http::HeaderName::from_static("x-customer")],
        redact: vec!["card.number".into(), "token".into()],
        path: false,
        ..Kept::default()
    };
    assert_eq!(all, expected);
    assert_eq!(kept("headers = []").headers, Some(Vec::new()));
    assert_eq!(kept("body = false"), Kept { body: false, ..Kept::default() });
}

#[test]
fn keys_are_read_from_a_file_of_their_own_and_never_shown() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys");
    let text = SMALLEST.replace("[upstreams", &format!("[encryption]\nkey_file = {path:?}\n\n[upstreams"));
    let text = |lines: &str, mode: u32| {
        fs::write(&path, lines).expect("a key file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("permissions");
        read(&text)
    };
    let line = Keys::new_line().expect("random bytes");
    let loaded = text(&line, 0o640).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.warnings, []);
    let config = loaded.config;
    let encryption = config.encryption.clone().expect("encryption");
    assert_eq!((encryption.keys, encryption.key_file), (Keys::parse(&line).expect("a key"), path.clone()));
    let secret = line.split_once(':').expect("a colon").1;
    assert!(!format!("{config:?}{}", effective(&config)).contains(secret));
    assert_eq!(read(&effective(&config)).unwrap_or_else(|errors| panic!("{errors}")).config, config);
    assert_eq!(text(&line, 0o644).unwrap_or_else(|errors| panic!("{errors}")).warnings.len(), 1);
    // Another key first is for a restart to take over.
    let rotated = format!("{}\n{line}", Keys::new_line().expect("random bytes"));
    let rotated = text(&rotated, 0o600).unwrap_or_else(|errors| panic!("{errors}")).config;
    assert_eq!(restart_needed(&config, &rotated), ["encryption"]);
    let errors = text(&format!("{line}\n{secret}"), 0o600).expect_err("no key").to_string();
    assert!(errors.contains("line 2 is not a key") && !errors.contains(secret), "{errors}");
    fs::remove_file(&path).expect("it goes");
    let text = SMALLEST.replace("[upstreams", "encryption = { key_file = \"/no/such/file\" }\n[upstreams");
    let errors = read(&text).expect_err("no file").to_string();
    assert!(errors.contains("cannot be read") && errors.contains("steadfast config new-key"), "{errors}");
}
