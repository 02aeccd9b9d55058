//! TLS towards upstreams: whose certificates are believed, and which one is shown.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};

/// The protocols that TLS agrees on, in the order in which they are liked.
const ALPN_BOTH: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Whose certificates are believed and which one is shown. By default the system's roots are believed, and none
/// is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsClient {
    /// The files that say so.
    files: TlsFiles,
    /// What was in them; `None` stands for the system's roots.
    roots: Option<Vec<CertificateDer<'static>>>,
    shown: Option<Shown>,
}

/// Where a [`TlsClient`] is read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates (PEM) that are believed instead of the system's.
    pub roots: Option<PathBuf>,
    /// A certificate chain (PEM) and its key, to show to upstreams that ask who is calling.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The name that an upstream's certificate must have, where it is not the host of its URL.
    pub server_name: Option<String>,
}

#[derive(Debug)]
struct Shown {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Clone for Shown {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl PartialEq for Shown {
    fn eq(&self, other: &Self) -> bool {
        self.chain == other.chain && self.key.secret_der() == other.key.secret_der()
    }
}

impl Eq for Shown {}

/// TLS towards an upstream cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("`{}` cannot be read: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// A file has no certificates, or no key, in PEM form.
    #[error("`{}` holds no {what} in PEM form", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// Certificate and key do not belong together, or cannot be used.
    #[error("the certificate cannot be used: {0}")]
    Unusable(rustls::Error),
    /// A name is neither a host name nor an address.
    #[error("`{0}` is not the name of a server")]
    Name(String),
    /// The system has no roots.
    #[error("no root certificates were found on this system: install them (ca-certificates), or name a file")]
    NoRoots,
}

impl TlsClient {
    /// Reads what `files` name, and tries whether it can be used.
    ///
    /// # Errors
    /// [`TlsError`] says which file, and what is wrong with it.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let roots = files.roots.as_deref().map(read_certificates).transpose()?;
        let shown = match &files.certificate {
            Some((chain, key)) => Some(Shown { chain: read_certificates(chain)?, key: read_key(key)? }),
            None => None,
        };
        if let Some(name) = &files.server_name {
            ServerName::try_from(name.clone()).map_err(|_| TlsError::Name(name.clone()))?;
        }
        let client = Self { files, roots, shown };
        if client.roots.is_some() || client.shown.is_some() {
            client.config(&ALPN_BOTH)?;
        }
        Ok(client)
    }

    /// The files that it was read from.
    #[must_use]
    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// What a connection is made with.
    pub(crate) fn config(&self, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, TlsError> {
        let roots = match &self.roots {
            Some(certificates) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates {
                    roots.add(certificate.clone()).map_err(TlsError::Unusable)?;
                }
                Arc::new(roots)
            }
            None => system_roots().ok_or(TlsError::NoRoots)?,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unusable)?
            .with_root_certificates(roots);
        let mut config = match self.shown.clone() {
            Some(Shown { chain, key }) => {
                builder.with_client_auth_cert(chain, key).map_err(TlsError::Unusable)?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }

    /// The name that the certificate of the server at `host` must have.
    pub(crate) fn server_name(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        let name = self.files.server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name(name.to_owned()))
    }
}

/// The roots that this system trusts, read once; `None` where it has none.
fn system_roots() -> Option<Arc<RootCertStore>> {
    static ROOTS: OnceLock<Option<Arc<RootCertStore>>> = OnceLock::new();
    ROOTS
        .get_or_init(|| {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                tracing::warn!(%error, "some of the system's root certificates cannot be read");
            }
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(found.certs);
            (!roots.is_empty()).then(|| Arc::new(roots))
        })
        .clone()
}

/// The certificates in a PEM file.
///
/// # Errors
/// It cannot be read, or has none.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem).flatten().collect();
    if certificates.is_empty() {
        return Err(TlsError::Empty { path: path.into(), what: "certificate" });
    }
    Ok(certificates)
}

/// The private key in a PEM file.
///
/// # Errors
/// It cannot be read, or has none.
pub fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = read(path)?;
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| TlsError::Empty { path: path.into(), what: "private key" })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsError::Read { path: path.into(), error })
}
