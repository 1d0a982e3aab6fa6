//! Appraisal: are the claims of a verified quote the wanted ones?
//!
//! Every expectation is mandatory. What is not compared, or is let pass, is said in the result with its reason. Intel's
//! library leaves all of this to policy; `dcap-qvl` builds some of it in (SEPT_VE_DISABLE, service TDs, migration).

use super::error::DcapError;
use crate::snp::{Rule, Waiver};
use claims::bytes::{Digest256, Digest384};
use claims::dcap::{
    CollateralState, DcapBody, DcapClaims, DcapCollateral, DcapPlatform, DcapTee, SgxClaims, TcbStatus, TdxClaims,
};
use claims::{Allowed, ReportData};
use std::fmt::Display;

/// What a quote must state to be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// What the session binds: all 64 bytes.
    pub report_data: Allowed<ReportData>,
    /// Patch level and collateral.
    pub tcb: TcbRules,
    /// The platform.
    pub platform: PlatformRules,
    /// The enclave or trust domain; a quote of the other kind is refused.
    pub body: ExpectedBody,
}

/// Whether something that weakens the protection is let pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tolerance {
    /// It is refused.
    Refused,
    /// It is let pass, for the reason given.
    Tolerated {
        /// Why.
        reason: String,
    },
}

/// Which patch levels are accepted, by which collateral.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcbRules {
    /// Statuses that are accepted beside `UpToDate`, each with its reason. `Revoked` is refused even here.
    pub also: Vec<(TcbStatus, String)>,
    /// Advisories that may apply.
    pub advisories: Allowed<String>,
    /// Advisories that must not apply, whatever is allowed.
    pub denied_advisories: Vec<String>,
    /// Least `tcbEvaluationDataNumber`: keeps validly signed but older collateral out.
    pub evaluation_floor: u32,
    /// Is expired collateral let pass for a while?
    pub staleness: Staleness,
}

/// Whether collateral may be past its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Staleness {
    /// It is refused.
    Refused,
    /// It is let pass for some seconds, for the reason given.
    Grace {
        /// How long after its end.
        seconds: u64,
        /// Why.
        reason: String,
    },
}

/// Which platforms are accepted. Identifiers are in lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformRules {
    /// Processor packages, by PPID.
    pub ppids: Allowed<String>,
    /// Platform instances; a platform without one has the empty name.
    pub instances: Allowed<String>,
    /// Models, by FMSPC.
    pub models: Allowed<String>,
    /// Hyper-threading must be off, and the certificate must say so.
    pub no_smt: Rule,
}

/// What the enclave or trust domain must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpectedBody {
    /// An enclave.
    Sgx(Box<SgxExpected>),
    /// A trust domain.
    Tdx(Box<TdxExpected>),
}

/// What an enclave must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SgxExpected {
    /// Reference values of what was loaded.
    pub mrenclave: Allowed<Digest256>,
    /// Signers.
    pub mrsigner: Allowed<Digest256>,
    /// Products of the signer.
    pub isv_prod_id: Allowed<u16>,
    /// Least security version.
    pub isv_svn_floor: u16,
    /// Configuration ids (KSS), hex.
    pub config_id: Allowed<String>,
    /// Least configuration version (KSS).
    pub config_svn_floor: u16,
    /// May the host debug the enclave?
    pub debugging: Tolerance,
}

/// What a trust domain must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdxExpected {
    /// Reference values of what was there at launch.
    pub mrtd: Allowed<Digest384>,
    /// Reference values of the run-time registers.
    pub rtmr: [Allowed<Digest384>; 4],
    /// Set by the host at launch.
    pub mr_config_id: Allowed<Digest384>,
    /// Set by the host at launch.
    pub mr_owner: Allowed<Digest384>,
    /// Set by the host at launch.
    pub mr_owner_config: Allowed<Digest384>,
    /// TDX modules; Intel's TCB info vouches for their signer.
    pub mr_seam: Allowed<Digest384>,
    /// Service TDs, which can move or change the trust domain; zero is none.
    pub mr_service_td: Allowed<Digest384>,
    /// Extended features.
    pub xfam: Allowed<u64>,
    /// May the host debug or profile it?
    pub debugging: Tolerance,
    /// May SEPT_VE_DISABLE be off, so that the host can make the guest handle a missing page?
    pub sept_ve: Tolerance,
    /// May a migration TD move it?
    pub migration: Tolerance,
    /// May performance counters run, which leak through a side channel?
    pub perfmon: Tolerance,
    /// May attributes be set that the TDX module's specification reserves?
    pub reserved: Tolerance,
}

