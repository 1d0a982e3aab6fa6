//! TPM quotes. The attestation key must be enrolled (reference value `trusted_aks`): a key that evidence brings along
//! proves nothing.

use super::azure::{pcr_claims, pcr8, quote_bound_to};
use super::{Kind, Verified};
use attest::tpm::{EnrolledKey, kbs};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use claims::Code;
use serde_json::Value;

/// The reference value with the keys: base64 of a SubjectPublicKeyInfo in DER, each.
pub(crate) const TRUSTED_KEYS: &str = "trusted_aks";
/// Bytes of the binding that clients ask a TPM to sign.
pub(super) const NONCE_LENGTH: usize = 32;

/// Verifies what one of the enrolled keys quoted over `nonce`.
pub(super) fn verify(evidence: &Value, enrolled: &[Vec<u8>], nonce: &[u8]) -> Result<Verified, Code> {
    let text = serde_json::to_vec(evidence).map_err(|_| Code::TpmFormat)?;
    let sent = kbs::parse(&text).map_err(|error| error.code())?;
    let enrolled = enrolled.iter().find_map(|der| {
        let key = EnrolledKey::from_spki(der).ok()?;
        (key.digest() == sent.claimed_key).then_some((key, der))
    });
    let (key, der) = enrolled.ok_or(Code::TpmKey)?;
    let verified = sent.quote.verify(&key).map_err(|error| error.code())?;
    let appraised = verified.appraise(&quote_bound_to(nonce.to_vec()), &sent.pcrs).map_err(|error| error.code())?;
    let mut claims = pcr_claims(appraised.claims());
    if let Some(members) = claims.as_object_mut() {
        members.insert("ak_public".into(), STANDARD.encode(der).into());
        members.insert("firmware_version".into(), appraised.claims().firmware_version.clone().into());
        members.insert("reset_count".into(), appraised.claims().reset_count.into());
        members.insert("safe".into(), appraised.claims().safe.into());
    }
    Ok(Verified {
        kind: Kind::Tpm,
        snp: None,
        claims,
        report_data: appraised.claims().nonce.clone(),
        init: pcr8(appraised.claims()),
        instance: Some(format!("{}-{}", key.digest(), appraised.claims().reset_count)),
        revocation: None,
    })
}
