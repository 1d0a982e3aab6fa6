//! What Intel says about platforms, as files, answers of PCS and PCCS, and bundles: a heap to choose from.
//!
//! *Takes* bytes of unknown kind. *Guarantees* only that each piece is of a known kind, and that signed texts are kept
//! byte by byte. *Does not check* who signed anything: [`Collateral::verify`] does, once for all pieces.

use super::certificate::{self, Certificate};
use super::crl::Crl;
use super::crypto;
use super::error::DcapError;
use super::quote::Quote;
use serde::Deserialize;
use serde_json::value::RawValue;
use x509_cert::der::asn1::UintRef;
use x509_cert::der::{Decode, Header, Reader, SliceReader, Tag};

/// Most certificates, lists and texts in one heap.
pub const MAX_PIECES: usize = 256;
/// Longest file that is read.
pub const MAX_FILE: usize = 4 * 1024 * 1024;

/// Certificates, revocation lists, TCB infos and identities. Untrusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collateral {
    pub(crate) certificates: Vec<Vec<u8>>,
    pub(crate) lists: Vec<Vec<u8>>,
    pub(crate) infos: Vec<SignedText>,
    pub(crate) identities: Vec<SignedText>,
}

/// A text with the signature over its exact bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignedText {
    pub(crate) text: Vec<u8>,
    pub(crate) signature: [u8; 64],
}

impl Collateral {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file, of whichever kind it is:
    ///
    /// * certificates or revocation lists in DER, PEM (any number), or hex of DER;
    /// * an answer of Intel's service or of a PCCS: `{"tcbInfo": …, "signature": …}`, `{"enclaveIdentity": …, …}`;
    /// * a bundle with the members of Intel's `sgx_ql_qve_collateral_t` (`tcb_info`, `tcb_info_signature`, …);
    /// * a file of Fortanix' retrieval tool: `{"raw_tcb_info": …, "signature": […], "ca_chain": […]}`, and its siblings.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), DcapError> {
        if bytes.len() > MAX_FILE {
            return Err(unknown(&format!("{} bytes, at most {MAX_FILE} are read", bytes.len())));
        }
        if bytes.first() == Some(&0x30) && bytes.get(1).is_some_and(|length| *length >= 0x80) {
            return self.add_der(bytes);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| unknown("neither DER nor text"))?.trim();
        match text.as_bytes().first() {
            Some(b'{') => self.add_json(text),
            Some(b'-') => self.add_pem(text),
            Some(_) => {
                let der = hex::decode(text).map_err(|_| unknown("neither DER, PEM, JSON nor hex"))?;
                self.add_der(&der)
            }
            None => Err(unknown("it is empty")),
        }
    }

    /// Adds the PCK chain that a quote carries, so that the list of its authority can be checked.
    pub fn add_chain_of(&mut self, quote: &Quote) -> Result<(), DcapError> {
        let Some(chain) = quote.pck_chain() else { return Ok(()) };
        certificate::pem_chain(chain)?.iter().try_for_each(|der| self.add_der(der))
    }

    /// Names this heap, for a cache of what was verified: SHA-256 over its pieces.
    pub fn digest(&self) -> [u8; 32] {
        let texts = [&self.infos, &self.identities].into_iter().flatten();
        let pieces = texts.flat_map(|signed| [signed.text.as_slice(), signed.signature.as_slice()]);
        let ders = [&self.certificates, &self.lists].into_iter().flatten().map(Vec::as_slice);
        let digests: Vec<u8> = ders.chain(pieces).flat_map(crypto::sha256).collect();
        crypto::sha256(&digests)
    }

    fn add_der(&mut self, der: &[u8]) -> Result<(), DcapError> {
        let known = |heap: &[Vec<u8>]| heap.iter().any(|other| other == der);
        if known(&self.certificates) || known(&self.lists) {
            return Ok(());
        }
        self.check_room()?;
        if starts_like_a_list(der) {
            Crl::parse(der)?;
            self.lists.push(der.to_vec());
        } else {
            Certificate::parse_any(der)?;
            self.certificates.push(der.to_vec());
        }
        Ok(())
    }

    fn add_pem(&mut self, text: &str) -> Result<(), DcapError> {
        let mut rest = text;
        while !rest.is_empty() {
            let (block, behind) = certificate::block(rest).ok_or_else(|| unknown("a PEM block does not end"))?;
            let (label, der) =
                certificate::decode_pem(block).map_err(|error| unknown(&format!("a PEM block: {error}")))?;
            if !matches!(label, "CERTIFICATE" | "X509 CRL") {
                return Err(unknown("a PEM block is neither a certificate nor a revocation list"));
            }
            self.add_der(&der)?;
            // Intel's quote library ends the chains in its collateral with a NUL.
            rest = behind.trim_matches(['\0', '\r', '\n', ' ', '\t']);
        }
        Ok(())
    }

    fn add_json(&mut self, text: &str) -> Result<(), DcapError> {
        let file: File<'_> = serde_json::from_str(text).map_err(|error| unknown(&error.to_string()))?;
        let pieces = self.pieces();
        if let Some(text) = file.tcb_info_object {
            self.add_text(false, text.get(), file.signature)?;
        }
        if let Some(text) = file.identity_object {
            self.add_text(true, text.get(), file.signature)?;
        }
        if let Some(text) = &file.raw_tcb_info {
            self.add_text(false, text, file.signature)?;
        }
        if let Some(text) = &file.raw_enclave_identity {
            self.add_text(true, text, file.signature)?;
        }
        if let Some(text) = &file.tcb_info {
            self.add_text(false, text, file.tcb_info_signature)?;
        }
        if let Some(text) = &file.qe_identity {
            self.add_text(true, text, file.qe_identity_signature)?;
        }
        let chains = [
            &file.pck_crl_issuer_chain,
            &file.tcb_info_issuer_chain,
            &file.qe_identity_issuer_chain,
            &file.pck_certificate_chain,
        ];
        for chain in chains.into_iter().flatten().chain(&file.ca_chain) {
            self.add_pem(chain.trim_matches(['\0', '\r', '\n', ' ']))?;
        }
        for list in [&file.root_ca_crl, &file.pck_crl, &file.crl].into_iter().flatten() {
            match list.trim() {
                text if text.starts_with('-') => self.add_pem(text)?,
                text => self.add_der(&hex::decode(text).map_err(|_| unknown("a revocation list is not hex"))?)?,
            }
        }
        match self.pieces() == pieces {
            true if self.certificates.is_empty() && self.infos.is_empty() => {
                Err(unknown("a JSON object without a member that is known"))
            }
            _ => Ok(()),
        }
    }

    fn add_text(&mut self, identity: bool, text: &str, signature: Option<&RawValue>) -> Result<(), DcapError> {
        self.check_room()?;
        let signature = signature.ok_or_else(|| unknown("a text without its signature"))?;
        let signed = SignedText { text: text.as_bytes().to_vec(), signature: read_signature(signature.get())? };
        let heap = if identity { &mut self.identities } else { &mut self.infos };
        if !heap.contains(&signed) {
            heap.push(signed);
        }
        Ok(())
    }

    fn pieces(&self) -> usize {
        [self.certificates.len(), self.lists.len(), self.infos.len(), self.identities.len()].iter().sum()
    }

    fn check_room(&self) -> Result<(), DcapError> {
        match self.pieces() < MAX_PIECES {
            true => Ok(()),
            false => Err(unknown("more than 256 pieces")),
        }
    }
}

