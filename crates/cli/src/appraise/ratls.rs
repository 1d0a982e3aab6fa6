//! RA-TLS certificates: the certificate's own checks, then the evidence inside by the verifier of its kind.

use super::{Accepted, Question, Refused, Verdict, Wanted, waived};
use crate::args::EvidenceKind as Kind;
use crate::outcome::{Failure, Result};
use attest::ratls::{EvidenceKind, Format, RaTlsCertificate, RaTlsError};
use claims::{Allowed, Digest256};
use serde_json::{Value, json};

/// Whether it is a certificate with evidence in it.
pub(super) fn looks_like(bytes: &[u8]) -> bool {
    parse(bytes).is_ok()
}

/// Verifies and appraises. What the evidence is bound to is in the certificate: its key, and a nonce where there is one.
pub(super) fn verify(question: &Question<'_>) -> Result<Verdict> {
    if question.report_data.is_some() {
        return Err(Failure::usage("a certificate's key is what its evidence is bound to")
            .hint("leave --report-data out; --nonce HEX is compared where the certificate holds one"));
    }
    let nonce = match &question.nonce {
        Some(nonce) => Allowed::only(nonce.clone()),
        None => Allowed::any("no --nonce was given"),
    };
    let bound = match parse(question.bytes).and_then(|certificate| certificate.verify(&nonce, question.at)) {
        Ok(bound) => bound,
        Err(error) => return Ok(Err(Box::new(Refused::of(&error)))),
    };
    let inside = Question {
        bytes: &bound.evidence,
        file: question.file,
        pieces: question.pieces,
        at: question.at,
        wanted: match &question.wanted {
            Wanted::Reference { path, bytes } => Wanted::Reference { path: path.clone(), bytes: bytes.clone() },
            Wanted::Any { reason } => Wanted::Any { reason: reason.clone() },
        },
        report_data: Some(bound.expected_report_data),
        nonce: None,
        enrolled: Vec::new(),
        require_crl: question.require_crl,
        allow_debug: question.allow_debug.clone(),
        floors: question.floors.clone(),
    };
    let kind = kind_of(bound.kind);
    let certificate = json!({
        "format": match bound.format {
            Format::Interoperable => "interoperable",
            Format::Gramine => "gramine",
        },
        "evidence": kind.name(),
        "key_sha256": Digest256::of(&bound.spki),
        "other_claims": bound.other_claims.keys().collect::<Vec<_>>(),
    });
    Ok(super::verify(kind, &inside)?.map(|accepted| Accepted {
        facts: with(accepted.facts, certificate.clone()),
        not_compared: [accepted.not_compared, waived(&bound.waivers)].concat(),
        ..accepted
    }))
}

/// Unverified claims of the evidence inside.
pub(super) fn claimed_of(bytes: &[u8]) -> std::result::Result<Value, Box<Refused>> {
    let certificate = parse(bytes).map_err(|error| Box::new(Refused::of(&error)))?;
    super::claimed(kind_of(certificate.kind()), certificate.evidence())
}

/// The evidence inside and its kind, unverified: what collateral is fetched for.
pub(crate) fn inside(bytes: &[u8]) -> Option<(Kind, Vec<u8>)> {
    let certificate = parse(bytes).ok()?;
    Some((kind_of(certificate.kind()), certificate.evidence().to_vec()))
}

fn parse(bytes: &[u8]) -> std::result::Result<RaTlsCertificate, RaTlsError> {
    match bytes.starts_with(b"-----BEGIN") {
        true => RaTlsCertificate::parse_pem(bytes),
        false => RaTlsCertificate::parse(bytes),
    }
}

fn kind_of(kind: EvidenceKind) -> Kind {
    match kind {
        EvidenceKind::SgxQuote => Kind::Sgx,
        EvidenceKind::TdxQuote => Kind::Tdx,
        EvidenceKind::SnpReport => Kind::Snp,
    }
}

fn with(mut facts: Value, certificate: Value) -> Value {
    if let Some(members) = facts.as_object_mut() {
        members.insert("certificate".into(), certificate);
    }
    facts
}
