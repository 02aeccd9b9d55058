//! Claims about who is let through, over real sockets.

use std::time::Duration;

use steadfast_core::ApiKey;
use steadfast_gateway::{
    Gateway, LogTo,
    config::{Environment, Overrides, parse},
};
use steadfast_ledger::{CredentialRecord, Credentials, Issue, LedgerError, Revision};

use crate::{
    contract::{
        Stand,
        backend::{Act, Backend},
        fresh_ledger,
        refusal::Again,
        wire::{Answer, Ask},
    },
    upstream::Upstream,
};

const FILE: &str = r#"
[upstreams.shop]
url = "http://UPSTREAM"

[authentication.customers]
api_keys = { prefix = "sf" }

[authentication.machines]
header = "X-API-Key"
name_prefix = "machine:"
pass_on = true
api_keys = { prefix = "m" }

[[routes]]
path = "/orders"
upstream = "shop"
authentication = { by = ["customers"], scopes = ["orders:write", "orders:read"] }
idempotency = {}

[[routes]]
path = "/pro"
upstream = "shop"
authentication = { by = ["customers", "machines"], attributes = { plan = ["pro", "team"] } }

[[routes]]
path = "/optional"
upstream = "shop"
authentication = { by = ["customers"], optional = true }

[[routes]]
path = "/cached"
upstream = "shop"
authentication = { by = ["customers", "machines"] }
cache = { ttl = "1m" }

[[routes]]
path = "/open"
upstream = "shop"
"#;

/// A gateway with authentication, and its upstream.
pub(crate) struct House {
    pub(crate) stand: Stand,
    pub(crate) gateway: Gateway,
    _kept: (Upstream, tempfile::TempDir),
}

/// One that runs on this config, whose upstream is at `UPSTREAM`.
pub(crate) async fn house_of(file: &str) -> House {
    let upstream = Upstream::start(Backend::new()).await;
    let text = format!("listen = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nworkers = 1\n{file}");
    let text = text.replace("UPSTREAM", &upstream.address().to_string());
    let loaded = parse("steadfast.toml", &text, &Environment::default(), &Overrides::default());
    let config = loaded.unwrap_or_else(|errors| panic!("{errors}")).config;
    let (ledger, clock, folder) = fresh_ledger();
    let log = LogTo { writer: Box::new(std::io::sink()), text: false };
    let gateway = Gateway::start_with(&config, log, ledger.clone(), clock.clone()).expect("it starts");
    let (address, backend) = (gateway.address(), upstream.backend().clone());
    let stand = Stand { address, backend, clock, ledger, _kept: Box::new(()) };
    House { stand, gateway, _kept: (upstream, folder) }
}

async fn house() -> House {
    house_of(FILE).await
}

impl House {
    fn record(&self, key: &ApiKey, prefix: &str) -> CredentialRecord {
        CredentialRecord {
            id: key.id(),
            digest: key.digest(),
            prefix: prefix.into(),
            principal: "acme".into(),
            attributes: vec![("plan".into(), "pro".into()), ("tenant".into(), "Acme Inc".into())],
            scopes: vec!["orders:read".into(), "orders:write".into()],
            created_at: self.stand.clock.wall(),
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
            replaces: None,
        }
    }

    pub(crate) async fn key(&self, change: impl FnOnce(CredentialRecord) -> CredentialRecord) -> ApiKey {
        self.key_of("sf", change).await
    }

    async fn key_of(
        &self,
        prefix: &str,
        change: impl FnOnce(CredentialRecord) -> CredentialRecord,
    ) -> ApiKey {
        let key = ApiKey::random(prefix);
        let record = change(self.record(&key, prefix));
        let overlap_until = record.created_at;
        self.stand.ledger.issue(Issue { record, overlap_until }).await.expect("a key");
        self.gateway.refresh_credentials().await;
        key
    }

    pub(crate) async fn ask(&self, ask: &Ask) -> Answer {
        self.stand.ask(ask).await
    }

    pub(crate) fn upstream(&self) -> &Upstream {
        &self._kept.0
    }
}

/// A request with this and no other credential.
pub(crate) fn bearing(target: &str, token: &str) -> Ask {
    Ask::new("GET", target).by("").header("Authorization", format!("Bearer {token}"))
}

fn with(target: &str, key: &ApiKey) -> Ask {
    bearing(target, key.reveal())
}

fn by_nobody(target: &str) -> Ask {
    Ask::new("GET", target).by("")
}

pub(crate) fn challenge(answer: &Answer) -> &str {
    answer.header("www-authenticate").expect("a challenge")
}

