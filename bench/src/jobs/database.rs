//! A new database for each backlog, so that none stands on what another left; and how much the server has written to its
//! log.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

/// How long the server may take until it is ready.
const START_MAX: Duration = Duration::from_secs(30);

/// The server, asked by its owner.
pub(super) struct Databases {
    url: String,
    runtime: Runtime,
    client: Client,
    driver: JoinHandle<Result<(), tokio_postgres::Error>>,
}

impl Databases {
    /// Connects to the server at `url`, the URL of its first database.
    ///
    /// # Errors
    /// It does not answer.
    pub(super) fn at(url: &str) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let began = Instant::now();
        let (client, connection) = loop {
            match runtime.block_on(tokio_postgres::connect(url, NoTls)) {
                Ok(connected) => break connected,
                // It listens before it is ready.
                Err(_) if began.elapsed() < START_MAX => thread::sleep(Duration::from_millis(50)),
                Err(error) => return Err(error).context("Postgres is not ready"),
            }
        };
        let driver = runtime.spawn(connection);
        Ok(Self { url: url.to_owned(), runtime, client, driver })
    }

    /// A new database, by its URL.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn create(&self, name: &str) -> anyhow::Result<String> {
        self.execute(&format!("CREATE DATABASE \"{name}\""))?;
        self.url_of(name)
    }

    /// Removes a database, whoever is connected to it.
    ///
    /// # Errors
    /// It cannot be removed.
    pub(super) fn drop(&self, name: &str) -> anyhow::Result<()> {
        self.execute(&format!("DROP DATABASE \"{name}\" WITH (FORCE)"))
    }

    /// Brings a database that was just filled into the state that it would have come to by itself: its statistics are
    /// known and its pages are on the disk.
    ///
    /// # Errors
    /// It cannot be connected to.
    pub(super) fn settle(&self, name: &str) -> anyhow::Result<()> {
        let url = self.url_of(name)?;
        self.runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
            let driver = self.runtime.spawn(connection);
            client.batch_execute("VACUUM ANALYZE").await?;
            client.batch_execute("CHECKPOINT").await?;
            drop(client);
            driver.await??;
            Ok(())
        })
    }

    /// How many bytes the server has written to its log so far.
    ///
    /// # Errors
    /// It does not say.
    pub(super) fn log_bytes(&self) -> anyhow::Result<f64> {
        let query = "SELECT (pg_current_wal_insert_lsn() - '0/0')::float8";
        Ok(self.runtime.block_on(self.client.query_one(query, &[]))?.get(0))
    }

    fn execute(&self, statement: &str) -> anyhow::Result<()> {
        let done = self.runtime.block_on(self.client.batch_execute(statement));
        done.with_context(|| format!("Postgres refused: {statement}"))
    }

    fn url_of(&self, name: &str) -> anyhow::Result<String> {
        let (server, _) = self.url.rsplit_once('/').context("the URL names no database")?;
        Ok(format!("{server}/{name}"))
    }
}

impl Drop for Databases {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
