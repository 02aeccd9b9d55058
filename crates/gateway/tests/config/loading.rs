//! From files, environment and flags to a config, or to nothing at all.

use std::{fs, path::PathBuf, time::Duration};

use http::{HeaderValue, Method, StatusCode};
use steadfast_gateway::config::{
    Environment, HeaderSays, HostPattern, LedgerLocation, Overrides, PathPattern, Place, Route,
    RouteFallback, after_reload, effective, load, overridden, parse, restart_needed,
};
use steadfast_layers::{
    AllowedOrigins, BodyFingerprint, InProgress, Kept, KeySource, OnLedgerLoss, SpoolLimits,
};
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

[spool]
folder = "/var/spool/steadfast"
bytes_max = "2GB"
requests_max = 9
memory_max = "8MB"

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
request_memory_max = "2MB"
answer_bytes_max = 1000
on_ledger_loss = "forward"

[[routes]]
path = "/orders/{id}/items/*"
hosts = ["API.example.com", "*.example.org"]
headers = { X-Api-Version = "2", x-beta = true }
upstream = "bank"

[routes.cors]
origins = ["https://App.example.com", "https://*.example.com:8443"]
methods = ["PUT", "GET"]
headers = ["Idempotency-Key", "X-Own"]
expose = ["X-Total"]
credentials = true
max_age = "2h"

[[routes]]
path = "/files/*"
upstream = "bank"
idempotency = { key = { window = "10s" }, in_progress = "409" }

[[routes]]
path = "/*"
upstream = "bank"
idempotency = { key = { field = "id" }, anonymous = true, fingerprint = "bytes" }

[[routes]]
path = "/forms"
upstream = "bank"
idempotency = { fingerprint = { multipart = { omit = ["sent_at"] } }, request_bytes_max = "2GB" }
"#;

#[test]
fn everything_that_a_file_says_is_in_force() {
    let loaded = read(FULL).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.warnings, []);
    let config = loaded.config;
    assert_eq!((config.listeners[0].address.to_string(), config.workers), ("0.0.0.0:9080".into(), 3));
    assert_eq!(config.admin.to_string(), "127.0.0.1:9081");
    assert_eq!(config.ledger, LedgerLocation::Sqlite("/var/lib/steadfast/ledger.db".into()));
    assert_eq!((config.edge.header_bytes_max, config.edge.body_timeout), (32 << 10, Duration::from_secs(3)));
    let spool = SpoolLimits {
        folder: "/var/spool/steadfast".into(),
        bytes_max: 2 << 30,
        requests_max: 9,
        memory_max: 8 << 20,
    };
    assert_eq!(config.spool, spool);
    let bank = &config.upstreams["bank"].policy;
    assert_eq!((bank.addresses[0].to_string(), bank.idle_max), ("http://bank:9000/api".into(), 7));
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
    assert_eq!(policy.request_memory_max, 2 << 20);
    assert_eq!(policy.request_idle_max, Duration::from_secs(3));
    assert_eq!(policy.on_ledger_loss, OnLedgerLoss::Forward);
    let route = &config.routes[1];
    assert_eq!(
        (&*route.name, &route.path),
        ("/orders/{id}/items/*", &PathPattern::Prefix("/orders/{id}/items/".into()))
    );
    let hosts = [HostPattern::Exact("api.example.com".into()), HostPattern::Below(".example.org".into())];
    assert_eq!(route.hosts, hosts);
    let version = HeaderSays::This(HeaderValue::from_static("2"));
    let says: Vec<_> =
        route.headers.iter().map(|condition| (condition.name.as_str(), &condition.says)).collect();
    assert_eq!(says, [("x-api-version", &version), ("x-beta", &HeaderSays::Anything)]);
    let cors = route.cors.as_ref().expect("a policy");
    let AllowedOrigins::These { origins, credentials } = &cors.origins else { panic!("{cors:?}") };
    let origins: Vec<_> = origins.iter().map(ToString::to_string).collect();
    assert_eq!(origins, ["https://app.example.com", "https://*.example.com:8443"]);
    assert!(*credentials);
    assert_eq!(cors.methods, [Method::PUT, Method::GET]);
    assert_eq!(cors.headers.as_deref().map(|names| names.len()), Some(2));
    assert_eq!(cors.expose, ["x-total"]);
    assert_eq!(cors.max_age, Duration::from_secs(7_200));
    let policy = config.routes[2].idempotency.as_ref().expect("a policy");
    assert_eq!(policy.key, KeySource::Window(Duration::from_secs(10)));
    assert_eq!(policy.methods, [Method::POST, Method::PATCH]);
    let policy = config.routes[4].idempotency.as_ref().expect("a policy");
    assert_eq!(policy.fingerprint, BodyFingerprint::Multipart { omit: vec!["sent_at".into()] });
    assert_eq!((policy.request_bytes_max, policy.request_memory_max), (2 << 30, 1 << 20));
}

