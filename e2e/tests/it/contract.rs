//! What callers are told: the document that the gateway publishes and an app's own with what the gateway adds, both judged
//! by a validator of strangers; and who calls a version, as the command line shows it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use e2e::{Ask, Caller, Gateway, Port, Process, await_that};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    python,
    serve::{House, PATIENCE, command},
    tools,
};

/// Has documents judged; what the validator says of each: its version, and how many paths it has.
async fn judged(folder: &Path, documents: &[PathBuf]) -> String {
    let pins: Vec<_> = include_str!("../../clients/openapi.txt").lines().collect();
    let python = python::environment("openapi", &pins);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/openapi.py");
    let arguments = std::iter::once(&script).chain(documents);
    tools::run(folder, "judge", &python, arguments, &[]).await
}

async fn document(gateway: &Gateway, path: &str, to: &Path) -> Value {
    let mut caller = Caller::new(gateway.addr(), PATIENCE);
    let answer = caller.ask(&Ask::get(path)).await.expect("an answer");
    assert_eq!(answer.status, 200, "{path}");
    fs::write(to, &answer.body).expect("the test's folder");
    answer.json()
}

#[tokio::test]
async fn a_fastapi_apps_own_document_stays_valid_with_what_the_gateway_adds() {
    let folder = TempDir::new().expect("a folder");
    let app = Port::reserve();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/deploying/fastapi");
    let start = format!("cd {} && exec uvicorn app:app --port {}", example.display(), app.addr().port());
    let mut running = Process::start(
        folder.path(),
        "app",
        Path::new("/bin/sh"),
        ["-c", &start],
        &tools::environment(false),
    );
    await_that("the app serves", PATIENCE * 3, async || {
        assert!(running.ended().is_none(), "the app ended: {}", running.errors());
        tokio::net::TcpStream::connect(app.addr()).await.ok()
    })
    .await;
    let config = folder.path().join("steadfast.toml");
    let text = format!(
        r#"ledger = "sqlite:{}"
document = {{ title = "Orders" }}
[upstreams.app]
url = "http://{}"
openapi = "/openapi.json"
circuit = {{}}
[[routes]]
path = "/*"
upstream = "app"
require_precondition = true
idempotency = {{ required = true, keep = "7d", tombstone = "30d", anonymous = true }}
lifecycle = {{ version = "v1", deprecated = 2026-01-01T00:00:00Z, sunset = 2126-01-01T00:00:00Z, docs = "/move" }}
"#,
        folder.path().join("steadfast.db").display(),
        app.addr()
    );
    fs::write(&config, text).expect("the test's folder");
    let mut gateway = Gateway::serve(folder.path(), "gateway", &config);
    gateway.start().await;
    let (published, own) = (folder.path().join("published.json"), folder.path().join("own.json"));
    document(&gateway, "/.steadfast/openapi.json", &published).await;
    let added = document(&gateway, "/openapi.json", &own).await;
    let orders = &added["paths"]["/orders"]["post"];
    assert_eq!(
        (&orders["deprecated"], &orders["x-steadfast"]["idempotency"]["required"]),
        (&json!(true), &json!(true))
    );
    assert!(orders["responses"]["409"].is_object() && orders["responses"]["422"].is_object(), "{orders}");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/gateway/tests/golden/document");
    let said =
        judged(folder.path(), &[published, own, golden.join("openapi.json"), golden.join("annotated.json")])
            .await;
    assert_eq!(said.lines().filter(|line| line.starts_with("3.1.")).count(), 4, "{said}");
}

#[tokio::test]
async fn the_command_line_shows_who_still_calls_a_version() {
    let house = House::open().await;
    let lifecycle = "lifecycle = { version = \"v1\", deprecated = 2026-01-01T00:00:00Z }\n";
    fs::write(&house.config, house.text(false, "") + lifecycle).expect("the test's folder");
    let admin = house.gateway.admin_addr().to_string();
    let run = async |arguments: &[&str]| {
        let arguments: Vec<String> =
            arguments.iter().copied().chain(["--admin", &admin]).map(str::to_owned).collect();
        let running = tokio::task::spawn_blocking(move || {
            command(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
        });
        let output = running.await.expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    run(&["reload"]).await;
    assert_eq!(run(&["usage"]).await, "", "nobody has called it");
    let mut caller = Caller::new(house.gateway.addr(), PATIENCE);
    let ask = Ask::get("/orders/none").header("Authorization", "Bearer secret-of-ada");
    let answer = caller.ask(&ask).await.expect("an answer");
    assert_eq!(answer.header("deprecation"), Some("@1767225600"));
    assert_eq!(house.unkeyed().await, 201);
    let usage: Value = serde_json::from_str(&run(&["usage", "v1", "-o", "json"]).await).expect("JSON");
    let lines: Vec<_> =
        usage.as_array().expect("a list").iter().map(|line| (&line["by"], &line["requests"])).collect();
    assert_eq!(lines, [(&json!("credential"), &json!(1)), (&json!("anonymous"), &json!(1))]);
    assert!(!usage.to_string().contains("secret-of-ada"));
    let table = run(&["usage"]).await;
    assert!(table.contains("VERSION") && table.contains("(anonymous)"), "{table}");
    assert_eq!(run(&["usage", "v2", "-o", "json"]).await.trim(), "[]");
}
