//! What is wanted of a device. There is no "unset": to accept anything, say why; the reason is in the result.

use super::compare::compare;
use super::error::GpuError;
use super::evidence::Evidence;
use crate::snp::Waiver;
use claims::bytes::Digest384;
use claims::nvgpu::{Architecture, DeviceClaims, GoldenMeasurements, Measres, Mode};
use claims::{Allowed, Nonce};

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Nonces of this session; with several devices, each has its own.
    pub nonce: Allowed<Nonce>,
    /// Generations.
    pub architectures: Allowed<Architecture>,
    /// Devices, by serial number of the boot ROM's certificate in hex.
    pub devices: Allowed<String>,
    /// Modes of confidential computing; `None` is evidence that does not say its mode (drivers before 590, switches).
    pub modes: Allowed<Option<Mode>>,
    /// Drivers. A switch has none, so nothing is asked of it.
    pub driver: VersionRule,
    /// VBIOS, or BIOS of a switch.
    pub vbios: VersionRule,
    /// Reference values of drivers.
    pub driver_golden: References,
    /// Reference values of VBIOS, or BIOS of a switch.
    pub vbios_golden: References,
}

/// Which versions are allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionRule {
    /// These.
    OneOf(Vec<String>),
    /// This one or a later one: numbers between dots, decimal for drivers, hex for VBIOS. VBIOS versions compare only
    /// within one generation, so a different first number is refused.
    AtLeast(String),
    /// Any, for the reason given. Versions are covered by reference values, where those are asked for.
    Any {
        /// Why.
        reason: String,
    },
}

/// Reference values to compare with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum References {
    /// From these: the ones of the device's own product and version are taken, and must be there.
    Of(Vec<GoldenMeasurements>),
    /// None, for the reason given: what runs on the device is not checked.
    Waived {
        /// Why.
        reason: String,
    },
}

impl Expected {
    /// This nonce and these reference values, which decide versions and settings, too; tighten single fields.
    pub fn strict(nonce: Nonce, driver_golden: Vec<GoldenMeasurements>, vbios_golden: Vec<GoldenMeasurements>) -> Self {
        const BY_VALUES: &str = "reference values decide";
        Self {
            nonce: Allowed::only(nonce),
            architectures: Allowed::any(BY_VALUES),
            devices: Allowed::any("any device of NVIDIA's may answer"),
            modes: Allowed::any("the mode is not stated by older drivers"),
            driver: VersionRule::Any { reason: BY_VALUES.to_owned() },
            vbios: VersionRule::Any { reason: BY_VALUES.to_owned() },
            driver_golden: References::Of(driver_golden),
            vbios_golden: References::Of(vbios_golden),
        }
    }

    /// Compares, in this order: nonce, architecture, device, mode, versions, measurements.
    pub(super) fn admit(
        &self,
        claims: &DeviceClaims,
        evidence: &Evidence,
        rim_root: &Digest384,
    ) -> Result<(Measres, Vec<Waiver>), GpuError> {
        let mut waivers = Vec::new();
        let nonce = GpuError::Nonce { got: claims.nonce, wanted: listed(&self.nonce) };
        check(&mut waivers, "eat_nonce", &self.nonce, &claims.nonce, nonce)?;
        let got = claims.architecture;
        let refused = GpuError::Architecture { got, wanted: listed(&self.architectures) };
        check(&mut waivers, "arch", &self.architectures, &got, refused)?;
        let got = claims.device_id.clone();
        let refused = GpuError::Device { got: got.clone(), wanted: listed(&self.devices) };
        check(&mut waivers, "device-id", &self.devices, &got, refused)?;
        let got = claims.mode;
        let refused = GpuError::Mode { got, wanted: listed(&self.modes) };
        check(&mut waivers, "mode", &self.modes, &got, refused)?;
        if let Some(version) = &claims.driver_version {
            self.driver.check(&mut waivers, "driver", version, 10)?;
        }
        self.vbios.check(&mut waivers, "vbios", &claims.vbios_version, 16)?;
        let measres = self.compare(claims, evidence, rim_root, &mut waivers)?;
        Ok((measres, waivers))
    }

