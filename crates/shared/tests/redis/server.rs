//! Private Redis servers for tests: in a temporary folder, on free ports, without a file of their data, ended when they
//! are dropped and also when the process that started them dies. Needs nothing but the standard library, so that other
//! test binaries can include this file by its path.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// What to do where Redis is missing.
const INSTALL: &str = "these tests need Redis; install it with: apt-get install -y redis-server";
/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(60);
/// Ends the server when it is told to, or when whoever started it is gone.
const KEEPER: &str = r#""$@" & server=$!; read -r nothing; kill -KILL $server; wait $server 2>/dev/null"#;

/// Numbers folders within this process.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A private server.
#[derive(Debug)]
pub(crate) struct Server {
    folder: PathBuf,
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
    /// Starts a server with these settings beside the defaults, as `--name value`.
    pub(crate) fn start(settings: &[&str]) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("steadfast-redis-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a temporary folder");
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let server = Self { folder, port: free_port(), settings, running: Mutex::new(None) };
        server.go();
        server
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends it at once. What it knew is lost.
    pub(crate) fn stop(&self) {
        if let Some(mut running) = self.running.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = writeln!(running.orders);
            drop(running.orders);
            let _ = running.keeper.wait();
        }
    }

    /// Starts it again after a [`Server::stop`], on the same port.
    pub(crate) fn go(&self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log()).expect("a log");
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "keeper", &program()]);
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--appendonly", "no"]).args(&self.settings).current_dir(&self.folder);
        command.stdin(Stdio::piped()).stdout(log.try_clone().expect("a log")).stderr(log);
        let mut keeper = command.spawn().expect("sh starts");
        let orders = keeper.stdin.take().expect("it was piped");
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(Running { keeper, orders });
        let until = Instant::now() + PATIENCE;
        loop {
            match self.try_ask(&["PING"]) {
                // Whoever needs a password says so to a PING without one.
                Ok(answer) if answer == "PONG" || answer.starts_with("NOAUTH") => return,
                _ if Instant::now() < until => thread::sleep(Duration::from_millis(10)),
                other => {
                    panic!("{other:?}; {INSTALL}; {}", fs::read_to_string(self.log()).unwrap_or_default())
                }
            }
        }
    }

    /// Asks it something and returns its answer in words: what a list holds line by line, of an error its text.
    pub(crate) fn ask(&self, words: &[&str]) -> String {
        self.try_ask(words).expect("the server answers")
    }

    fn try_ask(&self, words: &[&str]) -> io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        stream.write_all(command.as_bytes())?;
        read(&mut BufReader::new(stream))
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A private Cluster of three nodes, without replicas.
#[derive(Debug)]
pub(crate) struct Cluster {
    nodes: [Server; 3],
}

impl Cluster {
    /// Starts the nodes, gives each a third of the slots, and waits until they know of each other.
    pub(crate) fn start() -> Self {
        let nodes = std::array::from_fn(|_| {
            let bus = free_port().to_string();
            Server::start(&[
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &bus,
                "--cluster-node-timeout",
                "2000",
            ])
        });
        let slots = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];
        for (node, (first, last)) in nodes.iter().zip(slots) {
            assert_eq!(node.ask(&["CLUSTER", "ADDSLOTSRANGE", first, last]), "OK");
        }
        for (epoch, node) in nodes.iter().enumerate() {
            node.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(epoch + 1).to_string()]);
        }
        for node in &nodes[1..] {
            let bus = node.ask(&["CONFIG", "GET", "cluster-port"]);
            let bus = bus.lines().last().expect("a port").to_owned();
            assert_eq!(nodes[0].ask(&["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string(), &bus]), "OK");
        }
        let cluster = Self { nodes };
        cluster.wait_until_well();
        cluster
    }

    /// Waits until every node thinks that all is well.
    pub(crate) fn wait_until_well(&self) {
        let until = Instant::now() + PATIENCE;
        let is_well = |node: &Server| {
            let info = node.ask(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        };
        while !self.nodes.iter().all(is_well) {
            assert!(Instant::now() < until, "{}", self.nodes[0].ask(&["CLUSTER", "INFO"]));
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The nodes.
    pub(crate) fn nodes(&self) -> &[Server; 3] {
        &self.nodes
    }

    /// Their URLs.
    pub(crate) fn urls(&self) -> [String; 3] {
        self.nodes.each_ref().map(Server::url)
    }
}

/// Which server is tested: `STEADFAST_REDIS_SERVER` may name another one that speaks the protocol, such as Valkey's.
fn program() -> String {
    std::env::var("STEADFAST_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Reads one answer.
fn read(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let (kind, rest) = line.trim_end().split_at_checked(1).ok_or(io::ErrorKind::UnexpectedEof)?;
    let count = || rest.parse::<i64>().map_err(|_| io::Error::from(io::ErrorKind::InvalidData));
    match kind {
        "$" => {
            let Ok(bytes) = usize::try_from(count()?) else { return Ok(String::new()) };
            let mut text = vec![0; bytes + 2];
            stream.read_exact(&mut text)?;
            text.truncate(bytes);
            Ok(String::from_utf8_lossy(&text).into_owned())
        }
        "*" => {
            let items = (0..count()?).map(|_| read(stream)).collect::<io::Result<Vec<_>>>()?;
            Ok(items.join("\n"))
        }
        _ => Ok(rest.to_owned()),
    }
}