#[test]
fn a_fingerprint_that_leaves_nothing_out_may_be_said_in_a_word() {
    for (word, fingerprint) in [
        ("json", BodyFingerprint::Json { omit: Vec::new() }),
        ("multipart", BodyFingerprint::Multipart { omit: Vec::new() }),
    ] {
        for written in [format!("\"{word}\""), format!("{{ {word} = {{}} }}")] {
            let text = SMALLEST.replace("= {}", &format!("= {{ fingerprint = {written} }}"));
            let config = read(&text).unwrap_or_else(|errors| panic!("{errors}")).config;
            let policy = config.routes[0].idempotency.as_ref().expect("a policy");
            assert_eq!(policy.fingerprint, fingerprint, "{written}");
        }
    }
}

#[test]
fn large_bodies_wait_beside_the_ledger_unless_a_folder_is_named() {
    let folder = |line: &str| {
        let config = read(&format!("{line}\n{SMALLEST}")).unwrap_or_else(|errors| panic!("{errors}")).config;
        config.spool.folder
    };
    assert_eq!(folder(""), PathBuf::from("."));
    assert_eq!(
        folder("ledger = \"sqlite:/var/lib/steadfast/ledger.db\""),
        PathBuf::from("/var/lib/steadfast")
    );
    assert_eq!(folder("ledger = \"postgres://localhost/steadfast\""), std::env::temp_dir());
    assert_eq!(folder("[spool]\nfolder = \"/mnt/spool\""), PathBuf::from("/mnt/spool"));
}

#[test]
fn a_route_that_takes_larger_bodies_than_it_can_is_warned_about() {
    for (options, spool, words) in [
        ("key = { field = \"id\" }", "", "keys are read from bodies"),
        ("fingerprint = \"json\"", "", "JSON is compared as such"),
        ("", "[spool]\nrequests_max = 0", "`spool.requests_max` is 0"),
    ] {
        let route = |more: &str| format!("= {{ request_bytes_max = \"2MB\"{more}, {options} }}");
        let warnings = |more: &str| {
            let text = format!("{}\n{spool}", SMALLEST.replace("= {}", &route(more)).replace(",  }", " }"));
            read(&text).unwrap_or_else(|errors| panic!("{errors}")).warnings
        };
        assert!(warnings("")[0].to_string().contains(words), "{words}: {:?}", warnings(""));
        assert_eq!(warnings(", request_memory_max = \"2MB\""), [], "{words}");
    }
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
fn circuits_and_endpoints_are_as_the_file_says_and_read_back_so() {
    let text = format!(
        "{SMALLEST}\n[upstreams.many]\nurls = [\"http://a:1/v1\", \"http://b:2/v1\"]\nbalance = {{ slow_start = \"10s\" }}\n\
         circuit = {{ failure_ratio = 0.25, slow = \"2s\", consecutive = 5, open_for = \"2m\", mode = \"shadow\" }}\n"
    );
    let config = read(&text).unwrap_or_else(|errors| panic!("{errors}")).config;
    assert_eq!(config.upstreams["bank"].policy.circuit, None);
    let many = &config.upstreams["many"].policy;
    let addresses: Vec<_> = many.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["http://a:1/v1", "http://b:2/v1"]);
    assert_eq!(many.slow_start, Some(Duration::from_secs(10)));
    let circuit = many.circuit.as_ref().expect("a circuit");
    assert_eq!((circuit.failure_ratio.millionths(), circuit.slow_ratio.millionths()), (250_000, 800_000));
    // One key pulls the default of the other along.
    assert_eq!(
        (circuit.open_for, circuit.open_for_max),
        (Duration::from_secs(120), Duration::from_secs(120))
    );
    assert_eq!((circuit.slow, circuit.consecutive), (Some(Duration::from_secs(2)), Some(5)));
    let again = read(&effective(&config)).unwrap_or_else(|errors| panic!("{errors}")).config;
    assert_eq!(again, config);
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
    let bank = &config.upstreams["bank"].policy;
    assert_eq!(
        (bank.connect_timeout, bank.first_byte_timeout),
        (Duration::from_secs(1), Duration::from_secs(1))
    );
    let long = SMALLEST.replace("9000\"", "9000\"\ntimeout = { first_byte = \"2m\" }");
    let config = read(&long).unwrap_or_else(|errors| panic!("{errors}")).config;
    assert_eq!(config.upstreams["bank"].contract.times.total, Duration::from_secs(120));
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
    assert_eq!((config.listeners[0].address.port(), config.admin.port(), config.workers), (21, 12, 2));
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
    assert_eq!(config.upstreams["bank"].policy.addresses[0].to_string(), "http://bank:1");
    let errors = read(&text).expect_err("unset");
    assert_eq!(errors.errors().len(), 1, "what depends on it is not said again: {errors}");
    let Place::Line { line, column, width, .. } = errors.errors()[0].place else {
        panic!("a line: {errors}")
    };
    assert_eq!((line, column, width), (3, 15, 7), "where the variable stands: {errors}");
    assert!(errors.to_string().contains("`BANK` is not set"));
    let text = SMALLEST.replace("127.0.0.1:9000", "${BANK:-bank:2}");
    let config = read(&text).unwrap_or_else(|errors| panic!("{errors}")).config;
    assert_eq!(config.upstreams["bank"].policy.addresses[0].to_string(), "http://bank:2");
}

