//! A private Postgres for tests: initialised in a temporary folder, on a free port, ended when it is dropped and
//! also when the process that started it dies. Needs nothing but the standard library, so that other test
//! binaries can include this file by its path.

use std::{
    fs,
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// What to do where Postgres is missing.
const INSTALL: &str = "these tests need Postgres; install it with: apt-get install -y postgresql";

/// How long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends the server when it is told how, or when whoever started it is gone.
const KEEPER: &str =
    r#""$@" & server=$!; read -r signal || signal=QUIT; kill -"$signal" $server; wait $server"#;

/// Numbers folders and databases within this process.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// How a server is ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stop {
    /// Sessions are ended, and the server writes everything down.
    Fast,
    /// As if the machine had lost power, except that the operating system lives on.
    Immediate,
}

/// A private Postgres.
#[derive(Debug)]
pub(crate) struct Server {
    folder: PathBuf,
    programs: PathBuf,
    port: u16,
    settings: Vec<String>,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    keeper: Child,
    orders: ChildStdin,
}

impl Server {
    /// The server that the tests of this process share: started by the first, ended with the last. It does not
    /// wait for the disk.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return server;
        }
        let server = Arc::new(Self::start(&["fsync=off"]));
        *shared = Arc::downgrade(&server);
        server
    }

    /// Starts a server with these settings beside the defaults (`fsync` is on).
    pub(crate) fn start(settings: &[&str]) -> Self {
        let programs = programs();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("steadfast-pg-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        run(as_postgres("mkdir").args(["-m", "700"]).arg(&folder));
        let data = folder.join("data");
        run(as_postgres(programs.join("initdb"))
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"])
            .args(["--wal-segsize=4", "--pgdata"])
            .arg(&data));
        let server = Self {
            folder,
            programs,
            port: free_port(),
            settings: settings.iter().map(|setting| (*setting).to_owned()).collect(),
            running: Mutex::new(None),
        };
        server.go();
        server
    }

    /// The port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a database.
    pub(crate) fn url(&self, database: &str) -> String {
        self.url_at(self.port, database)
    }

    /// The URL of a database behind another port: a forwarder's.
    pub(crate) fn url_at(&self, port: u16, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{port}/{database}")
    }

    /// Makes a new, empty database and returns its name.
    pub(crate) fn database(&self) -> String {
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        run(self.client("createdb").arg(&name));
        name
    }

    /// Runs SQL as the superuser and returns its output, unaligned, without headings.
    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        let output =
            run(self.client("psql").args(["-qAtX", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql]));
        output.trim_end().to_owned()
    }

    /// Ends the server; its data stays.
    pub(crate) fn stop(&self, how: Stop) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { mut keeper, mut orders }) = running {
            let signal = match how {
                Stop::Fast => "INT",
                Stop::Immediate => "QUIT",
            };
            let _ = writeln!(orders, "{signal}");
            drop(orders);
            let _ = keeper.wait();
        }
    }

    /// Starts the server again after a [`Server::stop`], on the same port.
    pub(crate) fn go(&self) {
        let mut postgres = as_postgres("sh");
        postgres
            .args(["-c", KEEPER, "sh"])
            .arg(self.programs.join("postgres"))
            .arg("-D")
            .arg(self.folder.join("data"));
        postgres.arg("-k").arg(&self.folder).args(["-p", &self.port.to_string()]);
        for setting in ["listen_addresses=127.0.0.1", "max_connections=200", "log_min_messages=fatal"]
            .into_iter()
            .chain(self.settings.iter().map(String::as_str))
        {
            postgres.args(["-c", setting]);
        }
        let log =
            fs::OpenOptions::new().create(true).append(true).open(self.folder.join("log")).expect("a log");
        let errors = log.try_clone().expect("a log");
        let mut keeper = postgres.stdin(Stdio::piped()).stdout(log).stderr(errors).spawn().expect("a shell");
        let orders = keeper.stdin.take().expect("a pipe");
        let begun = Instant::now();
        while !self.client("pg_isready").arg("-q").status().expect("pg_isready").success() {
            let ended = keeper.try_wait().expect("a child").is_some();
            assert!(!ended && begun.elapsed() < PATIENCE, "Postgres did not start:\n{}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(Running { keeper, orders });
    }

    /// What the server wrote to its log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres"]);
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(Stop::Immediate);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Where Postgres's programs are: the newest version that is installed.
fn programs() -> PathBuf {
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = debian
        .map(|version| {
            (version.file_name().to_string_lossy().parse().unwrap_or(0), version.path().join("bin"))
        })
        .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).map(|path| (0, path)))
        .filter(|(_, path)| path.join("initdb").exists() && path.join("postgres").exists())
        .collect();
    found.sort_by_key(|(version, _)| *version);
    found.pop().unwrap_or_else(|| panic!("{INSTALL}")).1
}

/// A command run as a user that Postgres accepts: it refuses to run as root.
fn as_postgres(program: impl AsRef<Path>) -> Command {
    let root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let mut command = if root { Command::new("runuser") } else { Command::new(program.as_ref()) };
    if root {
        command.args(["-u", "postgres", "--"]).arg(program.as_ref());
    }
    // Not a folder that the other user may not enter.
    command.current_dir("/");
    command
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; {INSTALL}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}
