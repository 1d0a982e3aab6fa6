//! Evidence of one device, as it came: nothing here is true yet.

use super::error::GpuError;
use super::opaque::{self, Opaque};
use super::spdm::{Block, Transcript};
use claims::Nonce;
use claims::bytes::{Digest256, Digest384};
use claims::nvgpu::{Architecture, Mode};

/// Evidence of a GPU or a switch: well-formed, and no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    raw: Vec<u8>,
    transcript: Transcript,
    opaque: Opaque,
    stated: Stated,
}

/// What the opaque data states, in its types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stated {
    pub(super) driver_version: Option<String>,
    pub(super) vbios_version: String,
    pub(super) project: Option<String>,
    pub(super) project_sku: Option<String>,
    pub(super) chip_sku: Option<String>,
    pub(super) chip: Option<String>,
    pub(super) fwid: Option<Digest384>,
    pub(super) nvdec0: Option<bool>,
    pub(super) mode: Option<Mode>,
}

/// Names of the RIMs that hold this device's reference values, as NVIDIA's RIM service knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RimIds {
    /// Of the driver; a switch has none.
    pub driver: Option<String>,
    /// Of VBIOS or BIOS.
    pub vbios: Option<String>,
}

impl Evidence {
    /// Parses request and response as NVML and NSCQ give them. For fuzzing, this is a plain function of bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, GpuError> {
        let transcript = Transcript::parse(bytes)?;
        let opaque = Opaque::parse(&transcript.opaque)?;
        let stated = Stated::read(&opaque)?;
        Ok(Self { raw: bytes.to_vec(), transcript, opaque, stated })
    }

    /// Nonce of the request.
    pub fn nonce(&self) -> &Nonce {
        &self.transcript.nonce
    }

    /// Nonce of the response: the device's own.
    pub fn response_nonce(&self) -> &Nonce {
        &self.transcript.response_nonce
    }

    /// Certificate slot asked for.
    pub fn slot(&self) -> u8 {
        self.transcript.slot
    }

    /// Measurements.
    pub fn blocks(&self) -> &[Block] {
        &self.transcript.blocks
    }

    /// Opaque data.
    pub fn opaque(&self) -> &Opaque {
        &self.opaque
    }

    /// Driver version; a switch has none.
    pub fn driver_version(&self) -> Option<&str> {
        self.stated.driver_version.as_deref()
    }

    /// Version of VBIOS or BIOS.
    pub fn vbios_version(&self) -> &str {
        &self.stated.vbios_version
    }

    /// Where the signature begins.
    pub fn signature_offset(&self) -> usize {
        self.transcript.signed
    }

    /// The bytes as they came.
    pub fn as_bytes(&self) -> &[u8] {
        &self.raw
    }

    /// SHA-256 of request, response and signature. An unsigned NUL behind them is not part of it.
    pub fn digest(&self) -> Digest256 {
        let end = self.transcript.signed.saturating_add(self.transcript.signature.len());
        Digest256::of(self.raw.get(..end).unwrap_or(&self.raw))
    }

    /// Names of the RIMs to fetch. They are safe as part of an address: letters, digits, dots, dashes, underscores.
    ///
    /// A GPU's VBIOS RIM is named by its board. A switch does not say its board; all of this generation have one.
    pub fn rim_ids(&self, architecture: Architecture) -> RimIds {
        let stated = &self.stated;
        let plain = stated.vbios_version.replace('.', "");
        let driver = stated.driver_version.as_deref();
        let board = [&stated.project, &stated.project_sku, &stated.chip_sku].map(Option::as_deref);
        let vbios = match board {
            _ if architecture == Architecture::Ls10 => Some(format!("NV_SWITCH_BIOS_5612_0002_890_{plain}")),
            [Some(project), Some(sku), Some(chip)] => Some(format!("NV_GPU_VBIOS_{project}_{sku}_{chip}_{plain}")),
            _ => None,
        };
        let driver = driver.and_then(|driver| match architecture {
            Architecture::Hopper => Some(format!("NV_GPU_DRIVER_GH100_{driver}")),
            Architecture::Blackwell => {
                Some(format!("NV_GPU_CC_DRIVER_{}_{driver}", stated.chip.as_deref().unwrap_or("GB100")))
            }
            Architecture::Ls10 => None,
        });
        RimIds { driver, vbios }
    }

    pub(super) fn stated(&self) -> &Stated {
        &self.stated
    }

    /// Everything before the signature, and the signature.
    pub(super) fn signed(&self) -> (&[u8], &[u8; 96]) {
        (self.raw.get(..self.transcript.signed).unwrap_or(&[]), &self.transcript.signature)
    }
}

impl Stated {
    fn read(opaque: &Opaque) -> Result<Self, GpuError> {
        let driver_version = opaque.text(opaque::DRIVER_VERSION)?;
        let vbios_version = if driver_version.is_some() {
            vbios(opaque.field(opaque::VBIOS_VERSION))?
        } else {
            opaque.text(opaque::VBIOS_VERSION)?.ok_or(missing(opaque::VBIOS_VERSION))?
        };
        let fwid = opaque
            .field(opaque::FWID)
            .map(|value| {
                Digest384::from_slice(value)
                    .ok_or(GpuError::Opaque { field: opaque::FWID, what: "is not a SHA-384 digest" })
            })
            .transpose()?;
        Ok(Self {
            vbios_version,
            project: opaque.text(opaque::PROJECT)?,
            project_sku: opaque.text(opaque::PROJECT_SKU)?,
            chip_sku: opaque.text(opaque::CHIP_SKU)?,
            chip: opaque.text(opaque::CHIP_INFO)?,
            fwid,
            nvdec0: opaque.status(opaque::NVDEC0_STATUS)?,
            mode: mode(opaque)?,
            driver_version,
        })
    }
}

fn missing(field: u16) -> GpuError {
    GpuError::Opaque { field, what: "is missing" }
}

/// Eight bytes: the first four in reverse, then the fifth, in hex with dots: `00 9f 00 96 01` is `96.00.9F.00.01`.
fn vbios(field: Option<&[u8]>) -> Result<String, GpuError> {
    let [d, c, b, a, e, 0, 0, 0] = field.ok_or(missing(opaque::VBIOS_VERSION))? else {
        return Err(GpuError::Opaque { field: opaque::VBIOS_VERSION, what: "is not five numbers and three zeros" });
    };
    Ok(format!("{a:02X}.{b:02X}.{c:02X}.{d:02X}.{e:02X}"))
}

/// The flag where it is there; older drivers say only whether protected PCIe is on.
fn mode(opaque: &Opaque) -> Result<Option<Mode>, GpuError> {
    let pcie = opaque.status(opaque::PROTECTED_PCIE)?;
    let refuse = |what| Err(GpuError::Opaque { field: opaque::FEATURE_FLAG, what });
    let flagged = match opaque.field(opaque::FEATURE_FLAG) {
        None => return Ok(pcie.filter(|on| *on).map(|_| Mode::Ppcie)),
        Some([0, 0]) => Mode::Spt,
        Some([1, 0]) => Mode::Mpt,
        Some([2, 0]) => Mode::Ppcie,
        Some(_) => return refuse("is neither 0, 1 nor 2"),
    };
    match (flagged, pcie) {
        (Mode::Ppcie, Some(false)) | (Mode::Spt | Mode::Mpt, Some(true)) => refuse("contradicts field 21"),
        _ => Ok(Some(flagged)),
    }
}