impl TcbRules {
    /// `UpToDate` only, collateral of this evaluation or later, nothing expired.
    pub fn strict(evaluation_floor: u32) -> Self {
        Self {
            also: Vec::new(),
            advisories: Allowed::any("Intel's status sums them up"),
            denied_advisories: Vec::new(),
            evaluation_floor,
            staleness: Staleness::Refused,
        }
    }
}

impl PlatformRules {
    /// Any platform that Intel vouches for, for the reason given.
    pub fn any(reason: &str) -> Self {
        Self {
            ppids: Allowed::any(reason),
            instances: Allowed::any(reason),
            models: Allowed::any(reason),
            no_smt: Rule::NotAsked,
        }
    }
}

impl SgxExpected {
    /// The strict rule: no debugging. Loosen single fields.
    pub fn strict(
        mrenclave: Allowed<Digest256>,
        mrsigner: Allowed<Digest256>,
        isv_prod_id: Allowed<u16>,
        isv_svn_floor: u16,
    ) -> Self {
        Self {
            mrenclave,
            mrsigner,
            isv_prod_id,
            isv_svn_floor,
            config_id: Allowed::any("the enclave's measurement decides"),
            config_svn_floor: 0,
            debugging: Tolerance::Refused,
        }
    }
}

impl TdxExpected {
    /// The strict rule: no debugging, SEPT_VE_DISABLE on, no migration, no performance counters, no service TDs, no
    /// reserved attributes. Loosen single fields.
    pub fn strict(mrtd: Allowed<Digest384>, rtmr: [Allowed<Digest384>; 4]) -> Self {
        let host = || Allowed::any("the host sets it; the measurements decide");
        Self {
            mrtd,
            rtmr,
            mr_config_id: host(),
            mr_owner: host(),
            mr_owner_config: host(),
            mr_seam: Allowed::any("Intel's TCB info vouches for the module"),
            mr_service_td: Allowed::only(Digest384([0; 48])),
            xfam: Allowed::any("the measurements decide"),
            debugging: Tolerance::Refused,
            sept_ve: Tolerance::Refused,
            migration: Tolerance::Refused,
            perfmon: Tolerance::Refused,
            reserved: Tolerance::Refused,
        }
    }
}

impl Expected {
    /// Compares claims with this. Says what is *wanted*, not what is *true*: give it the claims of a verified quote.
    pub fn admit(&self, claims: &DcapClaims) -> Result<Vec<Waiver>, DcapError> {
        let wanted = match &self.body {
            ExpectedBody::Sgx(_) => DcapTee::Sgx,
            ExpectedBody::Tdx(_) => DcapTee::Tdx,
        };
        let mut waivers = Waivers(Vec::new());
        waivers.dates(&self.tcb.staleness, &claims.collateral)?;
        self.check_tcb(claims, &mut waivers)?;
        self.check_platform(&claims.platform, &mut waivers)?;
        match (&self.body, &claims.body) {
            (ExpectedBody::Sgx(expected), DcapBody::Sgx(claims)) => expected.check(claims, &mut waivers)?,
            (ExpectedBody::Tdx(expected), DcapBody::Tdx(claims)) => expected.check(claims, &mut waivers)?,
            _ => return Err(DcapError::OtherTee { got: claims.tee, wanted }),
        }
        let got = claims.body.report_data();
        let bound = match &self.report_data {
            Allowed::OneOf(values) => values.iter().any(|value| {
                aws_lc_rs::constant_time::verify_slices_are_equal(value.as_bytes(), got.as_bytes()).is_ok()
            }),
            Allowed::Any { reason } => waivers.add("report_data", reason).is_ok(),
        };
        if bound { Ok(waivers.0) } else { Err(DcapError::ReportData { got }) }
    }

