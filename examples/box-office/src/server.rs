//! A service that is running: its own thread, its own runtime, its own socket.
//!
//! Two things here differ from an ordinary server. A request that arrived is executed to its end even when its caller
//! hangs up, as in most real services; and a handler can have its answer lost: the connection is closed without a
//! byte, after the effect.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rusqlite::Connection;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::sync::{Semaphore, oneshot};
use tower_service::Service;

use crate::arrivals::{self, ArrivalRecord};
use crate::database::{Database, OpenError};
use crate::effects::{self, Effect, EffectCount};
use crate::refusal::Refusal;
use crate::remembered;
use crate::tasks;
use crate::teller::InvalidBankUrl;
use crate::temper::InvalidTemper;

/// Connections open at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 4096;
/// Requests in execution at once, including those whose caller has left.
const EXECUTIONS_MAX: usize = 4096;
/// The largest request body.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// How long a connection may stay silent before its next request's head is complete.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// The pause after a failed accept (out of file descriptors), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why a service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its address cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Its database cannot be opened.
    #[error("cannot open the database {}: {reason}", path.display())]
    Database {
        /// The database's file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// Its folder cannot be used.
    #[error("cannot use the folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its thread or runtime did not start.
    #[error("cannot start: {0}")]
    Thread(#[from] io::Error),
    /// Its temper is out of bounds.
    #[error(transparent)]
    Temper(#[from] InvalidTemper),
    /// The address of its bank is not one.
    #[error(transparent)]
    BankUrl(#[from] InvalidBankUrl),
}

/// A running service; dropping it stops it.
#[derive(Debug)]
pub struct RunningService {
    addr: SocketAddr,
    database: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl RunningService {
    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its base URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The file of its database, for the checks that outlive it.
    pub fn database(&self) -> &Path {
        &self.database
    }

    /// Every effect so far, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn effects(&self) -> rusqlite::Result<Vec<Effect>> {
        effects::effects(&self.database)
    }

    /// The effects so far, counted by kind, key and reference.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn effects_by_key(&self) -> rusqlite::Result<Vec<EffectCount>> {
        effects::effects_by_key(&self.database)
    }

    /// Every request that arrived so far, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn arrivals(&self) -> rusqlite::Result<Vec<ArrivalRecord>> {
        arrivals::arrivals(&self.database)
    }

    /// Stops it as a crash would: connections are cut and executions abandoned wherever they stand. Transactions
    /// already handed to the database are still committed, and its file is closed when this returns.
    pub fn stop(mut self) {
        self.stop_and_join();
    }

    fn stop_and_join(&mut self) {
        // Dropping the sender is the signal.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there was reported by its own thread; there is nothing left to stop.
            let _ = thread.join();
        }
    }
}

impl Drop for RunningService {
    fn drop(&mut self) {
        self.stop_and_join();
    }
}

/// Put into a response's extensions, it has the connection closed instead of the answer sent.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the answer was lost")]
pub(crate) struct AnswerLost;

/// Binds the address, opens the database, has it prepared, and serves `routes` (given the database) behind the recording
/// of arrivals.
pub(crate) fn start(
    address: SocketAddr,
    database_path: PathBuf,
    prepare: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    routes: impl FnOnce(Database) -> Router,
) -> Result<RunningService, StartError> {
    let bind = |address| -> io::Result<StdListener> {
        let listener = StdListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    let listener = bind(address).map_err(|source| StartError::Bind { address, source })?;
    let addr = listener.local_addr()?;
    let prepare_all = |connection: &Connection| {
        connection.execute_batch(&[arrivals::SCHEMA, effects::SCHEMA, remembered::SCHEMA].concat())?;
        prepare(connection)
    };
    let (database, writer) = Database::open(&database_path, prepare_all).map_err(|error: OpenError| {
        StartError::Database { path: database_path.clone(), reason: error.to_string() }
    })?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    // Entered, so that a service can have tasks beside its routes.
    let entered = runtime.enter();
    let router = routes(database.clone())
        .fallback(|| async { Refusal::NotFound })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(database, arrivals::record));
    drop(entered);
    let (stop, stopped) = oneshot::channel();
    let thread = Builder::new().name("service".into()).spawn(move || {
        runtime.block_on(accept_until(stopped, listener, router));
        // Ends every task, and with them the last handles to the database; so its thread ends too.
        drop(runtime);
        let _ = writer.join();
    })?;
    Ok(RunningService { addr, database: database_path, stop: Some(stop), thread: Some(thread) })
}

async fn accept_until(mut stopped: oneshot::Receiver<()>, listener: StdListener, router: Router) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let executions = Arc::new(Semaphore::new(EXECUTIONS_MAX));
    loop {
        let next = async {
            let slot = connections.clone().acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            _ = &mut stopped => return,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => {
                let (router, executions) = (router.clone(), executions.clone());
                tasks::spawn(async move {
                    serve_connection(stream, router, executions).await;
                    drop(slot);
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn serve_connection(stream: TcpStream, router: Router, executions: Arc<Semaphore>) {
    // Answers are small and somebody waits for each of them.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| execute(router.clone(), executions.clone(), request));
    // An error here is a caller that hung up or an answer that was lost; either way the connection is over.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn execute(
    mut router: Router,
    executions: Arc<Semaphore>,
    request: Request<Incoming>,
) -> Result<Response, AnswerLost> {
    let slot = executions.acquire_owned().await.map_err(|_| AnswerLost)?;
    // A task of its own, because hyper drops this future when the caller hangs up.
    let execution = tasks::spawn(async move {
        let answer = router.call(request).await;
        drop(slot);
        answer
    });
    match execution.await {
        Ok(Ok(answer)) if answer.extensions().get::<AnswerLost>().is_none() => Ok(answer),
        _ => Err(AnswerLost),
    }
}
