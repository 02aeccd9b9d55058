//! How names are found and endpoints are checked.

use std::time::Duration;

use steadfast_core::HealthThresholds;
use steadfast_gateway::config::{effective, restart_needed};
use steadfast_upstream::HealthPolicy;

use crate::{SMALLEST, read};

const STATED: &str = r#"
[resolver]
servers = ["10.0.0.2", "10.0.0.3:5353", "fd00::2", "[fd00::3]:54"]

[upstreams.bank]
url = "http://bank:9000/api"
health = { path = "/healthz?deep=1", interval = "500ms", rise = 1, fall = 4 }

[[routes]]
path = "/*"
upstream = "bank"
"#;

#[test]
fn what_is_stated_reaches_every_upstream_and_is_written_back() {
    let config = read(STATED).unwrap_or_else(|errors| panic!("{errors}")).config;
    let servers = ["10.0.0.2:53", "10.0.0.3:5353", "[fd00::2]:53", "[fd00::3]:54"];
    assert_eq!(config.resolver, servers.map(|server| server.parse().expect("an address")));
    let policy = &config.upstreams["bank"].policy;
    assert_eq!(policy.resolver, config.resolver);
    let health = HealthPolicy {
        interval: Duration::from_millis(500),
        // No longer than the interval, unless stated.
        timeout: Duration::from_millis(500),
        thresholds: HealthThresholds { rise: 1, fall: 4 },
        ..HealthPolicy::new("/healthz?deep=1".parse().expect("a path"))
    };
    assert_eq!(policy.health, Some(health));
    let again = read(&effective(&config)).unwrap_or_else(|errors| panic!("{errors}")).config;
    assert_eq!(again, config);
}

#[test]
fn unless_stated_the_system_finds_names_and_nobody_is_checked() {
    let config = read(SMALLEST).unwrap_or_else(|errors| panic!("{errors}")).config;
    assert_eq!(config.resolver, []);
    assert!(config.upstreams.values().all(|upstream| upstream.policy.health.is_none()));
}

#[test]
fn a_reload_takes_over_other_servers() {
    let config = |servers: &str| {
        let text = STATED.replace(r#""10.0.0.2""#, servers);
        read(&text).unwrap_or_else(|errors| panic!("{errors}")).config
    };
    let (one, other) = (config(r#""10.0.0.2""#), config(r#""10.0.0.9""#));
    assert_eq!(restart_needed(&one, &other), [""; 0]);
    // The upstreams' own policies differ, so each of them starts anew.
    assert_ne!(one.upstreams, other.upstreams);
}

#[test]
fn a_check_that_may_take_longer_than_its_interval_is_warned_of() {
    let text = STATED.replace("rise = 1", "timeout = \"2s\"");
    let warnings = read(&text).unwrap_or_else(|errors| panic!("{errors}")).warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].what.contains("`health.timeout` is longer"), "{warnings:?}");
}
