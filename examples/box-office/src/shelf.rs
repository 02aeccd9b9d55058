//! Files that are there whole or not at all, whatever ends the process meanwhile.
//!
//! What is to be kept is written beside its place, handed to the disk, and only then given its name.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// How the name of a file ends that is not whole yet.
const UNFINISHED: &str = "part";

/// Tells apart the files that one process writes at once.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// Makes the folder if it is not there, and clears away what an earlier process did not finish.
///
/// # Errors
/// When it cannot be made, read or cleared.
pub(crate) fn open(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == UNFINISHED) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Keeps `bytes` in the folder under `name`, in place of what had that name before.
///
/// # Errors
/// When it cannot be written; then the file that had that name is as it was.
pub(crate) fn store(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    stage(folder, bytes)?.keep_as(name)
}

/// Writes `bytes` down, to be given a name later; dropped without one, they are gone.
///
/// # Errors
/// When they cannot be written.
pub(crate) fn stage(folder: &Path, bytes: &[u8]) -> io::Result<Staged> {
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let unfinished = folder.join(format!("{}-{number}.{UNFINISHED}", std::process::id()));
    let mut file = File::create_new(&unfinished)?;
    let staged = Staged { folder: folder.into(), unfinished };
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(staged)
}

/// A file that is whole, and has no name yet.
#[derive(Debug)]
pub(crate) struct Staged {
    folder: PathBuf,
    unfinished: PathBuf,
}

impl Staged {
    /// Gives it its name.
    ///
    /// # Errors
    /// When it cannot be renamed, or the disk does not say that it knows of it.
    pub(crate) fn keep_as(self, name: &str) -> io::Result<()> {
        fs::rename(&self.unfinished, self.folder.join(name))?;
        // The name is in the folder, which is a file of its own.
        File::open(&self.folder)?.sync_all()
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Once it has its name, there is nothing here to remove.
        let _ = fs::remove_file(&self.unfinished);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn keeps_the_newest_under_a_name_and_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        store(folder.path(), "a.pdf", b"first").unwrap();
        store(folder.path(), "a.pdf", b"second").unwrap();
        drop(stage(folder.path(), b"never named").unwrap());
        assert_eq!(names(folder.path()), ["a.pdf"]);
        assert_eq!(fs::read(folder.path().join("a.pdf")).unwrap(), b"second");
    }

    #[test]
    fn clears_away_what_was_not_finished_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        store(folder.path(), "a.pdf", b"whole").unwrap();
        fs::write(folder.path().join("7-0.part"), b"ha").unwrap();
        open(folder.path()).unwrap();
        assert_eq!(names(folder.path()), ["a.pdf"]);
    }
}
