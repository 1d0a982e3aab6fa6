//! A quote as it came (TPM 2.0 Library part 2, 10.12.12 `TPMS_ATTEST` with `TPMS_QUOTE_INFO`), and as its key signed it.

use super::error::TpmError;
use super::expected::Selection;
use super::key::EnrolledKey;
use super::signature::Signature;
use super::wire::Wire;
use claims::azure::TpmClaims;
use claims::bytes::Digest256;
use std::collections::BTreeMap;

/// Longest message that is read; a quote over one bank has less than 256 bytes.
pub const MAX_QUOTE: usize = 512;

/// A quote whose form is right. Nothing in it is true before [`Quote::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    message: Vec<u8>,
    signature: Signature,
    nonce: Vec<u8>,
    claims: TpmClaims,
}

/// A quote that the enrolled key signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedQuote {
    nonce: Vec<u8>,
    claims: TpmClaims,
}

impl Quote {
    /// Parses the signed message. Exactly one selection, of three bytes, in the SHA-256 bank; no byte left over.
    pub fn parse(message: &[u8], signature: Signature) -> Result<Self, TpmError> {
        if message.len() > MAX_QUOTE {
            return Err(TpmError::Length { got: message.len() });
        }
        let mut wire = Wire::new(message);
        let magic = wire.u32()?;
        if magic != GENERATED {
            return Err(TpmError::Magic { got: magic });
        }
        let kind = wire.u16()?;
        if kind != ATTEST_QUOTE {
            return Err(TpmError::Kind { got: kind });
        }
        let qualified_signer = hex::encode(wire.sized("qualified signer", MAX_HASHED)?);
        let nonce = wire.sized("extra data", MAX_HASHED)?.to_vec();
        let (clock, reset_count, restart_count) = (wire.u64()?, wire.u32()?, wire.u32()?);
        let safe_at = wire.offset();
        let safe = match wire.u8()? {
            0 => false,
            1 => true,
            _ => return Err(TpmError::Field { what: "safe", offset: safe_at }),
        };
        let firmware_version = format!("{:016x}", wire.u64()?);
        let selection = selection(&mut wire)?;
        let digest_at = wire.offset();
        let pcr_digest = Digest256::from_slice(wire.sized("PCR digest", MAX_HASHED)?)
            .ok_or(TpmError::Field { what: "PCR digest", offset: digest_at })?;
        wire.finish()?;
        let claims = TpmClaims {
            qualified_signer,
            nonce: hex::encode(&nonce),
            clock,
            reset_count,
            restart_count,
            safe,
            firmware_version,
            pcr_selection: selection.indices(),
            pcr_digest,
            pcrs: BTreeMap::new(),
        };
        Ok(Self { message: message.to_vec(), signature, nonce, claims })
    }

    /// What the quote states. **Not verified**: good for explaining, never for trust.
    pub fn claimed(&self) -> &TpmClaims {
        &self.claims
    }

    /// The bytes that the signature covers.
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// Verifies the signature by a key that the caller trusts already.
    pub fn verify(self, key: &EnrolledKey) -> Result<VerifiedQuote, TpmError> {
        self.attested(key)
    }

    fn attested(self, key: &EnrolledKey) -> Result<VerifiedQuote, TpmError> {
        key.check(&self.message, &self.signature)?;
        Ok(VerifiedQuote { nonce: self.nonce, claims: self.claims })
    }
}

impl VerifiedQuote {
    /// What the TPM signed; the PCR values are not there yet, only their digest.
    pub fn claims(&self) -> &TpmClaims {
        &self.claims
    }

    /// `extraData`, as bytes.
    pub(super) fn nonce(&self) -> &[u8] {
        &self.nonce
    }

    pub(super) fn into_claims(self) -> TpmClaims {
        self.claims
    }
}

/// `TPML_PCR_SELECTION` with exactly one `TPMS_PCR_SELECTION`: SHA-256, three bytes.
fn selection(wire: &mut Wire<'_>) -> Result<Selection, TpmError> {
    let count = wire.u32()?;
    if count != 1 {
        return Err(TpmError::Banks { got: count });
    }
    let bank = wire.u16()?;
    if bank != ALG_SHA256 {
        return Err(TpmError::Bank { got: bank });
    }
    let size = wire.u8()?;
    if size != 3 {
        return Err(TpmError::SelectionSize { got: size });
    }
    Ok(Selection::from_bitmap(wire.array()?))
}

/// `TPM_GENERATED_VALUE`: the TPM itself made the message.
const GENERATED: u32 = 0xff54_4347;
/// `TPM_ST_ATTEST_QUOTE`.
const ATTEST_QUOTE: u16 = 0x8018;
/// `TPM_ALG_SHA256`.
pub(super) const ALG_SHA256: u16 = 0x000b;
/// An algorithm id and the longest digest.
const MAX_HASHED: usize = 66;
