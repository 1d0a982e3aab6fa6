//! SEV-SNP reports: the production verifier first, then the one that a development program adds.

use super::{Appraiser, Init, Kind, Samples, Session, Verified, collateral};
use crate::http::protocol::check_report_data;
use attest::snp::{CertificateTable, CrlStatus, Endorsements, Report};
use claims::snp::{SnpClaims, Tee};
use claims::{Code, UnixTime};
use serde_json::{Value, json};
use std::sync::Arc;

/// Oldest report format that is believed: version 2 names no CPU and comes from outdated firmware.
const OLDEST_REPORT: u32 = 3;

/// A verifier that a program adds to the broker's own. Asked only by a development broker, and only after the
/// production verifier refused.
pub trait ExtraVerifier: Send + Sync {
    /// Verifies the raw bytes of a report. The broker compares the report data itself.
    fn verify(&self, report: &[u8], certificates: &Endorsements, now: UnixTime) -> Result<SnpClaims, Code>;

    /// Reads upstream's sample evidence, which nobody signs. None, as by default: it is not taken.
    fn samples(&self) -> Option<Samples> {
        None
    }
}

/// Who may say that evidence is genuine.
#[derive(Clone, Default)]
pub struct Verifiers {
    /// Beside the production verifier; ignored unless the broker runs with `dev`.
    pub extra: Option<Arc<dyn ExtraVerifier>>,
}

impl Appraiser {
    /// Verifies a report with the certificates that came along.
    pub(super) fn verify_snp(&self, evidence: &str, session: &Session<'_>) -> Result<Verified, Code> {
        let (report, table) = attest::snp::kbs::from_slice(evidence.as_bytes()).map_err(|error| error.code())?;
        let (claims, revocation) = self.report(&report, &table, session.now)?;
        if claims.report_data != report.claimed().report_data {
            return Err(Code::SnpFormat);
        }
        check_report_data(&claims.report_data.0, &session.binding)?;
        Ok(Verified {
            kind: Kind::Snp,
            claims: upstream_claims(&claims),
            report_data: hex::encode(claims.report_data.0),
            init: Init::Field(claims.host_data.0.to_vec()),
            instance: Some(claims.report_id.clone()),
            snp: Some(claims),
            revocation: Some(revocation),
        })
    }

    fn report(&self, report: &Report, table: &CertificateTable, now: UnixTime) -> Result<(SnpClaims, CrlStatus), Code> {
        let collateral = collateral::amd(self.collateral.as_deref(), report);
        let with = Endorsements::choose(report, table, &collateral);
        let verified = match report.verify_cached(&with, &self.revocation, now, &self.known) {
            Ok(verified) => (verified.claims().clone(), verified.crl().clone()),
            Err(error) => {
                let Some(extra) = &self.extra else { return Err(error.code()) };
                let claims = match extra.verify(report.as_bytes(), &with, now) {
                    Ok(claims) => claims,
                    // Evidence that does not look emulated keeps the production verifier's reason.
                    Err(code) => return Err(if error.code() == Code::Emulated { code } else { error.code() }),
                };
                // A verifier that is not the production one cannot vouch for silicon, whatever it says.
                let claims = SnpClaims { tee: Tee::Emulated, ..claims };
                (claims, CrlStatus::Absent { reason: "emulated processor".into() })
            }
        };
        if verified.0.version < OLDEST_REPORT { Err(Code::SnpVersion) } else { Ok(verified) }
    }
}

/// The claims under upstream's names, so that policies and tools written for it find them, and the rest under ours.
pub(super) fn upstream_claims(claims: &SnpClaims) -> Value {
    let (abi_major, abi_minor) = claims.policy.abi();
    let mut value = serde_json::to_value(claims).unwrap_or_default();
    if let Some(members) = value.as_object_mut() {
        members.remove("report_data");
        let flat = json!({
            "policy_abi_major": abi_major,
            "policy_abi_minor": abi_minor,
            "policy_smt_allowed": claims.policy.smt(),
            "policy_migrate_ma": claims.policy.migration(),
            "policy_debug_allowed": claims.policy.debug(),
            "policy_single_socket": claims.policy.single_socket(),
            "reported_tcb_bootloader": claims.reported_tcb.bootloader,
            "reported_tcb_tee": claims.reported_tcb.tee,
            "reported_tcb_snp": claims.reported_tcb.snp,
            "reported_tcb_microcode": claims.reported_tcb.microcode,
            "platform_tsme_enabled": claims.platform_info.tsme(),
            "platform_smt_enabled": claims.platform_info.smt(),
        });
        if let Value::Object(flat) = flat {
            members.extend(flat);
        }
    }
    value
}
