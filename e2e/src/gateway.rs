//! A gateway as a process: started, killed, paused and started again on the same ports and ledger.

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::Arc,
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{Answer, Ask, Caller, Killer, NoAnswer, Port, Process, ServiceManager, await_that, program};

/// How long a gateway may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long a claim is its holder's alone: the default, which no command changes.
pub const LEASE: Duration = Duration::from_secs(30);

/// One gateway, running or not.
#[derive(Debug)]
pub struct Gateway {
    name: String,
    folder: PathBuf,
    listen: Arc<Port>,
    admin: Port,
    manager: Option<Arc<ServiceManager>>,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    /// A command that becomes the gateway, where it is not started directly.
    within: Vec<OsString>,
    process: Option<Process>,
}

impl Gateway {
    /// `steadfast up --to http://TO --ledger LEDGER` and `more`; not started yet.
    #[must_use]
    pub fn up(folder: &Path, name: &str, to: SocketAddr, ledger: &str, more: &[&str]) -> Self {
        let to = format!("http://{to}");
        let mut arguments = vec!["up", "--to", &to, "--ledger", ledger];
        arguments.extend(more);
        Self::with_arguments(folder, name, &arguments)
    }

    /// `steadfast serve --config CONFIG`; not started yet. Its addresses go before those of the config.
    #[must_use]
    pub fn serve(folder: &Path, name: &str, config: &Path) -> Self {
        Self::with_arguments(folder, name, &["serve", "--config", &config.to_string_lossy()])
    }

    /// `steadfast serve --config CONFIG` on the same port for callers, with an admin port of its own; not started
    /// yet.
    #[must_use]
    pub fn beside(&self, name: &str, config: &Path) -> Self {
        let arguments = ["serve", "--config", &config.to_string_lossy()];
        Self::at(Arc::clone(&self.listen), &self.folder, name, &arguments)
    }

    /// Hands these sockets to every process that is started from now on.
    pub fn hand_over(&mut self, manager: &Arc<ServiceManager>) {
        self.manager = Some(Arc::clone(manager));
    }

    /// The same with more flags.
    #[must_use]
    pub fn with(mut self, more: &[&str]) -> Self {
        self.arguments.extend(more.iter().map(OsString::from));
        self
    }

