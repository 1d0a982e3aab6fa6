//! What a chain may end at.
//!
//! Production trusts AMD's three roots, by the SHA-384 of their SubjectPublicKeyInfo, and nothing else: the list is a
//! constant, and no setting, variable, file or argument adds to it. The certificates themselves come with the
//! evidence or as collateral.

use super::crypto::{AwsLc, Provider};
use claims::bytes::Digest384;
use claims::snp::Product;

/// AMD's roots. There is nothing to construct and nothing to configure.
#[derive(Debug, Clone, Copy)]
pub struct ProductionRoots;

impl ProductionRoots {
    /// The product whose root has this key.
    pub fn product_of(spki: &Digest384) -> Option<Product> {
        PINNED.iter().find(|(_, pinned)| pinned == &spki.0).map(|(product, _)| *product)
    }

    /// The SHA-384 of the SubjectPublicKeyInfo of a product's root.
    pub fn pin(product: Product) -> Digest384 {
        Digest384(match product {
            Product::Milan => MILAN,
            Product::Genoa => GENOA,
            Product::Turin => TURIN,
        })
    }
}

/// A root that the caller brings, for an emulated processor or a forged test chain. What is checked against it becomes
/// an [`super::UnanchoredReport`], never a [`super::VerifiedReport`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnanchoredRoot {
    /// SHA-384 of the root's SubjectPublicKeyInfo.
    pub spki: Digest384,
    /// Product that the chain is for.
    pub product: Product,
    /// Organisation in every name of the chain.
    pub organization: String,
    /// What precedes `ARK-…` and `SEV-…` in the names of root and intermediate.
    pub prefix: String,
    /// What precedes `SEV-VCEK` and `SEV-VLEK` in the endorsement key's name.
    pub vek_prefix: String,
    /// Object identifier of a critical extension that every certificate must then have.
    pub marker: Option<String>,
}

/// Which roots a verification accepts. Not public: the entry points differ in their result's type.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Anchors<'a> {
    Production,
    Unanchored(&'a UnanchoredRoot),
}

impl Anchors<'_> {
    pub(crate) fn product_of(&self, spki: &Digest384) -> Option<Product> {
        match self {
            Self::Production => ProductionRoots::product_of(spki),
            Self::Unanchored(root) => (&root.spki == spki).then_some(root.product),
        }
    }

    /// Whether `certificate` is, byte for byte, a root or intermediate that AMD publishes for `product`: then its
    /// signature need not be computed again. A certificate that differs in any bit takes the long way.
    pub(crate) fn knows(&self, certificate: &[u8], product: Product) -> bool {
        match self {
            Self::Production => KNOWN.contains(&(product, AwsLc::sha256(certificate))),
            Self::Unanchored(_) => false,
        }
    }

    pub(crate) fn organization(&self) -> &str {
        match self {
            Self::Production => "Advanced Micro Devices",
            Self::Unanchored(root) => &root.organization,
        }
    }

    pub(crate) fn prefix(&self) -> &str {
        match self {
            Self::Production => "",
            Self::Unanchored(root) => &root.prefix,
        }
    }

    pub(crate) fn vek_prefix(&self) -> &str {
        match self {
            Self::Production => "",
            Self::Unanchored(root) => &root.vek_prefix,
        }
    }

    pub(crate) fn marker(&self) -> Option<&str> {
        match self {
            Self::Production => None,
            Self::Unanchored(root) => root.marker.as_deref(),
        }
    }
}

