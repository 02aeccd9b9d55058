//! The same service with Steadfast's layers instead, their ledger in an SQLite file: library beside library.

use std::env;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::post;
use steadfast_layers::{IdempotencyLayer, IdempotencyPolicy, RequestIdLayer};
use steadfast_ledger::sqlite::{SqliteLedger, SqliteOptions};
use steadfast_ledger::{Clock, Remembering, SharedLedger};
use steadfast_worker::Workers;
use tokio::runtime::Handle;

fn main() -> anyhow::Result<()> {
    // It is held to one core, as the gateway is, so one thread serves it best.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve())
}

async fn serve() -> anyhow::Result<()> {
    let mut arguments = env::args().skip(1);
    let mut next =
        |what: &str| arguments.next().with_context(|| format!("usage: PORT LEDGER BYTES: no {what}"));
    let (port, ledger, bytes): (u16, PathBuf, usize) =
        (next("port")?.parse()?, next("ledger")?.into(), next("size of the answer")?.parse()?);

    let clock = Clock::system();
    let file = SqliteLedger::open(&ledger, SqliteOptions::default())?;
    let ledger: SharedLedger = Arc::new(Remembering::new(file, clock.clone(), 16 << 20));
    let _workers = Workers::start(Arc::clone(&ledger), clock.clone(), &Handle::current());
    let policy =
        IdempotencyPolicy { required: true, anonymous: true, ..IdempotencyPolicy::for_route("/orders") };
    let layers = (RequestIdLayer, IdempotencyLayer::new(policy, ledger, clock)?);
    let app = Router::new().route("/orders", post(move || async move { order(bytes) })).layer(layers);

    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    axum::serve(listener, app).await?;
    Ok(())
}

fn order(bytes: usize) -> (StatusCode, [(header::HeaderName, &'static str); 1], String) {
    (StatusCode::CREATED, [(header::CONTENT_TYPE, "application/json")], "x".repeat(bytes))
}
