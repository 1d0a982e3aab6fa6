//! What a chain may end at.
//!
//! Production trusts the key of "Intel SGX Root CA" and nothing else: it is a constant, and no setting, variable, file
//! or argument adds to it. The key is the same in `dcap-qvl` 0.7.1 (`TrustedRootCA.der`), in Automata's `dcap-rs`
//! (`Intel_SGX_Provisioning_Certification_RootCA.pem`) and in the quotes of seven independent platforms (vectors).

use super::certificate::Certificate;
use super::crypto::POINT;
use super::error::{DcapError, Role};
use claims::dcap::DcapRoot;

/// A root that the caller brings, for Intel's test vectors or a forged test chain. What is checked against it becomes
/// an [`super::UnanchoredQuote`], never a [`super::VerifiedQuote`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnanchoredRoot {
    point: [u8; POINT],
}

impl UnanchoredRoot {
    /// Takes the key out of a root certificate in DER.
    pub fn from_der(der: &[u8]) -> Result<Self, DcapError> {
        Certificate::parse(der, Role::Root).map(|root| Self { point: root.point })
    }
}

/// Which root a verification accepts. Not public: the entry points differ in their result's type.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Anchor<'a> {
    Production,
    Unanchored(&'a UnanchoredRoot),
}

impl Anchor<'_> {
    pub(crate) fn point(&self) -> &[u8; POINT] {
        match self {
            Self::Production => &INTEL_SGX_ROOT_CA,
            Self::Unanchored(root) => &root.point,
        }
    }

    pub(crate) fn root(&self) -> DcapRoot {
        match self {
            Self::Production => DcapRoot::Intel,
            Self::Unanchored(_) => DcapRoot::Unanchored,
        }
    }
}

/// The uncompressed P-256 point of Intel's root; the SHA-384 of its SubjectPublicKeyInfo is `3cdf1feb…62377d22`.
const INTEL_SGX_ROOT_CA: [u8; POINT] = [
    0x04, 0x0b, 0xa9, 0xc4, 0xc0, 0xc0, 0xc8, 0x61, 0x93, 0xa3, 0xfe, 0x23, 0xd6, 0xb0, 0x2c, 0xda, 0x10, 0xa8, 0xbb,
    0xd4, 0xe8, 0x8e, 0x48, 0xb4, 0x45, 0x85, 0x61, 0xa3, 0x6e, 0x70, 0x55, 0x25, 0xf5, 0x67, 0x91, 0x8e, 0x2e, 0xdc,
    0x88, 0xe4, 0x0d, 0x86, 0x0b, 0xd0, 0xcc, 0x4e, 0xe2, 0x6a, 0xac, 0xc9, 0x88, 0xe5, 0x05, 0xa9, 0x53, 0x55, 0x8c,
    0x45, 0x3f, 0x6b, 0x09, 0x04, 0xae, 0x73, 0x94,
];
