//! Tokens of Microsoft Azure Attestation.
//!
//! *Takes* a verified token. *Guarantees* typed claims that are as wanted. *Does not check* that the service's policy
//! says what you think: any valid token of a shared instance says only that some evidence was genuine, so the values of
//! **this** workload and **this** session have to be named here.
//!
//! Claims: MAA's claim sets; for containers they are flat, for confidential VMs they lie in `x-ms-isolation-tee`.

use super::error::TokenError;
use super::jwt::VerifiedToken;
use super::value::{bytes, compare, differs, flag, hex_text, number, optional_text, text, wrong};
use crate::snp::Waiver;
use claims::token::{MaaClaims, MaaSgx, MaaSnp, MaaTdx, MaaTee};
use claims::{Allowed, Code, HostData, LaunchDigest, ReportData};
use serde_json::{Map, Value};

/// What a token must state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// `x-ms-compliance-status`, as [`COMPLIANT_CONTAINER`]; empty stands for none.
    pub compliance: Allowed<String>,
    /// `x-ms-policy-hash`: which policy the service applied; empty stands for none.
    pub policy_hash: Allowed<String>,
    /// `nonce`, as text: what the session sent along; empty stands for none. Services echo it where they take one.
    pub nonce: Allowed<String>,
    /// What the processor must state.
    pub tee: ExpectedTee,
}

/// What the processor must state. Debugging and migration are refused always, and any VMPL but 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpectedTee {
    /// An SNP guest.
    Snp {
        /// Launch measurement.
        measurement: Allowed<LaunchDigest>,
        /// HOST_DATA: on container groups the SHA-256 of the policy.
        host_data: Allowed<HostData>,
        /// What the session binds: SHA-256 of the runtime data, then zeros.
        report_data: Allowed<ReportData>,
    },
    /// An SGX enclave.
    Sgx {
        /// Enclave measurement, hex in lower case.
        mrenclave: Allowed<String>,
        /// Signer, hex in lower case.
        mrsigner: Allowed<String>,
        /// Product id of the signer.
        product_id: Allowed<u64>,
        /// Least security version.
        svn_floor: u64,
        /// Base64url of what the session binds.
        enclave_held_data: Allowed<String>,
    },
    /// A TDX guest.
    Tdx {
        /// Launch measurement, hex in lower case.
        mr_td: Allowed<String>,
        /// `attester_tcb_status`, as `UpToDate`.
        tcb_status: Allowed<String>,
        /// What the session binds.
        report_data: Allowed<ReportData>,
    },
}

/// A token whose claims are the wanted ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appraised {
    /// What the service says.
    pub claims: MaaClaims,
    /// What was not compared, and why.
    pub waivers: Vec<Waiver>,
}

/// Compliance of a confidential container group whose utility VM Microsoft endorses.
pub const COMPLIANT_CONTAINER: &str = "azure-compliant-uvm";
/// Compliance of a confidential VM.
pub const COMPLIANT_VM: &str = "azure-compliant-cvm";

/// Reads the claims of a verified token.
pub fn claims(token: &VerifiedToken) -> Result<MaaClaims, TokenError> {
    let outer = token.claims();
    // A confidential VM's token has the hardware's part inside; everything about the TEE is read from there.
    let inner = match outer.get("x-ms-isolation-tee") {
        None => outer,
        Some(Value::Object(members)) => members,
        Some(_) => return Err(wrong("x-ms-isolation-tee", "is no object")),
    };
    let attestation_type = text(inner, "x-ms-attestation-type")?;
    let tee = match attestation_type.as_str() {
        "sevsnpvm" => MaaTee::Snp(snp(inner)?),
        "sgx" => MaaTee::Sgx(sgx(inner)?),
        "tdxvm" => MaaTee::Tdx(tdx(inner)?),
        other => {
            let wanted = "sevsnpvm, sgx or tdxvm";
            return Err(differs("x-ms-attestation-type", other, wanted, Code::JwtClaim));
        }
    };
    Ok(MaaClaims {
        issuer: optional_text(outer, "iss")?.unwrap_or_default(),
        expires: token.expires(),
        attestation_type,
        compliance_status: optional_text(inner, "x-ms-compliance-status")?,
        policy_hash: optional_text(outer, "x-ms-policy-hash")?,
        // The service's documents say a text; sidecars send a number, and get it back as one.
        nonce: match outer.get("nonce") {
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => optional_text(outer, "nonce")?,
        },
        runtime: inner.get("x-ms-runtime").cloned(),
        tee,
    })
}

