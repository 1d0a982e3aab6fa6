//! The vendor's certificates that a report is verified with: chosen by what the report says, never by their order.

use super::certificate::{Certificate, MAX_CERTIFICATE};
use super::crypto::{AwsLc, Provider};
use super::extensions;
use super::report::Report;
use super::role::Role;
use super::roots::ProductionRoots;
use super::table::{CertificateTable, Entry};
use crate::signed::Signed;
use claims::bytes::Digest384;
use claims::snp::{Product, SigningKey};
use x509_cert::certificate::TbsCertificate;
use x509_cert::der::{Decode, Encode};

/// A chain in DER, and a revocation list. Untrusted: verification takes it apart. An empty part is missing.
///
/// Only the *keys* of AMD's roots are pinned, by digest, so root and intermediate have to come along, from the host's
/// certificate table or as collateral.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endorsements {
    /// Certificate of the key that signed the report (VCEK or VLEK).
    pub vek: Vec<u8>,
    /// ASK or ASVK.
    pub intermediate: Vec<u8>,
    /// ARK.
    pub root: Vec<u8>,
    /// Revocation list.
    pub crl: Option<Vec<u8>>,
}

/// Certificates and lists from files, services and tables: a heap to choose from.
#[derive(Debug, Clone, Default)]
pub struct Collateral {
    certificates: Vec<Vec<u8>>,
    lists: Vec<Vec<u8>>,
}

/// A file that holds neither certificate nor list, or too much of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CollateralError {
    /// Neither DER nor PEM of a certificate or a list.
    #[error("this is neither a certificate nor a revocation list, in DER or in PEM: {what}")]
    Form {
        /// What is wrong.
        what: String,
    },
    /// More than 64 pieces.
    #[error("more than {MAX_PIECES} certificates and lists")]
    TooMany,
}

/// Most certificates and lists in one heap.
const MAX_PIECES: usize = 64;

impl Collateral {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the contents of a file: one DER certificate or list, or any number of them in PEM.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), CollateralError> {
        let form = |what: String| CollateralError::Form { what };
        if bytes.first() == Some(&0x30) {
            return self.add_der(bytes);
        }
        let text = std::str::from_utf8(bytes).map_err(|error| form(error.to_string()))?;
        let mut rest = text;
        let mut found = false;
        while let Some(start) = rest.find("-----BEGIN ") {
            let block = rest.get(start..).unwrap_or("");
            let end = block
                .find("-----END ")
                .and_then(|at| block.get(at..)?.find('\n').map_or(Some(block.len()), |line| at.checked_add(line)))
                .ok_or_else(|| form("a PEM block does not end".to_owned()))?;
            let pem = block.get(..end).unwrap_or("");
            let (label, der) =
                x509_cert::der::pem::decode_vec(pem.as_bytes()).map_err(|error| form(error.to_string()))?;
            if !matches!(label, "CERTIFICATE" | "X509 CRL") {
                return Err(form(format!("a PEM block is a `{label}`")));
            }
            self.add_der(&der)?;
            found = true;
            rest = block.get(end..).unwrap_or("");
        }
        if found { Ok(()) } else { Err(form("no PEM block".to_owned())) }
    }

    fn add_der(&mut self, der: &[u8]) -> Result<(), CollateralError> {
        let form = |what: String| CollateralError::Form { what };
        if self.certificates.len().saturating_add(self.lists.len()) >= MAX_PIECES {
            return Err(CollateralError::TooMany);
        }
        let signed = Signed::take(der).map_err(|error| form(error.to_string()))?;
        if der.len() <= MAX_CERTIFICATE && TbsCertificate::from_der(signed.body).is_ok() {
            self.certificates.push(der.to_vec());
            return Ok(());
        }
        x509_cert::crl::TbsCertList::from_der(signed.body).map_err(|error| form(error.to_string()))?;
        self.lists.push(der.to_vec());
        Ok(())
    }
}