    fn check_tcb(&self, claims: &DcapClaims, waivers: &mut Waivers) -> Result<(), DcapError> {
        let (rules, tcb) = (&self.tcb, &claims.tcb);
        match tcb.status {
            TcbStatus::UpToDate => {}
            TcbStatus::Revoked => return Err(DcapError::TcbRevoked),
            got => {
                let listed = rules.also.iter().find(|(status, _)| *status == got);
                let allowed = || {
                    let also = rules.also.iter().map(|(status, _)| *status).filter(|also| *also != TcbStatus::Revoked);
                    std::iter::once(TcbStatus::UpToDate).chain(also).collect()
                };
                let (_, reason) = listed.ok_or_else(|| DcapError::TcbStatus { got, allowed: allowed() })?;
                waivers.add("tcb.status", &format!("{got}: {reason}"))?;
            }
        }
        for id in &tcb.advisories {
            if rules.denied_advisories.contains(id) || !rules.advisories.admits(id) {
                return Err(DcapError::Advisory { id: id.clone() });
            }
        }
        if let (Allowed::Any { reason }, false) = (&rules.advisories, tcb.advisories.is_empty()) {
            waivers.add("tcb.advisories", &format!("{}: {reason}", tcb.advisories.join(", ")))?;
        }
        match tcb.evaluation_number >= rules.evaluation_floor {
            true => Ok(()),
            false => Err(DcapError::Evaluation { got: tcb.evaluation_number, wanted: rules.evaluation_floor }),
        }
    }

    fn check_platform(&self, platform: &DcapPlatform, waivers: &mut Waivers) -> Result<(), DcapError> {
        let instance = platform.platform_instance_id.clone().unwrap_or_default();
        let values = [
            ("ppid", "platform.ppid", &self.platform.ppids, &platform.ppid),
            ("platform_instance_id", "platform.platform_instance_id", &self.platform.instances, &instance),
            ("fmspc", "platform.fmspc", &self.platform.models, &platform.fmspc),
        ];
        for (claim, name, allowed, got) in values {
            let refused = |wanted| DcapError::Platform { claim, got: got.clone(), wanted };
            waivers.compare(name, allowed, got, refused)?;
        }
        match (self.platform.no_smt, platform.smt_enabled) {
            (Rule::NotAsked, _) | (_, Some(false)) => Ok(()),
            (Rule::Required, got) => Err(DcapError::Platform {
                claim: "smt_enabled",
                got: got.map_or("not stated".to_owned(), |got| got.to_string()),
                wanted: "false".to_owned(),
            }),
        }
    }
}

impl SgxExpected {
    fn check(&self, claims: &SgxClaims, waivers: &mut Waivers) -> Result<(), DcapError> {
        let attributes = claims.flags.0;
        let debug = DcapError::Debug { attributes };
        waivers.tolerate(claims.flags.debug(), "flags.debug", &self.debugging, debug)?;
        waivers.identity("mrenclave", &self.mrenclave, &claims.mrenclave)?;
        waivers.identity("mrsigner", &self.mrsigner, &claims.mrsigner)?;
        waivers.identity("isv_prod_id", &self.isv_prod_id, &claims.isv_prod_id)?;
        waivers.identity("config_id", &self.config_id, &claims.config_id)?;
        let floors =
            [("isv_svn", claims.isv_svn, self.isv_svn_floor), ("config_svn", claims.config_svn, self.config_svn_floor)];
        match floors.into_iter().find(|(_, got, floor)| got < floor) {
            None => Ok(()),
            Some((claim, got, floor)) => {
                Err(DcapError::Identity { claim, got: got.to_string(), wanted: format!("at least {floor}") })
            }
        }
    }
}

