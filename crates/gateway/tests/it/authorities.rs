//! Claims about those who are asked who is calling: issuers of tokens and forward-auth services, over real sockets.

use std::{fs, path::Path};

use serde_json::json;

use crate::{
    authentication::{House, bearing, challenge, house_of},
    contract::{
        backend::{Act, Backend, Gate, Seen},
        refusal::Again,
        wire::Ask,
    },
    upstream::Upstream,
};

/// A house whose callers are known to somebody at `AUTHORITY`.
async fn house(authentication: &str, folder: &Path) -> (House, Upstream) {
    let authority = Upstream::start(Backend::new()).await;
    let file = format!(
        r#"
[upstreams.shop]
url = "http://UPSTREAM"
[authentication.people]
{authentication}
[[routes]]
path = "/*"
upstream = "shop"
authentication = {{ by = ["people"] }}
"#
    );
    let file = file.replace("AUTHORITY", &authority.address().to_string());
    (house_of(&file.replace("FOLDER", &folder.display().to_string())).await, authority)
}

/// What the gateway and an issuer share.
const SECRET: &str = "what the gateway and the issuer share";

fn asked(authority: &Upstream) -> Seen {
    authority.backend().seen().pop().expect("the authority was asked")
}

#[tokio::test]
async fn a_token_signed_with_the_shared_secret_is_let_in_and_passed_on_and_no_other_is() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("secret"), format!("{SECRET}\n")).expect("a file");
    let jwt = r#"jwt = { issuer = "https://id.example", audience = ["orders"], algorithms = ["HS256"],
                         secret_file = "FOLDER/secret", attributes = { plan = "plan" } }"#
        .replace("\n", " ");
    let (house, _authority) = house(&jwt, folder.path()).await;
    let exp = house.stand.clock.wall().as_millis() / 1_000 + 60;
    let claims =
        json!({"iss": "https://id.example", "aud": "orders", "sub": "ada", "plan": "pro", "exp": exp});
    let token = signed(SECRET, &json!({"alg": "HS256"}), &claims);
    assert_eq!(house.ask(&bearing("/", &token)).await.status, 201);
    let seen = house.stand.last_seen();
    assert_eq!(seen.headers.get("steadfast-principal"), Some("ada"));
    assert_eq!(seen.headers.get("steadfast-plan"), Some("pro"));
    assert_eq!(seen.headers.get("authorization"), Some(&*format!("Bearer {token}")));
    let unsigned = signed("", &json!({"alg": "none"}), &claims);
    let forged = signed("another secret, which nobody shares", &json!({"alg": "HS256"}), &claims);
    for bad in [unsigned, forged, format!("{token}x")] {
        let answer = house.ask(&bearing("/", &bad)).await;
        answer.refused(401, "unauthenticated", Again::Never);
        assert!(challenge(&answer).contains("error=\"invalid_token\""));
    }
    assert_eq!(house.stand.backend.count(), 1);
}

fn signed(secret: &str, header: &serde_json::Value, claims: &serde_json::Value) -> String {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    let part = |value: &serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let mac = ring::hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac))
}

#[tokio::test]
async fn a_token_is_asked_about_once_by_whoever_the_gateway_is_there_and_its_answer_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("secret"), "p@ss\n").expect("a file");
    let introspection = r#"introspection = { url = "http://AUTHORITY/introspect?v=1", client_id = "gate way",
                           client_secret_file = "FOLDER/secret", attributes = { tenant = "org" } }"#
        .replace("\n", " ");
    let (house, authority) = house(&introspection, folder.path()).await;
    let said = json!({"active": true, "sub": "ada", "org": "acme", "scope": "a b"}).to_string();
    let gate = Gate::closed();
    authority.backend().will(Act::answer(200, said).held_by(&gate));
    let ask = bearing("/", "opaque+token");
    let both = async { tokio::join!(house.ask(&ask), house.ask(&ask)) };
    let open = async {
        while authority.backend().count() == 0 {
            tokio::task::yield_now().await;
        }
        gate.open();
    };
    let ((one, two), ()) = tokio::join!(both, open);
    assert_eq!((one.status, two.status, house.ask(&ask).await.status), (201, 201, 201));
    assert_eq!(authority.backend().count(), 1);
    let question = asked(&authority);
    assert_eq!((&*question.method, &*question.target), ("POST", "/introspect?v=1"));
    assert_eq!(question.body, b"token=opaque%2Btoken&token_type_hint=access_token");
    // "gate%20way:p%40ss"
    assert_eq!(question.headers.get("authorization"), Some("Basic Z2F0ZSUyMHdheTpwJTQwc3M="));
    let seen = house.stand.last_seen();
    assert_eq!(seen.headers.get("steadfast-tenant"), Some("acme"));
    assert_eq!(seen.headers.get("steadfast-scopes"), Some("a b"));
    house.stand.advance(std::time::Duration::from_secs(30));
    authority.backend().will(Act::answer(200, json!({"active": false}).to_string()));
    house.ask(&ask).await.refused(401, "unauthenticated", Again::Never);
}