/// SHA-384 of the roots' SubjectPublicKeyInfo; the same in four independent projects.
const PINNED: [(Product, [u8; 48]); 3] = [(Product::Milan, MILAN), (Product::Genoa, GENOA), (Product::Turin, TURIN)];
const MILAN: [u8; 48] = [
    0x12, 0x49, 0xf6, 0x7f, 0x15, 0xcf, 0x22, 0x9a, 0x40, 0x69, 0x19, 0x5e, 0x1a, 0x9c, 0xe5, 0x37, 0xd1, 0x76, 0x5e,
    0xf7, 0x06, 0xa1, 0xf4, 0xa1, 0x23, 0xc3, 0x6b, 0xe9, 0x51, 0x87, 0x86, 0x51, 0x5d, 0x25, 0xec, 0xc0, 0x07, 0xf3,
    0x66, 0xb5, 0x64, 0xd2, 0xb3, 0xf3, 0x1c, 0x48, 0x08, 0x2e,
];
const GENOA: [u8; 48] = [
    0x32, 0xab, 0x53, 0xa6, 0xce, 0x5e, 0xc1, 0x49, 0x26, 0x20, 0x73, 0x96, 0xe5, 0xc4, 0x75, 0xae, 0x76, 0x8a, 0x6a,
    0x98, 0x31, 0xb7, 0xe8, 0x60, 0xb5, 0xac, 0xf2, 0xe1, 0xc1, 0xdf, 0xf2, 0x22, 0xbc, 0x5a, 0x8b, 0xfc, 0x43, 0xeb,
    0x5e, 0x06, 0x39, 0x31, 0x89, 0xc1, 0xf2, 0x46, 0xd8, 0x80,
];
const TURIN: [u8; 48] = [
    0x34, 0x75, 0xf0, 0x8a, 0x97, 0x27, 0xf8, 0xac, 0x9a, 0x1d, 0xea, 0xea, 0x5f, 0x2a, 0x20, 0x97, 0xaa, 0x59, 0xd6,
    0x4d, 0x05, 0xc2, 0xa6, 0x78, 0xc2, 0x29, 0xc8, 0x73, 0xe6, 0x35, 0x9d, 0x3a, 0x69, 0x26, 0x28, 0x7a, 0x2a, 0x22,
    0xcd, 0x5f, 0x88, 0xa3, 0x85, 0xe3, 0x33, 0xa2, 0xfc, 0xc5,
];

