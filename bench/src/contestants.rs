//! Who is measured, each a private instance on the contestant's core, set up as its users set it up: keep-alive on both
//! sides, one thread, access log on and written to a file, the upstream told who is calling.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::server::{Server, free_port, keep_output, loopback};
use crate::workplace::Workplace;

/// The files of the Express peer, compiled in so that the binary can be run from anywhere.
const EXPRESS_PACKAGE: &str = include_str!("../peers/express/package.json");
const EXPRESS_SERVER: &str = include_str!("../peers/express/server.js");

/// A server under test.
pub(crate) struct Running {
    /// Where it listens.
    pub(crate) port: u16,
    /// The process.
    pub(crate) server: Server,
}

/// nginx with one worker in front of `upstream`.
///
/// # Errors
/// It does not start.
pub(crate) fn nginx(place: &Workplace, upstream: u16) -> anyhow::Result<Running> {
    let port = free_port()?;
    nginx_listening(place, "nginx", upstream, port, &format!("listen 127.0.0.1:{port};"), "")
}

/// The same with a limit by address that is never met, as its manual sets one up.
///
/// # Errors
/// It does not start.
pub(crate) fn nginx_limited(place: &Workplace, upstream: u16) -> anyhow::Result<Running> {
    let port = free_port()?;
    let listen = format!("listen 127.0.0.1:{port}; limit_req zone=callers burst=1000000 nodelay;");
    let zone = "limit_req_zone $binary_remote_addr zone=callers:10m rate=1000000r/s;";
    nginx_listening(place, "nginx_limit_req", upstream, port, &listen, zone)
}

/// nginx that listens on `port`, and as `listen` says; `http` is said of all its servers.
fn nginx_listening(
    place: &Workplace,
    name: &str,
    upstream: u16,
    port: u16,
    listen: &str,
    http: &str,
) -> anyhow::Result<Running> {
    let folder = place.folder().join(name);
    fs::create_dir(&folder)?;
    let shown = folder.display();
    // The limits on requests per connection are lifted, or nginx would reconnect while others do not.
    let config = format!(
        "daemon off; worker_processes 1; pid {shown}/nginx.pid; error_log {shown}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log {shown}/access.log combined;
    client_body_temp_path {shown}/body; proxy_temp_path {shown}/proxy; fastcgi_temp_path {shown}/fastcgi;
    uwsgi_temp_path {shown}/uwsgi; scgi_temp_path {shown}/scgi;
    keepalive_requests 1000000000; tcp_nodelay on;
    {http}
    upstream service {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}
    server {{
        {listen}
        location / {{
            proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection \"\";
            proxy_set_header Host $http_host; proxy_set_header Via \"1.1 nginx\";
            proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
        }}
    }}
}}
"
    );
    let path = folder.join("nginx.conf");
    fs::write(&path, config)?;
    let mut command = Command::new(program("nginx"));
    command.arg("-c").arg(&path).arg("-p").arg(&folder);
    if rustix::process::geteuid().is_root() {
        // The worker would change to a user that cannot write here.
        command.args(["-g", "user root;"]);
    }
    begin(place, name, command, port)
}

/// HAProxy with one thread in front of `upstream`.
///
/// # Errors
/// It does not start.
pub(crate) fn haproxy(place: &Workplace, upstream: u16) -> anyhow::Result<Running> {
    let port = free_port()?;
    // `log stdout` writes each line to our file at once.
    let config = format!(
        "global
    nbthread 1
    maxconn 8192
    log stdout format raw local0
defaults
    mode http
    log global
    option httplog
    option forwardfor
    option http-keep-alive
    http-reuse always
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend all
    bind 127.0.0.1:{port}
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request add-header Via \"1.1 haproxy\"
    default_backend service
backend service
    server one 127.0.0.1:{upstream}
"
    );
    let path = place.folder().join("haproxy.cfg");
    fs::write(&path, config)?;
    let mut command = Command::new(program("haproxy"));
    command.arg("-db").arg("-f").arg(&path);
    begin(place, "haproxy", command, port)
}

/// The gateway with one worker in front of `upstream`, its ledger at `ledger`.
///
/// # Errors
/// It does not start or is not ready in 30 s.
pub(crate) fn steadfast(
    place: &Workplace,
    name: &str,
    upstream: u16,
    ledger: &str,
) -> anyhow::Result<Running> {
    let (port, admin) = (free_port()?, free_port()?);
    let mut command = Command::new(&place.steadfast);
    command.args([
        "up",
        "--to",
        &format!("http://127.0.0.1:{upstream}"),
        "--listen",
        &loopback(port).to_string(),
    ]);
    command.args(["--admin", &loopback(admin).to_string(), "--ledger", ledger, "--workers", "1"]);
    command.current_dir(place.folder());
    begin_gateway(place, name, command, port, admin)
}

