//! Upstreams behind TLS: whose certificates are believed, which one is shown, and what is spoken.

use std::{convert::Infallible, fs, net::SocketAddr, path::PathBuf, sync::Arc};

use http::{Request, Response, header};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use steadfast_upstream::{HostPolicy, Protocol, TlsClient, TlsFiles};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::{
    contract::{Stand, backend::Backend, wire::Ask},
    stand::{config, configured},
};

/// A certificate that signs itself, and its key.
struct Papers {
    chain: PathBuf,
    key: PathBuf,
}

impl Papers {
    fn make(folder: &TempDir, file: &str, name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("a certificate");
        let (chain, key) =
            (folder.path().join(format!("{file}.pem")), folder.path().join(format!("{file}.key")));
        fs::write(&chain, made.cert.pem()).expect("it can be written");
        fs::write(&key, made.signing_key.serialize_pem()).expect("it can be written");
        Self { chain, key }
    }

    fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(&self.chain).expect("a certificate")
    }
}

/// An app behind TLS, which says how it was asked: the version of HTTP, the Host, and whether a certificate was shown.
async fn app(own: &Papers, believed: Option<&Papers>, serving: &mut JoinSet<()>) -> SocketAddr {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match believed {
        None => builder.with_no_client_auth(),
        Some(papers) => {
            let mut roots = RootCertStore::empty();
            roots.add(papers.certificate()).expect("a root");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        }
    };
    let key = PrivateKeyDer::from_pem_file(&own.key).expect("a key");
    let mut tls = builder.with_single_cert(vec![own.certificate()], key).expect("they belong together");
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let (acceptor, listener) =
        (TlsAcceptor::from(Arc::new(tls)), TcpListener::bind("127.0.0.1:0").await.expect("a port"));
    let address = listener.local_addr().expect("an address");
    serving.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            connections.spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let shown = stream.get_ref().1.peer_certificates().is_some();
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let service = service_fn(move |request: Request<Incoming>| {
                    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
                    let host = host.or(request.uri().host()).unwrap_or_default();
                    let text = format!("{:?} {host} {shown}", request.version());
                    std::future::ready(Ok::<_, Infallible>(Response::new(text)))
                });
                let stream = TokioIo::new(stream);
                if is_http2 {
                    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(stream, service).await;
                } else {
                    let _ =
                        hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await;
                }
            });
        }
    });
    address
}

/// A gateway in front of the app at `localhost:PORT`.
fn gateway(app: SocketAddr, protocol: Protocol, host: HostPolicy, files: TlsFiles) -> Stand {
    let mut config = config(app);
    let upstream = config.upstreams.get_mut("upstream").expect("an upstream");
    let upstream = &mut upstream.policy;
    upstream.addresses = vec![format!("https://localhost:{}", app.port()).parse().expect("an address")];
    (upstream.protocol, upstream.host) = (protocol, host);
    upstream.tls = TlsClient::load(files).expect("the files can be used");
    configured(config, Backend::new())
}

#[tokio::test]
async fn an_upstream_is_believed_by_its_certificate_and_spoken_to_as_it_agrees() {
    let folder = tempfile::tempdir().expect("a folder");
    let (own, other) =
        (Papers::make(&folder, "own", "localhost"), Papers::make(&folder, "other", "localhost"));
    let mut serving = JoinSet::new();
    let app = app(&own, None, &mut serving).await;
    let believing = |papers: &Papers| TlsFiles { roots: Some(papers.chain.clone()), ..TlsFiles::default() };
    let named = || HostPolicy::Named("shop.example".parse().expect("a host"));
    for (protocol, host, expected) in [
        (Protocol::Negotiated, HostPolicy::Upstream, "HTTP/2.0 localhost false"),
        (Protocol::Http1, HostPolicy::Caller, "HTTP/1.1 test false"),
        (Protocol::Http2, named(), "HTTP/2.0 shop.example false"),
    ] {
        let stand = gateway(app, protocol, host, believing(&own));
        for _ in 0..3 {
            let answer = stand.ask(&Ask::new("GET", "/any")).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, expected));
        }
        assert_eq!(stand.ask(&Ask::post("/orders").key("k")).await.status, 200);
        assert!(stand.ask(&Ask::post("/orders").key("k")).await.is_replay());
    }
    // Somebody else's certificate, and the right one under another name: nothing is sent.
    let misnamed = TlsFiles { server_name: Some("elsewhere.example".into()), ..believing(&own) };
    for files in [believing(&other), misnamed] {
        let stand = gateway(app, Protocol::Negotiated, HostPolicy::Upstream, files);
        assert_eq!(stand.ask(&Ask::new("GET", "/any")).await.status, 502);
    }
}

#[tokio::test]
async fn an_upstream_that_asks_who_is_calling_is_shown_the_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    let (own, ours) = (Papers::make(&folder, "own", "localhost"), Papers::make(&folder, "ours", "gateway"));
    let mut serving = JoinSet::new();
    let app = app(&own, Some(&ours), &mut serving).await;
    let files = |certificate| TlsFiles { roots: Some(own.chain.clone()), certificate, server_name: None };
    let shown = files(Some((ours.chain.clone(), ours.key.clone())));
    for (protocol, version) in [(Protocol::Negotiated, "HTTP/2.0"), (Protocol::Http1, "HTTP/1.1")] {
        let stand = gateway(app, protocol, HostPolicy::Upstream, shown.clone());
        let answer = stand.ask(&Ask::new("GET", "/any")).await;
        let host =
            if version == "HTTP/2.0" { "localhost".to_owned() } else { format!("localhost:{}", app.port()) };
        assert_eq!(answer.text(), format!("{version} {host} true"));
        let stand = gateway(app, protocol, HostPolicy::Upstream, files(None));
        assert_eq!(stand.ask(&Ask::new("GET", "/any")).await.status, 502, "it shows none");
    }
}