/// Whether the body starts with a number: a revocation list with its version 2 (RFC 5280, 5.1), where a certificate has
/// its version in a context tag (4.1).
fn starts_like_a_list(der: &[u8]) -> bool {
    let first = || -> Result<Tag, x509_cert::der::Error> {
        let mut reader = SliceReader::new(der)?;
        Header::decode(&mut reader)?;
        Header::decode(&mut reader)?;
        reader.peek_tag()
    };
    first() == Ok(Tag::Integer)
}

/// Members of the files that are known.
#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow, rename = "tcbInfo")]
    tcb_info_object: Option<&'a RawValue>,
    #[serde(borrow, rename = "enclaveIdentity")]
    identity_object: Option<&'a RawValue>,
    #[serde(borrow)]
    signature: Option<&'a RawValue>,
    raw_tcb_info: Option<String>,
    raw_enclave_identity: Option<String>,
    crl: Option<String>,
    #[serde(default)]
    ca_chain: Vec<String>,
    tcb_info: Option<String>,
    #[serde(borrow)]
    tcb_info_signature: Option<&'a RawValue>,
    tcb_info_issuer_chain: Option<String>,
    qe_identity: Option<String>,
    #[serde(borrow)]
    qe_identity_signature: Option<&'a RawValue>,
    qe_identity_issuer_chain: Option<String>,
    pck_crl_issuer_chain: Option<String>,
    root_ca_crl: Option<String>,
    pck_crl: Option<String>,
    pck_certificate_chain: Option<String>,
}

/// A signature as hex of R and S, or as the bytes of its DER form.
fn read_signature(json: &str) -> Result<[u8; 64], DcapError> {
    let wrong = || unknown("a signature is neither 128 hex digits nor the bytes of an ECDSA signature in DER");
    let mut signature = [0; 64];
    if let Ok(text) = serde_json::from_str::<String>(json) {
        hex::decode_to_slice(text, &mut signature).map_err(|_| wrong())?;
        return Ok(signature);
    }
    let der: Vec<u8> = serde_json::from_str(json).map_err(|_| wrong())?;
    let parts = || -> Result<_, x509_cert::der::Error> {
        let mut reader = SliceReader::new(&der)?;
        let parts = reader.sequence(|pair| Ok([UintRef::decode(pair)?, UintRef::decode(pair)?]))?;
        reader.finish(parts)
    };
    let parts = parts().map_err(|_| wrong())?;
    for (part, place) in parts.iter().zip(signature.chunks_exact_mut(32)) {
        let start = place.len().checked_sub(part.as_bytes().len()).ok_or_else(wrong)?;
        place.get_mut(start..).ok_or_else(wrong)?.copy_from_slice(part.as_bytes());
    }
    Ok(signature)
}

fn unknown(what: &str) -> DcapError {
    DcapError::Collateral { what: what.to_owned() }
}
