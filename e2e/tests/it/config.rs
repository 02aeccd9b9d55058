//! What the command line says of a config, and what it keeps to itself.

use std::{fs, process::Command};

use e2e::program;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::serve::{House, command};

const ROUTE: &str = r#"
[upstreams.bank]
url = "http://${BANK:-127.0.0.1:9000}"

[[routes]]
path = "/*"
upstream = "bank"
"#;

/// `steadfast config …`: its exit code, and all that it printed.
fn config(arguments: &[&str], folder: &TempDir, variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(program("steadfast"));
    command.arg("config").args(arguments).current_dir(folder.path()).envs(variables.iter().copied());
    let output = command.output().expect("the command line runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn a_password_from_a_variable_or_a_file_is_never_printed() {
    let folder = TempDir::new().unwrap();
    let url = "postgres://me:hunter2@db/x?sslpassword=hunter3";
    let variables = [("LEDGER_URL", url), ("PASSWORD", "hunter2")];
    fs::write(folder.path().join("secret"), url).unwrap();
    for ledger in [
        r#"ledger = "${LEDGER_URL}""#,
        r#"ledger = "postgres://me:${PASSWORD}@db/x?sslpassword=${PASSWORD}""#,
        r#"ledger = "postgres://me:${MISSING:-hunter2}@db/x?sslpassword=hunter3""#,
        r#"ledger_file = "secret""#,
    ] {
        fs::write(folder.path().join("steadfast.toml"), format!("{ledger}\n{ROUTE}")).unwrap();
        let (code, said) = config(&["show", "--effective"], &folder, &variables);
        assert_eq!(code, Some(0), "{said}");
        let shown = "postgres://me:REDACTED@db/x?sslpassword=REDACTED";
        assert!(said.contains(shown) && !said.contains("hunter"), "{ledger}: {said}");
        // Nor in what is said of the rest of a file that is wrong.
        fs::write(folder.path().join("steadfast.toml"), format!("{ledger}\nadmin = \"me\"\n{ROUTE}"))
            .unwrap();
        let (code, said) = config(&["check"], &folder, &variables);
        assert!(code == Some(3) && !said.contains("hunter"), "{ledger}: {said}");
    }
    // Nor where it is of no known kind.
    fs::write(folder.path().join("steadfast.toml"), format!("ledger = \"${{LEDGER_URL}}\"\n{ROUTE}"))
        .unwrap();
    let (code, said) = config(&["check"], &folder, &[("LEDGER_URL", "mysql://me:hunter2@db")]);
    assert!(code == Some(3) && said.contains("mysql") && !said.contains("hunter"), "{said}");
}

#[test]
fn a_variable_that_is_not_set_is_an_error_at_its_line_and_column() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("steadfast.toml"), ROUTE.replace("BANK:-127.0.0.1:9000", "BANK")).unwrap();
    let (code, said) = config(&["check"], &folder, &[]);
    assert_eq!(code, Some(3), "{said}");
    let place = "steadfast.toml:3:15: the environment variable `BANK` is not set";
    assert!(said.contains(place) && said.contains("next: set BANK"), "{said}");
    let (code, said) = config(&["check"], &folder, &[("BANK", "bank:9000")]);
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test]
async fn a_diff_says_what_a_reload_would_change_and_what_it_would_not() {
    let house = House::open().await;
    let admin = house.gateway.admin_addr().to_string();
    // The file that the gateway reads is the one that is compared, unless another is named.
    let diff = |more: &[&str]| {
        let output = command(&[&["config", "diff", "--admin", &admin], more].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), said)
    };
    let (code, told, said) = diff(&[]);
    assert_eq!((code, told.as_str()), (Some(0), ""), "{said}");
    assert!(said.contains("says what is in force"), "{said}");

    // The addresses come from flags: what the file says of them has no effect, and is no difference.
    house.write(true, "listen = \"127.0.0.1:1\"\ndrain_timeout = \"5s\"\n[edge]\nheaders_max = 50\n");
    let (code, told, said) = diff(&["-o", "json"]);
    let told: Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}{said}"));
    let differences = json!([
        {"path": "drain_timeout", "running": "30s", "file": "5s", "needs_restart": false},
        {"path": "edge.headers_max", "running": 100, "file": 50, "needs_restart": true},
        {"path": "routes[/*].idempotency.required", "running": false, "file": true, "needs_restart": false},
    ]);
    assert_eq!((code, &told["differences"]), (Some(1), &differences), "{said}");
    assert_eq!(told["file"], json!(house.config.display().to_string()));
    let (code, table, said) = diff(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(table.contains("edge.headers_max                 100      50    after a restart"), "{table}");
    assert!(said.contains("`listen` differs too, but the gateway has it from --listen"), "{said}");

    // It told the truth.
    assert!(command(&["reload", "--admin", &admin]).status.success());
    let (code, told, said) = diff(&["-o", "ndjson"]);
    let left: Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}{said}"));
    assert_eq!((code, &left["path"]), (Some(1), &json!("edge.headers_max")), "{told}");
    assert_eq!(house.unkeyed().await, 400, "an order needs a key now");

    house.write(true, "lissten = 1");
    let (code, told, said) = diff(&[]);
    assert!(code == Some(3) && told.is_empty() && said.contains("did you mean `listen`?"), "{said}");
    let unreachable = command(&["config", "diff", "--admin", "127.0.0.1:1"]);
    assert_eq!(unreachable.status.code(), Some(6), "{}", String::from_utf8_lossy(&unreachable.stderr));
    let no_gateway = command(&["config", "diff", "--admin", &house.office.addr().to_string()]);
    let said = String::from_utf8_lossy(&no_gateway.stderr);
    assert_eq!(no_gateway.status.code(), Some(6), "not 1, which would mean that something differs: {said}");
}
