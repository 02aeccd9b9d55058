//! A proxy of axum and hyper that limits callers by address with `tower_governor`, as its README sets it up, or does not:
//! the peer that our limits are compared with.

use std::env;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::uri::PathAndQuery;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tower_governor::GovernorLayer;
use tower_governor::governor::GovernorConfigBuilder;

fn main() -> anyhow::Result<()> {
    // It is held to one core, as the gateway is, so one thread serves it best.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve())
}

async fn serve() -> anyhow::Result<()> {
    let mut arguments = env::args().skip(1);
    let mut next =
        |what: &str| arguments.next().with_context(|| format!("usage: PORT UPSTREAM LIMITED: no {what}"));
    let (port, upstream): (u16, u16) = (next("port")?.parse()?, next("upstream")?.parse()?);
    let limited: bool = next("word on whether it limits")?.parse()?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).build::<_, Body>(connector);
    let app = Router::new().route("/{*path}", any(move |request| pass_on(client.clone(), upstream, request)));
    let app = if limited {
        let config = GovernorConfigBuilder::default()
            .per_nanosecond(1_000)
            .burst_size(1_000_000)
            .use_headers()
            .finish()
            .context("a limit")?;
        app.layer(GovernorLayer::new(Arc::new(config)))
    } else {
        app
    };
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

async fn pass_on(client: Client<HttpConnector, Body>, port: u16, mut request: Request) -> Response {
    let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    match Uri::try_from(format!("http://127.0.0.1:{port}{path}")) {
        Ok(uri) => *request.uri_mut() = uri,
        Err(_) => return StatusCode::BAD_REQUEST.into_response(),
    }
    match client.request(request).await {
        Ok(response) => response.into_response(),
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}
