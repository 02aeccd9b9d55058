//! The binaries under test, built once by the cargo that runs the tests.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The path of a binary of this workspace: `steadfast` or `box-office`.
///
/// They are built first, unless `STEADFAST_BINARIES` names a folder that has them.
///
/// # Panics
/// They cannot be built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| std::env::var_os("STEADFAST_BINARIES").map_or_else(build, PathBuf::from)).join(name)
}

fn build() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's folder");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "-p", "steadfast", "-p", "box-office"]).current_dir(workspace);
    let built = command.output().expect("cargo runs");
    let errors = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "the binaries under test could not be built:\n{errors}");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    workspace.join(target).join("debug")
}
