use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, Response};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use serde_json::{Value, json};
use steadfast_ledger::BoxFuture;

use super::*;
use crate::authentication::outbound::Outbound;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const NOW_S: i64 = 1_800_000_000;

fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// An authority with a key on P-256.
struct Authority {
    pair: EcdsaKeyPair,
    key_id: &'static str,
}

impl Authority {
    fn new(key_id: &'static str) -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random);
        Self { pair: pair.expect("a key"), key_id }
    }

    fn published(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "kid": self.key_id,
            "x": base64(&point[1..33]), "y": base64(&point[33..]),
        })
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", base64(header.to_string()), base64(claims.to_string()));
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes()).expect("a signature");
        format!("{message}.{}", base64(signature))
    }

    fn token(&self, claims: &Value) -> String {
        self.sign(&json!({"alg": "ES256", "kid": self.key_id, "typ": "JWT"}), claims)
    }
}

fn set(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

fn policy() -> JwtPolicy {
    JwtPolicy {
        issuer: "https://id.example".into(),
        audience: vec!["orders".into(), "bills".into()],
        algorithms: vec![Algorithm::Es256],
        leeway: Duration::from_secs(30),
        principal: "sub".into(),
        attributes: vec![("plan".into(), "app.plan".into()), ("tenant".into(), "org".into())],
        scopes: "scope".into(),
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://id.example", "sub": "ada", "aud": "orders", "exp": NOW_S + 60,
        "scope": "orders:read orders:write", "org": 42, "app": {"plan": "pro"},
    })
}

fn with(change: Value) -> Value {
    let mut claims = claims();
    for (name, value) in change.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    claims
}

fn jwt(policy: JwtPolicy, keys: Keys) -> Jwt {
    Jwt::new(policy, Arc::new(keys), NamedAs::default(), None)
}

fn given(policy: JwtPolicy, published: &[u8]) -> Jwt {
    let keys = Keys::given("https://id.example", KeySet::parse(published).expect("keys"));
    jwt(policy, keys)
}

fn told(verdict: Option<Verdict>) -> String {
    match verdict {
        None => "asks".to_owned(),
        Some(Verdict::Known(known)) => known.principal().expect("a principal").name().to_owned(),
        Some(Verdict::Bad(detail)) => detail.into_owned(),
        Some(Verdict::NotMine) => "not mine".to_owned(),
        Some(other) => format!("{other:?}"),
    }
}

#[test]
fn a_token_says_who_is_calling_and_what_is_known_of_them() {
    let authority = Authority::new("k1");
    let jwt = given(policy(), &set(&[authority.published()]));
    let token = authority.token(&claims());
    let Some(Verdict::Known(known)) = jwt.check(token.as_bytes(), NOW) else { panic!("it is good") };
    let principal = known.principal().expect("a principal");
    assert_eq!(principal.name(), "ada");
    assert_eq!((principal.plan(), principal.tenant()), (Some("pro"), Some("42")));
    assert!(principal.has_scope("orders:write"));
    assert!(principal.credential().is_some());
}

#[test]
fn what_the_claims_must_say() {
    let authority = Authority::new("k1");
    let jwt = given(policy(), &set(&[authority.published()]));
    for (change, expected) in [
        (json!({}), "ada"),
        (json!({"aud": ["other", "bills"]}), "ada"),
        (json!({"aud": "other"}), "The token is for another audience."),
        (json!({"aud": null}), "The token is for another audience."),
        (json!({"aud": {"orders": true}}), "The token is for another audience."),
        (json!({"exp": NOW_S - 29}), "ada"),
        (json!({"exp": NOW_S - 30}), "The token has expired."),
        (json!({"exp": "soon"}), "The token's `exp` is not a time."),
        (json!({"nbf": NOW_S + 30}), "ada"),
        (json!({"nbf": NOW_S + 31}), "The token is not valid yet."),
        (json!({"nbf": "soon"}), "The token's `nbf` is not a time."),
        (json!({"sub": ""}), "The token has no `sub`, which says whose it is."),
        (json!({"sub": ["ada"]}), "The token has no `sub`, which says whose it is."),
        (json!({"iss": "https://id.example/"}), "not mine"),
        (json!({"iss": ["https://id.example"]}), "not mine"),
    ] {
        let token = authority.token(&with(change.clone()));
        assert_eq!(told(jwt.check(token.as_bytes(), NOW)), expected, "{change}");
    }
    let mut without = claims();
    without.as_object_mut().expect("an object").remove("exp");
    let token = authority.token(&without);
    assert_eq!(told(jwt.check(token.as_bytes(), NOW)), "The token has no `exp`: it would never expire.");
}

