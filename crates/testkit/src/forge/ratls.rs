//! The shape of RA-TLS: a self-signed certificate with an SGX quote of the forged platform inside, in the interoperable
//! format or Gramine's.

use super::Change::{Made as After, Plan as Before};
use super::keys::{KeyName, Kind};
use super::x509::CertificatePlan;
use super::{Forge, Mutator, NOW, Result, Sent, accepted, intel, refused, shorten};
use crate::text::TextVector;
use attest::ratls::{Evidence, EvidenceKind, extension, key_claims, key_report_data, report_data_of};
use ciborium::Value;
use claims::Code;

/// A certificate before it is signed.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(super) certificate: CertificatePlan,
    /// Whose hash the claims hold.
    pub(super) claimed: KeyName,
    pub(super) nonce: Option<Vec<u8>>,
    pub(super) format: Format,
    /// Whether the quote binds the claims.
    pub(super) bound: bool,
    pub(super) quote: intel::Plan,
    pub(super) sent: Sent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Interoperable,
    Twice,
    OtherTag,
    NoTag,
    Gramine,
    Nothing,
}

/// Every mutator.
pub const MUTATORS: &[Mutator<Plan, Sent>] = &[
    accepted("ok", SPEC, "nothing changed", Before(|_| ())),
    accepted(
        "ok-gramine",
        GRAMINE_SPEC,
        "Gramine's format: a quote over the key, no nonce",
        Before(|plan| {
            plan.format = Format::Gramine;
            plan.nonce = None;
            plan.sent.set("want.nonce", "");
        }),
    ),
    refused(
        "length",
        SPEC,
        "more bytes than are read",
        (Code::RaTlsFormat, "Length"),
        After(|sent| sent.edit("certificate", |der| der.resize(65_537, 0))),
    ),
    refused(
        "certificate",
        SPEC,
        "the certificate is cut short",
        (Code::RaTlsFormat, "Certificate"),
        After(|sent| sent.edit("certificate", shorten)),
    ),
    refused(
        "no-evidence",
        SPEC,
        "a certificate without evidence",
        (Code::RaTlsFormat, "NoEvidence"),
        Before(|plan| plan.format = Format::Nothing),
    ),
    refused(
        "doubled",
        SPEC,
        "the evidence is there twice",
        (Code::RaTlsFormat, "Doubled"),
        Before(|plan| plan.format = Format::Twice),
    ),
    refused(
        "tag",
        SPEC,
        "evidence with an unknown CBOR tag",
        (Code::RaTlsFormat, "Tag"),
        Before(|plan| plan.format = Format::OtherTag),
    ),
    refused(
        "cbor",
        SPEC,
        "evidence without a CBOR tag",
        (Code::RaTlsFormat, "Cbor"),
        Before(|plan| plan.format = Format::NoTag),
    ),
    refused(
        "quote",
        SPEC,
        "a quote of version 6",
        (Code::RaTlsFormat, "Quote"),
        Before(|plan| intel::put(&mut plan.quote.quote.header, 0, &[6])),
    ),
    refused(
        "algorithm",
        SPEC,
        "a P-384 key where the certificate names RSA",
        (Code::RaTlsSignature, "Algorithm"),
        Before(|plan| plan.certificate.says = Some(Kind::Pkcs1)),
    ),
    refused(
        "signature",
        SPEC,
        "another key signed the certificate",
        (Code::RaTlsSignature, "Signature"),
        Before(|plan| plan.certificate.signer = OTHER),
    ),
    refused(
        "expired",
        SPEC,
        "the certificate has ended",
        (Code::RaTlsTime, "Validity"),
        Before(|plan| plan.certificate.valid.1 = NOW - 1),
    ),
    refused(
        "key",
        SPEC,
        "the claims are about another key",
        (Code::RaTlsBinding, "Key"),
        Before(|plan| plan.claimed = OTHER),
    ),
    refused(
        "binding",
        SPEC,
        "the quote binds other claims",
        (Code::RaTlsBinding, "Binding"),
        Before(|plan| plan.bound = false),
    ),
    refused(
        "nonce",
        SPEC,
        "the nonce of another session",
        (Code::RaTlsBinding, "Nonce"),
        Before(|plan| plan.nonce = Some(b"another".to_vec())),
    ),
];

impl Forge {
    fn ratls_plan(&self) -> Result<Plan> {
        let nonce = self.keys.bytes::<32>("ratls nonce")?;
        let mut sent = Sent::new("ratls");
        sent.set("want.nonce", nonce);
        Ok(Plan {
            certificate: CertificatePlan {
                serial: 5,
                subject: "CN=RA-TLS".to_owned(),
                issuer: "CN=RA-TLS".to_owned(),
                valid: (NOW - 86_400, NOW + 86_400),
                key: KEY,
                signer: KEY,
                says: None,
                extensions: Vec::new(),
            },
            claimed: KEY,
            nonce: Some(nonce.to_vec()),
            format: Format::Interoperable,
            bound: true,
            quote: self.intel_plan(intel::Model::Sgx3)?,
            sent,
        })
    }

    fn ratls_make(&self, plan: &Plan) -> Result<Sent> {
        let spki = self.keys.spki(plan.claimed)?;
        let claims = key_claims(&spki, plan.nonce.as_deref())?;
        let report_data = match plan.format {
            _ if !plan.bound => claims::ReportData([5; 64]),
            Format::Gramine => key_report_data(&spki),
            _ => report_data_of(&claims),
        };
        let mut quote = plan.quote.clone();
        intel::put(&mut quote.quote.body, 320, report_data.as_bytes());
        let quote = self.intel_make(&quote)?.quote;
        let dice = || extension(&Evidence { kind: EvidenceKind::SgxQuote, bytes: &quote, claims: &claims });
        let mut certificate = plan.certificate.clone();
        match plan.format {
            Format::Interoperable => certificate.extensions.push((DICE, false, dice()?)),
            Format::Twice => certificate.extensions.extend([(DICE, false, dice()?), (DICE, false, dice()?)]),
            Format::OtherTag | Format::NoTag => {
                let parts = Value::Array(vec![Value::Bytes(quote), Value::Bytes(claims)]);
                let tagged = Value::Tag(60_001, Box::new(parts.clone()));
                let mut bytes = Vec::new();
                ciborium::into_writer(if plan.format == Format::NoTag { &parts } else { &tagged }, &mut bytes)?;
                certificate.extensions.push((DICE, false, bytes));
            }
            Format::Gramine => certificate.extensions.push((GRAMINE, false, quote)),
            Format::Nothing => {}
        }
        let mut sent = plan.sent.clone();
        sent.add("certificate", certificate.make(&self.keys)?);
        Ok(sent)
    }

    /// Every vector of RA-TLS certificates.
    pub fn ratls_vectors(&self) -> Result<Vec<TextVector>> {
        self.spoil(MUTATORS, Self::ratls_plan, Self::ratls_make)
    }
}

const KEY: KeyName = KeyName("ratls key", Kind::P384);
const OTHER: KeyName = KeyName("ratls other", Kind::P384);
const DICE: &str = "2.23.133.5.4.9";
const GRAMINE: &str = "0.6.9.42.840.113741.1337.6";
const SPEC: &str = "Interoperable RA-TLS, TCG DICE attestation architecture, tagged evidence";
const GRAMINE_SPEC: &str = "Gramine, ra_tls.h";
