//! An SGX PKI of our own: re-signs a quote and its collateral, so that every field can be changed and still be signed.
//!
//! It has the names of Intel's, and its own root. Stands alone: the tests of `attest` use this file, too.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DistinguishedName, DnType,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, RevokedCertParams, SerialNumber,
};
use serde_json::{Value, json};
use std::error::Error;
use std::ops::Range;
use x509_cert::der::{Decode, Encode};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Where the parts of a quote lie.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// Start of the report body.
    pub(crate) body: usize,
    /// End of what is signed; the length of the signature data stands here.
    pub(crate) signed: usize,
    /// The outer certification type (version 4 and 5).
    pub(crate) outer: Option<usize>,
    /// The quoting enclave's report.
    pub(crate) qe: usize,
    /// Its authentication data.
    pub(crate) authentication: Range<usize>,
    /// The inner certification type.
    pub(crate) inner: usize,
    /// The certification data.
    pub(crate) data: Range<usize>,
}

impl Layout {
    /// Of a quote that parses.
    pub(crate) fn of(quote: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u32::from_le_bytes(quote.get(at..at + 4)?.try_into().ok()?) as usize);
        let small = |at: usize| Some(usize::from(u16::from_le_bytes(quote.get(at..at + 2)?.try_into().ok()?)));
        let (version, tee) = (small(0)?, number(4)?);
        let body = if version == 5 { 54 } else { 48 };
        let length = match (version, tee) {
            (5, _) => number(50)?,
            (_, 0) => 384,
            _ => 584,
        };
        let signed = body + length;
        let key = signed + 4 + 64;
        let outer = (version > 3).then_some(key + 64);
        let qe = outer.map_or(key + 64, |outer| outer + 6);
        let start = qe + 384 + 64 + 2;
        let authentication = start..start + small(start - 2)?;
        let inner = authentication.end;
        let data = inner + 6..inner + 6 + number(inner + 2)?;
        Some(Self { body, signed, outer, qe, authentication, inner, data })
    }

    /// The quote with other certification data; every length fits again, and nothing follows.
    pub(crate) fn with_data(&self, quote: &[u8], data: &[u8]) -> Option<Vec<u8>> {
        let mut changed = quote.get(..self.data.start)?.to_vec();
        changed.extend_from_slice(data);
        let end = changed.len();
        let mut put = |at: usize, length: usize| {
            let length = u32::try_from(length).ok()?;
            changed.get_mut(at..at + 4)?.copy_from_slice(&length.to_le_bytes());
            Some(())
        };
        put(self.inner + 2, data.len())?;
        put(self.signed, end - self.signed - 4)?;
        if let Some(outer) = self.outer {
            put(outer + 2, end - outer - 6)?;
        }
        Some(changed)
    }
}

/// Which certificate a list names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Revoked {
    Nothing,
    Pck,
    PckCa,
    Signer,
}

/// The PKI.
pub(crate) struct Forge {
    /// Root certificate, DER.
    pub(crate) root: Vec<u8>,
    root_pem: String,
    root_issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
    ca_issuer: Issuer<'static, KeyPair>,
    signer_pem: String,
    signer_key: EcdsaKeyPair,
    pck_pem: String,
    pck_key: EcdsaKeyPair,
    attestation_key: EcdsaKeyPair,
}

const PCK: u64 = 3;
const PCK_CA: u64 = 2;
const SIGNER: u64 = 4;

impl Forge {
    /// A PKI whose platform is that of a quote: the same authority, and the same SGX extension.
    pub(crate) fn like(quote: &[u8]) -> Result<Self> {
        let layout = Layout::of(quote).ok_or("not a quote")?;
        let text = std::str::from_utf8(quote.get(layout.data).ok_or("not a quote")?)?;
        let end = text.find("-----END").and_then(|at| Some(at + text.get(at..)?.find('\n')?)).ok_or("no PEM")?;
        let (_, leaf) = x509_cert::der::pem::decode_vec(text.get(..end).ok_or("no PEM")?.as_bytes())
            .map_err(|error| error.to_string())?;
        let leaf = x509_cert::Certificate::from_der(&leaf)?.tbs_certificate;
        let extension = leaf.extensions.iter().flatten().find(|one| one.extn_id.to_string() == "1.2.840.113741.1.13.1");
        let extension = extension.ok_or("no SGX extension")?.extn_value.as_bytes().to_vec();
        let platform = String::from_utf8_lossy(&leaf.issuer.to_der()?).contains("Platform");
        Self::new(if platform { "Intel SGX PCK Platform CA" } else { "Intel SGX PCK Processor CA" }, extension)
    }

    /// A PKI with this PCK authority, and a platform with this SGX extension.
    pub(crate) fn new(authority: &str, extension: Vec<u8>) -> Result<Self> {
        let root_key = key()?;
        let root_params = params("Intel SGX Root CA", 1, Some(1));
        let root = root_params.self_signed(&root_key)?;
        let root_issuer = Issuer::new(root_params, root_key);
        let ca_key = key()?;
        let ca_params = params(authority, PCK_CA, Some(0));
        let ca = ca_params.signed_by(&ca_key, &root_issuer)?;
        let ca_issuer = Issuer::new(ca_params, ca_key);
        let signer_key = key()?;
        let signer = params("Intel SGX TCB Signing", SIGNER, None).signed_by(&signer_key, &root_issuer)?;
        let pck_key = key()?;
        let mut pck_params = params("Intel SGX PCK Certificate", PCK, None);
        pck_params.custom_extensions =
            vec![CustomExtension::from_oid_content(&[1, 2, 840, 113_741, 1, 13, 1], extension)];
        let pck = pck_params.signed_by(&pck_key, &ca_issuer)?;
        Ok(Self {
            root: root.der().to_vec(),
            root_pem: root.pem(),
            root_issuer,
            ca_pem: ca.pem(),
            ca_issuer,
            signer_pem: signer.pem(),
            signer_key: signing(&signer_key)?,
            pck_pem: pck.pem(),
            pck_key: signing(&pck_key)?,
            attestation_key: signing(&key()?)?,
        })
    }

