//! A child that serves: started, waited for until it accepts, and stopped when its owner is gone.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a server may take until it accepts connections.
const START_MAX: Duration = Duration::from_secs(30);
/// How long a server may take to end by itself before it is killed.
const END_MAX: Duration = Duration::from_secs(5);

/// A running server; ends with this value.
pub(crate) struct Server {
    name: String,
    child: Child,
    complaints: Option<PathBuf>,
}

/// Where a server's standard output and standard error go: files named after it, its access log among them.
pub(crate) fn keep_output(command: &mut Command, folder: &Path, name: &str) -> io::Result<()> {
    command.stdin(Stdio::null());
    command.stdout(File::create(folder.join(format!("{name}.out")))?);
    command.stderr(File::create(folder.join(format!("{name}.err")))?);
    Ok(())
}

impl Server {
    /// Takes charge of a child.
    pub(crate) fn of(name: &str, child: Child) -> Self {
        Self { name: name.to_owned(), child, complaints: None }
    }

    /// Takes charge of a child whose output is kept in `folder` (see [`keep_output`]).
    pub(crate) fn in_folder(name: &str, child: Child, folder: &Path) -> Self {
        let mut server = Self::of(name, child);
        server.complaints = Some(folder.join(format!("{name}.err")));
        server
    }

    /// The process's id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `is_ready` says so.
    ///
    /// # Errors
    /// The server ended, or was not ready in 30 s; with what it said on standard error.
    pub(crate) fn wait_until(&mut self, mut is_ready: impl FnMut() -> bool) -> anyhow::Result<()> {
        let began = Instant::now();
        while !is_ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended at once ({status}): {}", self.name, self.complaint());
            }
            if began.elapsed() > START_MAX {
                bail!("{} was not ready within {START_MAX:?}: {}", self.name, self.complaint());
            }
            // Foreign servers say in no common way that they are ready, so they are asked.
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Waits until the server accepts connections on `port`.
    ///
    /// # Errors
    /// As [`Server::wait_until`].
    pub(crate) fn wait_for_port(&mut self, port: u16) -> anyhow::Result<()> {
        self.wait_until(|| TcpStream::connect(loopback(port)).is_ok())
    }

    /// Fails if the server is no longer running.
    ///
    /// # Errors
    /// It ended; with what it said on standard error.
    pub(crate) fn must_still_run(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status}): {}", self.name, self.complaint()),
        }
    }

    fn complaint(&self) -> String {
        let said =
            self.complaints.as_ref().and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        let last: Vec<_> = said.lines().rev().take(12).collect();
        last.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Asked first, because nginx and Postgres have children of their own to take along.
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        let began = Instant::now();
        while began.elapsed() < END_MAX {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address of a port on this machine.
pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A port that was free a moment ago.
///
/// # Errors
/// There is none.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(loopback(0)).context("no free port")?.local_addr()?.port())
}

/// Lets this process end when the benchmark that started it is gone, however that ended.
///
/// # Errors
/// The kernel refuses.
pub(crate) fn end_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?)
}
