//! One connection to Postgres: how it is made, what it is told before its first statement, and how its
//! statements are bounded.

use std::{
    collections::HashMap,
    future::Future,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tokio::task::JoinSet;
use tokio_postgres::{
    Client, Config, NoTls, Row, Statement,
    config::{Host, SslMode, TargetSessionAttrs},
    types::ToSql,
};

use super::{
    accepting, changing,
    failure::{Failure, open_error, with_source},
    options::PostgresOptions,
    places,
    record::get,
    stall::Server,
    statements, taking,
};
use crate::OpenError;

/// What sessions for batches are told beside the rest. All their statements find rows by unique or partial
/// indexes, whatever the planner thinks of a table that was empty when the plan was made; a generic plan is
/// kept for as long as the session lives, so a bad first guess would stay.
const PLANS: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; \
    SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_bitmapscan = off; SET jit = off;";

/// A session: its client, its prepared statements and the task that drives it.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    statements: HashMap<&'static str, Statement>,
    /// The server it is connected to.
    pub(super) server: Server,
    /// How often it was used, for [`Session::plans_are_old`].
    uses: AtomicU32,
    /// How long one flight of statements may take before the connection counts as lost.
    flight_max: Duration,
    // Dropped with the session: that ends the connection.
    _driver: JoinSet<()>,
}

/// Reads a connection URL, and fills in what it leaves open.
pub(super) fn config(url: &str, options: &PostgresOptions) -> Result<(Config, String), OpenError> {
    let mut config: Config = url.parse().map_err(|error| OpenError::Unreachable {
        // The URL itself may hold a password.
        path: "the Postgres URL".into(),
        reason: with_source(&error),
    })?;
    let path = place(&config);
    if config.get_ssl_mode() == SslMode::Require {
        return Err(OpenError::Unreachable {
            path,
            reason:
                "it asks for TLS (sslmode=require), which connections to the ledger cannot do yet; use a \
                     private network or a local TLS proxy, and sslmode=prefer"
                    .into(),
        });
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(options.connect_timeout);
    }
    if config.get_application_name().is_none() {
        config.application_name("steadfast");
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(options.statement_timeout * 2);
    }
    // One host that takes no writes is an error to show; of several, the one that does is meant.
    if config.get_hosts().len().max(config.get_hostaddrs().len()) > 1
        && config.get_target_session_attrs() == TargetSessionAttrs::Any
    {
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    Ok((config, path))
}

/// Where a ledger is, without credentials.
fn place(config: &Config) -> String {
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(index, host)| {
            let port = config.get_ports().get(index).or(config.get_ports().first()).copied().unwrap_or(5_432);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(path) => format!("{}:{port}", path.display()),
            }
        })
        .collect();
    let database = config.get_dbname().or(config.get_user()).unwrap_or("?");
    format!("postgres://{}/{database}", hosts.join(","))
}

/// Makes a connection and tells it its timeouts.
pub(super) async fn connect(
    config: &Config,
    path: &str,
    options: &PostgresOptions,
) -> Result<
    (Client, tokio_postgres::Connection<tokio_postgres::Socket, tokio_postgres::tls::NoTlsStream>),
    OpenError,
> {
    let hosts = config.get_hosts().len().max(config.get_hostaddrs().len()).max(1);
    let each = config.get_connect_timeout().copied().unwrap_or(options.connect_timeout);
    // The driver's timeout ends with the TCP handshake; a server that accepts and falls silent is bounded here.
    let limit = each.saturating_mul(u32::try_from(hosts).unwrap_or(u32::MAX)) + options.statement_timeout;
    match tokio::time::timeout(limit, config.connect(NoTls)).await {
        Ok(connected) => connected.map_err(|error| open_error(path, &error)),
        Err(_) => Err(OpenError::Unreachable { path: path.into(), reason: "it does not answer".into() }),
    }
}

/// What every session is told first.
fn greeting(options: &PostgresOptions) -> String {
    let (statement, lock) = (options.statement_timeout.as_millis(), options.lock_timeout.as_millis());
    // Synced means on disk, and on the synchronous standbys where there are some. A setting that promises more
    // than `on` is left alone.
    format!(
        "SET default_transaction_isolation = 'read committed'; SET statement_timeout = {statement}; \
         SET lock_timeout = {lock}; SET idle_in_transaction_session_timeout = {statement}; \
         SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit') \
             WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false);"
    )
}

