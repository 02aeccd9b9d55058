//! The gateway under test: this same binary as a child process, so that it can be killed and started again.

use std::{
    fs::{File, OpenOptions},
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep};

use super::{client::Client, dice::Dice};

/// How long the gateway may take to be ready.
const READY_MAX: Duration = Duration::from_secs(20);
/// How often it is asked whether it is.
const READY_ASK: Duration = Duration::from_millis(10);
/// Below the ports that systems hand out by themselves: while the gateway is down, no connection is given its port.
const PORTS: (u64, u64) = (20_000, 32_000);
/// Ports that are tried.
const PORT_TRIES: usize = 64;
/// How much of its last words is shown.
const LAST_WORDS_LINES: usize = 12;

/// By when callers of the bank have an answer.
pub(super) const BANK_DEADLINE: Duration = Duration::from_secs(1);

/// What guards everybody against the bank.
const BANK_POLICIES: &str = r#"timeout = { connect = "300ms", first_byte = "400ms", total = "800ms", late = "5s" }
circuit = { volume_min = 10, window = "2s", open_for = "300ms", open_for_max = "1s", probes = 2 }
retry = { attempts = 3, base = "20ms", cap = "200ms" }
concurrency = { max = 64 }
"#;

/// And what those get who only want to read its statement. The bank is always asked: a statement that stayed fresh for a
/// second could hide the whole of a short bad minute.
const STATEMENT_POLICIES: &str = r#"cache = { ttl = "0s", stale_if_error = "1m" }
fallback = { body = '{"count":null,"detail":"the bank does not answer just now"}' }
"#;

/// How often a second a reseller may ask for the list of events, and how often at once.
pub(super) const RESELLER_PER_SECOND: u32 = 5;
pub(super) const RESELLER_BURST: u32 = 5;

/// A gateway process; dropping it kills it.
#[derive(Debug)]
pub(super) struct Gateway {
    address: SocketAddr,
    admin: SocketAddr,
    ledger: String,
    config: PathBuf,
    access_log: PathBuf,
    messages: PathBuf,
    child: Option<Process>,
}

