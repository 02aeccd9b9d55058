//! A service that uses `axum-idempotent` with its Redis store, as its README sets it up: the peer that keyed first
//! executions are compared with. The service answers by itself, or, given an upstream, passes requests on to it, which
//! is what a gateway does.

use std::env;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::uri::PathAndQuery;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum_idempotent::{IdempotentLayer, IdempotentOptions};
use fred::clients::Client;
use fred::interfaces::ClientLike;
use hyper_util::client::legacy::Client as Upstream;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use ruts::store::Ttl;
use ruts::store::redis::RedisStore;
use ruts::{CookieOptions, Session, SessionLayer};
use tower_cookies::CookieManagerLayer;

type Store = RedisStore<Client>;

fn main() -> anyhow::Result<()> {
    // It is held to one core, as the gateway is, so one thread serves it best.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve())
}

async fn serve() -> anyhow::Result<()> {
    let mut arguments = env::args().skip(1);
    let mut next = |what: &str| {
        arguments.next().with_context(|| format!("usage: PORT REDIS BYTES [UPSTREAM]: no {what}"))
    };
    let (port, redis, bytes): (u16, _, usize) =
        (next("port")?.parse()?, next("Redis")?, next("size of the answer")?.parse()?);
    let upstream = arguments.next().map(|port| port.parse::<u16>()).transpose()?;

    let client = fred::types::Builder::from_config(fred::types::config::Config::from_url(&redis)?).build()?;
    client.init().await?;
    let store = Arc::new(RedisStore::new(Arc::new(client)).await?);

    let options = IdempotentOptions::default()
        .use_idempotency_key_header(Some("Idempotency-Key"), true)
        .expire_after(24 * 60 * 60);
    let handler = match upstream {
        None => post(move || async move { order(bytes) }),
        Some(port) => {
            let mut connector = HttpConnector::new();
            connector.set_nodelay(true);
            let client = Upstream::builder(TokioExecutor::new()).build::<_, Body>(connector);
            post(move |request: Request| pass_on(client.clone(), port, request))
        }
    };
    let orders = Router::new().route("/orders", handler).layer(IdempotentLayer::<Store>::new(options));
    let cookies = CookieOptions::build().name("session").secure(false).max_age(24 * 60 * 60).path("/");
    let app = orders
        .route("/session", get(begin_session))
        .layer(SessionLayer::new(store).with_cookie_options(cookies))
        .layer(CookieManagerLayer::new());

    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    axum::serve(listener, app).await?;
    Ok(())
}

async fn pass_on(client: Upstream<HttpConnector, Body>, port: u16, mut request: Request) -> Response {
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

fn order(bytes: usize) -> (StatusCode, [(header::HeaderName, &'static str); 1], String) {
    (StatusCode::CREATED, [(header::CONTENT_TYPE, "application/json")], "x".repeat(bytes))
}

/// The layer keeps answers only for callers that already have a session.
async fn begin_session(session: Session<Store>) -> Result<&'static str, StatusCode> {
    let day = Ttl::new(24 * 60 * 60).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    session
        .set("user", &"benchmark".to_owned(), day, None)
        .await
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok("begun")
}
