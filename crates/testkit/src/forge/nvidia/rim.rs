//! Manifests of reference values: a TCG SWID tag in canonical form, written by hand, with an enveloped XML signature, so
//! that the canonicaliser of the verifier is not its own oracle.

use super::{VALID, certificate};
use crate::forge::Result;
use crate::forge::keys::{KeyName, Keys, Kind};
use crate::forge::x509::{self, CertificatePlan};
use aws_lc_rs::digest::{SHA384, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What a manifest is to be.
#[derive(Debug, Clone)]
pub(in crate::forge) struct Manifest {
    pub(super) product: &'static str,
    pub(super) edition: &'static str,
    pub(super) version: &'static str,
    /// Indices that are compared; the value is that of [`super::evidence::Transcript::new`], or another.
    pub(super) active: Vec<u8>,
    pub(super) alternative_only: bool,
    /// Signer first, root last.
    pub(super) chain: Vec<CertificatePlan>,
    pub(super) signer: KeyName,
    pub(super) algorithm: &'static str,
}

impl Manifest {
    pub(super) fn new(version: &'static str, active: &[u8]) -> Result<Self> {
        let leaf = vec![(x509::KEY_USAGE, true, x509::digital_signature()?)];
        let mut signer = certificate(0x51, "HCC RIM L4 Signer", L3_NAME, SIGNER, L3, leaf);
        signer.valid = VALID;
        Ok(Self {
            product: "GH100",
            edition: "GPU",
            version,
            active: active.to_vec(),
            alternative_only: false,
            chain: vec![
                signer,
                certificate(0x52, L3_NAME, CHIP_NAME, L3, CHIP, x509::authority(None)?),
                certificate(0x53, CHIP_NAME, ROOT_NAME, CHIP, ROOT, x509::authority(None)?),
                certificate(0x54, ROOT_NAME, ROOT_NAME, ROOT, ROOT, x509::authority(None)?),
            ],
            signer: SIGNER,
            algorithm: "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384",
        })
    }

    /// The signed document.
    pub(super) fn signed(&self, keys: &Keys) -> Result<Vec<u8>> {
        let canonical = self.canonical();
        let (body, _) = canonical.rsplit_once(END).ok_or("the document does not end")?;
        let digest = STANDARD.encode(digest(&SHA384, canonical.as_bytes()));
        let inner = format!(
            "<ds:CanonicalizationMethod Algorithm=\"http://www.w3.org/2006/12/xml-c14n11\"></ds:CanonicalizationMethod>\
             <ds:SignatureMethod Algorithm=\"{}\"></ds:SignatureMethod>\
             <ds:Reference URI=\"\"><ds:Transforms>\
             <ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"></ds:Transform>\
             <ds:Transform Algorithm=\"http://www.w3.org/2006/12/xml-c14n11\"></ds:Transform></ds:Transforms>\
             <ds:DigestMethod Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#sha384\"></ds:DigestMethod>\
             <ds:DigestValue>{digest}</ds:DigestValue></ds:Reference>",
            self.algorithm
        );
        let info = format!(
            "<ds:SignedInfo xmlns=\"{SWID}\" xmlns:ds=\"{DSIG}\" xmlns:ns0=\"{SWID}\" xmlns:ns2=\"{HASH}\">{inner}</ds:SignedInfo>"
        );
        let value = STANDARD.encode(keys.sign_fixed(self.signer, info.as_bytes())?);
        let mut certificates = String::new();
        for certificate in &self.chain {
            let der = STANDARD.encode(certificate.make(keys)?);
            certificates.push_str(&format!("<ds:X509Certificate>{der}\n</ds:X509Certificate>"));
        }
        let signature = format!(
            "<ds:Signature xmlns:ds=\"{DSIG}\"><ds:SignedInfo>{inner}</ds:SignedInfo>\
             <ds:SignatureValue>{value}</ds:SignatureValue>\
             <ds:KeyInfo><ds:X509Data>{certificates}</ds:X509Data></ds:KeyInfo></ds:Signature>"
        );
        Ok(format!("{body}{signature}{END}").into_bytes())
    }

    /// The canonical form of the document without its signature.
    fn canonical(&self) -> String {
        let resource = |index: u8| {
            let active = self.active.contains(&index);
            let values = match (active, self.alternative_only) {
                (false, _) => vec![[0; 48]],
                (true, true) => vec![[0xEE; 48]],
                (true, false) => vec![[0xEE; 48], [index + 1; 48]],
            };
            let hashes: String = values
                .iter()
                .enumerate()
                .map(|(i, value)| format!(" ns2:Hash{i}=\"{}\"", hex::encode(value)))
                .collect();
            format!(
                "<ns0:Resource active=\"{}\" alternatives=\"{}\" index=\"{index}\" name=\"Measurement_{index}\" \
                 size=\"48\" type=\"Measurement\"{hashes}></ns0:Resource>\n",
                if active { "True" } else { "False" },
                values.len(),
            )
        };
        let resources: String = (0..64).map(resource).collect();
        let Self { product, edition, version, .. } = self;
        format!(
            "<SoftwareIdentity xmlns=\"{SWID}\" xmlns:ns0=\"{SWID}\" xmlns:ns2=\"{HASH}\" corpus=\"false\" \
             name=\"{product}\" patch=\"false\" supplemental=\"false\" tagId=\"t1\" version=\"1.0\">\n\
             <ns0:Meta colloquialVersion=\"{version}\" edition=\"{edition}\" product=\"{product}\"></ns0:Meta>\n\
             <ns0:Payload>\n{resources}</ns0:Payload>{END}"
        )
    }
}

const SWID: &str = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd";
const HASH: &str = "http://www.w3.org/2001/04/xmlenc#sha384";
const DSIG: &str = "http://www.w3.org/2000/09/xmldsig#";
const END: &str = "</SoftwareIdentity>";
const L3_NAME: &str = "NVIDIA Reference Value L3 GH100 001";
const CHIP_NAME: &str = "NVIDIA Reference Value GH100 CA";
const ROOT_NAME: &str = "NVIDIA CoRIM signing Root CA";
pub(super) const SIGNER: KeyName = KeyName("nvidia rim signer", Kind::P384);
pub(super) const L3: KeyName = KeyName("nvidia rim l3", Kind::P384);
const CHIP: KeyName = KeyName("nvidia rim chip", Kind::P384);
pub(super) const ROOT: KeyName = KeyName("nvidia rim root", Kind::P384);