#[test]
fn no_token_is_believed_that_its_issuer_did_not_sign() {
    let authority = Authority::new("k1");
    let jwt = given(policy(), &set(&[authority.published()]));
    let good = authority.token(&claims());
    let (message, signature) = good.rsplit_once('.').expect("three parts");
    let unsigned = |alg: &str| {
        let header = json!({"alg": alg, "kid": "k1"}).to_string();
        format!("{}.{}.", base64(header), base64(claims().to_string()))
    };
    let not_taken = "The token is not signed with an algorithm that is taken here.";
    for alg in ["none", "None", "NONE", "", "HS256", "RS256", "ES384"] {
        assert_eq!(told(jwt.check(unsigned(alg).as_bytes(), NOW)), not_taken, "{alg}");
    }
    let not_theirs = "The token's signature is not its issuer's.";
    assert_eq!(told(jwt.check(unsigned("ES256").as_bytes(), NOW)), not_theirs);
    let forged = Authority::new("k1").token(&claims());
    assert_eq!(told(jwt.check(forged.as_bytes(), NOW)), not_theirs);
    let other_claims = base64(with(json!({"sub": "root"})).to_string());
    let (header, _) = message.split_once('.').expect("two parts");
    let altered = format!("{header}.{other_claims}.{signature}");
    assert_eq!(told(jwt.check(altered.as_bytes(), NOW)), not_theirs);
    let critical =
        authority.sign(&json!({"alg": "ES256", "kid": "k1", "crit": ["b64"], "b64": false}), &claims());
    let not_understood = "The token's header asks for something that is not understood here.";
    assert_eq!(told(jwt.check(critical.as_bytes(), NOW)), not_understood);
    for nonsense in ["", ".", "..", "a.b.c", "x", &good[..good.len() / 3]] {
        assert_eq!(told(jwt.check(nonsense.as_bytes(), NOW)), "not mine", "{nonsense}");
    }
}

/// An attacker who knows the public key signs with it as if it were the secret of a MAC, and the config takes both.
#[test]
fn a_public_key_is_never_taken_for_a_secret() {
    let authority = Authority::new("k1");
    let both = JwtPolicy { algorithms: vec![Algorithm::Es256, Algorithm::Hs256], ..policy() };
    let jwt = given(both, &set(&[authority.published()]));
    for secret in [authority.pair.public_key().as_ref(), authority.published().to_string().as_bytes()] {
        let header = json!({"alg": "HS256", "kid": "k1"}).to_string();
        let message = format!("{}.{}", base64(header), base64(claims().to_string()));
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        let token = format!("{message}.{}", base64(mac));
        let expected = "The token is signed with a key that its issuer does not publish.";
        assert_eq!(told(jwt.check(token.as_bytes(), NOW)), expected);
    }
    let secret_published = json!({"kty": "oct", "k": base64("secret"), "kid": "k1"});
    assert_eq!(KeySet::parse(&set(&[secret_published])), Err(InvalidKeySet::Empty));
}