impl Endorsements {
    /// Chooses what a report needs from the host's table and from collateral.
    ///
    /// The endorsement key is chosen by the kind that the report says, root and intermediate by issuer; when several
    /// fit, one whose key is pinned or whose patch levels can match is preferred. Whatever is chosen is verified
    /// later, so a bad choice refuses and never accepts.
    pub fn choose(report: &Report, table: &CertificateTable, collateral: &Collateral) -> Self {
        let wanted = match report.signing_key() {
            SigningKey::Vcek => Entry::Vcek,
            SigningKey::Vlek => Entry::Vlek,
        };
        let heap: Vec<&[u8]> = [Entry::Ask, Entry::Ark]
            .into_iter()
            .filter_map(|kind| table.entry(kind))
            .chain(collateral.certificates.iter().map(Vec::as_slice))
            .collect();
        // A store may hold a chip's keys of before and after an update, and a host may hand over an old one: the key of
        // the reported TCB wins, wherever it lies.
        let fitting = || heap.iter().copied().filter(|der| is_vek_of(der, report));
        let given = table.entry(wanted);
        let vek = given.into_iter().chain(fitting()).find(|der| is_vek_of(der, report) && is_of_tcb(der, report));
        let vek = vek.or(given).or_else(|| fitting().next()).map(<[u8]>::to_vec).unwrap_or_default();
        let intermediate = issuer_of(&vek, &heap);
        let root = issuer_of(&intermediate, &heap);
        let root_name = parse(&root).and_then(|root| root.subject.to_der().ok());
        let crl = collateral
            .lists
            .iter()
            .map(Vec::as_slice)
            .chain(table.entry(Entry::Crl))
            .find(|der| root_name.is_some() && list_issuer(der) == root_name)
            .map(<[u8]>::to_vec);
        Self { vek, intermediate, root, crl }
    }
}

fn parse(der: &[u8]) -> Option<TbsCertificate> {
    if der.len() > MAX_CERTIFICATE {
        return None;
    }
    Signed::take(der).ok().and_then(|signed| TbsCertificate::from_der(signed.body).ok())
}

fn list_issuer(der: &[u8]) -> Option<Vec<u8>> {
    let signed = Signed::take(der).ok()?;
    x509_cert::crl::TbsCertList::from_der(signed.body).ok()?.issuer.to_der().ok()
}

/// A certificate whose subject is the issuer of `der`; one with a pinned key first, then the first that fits.
fn issuer_of(der: &[u8], heap: &[&[u8]]) -> Vec<u8> {
    let Some(issuer) = parse(der).map(|parsed| parsed.issuer) else { return Vec::new() };
    let mut fitting: Vec<(&[u8], bool)> = heap
        .iter()
        .filter_map(|candidate| {
            let parsed = parse(candidate).filter(|parsed| parsed.subject == issuer)?;
            let spki = parsed.subject_public_key_info.to_der().ok()?;
            let pinned = ProductionRoots::product_of(&Digest384(AwsLc::sha384(&spki))).is_some();
            Some((*candidate, pinned))
        })
        .collect();
    fitting.sort_by_key(|(_, pinned)| !pinned);
    fitting.first().map(|(der, _)| der.to_vec()).unwrap_or_default()
}

/// Whether a certificate is for the TCB that the report says. It is a hint for the choice; verification compares them.
fn is_of_tcb(der: &[u8], report: &Report) -> bool {
    let Ok(vek) = Certificate::parse(der, Role::Vek) else { return false };
    let products = match report.product() {
        Some(product) => vec![product],
        None => vec![Product::Milan, Product::Genoa],
    };
    products.into_iter().any(|product| {
        extensions::read(&vek, report.signing_key(), product)
            .is_ok_and(|read| read.tcb == report.claimed().reported_tcb)
    })
}

/// Whether a certificate looks like the endorsement key of this report: kind by name, chip by hardware id.
fn is_vek_of(der: &[u8], report: &Report) -> bool {
    let Some(parsed) = parse(der) else { return false };
    let subject = parsed.subject.to_string();
    let kind = match report.signing_key() {
        SigningKey::Vcek => "SEV-VCEK",
        SigningKey::Vlek => "SEV-VLEK",
    };
    let hardware_id = parsed
        .extensions
        .iter()
        .flatten()
        .find(|extension| extension.extn_id.to_string() == "1.3.6.1.4.1.3704.1.4")
        .map(|extension| extension.extn_value.as_bytes());
    let chip = report.claimed().chip_id;
    let length = if report.product() == Some(Product::Turin) { 8 } else { 64 };
    let same_chip = match report.signing_key() {
        SigningKey::Vcek => hardware_id.is_some() && hardware_id == chip.as_bytes().get(..length),
        SigningKey::Vlek => hardware_id.is_none(),
    };
    subject.split(',').any(|part| part.trim().strip_prefix("CN=").is_some_and(|name| name.ends_with(kind))) && same_chip
}
