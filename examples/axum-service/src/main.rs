//! An axum service whose orders take effect once, however often they are sent.

use std::{error::Error, path::PathBuf, sync::Arc};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::get};
use steadfast_layers::{DeadlineLayer, IdempotencyLayer, IdempotencyPolicy, RequestIdLayer};
use steadfast_ledger::{
    Clock, Remembering, SharedLedger,
    sqlite::{SqliteLedger, SqliteOptions},
};
use steadfast_worker::Workers;
use tokio::{fs, io::AsyncWriteExt, net::TcpListener, runtime::Handle};

#[tokio::main]
#[expect(clippy::print_stdout, reason = "says where it listens")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8000".into());
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| ".".into()));

    let clock = Clock::system();
    let file = SqliteLedger::open(&folder.join("steadfast.db"), SqliteOptions::default())?;
    let ledger: SharedLedger = Arc::new(Remembering::new(file, clock.clone(), 16 << 20));
    // They renew what is held, give up what was lost, and sweep what has expired.
    let _workers = Workers::start(Arc::clone(&ledger), clock.clone(), &Handle::current());

    let policy = IdempotencyPolicy { required: true, ..IdempotencyPolicy::for_route("/orders") };
    // Outermost first.
    let layers = (RequestIdLayer, DeadlineLayer::new(None), IdempotencyLayer::new(policy, ledger, clock)?);
    let orders = folder.join("orders.txt");
    let router = Router::new().route("/orders", get(list).post(order)).layer(layers).with_state(orders);

    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    Ok(axum::serve(listener, router).await?)
}

/// The effect: a line in a file. It knows nothing of keys and retries.
async fn order(State(orders): State<PathBuf>, body: Bytes) -> Result<(StatusCode, String), StatusCode> {
    let broken = |_| StatusCode::INTERNAL_SERVER_ERROR;
    let mut file = fs::OpenOptions::new().create(true).append(true).open(&orders).await.map_err(broken)?;
    file.write_all(&[&body[..], b"\n"].concat()).await.map_err(broken)?;
    file.sync_all().await.map_err(broken)?;
    let number = fs::read_to_string(&orders).await.map_err(broken)?.lines().count();
    Ok((StatusCode::CREATED, format!("order {number}\n")))
}

/// What was ordered.
async fn list(State(orders): State<PathBuf>) -> String {
    fs::read_to_string(orders).await.unwrap_or_default()
}
