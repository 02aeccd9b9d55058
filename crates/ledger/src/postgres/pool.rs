//! A few sessions for everything that is not a claim or a finish.
//!
//! A session that is not given back is closed: so a call that was dropped half way, or failed, leaves no
//! transaction open for the next one to stumble into.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::{failure::Failure, session::Session, shared::Shared};
use crate::{LedgerError, OpenError};

/// A few sessions, opened when they are needed.
#[derive(Debug)]
pub(super) struct Pool {
    shared: Arc<Shared>,
    permits: Semaphore,
    idle: Mutex<Vec<Session>>,
}

/// A session for one call.
#[derive(Debug)]
pub(super) struct Lent<'a> {
    pool: &'a Pool,
    session: Session,
    _permit: SemaphorePermit<'a>,
}

impl Pool {
    pub(super) fn new(shared: Arc<Shared>, sessions: usize) -> Self {
        Self { shared, permits: Semaphore::new(sessions), idle: Mutex::default() }
    }

    /// Lends a session, waiting for one at most as long as calls may wait.
    pub(super) async fn lend(&self) -> Result<Lent<'_>, LedgerError> {
        let lend = async {
            let permit = self.permits.acquire().await.map_err(|_| LedgerError::Closed)?;
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let session = match idle.filter(|session| !session.is_closed()) {
                Some(session) => session,
                None => {
                    let shared = &self.shared;
                    let session = Session::open(&shared.config, &shared.path, &shared.options).await;
                    session.map_err(|error| match error {
                        OpenError::ReadOnly { .. } => LedgerError::ReadOnly,
                        error => LedgerError::Unreachable(error.to_string()),
                    })?
                }
            };
            self.shared.seen(&session.server);
            Ok(Lent { pool: self, session, _permit: permit })
        };
        match tokio::time::timeout(self.shared.options.pool_wait, lend).await {
            Ok(lent) => lent,
            Err(_) => Err(LedgerError::Unreachable("no connection to it was free in time".into())),
        }
    }

    /// Makes a change in one transaction; nothing of it is left where it is refused.
    pub(super) async fn change<T, E: From<LedgerError>>(
        &self,
        change: impl AsyncFnOnce(&Session) -> Result<Result<T, E>, Failure>,
    ) -> Result<T, E> {
        let lent = self.lend().await?;
        let session = lent.session();
        let changed = session
            .bounded(async {
                session.simple("BEGIN").await?;
                let changed = change(session).await?;
                session.simple(if changed.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
                Ok(changed)
            })
            .await;
        lent.settle(changed).await?
    }
}

impl Lent<'_> {
    /// The session.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Gives the session back after a call, unless the call lost it, and turns a failure into the caller's error.
    pub(super) async fn settle<T>(self, result: Result<T, Failure>) -> Result<T, LedgerError> {
        let usable = match &result {
            Ok(_) => true,
            Err(Failure::Lost(_) | Failure::ReadOnly) => false,
            // Outside a transaction that is a warning only.
            Err(_) => self.session.roll_back().await.is_ok(),
        };
        if usable {
            self.pool.shared.answered();
            self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(self.session);
        }
        result.map_err(|failure| failure.to_error())
    }
}