/// The gateway with one worker in front of `upstream`; `upstream_says` and `route_says` are what the config says of
/// the upstream and the one route beyond where they are.
///
/// # Errors
/// It does not start or is not ready in 30 s.
pub(crate) fn steadfast_with(
    place: &Workplace,
    name: &str,
    upstream: u16,
    upstream_says: &str,
    route_says: &str,
) -> anyhow::Result<Running> {
    steadfast_that_says(place, name, &one_route(upstream, upstream_says, route_says))
}

/// What a config says of one upstream, and of the route that leads everything to it.
pub(crate) fn one_route(upstream: u16, upstream_says: &str, route_says: &str) -> String {
    format!(
        "[upstreams.service]
url = \"http://127.0.0.1:{upstream}\"
{upstream_says}

[[routes]]
path = \"/*\"
upstream = \"service\"
{route_says}
"
    )
}

/// The gateway with one worker, and upstreams and routes as its config `says`.
///
/// # Errors
/// It does not start or is not ready in 30 s.
pub(crate) fn steadfast_that_says(place: &Workplace, name: &str, says: &str) -> anyhow::Result<Running> {
    Ok(steadfast_and_admin(place, name, says)?.0)
}

/// The same, whose callers have API keys; and one, as the command makes it.
///
/// # Errors
/// It does not start, is not ready in 30 s, or no key is made.
pub(crate) fn steadfast_with_a_key(
    place: &Workplace,
    name: &str,
    says: &str,
) -> anyhow::Result<(Running, String)> {
    let (running, admin) = steadfast_and_admin(place, name, says)?;
    let mut command = Command::new(&place.steadfast);
    command.args(["credentials", "--admin", &format!("127.0.0.1:{admin}"), "create", "customer-1"]);
    let made = command.output().context("no key can be made")?;
    anyhow::ensure!(made.status.success(), "no key was made: {}", String::from_utf8_lossy(&made.stderr));
    Ok((running, String::from_utf8(made.stdout)?.trim().to_owned()))
}

/// And the port of its admin API.
fn steadfast_and_admin(place: &Workplace, name: &str, says: &str) -> anyhow::Result<(Running, u16)> {
    steadfast_and_admin_on(place, name, &sqlite_ledger(place, name), says)
}

/// The gateway with one worker, its ledger at `ledger`, and upstreams and routes as its config `says`.
///
/// # Errors
/// It does not start or is not ready in 30 s.
pub(crate) fn steadfast_on(
    place: &Workplace,
    name: &str,
    ledger: &str,
    says: &str,
) -> anyhow::Result<Running> {
    Ok(steadfast_and_admin_on(place, name, ledger, says)?.0)
}

fn steadfast_and_admin_on(
    place: &Workplace,
    name: &str,
    ledger: &str,
    says: &str,
) -> anyhow::Result<(Running, u16)> {
    let (port, admin) = (free_port()?, free_port()?);
    let config = format!(
        "listen = \"127.0.0.1:{port}\"
admin = \"127.0.0.1:{admin}\"
ledger = {ledger:?}
workers = 1

{says}"
    );
    let path = place.folder().join(format!("{name}.toml"));
    fs::write(&path, config)?;
    let mut command = Command::new(&place.steadfast);
    command.arg("serve").arg("--config").arg(&path).current_dir(place.folder());
    Ok((begin_gateway(place, name, command, port, admin)?, admin))
}

fn begin_gateway(
    place: &Workplace,
    name: &str,
    mut command: Command,
    port: u16,
    admin: u16,
) -> anyhow::Result<Running> {
    keep_output(&mut command, place.folder(), name)?;
    let child = place.cores.spawn_contestant(&mut command)?;
    let mut server = Server::in_folder(name, child, place.folder());
    server.wait_until(|| get(admin, "/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")))?;
    Ok(Running { port, server })
}

