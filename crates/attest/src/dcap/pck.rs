//! The platform's certificate chain, and the two signatures below it.
//!
//! *Guarantees* of a [`PckChain`]: the platform's certificate chains, over one of Intel's two PCK authorities, to the
//! anchor, and its SGX extension is in its one form. *Does not check* dates and revocation: they are asked for at each
//! use, because a chain may be kept.
//!
//! The root in a quote's chain: `dcap-qvl` ignores it, Intel's library compares it. Here its key must be the pinned one
//! and its self-signature must hold, so that no byte of a quote can change unseen; it may also be left out.

use super::certificate::{self, Certificate, PLATFORM_CA};
use super::crypto;
use super::error::{DcapError, Role};
use super::extension::{PckExtension, SGX_EXTENSION};
use super::quote::Quote;
use super::verified::{Authority, Checked};
use aws_lc_rs::signature::ParsedPublicKey;
use claims::dcap::DcapPlatform;

/// A platform's key that chains to the anchor.
pub(crate) struct PckChain {
    key: ParsedPublicKey,
    pub(crate) extension: PckExtension,
    pub(crate) authority: Authority,
    pub(crate) serial: Vec<u8>,
    pub(crate) valid: (u64, u64),
    pub(crate) root_valid: Option<(u64, u64)>,
}

impl PckChain {
    /// The chain that a quote carries: platform, authority, and root if it is there, in this order.
    pub(crate) fn of_quote(pem: &[u8], checked: &Checked) -> Result<Self, DcapError> {
        let chain = certificate::pem_chain(pem)?;
        let (leaf, authority, root) = match chain.as_slice() {
            [leaf, authority] => (leaf, authority, None),
            [leaf, authority, root] => (leaf, authority, Some(root)),
            [_] => return Err(DcapError::ChainShape { what: "lacks the authority" }),
            _ => return Err(DcapError::ChainShape { what: "has more than three certificates" }),
        };
        let root_valid = root.map(|der| root_of(der, checked)).transpose()?;
        // A check that was made over these bytes is not made again.
        let known = checked.authorities.iter().find(|known| &known.der == authority).cloned();
        let check = || {
            let authority = Certificate::parse(authority, Role::PckCa)?;
            checked.check_signed_by_root(&authority).map(|()| Authority::of(&authority))
        };
        Self::of_leaf(leaf, known.map_or_else(check, Ok)?, root_valid)
    }

    /// A chain to a platform's certificate of the collateral.
    fn of_collateral(leaf: &[u8], checked: &Checked) -> Result<Self, DcapError> {
        let issuer = certificate::common_name(&Certificate::parse(leaf, Role::Pck)?.parsed.issuer).unwrap_or_default();
        let authority = checked.authorities.iter().find(|authority| authority.name == issuer);
        let authority = authority.ok_or(DcapError::ChainShape { what: "lacks the authority" })?;
        Self::of_leaf(leaf, authority.clone(), checked.roots.first().map(|(_, valid)| *valid))
    }

    fn of_leaf(leaf: &[u8], authority: Authority, root_valid: Option<(u64, u64)>) -> Result<Self, DcapError> {
        let leaf = Certificate::parse(leaf, Role::Pck)?;
        if certificate::common_name(&leaf.parsed.issuer).as_deref() != Some(&authority.name) {
            return Err(DcapError::ChainShape { what: "names another authority in the platform's certificate" });
        }
        leaf.check_signed_by(&authority.point)?;
        Ok(Self {
            key: crypto::fixed_key(&leaf.point).ok_or(DcapError::Key { role: Role::Pck })?,
            extension: extension_of(&leaf)?,
            serial: leaf.serial().to_vec(),
            valid: leaf.valid,
            authority,
            root_valid,
        })
    }

    /// Checks what the platform's key vouches for: its signature over the quoting enclave's report, the attestation key
    /// in that, and the attestation key's signature over the quote.
    pub(crate) fn check_signatures(&self, quote: &Quote) -> Result<(), DcapError> {
        if self.key.verify_sig(&quote.qe_report, &quote.qe_signature).is_err() {
            return Err(DcapError::QeReportSignature);
        }
        let named = [quote.attestation_key.as_slice(), &quote.qe_authentication].concat();
        let report_data = quote.qe_report.get(QE_REPORT_DATA..).unwrap_or_default();
        if report_data != [crypto::sha256(&named), [0; 32]].concat() {
            return Err(DcapError::QeReportData);
        }
        let mut point = [4; crypto::POINT];
        for (to, from) in point.iter_mut().skip(1).zip(&quote.attestation_key) {
            *to = *from;
        }
        match crypto::verify_fixed(&point, &quote.signed, &quote.signature) {
            true => Ok(()),
            false => Err(DcapError::Signature),
        }
    }

    pub(crate) fn platform(&self) -> DcapPlatform {
        self.extension.claims(authority_kind(&self.authority.name), &self.serial)
    }
}

/// The chain of a quote whose signatures hold under it: the quote's own, else one of the collateral.
pub(crate) fn of_quote_or_collateral(quote: &Quote, checked: &Checked) -> Result<PckChain, DcapError> {
    if let Some(pem) = quote.pck_chain() {
        return PckChain::of_quote(pem, checked);
    }
    let mut chains = checked.leaves.iter().take(MAX_LEAVES).map(|leaf| PckChain::of_collateral(leaf, checked));
    let first = chains.next().ok_or(DcapError::NoChain { kind: quote.certification_type() })??;
    if first.check_signatures(quote) != Err(DcapError::QeReportSignature) {
        return Ok(first);
    }
    let fits = |chain: &PckChain| chain.check_signatures(quote) != Err(DcapError::QeReportSignature);
    Ok(chains.filter_map(Result::ok).find(fits).unwrap_or(first))
}

impl Quote {
    /// The platform, as the chain in the quote says. Not true before verification: choose collateral by its FMSPC and
    /// authority, and trust nothing.
    pub fn claimed_platform(&self) -> Result<DcapPlatform, DcapError> {
        let pem = self.pck_chain().ok_or(DcapError::NoChain { kind: self.certification_type() })?;
        let chain = certificate::pem_chain(pem)?;
        let leaf = chain.first().ok_or(DcapError::ChainShape { what: "is empty" })?;
        let leaf = Certificate::parse(leaf, Role::Pck)?;
        let issuer = certificate::common_name(&leaf.parsed.issuer).unwrap_or_default();
        Ok(extension_of(&leaf)?.claims(authority_kind(&issuer), leaf.serial()))
    }
}

/// Offset of `REPORT_DATA` in the quoting enclave's report.
const QE_REPORT_DATA: usize = 320;
/// Most platform certificates of the collateral that are tried.
const MAX_LEAVES: usize = 16;

fn extension_of(leaf: &Certificate<'_>) -> Result<PckExtension, DcapError> {
    let extension = leaf.extensions().iter().find(|extension| extension.extn_id == SGX_EXTENSION);
    let extension = extension.ok_or(DcapError::Extension { what: "it is missing" })?;
    PckExtension::parse(extension.extn_value.as_bytes())
}

fn authority_kind(name: &str) -> &'static str {
    if name == PLATFORM_CA { "platform" } else { "processor" }
}

/// Validity of a root that comes along.
fn root_of(der: &[u8], checked: &Checked) -> Result<(u64, u64), DcapError> {
    if let Some((_, valid)) = checked.roots.iter().find(|(known, _)| known == der) {
        return Ok(*valid);
    }
    let root = Certificate::parse(der, Role::Root)?;
    root.check_pinned(&checked.anchor)?;
    checked.check_signed_by_root(&root)?;
    Ok(root.valid)
}
