//! Signatures of quotes: RSASSA-PKCS1v15 and ECDSA P-256, both with SHA-256.

use super::error::TpmError;
use super::quote::ALG_SHA256;
use super::wire::Wire;

/// Longest signature that is read: RSA 4096 in a `TPMT_SIGNATURE`.
pub const MAX_SIGNATURE: usize = 518;

/// A signature as it came. Its kind says nothing: the enrolled key decides which one is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signature {
    /// RSASSA-PKCS1v15 with SHA-256.
    Rsassa(Vec<u8>),
    /// ECDSA P-256 with SHA-256: r and s, each 32 bytes, big-endian.
    Ecdsa(Box<[u8; 64]>),
}

impl Signature {
    /// The bare bytes of an RSA signature, as Azure's tools hand it over.
    pub fn raw_rsa(bytes: &[u8]) -> Result<Self, TpmError> {
        match bytes.len() {
            256..=512 => Ok(Self::Rsassa(bytes.to_vec())),
            got => Err(TpmError::SignatureForm { what: "an RSA signature has 256 to 512 bytes", got }),
        }
    }

    /// A `TPMT_SIGNATURE` (TPM 2.0 Library part 2, 11.3.4).
    pub fn from_tpmt(bytes: &[u8]) -> Result<Self, TpmError> {
        if bytes.len() > MAX_SIGNATURE {
            return Err(TpmError::SignatureForm { what: "too long", got: bytes.len() });
        }
        let mut wire = Wire::new(bytes);
        let (scheme, hash) = (wire.u16()?, wire.u16()?);
        if hash != ALG_SHA256 {
            return Err(TpmError::SignatureForm { what: "the hash is not SHA-256", got: usize::from(hash) });
        }
        let signature = match scheme {
            ALG_RSASSA => Self::raw_rsa(wire.sized("signature", 512)?)?,
            ALG_ECDSA => {
                let mut both = [0; 64];
                let (r, s) = both.split_at_mut(32);
                for half in [r, s] {
                    let value = wire.sized("signature", 32)?;
                    let start = half.len().saturating_sub(value.len());
                    for (place, byte) in half.iter_mut().skip(start).zip(value) {
                        *place = *byte;
                    }
                }
                Self::Ecdsa(Box::new(both))
            }
            _ => {
                return Err(TpmError::SignatureForm {
                    what: "neither RSASSA (0x14) nor ECDSA (0x18)",
                    got: usize::from(scheme),
                });
            }
        };
        wire.finish()?;
        Ok(signature)
    }
}

/// `TPM_ALG_RSASSA`.
const ALG_RSASSA: u16 = 0x0014;
/// `TPM_ALG_ECDSA`.
const ALG_ECDSA: u16 = 0x0018;
