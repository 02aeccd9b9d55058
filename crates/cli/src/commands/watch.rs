//! `serve --watch`: notices when the config file, or a file that it names with `*_file`, says something else.
//!
//! The files are read once a second and their content is compared. That sees whatever a notification of the kernel
//! sees and more: an editor that puts a new file in the old one's place, the links that Kubernetes swaps, a disk
//! that other machines write to. What was seen is acted on only when it was the same twice, or a file that is just
//! being written would be taken for a whole one.

use std::{
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::Context;
use steadfast_gateway::config::{self, Environment, Overrides};
use tokio::sync::mpsc;

/// How often the files are looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// How long after a change they are looked at again, until two looks agree.
const SETTLE: Duration = Duration::from_millis(200);
/// How many bytes of a file are looked at: no config and no secret is as large.
const BYTES_MAX: u64 = 4 << 20;

/// What the files said at one moment, as a digest.
type Sight = u64;

/// Looks at a config's files.
#[derive(Debug)]
pub(crate) struct Watch {
    file: PathBuf,
    overrides: Overrides,
    environment: Environment,
    /// What the config named when it last said something else, so that it is not parsed every second.
    named: Option<(Sight, Vec<PathBuf>)>,
    /// What is in force, or was refused.
    known: Sight,
}

impl Watch {
    /// Remembers what the files say now. Whoever loads the config after this misses no change.
    pub(crate) fn new(file: &Path, overrides: &Overrides) -> Self {
        let environment = Environment::of_process();
        let (file, overrides) = (file.to_owned(), overrides.clone());
        let mut watch = Self { file, overrides, environment, named: None, known: 0 };
        watch.known = watch.look();
        watch
    }

    /// Tells of every change from now on, on a thread of its own: a disk that hangs holds up nothing else. The
    /// thread ends when nobody listens any more.
    pub(crate) fn start(self) -> anyhow::Result<mpsc::Receiver<()>> {
        // One place: changes that come while one is acted on are one more change.
        let (tell, told) = mpsc::channel(1);
        thread::Builder::new()
            .name("watch".into())
            .spawn(move || self.run(&tell))
            .context("the thread that watches the config could not be started")?;
        Ok(told)
    }

    fn run(mut self, tell: &mpsc::Sender<()>) {
        while !tell.is_closed() {
            thread::sleep(PERIOD);
            if self.has_changed() {
                let _ = tell.try_send(());
            }
        }
    }

    /// Whether the files say something else than they did, and have settled on it.
    fn has_changed(&mut self) -> bool {
        let mut seen = self.look();
        if seen == self.known {
            return false;
        }
        loop {
            thread::sleep(SETTLE);
            let again = self.look();
            if again == seen {
                break;
            }
            seen = again;
        }
        let is_new = seen != self.known;
        self.known = seen;
        // An empty file is a valid config without any route, and is what an editor leaves for a moment that writes
        // in place: it is never taken over unasked.
        if is_new && std::fs::metadata(&self.file).is_ok_and(|file| file.len() == 0) {
            tracing::warn!(file = %self.file.display(), "the config is empty, as if it were just being written: it is not read");
            return false;
        }
        is_new
    }

    fn look(&mut self) -> Sight {
        let config = content(&self.file);
        let mut sight = DefaultHasher::new();
        config.hash(&mut sight);
        let own = sight.finish();
        let named = match self.named.take() {
            Some((of, named)) if of == own => named,
            _ => {
                let text =
                    config.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
                config::named_files(&text, &self.environment, &self.overrides)
            }
        };
        for file in &named {
            (file, content(file)).hash(&mut sight);
        }
        self.named = Some((own, named));
        sight.finish()
    }
}

/// What a file says, or why it says nothing.
fn content(path: &Path) -> Result<Vec<u8>, io::ErrorKind> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(BYTES_MAX).read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|error| error.kind())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn watch(file: &Path) -> Watch {
        Watch::new(file, &Overrides::default())
    }

    #[test]
    fn a_change_is_told_once_and_the_same_content_never() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("steadfast.toml");
        fs::write(&file, "a").unwrap();
        let mut watch = watch(&file);
        assert!(!watch.has_changed());
        fs::write(&file, "a").unwrap();
        assert!(!watch.has_changed(), "it says the same");
        fs::write(&file, "b").unwrap();
        assert!(watch.has_changed());
        assert!(!watch.has_changed());
        fs::remove_file(&file).unwrap();
        assert!(watch.has_changed(), "to lose the file is a change that is worth saying");
        assert!(!watch.has_changed());
    }

    #[test]
    fn a_file_put_in_the_others_place_and_swapped_links_are_changes() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("new"), "b").unwrap();
        fs::write(at("steadfast.toml"), "a").unwrap();
        let mut renamed = watch(&at("steadfast.toml"));
        fs::rename(at("new"), at("steadfast.toml")).unwrap();
        assert!(renamed.has_changed());

        // As Kubernetes mounts a ConfigMap: file → ..data/file, and ..data → a folder of its own per version.
        for (version, text) in [("v1", "a"), ("v2", "b")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("mounted.toml"), text).unwrap();
        }
        symlink("v1", at("..data")).unwrap();
        symlink("..data/mounted.toml", at("mounted.toml")).unwrap();
        let mut mounted = watch(&at("mounted.toml"));
        assert!(!mounted.has_changed());
        symlink("v2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert!(mounted.has_changed());
    }

    #[test]
    fn a_file_that_the_config_names_is_watched_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let (file, secret) = (folder.path().join("steadfast.toml"), folder.path().join("secret"));
        fs::write(&file, format!("ledger_file = {:?}", secret.display().to_string())).unwrap();
        fs::write(&secret, "sqlite:a.db").unwrap();
        let mut watch = watch(&file);
        fs::write(&secret, "sqlite:b.db").unwrap();
        assert!(watch.has_changed());
        fs::write(&file, "# no secret any more").unwrap();
        assert!(watch.has_changed());
        fs::write(&secret, "sqlite:c.db").unwrap();
        assert!(!watch.has_changed(), "it is not named any more");
    }

    #[test]
    fn an_empty_file_is_one_that_is_being_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("steadfast.toml");
        fs::write(&file, "a").unwrap();
        let mut watch = watch(&file);
        fs::write(&file, "").unwrap();
        assert!(!watch.has_changed());
        fs::write(&file, "b").unwrap();
        assert!(watch.has_changed());
    }
}
