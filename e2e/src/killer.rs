//! Death at a chosen moment of a gateway's writing: a small library that is loaded into the process, counts what is
//! done to the ledger's log, and to the log of the tables behind it, once it is armed, and kills the process at the
//! moment that was named.
//!
//! The product knows nothing of it. SIGKILL leaves what was handed to the kernel, so "before the sync" stands for a
//! crash of the process; that a sync really reaches the disk is the kernel's promise.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// When to kill, counted over the calls on the ledger's log from the moment it is armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// In place of the nth write.
    InPlaceOfWrite(u32),
    /// In place of the nth sync: what is to be synced was handed to the kernel.
    InPlaceOfSync(u32),
    /// Right after the nth sync.
    AfterSync(u32),
    /// In place of the nth write by which the tables follow: to SQLite's own log.
    InPlaceOfFold(u32),
}

/// The library, and the file that arms it.
#[derive(Debug)]
pub struct Killer {
    library: PathBuf,
    orders: PathBuf,
}

impl Killer {
    /// Compiles the library in `folder`.
    ///
    /// # Panics
    /// There is no C compiler, or it fails.
    #[must_use]
    pub fn compile(folder: &Path) -> Self {
        let (source, library) = (folder.join("killer.c"), folder.join("killer.so"));
        fs::write(&source, include_str!("killer.c")).expect("the test's folder");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl");
        let compiled = compiler.output().expect("a C compiler: apt-get install -y gcc");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        Self { library, orders: folder.join("killer.orders") }
    }

    /// What a process must be started with to have it inside.
    #[must_use]
    pub fn environment(&self) -> [(OsString, OsString); 2] {
        [
            ("LD_PRELOAD".into(), self.library.clone().into()),
            ("STEADFAST_TEST_KILLER".into(), self.orders.clone().into()),
        ]
    }

    /// Names the moment; counting begins now.
    ///
    /// # Panics
    /// The orders cannot be written.
    pub fn arm(&self, moment: Moment) {
        let (what, number) = match moment {
            Moment::InPlaceOfWrite(number) => ('w', number),
            Moment::InPlaceOfSync(number) => ('s', number),
            Moment::AfterSync(number) => ('a', number),
            Moment::InPlaceOfFold(number) => ('f', number),
        };
        // Whole or not at all, for whoever reads it meanwhile.
        let draft = self.orders.with_extension("draft");
        fs::write(&draft, format!("{what} {number}\n")).expect("the test's folder");
        fs::rename(draft, &self.orders).expect("the test's folder");
    }

    /// Takes the orders back, for the processes that are started from now on.
    pub fn disarm(&self) {
        let _ = fs::remove_file(&self.orders);
    }
}
