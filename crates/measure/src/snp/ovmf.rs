//! What a launch needs to know of an OVMF image: its footer table and its SEV metadata
//! (edk2 `OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm`, `OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm`).
//!
//! *Takes* bytes from anywhere.
//! *Guarantees* that nothing outside of the image is read and that the work is bounded.
//! *Does not check* that the image is a firmware that starts.

const PAGE: usize = 4096;
const MAX_LENGTH: usize = 16 << 20;
const MAX_SECTIONS: u32 = 64;
/// The footer entry ends this far before the image's end.
const FOOTER_TAIL: usize = 32;
/// A length and a GUID end every entry of the footer table.
const TRAILER: usize = 18;
/// Longest footer table.
const MAX_TABLE: usize = 64 << 10;

/// 96b582de-1fb2-45f7-baea-a366c55a082d.
const FOOTER_GUID: [u8; 16] = *b"\xde\x82\xb5\x96\xb2\x1f\xf7\x45\xba\xea\xa3\x66\xc5\x5a\x08\x2d";
/// 7255371f-3a3b-4b04-927b-1da6efa8d454: where the table of kernel hashes goes.
const HASH_TABLE_GUID: [u8; 16] = *b"\x1f\x37\x55\x72\x3b\x3a\x04\x4b\x92\x7b\x1d\xa6\xef\xa8\xd4\x54";
/// 00f771de-1a7e-4fcb-890e-68c77e2fb44e: where application processors start.
const RESET_GUID: [u8; 16] = *b"\xde\x71\xf7\x00\x7e\x1a\xcb\x4f\x89\x0e\x68\xc7\x7e\x2f\xb4\x4e";
/// dc886566-984a-4798-a75e-5585a7bf67cc: SEV metadata, as an offset from the image's end.
const METADATA_GUID: [u8; 16] = *b"\x66\x65\x88\xdc\x4a\x98\x98\x47\xa7\x5e\x55\x85\xa7\xbf\x67\xcc";

/// Why an image cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OvmfError {
    /// Not a whole number of pages, or too large.
    #[error("the firmware has {got} bytes; wanted a multiple of 4096, at most 16 MiB")]
    Length {
        /// Its length.
        got: usize,
    },
    /// The footer table is missing.
    #[error("the firmware has no OVMF footer table at its end")]
    Footer,
    /// The footer table, or what it points to, is malformed.
    #[error("the firmware's {what} is malformed at offset {offset:#x}")]
    Malformed {
        /// Which part.
        what: &'static str,
        /// Where in the image.
        offset: usize,
    },
    /// SNP metadata is missing.
    #[error("the firmware has no SEV metadata, so it is not an SNP firmware")]
    Metadata,
    /// A section type that this program does not know.
    #[error("the firmware's SEV metadata has a section of unknown type {kind:#x}")]
    SectionKind {
        /// Type found.
        kind: u32,
    },
    /// Kernel hashes cannot be measured.
    #[error(
        "the firmware lacks the kernel-hash section (type 0x10), so kernel, initrd and command line would not be measured"
    )]
    KernelHashes,
    /// Several CPUs need a reset address.
    #[error("the firmware names no start address for further virtual CPUs")]
    Reset,
}

/// A section of the SEV metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// Guest physical address.
    pub address: u32,
    /// Bytes.
    pub size: u32,
    /// What it is for.
    pub kind: SectionKind,
}

/// What a section is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectionKind {
    /// Type 1: memory that the firmware uses at its start.
    SecMem,
    /// Type 2: the secrets page.
    Secrets,
    /// Type 3: the CPUID page.
    Cpuid,
    /// Type 4: the calling area of a service module.
    SvsmCaa,
    /// Type 0x10: the page with kernel hashes.
    KernelHashes,
}

/// An image whose tables were read.
#[derive(Debug, Clone)]
pub struct Ovmf<'a> {
    bytes: &'a [u8],
    sections: Vec<Section>,
    hash_table: Option<u32>,
    reset: Option<u32>,
}

impl<'a> Ovmf<'a> {
    /// Reads the tables of an image.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, OvmfError> {
        if bytes.is_empty() || !bytes.len().is_multiple_of(PAGE) || bytes.len() > MAX_LENGTH {
            return Err(OvmfError::Length { got: bytes.len() });
        }
        let mut ovmf = Self { bytes, sections: Vec::new(), hash_table: None, reset: None };
        let mut metadata = None;
        for entry in footer_entries(bytes)? {
            match entry.guid {
                HASH_TABLE_GUID => ovmf.hash_table = Some(number(entry.data, 0, "hash table entry", entry.offset)?),
                RESET_GUID => ovmf.reset = Some(number(entry.data, 0, "reset block", entry.offset)?),
                METADATA_GUID => {
                    metadata = Some((number(entry.data, 0, "metadata entry", entry.offset)?, entry.offset))
                }
                _ => {}
            }
        }
        if let Some((from_end, offset)) = metadata {
            ovmf.sections = sections(bytes, from_end, offset)?;
        }
        Ok(ovmf)
    }

    /// The whole image.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The SEV metadata, in its own order.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Refuses an image under which kernel, initrd and command line would not be measured.
    pub fn needs_kernel_hashes(&self) -> Result<(), OvmfError> {
        if self.sections.is_empty() {
            return Err(OvmfError::Metadata);
        }
        let section = self.sections.iter().find(|section| section.kind == SectionKind::KernelHashes);
        let section = section.ok_or(OvmfError::KernelHashes)?;
        let table = self.hash_table.ok_or(OvmfError::KernelHashes)?;
        let within = table.checked_sub(section.address).is_some_and(|offset| offset < section.size);
        if !within || self.hash_table_offset()? > PAGE.saturating_sub(176) {
            return Err(OvmfError::Malformed { what: "kernel-hash section", offset: table as usize });
        }
        Ok(())
    }

    /// Where in its page the table of kernel hashes lies.
    pub(super) fn hash_table_offset(&self) -> Result<usize, OvmfError> {
        self.hash_table.map(|address| address as usize & 0xFFF).ok_or(OvmfError::KernelHashes)
    }

    /// Where further virtual CPUs start.
    pub(super) fn reset_address(&self) -> Result<u32, OvmfError> {
        self.reset.ok_or(OvmfError::Reset)
    }
}