#[tokio::test]
async fn an_issuer_that_says_nothing_is_no_reason_to_let_anybody_in_or_to_call_a_token_bad() {
    let folder = tempfile::tempdir().expect("a folder");
    let (house, authority) = house(r#"introspection = { url = "http://AUTHORITY/" }"#, folder.path()).await;
    for act in [Act::answer(500, ""), Act::answer(200, "no JSON"), Act::answer(401, "")] {
        authority.backend().will(act);
        house.ask(&bearing("/", "t")).await.refused(503, "authentication-unavailable", Again::HelpsAfter);
    }
    assert_eq!(house.stand.backend.count(), 0);
}

#[tokio::test]
async fn a_forward_auth_service_sees_the_head_and_tells_who_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let forward =
        r#"forward = { url = "http://AUTHORITY/check", headers = ["X-Team"], principal = "X-User" }"#;
    let (house, authority) = house(forward, folder.path()).await;
    authority.backend().will(Act::answer(200, "").header("X-User", "ada").header("X-Team", "blue"));
    let ask = Ask::new("PUT", "/orders/1?x=2")
        .by("")
        .header("Cookie", "session=1")
        .header("X-User", "root")
        .header("X_Team", "red")
        .body("secret");
    assert_eq!(house.ask(&ask).await.status, 201);
    let question = asked(&authority);
    assert_eq!((&*question.method, &*question.target, question.body.len()), ("GET", "/check", 0));
    for (name, value) in
        [("x-forwarded-method", "PUT"), ("x-forwarded-uri", "/orders/1?x=2"), ("cookie", "session=1")]
    {
        assert_eq!(question.headers.get(name), Some(value), "{name}");
    }
    assert_eq!((question.headers.get("x-user"), question.headers.get("x_team")), (None, None));
    let seen = house.stand.last_seen();
    assert_eq!(seen.headers.all("x-user"), Vec::<&str>::new());
    assert_eq!(seen.headers.all("x-team"), ["blue"]);
    assert_eq!(seen.headers.get("steadfast-principal"), Some("ada"));
    assert_eq!(seen.headers.get("x_team"), None);
}

#[tokio::test]
async fn what_a_forward_auth_service_refuses_its_caller_hears_in_its_own_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let forward = r#"forward = { url = "http://AUTHORITY/check", principal = "X-User" }"#;
    let (house, authority) = house(forward, folder.path()).await;
    authority.backend().will(Act::answer(302, "").header("Location", "https://id.example/login"));
    let login = house.ask(&Ask::new("GET", "/").by("")).await;
    assert_eq!((login.status, login.header("location")), (302, Some("https://id.example/login")));
    authority.backend().will(Act::answer(403, "not you").header("X-Why", "quota"));
    let refused = house.ask(&Ask::new("GET", "/").by("")).await;
    assert_eq!((refused.status, refused.text().as_str()), (403, "not you"));
    assert_eq!(refused.header("x-why"), Some("quota"));
    for act in [Act::answer(500, ""), Act::answer(200, "it does not say who")] {
        authority.backend().will(act);
        let answer = house.ask(&Ask::new("GET", "/").by("")).await;
        answer.refused(503, "authentication-unavailable", Again::HelpsAfter);
    }
    assert_eq!(house.stand.backend.count(), 0);
}

#[tokio::test]
async fn what_was_answered_to_a_caller_that_a_cookie_names_is_kept_for_nobody_else() {
    let authority = Upstream::start(Backend::new()).await;
    let file = r#"
[upstreams.shop]
url = "http://UPSTREAM"
[authentication.people]
forward = { url = "http://AUTHORITY/check" }
[[routes]]
path = "/*"
upstream = "shop"
authentication = { by = ["people"] }
cache = { ttl = "1m" }
"#;
    let house = house_of(&file.replace("AUTHORITY", &authority.address().to_string())).await;
    for person in ["ada", "bob"] {
        authority.backend().will(Act::answer(200, ""));
        house.stand.backend.will(Act::answer(200, person));
        let ask = Ask::new("GET", "/me").by("").header("Cookie", person);
        assert_eq!(house.ask(&ask).await.text(), person);
    }
}