    fn compare(
        &self,
        claims: &DeviceClaims,
        evidence: &Evidence,
        rim_root: &Digest384,
        waivers: &mut Vec<Waiver>,
    ) -> Result<Measres, GpuError> {
        let ids = evidence.rim_ids(claims.architecture);
        let mut sources = Vec::new();
        let driver =
            claims.driver_version.as_deref().map(|version| ("driver", &self.driver_golden, version, ids.driver));
        let vbios = Some(("vbios", &self.vbios_golden, claims.vbios_version.as_str(), ids.vbios));
        let mut waived = false;
        for (what, references, version, id) in [driver, vbios].into_iter().flatten() {
            match references {
                References::Waived { reason } => {
                    waived = true;
                    let claim = if what == "driver" { "driver measurements" } else { "vbios measurements" };
                    waivers.push(Waiver { claim, reason: reason.clone() });
                }
                References::Of(values) => {
                    let fitting = values.iter().find(|golden| fits(golden, claims, version, rim_root));
                    let golden = fitting.ok_or_else(|| GpuError::GoldenMissing {
                        what,
                        product: claims.chip.clone(),
                        version: version.to_owned(),
                        id: id.unwrap_or_default(),
                    })?;
                    sources.push((what, golden));
                }
            }
        }
        compare(evidence.blocks(), &sources, evidence.stated().nvdec0)?;
        Ok(if waived { Measres::NotRun } else { Measres::Success })
    }
}

/// Same kind of device, same product, same version, verified under the root in use, and not empty.
fn fits(golden: &GoldenMeasurements, claims: &DeviceClaims, version: &str, rim_root: &Digest384) -> bool {
    let edition = if claims.architecture.is_switch() { "SWITCH" } else { "GPU" };
    golden.edition == edition
        && golden.product == claims.chip
        && golden.colloquial_version.eq_ignore_ascii_case(version)
        && golden.root == *rim_root
        && !golden.measurements.is_empty()
}

impl VersionRule {
    fn check(&self, waivers: &mut Vec<Waiver>, what: &'static str, got: &str, radix: u32) -> Result<(), GpuError> {
        let refused = |wanted: String| GpuError::Version { what, got: got.to_owned(), wanted };
        match self {
            Self::Any { reason } => {
                let claim = if what == "driver" { "driver-version" } else { "vbios-version" };
                waivers.push(Waiver { claim, reason: reason.clone() });
                Ok(())
            }
            Self::OneOf(versions) if versions.iter().any(|version| version.eq_ignore_ascii_case(got)) => Ok(()),
            Self::OneOf(versions) => Err(refused(format!("one of {}", versions.join(", ")))),
            Self::AtLeast(floor) => match (numbers(got, radix), numbers(floor, radix)) {
                (Some(found), Some(least)) if found >= least && (radix == 10 || found.first() == least.first()) => {
                    Ok(())
                }
                _ => Err(refused(format!("{floor} or later"))),
            },
        }
    }
}

fn numbers(version: &str, radix: u32) -> Option<Vec<u32>> {
    version.split('.').map(|number| u32::from_str_radix(number, radix).ok()).collect()
}

fn check<T: PartialEq>(
    waivers: &mut Vec<Waiver>,
    claim: &'static str,
    allowed: &Allowed<T>,
    got: &T,
    refused: GpuError,
) -> Result<(), GpuError> {
    match allowed {
        Allowed::OneOf(values) if values.contains(got) => Ok(()),
        Allowed::OneOf(_) => Err(refused),
        Allowed::Any { reason } => {
            waivers.push(Waiver { claim, reason: reason.clone() });
            Ok(())
        }
    }
}

fn listed<T: Clone>(allowed: &Allowed<T>) -> Vec<T> {
    match allowed {
        Allowed::OneOf(values) => values.clone(),
        Allowed::Any { .. } => Vec::new(),
    }
}
