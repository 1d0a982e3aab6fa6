//! Why evidence of a GPU or a switch is refused: one variant per check, in the order in which the checks are made.

use super::certificate::ChainError;
use super::compare::Mismatch;
use super::revocation::RevocationError;
use claims::bytes::Digest384;
use claims::nvgpu::{Architecture, Mode};
use claims::{Code, Finding, Nonce, Refusal};

/// Why evidence of a device was refused. The remote caller gets [`Refusal::code`] only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// More bytes than any device sends.
    #[error("the evidence has {got} bytes, at most 65536 are read")]
    TooLong {
        /// Found.
        got: usize,
    },
    /// It ends inside of a field.
    #[error("the evidence ends at {what}, which starts at byte {offset}")]
    Short {
        /// Which field.
        what: &'static str,
        /// Where it starts.
        offset: usize,
    },
    /// A field has another value than SPDM 1.1 allows here.
    #[error("{what} at byte {offset} of the evidence is {got:#04x}, which is not allowed there")]
    Field {
        /// Which field.
        what: &'static str,
        /// Where.
        offset: usize,
        /// Value found.
        got: u8,
    },
    /// A measurement is no SHA-384 digest.
    #[error("measurement {index} has {got} bytes, a measurement has 48")]
    MeasurementLength {
        /// Index of the block.
        index: u8,
        /// Found.
        got: usize,
    },
    /// The number of blocks is not what the header says, or none.
    #[error("the evidence has {got} measurements and says {stated}")]
    BlockCount {
        /// In the header.
        stated: u8,
        /// Found.
        got: usize,
    },
    /// More than one NUL behind the signature: nothing signs it.
    #[error("unsigned bytes follow the signature, from byte {offset}")]
    Trailing {
        /// Where.
        offset: usize,
    },
    /// An opaque field is not in its form.
    #[error("opaque field {field} of the evidence {what}")]
    Opaque {
        /// Its type.
        field: u16,
        /// What is wrong.
        what: &'static str,
    },
    /// The JSON around the evidence is not in its form.
    #[error("the evidence file is malformed: {what}")]
    Json {
        /// What is wrong.
        what: String,
    },
    /// A certificate of the device chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The certified chip is none that is known, or leaf and boot ROM are of different ones.
    #[error("the certificates are for `{got}`, known are GH100, GB1xx, GB2xx and LS_10")]
    UnknownChip {
        /// Common name found.
        got: String,
    },
    /// Revocation of the device's certificates.
    #[error(transparent)]
    Revocation(#[from] RevocationError),
    /// ECDSA P-384 over everything before the signature.
    #[error("the signature of the evidence is wrong")]
    Signature,
    /// The evidence has a firmware id, and the certificate none.
    #[error("the evidence says firmware id {got}, its certificate has none")]
    FwidMissing {
        /// In the evidence.
        got: Digest384,
    },
    /// The firmware ids differ.
    #[error("the evidence says firmware id {got}, its certificate is for {certificate}")]
    Fwid {
        /// In the evidence.
        got: Digest384,
        /// In the certificate.
        certificate: Digest384,
    },
    /// A GPU without a driver version, or a switch with one.
    #[error("the certificates are for a {architecture} device, the evidence is not of one")]
    Kind {
        /// By certificate.
        architecture: Architecture,
    },
    /// The signed chip information contradicts the certificates.
    #[error("the evidence is of chip `{got}`, its certificates are for `{certificate}`")]
    Chip {
        /// In the evidence.
        got: String,
        /// In the certificates.
        certificate: String,
    },
    /// Not what its sender said it is.
    #[error("the evidence was sent as {sent}, its certificates are for {got}")]
    ArchitectureSent {
        /// In the file around it.
        sent: Architecture,
        /// By certificate.
        got: Architecture,
    },
    /// Not the session's nonce.
    #[error("the evidence was made for nonce {got}, not for this session's")]
    Nonce {
        /// Found.
        got: Nonce,
        /// Wanted.
        wanted: Vec<Nonce>,
    },
    /// Not on the rule's list.
    #[error("a {got} device is not allowed")]
    Architecture {
        /// Found.
        got: Architecture,
        /// Wanted.
        wanted: Vec<Architecture>,
    },
    /// Not on the rule's list.
    #[error("device {got} is not among {} allowed ones", wanted.len())]
    Device {
        /// Serial number of the boot ROM's certificate.
        got: String,
        /// Wanted.
        wanted: Vec<String>,
    },
    /// Not the wanted mode, or the evidence does not say its mode.
    #[error("the device is in mode {}, which is not allowed", got.map_or("(not stated)".to_owned(), |mode| mode.to_string()))]
    Mode {
        /// Found.
        got: Option<Mode>,
        /// Wanted.
        wanted: Vec<Option<Mode>>,
    },
    /// Not listed, below the floor, or not comparable with it.
    #[error("{what} version {got} is not allowed, wanted is {wanted}")]
    Version {
        /// `driver` or `vbios`.
        what: &'static str,
        /// Found.
        got: String,
        /// Wanted, in words.
        wanted: String,
    },
    /// No reference values for this product and version under the root in use.
    #[error("there are no reference values of the {what} for {product} {version}; RIM {id} has them")]
    GoldenMissing {
        /// `driver` or `vbios`.
        what: &'static str,
        /// Chip.
        product: String,
        /// Version.
        version: String,
        /// Name of the RIM at NVIDIA's service.
        id: String,
    },
    /// Driver and VBIOS both give values for one measurement.
    #[error("driver and VBIOS both have reference values at index {index}")]
    GoldenConflict {
        /// Index in the RIMs.
        index: u8,
    },
    /// Whether index 35 is to be compared cannot be known.
    #[error("the evidence does not say whether NVDEC0 is on, and there are reference values for it")]
    Nvdec0,
    /// Measurements differ from the reference values.
    #[error("{} measurements are not the reference values, the first at index {}", mismatches.len(), mismatches.first().map_or(0, |first| first.index))]
    Measurements {
        /// Each that differs.
        mismatches: Vec<Mismatch>,
    },
}

