//! Which patch level a platform has, by Intel's rules ("Quote verification library", TCB level comparison).
//!
//! Levels are tried from the highest down; the first that every component meets is the platform's. The statuses of
//! platform, TDX module and quoting enclave converge as in Intel's library. A trust domain that was launched on an
//! outdated module which has been updated since (TDX 1.5 on) is appraised by both: `TDRelaunchAdvised`.

use super::body::{self, Measured};
use super::error::DcapError;
use super::extension::PckExtension;
use super::json::{Level, Module, QeIdentity, TcbInfo, Verdict};
use claims::dcap::TcbStatus::{
    ConfigurationAndSWHardeningNeeded, ConfigurationNeeded, OutOfDate, OutOfDateConfigurationNeeded, Revoked,
    SWHardeningNeeded, TDRelaunchAdvised, TDRelaunchAdvisedConfigurationNeeded, UpToDate,
};
use claims::dcap::{DcapLevel, DcapTcb, TcbStatus, TdxClaims};

/// The verdict about a platform: TCB info by components, module by version, quoting enclave by identity.
pub(crate) fn appraise(
    info: &TcbInfo,
    identity: &QeIdentity,
    platform: &PckExtension,
    measured: Measured,
    qe_report: &[u8; 384],
) -> Result<DcapTcb, DcapError> {
    let qe = quoting_enclave(identity, qe_report)?;
    let (of_platform, module, now) = match measured {
        Measured::Sgx => (platform_level(info, platform, None, "platform")?, None, None),
        Measured::Tdx { at_launch, now } => {
            let level = platform_level(info, platform, Some(&at_launch), "platform")?;
            let module = module_level(info, &at_launch, "TDX module")?;
            let now = now.map(|svn| {
                let level = platform_level(info, platform, Some(&svn), "platform as it is now")?;
                let module = module_level(info, &svn, "TDX module as it is now")?;
                Ok(converge(merged(level, module), qe.status))
            });
            (level, module, now.transpose()?)
        }
    };
    let at_launch = converge(merged(of_platform, module), qe.status);
    let mut advisories: Vec<String> = Vec::new();
    for id in [Some(of_platform), module, Some(qe)].into_iter().flatten().flat_map(|verdict| &verdict.advisories) {
        if !advisories.contains(id) {
            advisories.push(id.clone());
        }
    }
    Ok(DcapTcb {
        status: match now {
            // Intel's library lets this pass; here the platform's keys are bad however it was launched.
            Some(Revoked) => Revoked,
            Some(now) => relaunch(at_launch, now),
            None => at_launch,
        },
        advisories,
        platform: claimed(of_platform),
        qe: claimed(qe),
        module: module.map(claimed),
        current: now,
        evaluation_number: info.evaluation_number.min(identity.evaluation_number),
    })
}

/// Checks signer and attributes of the TDX module against the TCB info.
pub(crate) fn check_module(info: &TcbInfo, claims: &TdxClaims, measured: Measured) -> Result<(), DcapError> {
    let Measured::Tdx { at_launch, .. } = measured else { return Ok(()) };
    let module = match module_of(info, &at_launch)? {
        Some((module, _)) => module,
        None => info.module.as_ref().ok_or(DcapError::NoTcbLevel { what: "TDX module" })?,
    };
    if claims.mr_signer_seam.0 != module.mr_signer {
        return Err(DcapError::Module {
            claim: "signer",
            got: claims.mr_signer_seam.to_string(),
            wanted: hex::encode(module.mr_signer),
        });
    }
    let (wanted, mask) = (u64::from_le_bytes(module.attributes), u64::from_le_bytes(module.attributes_mask));
    // A bit that Intel says nothing about must not be set: nobody vouches for what it does.
    if claims.seam_attributes != wanted & mask {
        return Err(DcapError::Module {
            claim: "attributes",
            got: format!("{:#018x}", claims.seam_attributes),
            wanted: format!("{:#018x}", wanted & mask),
        });
    }
    Ok(())
}

fn platform_level<'a>(
    info: &'a TcbInfo,
    platform: &PckExtension,
    tee_tcb_svn: Option<&[u8; 16]>,
    what: &'static str,
) -> Result<&'a Verdict, DcapError> {
    let meets = |have: &[u8], wanted: &[u8]| have.iter().zip(wanted).all(|(have, wanted)| have >= wanted);
    let of_tdx = |wanted: Option<&[u8; 16]>| match (tee_tcb_svn, wanted) {
        (None, _) => true,
        (Some(_), None) => false,
        // With a module version, the module's identity speaks for the first two components.
        (Some(have @ [_, version, ..]), Some(wanted)) if *version > 0 => {
            meets(have.get(2..).unwrap_or_default(), wanted.get(2..).unwrap_or_default())
        }
        (Some(have), Some(wanted)) => meets(have, wanted),
    };
    info.levels
        .iter()
        .find(|level| {
            meets(&platform.components, &level.sgx) && platform.pce_svn >= level.pce_svn && of_tdx(level.tdx.as_ref())
        })
        .map(|level| &level.level)
        .ok_or(DcapError::NoTcbLevel { what })
}

/// The module's identity by its version; version 0 is the one without an identity.
fn module_of<'a>(info: &'a TcbInfo, tee_tcb_svn: &[u8; 16]) -> Result<Option<(&'a Module, &'a [Level])>, DcapError> {
    let [_, version, ..] = *tee_tcb_svn;
    if version == 0 {
        return Ok(None);
    }
    let found = info.modules.iter().find(|(known, ..)| *known == version);
    let wanted = || info.modules.iter().map(|(known, ..)| known.to_string()).collect::<Vec<_>>().join(", ");
    match found {
        Some((_, module, levels)) => Ok(Some((module, levels))),
        None => Err(DcapError::Module { claim: "version", got: version.to_string(), wanted: wanted() }),
    }
}

