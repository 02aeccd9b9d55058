//! The edge as strangers' clients find it: curl, httpx, requests, undici, grpcio, websockets and hyper-h2, each against
//! the real gateway with plain, TLS and PROXY protocol listeners. A scenario is a function of a script in
//! `e2e/clients`, which is the app behind the gateway as well, and so knows what really arrived.

use std::{
    fs,
    path::{Path, PathBuf},
};

use e2e::{Gateway, Port, program};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::json;
use tempfile::TempDir;

use crate::tools;

/// Certificates for `localhost` and `shop.example`, one that a caller may show, and one that nobody vouches for.
fn write_certificates(folder: &Path) {
    let write = |name: &str, text: String| fs::write(folder.join(name), text).expect("the test's folder");
    let key = KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    write("ca.pem", authority.self_signed(&key).expect("a certificate").pem());
    let authority = Issuer::new(authority, key);
    for (name, hosts) in [
        ("localhost", &["localhost", "127.0.0.1"][..]),
        ("shop", &["shop.example", "*.shop.example"]),
        ("client", &["client"]),
    ] {
        let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate().expect("a key");
        let mut certificate = CertificateParams::new(hosts).expect("names");
        certificate.distinguished_name.push(DnType::CommonName, name);
        let certificate = certificate.signed_by(&key, &authority).expect("a certificate");
        write(&format!("{name}.pem"), certificate.pem());
        write(&format!("{name}.key"), key.serialize_pem());
    }
    let stranger = rcgen::generate_simple_self_signed(["stranger".to_owned()]).expect("a certificate");
    write("stranger.pem", stranger.cert.pem());
    write("stranger.key", stranger.signing_key.serialize_pem());
}

/// Plays one scenario: `FUNCTION` of `e2e/clients/SCRIPT`.
async fn play(script: &str, function: &str) {
    let folder = TempDir::new().expect("a folder");
    write_certificates(folder.path());
    let [tls, proxied, app, http2] = [(); 4].map(|()| Port::reserve());
    let config = folder.path().join("steadfast.toml");
    let mut gateway = Gateway::serve(folder.path(), "gateway", &config);
    let place = json!({
        "plain": gateway.addr(),
        "admin": gateway.admin_addr(),
        "tls": tls.addr(),
        "proxied": proxied.addr(),
        "app": app.addr(),
        "http2": http2.addr(),
        "folder": folder.path(),
        "steadfast": program("steadfast"),
    });
    let mut text = include_str!("../../clients/steadfast.toml").to_owned();
    for name in ["folder", "tls", "proxied", "app", "http2"] {
        let value = place[name].as_str().expect("a text");
        text = text.replace(&format!("@{}@", name.to_uppercase()), value);
    }
    fs::write(&config, text).expect("the test's folder");
    gateway.start().await;
    let environment = tools::environment(script == "undici.py");
    let script: PathBuf = [env!("CARGO_MANIFEST_DIR"), "clients", script].iter().collect();
    let arguments = [script.into_os_string(), function.into(), place.to_string().into()];
    tools::run(folder.path(), function, &tools::python(), arguments, &environment).await;
}

/// A test for each scenario: its name is the claim.
macro_rules! scenarios {
    ($($claim:ident: $script:literal, $function:literal;)+) => {
        $(#[tokio::test]
        async fn $claim() {
            play($script, $function).await;
        })+
    };
}

scenarios! {
    curl_is_answered_in_its_version_over_plain_and_tls: "curl.py", "versions";
    curl_asks_for_a_head_and_gets_no_body: "curl.py", "heads";
    curl_closes_and_keeps_connections_and_its_connection_fields_go_no_further: "curl.py", "connection_close";
    curl_sends_the_absolute_form_and_the_target_names_the_host: "curl.py", "absolute_form";
    curl_uploads_megabytes_by_length_by_chunks_and_after_asking: "curl.py", "uploads";
    curl_is_refused_a_large_upload_before_it_sends_a_byte: "curl.py", "refused_uploads";
    curl_is_known_by_its_proxy_protocol_header_and_turned_away_without: "curl.py", "proxy_protocol";
    curl_gets_the_certificate_of_the_name_it_asks_for: "curl.py", "certificates";
    curl_shows_a_certificate_and_nobody_forges_one: "curl.py", "client_certificate";
    curl_reaches_an_app_on_a_unix_socket: "curl.py", "unix_socket";
    curl_retries_an_order_over_every_version_and_it_happens_once: "curl.py", "keyed_orders";
    curl_gets_trailers_over_both_versions: "curl.py", "trailers";

    httpx_retries_over_either_version_and_gets_the_first_answer:
        "pyclients.py", "replays_within_and_across_versions";
    httpx_sends_forty_orders_at_once_over_one_connection_and_ten_keys_execute_ten_times:
        "pyclients.py", "many_streams_share_a_connection_and_each_key_executes_once";
    httpx_reads_a_streamed_answer_over_both_versions: "pyclients.py", "streams";
    httpx_gets_every_event_before_the_next_is_sent: "pyclients.py", "events_come_one_by_one";
    httpx_splits_a_cookie_over_http_2_and_the_app_gets_one: "pyclients.py", "cookies_are_joined";
    httpx_runs_out_of_patience_and_the_app_is_let_go: "pyclients.py", "a_caller_that_leaves_is_noticed";
    requests_retries_streams_and_leaves_in_the_middle: "pyclients.py", "requests_replays";

    undici_retries_over_either_version_and_gets_the_first_answer: "undici.py", "replays";
    undici_pipelines_and_the_answers_come_in_order: "undici.py", "pipelines";
    undici_asks_thirty_times_over_one_connection_of_http_2: "undici.py", "shares";
    undici_reads_a_streamed_answer_over_both_versions: "undici.py", "streams";
    undici_aborts_a_request_and_the_app_is_let_go: "undici.py", "aborts";
}
