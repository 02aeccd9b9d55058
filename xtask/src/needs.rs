//! What tests and benchmarks need from the system, found by looking for the programs themselves, and installed with
//! apt where it is missing and we may. The tests start private instances of their own, so an installation must not
//! leave a server running: while apt works, services are held back by `policy-rc.d`, Debian's own way to say so.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::workshop::run;

/// Something that must be on the machine, and the Debian package that brings it.
pub(crate) struct Need {
    what: &'static str,
    packages: &'static [&'static str],
    is_here: fn() -> bool,
}

/// What `cargo xtask test` needs.
pub(crate) const FOR_TESTS: &[Need] = &[
    POSTGRES,
    REDIS,
    PYTHON_VENV,
    SYSTEMD_ANALYZE,
    NODE,
    Need { what: "curl with HTTP/2", packages: &["curl"], is_here: curl_speaks_http2 },
];

/// What `cargo xtask bench proxy` compares with.
pub(crate) const FOR_PROXY: &[Need] =
    &[NGINX, Need { what: "HAProxy", packages: &["haproxy"], is_here: || on_path("haproxy") }];

/// What `cargo xtask bench edge` compares with, and the load of HTTP/2 and TLS.
pub(crate) const FOR_EDGE: &[Need] =
    &[NGINX, Need { what: "h2load", packages: &["nghttp2-client"], is_here: || on_path("h2load") }];

/// What `cargo xtask bench cache` compares with.
pub(crate) const FOR_CACHE: &[Need] = &[NGINX];

/// What `cargo xtask bench shared` compares with.
pub(crate) const FOR_SHARED: &[Need] = &[REDIS];

const NGINX: Need = Need { what: "nginx", packages: &["nginx-light"], is_here: || on_path("nginx") };

/// What `cargo xtask bench keyed` compares with. Redis is not among them: the libraries need a newer one than Debian 12
/// has, and the benchmark fetches it from PyPI where it must.
pub(crate) const FOR_KEYED: &[Need] = &[POSTGRES, PYTHON_VENV, NODE];

/// What `cargo xtask bench jobs` compares with. The benchmark fetches Redis as that one does.
pub(crate) const FOR_JOBS: &[Need] = &[POSTGRES, PYTHON_VENV, NODE];

const POSTGRES: Need = Need {
    what: "Postgres",
    packages: &["postgresql"],
    is_here: || on_path("postgres") || debian_has_postgres(),
};

/// Any version does for limits.
const REDIS: Need = Need { what: "Redis", packages: &["redis-server"], is_here: || on_path("redis-server") };

const PYTHON_VENV: Need = Need {
    what: "Python with venv",
    packages: &["python3", "python3-venv"],
    is_here: || quietly(Command::new("python3").args(["-c", "import venv, ensurepip"])),
};

const NODE: Need = Need {
    what: "node and npm",
    packages: &["nodejs", "npm"],
    is_here: || on_path("node") && on_path("npm"),
};

/// What checks the units in `packaging/systemd`. It checks them where systemd does not run, too.
const SYSTEMD_ANALYZE: Need =
    Need { what: "systemd-analyze", packages: &["systemd"], is_here: || on_path("systemd-analyze") };

/// Installs what is missing of `needs`.
///
/// # Errors
/// Something is missing and this user may not install it (the error is the line to run), or apt failed.
pub(crate) fn ensure(needs: &[Need]) -> anyhow::Result<()> {
    let missing = still_missing(needs);
    if missing.is_empty() {
        return Ok(());
    }
    let what = missing.iter().map(|need| need.what).collect::<Vec<_>>().join(", ");
    let packages: Vec<_> = missing.iter().flat_map(|need| need.packages).copied().collect();
    if !rustix::process::geteuid().is_root() || !on_path("apt-get") {
        bail!(
            "missing: {what}. As root, run\n\n    apt-get update && apt-get install -y --no-install-recommends {}\n",
            packages.join(" ")
        );
    }
    eprintln!("installing {what}");
    let held = ServicesHeld::hold()?;
    run(apt().arg("update"))?;
    run(apt().args(["install", "-y", "--no-install-recommends"]).args(&packages))?;
    drop(held);
    let missing = still_missing(needs);
    if !missing.is_empty() {
        let what = missing.iter().map(|need| need.what).collect::<Vec<_>>().join(", ");
        bail!("apt installed {}, yet still missing: {what}", packages.join(" "));
    }
    Ok(())
}

/// While this lives, packages that are installed do not start their services.
struct ServicesHeld {
    ours: bool,
}

impl ServicesHeld {
    const POLICY: &str = "/usr/sbin/policy-rc.d";

    fn hold() -> anyhow::Result<Self> {
        // A container image often has one already, and whoever wrote it had a reason.
        if Path::new(Self::POLICY).exists() {
            return Ok(Self { ours: false });
        }
        fs::write(Self::POLICY, "#!/bin/sh\nexit 101\n").context("cannot hold back services")?;
        fs::set_permissions(Self::POLICY, fs::Permissions::from_mode(0o755))?;
        Ok(Self { ours: true })
    }
}

impl Drop for ServicesHeld {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(Self::POLICY)
        {
            eprintln!("cannot remove {}: {error}", Self::POLICY);
        }
    }
}

fn still_missing(needs: &[Need]) -> Vec<&Need> {
    needs.iter().filter(|need| !(need.is_here)()).collect()
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    command
}

/// Debian keeps servers of every version side by side, outside PATH.
fn debian_has_postgres() -> bool {
    fs::read_dir("/usr/lib/postgresql")
        .is_ok_and(|versions| versions.flatten().any(|version| version.path().join("bin/postgres").exists()))
}

fn curl_speaks_http2() -> bool {
    let told = Command::new("curl").arg("--version").output();
    told.is_ok_and(|told| String::from_utf8_lossy(&told.stdout).contains("HTTP2"))
}

fn on_path(program: &str) -> bool {
    // Root's PATH without /usr/sbin is common in containers, and nginx lives there.
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(Into::into))
        .any(|folder| folder.join(program).is_file())
}

fn quietly(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
