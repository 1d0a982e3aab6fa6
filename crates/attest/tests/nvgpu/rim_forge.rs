//! Makes signed RIMs. They are written in canonical form by hand, so that the canonicaliser under test is not its own
//! oracle.

use crate::forge::{DRIVER, Issued, NOW, VBIOS, WORLD, no_responses, roots, sha384, sign_fixed};
use attest::nvgpu::{Rim, RimError, UnanchoredRoots, VerifiedRim};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use claims::nvgpu::GoldenMeasurements;

/// A RIM to be: index, active, values.
#[derive(Clone)]
pub(crate) struct Manifest {
    pub(crate) product: String,
    pub(crate) edition: String,
    pub(crate) version: String,
    pub(crate) resources: Vec<(u8, bool, Vec<[u8; 48]>)>,
}

const SWID: &str = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd";
const HASH: &str = "http://www.w3.org/2001/04/xmlenc#sha384";
const DSIG: &str = "http://www.w3.org/2000/09/xmldsig#";
pub(crate) const END: &str = "</SoftwareIdentity>";

impl Manifest {
    /// Of a driver, with these indices active; values are what [`Report::new`] measures, and an alternative.
    pub(crate) fn driver(active: &[u8]) -> Self {
        Self::of(DRIVER, active)
    }

    pub(crate) fn vbios(active: &[u8]) -> Self {
        Self::of(VBIOS, active)
    }

    fn of(version: &str, active: &[u8]) -> Self {
        let resources = (0..64).map(|index| match active.contains(&index) {
            true => (index, true, vec![[0xEE; 48], [index + 1; 48]]),
            false => (index, false, vec![[0; 48]]),
        });
        Self {
            product: "GH100".to_owned(),
            edition: "GPU".to_owned(),
            version: version.to_owned(),
            resources: resources.collect(),
        }
    }

    /// The canonical form of the document without its signature.
    pub(crate) fn canonical(&self) -> String {
        let resources: String = self
            .resources
            .iter()
            .map(|(index, active, values)| {
                let active = if *active { "True" } else { "False" };
                let count = values.len();
                let hashes: String =
                    values.iter().enumerate().map(|(i, v)| format!(" ns2:Hash{i}=\"{}\"", hex::encode(v))).collect();
                format!(
                    "<ns0:Resource active=\"{active}\" alternatives=\"{count}\" index=\"{index}\" \
                     name=\"Measurement_{index}\" size=\"48\" type=\"Measurement\"{hashes}></ns0:Resource>\n"
                )
            })
            .collect();
        format!(
            "<SoftwareIdentity xmlns=\"{SWID}\" xmlns:ns0=\"{SWID}\" xmlns:ns2=\"{HASH}\" corpus=\"false\" \
             name=\"{product}\" patch=\"false\" supplemental=\"false\" tagId=\"t1\" version=\"1.0\">\n\
             <ns0:Entity name=\"A &amp; B &lt;C> &quot;D&quot;\" role=\"tagCreator\"></ns0:Entity>\n\
             <ns0:Meta colloquialVersion=\"{version}\" edition=\"{edition}\" product=\"{product}\"></ns0:Meta>\n\
             <ns0:Payload xmlns:ns3=\"urn:x\">\n{resources}</ns0:Payload>text &amp; &lt; &gt;{END}",
            product = self.product,
            version = self.version,
            edition = self.edition,
        )
    }

    /// The signed document.
    pub(crate) fn signed(&self) -> String {
        envelop(&self.canonical(), &WORLD.signer)
    }

    pub(crate) fn verify(&self) -> Result<VerifiedRim<UnanchoredRoots>, RimError> {
        verify_rim(&self.signed())
    }

    pub(crate) fn golden(&self) -> GoldenMeasurements {
        self.verify().unwrap().golden()
    }
}

pub(crate) fn verify_rim(xml: &str) -> Result<VerifiedRim<UnanchoredRoots>, RimError> {
    Rim::parse(xml.as_bytes())?.verify(&roots(), &no_responses(), NOW)
}

/// Signs a canonical document and puts the signature before its end.
pub(crate) fn envelop(canonical: &str, signer: &[Issued]) -> String {
    let signature = signature(canonical, signer);
    let (body, _) = canonical.rsplit_once(END).unwrap();
    format!("{body}{signature}{END}")
}

/// The `Signature` element for a canonical document.
pub(crate) fn signature(canonical: &str, signer: &[Issued]) -> String {
    let digest = BASE64_STANDARD.encode(sha384(canonical.as_bytes()).0);
    let inner = format!(
        "<ds:CanonicalizationMethod Algorithm=\"http://www.w3.org/2006/12/xml-c14n11\"></ds:CanonicalizationMethod>\
         <ds:SignatureMethod Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384\"></ds:SignatureMethod>\
         <ds:Reference URI=\"\"><ds:Transforms>\
         <ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"></ds:Transform>\
         <ds:Transform Algorithm=\"http://www.w3.org/2006/12/xml-c14n11\"></ds:Transform></ds:Transforms>\
         <ds:DigestMethod Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#sha384\"></ds:DigestMethod>\
         <ds:DigestValue>{digest}</ds:DigestValue></ds:Reference>"
    );
    signature_of(&inner, signer)
}

/// The `Signature` element for the content of a `SignedInfo` in canonical form, validly signed whatever it says.
pub(crate) fn signature_of(inner: &str, signer: &[Issued]) -> String {
    let info = format!(
        "<ds:SignedInfo xmlns=\"{SWID}\" xmlns:ds=\"{DSIG}\" xmlns:ns0=\"{SWID}\" xmlns:ns2=\"{HASH}\">{inner}</ds:SignedInfo>"
    );
    let value = BASE64_STANDARD.encode(sign_fixed(&signer[0].key, info.as_bytes()));
    let certificates: String = signer
        .iter()
        .map(|issued| format!("<ds:X509Certificate>{}\n</ds:X509Certificate>", BASE64_STANDARD.encode(&issued.der)))
        .collect();
    format!(
        "<ds:Signature xmlns:ds=\"{DSIG}\"><ds:SignedInfo>{inner}</ds:SignedInfo>\
         <ds:SignatureValue>{value}</ds:SignatureValue>\
         <ds:KeyInfo><ds:X509Data>{certificates}</ds:X509Data></ds:KeyInfo></ds:Signature>"
    )
}
