//! What a chain may end at.
//!
//! Production trusts the key of "Intel SGX Root CA" and nothing else: it is a constant, and no setting, variable, file
//! or argument adds to it. The key is the same in `dcap-qvl` 0.7.1 (`TrustedRootCA.der`), in Automata's `dcap-rs`
//! (`Intel_SGX_Provisioning_Certification_RootCA.pem`) and in the quotes of seven independent platforms (vectors).

use super::certificate::Certificate;
use super::crypto::{self, POINT};
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

/// Whether Intel published this certificate, and its root signed it.
pub(crate) fn is_published(der: &[u8]) -> bool {
    PUBLISHED.contains(&crypto::sha256(der))
}

/// The uncompressed P-256 point of Intel's root; the SHA-384 of its SubjectPublicKeyInfo is `3cdf1feb…62377d22`.
const INTEL_SGX_ROOT_CA: [u8; POINT] = [
    0x04, 0x0b, 0xa9, 0xc4, 0xc0, 0xc0, 0xc8, 0x61, 0x93, 0xa3, 0xfe, 0x23, 0xd6, 0xb0, 0x2c, 0xda, 0x10, 0xa8, 0xbb,
    0xd4, 0xe8, 0x8e, 0x48, 0xb4, 0x45, 0x85, 0x61, 0xa3, 0x6e, 0x70, 0x55, 0x25, 0xf5, 0x67, 0x91, 0x8e, 0x2e, 0xdc,
    0x88, 0xe4, 0x0d, 0x86, 0x0b, 0xd0, 0xcc, 0x4e, 0xe2, 0x6a, 0xac, 0xc9, 0x88, 0xe5, 0x05, 0xa9, 0x53, 0x55, 0x8c,
    0x45, 0x3f, 0x6b, 0x09, 0x04, 0xae, 0x73, 0x94,
];

/// SHA-256 of certificates that Intel published and its root signed, as a test shows: their signatures are not checked
/// again. Names, keys, constraints, dates and revocation are. Any other certificate is checked in full.
const PUBLISHED: [[u8; 32]; 5] = [
    // Intel SGX Root CA, from 2018-05-21.
    [
        0x44, 0xa0, 0x19, 0x6b, 0x2b, 0x99, 0xf8, 0x89, 0xb8, 0xe1, 0x49, 0xe9, 0x5b, 0x80, 0x7a, 0x35, 0x0e, 0x74,
        0x24, 0x96, 0x43, 0x99, 0xe8, 0x85, 0xa7, 0xcb, 0xb8, 0xcc, 0xfa, 0xb6, 0x74, 0xd3,
    ],
    // Intel SGX PCK Processor CA, from 2018-05-21.
    [
        0x13, 0xb2, 0xdc, 0xce, 0xf8, 0xfc, 0x4e, 0xc9, 0x77, 0xee, 0x52, 0x49, 0x74, 0x3b, 0x0f, 0x75, 0x8e, 0xbd,
        0x1e, 0x28, 0xd7, 0x68, 0xb2, 0xe1, 0xe1, 0x2b, 0xc3, 0x48, 0xad, 0xaa, 0x09, 0xfb,
    ],
    // Intel SGX PCK Platform CA, from 2018-05-21.
    [
        0x22, 0xeb, 0x77, 0x0d, 0xca, 0x21, 0x5b, 0x60, 0x7b, 0x5c, 0xcf, 0xc2, 0x1a, 0x67, 0x2b, 0x1d, 0xa5, 0xcc,
        0x66, 0x0b, 0x1a, 0xd0, 0x36, 0x50, 0x20, 0x56, 0x79, 0x79, 0xed, 0xca, 0xa0, 0xe1,
    ],
    // Intel SGX TCB Signing, from 2018-05-21.
    [
        0xec, 0x37, 0xd9, 0x81, 0x07, 0xbf, 0xb7, 0xda, 0xb6, 0xff, 0x8d, 0xe4, 0xd4, 0xdd, 0xa6, 0xfd, 0xe3, 0x0a,
        0x6f, 0x50, 0xb0, 0xd7, 0xb0, 0x3e, 0xef, 0xb5, 0x65, 0x2f, 0x1e, 0x65, 0x29, 0x69,
    ],
    // Intel SGX TCB Signing, from 2025-05-06.
    [
        0xc0, 0x57, 0x5e, 0x76, 0xd0, 0x30, 0x3b, 0x61, 0xd0, 0x9c, 0xde, 0x8c, 0xbd, 0xb7, 0x0d, 0xb3, 0x4a, 0x74,
        0xf3, 0x83, 0x18, 0x30, 0x0d, 0x7c, 0x0e, 0x6b, 0xa8, 0xcf, 0x4b, 0xf4, 0x5a, 0xea,
    ],
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dcap::Collateral;
    use std::path::Path;

    #[test]
    fn what_is_known_by_digest_was_signed_by_the_root() {
        let folder = std::env::var_os("CONFIDE_VECTORS").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
            std::path::PathBuf::from,
        );
        let mut heap = Collateral::new();
        for name in ["sgx/mobilecoin_v3_00906ED50000", "sgx/phala_v3_00A067110000", "tdx/phala_v4_B0C06F000000"] {
            let Ok(bundle) = std::fs::read(folder.join(name).join("collateral.json")) else {
                println!("skipped: vectors are not here");
                return;
            };
            heap.add(&bundle).unwrap();
        }
        for known in PUBLISHED {
            let der = heap.certificates.iter().find(|der| crypto::sha256(der) == known).unwrap();
            let certificate = Certificate::parse_any(der).unwrap();
            certificate.check_signed_by(&INTEL_SGX_ROOT_CA).unwrap();
        }
    }
}