impl Session {
    /// Opens a session on a migrated database.
    pub(super) async fn open(
        config: &Config,
        path: &str,
        options: &PostgresOptions,
    ) -> Result<Self, OpenError> {
        let (mut client, driver) = Self::open_bare(config, path, options).await?;
        let setting_up = async {
            super::schema::migrate(&mut client, path).await?;
            client.batch_execute(PLANS).await.map_err(|error| open_error(path, &error))?;
            let mut prepared = HashMap::new();
            for sql in statements::PREPARED
                .iter()
                .chain(places::PREPARED)
                .chain(taking::PREPARED)
                .chain(accepting::PREPARED)
                .chain(&[changing::REDRIVE])
            {
                let statement = client.prepare(sql).await.map_err(|error| open_error(path, &error))?;
                prepared.insert(*sql, statement);
            }
            Ok(prepared)
        };
        let prepared = setting_up.await?;
        let mut session = Self {
            client,
            statements: prepared,
            server: Server { started: String::new(), timeline: String::new() },
            uses: AtomicU32::new(0),
            flight_max: options.statement_timeout + options.lock_timeout + Duration::from_secs(1),
            _driver: driver,
        };
        let (server, read_only, _) = session.identity(None).await.map_err(|failure| {
            OpenError::Unreachable { path: path.into(), reason: failure.to_error().to_string() }
        })?;
        if read_only {
            return Err(OpenError::ReadOnly {
                path: path.into(),
                reason: "it is a standby, or set to read-only".into(),
            });
        }
        session.server = server;
        Ok(session)
    }

    /// Opens a session that knows nothing of the schema.
    async fn open_bare(
        config: &Config,
        path: &str,
        options: &PostgresOptions,
    ) -> Result<(Client, JoinSet<()>), OpenError> {
        let (client, connection) = connect(config, path, options).await?;
        let mut driver = JoinSet::new();
        let place = path.to_owned();
        driver.spawn(async move {
            if let Err(error) = connection.await {
                tracing::warn!(
                    ledger = place,
                    error = with_source(&error),
                    "a connection to the ledger broke"
                );
            }
        });
        client.batch_execute(&greeting(options)).await.map_err(|error| open_error(path, &error))?;
        Ok((client, driver))
    }

    /// Whether the connection is known to be gone.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// The client itself, for statements that are sent alone and need no preparation.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Runs a prepared statement and counts the rows it changed.
    pub(super) async fn execute(
        &self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, tokio_postgres::Error> {
        match self.statements.get(sql) {
            Some(statement) => self.client.execute(statement, parameters).await,
            None => self.client.execute(sql, parameters).await,
        }
    }

    /// Runs a prepared statement and reads its rows.
    pub(super) async fn query(
        &self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        match self.statements.get(sql) {
            Some(statement) => self.client.query(statement, parameters).await,
            None => self.client.query(sql, parameters).await,
        }
    }

    /// Begins a transaction, in the same flight as what follows.
    pub(super) async fn begin(&self, relaxed: bool) -> Result<(), tokio_postgres::Error> {
        let sql = match (self.plans_are_old(), relaxed) {
            (false, false) => "BEGIN",
            (true, false) => "DISCARD PLANS; BEGIN",
            (false, true) => "BEGIN; SET LOCAL synchronous_commit = off",
            (true, true) => "DISCARD PLANS; BEGIN; SET LOCAL synchronous_commit = off",
        };
        self.simple(sql).await
    }

    /// Forgets the plans where it is time, before a statement that needs no transaction.
    pub(super) async fn renew_plans(&self) -> Result<(), Failure> {
        if self.plans_are_old() {
            self.bounded(async { self.simple("DISCARD PLANS").await.map_err(Failure::from) }).await?;
        }
        Ok(())
    }

    /// Whether to plan anew: at the 1st, 4th, 16th, 64th… use. The tables may have been empty when the
    /// statements were planned, and while they grow, so does the cost of a plan that was good for few rows.
    fn plans_are_old(&self) -> bool {
        let uses = self.uses.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        uses.is_power_of_two() && uses.trailing_zeros().is_multiple_of(2)
    }

    /// Runs a statement without parameters.
    pub(super) async fn simple(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
        self.client.batch_execute(sql).await
    }

    /// Waits for a flight of statements, but not for a server that fell silent.
    pub(super) async fn bounded<T>(
        &self,
        flight: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(self.flight_max, flight).await {
            Ok(result) => result,
            Err(_) => Err(Failure::Lost("it fell silent".into())),
        }
    }

    /// Which server this is, whether it refuses writes, and what time it is there.
    pub(super) async fn identity(&self, now: Option<i64>) -> Result<(Server, bool, i64), Failure> {
        let asked: &[&(dyn ToSql + Sync)] = &[&now];
        let rows = self
            .bounded(async { self.query(statements::IDENTITY, asked).await.map_err(Failure::from) })
            .await?;
        let row = rows.first().ok_or_else(|| Failure::Corrupt("a question had no answer".into()))?;
        let server = Server { started: get(row, "started")?, timeline: get(row, "timeline")? };
        Ok((server, get(row, "read_only")?, get(row, "now_ms")?))
    }

    /// Ends a transaction that failed; where that fails too, the connection is no good.
    pub(super) async fn roll_back(&self) -> Result<(), Failure> {
        self.bounded(async { self.simple("ROLLBACK").await.map_err(Failure::from) }).await
    }
}
