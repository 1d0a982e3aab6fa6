//! Azure confidential VMs: the processor vouches for a vTPM's key, and that key's quote is bound to the session.

use super::{Appraiser, Init, Kind, Verified, collateral, dcap, snp};
use attest::azure::{Console, Expected, ExpectedHardware, Hardware, VerifiedTdBody, VmRules, kbs};
use attest::snp::{
    BelievedVersions, CertificateTable, Debugging, Endorsements, Migration, PlatformRules, Rule, TcbFloor,
};
use attest::tpm::{self, Selection};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use claims::azure::{AzureHardware, TpmClaims};
use claims::dcap::DcapBody;
use claims::{Allowed, Code, Digest256, UnixTime};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Why nothing but form, genuineness and freshness is compared here.
const POLICY: &str = "an appraisal policy decides";

impl Appraiser {
    /// Verifies what a vTPM quoted over `nonce`: the session's binding.
    pub(super) fn verify_azure(
        &self,
        kind: Kind,
        evidence: &Value,
        nonce: &[u8],
        now: UnixTime,
    ) -> Result<Verified, Code> {
        let text = serde_json::to_vec(evidence).map_err(|_| Code::AzureFormat)?;
        let envelope = kbs::parse(&text).map_err(|error| error.code())?;
        let (verified, quoted) = match (kind, envelope.evidence.hcl.hardware()) {
            (Kind::AzSnpVtpm, Hardware::Snp(report)) => {
                let mut collateral = collateral::amd(self.collateral.as_deref(), report);
                if let Some(vcek) = &envelope.vcek {
                    // Untrusted like all the rest: a bad one makes the chain fail.
                    let _ = collateral.add(vcek);
                }
                let with = Endorsements::choose(report, &CertificateTable::of(Vec::new()), &collateral);
                let verified = envelope.evidence.verify_snp(&with, &self.revocation, now);
                (verified.map_err(|error| error.code())?, None)
            }
            (Kind::AzTdxVtpm, Hardware::Tdx(_)) => {
                let quote = self.quote(envelope.td_quote.as_deref().ok_or(Code::AzureFormat)?, now)?;
                let body = VerifiedTdBody::of_quote(&quote).ok_or(Code::DcapVersion)?;
                (envelope.evidence.verify_tdx(&body).map_err(|error| error.code())?, Some(quote))
            }
            _ => return Err(Code::AzureFormat),
        };
        let hardware = match kind {
            Kind::AzTdxVtpm => ExpectedHardware::Tdx { mr_td: Allowed::any(POLICY) },
            _ => ExpectedHardware::Snp(Box::new(any_snp())),
        };
        let vm = VmRules {
            secure_boot: Rule::NotAsked,
            tpm: Rule::NotAsked,
            console: Console::Allowed { reason: POLICY.into() },
            root_cert_thumbprint: Allowed::any(POLICY),
        };
        let quote = quote_bound_to(nonce.to_vec());
        let expected = Expected { hardware, quote, vm, user_data: Allowed::any(POLICY) };
        let appraised = verified.appraise(&expected).map_err(|error| error.code())?;

        let facts = appraised.claims();
        let mut members = Map::new();
        match (&facts.hardware, &quoted) {
            (AzureHardware::Snp(claims), _) => {
                if let Value::Object(upstream) = snp::upstream_claims(claims) {
                    members = upstream;
                }
                // Upstream writes these as texts here, and the measurement in base64.
                for (_, value) in members.iter_mut().filter(|(name, _)| name.starts_with("reported_tcb_")) {
                    *value = Value::String(value.to_string());
                }
                members.insert("measurement".into(), STANDARD.encode(claims.measurement.0).into());
                members.insert("measurement_hex".into(), json!(claims.measurement));
            }
            (AzureHardware::Tdx(_), Some(quote)) => {
                if let DcapBody::Tdx(body) = &quote.claims().body
                    && let Value::Object(upstream) = dcap::tdx_claims(quote.claims(), body)
                {
                    members = upstream;
                }
            }
            (AzureHardware::Tdx(_), None) => return Err(Code::AzureTd),
        }
        members.insert("tpm".into(), pcr_claims(appraised.quote()));
        members.insert("vm_configuration".into(), json!(facts.vm_configuration));
        members.insert("attestation_key".into(), json!(facts.attestation_key));
        let instance = match &facts.hardware {
            AzureHardware::Snp(claims) => Some(claims.report_id.clone()),
            AzureHardware::Tdx(_) => None,
        };
        Ok(Verified {
            kind,
            snp: None,
            claims: Value::Object(members),
            report_data: appraised.quote().nonce.clone(),
            init: pcr8(appraised.quote()),
            instance,
            revocation: None,
        })
    }
}

/// The quote's nonce, over all PCRs of the SHA-256 bank: another selection could pass one PCR off as another.
pub(super) fn quote_bound_to(nonce: Vec<u8>) -> tpm::Expected {
    let (nonce, selection) = (Allowed::only(nonce), Selection::ALL);
    tpm::Expected { nonce, selection, pcrs: BTreeMap::new(), others: POLICY.into() }
}

/// `pcr00` to `pcr23`, hex.
pub(super) fn pcr_claims(quote: &TpmClaims) -> Value {
    Value::Object(quote.pcrs.iter().map(|(index, value)| (format!("pcr{index:02}"), json!(value))).collect())
}

/// PCR 8 is where guests put their init-data.
pub(super) fn pcr8(quote: &TpmClaims) -> Init {
    quote.pcrs.get(&8).map_or(Init::None, |value: &Digest256| Init::Pcr8(*value))
}

/// Everything but debugging and migration is for the policy.
fn any_snp() -> attest::snp::Expected {
    let any = || Allowed::any("the runtime claims' hash stands there");
    let floor = TcbFloor::None { reason: POLICY.into() };
    attest::snp::Expected {
        vmpl: Allowed::any(POLICY),
        versions: BelievedVersions::AlsoVersion2 { reason: POLICY.into() },
        providers: Allowed::any(POLICY),
        debugging: Debugging::Forbidden,
        migration: Migration::Forbidden,
        platform: PlatformRules::NONE,
        ..attest::snp::Expected::strict(any(), Allowed::any(POLICY), Allowed::any(POLICY), floor, Allowed::any(POLICY))
    }
}
