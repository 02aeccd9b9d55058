//! What the command line says of a config, and what it keeps to itself.

use std::{fs, process::Command};

use e2e::program;
use tempfile::TempDir;

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
