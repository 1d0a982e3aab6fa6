//! What is wanted of a quote, and the comparison.

use super::error::TpmError;
use super::quote::VerifiedQuote;
use crate::snp::Waiver;
use claims::Allowed;
use claims::azure::TpmClaims;
use claims::bytes::Digest256;
use std::collections::BTreeMap;

/// PCRs of the SHA-256 bank: one bit per index, 0 to 23.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection([u8; 3]);

/// PCR values by index, as the sender says; the quote's digest decides whether they are true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrValues(BTreeMap<u8, Digest256>);

/// What a quote must state to be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The verifier's nonce, all of `extraData`.
    pub nonce: Allowed<Vec<u8>>,
    /// Exactly these PCRs are quoted, no more and no fewer.
    pub selection: Selection,
    /// Reference values by index; an index that is not in the selection is refused.
    pub pcrs: BTreeMap<u8, Allowed<Digest256>>,
    /// Why the PCRs of the selection that are not named above are not compared.
    pub others: String,
}

/// A quote whose claims are the wanted ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppraisedQuote {
    claims: TpmClaims,
    waivers: Vec<Waiver>,
}

impl Selection {
    /// PCR 0 to 23.
    pub const ALL: Self = Self([0xff; 3]);

    /// From the three bytes of `TPMS_PCR_SELECTION`: bit i of byte j is PCR 8j + i.
    pub fn from_bitmap(bitmap: [u8; 3]) -> Self {
        Self(bitmap)
    }

    /// The three bytes.
    pub fn bitmap(self) -> [u8; 3] {
        self.0
    }

    /// The indices, ascending.
    pub fn indices(self) -> Vec<u8> {
        let [low, middle, high] = self.0;
        let bits = u32::from_le_bytes([low, middle, high, 0]);
        (0..PCRS).filter(|index| bits >> index & 1 == 1).collect()
    }
}

impl PcrValues {
    /// Values by index; indices above 23 are refused.
    pub fn new(values: BTreeMap<u8, Digest256>) -> Result<Self, TpmError> {
        match values.keys().find(|index| **index >= PCRS) {
            Some(index) => Err(TpmError::PcrIndex { index: *index }),
            None => Ok(Self(values)),
        }
    }

    /// The values of PCR 0, 1, 2 and so on, at most 24.
    pub fn from_zero(values: &[Digest256]) -> Result<Self, TpmError> {
        if values.len() > usize::from(PCRS) {
            return Err(TpmError::PcrIndex { index: PCRS });
        }
        Ok(Self((0..PCRS).zip(values.iter().copied()).collect()))
    }
}

impl VerifiedQuote {
    /// Compares nonce, selection, PCR digest and PCRs, in that order.
    pub fn appraise(self, expected: &Expected, values: &PcrValues) -> Result<AppraisedQuote, TpmError> {
        let mut waivers = Vec::new();
        match &expected.nonce {
            Allowed::OneOf(nonces) if nonces.iter().any(|nonce| same(nonce, self.nonce())) => {}
            Allowed::OneOf(_) => return Err(TpmError::Nonce { got: self.claims().nonce.clone() }),
            Allowed::Any { reason } => waivers.push(Waiver { claim: "nonce", reason: reason.clone() }),
        }
        let wanted = expected.selection.indices();
        if self.claims().pcr_selection != wanted {
            return Err(TpmError::Selection { got: self.claims().pcr_selection.clone(), wanted });
        }
        // Exactly the quoted PCRs: a value beside them would be a claim that nothing signs.
        if let Some(index) = wanted.iter().find(|index| !values.0.contains_key(index)) {
            return Err(TpmError::PcrMissing { index: *index });
        }
        if let Some(index) = values.0.keys().find(|index| !wanted.contains(index)) {
            return Err(TpmError::PcrNotQuoted { index: *index });
        }
        let joined: Vec<u8> = values.0.values().flat_map(|value| value.0).collect();
        let digest = Digest256::of(&joined);
        if digest != self.claims().pcr_digest {
            return Err(TpmError::PcrDigest { values: digest, quoted: self.claims().pcr_digest });
        }
        for (index, allowed) in &expected.pcrs {
            let got = *values.0.get(index).ok_or(TpmError::PcrNotQuoted { index: *index })?;
            match allowed {
                Allowed::OneOf(digests) if digests.contains(&got) => {}
                Allowed::OneOf(digests) => {
                    return Err(TpmError::Pcr { index: *index, got, allowed: digests.clone() });
                }
                Allowed::Any { reason } => waivers.push(Waiver { claim: "pcrs", reason: reason.clone() }),
            }
        }
        if wanted.iter().any(|index| !expected.pcrs.contains_key(index)) {
            waivers.push(Waiver { claim: "pcrs", reason: expected.others.clone() });
        }
        let mut claims = self.into_claims();
        claims.pcrs.clone_from(&values.0);
        Ok(AppraisedQuote { claims, waivers })
    }
}

impl AppraisedQuote {
    /// What the TPM signed, with the PCR values.
    pub fn claims(&self) -> &TpmClaims {
        &self.claims
    }

    /// What was not compared, and why.
    pub fn waivers(&self) -> &[Waiver] {
        &self.waivers
    }
}

fn same(one: &[u8], other: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one, other).is_ok()
}

/// A TPM for a PC has 24.
const PCRS: u8 = 24;
