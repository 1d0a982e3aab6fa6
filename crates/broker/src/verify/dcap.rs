//! SGX and TDX quotes. Collateral comes from the broker's folder; the PCK chain is in the quote.

use super::{Appraiser, Init, Kind, Session, Verified, base64_member, collateral};
use crate::http::protocol::check_report_data;
use attest::dcap::{Quote, VerifiedCollateral, VerifiedQuote};
use claims::dcap::{CollateralState, DcapBody, DcapClaims, SgxClaims, TdxClaims};
use claims::{Code, ReportData, UnixTime};
use serde_json::{Value, json};
use std::sync::{Arc, PoisonError};

/// Heaps of collateral that are remembered as verified.
const KNOWN_HEAPS: usize = 64;
/// Intel's vendor id of quoting enclaves (SGX DCAP quote header).
const INTEL_QE: &str = "939a7233f79c4ca9940a0db3957f0607";

impl Appraiser {
    /// Verifies `{"quote": base64}`; a `cc_eventlog` beside it is not read.
    pub(super) fn verify_quote(&self, kind: Kind, evidence: &Value, session: &Session<'_>) -> Result<Verified, Code> {
        let quote = base64_member(evidence, "quote", Code::DcapFormat)?;
        let (verified, report_data) = self.quoted(kind, &quote, session.now)?;
        check_report_data(&report_data.0, &session.binding)?;
        Ok(verified)
    }

    /// Everything of a quote but what it is bound to.
    pub(super) fn quoted(&self, kind: Kind, quote: &[u8], now: UnixTime) -> Result<(Verified, ReportData), Code> {
        let verified = self.quote(quote, now)?;
        let claims = verified.claims();
        let (upstream, init) = match (kind, &claims.body) {
            (Kind::Tdx, DcapBody::Tdx(body)) => (tdx_claims(claims, body), body.mr_config_id.as_bytes().to_vec()),
            (Kind::Sgx, DcapBody::Sgx(body)) => {
                (sgx_claims(claims, body), hex::decode(&body.config_id).map_err(|_| Code::DcapFormat)?)
            }
            _ => return Err(Code::DcapVersion),
        };
        let report_data = claims.body.report_data();
        let verified = Verified {
            kind,
            snp: None,
            claims: upstream,
            report_data: hex::encode(report_data.0),
            init: Init::Field(init),
            instance: None,
            revocation: None,
        };
        Ok((verified, report_data))
    }

    /// Verifies a quote under Intel's pinned root; what its patch level is worth is for a policy to say.
    pub(super) fn quote(&self, bytes: &[u8], now: UnixTime) -> Result<VerifiedQuote, Code> {
        let quote = Quote::parse(bytes).map_err(|error| error.code())?;
        let mut heap = collateral::intel(self.collateral.as_deref());
        if heap == attest::dcap::Collateral::new() {
            // Said before the quote's own chain makes the heap look as if something were there.
            tracing::warn!("there is no collateral of Intel's in the broker's collateral folder");
            return Err(Code::DcapCollateral);
        }
        heap.add_chain_of(&quote).map_err(|error| error.code())?;
        let collateral = self.checked(&heap)?;
        quote.verify_cached(&collateral, now, &self.platforms).map_err(|error| {
            tracing::info!(%error, "a quote is refused");
            error.code()
        })
    }

    /// A heap of collateral, verified now or before. Dates are checked at each use.
    fn checked(&self, heap: &attest::dcap::Collateral) -> Result<Arc<VerifiedCollateral>, Code> {
        let id = heap.digest();
        if let Some(known) = self.intel.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(Arc::clone(known));
        }
        let checked = Arc::new(heap.verify().map_err(|error| error.code())?);
        let mut known = self.intel.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_HEAPS {
            known.clear();
        }
        known.insert(id, Arc::clone(&checked));
        Ok(checked)
    }
}