/// Compares the claims of a verified token with what is wanted.
pub fn appraise(token: &VerifiedToken, expected: &Expected) -> Result<Appraised, TokenError> {
    let claims = claims(token)?;
    let mut waivers = token.waivers().to_vec();
    let some = |value: &Option<String>| value.clone().unwrap_or_default();
    let (compliance, policy) = (some(&claims.compliance_status), some(&claims.policy_hash));
    compare(&mut waivers, "x-ms-compliance-status", Code::JwtClaim, &expected.compliance, &compliance)?;
    compare(&mut waivers, "x-ms-policy-hash", Code::JwtClaim, &expected.policy_hash, &policy)?;
    compare(&mut waivers, "nonce", Code::JwtBinding, &expected.nonce, &some(&claims.nonce))?;
    match (&expected.tee, &claims.tee) {
        (ExpectedTee::Snp { measurement, host_data, report_data }, MaaTee::Snp(snp)) => {
            refuse_debug("x-ms-sevsnpvm-is-debuggable", snp.is_debuggable)?;
            refuse_debug("x-ms-sevsnpvm-migration-allowed", snp.migration_allowed)?;
            if snp.vmpl != 0 {
                return Err(differs("x-ms-sevsnpvm-vmpl", snp.vmpl, 0, Code::JwtClaim));
            }
            let claim = "x-ms-sevsnpvm-launchmeasurement";
            compare(&mut waivers, claim, Code::Measurement, measurement, &snp.launch_measurement)?;
            compare(&mut waivers, "x-ms-sevsnpvm-hostdata", Code::HostData, host_data, &snp.host_data)?;
            compare(&mut waivers, "x-ms-sevsnpvm-reportdata", Code::JwtBinding, report_data, &snp.report_data)?;
        }
        (ExpectedTee::Sgx { mrenclave, mrsigner, product_id, svn_floor, enclave_held_data }, MaaTee::Sgx(sgx)) => {
            refuse_debug("x-ms-sgx-is-debuggable", sgx.is_debuggable)?;
            compare(&mut waivers, "x-ms-sgx-mrenclave", Code::Measurement, mrenclave, &sgx.mrenclave)?;
            compare(&mut waivers, "x-ms-sgx-mrsigner", Code::JwtClaim, mrsigner, &sgx.mrsigner)?;
            compare(&mut waivers, "x-ms-sgx-product-id", Code::JwtClaim, product_id, &sgx.product_id)?;
            if sgx.svn < *svn_floor {
                return Err(differs("x-ms-sgx-svn", sgx.svn, format!("at least {svn_floor}"), Code::JwtClaim));
            }
            let held = some(&sgx.enclave_held_data);
            compare(&mut waivers, "x-ms-sgx-ehd", Code::JwtBinding, enclave_held_data, &held)?;
        }
        (ExpectedTee::Tdx { mr_td, tcb_status, report_data }, MaaTee::Tdx(tdx)) => {
            refuse_debug("tdx_td_attributes_debug", tdx.is_debuggable)?;
            compare(&mut waivers, "tdx_mrtd", Code::Measurement, mr_td, &tdx.mr_td)?;
            compare(&mut waivers, "attester_tcb_status", Code::JwtClaim, tcb_status, &tdx.tcb_status)?;
            compare(&mut waivers, "tdx_report_data", Code::JwtBinding, report_data, &tdx.report_data)?;
        }
        (wanted, _) => {
            let wanted = match wanted {
                ExpectedTee::Snp { .. } => "sevsnpvm",
                ExpectedTee::Sgx { .. } => "sgx",
                ExpectedTee::Tdx { .. } => "tdxvm",
            };
            return Err(differs("x-ms-attestation-type", &claims.attestation_type, wanted, Code::JwtClaim));
        }
    }
    Ok(Appraised { claims, waivers })
}

fn refuse_debug(claim: &str, set: bool) -> Result<(), TokenError> {
    if set { Err(differs(claim, "true", "false", Code::JwtDebug)) } else { Ok(()) }
}

fn snp(members: &Map<String, Value>) -> Result<MaaSnp, TokenError> {
    Ok(MaaSnp {
        launch_measurement: bytes(members, "x-ms-sevsnpvm-launchmeasurement")?,
        host_data: bytes(members, "x-ms-sevsnpvm-hostdata")?,
        report_data: bytes(members, "x-ms-sevsnpvm-reportdata")?,
        is_debuggable: flag(members, "x-ms-sevsnpvm-is-debuggable")?,
        migration_allowed: flag(members, "x-ms-sevsnpvm-migration-allowed")?,
        vmpl: number(members, "x-ms-sevsnpvm-vmpl")?,
        guest_svn: number(members, "x-ms-sevsnpvm-guestsvn")?,
        tcb: [
            number(members, "x-ms-sevsnpvm-bootloader-svn")?,
            number(members, "x-ms-sevsnpvm-tee-svn")?,
            number(members, "x-ms-sevsnpvm-snpfw-svn")?,
            number(members, "x-ms-sevsnpvm-microcode-svn")?,
        ],
    })
}

fn sgx(members: &Map<String, Value>) -> Result<MaaSgx, TokenError> {
    Ok(MaaSgx {
        mrenclave: hex_text(members, "x-ms-sgx-mrenclave", 32)?,
        mrsigner: hex_text(members, "x-ms-sgx-mrsigner", 32)?,
        product_id: number(members, "x-ms-sgx-product-id")?,
        svn: number(members, "x-ms-sgx-svn")?,
        is_debuggable: flag(members, "x-ms-sgx-is-debuggable")?,
        enclave_held_data: optional_text(members, "x-ms-sgx-ehd")?,
    })
}

fn tdx(members: &Map<String, Value>) -> Result<MaaTdx, TokenError> {
    let register = |name: &str| hex_text(members, name, 48);
    Ok(MaaTdx {
        mr_td: register("tdx_mrtd")?,
        rtmr: [register("tdx_rtmr0")?, register("tdx_rtmr1")?, register("tdx_rtmr2")?, register("tdx_rtmr3")?],
        mr_config_id: register("tdx_mrconfigid")?,
        report_data: bytes(members, "tdx_report_data")?,
        is_debuggable: flag(members, "tdx_td_attributes_debug")?,
        tcb_status: text(members, "attester_tcb_status")?,
    })
}
