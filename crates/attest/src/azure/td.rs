//! The TD report of an HCL report (Intel TDX module 1.5 ABI, `TDREPORT_STRUCT`), compared with the body of a quote.
//!
//! Only the processor that made a TD report can check its MAC. So nothing in it counts by itself: each field that means
//! something must equal the one in a quote that was verified, and the MAC is not read.

use super::error::AzureError;
use aws_lc_rs::digest::{SHA384, digest};
use claims::azure::TdClaims;
use claims::bytes::ReportData;
use claims::dcap::{DcapBody, TdxClaims};
use std::ops::Range;

/// Length of a TD report.
pub const TD_REPORT_LENGTH: usize = 1024;
/// Length of the TD report body in a quote of version 4 (TDX DCAP quote format, table "TD Quote Body" 1.0).
pub const TD_BODY_LENGTH: usize = 584;

/// A TD report whose form is right: it is consistent in itself, and nobody vouches for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdReport {
    raw: Box<[u8; TD_REPORT_LENGTH]>,
}

/// The body of a TDX quote that the caller has verified, for example with `attest::dcap`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedTdBody {
    raw: Box<[u8; TD_BODY_LENGTH]>,
}

impl TdReport {
    /// Parses the 1024 bytes: type TDX, reserved bytes zero, both hashes right.
    pub fn parse(bytes: &[u8]) -> Result<Self, AzureError> {
        let raw: Box<[u8; TD_REPORT_LENGTH]> =
            Box::new(bytes.try_into().map_err(|_| AzureError::Truncated { offset: bytes.len() })?);
        let report = Self { raw };
        if report.field(TYPE) != [TEE_TDX, 0, 0, 0] && report.field(TYPE) != [TEE_TDX, 0, 1, 0] {
            return Err(AzureError::TdForm { what: "the type is not TDX, version 0 or 1" });
        }
        if RESERVED.into_iter().any(|range| report.field(range).iter().any(|byte| *byte != 0)) {
            return Err(AzureError::TdForm { what: "a reserved byte is not zero" });
        }
        for (hash, of, what) in [
            (TCB_INFO_HASH, TCB_INFO, "the hash of the TCB information is wrong"),
            (TD_INFO_HASH, TD_INFO, "the hash of the guest's information is wrong"),
        ] {
            if digest(&SHA384, report.field(of)).as_ref() != report.field(hash) {
                return Err(AzureError::TdForm { what });
            }
        }
        Ok(report)
    }

    /// What the guest asked to be signed: not verified.
    pub fn report_data(&self) -> ReportData {
        ReportData::from_slice(self.field(REPORT_DATA)).unwrap_or(ReportData([0; 64]))
    }

    /// Whether this is what was quoted, field by field.
    pub(super) fn equals(&self, quoted: &VerifiedTdBody) -> Result<(), AzureError> {
        for (name, here, there) in FIELDS {
            let (report, quote) = (self.field(here), quoted.field(there));
            if report != quote {
                return Err(AzureError::TdMismatch { name, report: hex::encode(report), quote: hex::encode(quote) });
            }
        }
        Ok(())
    }

    fn field(&self, range: Range<usize>) -> &[u8] {
        self.raw.get(range).unwrap_or(&[])
    }
}

impl VerifiedTdBody {
    /// The body of a quote that [`crate::dcap`] verified; none when the quote is an enclave's.
    pub fn of_quote(quote: &crate::dcap::VerifiedQuote) -> Option<Self> {
        match &quote.claims().body {
            DcapBody::Tdx(claims) => Self::of_claims(claims),
            DcapBody::Sgx(_) => None,
        }
    }

