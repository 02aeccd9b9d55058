//! The deployment guide (docs/deploying.md): every app in it runs behind the real gateway with the very config that is
//! printed there, and is called as it says there.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use e2e::{Gateway, Port, Process, await_that, program};
use tempfile::TempDir;

use crate::tools;

const PATIENCE: Duration = Duration::from_secs(60);
/// Where the examples say that the app and the gateway are.
const APP_PORT: &str = "8000";
const GATEWAY_PORT: &str = "8080";
const LEDGER: &str = "sqlite:steadfast.db";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's folder")
}

fn guide() -> PathBuf {
    repository().join("docs/deploying.md")
}

/// Starts an example's app and the gateway before it, calls it, and returns what the call printed.
async fn deployed(example: &str, call: &str, node: bool) -> String {
    let folder = TempDir::new().expect("a folder");
    let environment = tools::environment(node);
    let app_port = Port::reserve();
    let config = folder.path().join("steadfast.toml");
    let mut gateway = Gateway::serve(folder.path(), "gateway", &config);
    for file in fs::read_dir(repository().join("examples/deploying").join(example)).expect("the example") {
        let file = file.expect("a file").path();
        let text = fs::read_to_string(&file)
            .expect("text")
            .replace(APP_PORT, &app_port.addr().port().to_string())
            .replace(GATEWAY_PORT, &gateway.addr().port().to_string())
            .replace(LEDGER, &format!("sqlite:{}", folder.path().join("steadfast.db").display()));
        fs::write(folder.path().join(file.file_name().expect("a name")), text).expect("the test's folder");
    }
    let shell = |name: &str, script: String| (name.to_owned(), ["-c".to_owned(), script]);
    let within = folder.path().display().to_string();
    let (name, start) = shell("app", format!("cd {within} && . ./start.sh"));
    let mut app = Process::start(folder.path(), &name, Path::new("/bin/sh"), start, &environment);
    await_that("the app serves", PATIENCE, async || {
        assert!(app.ended().is_none(), "the app ended: {}", app.errors());
        tokio::net::TcpStream::connect(app_port.addr()).await.ok()
    })
    .await;
    gateway.start().await;
    let (name, call) = shell("call", format!("cd {within} && {call}"));
    tools::run(folder.path(), &name, Path::new("/bin/sh"), call, &environment).await
}

#[tokio::test]
async fn fastapi_behind_the_gateway_takes_a_retried_order_once() {
    let printed = deployed("fastapi", "sh call.sh", false).await;
    let orders = printed.matches(r#"{"order":1,"item":"ticket"}"#).count();
    assert_eq!((orders, printed.matches("201 Created").count()), (2, 2), "{printed}");
    assert_eq!(printed.matches("idempotent-replayed: true").count(), 1, "{printed}");
    assert_eq!(printed.matches("location: /orders/1").count(), 2, "{printed}");
    assert!(printed.contains(r#""client":"127.0.0.1","url":"http://127.0.0.1:"#), "{printed}");
}

#[tokio::test]
async fn express_behind_the_gateway_takes_a_retried_order_once() {
    let printed = deployed("express", "node call.mjs", true).await;
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(
        lines[..2],
        [
            r#"201 {"order":1,"item":"ticket"} replayed: null"#,
            r#"201 {"order":1,"item":"ticket"} replayed: true"#
        ]
    );
    assert!(lines[2].starts_with(r#"{"client":"127.0.0.1","url":"http://127.0.0.1:"#), "{printed}");
}

#[tokio::test]
async fn a_grpc_service_behind_the_gateway_answers_streams_and_fails_as_it_does_alone() {
    let printed = deployed("grpc", "python call.py", false).await;
    assert_eq!(printed, "Hello, world OK app\n1 2 3\nINVALID_ARGUMENT nobody to greet\n");
}

#[tokio::test]
async fn a_websocket_app_behind_the_gateway_chats() {
    let printed = deployed("websocket", "python call.py", false).await;
    assert_eq!(printed, "Hello, 127.0.0.1\nYou said ticket\nclosed with 1000\n");
}

/// The guide with every example's text as the file has it: a block that follows a line `<!-- PATH -->`.
#[test]
fn golden_guide_prints_the_examples_as_they_are() {
    let page = fs::read_to_string(guide()).expect("docs/deploying.md");
    let (mut written, mut shown, mut lines) = (String::new(), Vec::new(), page.lines());
    while let Some(line) = lines.next() {
        written.push_str(&format!("{line}\n"));
        let path = line.strip_prefix("<!-- examples/").and_then(|rest| rest.strip_suffix(" -->"));
        let Some(path) = path.map(|path| format!("examples/{path}")) else { continue };
        let fence = lines.next().filter(|fence| fence.starts_with("```")).expect("a block after its path");
        lines.by_ref().find(|line| *line == "```").expect("the block's end");
        let text = fs::read_to_string(repository().join(&path)).expect(&path);
        written.push_str(&format!("{fence}\n{text}```\n"));
        shown.push(repository().join(path));
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(guide(), &written).expect("the guide is written");
    } else {
        assert_eq!(page, written, "docs/deploying.md differs: run again with UPDATE_GOLDEN=1");
    }
    let folders = fs::read_dir(repository().join("examples/deploying")).expect("the examples");
    let files = folders.flat_map(|folder| fs::read_dir(folder.expect("one").path()).expect("a folder"));
    let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    shown.sort();
    files.sort();
    assert_eq!(shown, files, "every file of an example is in the guide");
}

/// Every other piece of a config in the guide, put into a small whole one.
#[test]
fn every_config_in_the_guide_is_valid() {
    let page = fs::read_to_string(guide()).expect("docs/deploying.md");
    let pieces: Vec<_> = page.split("```toml\n").skip(1).filter_map(|rest| rest.split_once("```")).collect();
    assert!(pieces.len() > 6, "{}", pieces.len());
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("steadfast.toml");
    let made = rcgen::generate_simple_self_signed(["app.internal".to_owned()]).expect("a certificate");
    for name in ["api", "admin", "partners", "internal-ca", "gateway"] {
        let write = |end: &str, text: String| fs::write(folder.path().join(format!("{name}.{end}")), text);
        write("pem", made.cert.pem()).expect("the test's folder");
        write("key", made.signing_key.serialize_pem()).expect("the test's folder");
    }
    for (piece, _) in pieces {
        let has = |text: &str| piece.contains(text);
        let mut whole = piece.replace("/etc/steadfast", &folder.path().to_string_lossy());
        if !has("[upstreams.") {
            whole.push_str("\n[upstreams.app]\nurl = \"http://127.0.0.1:8000\"\n");
        }
        if !has("[[routes]]") {
            whole.push_str("\n[[routes]]\npath = \"/*\"\nupstream = \"app\"\n");
        }
        fs::write(&file, &whole).expect("the test's folder");
        let mut check = Command::new(program("steadfast"));
        let output = check.args(["config", "check", "--config"]).arg(&file).output().expect("it runs");
        assert!(output.status.success(), "{whole}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}
