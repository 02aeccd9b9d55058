//! What a config says of those who do harm.

use std::time::Duration;

use steadfast_gateway::config::effective;
use steadfast_layers::AbusePolicy;

use crate::read;

const ROUTE: &str =
    "[upstreams.bank]\nurl = \"http://127.0.0.1:9000\"\n[[routes]]\npath = \"/*\"\nupstream = \"bank\"\n";

#[test]
fn what_is_said_of_abuse_is_read_and_written_back_as_it_was() {
    let text = format!(
        r#"
[abuse]
bans = [{{ of = "203.0.113.9/24", reason = "it costs $$1" }}, {{ of = "principal:acme", challenge = "https://example.org/x" }}]
unauthenticated = {{ count = 20, within = "1m", ban_for = "10m" }}
limit_storm = {{ count = 200, within = "30s", ban_for = "2d", mode = "shadow" }}
baseline = {{ at_least = "200/h" }}
never = ["10.0.0.0/8", "principal:health"]
challenge = "https://example.org/human"
{ROUTE}"#
    );
    let config = read(&text).unwrap_or_else(|errors| panic!("{errors}")).config;
    let abuse = &config.abuse;
    assert_eq!(abuse.bans[0].of.to_string(), "203.0.113.0/24");
    let (unauthenticated, storm) =
        (abuse.unauthenticated.expect("stated"), abuse.limit_storm.expect("stated"));
    assert_eq!((unauthenticated.is_shadow, storm.is_shadow), (false, true));
    assert_eq!(unauthenticated.ban_for_max, Duration::from_secs(86_400));
    assert_eq!(storm.ban_for_max, storm.ban_for, "never less than the first");
    let baseline = abuse.baseline.expect("stated");
    assert_eq!((baseline.factor, baseline.is_shadow), (10, true), "nobody is refused unless that is said");
    assert!(
        abuse.spares_principal("health") && abuse.spares_address("10.1.2.3".parse().expect("an address"))
    );
    let again = read(&effective(&config)).unwrap_or_else(|errors| panic!("{errors}")).config;
    assert_eq!(again.abuse, config.abuse);
}

#[test]
fn nothing_is_done_unless_it_is_stated_and_loopback_is_spared_unless_it_is_not() {
    let nothing = read(ROUTE).unwrap_or_else(|errors| panic!("{errors}")).config;
    assert_eq!(nothing.abuse, AbusePolicy::default());
    let abuse = |text: &str| {
        read(&format!("[abuse]\n{text}\n{ROUTE}")).unwrap_or_else(|errors| panic!("{errors}")).config.abuse
    };
    let loopback = "127.0.0.1".parse().expect("an address");
    assert!(abuse("").spares_address(loopback));
    assert!(!abuse("never = []").spares_address(loopback));
    assert!(nothing.abuse.spares_address(loopback), "also where there is no `[abuse]`");
    let spares_nobody =
        read(&format!("[abuse]\nnever = []\n{ROUTE}")).unwrap_or_else(|errors| panic!("{errors}"));
    let again = read(&effective(&spares_nobody.config)).unwrap_or_else(|errors| panic!("{errors}")).config;
    assert_eq!(again.abuse, spares_nobody.config.abuse);
}

#[test]
fn a_request_now_and_then_cannot_be_called_far_more_than_usual() {
    let stated = |rate: &str| read(&format!("[abuse]\nbaseline = {{ at_least = \"{rate}\" }}\n{ROUTE}"));
    assert!(stated("2/min").is_ok() && stated("120/h").is_ok());
    let Err(errors) = stated("119/h") else { panic!("it is too little") };
    assert!(errors.to_string().contains("choose \"2/min\" or more"), "{errors}");
}
