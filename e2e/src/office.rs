//! The box office as a process: the upstream whose books say what really happened.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use box_office::{Effect, arrivals, effects};

use crate::{Port, Process, await_that, program};

/// How long it may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// One box office, running or not.
#[derive(Debug)]
pub struct Office {
    folder: PathBuf,
    port: Port,
    honours_keys: bool,
    process: Option<Process>,
}

impl Office {
    /// A box office that executes everything that arrives, whatever its key; not started yet.
    #[must_use]
    pub fn ignoring_keys(folder: &Path) -> Self {
        Self { folder: folder.into(), port: Port::reserve(), honours_keys: false, process: None }
    }

    /// A box office that executes a key once; not started yet.
    #[must_use]
    pub fn honouring_keys(folder: &Path) -> Self {
        Self { honours_keys: true, ..Self::ignoring_keys(folder) }
    }

    /// Where it serves.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// Starts it, and waits until it serves.
    ///
    /// # Panics
    /// It ends instead, or does not serve in time.
    pub async fn start(&mut self) {
        let (addr, data) = (self.addr().to_string(), self.folder.join("office"));
        let data = data.to_string_lossy();
        let mut arguments = vec!["serve", "--single", "--office", &addr, "--data", &data];
        if self.honours_keys {
            arguments.push("--honours-keys");
        }
        let process = Process::start(&self.folder, "office", &program("box-office"), arguments, &[]);
        self.process = Some(process);
        await_that("the box office serves", READY_WITHIN, async || {
            let process = self.process.as_mut().expect("it was started");
            if let Some(ended) = process.ended() {
                panic!("the box office ended ({ended}): {}", process.errors());
            }
            tokio::net::TcpStream::connect(self.port.addr()).await.ok()
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
    /// As [`Office::start`].
    pub async fn restart(&mut self) {
        self.kill();
        self.start().await;
    }

    /// What happened, by key.
    ///
    /// # Panics
    /// The database cannot be read.
    #[must_use]
    pub fn effects(&self) -> BTreeMap<String, Vec<Effect>> {
        let mut by_key = BTreeMap::<_, Vec<_>>::new();
        for effect in effects(&self.database()).expect("the box office's database") {
            by_key.entry(effect.key.clone().unwrap_or_default()).or_default().push(effect);
        }
        by_key
    }

    /// How many requests arrived, by key.
    ///
    /// # Panics
    /// The database cannot be read.
    #[must_use]
    pub fn arrivals(&self) -> BTreeMap<String, usize> {
        let mut by_key = BTreeMap::new();
        for arrival in arrivals(&self.database()).expect("the box office's database") {
            *by_key.entry(arrival.key.unwrap_or_default()).or_default() += 1;
        }
        by_key
    }

    /// How many requests with this key arrived, and how many took effect.
    ///
    /// # Panics
    /// The database cannot be read.
    #[must_use]
    pub fn counts(&self, key: &str) -> (usize, usize) {
        (self.arrivals().get(key).copied().unwrap_or_default(), self.effects().get(key).map_or(0, Vec::len))
    }

    fn database(&self) -> PathBuf {
        self.folder.join("office").join("office.db")
    }
}
