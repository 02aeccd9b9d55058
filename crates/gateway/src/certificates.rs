//! TLS towards callers: which certificate is shown to whom. The files are read again when they change, and a file that
//! cannot be used changes nothing.

use std::{
    collections::HashMap,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use arc_swap::ArcSwap;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::CertificateDer,
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use steadfast_upstream::{TlsError, read_certificates, read_key};

use crate::config::ServerTls;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What one listener shows, as its files say now.
#[derive(Debug)]
pub(crate) struct Certificates {
    files: ServerTls,
    current: ArcSwap<ServerConfig>,
    /// What was in the files when they were last read.
    seen: Mutex<Vec<Option<Vec<u8>>>>,
}

impl Certificates {
    /// Reads the files that `tls` names.
    ///
    /// # Errors
    /// [`TlsError`] says which file, and what is wrong with it.
    pub(crate) fn load(tls: &ServerTls) -> Result<Self, TlsError> {
        // Looked at before they are read: a change in between is seen at the next look.
        let seen = Mutex::new(contents(tls));
        Ok(Self { files: tls.clone(), current: ArcSwap::new(Arc::new(config(tls)?)), seen })
    }

    /// What the next connection is made with.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Reads the files again if they have changed.
    fn look(&self) {
        let now = contents(&self.files);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == now {
            return;
        }
        *seen = now;
        match config(&self.files) {
            Ok(config) => {
                self.current.store(Arc::new(config));
                tracing::info!(files = ?self.files.certificates, "certificates were read again");
            }
            Err(error) => tracing::error!(%error, "new certificates cannot be used; the former ones stay"),
        }
    }
}

/// Looks at the files now and then, on a thread of its own, for as long as somebody holds the certificates.
pub(crate) fn watch(certificates: &[Arc<Certificates>]) -> std::io::Result<()> {
    if certificates.is_empty() {
        return Ok(());
    }
    let mut watched: Vec<Weak<Certificates>> = certificates.iter().map(Arc::downgrade).collect();
    std::thread::Builder::new().name("certificates".into()).spawn(move || {
        while !watched.is_empty() {
            std::thread::sleep(LOOK_EVERY);
            watched.retain(|weak| weak.upgrade().inspect(|certificates| certificates.look()).is_some());
        }
    })?;
    Ok(())
}

/// Every file's content; `None` where it cannot be read.
fn contents(tls: &ServerTls) -> Vec<Option<Vec<u8>>> {
    let pairs = tls.certificates.iter().flat_map(|(chain, key)| [chain, key]);
    pairs.chain(&tls.client_ca).map(|path: &PathBuf| fs::read(path).ok()).collect()
}

fn config(tls: &ServerTls) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unusable)?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let mut roots = RootCertStore::empty();
            for authority in read_certificates(authorities)? {
                roots.add(authority).map_err(TlsError::Unusable)?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            let verifier = if tls.client_required { verifier } else { verifier.allow_unauthenticated() };
            let unusable = |error: rustls::server::VerifierBuilderError| {
                TlsError::Unusable(rustls::Error::General(error.to_string()))
            };
            builder.with_client_cert_verifier(verifier.build().map_err(unusable)?)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(ByName::load(tls, &provider)?));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = ring::Ticketer::new().map_err(TlsError::Unusable)?;
    Ok(config)
}

/// The certificates by the names in them.
#[derive(Debug)]
struct ByName {
    names: HashMap<String, Arc<CertifiedKey>>,
    otherwise: Arc<CertifiedKey>,
}

impl ByName {
    fn load(tls: &ServerTls, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let mut names = HashMap::new();
        let mut otherwise = None;
        for (chain, key) in &tls.certificates {
            let chain = read_certificates(chain)?;
            let key = CertifiedKey::from_der(chain, read_key(key)?, provider).map_err(TlsError::Unusable)?;
            let key = Arc::new(key);
            for name in key.cert.first().map(names_in).transpose()?.unwrap_or_default() {
                names.entry(name).or_insert_with(|| Arc::clone(&key));
            }
            otherwise.get_or_insert(key);
        }
        let none = || TlsError::Unusable(rustls::Error::NoCertificatesPresented);
        Ok(Self { names, otherwise: otherwise.ok_or_else(none)? })
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        let wildcard = || name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        self.names.get(&name).or_else(|| self.names.get(&wildcard()?))
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.find(name));
        Some(Arc::clone(named.unwrap_or(&self.otherwise)))
    }
}

/// The host names that a certificate is for.
fn names_in(certificate: &CertificateDer<'static>) -> Result<Vec<String>, TlsError> {
    let unreadable = |error: webpki::Error| {
        TlsError::Unusable(rustls::Error::General(format!("it cannot be read: {error}")))
    };
    let certificate = webpki::EndEntityCert::try_from(certificate).map_err(unreadable)?;
    Ok(certificate.valid_dns_names().map(str::to_ascii_lowercase).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate for these names, and its key, as files called so.
    fn write(folder: &std::path::Path, file: &str, names: &[&str]) -> (PathBuf, PathBuf) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let (chain, key) = (folder.join(format!("{file}.pem")), folder.join(format!("{file}.key")));
        fs::write(&chain, made.cert.pem()).expect("it can be written");
        fs::write(&key, made.signing_key.serialize_pem()).expect("it can be written");
        (chain, key)
    }

    fn tls(certificates: Vec<(PathBuf, PathBuf)>) -> ServerTls {
        ServerTls { certificates, client_ca: None, client_required: false }
    }

    #[test]
    fn a_caller_gets_the_certificate_of_the_name_it_asks_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = [("a", &["a.example"][..]), ("b", &["b.example", "*.b.example"])];
        let files = files.map(|(file, names)| write(folder.path(), file, names)).to_vec();
        let found = ByName::load(&tls(files), &ring::default_provider()).expect("they can be used");
        let of = |name: &str| found.find(name).map(|key| names_in(&key.cert[0]).expect("names").concat());
        assert_eq!(of("A.example").as_deref(), Some("a.example"));
        assert_eq!(of("x.b.example").as_deref(), Some("b.example*.b.example"));
        assert_eq!(of("y.x.b.example"), None);
        assert_eq!(of("c.example"), None);
    }

    #[test]
    fn changed_files_are_taken_up_and_broken_ones_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let pair = write(folder.path(), "a", &["a.example"]);
        let certificates = Certificates::load(&tls(vec![pair.clone()])).expect("they can be used");
        let first = certificates.current();
        certificates.look();
        assert!(Arc::ptr_eq(&first, &certificates.current()), "nothing changed");
        fs::write(&pair.0, "nonsense").expect("it can be written");
        certificates.look();
        assert!(Arc::ptr_eq(&first, &certificates.current()), "nonsense changes nothing");
        write(folder.path(), "a", &["a.example"]);
        certificates.look();
        assert!(!Arc::ptr_eq(&first, &certificates.current()), "a new certificate is taken up");
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let (a, b) = (write(folder.path(), "a", &["a"]), write(folder.path(), "b", &["b"]));
        assert!(matches!(Certificates::load(&tls(vec![(a.0, b.1)])), Err(TlsError::Unusable(_))));
    }
}
