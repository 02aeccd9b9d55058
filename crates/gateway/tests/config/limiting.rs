//! What a config says of limits on callers.

use steadfast_core::{LimitAlgorithm, Period};
use steadfast_gateway::config::effective;
use steadfast_layers::{Cost, CostFromAnswer, ENFORCED_ON_ALL, Per};

use crate::read;

const LIMITED: &str = r#"
[upstreams.bank]
url = "http://127.0.0.1:9000"

[limits.per-customer]
per = ["principal", "header:X-Region", { cel = "headers['x-$$a']" }]
rate = "100/min"
burst = 20
plans = { pro = { rate = "1000/min" }, slow = { burst = 1 } }
enforce = "10%"

[limits.monthly]
per = "tenant"
algorithm = "fixed_window"
rate = "1000000/month"
cost = 'path.startsWith("/export") ? 50 : 1'
mode = "shadow"

[limits.bytes]
per = "ip"
algorithm = "sliding_window"
rate = "500000000/36h"
cost_from_answer = "bytes"

[limits.tokens]
per = "credential"
algorithm = "leaky_bucket"
rate = "5/10s"
cost = 2
cost_from_answer = "header:X-Tokens-Used"

[limits.at-once]
per = "route"
algorithm = "concurrency"
max = 10
plans = { pro = { max = 50 } }

[[routes]]
path = "/*"
upstream = "bank"
limits = ["per-customer", "monthly", "bytes", "tokens", "at-once"]
limit_headers = "both"
refusal = { body = '{"a$${code}": "{code}", "in": {retry_after}}', content_type = "application/vnd.bank+json" }
"#;

#[test]
fn limits_are_read_and_written_back_as_they_were() {
    let config = read(LIMITED).unwrap_or_else(|errors| panic!("{errors}")).config;
    let limit = |name: &str| &config.limits[name];

    let per_customer = limit("per-customer");
    assert_eq!(per_customer.per[0], Per::Principal);
    assert_eq!(per_customer.per[1].to_string(), "header:x-region");
    assert_eq!((per_customer.quota.count, per_customer.quota.burst), (100, 20));
    // A plan that states its rate alone has a burst as large, and one that states its burst alone keeps the rate.
    let plan = |name: &str| (per_customer.plan(Some(name)).count, per_customer.plan(Some(name)).burst);
    assert_eq!((plan("pro"), plan("slow"), plan("other")), ((1_000, 1_000), (100, 1), (100, 20)));
    assert_eq!((per_customer.enforced, limit("monthly").enforced), (ENFORCED_ON_ALL / 10, 0));

    let monthly = limit("monthly").quota;
    assert_eq!((monthly.algorithm, monthly.period), (LimitAlgorithm::FixedWindow, Period::Month));
    assert!(matches!(limit("monthly").cost, Cost::Expression(_)));
    assert_eq!(limit("bytes").cost_from_answer, Some(CostFromAnswer::Bytes));
    assert_eq!((&limit("bytes").cost, &limit("tokens").cost), (&Cost::Constant(0), &Cost::Constant(2)));
    assert_eq!((limit("at-once").quota.count, limit("at-once").plan(Some("pro")).count), (10, 50));

    let written = effective(&config);
    let again = read(&written).unwrap_or_else(|errors| panic!("{written}\n{errors}")).config;
    assert_eq!(again, config, "{written}");
}

#[test]
fn a_limit_that_no_route_names_is_told() {
    let text = LIMITED.replace("\"monthly\", ", "");
    let warnings = read(&text).unwrap_or_else(|errors| panic!("{errors}")).warnings;
    assert!(warnings.iter().any(|warning| warning.what.contains("no route names the limit `monthly`")));
}

#[test]
fn a_limit_that_asks_who_is_calling_on_a_route_that_does_not_is_told() {
    let warnings = read(LIMITED).unwrap_or_else(|errors| panic!("{errors}")).warnings;
    let told: Vec<_> =
        warnings.iter().filter(|warning| warning.what.contains("asks who is calling")).collect();
    assert_eq!(told.len(), 3, "{warnings:?}");
}
