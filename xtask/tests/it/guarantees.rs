//! README's guarantees name the tests that prove them: each must be there.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Rust file below `folder`, as one text.
fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() && entry.file_name().is_some_and(|name| name != "target" && name != ".git") {
            sources(&entry, text);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&entry).expect("a source file"));
        }
    }
}

#[test]
fn every_guarantee_names_tests_that_are_there() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let rows = readme.lines().skip_while(|line| *line != "## Guarantees").skip(1);
    let rows: Vec<&str> = rows.take_while(|line| !line.starts_with("## ")).collect();
    let mut text = String::new();
    sources(&root(), &mut text);
    let mut named = 0;
    for row in rows.iter().filter(|row| row.starts_with('|')).skip(2) {
        let proved_by = row.split('|').nth(3).expect("a third column");
        let tests: Vec<&str> = proved_by.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "this promise names no test: {row}");
        for test in tests {
            // Some are made by macros from a list of claims, so it is the bare name that is looked for.
            assert!(text.contains(test), "there is no test `{test}`, named by: {row}");
            named += 1;
        }
    }
    assert!(named >= 10, "the guarantees table was not found");
}
