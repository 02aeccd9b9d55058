//! Every file in `tests/golden/config` is refused in exactly the words beside it. `UPDATE_GOLDEN=1` writes them.

use std::{fs, path::Path};

use steadfast_gateway::config::{Environment, Overrides, parse};

/// What `actual` must be; written instead when asked to.
pub(crate) fn matches_golden(path: &Path, actual: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, actual).expect("the golden file is written");
    }
    let golden = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(golden, actual, "{} differs: run again with UPDATE_GOLDEN=1", path.display());
}

#[test]
fn every_bad_file_is_refused_in_these_words() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/config");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("the golden folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    assert!(files.len() >= 12, "only {} golden files", files.len());
    for file in files {
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).expect("a golden file");
        let refused = parse(&name, &text, &Environment::default(), &Overrides::default());
        let errors = refused.expect_err(&name);
        matches_golden(&file.with_extension("err"), &format!("{errors}\n"));
    }
}
