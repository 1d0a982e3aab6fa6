//! The HCL report as it comes from NV index 0x01400001: a header, the hardware's report, the runtime claims, zeros.

use super::error::AzureError;
use super::runtime::{self, Runtime};
use super::td::{TD_REPORT_LENGTH, TdReport};
use crate::snp::{REPORT_LENGTH, Report};
use claims::azure::VmConfiguration;
use claims::bytes::{Digest256, ReportData};
use std::ops::Range;

/// Longest HCL report that is read; the NV index has 2600 bytes.
pub const MAX_HCL: usize = 16 * 1024;

/// An HCL report whose form is right. Nothing in it is true before it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HclReport {
    version: u32,
    hardware: Hardware,
    claims_hash: Digest256,
    runtime: Runtime,
}

/// The hardware's report inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hardware {
    /// An SNP report.
    Snp(Box<Report>),
    /// A TD report: only the platform itself can check it, so a quote of it comes apart.
    Tdx(Box<TdReport>),
}

impl HclReport {
    /// Parses all bytes of the NV index; behind the runtime claims only zeros may follow.
    pub fn parse(bytes: &[u8]) -> Result<Self, AzureError> {
        if bytes.len() > MAX_HCL {
            return Err(AzureError::Length { got: bytes.len() });
        }
        let word = |range: Range<usize>| -> Result<u32, AzureError> {
            let offset = range.start;
            let field = bytes.get(range).and_then(|field| field.try_into().ok());
            field.map(u32::from_le_bytes).ok_or(AzureError::Truncated { offset })
        };
        if bytes.get(SIGNATURE).ok_or(AzureError::Truncated { offset: 0 })? != b"HCLA" {
            return Err(AzureError::Magic);
        }
        let field = |name, got, fits: bool| if fits { Ok(got) } else { Err(AzureError::Field { name, got }) };
        let version = word(VERSION)?;
        field("version", version, matches!(version, 1 | 2))?;
        let report_size = word(REPORT_SIZE)?;
        let request_type = word(REQUEST_TYPE)?;
        field("request_type", request_type, request_type == REQUEST_REPORT)?;
        let status = word(STATUS)?;
        field("status", status, status == 0)?;
        zero(bytes, RESERVED)?;
        let data_size = word(DATA_SIZE)?;
        let data_version = word(DATA_VERSION)?;
        field("request data version", data_version, data_version == 1)?;
        let report_type = word(REPORT_TYPE)?;
        let hash_type = word(HASH_TYPE)?;
        if hash_type != HASH_SHA256 {
            return Err(AzureError::HashType { got: hash_type });
        }
        let claim_size = word(CLAIM_SIZE)?;
        let length = usize::try_from(claim_size).map_err(|_| AzureError::ClaimSize { got: claim_size })?;
        let end = CLAIMS.checked_add(length).filter(|end| *end <= bytes.len());
        let end = end.ok_or(AzureError::ClaimSize { got: claim_size })?;
        // Both sizes follow from the third, and nothing signs them: one value fits.
        field("data_size", data_size, claim_size.checked_add(20) == Some(data_size))?;
        field("report_size", report_size, usize::try_from(report_size) == Ok(end))?;
        zero(bytes, end..bytes.len())?;

        let claims = bytes.get(CLAIMS..end).ok_or(AzureError::ClaimSize { got: claim_size })?;
        let report = bytes.get(HARDWARE).ok_or(AzureError::Truncated { offset: HARDWARE.start })?;
        let hardware = match report_type {
            REPORT_SNP => Hardware::Snp(Box::new(Report::parse(report)?)),
            REPORT_TDX => {
                let start = HARDWARE.start;
                let (td, rest) =
                    report.split_at_checked(TD_REPORT_LENGTH).ok_or(AzureError::Truncated { offset: start })?;
                if let Some(index) = rest.iter().position(|byte| *byte != 0) {
                    let offset = start.saturating_add(TD_REPORT_LENGTH).saturating_add(index);
                    return Err(AzureError::Padding { offset });
                }
                Hardware::Tdx(Box::new(TdReport::parse(td)?))
            }
            got => return Err(AzureError::Field { name: "report_type", got }),
        };
        Ok(Self { version, hardware, claims_hash: Digest256::of(claims), runtime: runtime::parse(claims)? })
    }

    /// The hardware's report: not verified.
    pub fn hardware(&self) -> &Hardware {
        &self.hardware
    }

    /// Version of the header: not verified, and nothing depends on it.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// SHA-256 of the runtime claims, which the hardware's report must hold.
    pub fn claims_hash(&self) -> Digest256 {
        self.claims_hash
    }

    /// Settings of the VM: not verified.
    pub fn vm_configuration(&self) -> &VmConfiguration {
        &self.runtime.vm_configuration
    }

    /// What the hardware's report must hold: the hash of the claims, then zeros.
    pub fn bound_report_data(&self) -> ReportData {
        let mut bytes = [0; 64];
        for (place, byte) in bytes.iter_mut().zip(self.claims_hash.0) {
            *place = byte;
        }
        ReportData(bytes)
    }

    pub(super) fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}

fn zero(bytes: &[u8], range: Range<usize>) -> Result<(), AzureError> {
    let start = range.start;
    let field = bytes.get(range).ok_or(AzureError::Truncated { offset: start })?;
    match field.iter().position(|byte| *byte != 0) {
        Some(index) => Err(AzureError::Padding { offset: start.saturating_add(index) }),
        None => Ok(()),
    }
}

// Header, 32 bytes.
const SIGNATURE: Range<usize> = 0..4;
const VERSION: Range<usize> = 4..8;
const REPORT_SIZE: Range<usize> = 8..12;
const REQUEST_TYPE: Range<usize> = 12..16;
const STATUS: Range<usize> = 16..20;
const RESERVED: Range<usize> = 20..32;
/// The hardware's report: an SNP report fills it, a TD report is followed by zeros.
const HARDWARE: Range<usize> = 0x20..0x20 + REPORT_LENGTH;
// `IgvmRequestData`, 20 bytes, and the claims behind it.
const DATA_SIZE: Range<usize> = 0x4C0..0x4C4;
const DATA_VERSION: Range<usize> = 0x4C4..0x4C8;
const REPORT_TYPE: Range<usize> = 0x4C8..0x4CC;
const HASH_TYPE: Range<usize> = 0x4CC..0x4D0;
const CLAIM_SIZE: Range<usize> = 0x4D0..0x4D4;
const CLAIMS: usize = 0x4D4;

/// `request_type` of an attestation report.
const REQUEST_REPORT: u32 = 2;
/// `report_data_hash_type`: 1 is SHA-256, 2 and 3 are SHA-384 and SHA-512, which no released HCL writes.
const HASH_SHA256: u32 = 1;
const REPORT_SNP: u32 = 2;
const REPORT_TDX: u32 = 4;
