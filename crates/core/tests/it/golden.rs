//! Generated parts of documents: compared with what the code says, and rewritten where `UPDATE_GOLDEN=1`.

use std::{fs, path::PathBuf};

/// The folder `docs` of the workspace.
pub(crate) fn docs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// Compares the block `name` of a file below `docs` with what it should be.
pub(crate) fn check_block(file: &str, name: &str, expected: &str) {
    let path = docs().join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (begin, end) = (format!("<!-- generated: {name} -->\n"), format!("<!-- end: {name} -->"));
    let from = text.find(&begin).unwrap_or_else(|| panic!("{file} has no block {name}")) + begin.len();
    let to = from + text[from..].find(&end).unwrap_or_else(|| panic!("{file}: block {name} has no end"));
    if text[from..to] == *expected {
        return;
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        // Other tests may rewrite other blocks of the same file: only whole blocks are exchanged, one by one.
        fs::write(&path, format!("{}{expected}{}", &text[..from], &text[to..]))
            .expect("the file is writable");
        return;
    }
    panic!("docs/{file}, block {name}, is not what the code says; UPDATE_GOLDEN=1 rewrites it");
}