#[test]
fn a_dollar_is_a_dollar_when_it_is_written_twice_and_what_is_in_force_writes_it_so() {
    let text = SMALLEST.replace("path = \"/*\"", "path = \"/a$$$${b\"\nname = \"$$-$5\"");
    let errors = read(&text).expect_err("a brace in a path");
    assert!(errors.to_string().contains("the path `/a$${b`"), "{errors}");
    let config = read(&text.replace("{b", "b")).unwrap_or_else(|errors| panic!("{errors}")).config;
    assert_eq!(&*config.routes[0].name, "$-$5");
    let again = read(&effective(&config)).unwrap_or_else(|errors| panic!("{errors}")).config;
    assert_eq!(config, again);
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
url = "ftp://bank"
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
fn a_fallback_is_an_answer_in_force_and_reads_the_same_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("items.json");
    fs::write(&file, "{\"price\": \"$5\"}\n").expect("a file");
    let text = format!(
        "[upstreams.bank]\nurl = \"http://bank\"\n[upstreams.backup]\nurl = \"http://backup\"\n\
         [[routes]]\npath = \"/a\"\nupstream = \"bank\"\nfallback = {{ body_file = {file:?} }}\n\
         [[routes]]\npath = \"/b\"\nupstream = \"bank\"\n\
         fallback = {{ status = 404, body = \"no\", headers = {{ cache-control = \"max-age=1\", x-a = \"b\" }} }}\n\
         [[routes]]\npath = \"/c\"\nupstream = \"bank\"\nfallback = {{ upstream = \"backup\" }}\n\
         [[routes]]\npath = \"/d\"\nupstream = \"bank\"\nfallback = {{ status = 204 }}\n"
    );
    let loaded = read(&text).unwrap_or_else(|errors| panic!("{errors}"));
    // A backup is used, though no route forwards to it.
    assert_eq!(loaded.warnings, []);
    let [a, b, c, d] = loaded.config.routes.as_slice() else { panic!("four routes") };
    let fixed = |route: &Route| match &route.fallback {
        Some(RouteFallback::Fixed(fixed)) => fixed.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(fixed(a).body, "{\"price\": \"$5\"}\n");
    assert_eq!(
        (fixed(a).status, &fixed(a).headers["content-type"]),
        (StatusCode::OK, &"application/json".parse().unwrap())
    );
    assert_eq!(fixed(a).headers["cache-control"], "no-store");
    assert_eq!(
        (fixed(b).status, fixed(b).headers["content-type"].as_bytes()),
        (StatusCode::NOT_FOUND, &b"text/plain; charset=utf-8"[..])
    );
    assert_eq!(
        (&fixed(b).headers["cache-control"], &fixed(b).headers["x-a"]),
        (&"max-age=1".parse().unwrap(), &"b".parse().unwrap())
    );
    assert_eq!(c.fallback, Some(RouteFallback::Upstream("backup".into())));
    assert_eq!((fixed(d).status, fixed(d).headers.len()), (StatusCode::NO_CONTENT, 1));
    let again = read(&effective(&loaded.config)).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(again.config, loaded.config);
}

#[test]
fn cors_of_a_route_is_for_its_methods_and_warns_of_a_key_that_no_page_may_send() {
    let text =
        SMALLEST.replace("idempotency", "methods = [\"POST\"]\ncors = { origins = [\"*\"] }\nidempotency");
    let loaded = read(&text).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.warnings, []);
    let cors = loaded.config.routes[0].cors.clone().expect("a policy");
    assert_eq!((cors.origins, cors.methods), (AllowedOrigins::Any, vec![Method::POST]));
    assert_eq!((cors.headers, cors.max_age), (None, Duration::from_secs(600)));
    let hidden = text.replace("[\"*\"]", "[\"*\"], headers = [\"x-own\"]");
    let loaded = read(&hidden).unwrap_or_else(|errors| panic!("{errors}"));
    let [warning] = loaded.warnings.as_slice() else { panic!("{:?}", loaded.warnings) };
    assert!(warning.what.contains("Idempotency-Key"), "{warning}");
    let told = hidden.replace("x-own", "IDEMPOTENCY-KEY");
    assert_eq!(read(&told).unwrap_or_else(|errors| panic!("{errors}")).warnings, []);
}