#[test]
fn a_shared_secret_and_ed25519_are_taken_where_they_are_pinned() {
    let secret = b"a secret of at least thirty-two bytes";
    let hs256 = JwtPolicy { algorithms: vec![Algorithm::Hs256], ..policy() };
    let hs256 = jwt(hs256, Keys::given("https://id.example", KeySet::secret(secret)));
    let message = format!("{}.{}", base64(r#"{"alg":"HS256"}"#), base64(claims().to_string()));
    let mac = |secret: &[u8]| {
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        format!("{message}.{}", base64(mac))
    };
    assert_eq!(told(hs256.check(mac(secret).as_bytes(), NOW)), "ada");
    let forged = told(hs256.check(mac(b"another secret").as_bytes(), NOW));
    assert_eq!(forged, "The token's signature is not its issuer's.");

    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("a key");
    let published = json!({"kty": "OKP", "crv": "Ed25519", "x": base64(pair.public_key().as_ref())});
    let eddsa = JwtPolicy { algorithms: vec![Algorithm::EdDsa], ..policy() };
    let eddsa = given(eddsa, &set(&[published]));
    let message = format!("{}.{}", base64(r#"{"alg":"EdDSA"}"#), base64(claims().to_string()));
    let token = format!("{message}.{}", base64(pair.sign(message.as_bytes())));
    assert_eq!(told(eddsa.check(token.as_bytes(), NOW)), "ada");
}

/// The example of RFC 7515, appendix A.2: a token signed with RS256.
#[test]
fn the_rfc_s_own_rsa_signature_is_good() {
    let key = json!({
        "kty": "RSA", "e": "AQAB",
        "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    });
    let token = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    let keys = KeySet::parse(&set(&[key])).expect("a key");
    let token = Token::read(token.as_bytes()).expect("a token");
    let verified = |algorithm| keys.verifies(None, algorithm, token.message, &token.signature);
    assert_eq!(verified(Algorithm::Rs256), Some(true));
    for other in [Algorithm::Rs384, Algorithm::Ps256] {
        assert_eq!(verified(other), Some(false));
    }
    assert_eq!(verified(Algorithm::Hs256), None);
}

#[test]
fn a_remembered_token_still_expires() {
    let authority = Authority::new("k1");
    let jwt = given(policy(), &set(&[authority.published()]));
    let token = authority.token(&claims());
    for _ in 0..2 {
        assert_eq!(told(jwt.check(token.as_bytes(), NOW)), "ada");
    }
    let later = NOW.after(Duration::from_secs(90));
    assert_eq!(told(jwt.check(token.as_bytes(), later)), "The token has expired.");
}

/// An authority on the network, which may be out of order.
#[derive(Debug, Default)]
struct Network {
    published: Mutex<Option<Vec<u8>>>,
    asked: AtomicUsize,
}

impl Outbound for Network {
    fn ask(&self, _: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, String>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let published = self.published.lock().expect("a lock").clone();
        let answer =
            published.map(|set| Response::new(Bytes::from(set))).ok_or_else(|| "it is down".to_owned());
        Box::pin(std::future::ready(answer))
    }
}

impl Network {
    fn publish(&self, keys: Option<&[Value]>) {
        *self.published.lock().expect("a lock") = keys.map(set);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn on_network() -> (Arc<Network>, Jwt) {
    let network = Arc::new(Network::default());
    let keys = Keys::fetched("https://id.example", network.clone(), "/jwks.json".parse().expect("a path"));
    (network, jwt(policy(), keys))
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_when_a_token_names_an_unknown_one_but_not_for_every_such_token() {
    let (network, jwt) = on_network();
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    network.publish(Some(&[old.published()]));
    let check = async |token: &str| told(Some(jwt.check_with_keys(token.as_bytes(), NOW).await));
    assert_eq!(check(&old.token(&claims())).await, "ada");
    network.publish(Some(&[old.published(), new.published()]));
    let unknown = "The token is signed with a key that its issuer does not publish.";
    for _ in 0..100 {
        assert_eq!(check(&new.token(&claims())).await, unknown);
    }
    assert_eq!(network.asked(), 1, "the authority is not asked for each of them");
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(check(&new.token(&claims())).await, "ada");
    assert_eq!(network.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_outage_locks_nobody_out_while_the_keys_live() {
    let (network, jwt) = on_network();
    let authority = Authority::new("k1");
    let fresh = |subject: &str| authority.token(&with(json!({"sub": subject})));
    let verdict = jwt.check_with_keys(fresh("ada").as_bytes(), NOW).await;
    assert!(matches!(verdict, Verdict::Unavailable(_)), "no key was ever known: {verdict:?}");
    network.publish(Some(&[authority.published()]));
    tokio::time::advance(Duration::from_secs(10)).await;
    jwt.keys.keep_fresh().await;
    network.publish(None);
    for hour in 0..23 {
        jwt.keys.keep_fresh().await;
        let token = fresh(&format!("ada {hour}"));
        assert_eq!(told(jwt.check(token.as_bytes(), NOW)), format!("ada {hour}"));
        tokio::time::advance(Duration::from_secs(3_600)).await;
    }
    tokio::time::advance(Duration::from_secs(3_600)).await;
    let verdict = jwt.check_with_keys(fresh("late").as_bytes(), NOW).await;
    assert!(matches!(verdict, Verdict::Unavailable(_)), "{verdict:?}");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_its_issuer_took_back_is_no_good_for_remembered_tokens_either() {
    let (network, jwt) = on_network();
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    network.publish(Some(&[old.published(), new.published()]));
    jwt.keys.keep_fresh().await;
    let token = old.token(&claims());
    assert_eq!(told(jwt.check(token.as_bytes(), NOW)), "ada");
    network.publish(Some(&[new.published()]));
    tokio::time::advance(Duration::from_secs(600)).await;
    jwt.keys.keep_fresh().await;
    let unknown = "The token is signed with a key that its issuer does not publish.";
    assert_eq!(told(jwt.check(token.as_bytes(), NOW)), unknown);
}