#[tokio::test]
async fn a_valid_key_is_let_in_and_the_upstream_is_told_whose_it_is_but_not_the_key() {
    let house = house().await;
    let key = house.key(|record| record).await;
    assert_eq!(house.ask(&with("/orders", &key)).await.status, 201);
    let seen = house.stand.last_seen();
    let told = |name| seen.headers.all(name);
    assert_eq!(told("steadfast-principal"), ["acme"]);
    assert_eq!(told("steadfast-plan"), ["pro"]);
    assert_eq!(told("steadfast-tenant"), ["Acme Inc"]);
    assert_eq!(told("steadfast-scopes"), ["orders:read orders:write"]);
    assert_eq!(told("authorization"), Vec::<&str>::new());
}

#[tokio::test]
async fn without_a_credential_the_challenge_says_no_error_and_with_a_bad_one_it_does() {
    let house = house().await;
    let good = house.key(|record| record).await;
    let none = house.ask(&by_nobody("/orders")).await;
    none.refused(401, "unauthenticated", Again::Never);
    assert_eq!(challenge(&none), "Bearer realm=\"customers\"");
    let mut typo = good.reveal().to_owned();
    typo.pop();
    for bad in [ApiKey::random("sf").reveal(), &typo, "eyJhbGciOiJub25lIn0.e30.", "opaque"] {
        let answer = house.ask(&bearing("/orders", bad)).await;
        answer.refused(401, "unauthenticated", Again::Never);
        let expected = "Bearer realm=\"customers\", error=\"invalid_token\"";
        assert!(challenge(&answer).starts_with(expected), "{bad}");
        assert!(!answer.text().contains(bad) && !challenge(&answer).contains(bad), "{bad} is told back");
    }
    let basic = by_nobody("/orders").header("Authorization", "Basic YTpi");
    house.ask(&basic).await.refused(401, "unauthenticated", Again::Never);
    let twice = house.ask(&with("/orders", &good).header("Authorization", "Bearer x")).await;
    twice.refused(401, "unauthenticated", Again::Never);
    assert!(challenge(&twice).contains("error=\"invalid_request\""));
    assert_eq!(house.stand.backend.count(), 0);
}

#[tokio::test]
async fn a_key_without_the_scope_is_told_which_one_is_missing() {
    let house = house().await;
    let key = house.key(|record| CredentialRecord { scopes: vec!["orders:read".into()], ..record }).await;
    let answer = house.ask(&with("/orders", &key)).await;
    let problem = answer.refused(403, "forbidden", Again::Never);
    assert_eq!(
        challenge(&answer),
        "Bearer realm=\"customers\", error=\"insufficient_scope\", scope=\"orders:write orders:read\""
    );
    assert_eq!(problem["detail"], "Your credential lacks the scope `orders:write`.");
    let free = vec![("plan".into(), "free".into())];
    let free = house.key(|record| CredentialRecord { attributes: free, ..record }).await;
    let problem = house.ask(&with("/pro", &free)).await.refused(403, "forbidden", Again::Never);
    assert_eq!(problem["detail"], "Your plan is `free`; this is for pro, team.");
    assert_eq!(house.stand.backend.count(), 0);
}

#[tokio::test]
async fn forged_principals_reach_no_upstream_with_authentication_or_without() {
    let house = house().await;
    let bare = |record| CredentialRecord { attributes: Vec::new(), scopes: Vec::new(), ..record };
    let key = house.key(bare).await;
    let asks =
        [(by_nobody("/open"), None), (by_nobody("/optional"), None), (with("/optional", &key), Some("acme"))];
    for (ask, expected) in asks {
        let forged = ask
            .header("Steadfast-Principal", "root")
            .header("steadfast_principal", "root")
            .header("Steadfast-Plan", "gold")
            .header("Steadfast_Tenant", "other")
            .header("STEADFAST-SCOPES", "all")
            .header("Steadfast-Attribute-Role", "admin")
            .header("Connection", "keep-alive, Steadfast-Principal");
        assert_eq!(house.ask(&forged).await.status, 201);
        let seen = house.stand.last_seen();
        let told = seen.headers.0.iter().filter(|(name, _)| name.starts_with("steadfast"));
        let told: Vec<(&str, &str)> = told.map(|(name, value)| (&**name, &**value)).collect();
        let expected: Vec<_> = expected.map(|name| ("steadfast-principal", name)).into_iter().collect();
        assert_eq!(told, expected);
    }
}

#[tokio::test]
async fn where_a_credential_is_optional_a_bad_one_is_refused_still() {
    let house = house().await;
    assert_eq!(house.ask(&by_nobody("/optional")).await.status, 201);
    let unknown = ApiKey::random("sf");
    house.ask(&with("/optional", &unknown)).await.refused(401, "unauthenticated", Again::Never);
}

#[tokio::test]
async fn a_key_may_come_in_a_header_of_its_own_and_be_passed_on() {
    let house = house().await;
    let key = house.key_of("m", |record| record).await;
    let ask = by_nobody("/pro").header("X-API-Key", key.reveal());
    assert_eq!(house.ask(&ask).await.status, 201);
    let seen = house.stand.last_seen();
    assert_eq!(seen.headers.get("steadfast-principal"), Some("machine:acme"));
    assert_eq!(seen.headers.get("x-api-key"), Some(key.reveal()));
    // The one authenticator's keys are none of the other's.
    house.ask(&with("/pro", &key)).await.refused(401, "unauthenticated", Again::Never);
}

