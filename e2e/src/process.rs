//! A process that never outlives its test.

use std::{
    ffi::{OsStr, OsString},
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

/// A running process; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    errors: PathBuf,
}

impl Process {
    /// Starts `program`; what it prints is appended to `NAME.out` and `NAME.err` in `folder`.
    ///
    /// Call it on a thread that lives as long as the test: the kernel kills the process when that thread ends.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn start<A: AsRef<OsStr>>(
        folder: &Path,
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        environment: &[(OsString, OsString)],
    ) -> Self {
        let errors = folder.join(format!("{name}.err"));
        let output = append(&folder.join(format!("{name}.out")));
        // `setpriv` sets the signal and becomes the program: also a test that is killed leaves nothing behind.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(arguments);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(output).stderr(append(&errors));
        let child = command.spawn().expect("setpriv (of util-linux) starts a process");
        Self { child, errors }
    }

    /// Kills it at once (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// It is no longer there.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("the process is there");
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, where it did.
    ///
    /// # Panics
    /// It cannot be asked.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// What it wrote to its standard error so far, or the end of that.
    #[must_use]
    pub fn errors(&self) -> String {
        let text = std::fs::read(&self.errors).unwrap_or_default();
        let text = String::from_utf8_lossy(&text[text.len().saturating_sub(4_000)..]);
        format!("{}:\n{text}", self.errors.display())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn append(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).expect("a file in the test's folder")
}
