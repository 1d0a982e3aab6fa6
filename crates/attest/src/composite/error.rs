//! Why CPU and device evidence do not belong together.

use crate::nvgpu::GpuError;
use claims::json::CanonicalError;
use claims::{Code, Finding, Nonce, Refusal, ReportData};

/// Why a composite was refused. The remote caller gets [`Refusal::code`] only.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompositeError {
    /// One device is shown twice.
    #[error("devices {first} and {second} are both {id}")]
    Repeated {
        /// Place, from 0.
        first: usize,
        /// Place, from 0.
        second: usize,
        /// Serial number of the boot ROM's certificate.
        id: String,
    },
    /// Another number than promised.
    #[error("there are {got} {what}, promised are {wanted}")]
    Count {
        /// `GPUs` or `switches`.
        what: &'static str,
        /// Found.
        got: usize,
        /// Promised.
        wanted: usize,
    },
    /// Protected PCIe without any switch's evidence.
    #[error("the GPUs are in protected PCIe mode, and no switch shows evidence")]
    WithoutSwitches,
    /// A promised device is not there.
    #[error("device {id} was promised and is not there")]
    Missing {
        /// Its serial number.
        id: String,
    },
    /// A device is there that was not promised.
    #[error("device {id} is there and was not promised")]
    Extra {
        /// Its serial number.
        id: String,
    },
    /// A device answered another nonce: of another session, key, or place.
    #[error("device {index} answered nonce {got}, for this session, key and place it is {wanted}")]
    Nonce {
        /// Place, from 0.
        index: u32,
        /// Found.
        got: Nonce,
        /// Wanted.
        wanted: Nonce,
    },
    /// Runtime data of another session.
    #[error("the runtime data is of another session")]
    OtherSession,
    /// The text holds other evidence than the devices that were appraised.
    #[error("the devices are not those of the additional evidence")]
    OtherDevices,
    /// The CPU does not speak for these devices in this session.
    #[error("the CPU's report data is {got}, for this session and these devices it is {wanted}")]
    ReportData {
        /// Found.
        got: Box<ReportData>,
        /// Wanted.
        wanted: Box<ReportData>,
    },
    /// The text around the evidence is not in its form.
    #[error("the additional evidence is malformed: {what}")]
    Text {
        /// What is wrong.
        what: String,
    },
    /// The evidence in the text is not in its form.
    #[error(transparent)]
    Device(#[from] GpuError),
    /// The runtime data has no canonical form.
    #[error("the runtime data has no canonical form")]
    Canonical(#[from] CanonicalError),
}

impl Refusal for CompositeError {
    fn code(&self) -> Code {
        match self {
            Self::Repeated { .. }
            | Self::Count { .. }
            | Self::WithoutSwitches
            | Self::Missing { .. }
            | Self::Extra { .. } => Code::CompositeDevices,
            Self::Nonce { .. } | Self::OtherSession | Self::OtherDevices | Self::ReportData { .. } => {
                Code::CompositeBinding
            }
            Self::Text { .. } | Self::Canonical(_) => Code::GpuFormat,
            Self::Device(error) => error.code(),
        }
    }

    fn finding(&self) -> Option<Finding> {
        Some(match self {
            Self::Count { what, got, wanted } => Finding::new(*what, got, wanted),
            Self::Nonce { index, got, wanted } => Finding::new(format!("devices[{index}].eat_nonce"), got, wanted),
            Self::ReportData { got, wanted } => Finding::new("report_data", got, wanted),
            Self::Missing { id } => Finding::new("device-ids", "(not there)", id),
            Self::Extra { id } => Finding::new("device-ids", id, "(none but the promised ones)"),
            Self::Device(error) => return error.finding(),
            _ => return None,
        })
    }
}