    /// Lays the fields out as the body of version 4 has them.
    fn of_claims(claims: &TdxClaims) -> Option<Self> {
        let svn = hex::decode(&claims.tee_tcb_svn).ok()?;
        let [rtmr_0, rtmr_1, rtmr_2, rtmr_3] = &claims.rtmr;
        let parts: [&[u8]; 15] = [
            &svn,
            claims.mr_seam.as_bytes(),
            claims.mr_signer_seam.as_bytes(),
            &claims.seam_attributes.to_le_bytes(),
            &claims.attributes.0.to_le_bytes(),
            &claims.xfam.to_le_bytes(),
            claims.mrtd.as_bytes(),
            claims.mr_config_id.as_bytes(),
            claims.mr_owner.as_bytes(),
            claims.mr_owner_config.as_bytes(),
            rtmr_0.as_bytes(),
            rtmr_1.as_bytes(),
            rtmr_2.as_bytes(),
            rtmr_3.as_bytes(),
            claims.report_data.as_bytes(),
        ];
        parts.concat().try_into().ok().map(Self::assertion)
    }

    /// Says that a verified quote has this body. The caller answers for it: nothing here can check that.
    pub fn assertion(body: [u8; TD_BODY_LENGTH]) -> Self {
        Self { raw: Box::new(body) }
    }

    /// The claims, of the quote and so verified.
    pub(super) fn claims(&self) -> TdClaims {
        let hex = |range| hex::encode(self.field(range));
        TdClaims {
            tee_tcb_svn: hex(0..16),
            mr_seam: hex(16..64),
            td_attributes: hex(120..128),
            xfam: hex(128..136),
            mr_td: hex(136..184),
            mr_config_id: hex(184..232),
            mr_owner: hex(232..280),
            mr_owner_config: hex(280..328),
            rtmr: [hex(328..376), hex(376..424), hex(424..472), hex(472..520)],
            report_data: ReportData::from_slice(self.field(520..584)).unwrap_or(ReportData([0; 64])),
        }
    }

    fn field(&self, range: Range<usize>) -> &[u8] {
        self.raw.get(range).unwrap_or(&[])
    }
}

/// `REPORTTYPE.TYPE` of a TD report.
const TEE_TDX: u8 = 0x81;
// `REPORTMACSTRUCT`, 256 bytes.
const TYPE: Range<usize> = 0..4;
const TCB_INFO_HASH: Range<usize> = 32..80;
const TD_INFO_HASH: Range<usize> = 80..128;
const REPORT_DATA: Range<usize> = 128..192;
// `TEE_TCB_INFO`, 239 bytes, and `TDINFO_STRUCT`, 512 bytes.
const TCB_INFO: Range<usize> = 256..495;
const TD_INFO: Range<usize> = 512..1024;
/// Reserved: in `REPORTMACSTRUCT` twice, behind `TEE_TCB_INFO`.
const RESERVED: [Range<usize>; 3] = [4..16, 192..224, 495..512];
/// Every field that is in both: its name, where it is in the TD report, where in the quote's body.
const FIELDS: [(&str, Range<usize>, Range<usize>); 15] = [
    ("report_data", REPORT_DATA, 520..584),
    ("tee_tcb_svn", 264..280, 0..16),
    ("mr_seam", 280..328, 16..64),
    ("mr_signer_seam", 328..376, 64..112),
    ("seam_attributes", 376..384, 112..120),
    ("td_attributes", 512..520, 120..128),
    ("xfam", 520..528, 128..136),
    ("mr_td", 528..576, 136..184),
    ("mr_config_id", 576..624, 184..232),
    ("mr_owner", 624..672, 232..280),
    ("mr_owner_config", 672..720, 280..328),
    ("rtmr_0", 720..768, 328..376),
    ("rtmr_1", 768..816, 376..424),
    ("rtmr_2", 816..864, 424..472),
    ("rtmr_3", 864..912, 472..520),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_body_of_a_quote_is_laid_out_as_it_came() {
        let folder = std::env::var_os("CONFIDE_VECTORS").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
            std::path::PathBuf::from,
        );
        let Ok(bytes) = std::fs::read(folder.join("tdx/phala_v4_B0C06F000000/quote.bin")) else {
            println!("skipped: vectors are not here");
            return;
        };
        let quote = crate::dcap::Quote::parse(&bytes).unwrap();
        let DcapBody::Tdx(claims) = quote.claimed() else { panic!("not TDX") };
        let body = VerifiedTdBody::of_claims(claims).unwrap();
        assert_eq!(body.raw.as_slice(), &bytes[48..48 + TD_BODY_LENGTH]);
    }
}