#[test]
fn what_only_a_restart_takes_over_is_named() {
    let config = |text: &str| read(text).unwrap_or_else(|errors| panic!("{errors}")).config;
    let (old, new) =
        (config(FULL), config(&FULL.replace(":9080", ":9090").replace("workers = 3", "workers = 4")));
    assert_eq!(restart_needed(&old, &new), ["listeners", "workers"]);
    let new = config(&FULL.replace("headers_max = 50", "headers_max = 60").replace("\"3s\"", "\"4s\""));
    assert_eq!(restart_needed(&old, &new), ["edge.headers_max"]);
    let in_force = after_reload(&old, new.clone());
    assert_eq!((in_force.edge.headers_max, in_force.edge.body_timeout), (50, Duration::from_secs(4)));
    assert_eq!(in_force.routes, new.routes);
    assert!(restart_needed(&old, &config(&FULL.replace("\"7d\"", "\"8d\""))).is_empty());
}

#[test]
fn what_goes_before_the_file_is_told_by_its_setting() {
    let environment: Environment = [
        ("STEADFAST_EDGE__HEADERS_MAX", "7"),
        ("STEADFAST_LISTEN", ":1"),
        ("STEADFAST_LEDGER_FILE", "f"),
        ("BANK", "b"),
    ]
    .into_iter()
    .collect();
    let overrides = Overrides { listen: Some(":2".into()), ..Overrides::default() };
    let told: Vec<_> =
        overridden(&environment, &overrides).into_iter().map(|one| (one.path, one.by)).collect();
    let told: Vec<_> = told.iter().map(|(path, by)| (&**path, &**by)).collect();
    assert_eq!(
        told,
        [
            ("edge.headers_max", "STEADFAST_EDGE__HEADERS_MAX"),
            ("ledger", "STEADFAST_LEDGER_FILE"),
            ("listen", "--listen")
        ]
    );
    // Without them the file says everything, and its texts still take variables.
    let text = SMALLEST.replace("127.0.0.1:9000", "${BANK}");
    let config = parse("f", &text, &environment.without_overrides(), &Overrides::default())
        .unwrap_or_else(|errors| panic!("{errors}"))
        .config;
    assert_eq!((config.listeners[0].address.port(), config.edge.headers_max), (8080, 100));
    assert_eq!(config.upstreams["bank"].policy.addresses[0].to_string(), "http://b");
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