    /// The PCK chain: platform, authority, root.
    pub(crate) fn chain(&self) -> [&str; 3] {
        [&self.pck_pem, &self.ca_pem, &self.root_pem]
    }

    /// A quote with this one's body, edited, and signed by this PKI.
    pub(crate) fn quote(&self, quote: &[u8], edit: impl FnOnce(&mut [u8])) -> Result<Vec<u8>> {
        let layout = Layout::of(quote).ok_or("not a quote")?;
        let chain = self.chain().concat();
        let mut quote = layout.with_data(quote, chain.as_bytes()).ok_or("not a quote")?;
        edit(quote.get_mut(layout.body..layout.signed).ok_or("not a quote")?);
        let point = self.attestation_key.public_key().as_ref().get(1..).ok_or("no point")?.to_vec();
        let authentication = quote.get(layout.authentication.clone()).ok_or("not a quote")?;
        let named = sha256(&[point.as_slice(), authentication].concat());
        let mut put = |at: usize, bytes: &[u8]| -> Result<()> {
            quote.get_mut(at..at + bytes.len()).ok_or("not a quote")?.copy_from_slice(bytes);
            Ok(())
        };
        put(layout.signed + 4 + 64, &point)?;
        put(layout.qe + 320, &[named.as_slice(), &[0; 32]].concat())?;
        let qe = quote.get(layout.qe..layout.qe + 384).ok_or("not a quote")?;
        let (of_qe, of_quote) =
            (sign(&self.pck_key, qe)?, sign(&self.attestation_key, quote.get(..layout.signed).ok_or("not a quote")?)?);
        let mut put = |at: usize, bytes: &[u8]| -> Result<()> {
            quote.get_mut(at..at + bytes.len()).ok_or("not a quote")?.copy_from_slice(bytes);
            Ok(())
        };
        put(layout.qe + 384, &of_qe)?;
        put(layout.signed + 4, &of_quote)?;
        Ok(quote)
    }

    /// A bundle with these texts, signed by this PKI.
    pub(crate) fn collateral(&self, tcb_info: &str, qe_identity: &str, revoked: Revoked) -> Result<Value> {
        let of_root = match revoked {
            Revoked::PckCa => Some(PCK_CA),
            Revoked::Signer => Some(SIGNER),
            Revoked::Nothing | Revoked::Pck => None,
        };
        let authority = [self.ca_pem.as_str(), &self.root_pem].concat();
        let signers = [self.signer_pem.as_str(), &self.root_pem].concat();
        Ok(json!({
            "pck_crl_issuer_chain": authority,
            "root_ca_crl": hex::encode(list(&self.root_issuer, of_root)?),
            "pck_crl": hex::encode(list(&self.ca_issuer, (revoked == Revoked::Pck).then_some(PCK))?),
            "tcb_info_issuer_chain": signers,
            "tcb_info": tcb_info,
            "tcb_info_signature": hex::encode(sign(&self.signer_key, tcb_info.as_bytes())?),
            "qe_identity_issuer_chain": signers,
            "qe_identity": qe_identity,
            "qe_identity_signature": hex::encode(sign(&self.signer_key, qe_identity.as_bytes())?),
        }))
    }
}

/// A quote whose attestation key is replaced by one of our own, which signs it again.
pub(crate) fn swap_attestation_key(quote: &[u8]) -> Result<Vec<u8>> {
    let layout = Layout::of(quote).ok_or("not a quote")?;
    let key = signing(&key()?)?;
    let signature = sign(&key, quote.get(..layout.signed).ok_or("not a quote")?)?;
    let point = key.public_key().as_ref().get(1..).ok_or("no point")?.to_vec();
    let mut quote = quote.to_vec();
    let place = layout.signed + 4..layout.signed + 4 + 128;
    quote.get_mut(place).ok_or("not a quote")?.copy_from_slice(&[signature, point].concat());
    Ok(quote)
}

fn params(common_name: &str, serial: u64, authority: Option<u8>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.distinguished_name.push(DnType::OrganizationName, "Intel Corporation");
    params.not_before = rcgen::date_time_ymd(2018, 5, 21);
    params.not_after = rcgen::date_time_ymd(2049, 12, 31);
    params.serial_number = Some(SerialNumber::from(serial));
    match authority {
        Some(length) => {
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(length));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        }
        None => {
            params.is_ca = IsCa::ExplicitNoCa;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::ContentCommitment];
        }
    }
    params
}

fn list(issuer: &Issuer<'static, KeyPair>, serial: Option<u64>) -> Result<Vec<u8>> {
    let revoked = serial.map(|serial| RevokedCertParams {
        serial_number: SerialNumber::from(serial),
        revocation_time: rcgen::date_time_ymd(2018, 6, 1),
        reason_code: None,
        invalidity_date: None,
    });
    let list = CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2018, 6, 1),
        next_update: rcgen::date_time_ymd(2049, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: revoked.into_iter().collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    Ok(list.signed_by(issuer)?.der().to_vec())
}

fn key() -> Result<KeyPair> {
    Ok(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)
}

fn signing(key: &KeyPair) -> Result<EcdsaKeyPair> {
    Ok(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key.serialize_der())?)
}

fn sign(key: &EcdsaKeyPair, message: &[u8]) -> Result<Vec<u8>> {
    Ok(key.sign(&SystemRandom::new(), message)?.as_ref().to_vec())
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref().to_vec()
}
