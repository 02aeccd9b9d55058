//! What a route asks of its callers: who they are, and how much each of them may ask for.

use http::header;
use serde_json::{Map, Value, json};
use steadfast_core::{LimitAlgorithm, Period, Quota};
use steadfast_layers::{CostFromAnswer, CredentialSource, LimitPolicy, Per, RouteAuthenticationPolicy};

use super::{RouteContract, words::time};
use crate::config::AuthenticationConfig;

impl<'c> RouteContract<'c> {
    /// The limits that refuse: those in shadow mode are nobody's business yet.
    pub(super) fn limits(&self) -> impl Iterator<Item = &'c LimitPolicy> + use<'c> {
        let (all, named) = (self.limits, &self.route.limits);
        named.iter().filter_map(move |name| all.get(name)).filter(|limit| limit.enforced > 0)
    }

    /// Who finds out who is calling, by name.
    pub(super) fn authenticators(
        &self,
    ) -> impl Iterator<Item = (&'c str, &'c AuthenticationConfig)> + use<'c> {
        let (all, policy) = (self.authentication, self.route.authentication.as_ref());
        let names = policy.into_iter().flat_map(|policy| &policy.by);
        names.filter_map(move |name| Some((&**name, all.get(&**name)?)))
    }
}

/// What is said of both, a paragraph each.
pub(super) fn paragraphs(contract: &RouteContract<'_>) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(policy) = &contract.route.authentication {
        said.push(authentication(contract, policy));
    }
    let limits: Vec<String> = contract.limits().map(limit).collect();
    if !limits.is_empty() {
        said.push(format!(
            "{} Beyond that it is refused with 429 (`quota-exceeded`) and `Retry-After`; nothing of it is sent, and its key \
             stays free. A replay costs nothing.{}",
            limits.join(" "),
            match contract.route.limit_headers.standard {
                true => " `RateLimit` says how much is left and when there is more, `RateLimit-Policy` what is allowed.",
                false => "",
            }
        ));
    }
    if contract.route.decision_header {
        said.push(
            "A refusal says in `Steadfast-Decision` what was decided on the way to it, a Token a step (a List of RFC 9651)."
                .to_owned(),
        );
    }
    said
}

fn authentication(contract: &RouteContract<'_>, policy: &RouteAuthenticationPolicy) -> String {
    let mut ways: Vec<String> = contract
        .authenticators()
        .map(|(_, config)| match &config.source {
            CredentialSource::Bearer => "`Authorization: Bearer …`".to_owned(),
            CredentialSource::Header(name) => format!("`{name}`"),
        })
        .collect();
    ways.dedup();
    let mut said = match policy.optional {
        false => format!("Say who you are: send your credential as {}.", ways.join(" or ")),
        true => format!("You may say who you are, with a credential as {}.", ways.join(" or ")),
    };
    if !policy.scopes.is_empty() {
        let scopes: Vec<String> = policy.scopes.iter().map(|scope| format!("`{scope}`")).collect();
        said.push_str(&format!(" It must be allowed {}.", scopes.join(" and ")));
    }
    for (name, values) in &policy.attributes {
        let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
        said.push_str(&format!(" It must be one whose `{name}` is {}.", values.join(" or ")));
    }
    said
}

fn limit(limit: &LimitPolicy) -> String {
    let per: Vec<String> = limit.per.iter().map(per).collect();
    let mut said =
        format!("Limit `{}`: {} for each {}", limit.name, quota(&limit.quota, limit), per.join(" and "));
    for (plan, allowed) in &limit.plans {
        said.push_str(&format!("; on plan `{plan}` {}", quota(allowed, limit)));
    }
    said.push('.');
    said
}

fn per(per: &Per) -> String {
    match per {
        Per::Principal => "caller".to_owned(),
        Per::Tenant => "tenant".to_owned(),
        Per::Credential => "credential".to_owned(),
        Per::Address => "address".to_owned(),
        Per::Route => "route".to_owned(),
        Per::Header(name) => format!("`{name}`"),
        Per::Path => "path".to_owned(),
        // How it is found out is nobody's business.
        Per::Expression(_) => "group of requests".to_owned(),
    }
}