fn module_level<'a>(
    info: &'a TcbInfo,
    tee_tcb_svn: &[u8; 16],
    what: &'static str,
) -> Result<Option<&'a Verdict>, DcapError> {
    let [isv_svn, ..] = *tee_tcb_svn;
    match module_of(info, tee_tcb_svn)? {
        Some((_, levels)) => level_of(levels, u16::from(isv_svn), what).map(Some),
        None => Ok(None),
    }
}

fn level_of<'a>(levels: &'a [Level], isv_svn: u16, what: &'static str) -> Result<&'a Verdict, DcapError> {
    let met = levels.iter().find(|level| isv_svn >= level.isv_svn);
    met.map(|level| &level.level).ok_or(DcapError::NoTcbLevel { what })
}

/// Compares the quoting enclave with Intel's identity of it.
fn quoting_enclave<'a>(identity: &'a QeIdentity, report: &[u8; 384]) -> Result<&'a Verdict, DcapError> {
    let differs = |claim, got: &[u8], wanted: &[u8]| DcapError::QeIdentity {
        claim,
        got: hex::encode(got),
        wanted: hex::encode(wanted),
    };
    let qe = body::enclave(report).ok_or(DcapError::QeReportData)?;
    if qe.mrsigner.0 != identity.mr_signer {
        return Err(differs("mrsigner", &qe.mrsigner.0, &identity.mr_signer));
    }
    if qe.isv_prod_id != identity.isv_prod_id {
        return Err(differs("isv_prod_id", &qe.isv_prod_id.to_be_bytes(), &identity.isv_prod_id.to_be_bytes()));
    }
    let masked = |value: &[u8], mask: &[u8]| value.iter().zip(mask).map(|(byte, mask)| byte & mask).collect::<Vec<_>>();
    let fields = [
        ("misc_select", report.get(16..20), &identity.misc_select.0[..], &identity.misc_select.1[..]),
        ("attributes", report.get(48..64), &identity.attributes.0[..], &identity.attributes.1[..]),
    ];
    for (claim, got, wanted, mask) in fields {
        let (got, wanted) = (masked(got.unwrap_or_default(), mask), masked(wanted, mask));
        if got != wanted {
            return Err(differs(claim, &got, &wanted));
        }
    }
    if qe.flags.debug() {
        return Err(differs("attributes", &[2], &[0]));
    }
    level_of(&identity.levels, qe.isv_svn, "quoting enclave")
}

fn merged(platform: &Verdict, module: Option<&Verdict>) -> TcbStatus {
    module.map_or(platform.status, |module| converge(platform.status, module.status))
}

/// What a status becomes by that of another part: only an outdated or revoked part counts.
fn converge(status: TcbStatus, part: TcbStatus) -> TcbStatus {
    match (part, status) {
        (Revoked, _) => Revoked,
        (OutOfDate, UpToDate | SWHardeningNeeded) => OutOfDate,
        (OutOfDate, ConfigurationNeeded | ConfigurationAndSWHardeningNeeded) => OutOfDateConfigurationNeeded,
        (_, status) => status,
    }
}

/// What a status becomes when the levels now are not outdated any more.
fn relaunch(at_launch: TcbStatus, now: TcbStatus) -> TcbStatus {
    match (at_launch, now) {
        (OutOfDate, UpToDate | SWHardeningNeeded) => TDRelaunchAdvised,
        (OutOfDate, ConfigurationNeeded | ConfigurationAndSWHardeningNeeded)
        | (
            OutOfDateConfigurationNeeded,
            UpToDate | SWHardeningNeeded | ConfigurationNeeded | ConfigurationAndSWHardeningNeeded,
        ) => TDRelaunchAdvisedConfigurationNeeded,
        (status, _) => status,
    }
}

fn claimed(verdict: &Verdict) -> DcapLevel {
    DcapLevel { status: verdict.status, date: verdict.date, advisories: verdict.advisories.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_converge_as_in_intels_library() {
        for (status, part, wanted) in [
            (UpToDate, UpToDate, UpToDate),
            (UpToDate, OutOfDate, OutOfDate),
            (SWHardeningNeeded, OutOfDate, OutOfDate),
            (ConfigurationNeeded, OutOfDate, OutOfDateConfigurationNeeded),
            (ConfigurationAndSWHardeningNeeded, OutOfDate, OutOfDateConfigurationNeeded),
            (OutOfDateConfigurationNeeded, OutOfDate, OutOfDateConfigurationNeeded),
            (OutOfDate, UpToDate, OutOfDate),
            (Revoked, OutOfDate, Revoked),
            (UpToDate, Revoked, Revoked),
            (UpToDate, ConfigurationNeeded, UpToDate),
        ] {
            assert_eq!(converge(status, part), wanted, "{status} with {part}");
        }
    }

    #[test]
    fn a_relaunch_is_advised_only_when_the_update_helped() {
        for (at_launch, now, wanted) in [
            (OutOfDate, UpToDate, TDRelaunchAdvised),
            (OutOfDate, SWHardeningNeeded, TDRelaunchAdvised),
            (OutOfDate, ConfigurationNeeded, TDRelaunchAdvisedConfigurationNeeded),
            (OutOfDateConfigurationNeeded, UpToDate, TDRelaunchAdvisedConfigurationNeeded),
            (OutOfDate, OutOfDate, OutOfDate),
            (UpToDate, UpToDate, UpToDate),
            (Revoked, UpToDate, Revoked),
            (ConfigurationNeeded, UpToDate, ConfigurationNeeded),
        ] {
            assert_eq!(relaunch(at_launch, now), wanted, "{at_launch} then {now}");
        }
    }
}
