//! A connection to the shared store: one multiplexed socket to a server, or one to each node of a Cluster.

use std::{io, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, Script,
    ServerErrorKind, aio::MultiplexedConnection, cluster::ClusterClient, cluster_async::ClusterConnection,
};

use crate::{health::Reason, location::Location};

/// How often a Cluster is asked again where a slot has moved, or a node is gone: the first time the answer says where
/// to, the second one is for a table of slots that was out of date as well.
const CLUSTER_RETRIES: u32 = 2;
/// How long such a repetition waits at most, in milliseconds.
const CLUSTER_RETRY_WAIT_MS_MAX: u64 = 10;

/// An open connection. Clones share it, and what they ask goes out without waiting for each other's answers.
#[derive(Clone)]
pub(crate) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    /// Opens it, within so long. A node of a Cluster that does not answer for `patience` counts as gone.
    pub(crate) async fn open(location: &Location, within: Duration, patience: Duration) -> RedisResult<Self> {
        tokio::time::timeout(within, Self::open_unbounded(location, within, patience))
            .await
            .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
    }

    /// Chooses what TLS is done with, for the process, unless somebody has: the client asks for what was chosen.
    pub(crate) fn choose_cryptography() {
        // Where there is a choice already, it stands.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }

    async fn open_unbounded(location: &Location, within: Duration, patience: Duration) -> RedisResult<Self> {
        if location.is_cluster {
            let client = ClusterClient::builder(location.servers.clone())
                .connection_timeout(within)
                .response_timeout(patience)
                .overall_response_timeout(None)
                .retries(CLUSTER_RETRIES)
                .min_retry_wait(1)
                .max_retry_wait(CLUSTER_RETRY_WAIT_MS_MAX)
                .build()?;
            return Ok(Self::Cluster(client.get_async_connection().await?));
        }
        let client = Client::open(location.servers[0].clone())?;
        // Whoever asks bounds the wait for a whole batch.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        Ok(Self::Single(client.get_multiplexed_async_connection_with_config(&config).await?))
    }

    /// Asks one thing.
    pub(crate) async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        match self {
            Self::Single(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }

    /// Runs a script, whose text is sent only where the server does not have it: after a restart, say.
    pub(crate) async fn run<T: FromRedisValue>(
        &mut self,
        script: &Script,
        text: &str,
        keys: &[Vec<u8>],
        arguments: &[&[u8]],
    ) -> RedisResult<T> {
        let call = |name: &str, what: &str| {
            let mut command = redis::cmd(name);
            command.arg(what).arg(keys.len()).arg(keys).arg(arguments);
            command
        };
        match self.ask(&call("EVALSHA", script.get_hash())).await {
            // Nothing of it was executed.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.ask(&call("EVAL", text)).await
            }
            answer => answer,
        }
    }
}

/// Whether a connection that failed so is of no more use. A Cluster's mends itself.
pub(crate) fn is_broken(error: &RedisError) -> bool {
    error.is_unrecoverable_error() || error.is_timeout()
}

/// What went wrong, in words without anything of a request in it.
pub(crate) fn reason(error: &RedisError) -> Reason {
    if error.is_timeout() {
        return Reason::new("no answer in time");
    }
    match error.code() {
        // LOADING, READONLY, OOM, NOAUTH, CLUSTERDOWN and so on: the server's own words say what to do.
        Some(code) => Reason::new(format!("{code} {}", error.detail().unwrap_or_default()).trim_end()),
        None => Reason::new(error.to_string()),
    }
}
