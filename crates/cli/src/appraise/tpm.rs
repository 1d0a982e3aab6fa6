//! TPM quotes by an enrolled key.

use super::{Accepted, Question, Refused, Verdict, waived};
use crate::args::EvidenceKind as Kind;
use crate::outcome::{self, Failure, Result};
use attest::tpm::{EnrolledKey, Expected, Selection, TpmError, kbs};
use claims::wanted::TpmWanted;
use claims::{Allowed, Code, Digest256};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Whether it is Trustee's JSON form.
pub(super) fn looks_like(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Value>(bytes).is_ok_and(|value| value.get("ak_public").is_some())
}

/// Verifies and appraises.
pub(super) fn verify(question: &Question<'_>) -> Result<Verdict> {
    let wanted: TpmWanted = question.wanted.values(Kind::Tpm)?;
    let mut enrolled = Vec::new();
    for path in &question.enrolled {
        let key = EnrolledKey::from_pem(&outcome::read(path)?).map_err(|error| {
            Failure::usage(format!("{} is no attestation key in PEM", path.display())).because(error)
        })?;
        enrolled.push(key);
    }
    let evidence = match kbs::parse(question.bytes) {
        Ok(evidence) => evidence,
        Err(error) => return Ok(Err(Box::new(Refused::of(&error)))),
    };
    let claims = json!(evidence.quote.claimed());
    let Some(key) = enrolled.iter().find(|key| key.digest() == evidence.claimed_key) else {
        let reason = format!("the evidence names the attestation key {}, which is not enrolled", evidence.claimed_key);
        let refused = Refused { claims, ..Refused::malformed(Code::TpmKey, reason) };
        return Ok(Err(Box::new(refused.next("give the key that was enrolled for this machine with --enrolled-key"))));
    };
    let refused = |error: TpmError, genuine| {
        let wanted_from = question.wanted.source();
        Box::new(Refused { genuine, wanted_from, claims: claims.clone(), ..Refused::of(&error) })
    };
    let expected = expected(question, &wanted.pcrs);
    let verdict = evidence
        .quote
        .verify(key)
        .map_err(|error| refused(error, false))
        .and_then(|verified| verified.appraise(&expected, &evidence.pcrs).map_err(|error| refused(error, true)))
        .map(|appraised| Accepted {
            claims: json!(appraised.claims()),
            not_compared: waived(appraised.waivers()),
            facts: json!({}),
            warnings: Vec::new(),
        });
    Ok(verdict)
}

/// Unverified claims.
pub(super) fn claimed_of(bytes: &[u8]) -> std::result::Result<Value, Box<Refused>> {
    kbs::parse(bytes).map(|evidence| json!(evidence.quote.claimed())).map_err(|error| Box::new(Refused::of(&error)))
}

/// What is wanted of a quote: all 24 PCRs of the SHA-256 bank are quoted.
pub(super) fn expected(question: &Question<'_>, pcrs: &BTreeMap<u8, Vec<Digest256>>) -> Expected {
    let nonce = match &question.nonce {
        Some(nonce) => Allowed::only(nonce.clone()),
        None => Allowed::any("no --nonce was given"),
    };
    let pcrs = pcrs.iter().map(|(index, values)| (*index, question.wanted.allowed(values.clone()))).collect();
    Expected { nonce, selection: Selection::ALL, pcrs, others: question.wanted.reason() }
}