impl TdxExpected {
    fn check(&self, claims: &TdxClaims, waivers: &mut Waivers) -> Result<(), DcapError> {
        let attributes = claims.attributes.0;
        let wrong = |what| DcapError::Attribute { what, attributes };
        let bits = claims.attributes;
        waivers.tolerate(bits.under_debug(), "attributes.tud", &self.debugging, DcapError::Debug { attributes })?;
        let off = !bits.sept_ve_disable();
        waivers.tolerate(off, "attributes.sept_ve_disable", &self.sept_ve, wrong("SEPT_VE_DISABLE is off"))?;
        waivers.tolerate(bits.migratable(), "attributes.migratable", &self.migration, wrong("migration is allowed"))?;
        let monitored = wrong("performance monitoring is allowed");
        waivers.tolerate(bits.perfmon(), "attributes.perfmon", &self.perfmon, monitored)?;
        let reserved = bits.reserved() & !0xFF != 0;
        waivers.tolerate(reserved, "attributes.reserved", &self.reserved, wrong("reserved attributes are set"))?;

        let none = Digest384([0; 48]);
        let extended = claims.extended.as_ref().map_or("", |extended| extended.current_service_td.as_str());
        let current = extended.parse::<Digest384>().unwrap_or(none);
        for got in [claims.mr_service_td.unwrap_or(none), current] {
            let refused = |_| DcapError::ServiceTd { got };
            waivers.compare("mr_service_td", &self.mr_service_td, &got, refused)?;
        }
        waivers.identity("mrtd", &self.mrtd, &claims.mrtd)?;
        let names = ["rtmr0", "rtmr1", "rtmr2", "rtmr3"];
        for ((name, allowed), got) in names.into_iter().zip(&self.rtmr).zip(&claims.rtmr) {
            waivers.identity(name, allowed, got)?;
        }
        waivers.identity("mr_config_id", &self.mr_config_id, &claims.mr_config_id)?;
        waivers.identity("mr_owner", &self.mr_owner, &claims.mr_owner)?;
        waivers.identity("mr_owner_config", &self.mr_owner_config, &claims.mr_owner_config)?;
        waivers.identity("mr_seam", &self.mr_seam, &claims.mr_seam)?;
        waivers.identity("xfam", &self.xfam, &claims.xfam)
    }
}

/// What was let pass so far.
struct Waivers(Vec<Waiver>);

impl Waivers {
    fn add(&mut self, claim: &'static str, reason: &str) -> Result<(), DcapError> {
        let waiver = Waiver { claim, reason: reason.to_owned() };
        if !self.0.contains(&waiver) {
            self.0.push(waiver);
        }
        Ok(())
    }

    fn compare<T: PartialEq + Display>(
        &mut self,
        claim: &'static str,
        allowed: &Allowed<T>,
        got: &T,
        refused: impl FnOnce(String) -> DcapError,
    ) -> Result<(), DcapError> {
        match allowed {
            Allowed::OneOf(values) if values.contains(got) => Ok(()),
            Allowed::OneOf(values) => {
                Err(refused(values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")))
            }
            Allowed::Any { reason } => self.add(claim, reason),
        }
    }

    fn identity<T: PartialEq + Display>(
        &mut self,
        claim: &'static str,
        allowed: &Allowed<T>,
        got: &T,
    ) -> Result<(), DcapError> {
        self.compare(claim, allowed, got, |wanted| DcapError::Identity { claim, got: got.to_string(), wanted })
    }

    fn tolerate(
        &mut self,
        there: bool,
        claim: &'static str,
        rule: &Tolerance,
        refused: DcapError,
    ) -> Result<(), DcapError> {
        match rule {
            _ if !there => Ok(()),
            Tolerance::Refused => Err(refused),
            Tolerance::Tolerated { reason } => self.add(claim, reason),
        }
    }

    fn dates(&mut self, rule: &Staleness, collateral: &DcapCollateral) -> Result<(), DcapError> {
        let now = collateral.checked_at;
        match (collateral.state, rule) {
            (CollateralState::Current, _) => Ok(()),
            (CollateralState::Expired, Staleness::Grace { seconds, reason })
                if now <= collateral.until.saturating_add(*seconds) =>
            {
                self.add("collateral.until", reason)
            }
            (CollateralState::Expired, _) => {
                let first = collateral.items.iter().find(|item| item.until == collateral.until);
                let what = first.map_or("collateral", |item| item.what);
                Err(DcapError::Expired { what, until: collateral.until, now })
            }
            (CollateralState::NotYetValid, _) => {
                let last = collateral.items.iter().find(|item| item.from == collateral.from);
                let what = last.map_or("collateral", |item| item.what);
                Err(DcapError::NotYetValid { what, from: collateral.from, now })
            }
        }
    }
}
