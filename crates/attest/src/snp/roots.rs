//! What a chain may end at.
//!
//! Production trusts AMD's three roots, by the SHA-384 of their SubjectPublicKeyInfo, and nothing else: the list is a
//! constant, and no setting, variable, file or argument adds to it. The certificates themselves come with the
//! evidence or as collateral.

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
