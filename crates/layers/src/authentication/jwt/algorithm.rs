//! The algorithms of JSON Web Signatures (RFC 7518, RFC 8037), and the keys that go with each. A key is only ever used with
//! the algorithms of its own kind: a public key is never taken for the secret of a MAC.

use ring::{hmac, signature};

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
    /// HMAC with SHA-256 and a shared secret.
    Hs256,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
        Self::Hs256,
    ];

    /// Its name, as tokens and configs have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
            Self::Hs256 => "HS256",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }
}

/// What checks signatures.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum VerifyingKey {
    /// Modulus and exponent.
    Rsa { n: Vec<u8>, e: Vec<u8> },
    /// A point on P-256, uncompressed.
    P256(Vec<u8>),
    /// A point on P-384, uncompressed.
    P384(Vec<u8>),
    /// A point on edwards25519.
    Ed25519(Vec<u8>),
    /// A shared secret.
    Secret(Vec<u8>),
}

/// Secrets are in no log.
impl std::fmt::Debug for VerifyingKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Rsa { .. } => "Rsa",
            Self::P256(_) => "P256",
            Self::P384(_) => "P384",
            Self::Ed25519(_) => "Ed25519",
            Self::Secret(_) => "Secret",
        })
    }
}

impl VerifyingKey {
    /// Whether tokens of this algorithm can be checked with it.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        use Algorithm::{EdDsa, Es256, Es384, Hs256, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
        match self {
            Self::Rsa { .. } => matches!(algorithm, Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512),
            Self::P256(_) => algorithm == Es256,
            Self::P384(_) => algorithm == Es384,
            Self::Ed25519(_) => algorithm == EdDsa,
            Self::Secret(_) => algorithm == Hs256,
        }
    }

    /// Whether this is the signature of `message`, made with that algorithm. RSA keys of less than 2048 bits sign nothing.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signed: &[u8]) -> bool {
        use Algorithm::{EdDsa, Es256, Es384, Hs256, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
        let rsa = |parameters: &'static signature::RsaParameters, n: &Vec<u8>, e: &Vec<u8>| {
            signature::RsaPublicKeyComponents { n, e }.verify(parameters, message, signed).is_ok()
        };
        let point = |parameters: &'static dyn signature::VerificationAlgorithm, key: &Vec<u8>| {
            signature::UnparsedPublicKey::new(parameters, key).verify(message, signed).is_ok()
        };
        match (self, algorithm) {
            (Self::Rsa { n, e }, Rs256) => rsa(&signature::RSA_PKCS1_2048_8192_SHA256, n, e),
            (Self::Rsa { n, e }, Rs384) => rsa(&signature::RSA_PKCS1_2048_8192_SHA384, n, e),
            (Self::Rsa { n, e }, Rs512) => rsa(&signature::RSA_PKCS1_2048_8192_SHA512, n, e),
            (Self::Rsa { n, e }, Ps256) => rsa(&signature::RSA_PSS_2048_8192_SHA256, n, e),
            (Self::Rsa { n, e }, Ps384) => rsa(&signature::RSA_PSS_2048_8192_SHA384, n, e),
            (Self::Rsa { n, e }, Ps512) => rsa(&signature::RSA_PSS_2048_8192_SHA512, n, e),
            (Self::P256(key), Es256) => point(&signature::ECDSA_P256_SHA256_FIXED, key),
            (Self::P384(key), Es384) => point(&signature::ECDSA_P384_SHA384_FIXED, key),
            (Self::Ed25519(key), EdDsa) => point(&signature::ED25519, key),
            (Self::Secret(secret), Hs256) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                hmac::verify(&key, message, signed).is_ok()
            }
            // Of another kind than the key: whatever it is signed with, it is not this.
            (
                Self::Rsa { .. } | Self::P256(_) | Self::P384(_) | Self::Ed25519(_) | Self::Secret(_),
                Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512 | Es256 | Es384 | EdDsa | Hs256,
            ) => false,
        }
    }
}
