//! Where something in front verified who is calling: the principal, and not the credential, is the caller.

use crate::{
    contract::{backend::Act, refusal::Again, wire::Ask},
    stand::stand,
};

fn as_principal(ask: Ask, principal: &str) -> Ask {
    ask.header("X-Principal", principal)
}

#[tokio::test]
async fn a_principal_with_a_refreshed_credential_gets_its_replay() {
    let stand = stand().await;
    for path in ["/orders", "/principals"] {
        let ask = as_principal(Ask::post(path).key("k"), "ada");
        let first = stand.ask(&ask).await;
        let refreshed = stand.ask(&ask.by("a refreshed token")).await;
        assert!(refreshed.is_replay(), "{path}: {}", refreshed.text());
        assert_eq!(first.body, refreshed.body);
    }
    assert_eq!(stand.backend.count(), 2);
}

#[tokio::test]
async fn two_principals_share_no_key() {
    let stand = stand().await;
    for (number, principal) in ["ada", "bob"].into_iter().enumerate() {
        let answer = stand.ask(&as_principal(Ask::post("/principals").key("k"), principal)).await;
        assert_eq!(answer.text(), format!("done {}", number + 1));
    }
    let seen = stand.backend.seen();
    assert_ne!(seen[0].key(), seen[1].key(), "nor are their forwarded keys the same");
    assert!(seen.iter().all(|seen| seen.key().is_some_and(|key| key.starts_with("sf_"))));
}

#[tokio::test]
async fn a_namespace_of_principals_needs_one() {
    let stand = stand().await;
    let answer = stand.ask(&Ask::post("/principals").key("k")).await;
    answer.refused(401, "unauthenticated", Again::Never);
    assert_eq!(stand.backend.count(), 0);
}

#[tokio::test]
async fn a_principal_runs_what_is_in_doubt_again_with_a_refreshed_credential_and_the_same_forwarded_key() {
    let stand = stand().await;
    stand.backend.will(Act::answer(500, "who knows"));
    let ask = as_principal(Ask::post("/repeatable").key("k"), "ada");
    assert_eq!(stand.ask(&ask).await.status, 500);
    assert_eq!(stand.ask(&ask.by("a refreshed token")).await.text(), "done 2");
    let seen = stand.backend.seen();
    assert_eq!(seen[0].key(), seen[1].key());
}

#[tokio::test]
async fn a_window_belongs_to_the_principal_and_not_to_its_token() {
    let stand = stand().await;
    let click = as_principal(Ask::post("/window"), "ada");
    assert_eq!(stand.ask(&click).await.text(), "done 1");
    assert!(stand.ask(&click.by("a refreshed token")).await.is_replay());
}
