//! RIMs: reference integrity manifests of NVIDIA's, TCG SWID tags with an enveloped XML signature.
//!
//! *Takes* the XML and the time. *Guarantees* of a [`VerifiedRim`]: its one signature covers the whole document, its
//! signer's chain ends at the root, in date at the time given; and what is read comes from the very bytes that were
//! digested (the canonical form, parsed anew), so no trick with two readings of one document can work.
//! *Does not check* which device it is for: the appraisal does.

mod canonical;
mod document;
mod signature;

pub use document::{Document, Resource};

use super::certificate::{ChainError, sha384, signed_fixed, verify_chain};
use super::ocsp::{self, OcspQuestion};
use super::revocation::{RevocationError, RevocationInput};
use super::roots::{NvidiaRoots, Roots};
use claims::bytes::{Digest256, Digest384};
use claims::nvgpu::{GoldenMeasurements, Revocation};
use claims::{Code, Finding, Refusal, UnixTime};
use signature::Signature;

/// Longest RIM that is read; real ones have less than 32 KiB.
pub const MAX_RIM: usize = 1024 * 1024;

/// Why a RIM was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RimError {
    /// More bytes than any RIM has.
    #[error("the RIM has {got} bytes, at most 1048576 are read")]
    TooLong {
        /// Found.
        got: usize,
    },
    /// Not well-formed XML in UTF-8.
    #[error("the RIM is not XML: {what}")]
    Xml {
        /// What is wrong.
        what: String,
    },
    /// Well-formed XML that a RIM of NVIDIA's has no use for: comments, entities, processing instructions, `xml:*`.
    #[error("the RIM holds {what}, which the profile does not have")]
    Construct {
        /// What was found.
        what: &'static str,
    },
    /// Not the one signature of the profile.
    #[error("the RIM's signature is not in the profile: {what}")]
    Profile {
        /// What is wrong.
        what: String,
    },
    /// Not the SWID tag of the profile.
    #[error("the RIM's content is not in the profile: {what}")]
    Content {
        /// What is wrong.
        what: String,
    },
    /// A certificate of the signer's chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// Revocation of the signer's chain.
    #[error(transparent)]
    Revocation(#[from] RevocationError),
    /// ECDSA P-384 over the canonical form of `SignedInfo`.
    #[error("the signature of the RIM is wrong")]
    Signature,
    /// SHA-384 over the canonical form of the document without its signature.
    #[error("the RIM was changed: its digest is {got}, the signed one is {wanted}")]
    Digest {
        /// Computed.
        got: Digest384,
        /// Signed.
        wanted: Digest384,
    },
}

impl Refusal for RimError {
    fn code(&self) -> Code {
        match self {
            Self::TooLong { .. } | Self::Xml { .. } | Self::Content { .. } => Code::RimFormat,
            Self::Construct { .. } | Self::Profile { .. } => Code::RimProfile,
            Self::Chain(ChainError::RootNotPinned { .. }) => Code::RimRoot,
            Self::Chain(ChainError::Time { .. }) => Code::RimExpired,
            Self::Chain(_) => Code::RimChain,
            Self::Revocation(error) => error.code(),
            Self::Signature | Self::Digest { .. } => Code::RimSignature,
        }
    }

    fn finding(&self) -> Option<Finding> {
        match self {
            Self::Digest { got, wanted } => Some(Finding::new("DigestValue", got, wanted)),
            _ => None,
        }
    }
}

/// A RIM as it came, in the profile. Nothing is known about who signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rim {
    digest: Digest256,
    canonical: String,
    signature: Signature,
    document: Document,
}

/// A RIM whose signer's chain ends at the roots `R`. With [`NvidiaRoots`], the default, NVIDIA signed it.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedRim<R: Roots = NvidiaRoots> {
    roots: R,
    digest: Digest256,
    document: Document,
    checked_at: UnixTime,
    signer_until: u64,
    revocation: Vec<Revocation>,
}

impl Rim {
    /// Parses a RIM. For fuzzing, this is a plain function of bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, RimError> {
        if bytes.len() > MAX_RIM {
            return Err(RimError::TooLong { got: bytes.len() });
        }
        let text = std::str::from_utf8(bytes).map_err(|error| RimError::Xml { what: error.to_string() })?;
        let source = canonical::parse(text)?;
        let signature = Signature::read(&source)?;
        let canonical = canonical::document(&source, signature::find(&source)?)?;
        let document = Document::read(&canonical)?;
        Ok(Self { digest: Digest256::of(bytes), canonical, signature, document })
    }

    /// What the document says. Nothing of it is true yet.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// What to ask a responder: about the signer and every authority below the root.
    pub fn ocsp_questions(&self) -> Vec<OcspQuestion> {
        ocsp::questions(&self.signature.certificates, 0)
    }

    /// Verifies chain, revocation, signature and digest at the time given. Production gives [`NvidiaRoots`].
    ///
    /// Signers live for about two years. To go on using values after that, import them in time:
    /// [`VerifiedRim::golden`].
    pub fn verify<R: Roots>(
        &self,
        roots: &R,
        revocation: &RevocationInput,
        now: UnixTime,
    ) -> Result<VerifiedRim<R>, RimError> {
        attested(self, roots, revocation, now)
    }
}

impl<R: Roots> VerifiedRim<R> {
    /// What the document says.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The time that was given as now.
    pub fn checked_at(&self) -> UnixTime {
        self.checked_at
    }

    /// The first end of validity in the chain, seconds since 1970.
    pub fn signer_until(&self) -> u64 {
        self.signer_until
    }

    /// What was known about revocation, signer first.
    pub fn revocation(&self) -> &[Revocation] {
        &self.revocation
    }

    /// The reference values, to be compared now or to be kept: kept values do not expire with their signer.
    pub fn golden(&self) -> GoldenMeasurements {
        let document = &self.document;
        GoldenMeasurements {
            version: 1,
            tag_id: document.tag_id.clone(),
            product: document.product.clone(),
            edition: document.edition.clone(),
            colloquial_version: document.colloquial_version.clone(),
            rim: self.digest,
            root: self.roots.rim(),
            verified_at: self.checked_at,
            signer_until: UnixTime(self.signer_until),
            measurements: document.golden(),
        }
    }
}

/// The whole verification. `grep attested` finds every place where trust begins.
fn attested<R: Roots>(
    rim: &Rim,
    roots: &R,
    revocation: &RevocationInput,
    now: UnixTime,
) -> Result<VerifiedRim<R>, RimError> {
    let signature = &rim.signature;
    // Signer, L3, chip, root; L3 and chip authority may be one or three.
    let chain = verify_chain(&signature.certificates, 3..=5, &roots.rim(), now)?;
    let revocation = revocation.check(&chain, 0, now)?;
    let key = chain.first().map_or(&[][..], |signer| signer.key.as_slice());
    if !signed_fixed(key, signature.signed_info.as_bytes(), &signature.value) {
        return Err(RimError::Signature);
    }
    let got = sha384(rim.canonical.as_bytes());
    if got != signature.digest {
        return Err(RimError::Digest { got, wanted: signature.digest });
    }
    Ok(VerifiedRim {
        roots: roots.clone(),
        digest: rim.digest,
        document: rim.document.clone(),
        checked_at: now,
        signer_until: chain.iter().map(|certificate| certificate.valid.1).min().unwrap_or(0),
        revocation,
    })
}