    /// The same with this variable in its environment.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    fn with_arguments(folder: &Path, name: &str, arguments: &[&str]) -> Self {
        Self::at(Arc::new(Port::reserve()), folder, name, arguments)
    }

    fn at(listen: Arc<Port>, folder: &Path, name: &str, arguments: &[&str]) -> Self {
        let admin = Port::reserve();
        let mut arguments: Vec<_> = arguments.iter().map(OsString::from).collect();
        for (flag, addr) in [("--listen", listen.addr()), ("--admin", admin.addr())] {
            arguments.extend([flag.into(), addr.to_string().into()]);
        }
        Self {
            name: name.into(),
            folder: folder.into(),
            listen,
            admin,
            manager: None,
            arguments,
            environment: vec![("STEADFAST_LOG".into(), "info".into())],
            within: Vec::new(),
            process: None,
        }
    }

    /// Lets a killer sit in every process that is started from now on.
    pub fn haunt(&mut self, killer: &Killer) {
        self.environment.extend(killer.environment());
    }

    /// Lets a command start it from now on, and become it: the gateway's own command is added to its arguments.
    pub fn start_within(&mut self, command: &[&str]) {
        self.within = command.iter().map(OsString::from).collect();
    }

    /// Its process id.
    ///
    /// # Panics
    /// It does not run.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("the gateway runs").id()
    }

    /// Where callers are served.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.listen.addr()
    }

    /// Where the admin API is.
    #[must_use]
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin.addr()
    }

    /// Starts it, and waits until it is ready.
    ///
    /// # Panics
    /// It ends instead, or is not ready in time.
    pub async fn start(&mut self) {
        let binary = program("steadfast");
        let (binary, handed_over) = match &self.manager {
            Some(manager) => manager.command(&binary),
            None => (binary, Vec::new()),
        };
        let mut command = self.within.clone();
        command.push(binary.into());
        command.extend(handed_over);
        command.extend(self.arguments.iter().cloned());
        let (binary, arguments) = command.split_first().expect("a command");
        let process =
            Process::start(&self.folder, &self.name, Path::new(binary), arguments, &self.environment);
        self.process = Some(process);
        await_that("the gateway is ready", READY_WITHIN, async || {
            let process = self.process.as_mut().expect("it was started");
            if let Some(ended) = process.ended() {
                panic!("the gateway ended ({ended}): {}", process.errors());
            }
            let ready = self.ask_admin(&Ask::get("/readyz")).await;
            ready.is_ok_and(|answer| answer.status == 200).then_some(())
        })
        .await;
    }

    /// Kills it at once.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Kills it at once, and starts it again.
    ///
    /// # Panics
    /// As [`Gateway::start`].
    pub async fn restart(&mut self) {
        self.kill();
        self.start().await;
    }

    /// Stops it in its tracks (SIGSTOP).
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// It does not run.
    pub fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("the gateway runs").signal(signal);
    }

    /// How it ended, where it did.
    ///
    /// # Panics
    /// It was not started.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.process.as_mut().expect("it was started").ended()
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// It does not run, or does not end in time.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        let process = self.process.as_mut().expect("the gateway runs");
        await_that("the gateway ends", within, async || process.ended()).await
    }

    /// What it printed to its standard output: the access log.
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.folder.join(format!("{}.out", self.name))).unwrap_or_default()
    }

    /// The end of what it wrote to its standard error: its log.
    ///
    /// # Panics
    /// It does not run.
    #[must_use]
    pub fn errors(&self) -> String {
        self.process.as_ref().expect("the gateway runs").errors()
    }

    /// Asks the admin API.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn ask_admin(&self, ask: &Ask) -> Result<Answer, NoAnswer> {
        Caller::new(self.admin.addr(), Duration::from_secs(10)).ask(ask).await
    }

    /// What the admin API answers with 200, as JSON.
    ///
    /// # Panics
    /// It does not.
    pub async fn admin(&self, path: &str) -> Value {
        let answer = self.ask_admin(&Ask::get(path)).await.expect("an answer of the admin API");
        assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
        answer.json()
    }

    /// The operation with this key, with its attempts.
    ///
    /// # Panics
    /// The admin API does not answer.
    pub async fn operation(&self, key: &str) -> Option<Value> {
        let page = self.admin(&format!("/api/operations?key={key}")).await;
        let id = page["operations"].get(0)?["id"].as_str()?.to_owned();
        Some(self.admin(&format!("/api/operations/{id}?body=true")).await)
    }

    /// The name of the state of the operation with this key; `absent` where there is none.
    ///
    /// # Panics
    /// The admin API does not answer.
    pub async fn state(&self, key: &str) -> String {
        let operation = self.operation(key).await;
        operation.as_ref().and_then(|operation| operation["state"].as_str()).unwrap_or("absent").to_owned()
    }

    /// The keys of the operations in a state.
    ///
    /// # Panics
    /// The admin API does not answer.
    pub async fn keys_in(&self, state: &str) -> Vec<String> {
        let mut keys = Vec::new();
        let mut before = String::new();
        loop {
            let page = self.admin(&format!("/api/operations?state={state}&limit=100{before}")).await;
            for operation in page["operations"].as_array().into_iter().flatten() {
                keys.extend(operation["key"].as_str().map(str::to_owned));
            }
            match page["next"].as_str() {
                Some(next) => before = format!("&before={next}"),
                None => return keys,
            }
        }
    }

    /// Waits until nothing is claimed any more.
    ///
    /// # Panics
    /// Something still is.
    pub async fn idle(&self, within: Duration) {
        await_that("nothing is claimed", within, async || {
            (self.admin("/api/counts").await["claimed"] == 0).then_some(())
        })
        .await;
    }
}
