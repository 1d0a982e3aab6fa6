//! Report bodies: of an enclave (384 bytes) and of a trust domain (584, 648, 885 bytes).

use super::error::DcapError;
use claims::ReportData;
use claims::bytes::{Digest256, Digest384};
use claims::dcap::{DcapBody, DcapTee, SgxClaims, SgxFlags, TdAttributes, TdxClaims, TdxExtended};
use std::ops::Range;

/// Which body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sgx,
    Td10,
    Td15,
    Td15Extended,
}

/// What TCB levels are matched with, beside the PCK certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measured {
    Sgx,
    Tdx { at_launch: [u8; 16], now: Option<[u8; 16]> },
}

impl Kind {
    /// By the body descriptor of version 5.
    pub(crate) fn of_descriptor(tee: DcapTee, kind: u16, size: u32) -> Result<Self, DcapError> {
        let found = match (tee, kind) {
            (DcapTee::Sgx, 1) => Self::Sgx,
            (DcapTee::Tdx, 2) => Self::Td10,
            (DcapTee::Tdx, 3) => Self::Td15,
            (DcapTee::Tdx, 4) => Self::Td15Extended,
            _ => return Err(DcapError::Body { kind, size }),
        };
        if usize::try_from(size) != Ok(found.length()) {
            return Err(DcapError::Body { kind, size });
        }
        Ok(found)
    }

    pub(crate) const fn length(self) -> usize {
        match self {
            Self::Sgx => 384,
            Self::Td10 => 584,
            Self::Td15 => 648,
            Self::Td15Extended => 885,
        }
    }
}

/// Reads a body; the bytes have its length.
pub(crate) fn parse(kind: Kind, bytes: &[u8]) -> Result<(DcapBody, Measured), DcapError> {
    let wanted = kind.length();
    let body = Fields { bytes };
    let read = || match kind {
        Kind::Sgx => Some((DcapBody::Sgx(Box::new(enclave(bytes)?)), Measured::Sgx)),
        _ => {
            let at_launch = body.array(TEE_TCB_SVN)?;
            let now = match kind {
                Kind::Td15 | Kind::Td15Extended => Some(body.array(TEE_TCB_SVN2)?),
                _ => None,
            };
            Some((DcapBody::Tdx(Box::new(domain(kind, body)?)), Measured::Tdx { at_launch, now }))
        }
    };
    read().ok_or(DcapError::Truncated { what: "the report body", offset: bytes.len(), wanted })
}

/// Reads an enclave's report, of the quote or of the quoting enclave.
pub(crate) fn enclave(bytes: &[u8]) -> Option<SgxClaims> {
    let body = Fields { bytes };
    Some(SgxClaims {
        cpu_svn: body.hex(0..16)?,
        misc_select: u32::from_le_bytes(body.array(16..20)?),
        isv_ext_prod_id: body.hex(32..48)?,
        flags: SgxFlags(u64::from_le_bytes(body.array(48..56)?)),
        xfrm: u64::from_le_bytes(body.array(56..64)?),
        mrenclave: Digest256(body.array(64..96)?),
        mrsigner: Digest256(body.array(128..160)?),
        config_id: body.hex(192..256)?,
        isv_prod_id: u16::from_le_bytes(body.array(256..258)?),
        isv_svn: u16::from_le_bytes(body.array(258..260)?),
        config_svn: u16::from_le_bytes(body.array(260..262)?),
        isv_family_id: body.hex(304..320)?,
        report_data: ReportData(body.array(320..384)?),
    })
}

/// `TEE_TCB_SVN` (TDX module ABI, `TEE_TCB_INFO`): patch levels of the module and its loader at launch.
const TEE_TCB_SVN: Range<usize> = 0..16;
/// `TEE_TCB_SVN2`: the same now, behind the fields of 1.0.
const TEE_TCB_SVN2: Range<usize> = 584..600;

fn domain(kind: Kind, body: Fields<'_>) -> Option<TdxClaims> {
    let digest = |range| body.array(range).map(Digest384);
    let later = matches!(kind, Kind::Td15 | Kind::Td15Extended);
    Some(TdxClaims {
        report: match kind {
            Kind::Td15 => "1.5",
            Kind::Td15Extended => "1.5-ex",
            Kind::Sgx | Kind::Td10 => "1.0",
        },
        tee_tcb_svn: body.hex(TEE_TCB_SVN)?,
        mr_seam: digest(16..64)?,
        mr_signer_seam: digest(64..112)?,
        seam_attributes: u64::from_le_bytes(body.array(112..120)?),
        attributes: TdAttributes(u64::from_le_bytes(body.array(120..128)?)),
        xfam: u64::from_le_bytes(body.array(128..136)?),
        mrtd: digest(136..184)?,
        mr_config_id: digest(184..232)?,
        mr_owner: digest(232..280)?,
        mr_owner_config: digest(280..328)?,
        rtmr: [digest(328..376)?, digest(376..424)?, digest(424..472)?, digest(472..520)?],
        report_data: ReportData(body.array(520..584)?),
        tee_tcb_svn2: if later { Some(body.hex(TEE_TCB_SVN2)?) } else { None },
        mr_service_td: if later { Some(digest(600..648)?) } else { None },
        extended: match kind {
            Kind::Td15Extended => Some(TdxExtended {
                vm_id: body.array::<1>(648..649)?.into_iter().next()?,
                td_id: body.hex(649..681)?,
                device_info: body.hex(681..729)?,
                init_service_td: body.hex(729..777)?,
                init_service_td_attributes: body.hex(777..785)?,
                init_cpu_svn: body.hex(785..801)?,
                init_tee_tcb_svn: body.hex(801..817)?,
                init_tee_fmspc: body.hex(817..829)?,
                current_service_td: body.hex(829..877)?,
                current_service_td_attributes: body.hex(877..885)?,
            }),
            _ => None,
        },
    })
}

#[derive(Clone, Copy)]
struct Fields<'a> {
    bytes: &'a [u8],
}

impl Fields<'_> {
    fn array<const N: usize>(self, range: Range<usize>) -> Option<[u8; N]> {
        self.bytes.get(range)?.try_into().ok()
    }

    fn hex(self, range: Range<usize>) -> Option<String> {
        self.bytes.get(range).map(hex::encode)
    }
}