#[tokio::test]
async fn a_key_ends_when_it_expires_or_is_revoked_or_its_overlap_is_over() {
    let house = house().await;
    let soon = house.stand.clock.wall().after(Duration::from_secs(60));
    let expiring = house.key(|record| CredentialRecord { expires_at: Some(soon), ..record }).await;
    let revoked = house.key(|record| record).await;
    let status = async |key: &ApiKey| house.ask(&with("/orders", key)).await.status;
    assert_eq!((status(&expiring).await, status(&revoked).await), (201, 201));
    house.stand.ledger.revoke(revoked.id(), house.stand.clock.wall()).await.expect("a revocation");
    house.gateway.refresh_credentials().await;
    house.stand.advance(Duration::from_secs(60));
    assert_eq!((status(&expiring).await, status(&revoked).await), (401, 401));
    let old = house.key(|record| record).await;
    let new = ApiKey::random("sf");
    let record = CredentialRecord { replaces: Some(old.id()), ..house.record(&new, "sf") };
    let overlap_until = house.stand.clock.wall().after(Duration::from_secs(60));
    house.stand.ledger.issue(Issue { record, overlap_until }).await.expect("a key");
    house.gateway.refresh_credentials().await;
    assert_eq!((status(&old).await, status(&new).await), (201, 201));
    house.stand.advance(Duration::from_secs(60));
    assert_eq!((status(&old).await, status(&new).await), (401, 201));
}

#[tokio::test]
async fn an_idempotency_key_is_its_principals_and_its_replay_survives_rotation() {
    let house = house().await;
    let (one, two) = (house.key(|record| record).await, house.key(|record| record).await);
    let other = house.key(|record| CredentialRecord { principal: "bob".into(), ..record }).await;
    let post = |key: &ApiKey| with("/orders", key).method("POST").key("k");
    house.stand.backend.will(Act::answer(201, "acme's"));
    house.stand.backend.will(Act::answer(201, "bob's"));
    assert_eq!(house.ask(&post(&one)).await.text(), "acme's");
    let replay = house.ask(&post(&two)).await;
    assert!(replay.is_replay() && replay.text() == "acme's", "the same principal with another key");
    let fresh = house.ask(&post(&other)).await;
    assert!(!fresh.is_replay() && fresh.text() == "bob's");
}

#[tokio::test]
async fn what_was_answered_to_one_caller_is_given_to_no_other_whichever_header_names_them() {
    let house = house().await;
    let key = house.key(|record| record).await;
    let machine = house.key_of("m", |record| record).await;
    for number in 1..=2 {
        house.stand.backend.will(Act::answer(200, format!("{number}")));
    }
    assert_eq!(house.ask(&with("/cached", &key)).await.text(), "1");
    let other = by_nobody("/cached").header("X-API-Key", machine.reveal());
    assert_eq!(house.ask(&other).await.text(), "2");
    house.ask(&by_nobody("/cached")).await.refused(401, "unauthenticated", Again::Never);
}

#[tokio::test]
async fn an_operation_is_shown_to_its_principal_whichever_key_it_comes_with() {
    let house = house().await;
    let (one, two) = (house.key(|record| record).await, house.key(|record| record).await);
    let other = house.key(|record| CredentialRecord { principal: "bob".into(), ..record }).await;
    house.stand.backend.will(Act::answer(500, "who knows"));
    let post = with("/orders", &one).method("POST").key("k");
    house.ask(&post).await;
    let link = house.ask(&post).await.operation_link();
    assert_eq!(house.ask(&with(&link, &two)).await.status, 200);
    assert_eq!(house.ask(&with(&link, &other)).await.status, 404);
    assert_eq!(house.ask(&by_nobody(&link)).await.status, 404);
}

#[tokio::test]
async fn a_ledger_that_is_lost_locks_nobody_out() {
    let house = house().await;
    let key = house.key(|record| record).await;
    house.stand.ledger.fail_credentials(Some(LedgerError::Full));
    house.gateway.refresh_credentials().await;
    assert_eq!(house.ask(&with("/orders", &key)).await.status, 201);
    house.stand.ledger.fail_credentials(None);
    let afterwards = house.key(|record| record).await;
    assert_eq!(house.ask(&with("/orders", &afterwards)).await.status, 201);
}

#[tokio::test]
async fn when_a_key_was_last_used_is_written_down_before_the_gateway_ends() {
    let house = house().await;
    let key = house.key(|record| record).await;
    house.ask(&with("/orders", &key)).await;
    house.gateway.drain(Duration::from_secs(5)).await;
    let all = house.stand.ledger.credentials(Revision::default()).await.expect("a ledger").records;
    assert_eq!(all[0].last_used_at, Some(house.stand.clock.wall()));
}
