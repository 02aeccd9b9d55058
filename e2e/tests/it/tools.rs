//! What strangers' clients and apps run on: environments of Python and Node with pinned packages, made the first time
//! and kept beside what cargo builds; and programs of theirs that run until they are done.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use e2e::{Process, await_that};

use crate::python;

/// How long a program may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The Python that has everything in `e2e/clients/requirements.txt`.
pub(crate) fn python_of_clients() -> PathBuf {
    let pins: Vec<_> = include_str!("../../clients/requirements.txt").lines().collect();
    python::environment("clients", &pins)
}

/// The `node_modules` that have everything in `e2e/clients/package.json`.
pub(crate) fn node_modules() -> PathBuf {
    let (wanted, pinned) =
        (include_str!("../../clients/package.json"), include_str!("../../clients/package-lock.json"));
    installed("clients-node", wanted, pinned)
}

/// The `node_modules` that have the suite that judges caches.
pub(crate) fn cache_tests() -> PathBuf {
    let wanted = include_str!("../../clients/cache-tests/package.json");
    let pinned = include_str!("../../clients/cache-tests/package-lock.json");
    installed("cache-tests-node", wanted, pinned)
}

fn installed(name: &str, wanted: &str, pinned: &str) -> PathBuf {
    let make = |folder: &Path| {
        fs::create_dir_all(folder).expect("cargo's folder for tests");
        fs::write(folder.join("package.json"), wanted).expect("the folder just made");
        fs::write(folder.join("package-lock.json"), pinned).expect("the folder just made");
        must(
            Command::new("npm").args(["ci", "--silent", "--no-audit", "--no-fund"]).current_dir(folder),
            "this test needs Node and packages from npm: apt-get install -y nodejs npm",
        );
    };
    kept(name, pinned, make).join("node_modules")
}

/// A folder that was made for `pins`, now or by an earlier test; by one test at a time.
fn kept(name: &str, pins: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let lock = File::create(folder.with_extension("lock")).expect("cargo's folder for tests");
    lock.lock().expect("it can be locked");
    let pinned = folder.join("pinned");
    if fs::read_to_string(&pinned).is_ok_and(|text| text == pins) {
        return folder;
    }
    let _ = fs::remove_dir_all(&folder);
    make(&folder);
    fs::write(pinned, pins).expect("the folder just made");
    folder
}

fn must(command: &mut Command, advice: &str) {
    let output = command.output().unwrap_or_else(|error| panic!("{advice}: {error}"));
    assert!(output.status.success(), "{advice}:\n{}", String::from_utf8_lossy(&output.stderr));
}

/// What the programs in these environments need in theirs: `python`, `uvicorn` and the like first on the path, and
/// where Node finds its modules. The packages are only installed where `node` says that they are needed.
pub(crate) fn environment(node: bool) -> Vec<(OsString, OsString)> {
    let bin = python_of_clients().parent().expect("a folder").to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&path)));
    let mut environment = vec![
        ("PATH".into(), path.expect("folders without a colon")),
        ("PYTHONUNBUFFERED".into(), "1".into()),
        ("PYTHONDONTWRITEBYTECODE".into(), "1".into()),
        // Whatever proxy this machine goes through, it is not meant here.
        ("NO_PROXY".into(), "*".into()),
        ("no_proxy".into(), "*".into()),
    ];
    if node {
        environment.push(("NODE_PATH".into(), node_modules().into_os_string()));
    }
    environment
}

/// Runs a program to its end; what it printed to its standard output.
///
/// # Panics
/// It fails, or takes too long.
pub(crate) async fn run<A: AsRef<OsStr>>(
    folder: &Path,
    name: &str,
    program: &Path,
    arguments: impl IntoIterator<Item = A>,
    environment: &[(OsString, OsString)],
) -> String {
    let output = folder.join(format!("{name}.out"));
    let _ = fs::remove_file(&output);
    let mut process = Process::start(folder, name, program, arguments, environment);
    let printed = || fs::read_to_string(&output).unwrap_or_default();
    let until = std::time::Instant::now() + PATIENCE;
    let ended = await_that(name, PATIENCE * 2, async || {
        let late = std::time::Instant::now() > until;
        assert!(!late, "{name} takes too long\n{}\n{}", printed(), process.errors());
        process.ended()
    })
    .await;
    assert!(ended.success(), "{name}: {ended}\n{}\n{}", printed(), process.errors());
    printed()
}
