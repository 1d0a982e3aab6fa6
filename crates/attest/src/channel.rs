//! The channel to a broker: TLS whose server is known by one pinned key, not by names, authorities or the clock.
//!
//! *Takes* the SHA-256 of the SubjectPublicKeyInfo of the broker's offline identity, and the certificates a server
//! presents.
//! *Guarantees* that the handshake was signed by a leaf which that identity's key issued directly: the chain has
//! a CA certificate with the pinned key, the leaf's signature verifies under it (webpki), and the leaf is an end entity
//! certificate for servers.
//! *Does not check* names, revocation and the wall clock (in a confidential VM the host sets it): the leaf is checked at
//! the start of its own validity. Other certificates that the server sends are ignored.
//!
//! The identity itself is never a server certificate: its key stays offline, so a server that presents it as its leaf
//! is refused, with or without the CA flag.

use claims::Digest256;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, SignatureScheme};
use std::sync::Arc;
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage as KeyUsageExtension};

/// Certificates looked at in one handshake; a broker sends two.
const MAX_PRESENTED: usize = 8;
/// id-kp-documentSigning, 1.3.6.1.5.5.7.3.36 (RFC 9336 section 3.1), as DER content.
const DOCUMENT_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 36];

/// Why a server is not the pinned one. It travels inside `rustls::Error`; [`ChannelError::of`] finds it again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// More certificates than a broker ever sends.
    #[error("the server presents {got} certificates, at most {MAX_PRESENTED} are read")]
    TooMany {
        /// Certificates presented.
        got: usize,
    },
    /// A certificate does not parse.
    #[error("certificate {place} of the server does not parse")]
    Malformed {
        /// Place in the list, the leaf is 0.
        place: usize,
    },
    /// No certificate has the pinned key.
    #[error("none of the server's certificates has the pinned identity {wanted}")]
    Identity {
        /// SHA-256 of the key wanted.
        wanted: Digest256,
    },
    /// The certificate with the pinned key may not issue others.
    #[error("the certificate of the pinned identity is not a certificate authority")]
    NotAuthority,
    /// The leaf is not one that the identity issued for a server.
    #[error("the server's certificate was not issued by the pinned identity: {reason}")]
    Leaf {
        /// What webpki says.
        reason: String,
    },
}

impl ChannelError {
    /// The channel's own reason inside an error of a TLS connection, where there is one.
    pub fn of(error: &rustls::Error) -> Option<&Self> {
        match error {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => inner.downcast_ref(),
            _ => None,
        }
    }
}

impl From<ChannelError> for rustls::Error {
    fn from(error: ChannelError) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
    }
}

/// A server known by the key of its offline identity.
#[derive(Debug)]
pub struct Pinned {
    identity: Digest256,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    /// Accepts the identity whose SubjectPublicKeyInfo (DER) has this SHA-256.
    pub fn new(identity: Digest256) -> Self {
        Self { identity, provider: Arc::new(aws_lc_rs::default_provider()) }
    }

    /// A TLS 1.2/1.3 client configuration that trusts nothing else. It reads no clock and resumes no session, so that
    /// every connection is checked whole.
    pub fn client_config(self) -> Result<ClientConfig, rustls::Error> {
        let provider = self.provider.clone();
        let mut config = ClientConfig::builder_with_details(provider, Arc::new(NoClock))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(self))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    /// The raw public key of a certificate that the identity issued for signing documents (RFC 9336): the key behind the
    /// heads of a broker's audit log. A server's certificate is none, and the other way round.
    pub fn signer_of_documents(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
    ) -> Result<Vec<u8>, ChannelError> {
        self.check(leaf, others, KeyUsage::required(DOCUMENT_SIGNING))?;
        let malformed = || ChannelError::Malformed { place: 0 };
        let certificate = Certificate::from_der(leaf).map_err(|_| malformed())?;
        let key = certificate.tbs_certificate.subject_public_key_info.subject_public_key;
        key.as_bytes().map(<[u8]>::to_vec).ok_or_else(malformed)
    }

    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        usage: KeyUsage,
    ) -> Result<(), ChannelError> {
        if others.len() >= MAX_PRESENTED {
            return Err(ChannelError::TooMany { got: others.len().saturating_add(1) });
        }
        let start = Certificate::from_der(leaf)
            .map_err(|_| ChannelError::Malformed { place: 0 })?
            .tbs_certificate
            .validity
            .not_before
            .to_unix_duration();
        let identity = self.identity_among(others)?;
        let refused = |error: webpki::Error| ChannelError::Leaf { reason: format!("{error:?}") };
        let anchor = anchor_from_trusted_cert(identity).map_err(refused)?;
        let leaf = EndEntityCert::try_from(leaf).map_err(refused)?;
        leaf.verify_for_usage(
            self.provider.signature_verification_algorithms.all,
            &[anchor],
            &[],
            UnixTime::since_unix_epoch(start),
            usage,
            None,
            None,
        )
        .map_err(refused)?;
        Ok(())
    }

    fn identity_among<'a>(&self, others: &'a [CertificateDer<'a>]) -> Result<&'a CertificateDer<'a>, ChannelError> {
        for (index, presented) in others.iter().enumerate() {
            let malformed = |_| ChannelError::Malformed { place: index.saturating_add(1) };
            let certificate = Certificate::from_der(presented).map_err(malformed)?.tbs_certificate;
            let key = certificate.subject_public_key_info.to_der().map_err(malformed)?;
            if Digest256::of(&key) != self.identity {
                continue;
            }
            let basic = certificate.get::<BasicConstraints>().map_err(malformed)?;
            let usage = certificate.get::<KeyUsageExtension>().map_err(malformed)?;
            let may_issue =
                basic.is_some_and(|(_, basic)| basic.ca) && usage.is_none_or(|(_, usage)| usage.key_cert_sign());
            return if may_issue { Ok(presented) } else { Err(ChannelError::NotAuthority) };
        }
        Err(ChannelError::Identity { wanted: self.identity })
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity, intermediates, KeyUsage::server_auth())?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The guest's clock is the host's word: rustls is told a fixed time, which nothing here uses.
#[derive(Debug)]
struct NoClock;

impl TimeProvider for NoClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::ZERO))
    }
}