/// A child that does not outlive its handle.
#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Gateway {
    /// Chooses its addresses; nothing runs yet.
    ///
    /// # Errors
    /// No port is free.
    pub(super) fn new(folder: &Path, ledger: String) -> anyhow::Result<Self> {
        let (address, admin) = free_addresses()?;
        Ok(Self {
            address,
            admin,
            ledger,
            config: folder.join("steadfast.toml"),
            access_log: folder.join("gateway.access.log"),
            messages: folder.join("gateway.log"),
            child: None,
        })
    }

    /// Writes its config: it stands before the box office and before the bank. Resellers are led to the box office on a way
    /// of their own, on which nothing is lost.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn stand_before(
        &self,
        office: SocketAddr,
        bank: SocketAddr,
        programme: SocketAddr,
    ) -> anyhow::Result<()> {
        let deadline_ms = BANK_DEADLINE.as_millis();
        let (address, admin, ledger) = (self.address, self.admin, &self.ledger);
        let text = format!(
            r#"listen = "{address}"
admin = "{admin}"
ledger = {ledger:?}

# The box office says 503 only when nothing stands.
[upstreams.office]
url = "http://{office}"
refused = [425, 429, 503]
timeout = {{ total = "2s" }}

# Somebody else's service: guarded, because it has bad minutes.
[upstreams.bank]
url = "http://{bank}"
refused = [425, 429, 503]
{BANK_POLICIES}
# The box office again, for resellers: what they wait for must be the gateway's doing.
[upstreams.programme]
url = "http://{programme}"

# Each has an API key, and may ask so often. One of them will not keep to it.
[authentication.resellers]
api_keys = {{ prefix = "demo" }}

[limits.per-reseller]
per = "principal"
rate = "{RESELLER_PER_SECOND}/s"
burst = {RESELLER_BURST}

[[routes]]
name = "programme"
path = "/programme/events"
methods = ["GET"]
upstream = "programme"
strip_prefix = "/programme"
authentication = {{ by = ["resellers"] }}
limits = ["per-reseller"]

[[routes]]
path = "/*"
upstream = "office"
idempotency = {{ anonymous = true }}

[[routes]]
name = "charges"
path = "/bank/charges"
methods = ["POST"]
upstream = "bank"
strip_prefix = "/bank"
deadline = "{deadline_ms}ms"

[[routes]]
name = "statement"
path = "/bank/statement"
methods = ["GET"]
upstream = "bank"
strip_prefix = "/bank"
deadline = "{deadline_ms}ms"
{STATEMENT_POLICIES}"#
        );
        std::fs::write(&self.config, text)
            .with_context(|| format!("{} cannot be written", self.config.display()))
    }

    /// Where the bank is reached through it.
    pub(super) fn bank_url(&self) -> String {
        format!("http://{}/bank", self.address)
    }

    /// The file of its config.
    pub(super) fn config(&self) -> &Path {
        &self.config
    }

    /// Where it serves callers.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it serves its admin API.
    pub(super) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Where its ledger is, for people: without a password.
    pub(super) fn ledger_to_show(&self) -> String {
        match (self.ledger.split_once("://"), self.ledger.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, place))) => format!("{scheme}://…@{place}"),
            _ => self.ledger.clone(),
        }
    }

    /// The file of its access log.
    pub(super) fn access_log(&self) -> &Path {
        &self.access_log
    }

    /// The file of what else it says.
    pub(super) fn messages(&self) -> &Path {
        &self.messages
    }

    /// Starts it on its addresses and ledger unless it runs, and waits until it is ready.
    ///
    /// # Errors
    /// It cannot be started, ends again, or is not ready in time; with its last words.
    pub(super) async fn start(&mut self) -> anyhow::Result<()> {
        if self.child.is_none() {
            self.child = Some(self.spawn()?);
        }
        let started = Instant::now();
        while !self.is_ready().await {
            self.require_running()?;
            if started.elapsed() > READY_MAX {
                bail!("the gateway was not ready within {} s{}", READY_MAX.as_secs(), self.last_words());
            }
            sleep(READY_ASK).await;
        }
        Ok(())
    }

    fn spawn(&self) -> anyhow::Result<Process> {
        let program = std::env::current_exe().context("this program's own file cannot be found")?;
        let mut command = Command::new(program);
        command
            .arg("serve")
            .arg("--config")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(append(&self.access_log)?)
            .stderr(append(&self.messages)?)
            // Ctrl-C is for the demo, which still has to read the ledger through its gateway.
            .process_group(0);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("STEADFAST_")) {
                command.env_remove(name);
            }
        }
        Ok(Process(command.spawn().context("the gateway cannot be started")?))
    }

    async fn is_ready(&self) -> bool {
        let reply = Client::new(self.admin).get("/readyz", Duration::from_secs(1)).await;
        reply.is_ok_and(|reply| reply.status == 200)
    }

    /// Makes sure that it did not end by itself.
    ///
    /// # Errors
    /// It did; with its last words.
    pub(super) fn require_running(&mut self) -> anyhow::Result<()> {
        let Some(Process(child)) = &mut self.child else { bail!("the gateway is not running") };
        match child.try_wait().context("the gateway cannot be watched")? {
            None => Ok(()),
            Some(status) => bail!("the gateway ended by itself: {status}{}", self.last_words()),
        }
    }

    /// Kills it with SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// As [`Self::require_running`]: nothing was left to kill.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        self.require_running()?;
        self.child = None;
        Ok(())
    }

    fn last_words(&self) -> String {
        let words = std::fs::read_to_string(&self.messages).unwrap_or_default();
        let lines: Vec<_> = words.lines().collect();
        let last = &lines[lines.len().saturating_sub(LAST_WORDS_LINES)..];
        last.iter().fold(String::new(), |words, line| words + "\n  " + line)
    }
}

fn append(file: &Path) -> anyhow::Result<File> {
    let opened = OpenOptions::new().create(true).append(true).open(file);
    opened.with_context(|| format!("{} cannot be written", file.display()))
}

/// Two addresses that nobody listens on.
fn free_addresses() -> anyhow::Result<(SocketAddr, SocketAddr)> {
    let mut dice = Dice::new(super::dice::fresh_seed(), u64::from(std::process::id()));
    let mut last = io::Error::other("no port was tried");
    for _ in 0..PORT_TRIES {
        let port = u16::try_from(dice.between(PORTS.0, PORTS.1)).unwrap_or(u16::MAX - 1);
        let (address, admin) = ((Ipv4Addr::LOCALHOST, port).into(), (Ipv4Addr::LOCALHOST, port + 1).into());
        match (TcpListener::bind(address), TcpListener::bind(admin)) {
            (Ok(_), Ok(_)) => return Ok((address, admin)),
            (Err(error), _) | (_, Err(error)) => last = error,
        }
    }
    Err(last).context("no two ports are free on 127.0.0.1")
}
