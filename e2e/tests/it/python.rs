//! Pythons with pinned packages, for tests with clients that callers really use.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

/// The Python of an environment that has exactly the pinned packages, made the first time.
pub(crate) fn environment(name: &str, pins: &[&str]) -> PathBuf {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = all.join(format!("{name}-venv"));
    let (python, pinned) = (folder.join("bin").join("python"), folder.join("pinned"));
    // Two tests may want it at once.
    let lock = File::create(all.join(format!("{name}-venv.lock"))).expect("the target folder");
    lock.lock().expect("a lock");
    if std::fs::read_to_string(&pinned).is_ok_and(|text| text == pins.join("\n")) {
        return python;
    }
    let _ = std::fs::remove_dir_all(&folder);
    run(
        Command::new("python3").args(["-m", "venv"]).arg(&folder),
        "this test needs Python with venv: apt-get install -y python3 python3-venv",
    );
    run(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(pins),
        "this test needs packages from PyPI: pip must be able to fetch them",
    );
    std::fs::write(pinned, pins.join("\n")).expect("the environment's folder");
    python
}

fn run(command: &mut Command, advice: &str) {
    let output = command.output().unwrap_or_else(|error| panic!("{advice}: {error}"));
    assert!(output.status.success(), "{advice}:\n{}", String::from_utf8_lossy(&output.stderr));
}
