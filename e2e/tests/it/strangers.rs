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
        ("renewed", &["shop.example"]),
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
    tools::run(folder.path(), function, &tools::python_of_clients(), arguments, &environment).await;
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
    curl_gets_a_renewed_certificate_once_all_of_it_is_there: "curl.py", "renewed_certificate";
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

    grpc_calls_of_all_four_kinds_pass_in_cleartext_and_over_tls: "over_grpc.py", "calls_of_all_four_kinds";
    grpc_statuses_and_trailing_metadata_pass_through: "over_grpc.py", "errors_pass_through";
    grpc_deadlines_are_kept_by_the_gateway_and_the_service_is_told: "over_grpc.py", "deadlines";
    grpc_calls_that_are_cancelled_are_cancelled_at_the_service: "over_grpc.py", "cancelling";
    grpc_is_told_unavailable_while_the_service_is_down: "over_grpc.py", "nobody_there";
    grpc_is_told_resource_exhausted_when_a_message_is_too_large: "over_grpc.py", "too_large";

    websocket_echoes_many_messages_and_a_large_one: "over_websocket.py", "echoes";
    websocket_passes_over_tls: "over_websocket.py", "over_tls";
    websocket_close_codes_pass_both_ways: "over_websocket.py", "close_codes";
    websocket_lives_through_ten_reloads: "over_websocket.py", "lives_through_reloads";
    websocket_that_is_idle_is_closed_and_one_that_speaks_is_not: "over_websocket.py", "idle";
    websocket_that_the_app_refuses_is_an_answer_like_any_other: "over_websocket.py", "refused";

    line_ends_over_http_2_split_nothing: "smuggling.py", "line_ends";
    methods_and_targets_over_http_2_cannot_be_requests: "smuggling.py", "methods_and_targets";
    fields_of_a_connection_over_http_2_are_refused: "smuggling.py", "connection_fields";
    hosts_over_http_2_that_disagree_are_refused: "smuggling.py", "hosts";
    one_host_over_http_2_is_one_host_at_the_app: "smuggling.py", "one_host_said_twice_is_served";
    lengths_and_codings_over_http_2_that_lie_are_refused: "smuggling.py", "bodies";
    bodies_over_http_2_that_look_like_requests_are_bodies: "smuggling.py", "what_is_sent_is_what_arrives";
    trailers_over_http_2_are_no_heads: "smuggling.py", "trailers";

    an_order_that_an_http_2_app_refuses_is_sent_again_and_executes_once: "http2_app.py", "refused_stream";
    an_order_above_the_last_id_of_goaway_is_sent_again_and_executes_once: "http2_app.py", "above_goaway";
    an_order_that_an_http_2_app_always_refuses_leaves_its_key_free: "http2_app.py", "refused_for_good";
    an_order_reset_with_another_code_is_in_doubt: "http2_app.py", "reset_with_another_code";
    an_order_below_the_last_id_of_goaway_is_in_doubt: "http2_app.py", "below_goaway";
    an_order_whose_http_2_connection_is_lost_is_in_doubt: "http2_app.py", "connection_lost";
    orders_at_once_of_which_some_are_refused_execute_once_each: "http2_app.py", "many_given_back_at_once";
}
