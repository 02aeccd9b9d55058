//! The config of `steadfast up`.

use std::time::Duration;

use http::Method;
use steadfast_gateway::config::{PathPattern, Place, UpOptions, effective, for_up};
use steadfast_layers::KeySource;

use crate::read;

#[test]
fn up_protects_posts_and_patches_of_anybody_who_sends_a_key() {
    let options = UpOptions { to: "localhost:8000".into(), refused: vec![503], ..UpOptions::default() };
    let loaded = for_up(&options).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.warnings, []);
    let config = loaded.config;
    assert_eq!(
        (config.listeners[0].address.port(), config.admin.to_string()),
        (8080, "127.0.0.1:8081".into())
    );
    let [route] = config.routes.as_slice() else { panic!("one route") };
    assert_eq!((&route.path, route.methods.len()), (&PathPattern::Prefix("/".into()), 0));
    let policy = route.idempotency.as_ref().expect("a policy");
    assert_eq!(policy.methods, [Method::POST, Method::PATCH]);
    assert_eq!((policy.required, policy.anonymous, policy.repeatable_for), (false, true, None));
    assert_eq!(policy.key, KeySource::Header);
    assert_eq!(policy.answers.refused, [425, 429, 503]);
    assert_eq!(config.upstreams[&route.upstream].policy.addresses[0].to_string(), "http://localhost:8000");
    assert_eq!(read(&effective(&config)).unwrap_or_else(|errors| panic!("{errors}")).config, config);
}

#[test]
fn up_says_what_is_wrong_with_which_flag() {
    let good = UpOptions { to: "http://a:1".into(), ..UpOptions::default() };
    let repeatable = UpOptions { repeatable_for: Some("24h".into()), ..good.clone() };
    let config = for_up(&repeatable).unwrap_or_else(|errors| panic!("{errors}")).config;
    assert_eq!(config.upstreams["upstream"].contract.repeatable_for, Some(Duration::from_secs(86_400)));
    let slow = UpOptions { timeout: Some("2m".into()), ..good.clone() };
    let config = for_up(&slow).unwrap_or_else(|errors| panic!("{errors}")).config;
    assert_eq!(config.upstreams["upstream"].policy.first_byte_timeout, Duration::from_secs(120));
    assert_eq!(config.upstreams["upstream"].contract.times.total, Duration::from_secs(120));
    for (options, flag) in [
        (UpOptions { to: "ftp://a".into(), ..good.clone() }, "--to"),
        (UpOptions { to: String::new(), ..good.clone() }, "--to"),
        (UpOptions { listen: Some("x".into()), ..good.clone() }, "--listen"),
        (UpOptions { admin: Some("0.0.0.0:1".into()), ..good.clone() }, "--admin"),
        (UpOptions { ledger: Some("x".into()), ..good.clone() }, "--ledger"),
        (UpOptions { workers: Some("0".into()), ..good.clone() }, "--workers"),
        (UpOptions { repeatable_for: Some("24".into()), ..good.clone() }, "--repeatable-for"),
        (UpOptions { refused: vec![200], ..good.clone() }, "--refused"),
        (UpOptions { refused: vec![503, 999], ..good.clone() }, "--refused"),
        (UpOptions { timeout: Some("0s".into()), ..good.clone() }, "--timeout"),
    ] {
        let errors = for_up(&options).expect_err(flag);
        assert_eq!(errors.errors()[0].place, Place::Flag(flag), "{errors}");
        assert_eq!(errors.errors().len(), 1, "{errors}");
    }
}