/// A certificate and its key, in PEM files.
pub(crate) struct Certificate {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

/// A server that listens twice: as it is, and with TLS.
pub(crate) struct Edge {
    /// Where it speaks plainly.
    pub(crate) port: u16,
    /// Where it speaks TLS.
    pub(crate) tls_port: u16,
    /// The process.
    pub(crate) server: Server,
}

/// nginx with one worker, HTTP/2 and TLS in front of `upstream`.
///
/// # Errors
/// It does not start.
pub(crate) fn nginx_edge(
    place: &Workplace,
    upstream: u16,
    certificate: &Certificate,
) -> anyhow::Result<Edge> {
    let (port, tls_port) = (free_port()?, free_port()?);
    let (chain, key) = (certificate.chain.display(), certificate.key.display());
    let listen = format!(
        "listen 127.0.0.1:{port} http2; listen 127.0.0.1:{tls_port} ssl http2;
        ssl_certificate {chain}; ssl_certificate_key {key}; ssl_protocols TLSv1.3;"
    );
    let Running { server, .. } = nginx_listening(place, "nginx", upstream, port, &listen, "")?;
    Ok(Edge { port, tls_port, server })
}

/// The gateway with one worker, HTTP/2 and TLS in front of `upstream`, its ledger at `ledger`.
///
/// # Errors
/// It does not start or is not ready in 30 s.
pub(crate) fn steadfast_edge(
    place: &Workplace,
    upstream: u16,
    ledger: &str,
    certificate: &Certificate,
) -> anyhow::Result<Edge> {
    let (port, tls_port, admin) = (free_port()?, free_port()?, free_port()?);
    let config = format!(
        "listen = \"127.0.0.1:{port}\"
admin = \"127.0.0.1:{admin}\"
ledger = {ledger:?}
workers = 1

[[listeners]]
address = \"127.0.0.1:{tls_port}\"
tls = {{ certificate_files = [{:?}], key_files = [{:?}] }}

[upstreams.service]
url = \"http://127.0.0.1:{upstream}\"

[[routes]]
path = \"/*\"
upstream = \"service\"
",
        certificate.chain, certificate.key
    );
    let path = place.folder().join("steadfast.toml");
    fs::write(&path, config)?;
    let mut command = Command::new(&place.steadfast);
    command.arg("serve").arg("--config").arg(&path).current_dir(place.folder());
    let Running { server, .. } = begin_gateway(place, "steadfast", command, port, admin)?;
    Ok(Edge { port, tls_port, server })
}

/// nginx with one worker that keeps the answers of two upstreams: below `/small` and `/large`.
///
/// # Errors
/// It does not start.
pub(crate) fn nginx_cache(place: &Workplace, small: u16, large: u16) -> anyhow::Result<Running> {
    let port = free_port()?;
    let folder = place.folder().join("nginx");
    fs::create_dir(&folder)?;
    let shown = folder.display();
    // As its manual advises: sendfile, open files kept, no temporary files on another disk.
    let config = format!(
        "daemon off; worker_processes 1; pid {shown}/nginx.pid; error_log {shown}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log {shown}/access.log combined;
    client_body_temp_path {shown}/body; proxy_temp_path {shown}/proxy; fastcgi_temp_path {shown}/fastcgi;
    uwsgi_temp_path {shown}/uwsgi; scgi_temp_path {shown}/scgi;
    proxy_cache_path {shown}/cache levels=1:2 keys_zone=answers:10m max_size=64m inactive=1h use_temp_path=off;
    open_file_cache max=1000 inactive=1h; open_file_cache_valid 1h;
    sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 1000000000;
    proxy_cache answers; proxy_cache_valid 200 1h; proxy_cache_key $scheme$http_host$request_uri; proxy_cache_lock on;
    server {{
        listen 127.0.0.1:{port};
        location /small {{ proxy_pass http://127.0.0.1:{small}; }}
        location /large {{ proxy_pass http://127.0.0.1:{large}; }}
    }}
}}
"
    );
    let path = folder.join("nginx.conf");
    fs::write(&path, config)?;
    let mut command = Command::new(program("nginx"));
    command.arg("-c").arg(&path).arg("-p").arg(&folder);
    if rustix::process::geteuid().is_root() {
        // The worker would change to a user that cannot write here.
        command.args(["-g", "user root;"]);
    }
    begin(place, "nginx", command, port)
}

/// The gateway with one worker that keeps the answers of two upstreams likewise, its ledger at `ledger`.
///
/// # Errors
/// It does not start or is not ready in 30 s.
pub(crate) fn steadfast_cache(
    place: &Workplace,
    small: u16,
    large: u16,
    ledger: &str,
) -> anyhow::Result<Running> {
    let (port, admin) = (free_port()?, free_port()?);
    let config = format!(
        "listen = \"127.0.0.1:{port}\"
admin = \"127.0.0.1:{admin}\"
ledger = {ledger:?}
workers = 1

[upstreams.small]
url = \"http://127.0.0.1:{small}\"

[upstreams.large]
url = \"http://127.0.0.1:{large}\"

[[routes]]
path = \"/small\"
upstream = \"small\"
cache = {{ ttl = \"1h\" }}

[[routes]]
path = \"/large\"
upstream = \"large\"
cache = {{ ttl = \"1h\" }}
"
    );
    let path = place.folder().join("steadfast.toml");
    fs::write(&path, config)?;
    let mut command = Command::new(&place.steadfast);
    command.arg("serve").arg("--config").arg(&path).current_dir(place.folder());
    begin_gateway(place, "steadfast", command, port, admin)
}

/// A ledger's address in the workplace.
pub(crate) fn sqlite_ledger(place: &Workplace, name: &str) -> String {
    format!("sqlite:{}", place.folder().join(format!("{name}.db")).display())
}

/// A service with our layers round its own handler, its ledger at `ledger`.
///
/// # Errors
/// It does not start.
pub(crate) fn library(place: &Workplace, name: &str, ledger: &Path, bytes: usize) -> anyhow::Result<Running> {
    let port = free_port()?;
    let mut command = Command::new(std::env::current_exe()?.with_file_name("steadfast-library-peer"));
    command.arg(port.to_string()).arg(ledger).arg(bytes.to_string());
    begin(place, name, command, port)
}

/// A service with `axum-idempotent`, its sessions and answers in `redis`, that answers by itself or passes requests on
/// to `upstream`; and `Cookie` fields of sessions begun with it.
///
/// # Errors
/// It does not start, or begins no session.
pub(crate) fn axum_idempotent(
    place: &Workplace,
    name: &str,
    redis: u16,
    bytes: usize,
    upstream: Option<u16>,
) -> anyhow::Result<(Running, Vec<String>)> {
    /// As many as there are connections in the benchmark: one user each.
    const SESSIONS: usize = 64;
    let port = free_port()?;
    let mut command = Command::new(std::env::current_exe()?.with_file_name("axum-idempotent-peer"));
    command.args([port.to_string(), format!("redis://127.0.0.1:{redis}"), bytes.to_string()]);
    command.args(upstream.map(|port| port.to_string()));
    let running = begin(place, name, command, port)?;
    let cookies = (0..SESSIONS).map(|_| begin_session(port)).collect::<anyhow::Result<_>>()?;
    Ok((running, cookies))
}

fn begin_session(port: u16) -> anyhow::Result<String> {
    let answer = get(port, "/session")?;
    let cookie = answer.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        let is_cookie = name.eq_ignore_ascii_case("set-cookie");
        is_cookie.then(|| format!("Cookie: {}", value.split(';').next().unwrap_or(value)))
    });
    cookie.with_context(|| format!("no session was begun: {answer}"))
}

/// A proxy of axum in front of `upstream`, with a limit of tower_governor by address, or with none.
///
/// # Errors
/// It does not start.
pub(crate) fn tower_governor(place: &Workplace, upstream: u16, limited: bool) -> anyhow::Result<Running> {
    let port = free_port()?;
    let mut command = Command::new(std::env::current_exe()?.with_file_name("tower-governor-peer"));
    command.args([port.to_string(), upstream.to_string(), limited.to_string()]);
    begin(place, if limited { "tower_governor" } else { "axum" }, command, port)
}

/// A service with `express-idempotency` and its Redis adapter.
///
/// # Errors
/// npm cannot install it, or it does not start.
pub(crate) fn express_idempotency(
    place: &Workplace,
    name: &str,
    redis: u16,
    bytes: usize,
) -> anyhow::Result<Running> {
    let folder = place.kept().join("express");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("package.json"), EXPRESS_PACKAGE)?;
    fs::write(folder.join("server.js"), EXPRESS_SERVER)?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"])
        .current_dir(&folder);
    let output = npm.output().context("cannot start npm")?;
    if !output.status.success() {
        bail!("npm install failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let port = free_port()?;
    let mut command = Command::new("node");
    command.arg(folder.join("server.js")).args([
        port.to_string(),
        format!("redis://127.0.0.1:{redis}"),
        bytes.to_string(),
    ]);
    command.env("NODE_ENV", "production");
    begin(place, name, command, port)
}

fn begin(place: &Workplace, name: &str, mut command: Command, port: u16) -> anyhow::Result<Running> {
    keep_output(&mut command, place.folder(), name)?;
    let child = place.cores.spawn_contestant(&mut command)?;
    let mut server = Server::in_folder(name, child, place.folder());
    server.wait_for_port(port)?;
    Ok(Running { port, server })
}

/// One GET on a connection of its own, as text.
fn get(port: u16, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(loopback(port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A server's program: Debian keeps some of them where only root's PATH leads.
fn program(name: &str) -> PathBuf {
    let usual = Path::new("/usr/sbin").join(name);
    if usual.exists() { usual } else { name.into() }
}