/// SHA-256 of the certificates (DER) of AMD's roots and intermediates as its key distribution service has them.
/// Their signatures were checked when this list was made, and a test checks them again.
const KNOWN: [(Product, [u8; 32]); 9] = [
    // SEV-Milan
    (
        Product::Milan,
        [
            0x67, 0xd3, 0x03, 0xbd, 0x39, 0x05, 0xfd, 0x38, 0xdb, 0x8b, 0x20, 0xe0, 0x79, 0x36, 0x99, 0x87, 0x0e, 0x7f,
            0xa6, 0x12, 0xea, 0xad, 0x5d, 0xec, 0x35, 0x82, 0x93, 0xfd, 0x8c, 0x0b, 0xac, 0x1b,
        ],
    ),
    // ARK-Milan
    (
        Product::Milan,
        [
            0x69, 0xd0, 0x63, 0xb4, 0x53, 0x44, 0xd2, 0x6a, 0x2e, 0x94, 0xe1, 0xf4, 0x21, 0x0d, 0xe4, 0x9e, 0xf5, 0x55,
            0x30, 0x82, 0x87, 0xd4, 0xc1, 0x74, 0x44, 0x5c, 0x95, 0x63, 0x9a, 0x54, 0x0b, 0xcd,
        ],
    ),
    // SEV-VLEK-Milan
    (
        Product::Milan,
        [
            0xc5, 0xe0, 0x81, 0xf5, 0x9b, 0x7e, 0xfa, 0xb1, 0xfe, 0x2f, 0x8b, 0x50, 0x5e, 0x15, 0x97, 0x04, 0xe7, 0x2f,
            0x29, 0xca, 0xb7, 0xef, 0x7c, 0xf6, 0x28, 0xa0, 0x5a, 0x42, 0x43, 0x90, 0x82, 0xf5,
        ],
    ),
    // SEV-Genoa
    (
        Product::Genoa,
        [
            0x54, 0x64, 0x73, 0x8c, 0x15, 0x46, 0xae, 0xd5, 0xf2, 0xce, 0xcf, 0x1d, 0xc9, 0x8c, 0x5c, 0x96, 0x0a, 0x92,
            0xe8, 0x91, 0x32, 0x38, 0xa6, 0x17, 0x11, 0xbc, 0x90, 0xec, 0x6e, 0x82, 0x85, 0x21,
        ],
    ),
    // ARK-Genoa
    (
        Product::Genoa,
        [
            0x4c, 0x65, 0x98, 0xd1, 0x9c, 0x18, 0x71, 0x9c, 0x5d, 0xfd, 0x4a, 0x7d, 0x33, 0x5f, 0x67, 0x4e, 0x5b, 0xfe,
            0x1d, 0x8f, 0x80, 0x0c, 0xea, 0x2c, 0xf2, 0x70, 0xc1, 0x0d, 0x10, 0x3d, 0xb2, 0xf1,
        ],
    ),
    // SEV-VLEK-Genoa
    (
        Product::Genoa,
        [
            0x19, 0x7e, 0x61, 0x07, 0x43, 0xa9, 0x17, 0xd6, 0xb9, 0xbb, 0x98, 0x2a, 0x5a, 0x92, 0x26, 0xcc, 0xc0, 0xa1,
            0x5b, 0x61, 0x1b, 0xe0, 0x61, 0x9e, 0x62, 0x6a, 0xca, 0x91, 0x51, 0x45, 0x73, 0x72,
        ],
    ),
    // SEV-Turin
    (
        Product::Turin,
        [
            0x5b, 0x77, 0xef, 0x5f, 0xe7, 0xa7, 0xa0, 0x04, 0xfd, 0x90, 0x32, 0x66, 0x8f, 0xba, 0x9d, 0x0f, 0xda, 0x22,
            0xf8, 0x8c, 0x44, 0x42, 0x06, 0x9a, 0x47, 0x96, 0x36, 0xa6, 0xae, 0x3b, 0x31, 0x85,
        ],
    ),
    // ARK-Turin
    (
        Product::Turin,
        [
            0x1f, 0x08, 0x41, 0x61, 0xa4, 0x4b, 0xb6, 0xd9, 0x37, 0x78, 0xa9, 0x04, 0x87, 0x7d, 0x48, 0x19, 0xca, 0xfa,
            0x5d, 0x05, 0xef, 0x41, 0x93, 0xb2, 0xde, 0xd9, 0xdd, 0x9c, 0x73, 0xdd, 0x3f, 0x6a,
        ],
    ),
    // SEV-VLEK-Turin
    (
        Product::Turin,
        [
            0x10, 0x4e, 0x10, 0xa8, 0xbd, 0x06, 0x0a, 0x3c, 0x20, 0xa4, 0x34, 0x26, 0x1a, 0x57, 0xd0, 0x58, 0x8f, 0xd6,
            0x5a, 0x88, 0x91, 0x5b, 0x4f, 0x65, 0xb0, 0x8b, 0xde, 0xca, 0xf8, 0xdf, 0x1a, 0x3c,
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::super::certificate::Certificate;
    use super::super::role::Role;
    use super::*;
    use std::path::{Path, PathBuf};

    #[test]
    fn the_known_certificates_are_signed_by_the_pinned_roots() {
        let folder = std::env::var_os("CONFIDE_VECTORS")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from)
            .join("snp/roots");
        if !folder.exists() {
            eprintln!("skipped: vectors are not here");
            return;
        }
        let der = |name: String| {
            let pem = std::fs::read(folder.join(name)).unwrap();
            x509_cert::der::pem::decode_vec(&pem).unwrap().1
        };
        for product in [Product::Milan, Product::Genoa, Product::Turin] {
            let root = der(format!("ARK-{product}.pem"));
            let root = Certificate::parse(&root, Role::Root).unwrap();
            assert_eq!(ProductionRoots::pin(product).0, AwsLc::sha384(&root.spki));
            for name in ["ARK", "SEV", "SEV-VLEK"] {
                let mut der = der(format!("{name}-{product}.pem"));
                let signed = Certificate::parse(&der, Role::Intermediate).unwrap().signed;
                assert!(AwsLc::rsa_pss_sha384(root.rsa_key().unwrap(), signed.body, signed.signature), "{name}");
                let known = |der: &[u8]| {
                    [Product::Milan, Product::Genoa, Product::Turin]
                        .map(|other| (other, Anchors::Production.knows(der, other)))
                };
                assert!(known(&der).iter().all(|(other, known)| (*other == product) == *known), "{name}-{product}");
                *der.last_mut().unwrap() ^= 1;
                assert!(known(&der).iter().all(|(_, known)| !known), "{name}-{product}, changed");
            }
        }
    }
}
