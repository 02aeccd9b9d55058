//! The ledger's tables and how they come to be: migrations run at start, one node at a time.

use tokio_postgres::Client;

use crate::OpenError;

/// The migrations, oldest first; the version of a schema is how many of them it has seen.
const MIGRATIONS: &[&str] = &[
    include_str!("schema.sql"),
    include_str!("credentials.sql"),
    include_str!("bans.sql"),
    include_str!("requests.sql"),
    concat!(include_str!("backlog.sql"), include_str!("redrives.sql")),
];

/// The newest version that this program knows.
const VERSION_KNOWN: i64 = MIGRATIONS.len() as i64;

/// The advisory lock under which migrations run: "steadfas" as a number.
const MIGRATION_LOCK: i64 = 0x7374_6561_6466_6173;

/// Brings the schema up to date, or finds that it is.
pub(super) async fn migrate(client: &mut Client, path: &str) -> Result<(), OpenError> {
    let unreachable = |error: tokio_postgres::Error| super::failure::open_error(path, &error);
    // Without the lock first: a node whose role may not create anything can use what is there.
    if version(client).await.map_err(unreachable)? == VERSION_KNOWN {
        return Ok(());
    }
    let transaction = client.transaction().await.map_err(unreachable)?;
    // Another node may be migrating for longer than a statement may otherwise take.
    transaction
        .batch_execute("SET LOCAL statement_timeout = '10min'; SET LOCAL lock_timeout = '10min'")
        .await
        .map_err(unreachable)?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK]).await.map_err(unreachable)?;
    let found = version(&transaction).await.map_err(unreachable)?;
    if found > VERSION_KNOWN {
        return Err(OpenError::NewerSchema { found, known: VERSION_KNOWN });
    }
    if found == 0 {
        transaction
            .batch_execute(
                "CREATE SCHEMA IF NOT EXISTS steadfast;
                 CREATE TABLE steadfast.schema_version (version bigint NOT NULL);
                 INSERT INTO steadfast.schema_version VALUES (0)",
            )
            .await
            .map_err(unreachable)?;
    }
    for migration in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.batch_execute(migration).await.map_err(unreachable)?;
    }
    transaction
        .execute("UPDATE steadfast.schema_version SET version = $1", &[&VERSION_KNOWN])
        .await
        .map_err(unreachable)?;
    transaction.commit().await.map_err(unreachable)
}

/// The version of the schema that is there; 0 where there is none.
async fn version(client: &impl tokio_postgres::GenericClient) -> Result<i64, tokio_postgres::Error> {
    // Not `to_regclass`: it may answer from what this session had cached before it waited for the lock.
    let there = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class AS c \
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
        WHERE n.nspname = 'steadfast' AND c.relname = 'schema_version')";
    if !client.query_one(there, &[]).await?.get::<_, bool>(0) {
        return Ok(0);
    }
    let row = client.query_one("SELECT version FROM steadfast.schema_version", &[]).await?;
    Ok(row.get(0))
}