impl Refusal for GpuError {
    fn code(&self) -> Code {
        match self {
            Self::TooLong { .. }
            | Self::Short { .. }
            | Self::Field { .. }
            | Self::MeasurementLength { .. }
            | Self::BlockCount { .. }
            | Self::Trailing { .. }
            | Self::Opaque { .. }
            | Self::Json { .. } => Code::GpuFormat,
            Self::Chain(ChainError::RootNotPinned { .. }) => Code::GpuRoot,
            Self::Chain(ChainError::Time { .. }) => Code::GpuExpired,
            Self::Chain(_) => Code::GpuChain,
            Self::Revocation(error) => error.code(),
            Self::Signature => Code::GpuSignature,
            Self::FwidMissing { .. } | Self::Fwid { .. } => Code::GpuFwid,
            Self::UnknownChip { .. }
            | Self::Kind { .. }
            | Self::Chip { .. }
            | Self::ArchitectureSent { .. }
            | Self::Architecture { .. } => Code::GpuArchitecture,
            Self::Nonce { .. } => Code::GpuNonce,
            Self::Device { .. } => Code::GpuDevice,
            Self::Mode { .. } => Code::GpuMode,
            Self::Version { .. } => Code::GpuVersion,
            Self::GoldenMissing { .. } | Self::GoldenConflict { .. } | Self::Nvdec0 => Code::GpuGolden,
            Self::Measurements { .. } => Code::GpuMeasurement,
        }
    }

    fn finding(&self) -> Option<Finding> {
        Some(match self {
            Self::Fwid { got, certificate } => Finding::new("fwid", got, certificate),
            Self::Chip { got, certificate } => Finding::new("chip", got, certificate),
            Self::ArchitectureSent { sent, got } => Finding::new("arch", got, sent),
            Self::Nonce { got, wanted } => Finding::new("eat_nonce", got, one_of(wanted)),
            Self::Architecture { got, wanted } => Finding::new("arch", got, one_of(wanted)),
            Self::Device { got, wanted } => Finding::new("device-id", got, one_of(wanted)),
            Self::Mode { got, wanted } => {
                let name = |mode: &Option<Mode>| mode.map_or("(not stated)".to_owned(), |mode| mode.to_string());
                Finding::new("mode", name(got), one_of(&wanted.iter().map(name).collect::<Vec<_>>()))
            }
            Self::Version { what, got, wanted } => Finding::new(format!("{what}-version"), got, wanted),
            Self::GoldenMissing { what, product, version, id } => {
                Finding::new(format!("{what} reference values"), format!("{product} {version}"), id)
            }
            Self::Measurements { mismatches } => {
                let first = mismatches.first()?;
                let got = first.got.map_or("(none)".to_owned(), |value| value.to_string());
                Finding::new(format!("measurements[{}]", first.index), got, one_of(&first.wanted))
            }
            _ => return None,
        })
    }
}

fn one_of<T: ToString>(values: &[T]) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}
