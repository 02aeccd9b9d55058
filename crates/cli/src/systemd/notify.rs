//! Tells the service manager how far this process is (`sd_notify(3)`): ready, reloading, stopping, alive.
//!
//! `Type=notify` and `Type=notify-reload` units need it: without it systemd would take a process that is still
//! opening its ledger for one that serves, and a reload for done when the signal has been sent.

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    process,
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// How long a manager that reads nothing may hold this process up.
const SEND_TIME_MAX: Duration = Duration::from_secs(1);

/// A service manager that wants to be told; or nobody.
#[derive(Debug, Default)]
pub(crate) struct Notify {
    manager: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// Who the environment says wants to be told (`NOTIFY_SOCKET`, `WATCHDOG_USEC`).
    pub(crate) fn of_environment() -> Self {
        let Ok(name) = env::var("NOTIFY_SOCKET") else { return Self::default() };
        let manager = connect(&name)
            .inspect_err(|error| {
                tracing::warn!(%error, socket = name, "the service manager cannot be told how far this process is");
            })
            .ok();
        let own = |pid: String| pid == process::id().to_string();
        let watchdog = env::var("WATCHDOG_USEC").ok().and_then(|time| time.parse().ok());
        let watchdog =
            watchdog.filter(|_| env::var("WATCHDOG_PID").map_or(true, own)).map(Duration::from_micros);
        Self { manager, watchdog: watchdog.filter(|time| !time.is_zero()) }
    }

    /// It serves; `status` is what `systemctl status` shows, on one line.
    pub(crate) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// It reads its config again; [`Notify::ready`] ends that.
    pub(crate) fn reloading(&self) {
        // By this time systemd knows the answer to its signal from one that was on its way before.
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reading the config again"));
    }

    /// It finishes what is under way and ends.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=finishing what is under way");
    }

    /// Says again and again that this process is alive, twice as often as is asked for. Never ends.
    pub(crate) async fn stay_alive(&self) {
        let Some(watchdog) = self.watchdog else { return std::future::pending().await };
        let mut pulse = tokio::time::interval(watchdog / 2);
        loop {
            pulse.tick().await;
            self.tell("WATCHDOG=1");
        }
    }

    fn tell(&self, what: &str) {
        let Some((socket, manager)) = &self.manager else { return };
        if let Err(error) = socket.send_to_addr(what.as_bytes(), manager) {
            tracing::warn!(%error, what, "the service manager could not be told");
        }
    }
}

/// A socket to talk to the manager with: at a path, or at an abstract name that is written with an `@`.
fn connect(name: &str) -> io::Result<(UnixDatagram, SocketAddr)> {
    let manager = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None if name.starts_with('/') => SocketAddr::from_pathname(name)?,
        None => {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "it is neither a path nor an abstract name",
            ));
        }
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(SEND_TIME_MAX))?;
    Ok((socket, manager))
}