fn quota(quota: &Quota, limit: &LimitPolicy) -> String {
    let unit = match &limit.cost_from_answer {
        None => "requests",
        Some(CostFromAnswer::Bytes) => "bytes of answers",
        Some(CostFromAnswer::Header(_)) => "units",
    };
    let period = match quota.period {
        Period::Time(length) => time(length),
        Period::Month => "month".to_owned(),
    };
    let count = quota.count;
    match quota.algorithm {
        LimitAlgorithm::Concurrency => format!("{count} requests at once"),
        LimitAlgorithm::TokenBucket => {
            format!("{count} {unit} per {period}, of which {} may come at once after a pause,", quota.burst)
        }
        LimitAlgorithm::LeakyBucket => {
            format!("{count} {unit} per {period} at an even pace, where more waits a while,")
        }
        LimitAlgorithm::FixedWindow => format!("{count} {unit} in each {period} of the clock"),
        LimitAlgorithm::SlidingWindow => format!("{count} {unit} in any {period}"),
    }
}

/// The same for programs, beside the rest of an operation's extension.
pub(super) fn extend(contract: &RouteContract<'_>, said: &mut Map<String, Value>) {
    let limits: Vec<Value> = contract.limits().map(limit_for_programs).collect();
    if !limits.is_empty() {
        said.insert("limits".to_owned(), limits.into());
    }
    if let Some(policy) = &contract.route.authentication {
        let attributes: Map<String, Value> =
            policy.attributes.iter().map(|(name, values)| (name.clone(), values.as_slice().into())).collect();
        let asked = json!({
            "required": !policy.optional,
            "scopes": policy.scopes,
            "attributes": attributes,
        });
        said.insert("authentication".to_owned(), asked);
    }
}

fn limit_for_programs(limit: &LimitPolicy) -> Value {
    let of = |quota: &Quota| {
        let mut said = json!({ "quota": quota.count });
        match (quota.algorithm, quota.period) {
            (LimitAlgorithm::Concurrency, _) => said["unit"] = "concurrent-requests".into(),
            (_, period) => said["window_seconds"] = period.length().as_secs_f64().into(),
        }
        if matches!(quota.algorithm, LimitAlgorithm::TokenBucket | LimitAlgorithm::LeakyBucket) {
            said["burst"] = quota.burst.into();
        }
        said
    };
    let mut said = of(&limit.quota);
    said["name"] = (&*limit.name).into();
    said["per"] = limit.per.iter().map(per).collect();
    if !limit.plans.is_empty() {
        let plans: Map<String, Value> =
            limit.plans.iter().map(|(plan, quota)| (plan.to_string(), of(quota))).collect();
        said["plans"] = plans.into();
    }
    said
}

/// What OpenAPI says of the credential: which schemes, and what each of them is. `None` where nobody is asked.
pub(super) fn security(contract: &RouteContract<'_>) -> Option<(Value, Vec<(String, Value)>)> {
    let policy = contract.route.authentication.as_ref()?;
    let mut schemes = Vec::new();
    let mut ways = Vec::new();
    for (name, config) in contract.authenticators() {
        let scheme = match &config.source {
            CredentialSource::Bearer => json!({ "type": "http", "scheme": "bearer" }),
            CredentialSource::Header(name) if *name == header::AUTHORIZATION => {
                json!({ "type": "http", "scheme": "bearer" })
            }
            CredentialSource::Header(name) => {
                json!({ "type": "apiKey", "in": "header", "name": name.as_str() })
            }
        };
        ways.push(json!({ name: [] }));
        schemes.push((name.to_owned(), scheme));
    }
    if policy.optional {
        ways.push(json!({}));
    }
    Some((ways.into(), schemes))
}
