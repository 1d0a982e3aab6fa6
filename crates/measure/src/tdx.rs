//! MRTD of a TDX guest: what its firmware is (Intel TDX Virtual Firmware Design Guide, section 11, "TDVF metadata";
//! Intel TDX Module ABI, TDH.MEM.PAGE.ADD and TDH.MR.EXTEND; edk2 `OvmfPkg/ResetVector/X64/IntelTdxMetadata.asm`).
//!
//! *Takes* a firmware image with TDX metadata.
//! *Guarantees* the MRTD of a guest whose pages are added in the order of the metadata, as this description has it.
//! *Does not check* against hardware: **experimental**, since no report of a known firmware was at hand to confirm a
//! number. That a firmware has the metadata does not mean that it starts as a TDX guest: Debian's AMD SEV build of OVMF has
//! it too. RTMRs are not predicted, see [`RTMR_REASON`].

use crate::snp::{OvmfError, footer_entries};
use aws_lc_rs::digest::{Context, SHA384};
use claims::bytes::Digest384;
use claims::{Code, Finding, Refusal};

/// Why no RTMR is predicted.
pub const RTMR_REASON: &str = "RTMRs are not predicted: RTMR0 holds the memory map and the ACPI tables that one version of QEMU makes for \
     one machine, and RTMR1 the kernel as QEMU has patched its header; no firmware layout settles them. Take them from \
     the first report of a guest that you trust, or replay its event log";

const PAGE: usize = 4096;
const CHUNK: usize = 256;
const MAX_LENGTH: usize = 16 << 20;
const MAX_SECTIONS: u32 = 64;
/// Most pages that are added: 1 GiB.
const MAX_PAGES: u64 = 1 << 18;
/// e47a6535-984a-4798-865e-4685a7bf8ec2: TDX metadata, as an offset from the image's end.
const METADATA_GUID: [u8; 16] = *b"\x35\x65\x7a\xe4\x4a\x98\x98\x47\x86\x5e\x46\x85\xa7\xbf\x8e\xc2";
const DESCRIPTOR: usize = 16;
const SECTION: usize = 32;
const MR_EXTEND: u32 = 1;
const PAGE_AUG: u32 = 2;

/// Why a firmware has no MRTD.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TdxError {
    /// Not a whole number of pages, or too large.
    #[error("the firmware has {got} bytes; wanted a multiple of 4096, at most 16 MiB")]
    Length {
        /// Its length.
        got: usize,
    },
    /// The footer table is missing or malformed.
    #[error("the firmware's footer table cannot be read")]
    Footer(#[source] OvmfError),
    /// No TDX metadata.
    #[error("the firmware has no TDX metadata: it is not a build of OVMF that starts TDX guests")]
    NoMetadata,
    /// The descriptor is malformed.
    #[error("the firmware's TDX metadata is malformed at offset {offset:#x}")]
    Malformed {
        /// Where in the image.
        offset: usize,
    },
    /// A section breaks a rule.
    #[error("section {index} of the firmware's TDX metadata {wrong}")]
    Section {
        /// Which, from 0.
        index: usize,
        /// What is wrong with it.
        wrong: &'static str,
    },
}

impl Refusal for TdxError {
    fn code(&self) -> Code {
        Code::TdxFirmware
    }

    fn finding(&self) -> Option<Finding> {
        match self {
            Self::Length { got } => Some(Finding::new("length", got, "a multiple of 4096, at most 16 MiB")),
            _ => None,
        }
    }
}

/// A section of the TDX metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TdxSection {
    /// Where its contents are in the image.
    pub data_offset: u32,
    /// How many bytes they have there.
    pub data_size: u32,
    /// Guest physical address.
    pub address: u64,
    /// Bytes in the guest.
    pub size: u64,
    /// 0 boot firmware volume, 1 configuration volume, 2 TD HOB, 3 temporary memory, 4 permanent memory, 5 payload,
    /// 6 parameters of the payload.
    pub kind: u32,
    /// Bit 0: contents are measured. Bit 1: pages are added by the guest later, and not measured.
    pub attributes: u32,
}

/// A firmware whose TDX metadata was read.
#[derive(Debug, Clone)]
pub struct Tdvf<'a> {
    bytes: &'a [u8],
    sections: Vec<TdxSection>,
}

