//! Verification: from evidence as it came to a device whose certificate is NVIDIA's, and on to the one wanted.
//!
//! *Guarantees* of a [`VerifiedEvidence`]: the device's five certificates end at the root, were in date and had the
//! revocation state that policy asks for; the leaf's key signed request and response; the firmware id fits.
//! *Does not check* nonce, versions and measurements: [`VerifiedEvidence::appraise`] does.

use super::certificate::signed_fixed;
use super::chain::{Device, DeviceChain, VerifiedChain};
use super::error::GpuError;
use super::evidence::Evidence;
use super::expected::Expected;
use super::revocation::RevocationInput;
use super::roots::{NvidiaRoots, Roots};
use crate::snp::Waiver;
use claims::UnixTime;
use claims::nvgpu::{Architecture, DeviceClaims};

/// Evidence that a device signed whose chain ends at the roots `R`. With [`NvidiaRoots`], the default, it is a device of
/// NVIDIA's.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedEvidence<R: Roots = NvidiaRoots> {
    roots: R,
    evidence: Evidence,
    claims: DeviceClaims,
    checked_at: UnixTime,
}

/// A verified device that is the one wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct AppraisedDevice<R: Roots = NvidiaRoots> {
    roots: R,
    claims: DeviceClaims,
    waivers: Vec<Waiver>,
    checked_at: UnixTime,
}

impl Evidence {
    /// Verifies chain, revocation, signature and firmware id, in this order. Production gives [`NvidiaRoots`].
    pub fn verify<R: Roots>(
        &self,
        chain: &DeviceChain,
        roots: &R,
        revocation: &RevocationInput,
        now: UnixTime,
    ) -> Result<VerifiedEvidence<R>, GpuError> {
        self.verify_under(&chain.verify(roots, revocation, now)?)
    }

    /// The same for a chain that was verified before, and not too long ago: its dates and its revocation state are as
    /// old as that.
    pub fn verify_under<R: Roots>(&self, chain: &VerifiedChain<R>) -> Result<VerifiedEvidence<R>, GpuError> {
        attested(self, chain)
    }
}

impl<R: Roots> VerifiedEvidence<R> {
    /// What the device states.
    pub fn claims(&self) -> &DeviceClaims {
        &self.claims
    }

    /// The evidence.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// The time that was given as now.
    pub fn checked_at(&self) -> UnixTime {
        self.checked_at
    }

    /// Compares with what the file around the evidence says.
    pub fn check_sent_as(&self, sent: Architecture) -> Result<(), GpuError> {
        let got = self.claims.architecture;
        if got == sent { Ok(()) } else { Err(GpuError::ArchitectureSent { sent, got }) }
    }

    /// Appraises the claims: the device is the wanted one, or the reason why not.
    pub fn appraise(self, expected: &Expected) -> Result<AppraisedDevice<R>, GpuError> {
        let (measres, waivers) = expected.admit(&self.claims, &self.evidence, &self.roots.rim())?;
        let claims = DeviceClaims { measres: Some(measres), ..self.claims };
        Ok(AppraisedDevice { roots: self.roots, claims, waivers, checked_at: self.checked_at })
    }
}

impl<R: Roots> AppraisedDevice<R> {
    /// What the device states; all of it was wanted or waived.
    pub fn claims(&self) -> &DeviceClaims {
        &self.claims
    }

    /// What was not compared, and why.
    pub fn waivers(&self) -> &[Waiver] {
        &self.waivers
    }

    /// The time that was given as now.
    pub fn checked_at(&self) -> UnixTime {
        self.checked_at
    }
}

/// The whole verification. `grep attested` finds every place where trust begins.
fn attested<R: Roots>(evidence: &Evidence, chain: &VerifiedChain<R>) -> Result<VerifiedEvidence<R>, GpuError> {
    let device = &chain.device;
    let (message, signature) = evidence.signed();
    if !signed_fixed(&device.key, message, signature) {
        return Err(GpuError::Signature);
    }
    check_stated(evidence, device)?;
    let stated = evidence.stated();
    let claims = DeviceClaims {
        architecture: device.architecture,
        chip: stated.chip.as_ref().unwrap_or(&device.chip).clone(),
        hwmodel: device.hwmodel.clone(),
        ueid: device.ueid.clone(),
        device_id: device.device_id.clone(),
        nonce: *evidence.nonce(),
        driver_version: stated.driver_version.clone(),
        vbios_version: stated.vbios_version.clone(),
        mode: stated.mode,
        fwid: stated.fwid,
        measurements: evidence.blocks().iter().map(|block| (block.index, block.value)).collect(),
        evidence: evidence.digest(),
        revocation: chain.revocation.clone(),
        measres: None,
    };
    Ok(VerifiedEvidence {
        roots: chain.roots.clone(),
        evidence: evidence.clone(),
        claims,
        checked_at: chain.checked_at,
    })
}

/// What the evidence says about the device must be what its certificates say.
fn check_stated(evidence: &Evidence, device: &Device) -> Result<(), GpuError> {
    let stated = evidence.stated();
    let architecture = device.architecture;
    if architecture.is_switch() == stated.driver_version.is_some() {
        return Err(GpuError::Kind { architecture });
    }
    // The field names the chip as RIMs do, and one RIM may be for several chips of a generation (`GB1`, `GB2`).
    if let Some(got) = stated.chip.as_ref().filter(|got| got.get(..3) != device.chip.get(..3)) {
        return Err(GpuError::Chip { got: got.clone(), certificate: device.chip.clone() });
    }
    let Some(got) = stated.fwid else { return Ok(()) };
    match device.fwids.first() {
        None => Err(GpuError::FwidMissing { got }),
        Some(certificate) if *certificate != got => Err(GpuError::Fwid { got, certificate: *certificate }),
        Some(_) => Ok(()),
    }
}