/// Under upstream's names; byte strings in the order of the report, numbers beside them.
pub(super) fn tdx_claims(claims: &DcapClaims, body: &TdxClaims) -> Value {
    let [rtmr_0, rtmr_1, rtmr_2, rtmr_3] = &body.rtmr;
    let (attributes, xfam) = (body.attributes, body.xfam);
    with_tcb(
        claims,
        json!({
            "quote": {
                "header": header(claims, "81000000"),
                "body": {
                    "tcb_svn": body.tee_tcb_svn,
                    "mr_seam": body.mr_seam,
                    "mrsigner_seam": body.mr_signer_seam,
                    "seam_attributes": little_endian(body.seam_attributes),
                    "td_attributes": little_endian(attributes.0),
                    "xfam": little_endian(xfam),
                    "mr_td": body.mrtd,
                    "mr_config_id": body.mr_config_id,
                    "mr_owner": body.mr_owner,
                    "mr_owner_config": body.mr_owner_config,
                    "mr_service_td": body.mr_service_td,
                    "rtmr_0": rtmr_0,
                    "rtmr_1": rtmr_1,
                    "rtmr_2": rtmr_2,
                    "rtmr_3": rtmr_3,
                    "report_data": body.report_data,
                },
            },
            "td_attributes": {
                "debug": attributes.under_debug(),
                "septve_disable": attributes.sept_ve_disable(),
                "migratable": attributes.migratable(),
                "service_td": attributes.service_td_extended(),
                "perfmon": attributes.perfmon(),
                "reserved": attributes.reserved() != 0,
            },
        }),
    )
}

fn sgx_claims(claims: &DcapClaims, body: &SgxClaims) -> Value {
    with_tcb(
        claims,
        json!({
            "header": header(claims, "00000000"),
            "body": {
                "cpu_svn": body.cpu_svn,
                "misc_select": hex::encode(body.misc_select.to_le_bytes()),
                "isv_ext_prod_id": body.isv_ext_prod_id,
                "attributes": {"flags": little_endian(body.flags.0), "xfrm": little_endian(body.xfrm)},
                "mr_enclave": body.mrenclave,
                "mr_signer": body.mrsigner,
                "config_id": body.config_id,
                "isv_prod_id": hex::encode(body.isv_prod_id.to_le_bytes()),
                "isv_svn": hex::encode(body.isv_svn.to_le_bytes()),
                "config_svn": hex::encode(body.config_svn.to_le_bytes()),
                "isv_family_id": body.isv_family_id,
                "report_data": body.report_data,
            },
            "isv_prod_id": body.isv_prod_id,
            "isv_svn": body.isv_svn,
            "debug": body.flags.debug(),
            "init": body.flags.init(),
            "provision_key": body.flags.provision_key(),
        }),
    )
}

fn header(claims: &DcapClaims, tee_type: &str) -> Value {
    json!({
        "version": hex::encode(claims.quote_version.to_le_bytes()),
        "att_key_type": "0200",
        "tee_type": tee_type,
        "vendor_id": INTEL_QE,
    })
}

/// Adds what Intel says about the platform.
fn with_tcb(claims: &DcapClaims, mut value: Value) -> Value {
    let current = claims.collateral.state == CollateralState::Current;
    let facts = json!({
        "tcb_status": claims.tcb.status.name(),
        "tcb_date": claims.tcb.platform.date,
        "tcb_eval_num": claims.tcb.evaluation_number,
        "advisory_ids": claims.tcb.advisories,
        "collateral_expiration_status": if current { "0" } else { "1" },
        "earliest_expiration_date": claims.collateral.until,
        "fmspc": claims.platform.fmspc,
        "ppid": claims.platform.ppid,
        "is_cached_keys": claims.platform.cached_keys,
        "is_dynamic_platform": claims.platform.dynamic_platform,
        "is_smt_enabled": claims.platform.smt_enabled,
    });
    if let (Some(members), Value::Object(facts)) = (value.as_object_mut(), facts) {
        members.extend(facts);
    }
    value
}

fn little_endian(value: u64) -> String {
    hex::encode(value.to_le_bytes())
}