impl<'a> Tdvf<'a> {
    /// Reads the metadata.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TdxError> {
        if bytes.is_empty() || !bytes.len().is_multiple_of(PAGE) || bytes.len() > MAX_LENGTH {
            return Err(TdxError::Length { got: bytes.len() });
        }
        let entries = footer_entries(bytes).map_err(TdxError::Footer)?;
        let entry = entries.iter().find(|entry| entry.guid == METADATA_GUID).ok_or(TdxError::NoMetadata)?;
        let from_end = word(entry.data, 0).ok_or(TdxError::Malformed { offset: bytes.len() })?;
        let start = bytes.len().checked_sub(from_end as usize).ok_or(TdxError::Malformed { offset: 0 })?;
        let malformed = || TdxError::Malformed { offset: start };
        let metadata = bytes.get(start..).ok_or_else(malformed)?;
        let field = |at| word(metadata, at).ok_or_else(malformed);
        let (length, version, count) = (field(4)?, field(8)?, field(12)?);
        let wanted = (count as usize).checked_mul(SECTION).and_then(|bytes| bytes.checked_add(DESCRIPTOR));
        let sound = metadata.starts_with(b"TDVF") && version == 1 && count <= MAX_SECTIONS;
        if !sound || wanted != Some(length as usize) {
            return Err(malformed());
        }
        let table = metadata.get(DESCRIPTOR..length as usize).ok_or_else(malformed)?;
        let mut sections = Vec::new();
        let mut pages: u64 = 0;
        for (index, record) in table.chunks_exact(SECTION).enumerate() {
            let section = section(record).ok_or_else(malformed)?;
            check(&section, bytes.len()).map_err(|wrong| TdxError::Section { index, wrong })?;
            pages = pages.saturating_add(section.size.div_ceil(4096));
            if pages > MAX_PAGES {
                return Err(TdxError::Section { index, wrong: "adds more memory than 1 GiB in all" });
            }
            sections.push(section);
        }
        Ok(Self { bytes, sections })
    }

    /// The metadata, in its own order.
    pub fn sections(&self) -> &[TdxSection] {
        &self.sections
    }

    /// MRTD: SHA-384 over one record of 128 bytes for each page that is added, and for each 256 bytes that are
    /// measured a record and these bytes. A page is measured as soon as it is added, as Linux (KVM) does it.
    pub fn mrtd(&self) -> Digest384 {
        let mut context = Context::new(&SHA384);
        for section in self.sections.iter().filter(|section| section.attributes & PAGE_AUG == 0) {
            let contents = usize::try_from(section.size)
                .ok()
                .filter(|_| section.attributes & MR_EXTEND != 0)
                .and_then(|size| self.bytes.get(section.data_offset as usize..)?.get(..size));
            let mut contents = contents.unwrap_or_default().chunks(CHUNK);
            for offset in (0..section.size).step_by(PAGE) {
                let address = section.address.saturating_add(offset);
                context.update(&record(b"MEM.PAGE.ADD", address));
                for (chunk, offset) in contents.by_ref().take(PAGE / CHUNK).zip((0_u64..).step_by(CHUNK)) {
                    context.update(&record(b"MR.EXTEND", address.saturating_add(offset)));
                    context.update(chunk);
                }
            }
        }
        let mut digest = [0; 48];
        digest.copy_from_slice(context.finish().as_ref());
        Digest384(digest)
    }
}

/// Reads and measures in one step. Never panics: this is the function for fuzzing.
pub fn mrtd(firmware: &[u8]) -> Result<Digest384, TdxError> {
    Ok(Tdvf::parse(firmware)?.mrtd())
}

fn check(section: &TdxSection, image: usize) -> Result<(), &'static str> {
    let page = PAGE as u64;
    let data_end = u64::from(section.data_offset).saturating_add(u64::from(section.data_size));
    let measured = section.attributes & MR_EXTEND != 0;
    let rules = [
        (section.kind <= 6, "is of an unknown type"),
        (section.attributes & !(MR_EXTEND | PAGE_AUG) == 0, "has an unknown attribute"),
        (section.address.is_multiple_of(page) && section.size.is_multiple_of(page), "is not made of pages"),
        (section.size > 0 && section.address.checked_add(section.size).is_some(), "has no place in memory"),
        (data_end <= image as u64, "lies outside of the image"),
        (u64::from(section.data_size) <= section.size, "has more contents than memory"),
        // Whether a loader fills up with zeros is settled nowhere.
        (!measured || u64::from(section.data_size) == section.size, "is measured, and its contents do not fill it"),
        (!measured || section.attributes & PAGE_AUG == 0, "is measured and added later"),
    ];
    rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, wrong)| Err(*wrong))
}

fn section(record: &[u8]) -> Option<TdxSection> {
    Some(TdxSection {
        data_offset: word(record, 0)?,
        data_size: word(record, 4)?,
        address: long(record, 8)?,
        size: long(record, 16)?,
        kind: word(record, 24)?,
        attributes: word(record, 28)?,
    })
}

/// 128 bytes: the operation's name, the address at offset 16.
fn record(name: &[u8], address: u64) -> [u8; 128] {
    let mut record = [0; 128];
    let address = address.to_le_bytes();
    let bytes = name.iter().chain(std::iter::repeat(&0)).take(16).chain(&address);
    for (place, byte) in record.iter_mut().zip(bytes) {
        *place = *byte;
    }
    record
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_le_bytes)
}
