//! What a SIGSTRUCT says about an SGX enclave (Intel SDM volume 3D, table 35-19), and what its pages look like.

use crate::Digest256;
use serde::{Serialize, Serializer};

/// The fields of a SIGSTRUCT that its signer vouches for, and who that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SigstructClaims {
    /// ENCLAVEHASH: the enclave that may be started with it.
    pub mrenclave: Digest256,
    /// SHA-256 of the signer's modulus, as stored: what the enclave's report calls MRSIGNER.
    pub mrsigner: Digest256,
    /// Product, as its signer numbers them.
    pub isvprodid: u16,
    /// Security version.
    pub isvsvn: u16,
    /// Extended product id, in hexadecimal (key separation and sharing).
    pub isvextprodid: String,
    /// Family id, in hexadecimal (key separation and sharing).
    pub isvfamilyid: String,
    /// Build date, `YYYY-MM-DD`, as its signer says.
    pub date: String,
    /// 0x8086 for Intel's own enclaves, else 0.
    pub vendor: u32,
    /// SWDEFINED.
    pub swdefined: u32,
    /// ATTRIBUTES.
    pub attributes: EnclaveAttributes,
    /// Which attributes must be as given.
    pub attribute_mask: EnclaveAttributes,
    /// MISCSELECT.
    pub miscselect: u32,
    /// Which bits of MISCSELECT must be as given.
    pub miscmask: u32,
    /// CET attributes and their mask.
    pub cet: (u8, u8),
    /// Whether the DEBUG attribute is set.
    pub debug: bool,
    /// Whether the same enclave may be started with DEBUG set: it is, or the mask leaves it open.
    pub debug_allowed: bool,
    /// Whether the signer's key is one that the public has: then MRSIGNER says nothing about who signed.
    pub public_sample_key: bool,
}

/// ATTRIBUTES of an enclave (SDM volume 3D, 35.7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct EnclaveAttributes {
    /// INIT 0x1, DEBUG 0x2, MODE64BIT 0x4, PROVISIONKEY 0x10, EINITTOKENKEY 0x20, CET 0x40, KSS 0x80.
    #[serde(serialize_with = "hexadecimal")]
    pub flags: u64,
    /// XFRM: processor states that the enclave may use.
    #[serde(serialize_with = "hexadecimal")]
    pub xfrm: u64,
}

impl EnclaveAttributes {
    /// DEBUG: the host may read and write the enclave's memory.
    pub const DEBUG: u64 = 0x2;

    /// Names of the flags that are set.
    pub fn names(&self) -> Vec<&'static str> {
        const NAMES: [(u64, &str); 8] = [
            (0x1, "INIT"),
            (EnclaveAttributes::DEBUG, "DEBUG"),
            (0x4, "MODE64BIT"),
            (0x10, "PROVISIONKEY"),
            (0x20, "EINITTOKENKEY"),
            (0x40, "CET"),
            (0x80, "KSS"),
            (0x400, "AEXNOTIFY"),
        ];
        NAMES.iter().filter(|(bit, _)| self.flags & bit != 0).map(|(_, name)| *name).collect()
    }
}

/// As text: a number of 64 bits does not survive every reader of JSON.
fn hexadecimal<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{number:#x}"))
}
