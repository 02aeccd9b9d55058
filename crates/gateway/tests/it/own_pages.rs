//! Claims about what the gateway serves itself.

use serde_json::Value;
use steadfast_core::Code;

use crate::{
    contract::{
        backend::{Act, Gate},
        refusal::Again,
        wire::Ask,
    },
    stand::stand,
};

#[tokio::test]
async fn every_refusal_has_a_page() {
    let stand = stand().await;
    for code in Code::ALL {
        let page = stand.ask(&Ask::new("GET", &format!("/.steadfast/problems/{}", code.as_str()))).await;
        assert_eq!(page.status, 200, "{}", code.as_str());
        assert!(page.text().contains(code.title()), "{}", code.as_str());
        assert_eq!(page.header("content-type"), Some("text/markdown; charset=utf-8"));
    }
    for missing in
        ["/.steadfast/problems/none", "/.steadfast/problems/", "/.steadfast/", "/.steadfast/operations/"]
    {
        let answer = stand.ask(&Ask::new("GET", missing)).await;
        assert_eq!(answer.status, 404, "{missing}");
    }
    let answer = stand.ask(&Ask::post("/.steadfast/problems/key-expired")).await;
    answer.refused(404, "route-not-found", Again::Never);
    assert_eq!(stand.backend.count(), 0, "nothing of this goes upstream");
}

#[tokio::test]
async fn an_operation_is_shown_to_its_maker_only() {
    let stand = stand().await;
    stand.backend.will(Act::answer(500, "who knows"));
    stand.ask(&Ask::post("/orders?secret=1").key("k")).await;
    let link = stand.ask(&Ask::post("/orders?secret=1").key("k")).await.operation_link();
    let get = |credential: &str| Ask::new("GET", &link).by(credential);
    for stranger in ["bob", ""] {
        stand.ask(&get(stranger)).await.refused(404, "operation-not-found", Again::Never);
    }
    let shown = stand.ask(&get("ada")).await;
    assert_eq!((shown.status, shown.header("content-type")), (200, Some("application/json")));
    assert_eq!(shown.header("cache-control"), Some("no-store"));
    let document: Value = serde_json::from_slice(&shown.body).expect("JSON");
    assert_eq!(document["state"], "in_doubt");
    assert_eq!(document["in_doubt"], true);
    assert_eq!(
        (&document["key"], &document["method"], &document["path"]),
        (&"k".into(), &"POST".into(), &"/orders".into())
    );
    assert_eq!(document["attempts"][0]["end"], "unknown");
    assert_eq!(document["attempts"][0]["status"], 500);
    assert!(!shown.text().contains("secret"), "queries are not kept");
}

#[tokio::test]
async fn an_operation_is_shown_while_it_runs_and_when_it_is_done() {
    let stand = stand().await;
    let gate = Gate::closed();
    stand.backend.will(Act::answer(201, "x").held_by(&gate));
    let mut line = stand.send(&Ask::post("/accepted").key("k")).await;
    stand.backend.reached(1).await;
    let accepted = stand.ask(&Ask::post("/accepted").key("k")).await;
    let get = Ask::new("GET", accepted.header("location").expect("a link")).by("ada");
    let state = |document: &Value| document["state"].as_str().map(str::to_owned);
    let running: Value = serde_json::from_slice(&stand.ask(&get).await.body).expect("JSON");
    assert_eq!(state(&running).as_deref(), Some("claimed"));
    gate.open();
    assert_eq!(line.answer("POST").await.expect("an answer").status, 201);
    let done: Value = serde_json::from_slice(&stand.ask(&get).await.body).expect("JSON");
    assert_eq!(state(&done).as_deref(), Some("completed"));
    assert_eq!(done["answer_status"], 201);
    assert!(done["expires_at"].is_string());
}

#[tokio::test]
async fn what_is_no_operation_is_not_found() {
    let stand = stand().await;
    for id in ["op_00000000000000000000000000", "nonsense", "op_", "%00", "../operations"] {
        let answer = stand.ask(&Ask::new("GET", &format!("/.steadfast/operations/{id}")).by("ada")).await;
        answer.refused(404, "operation-not-found", Again::Never);
    }
}