/// An entry of the footer table.
pub(crate) struct Entry<'a> {
    pub(crate) guid: [u8; 16],
    pub(crate) data: &'a [u8],
    offset: usize,
}

/// The footer table, read backwards: data, then a `u16` length that counts the trailer, then a GUID.
pub(crate) fn footer_entries(bytes: &[u8]) -> Result<Vec<Entry<'_>>, OvmfError> {
    let end = bytes.len().checked_sub(FOOTER_TAIL).ok_or(OvmfError::Footer)?;
    let footer = last_entry(bytes, 0, end).filter(|entry| entry.guid == FOOTER_GUID).ok_or(OvmfError::Footer)?;
    let table_end = end.saturating_sub(TRAILER);
    let table_length = footer.data.len();
    if table_length > MAX_TABLE {
        return Err(OvmfError::Malformed { what: "footer table", offset: end });
    }
    let table_start = table_end.saturating_sub(table_length);
    let mut entries = Vec::new();
    let mut position = table_end;
    while position > table_start {
        let entry = last_entry(bytes, table_start, position)
            .ok_or(OvmfError::Malformed { what: "footer table", offset: position })?;
        position = entry.offset;
        entries.push(entry);
    }
    Ok(entries)
}

/// The entry whose GUID ends at `end`, if it lies behind `start`.
fn last_entry(bytes: &[u8], start: usize, end: usize) -> Option<Entry<'_>> {
    let trailer = end.checked_sub(TRAILER).filter(|trailer| *trailer >= start)?;
    let length = u16::from_le_bytes(bytes.get(trailer..trailer.checked_add(2)?)?.try_into().ok()?);
    let guid = bytes.get(trailer.checked_add(2)?..end)?.try_into().ok()?;
    let offset = end.checked_sub(usize::from(length)).filter(|offset| *offset >= start && *offset <= trailer)?;
    Some(Entry { guid, data: bytes.get(offset..trailer)?, offset })
}

fn sections(bytes: &[u8], from_end: u32, entry: usize) -> Result<Vec<Section>, OvmfError> {
    let wrong = |offset| OvmfError::Malformed { what: "SEV metadata", offset };
    let start = bytes.len().checked_sub(from_end as usize).ok_or_else(|| wrong(entry))?;
    let metadata = bytes.get(start..).ok_or_else(|| wrong(start))?;
    let word = |offset: usize| number(metadata, offset, "SEV metadata", start);
    let (signature, size, version, count) = (metadata.get(..4), word(4)?, word(8)?, word(12)?);
    let wanted = count.checked_mul(12).and_then(|bytes| bytes.checked_add(16));
    if signature != Some(b"ASEV") || version != 1 || count > MAX_SECTIONS || wanted != Some(size) {
        return Err(wrong(start));
    }
    let mut sections = Vec::new();
    for index in 0..count as usize {
        let at = index.saturating_mul(12).saturating_add(16);
        let section =
            Section { address: word(at)?, size: word(at.saturating_add(4))?, kind: kind(word(at.saturating_add(8))?)? };
        let page = PAGE as u32;
        let one_page = matches!(section.kind, SectionKind::KernelHashes | SectionKind::Secrets | SectionKind::Cpuid);
        let sound = section.address.is_multiple_of(page)
            && section.size.is_multiple_of(page)
            && section.size > 0
            && section.address.checked_add(section.size).is_some()
            && (!one_page || section.size == page);
        if !sound {
            return Err(wrong(start.saturating_add(at)));
        }
        sections.push(section);
    }
    Ok(sections)
}

fn kind(number: u32) -> Result<SectionKind, OvmfError> {
    match number {
        1 => Ok(SectionKind::SecMem),
        2 => Ok(SectionKind::Secrets),
        3 => Ok(SectionKind::Cpuid),
        4 => Ok(SectionKind::SvsmCaa),
        0x10 => Ok(SectionKind::KernelHashes),
        kind => Err(OvmfError::SectionKind { kind }),
    }
}

fn number(bytes: &[u8], offset: usize, what: &'static str, base: usize) -> Result<u32, OvmfError> {
    let word = offset.checked_add(4).and_then(|end| bytes.get(offset..end)).and_then(|word| word.try_into().ok());
    word.map(u32::from_le_bytes).ok_or(OvmfError::Malformed { what, offset: base.saturating_add(offset) })
}
