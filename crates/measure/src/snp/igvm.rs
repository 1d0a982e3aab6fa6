//! The launch digest that an IGVM file leads to (IGVM format, `igvm_defs` 0.5; SNP ABI 1.58, section 8.17).
//!
//! *Takes* an IGVM file: it says which pages are loaded where, in which order, and how each virtual CPU starts.
//! *Guarantees* the digest of exactly these directives, or refuses one that loaders treat differently.
//! *Does not check* that a loader keeps to the file: [`Igvm::loader_notes`] names where KVM is known not to.
//!
//! Microsoft's crate `igvm` is not used: its parser stops the program on offsets that are out of range.

use super::context::{Context, PageType, sha384};
use claims::{Code, Finding, LaunchDigest, Refusal};
use std::collections::BTreeMap;
use std::ops::Range;

const PAGE: u64 = 4096;
const MAX_LENGTH: usize = 1 << 30;
/// Most pages that parameters may ask for: 4 GiB.
const MAX_PARAMETER_PAGES: u64 = 1 << 20;

// IGVM_FIXED_HEADER: magic, version, then where the variable headers are, the file's length, and a checksum.
const MAGIC: u32 = u32::from_le_bytes(*b"IGVM");
const VARIABLE_OFFSET: usize = 8;
const VARIABLE_SIZE: usize = 12;
const TOTAL: usize = 16;
const CHECKSUM: Range<usize> = 20..24;
/// Version 2 adds architecture (0: x86-64) and page size.
const HEADER_LENGTHS: [(u32, usize); 2] = [(1, 24), (2, 32)];

const SUPPORTED_PLATFORM: u32 = 0x1;
const GUEST_POLICY: u32 = 0x101;
const PARAMETER_AREA: u32 = 0x301;
const PAGE_DATA: u32 = 0x302;
const PARAMETER_INSERT: u32 = 0x303;
const VP_CONTEXT: u32 = 0x304;
const SNP_ID_BLOCK: u32 = 0x30B;
/// Initialization and directives that say what a loader writes into parameter areas, or what it reserves: not measured.
const NOT_MEASURED: [Range<u32>; 3] = [0x102..0x108, 0x305..0x30B, 0x30C..0x314];
const PLATFORM_SNP: u8 = 2;

const FLAG_2MB: u32 = 1;
const FLAG_UNMEASURED: u32 = 2;
/// Where the SNP ABI and KVM put every save area.
const KVM_VMSA: u64 = 0x0000_FFFF_FFFF_F000;

/// Why a file cannot be measured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IgvmError {
    /// Not an IGVM file, or not of the length it says.
    #[error("the file is not an IGVM file of version 1 or 2 for x86-64 whose header fits its length")]
    Header,
    /// The checksum is wrong.
    #[error("the headers' checksum is {got:#010x}, the file says {wanted:#010x}")]
    Checksum {
        /// Checksum of the headers.
        got: u32,
        /// Checksum in the file.
        wanted: u32,
    },
    /// A header that is cut off, of another length, or points outside of the file.
    #[error("the header at offset {at:#x} is malformed")]
    Malformed {
        /// Where.
        at: usize,
    },
    /// No SNP platform, or several.
    #[error("the file names {count} SNP platforms; wanted one")]
    Platform {
        /// How many.
        count: usize,
    },
    /// A header that this program does not know.
    #[error("the header at offset {at:#x} has an unknown type {kind:#x}")]
    Unknown {
        /// Where.
        at: usize,
        /// Its type.
        kind: u32,
    },
    /// A directive whose measurement the format does not settle.
    #[error("the directive at offset {at:#x} cannot be measured: {why}")]
    Unsettled {
        /// Where.
        at: usize,
        /// Why.
        why: &'static str,
    },
    /// The ID block in the file is for another digest.
    #[error("the file's ID block is for {wanted}, its directives lead to {got}")]
    IdBlock {
        /// The digest that its directives lead to.
        got: LaunchDigest,
        /// The digest in its ID block.
        wanted: LaunchDigest,
    },
}

impl Refusal for IgvmError {
    fn code(&self) -> Code {
        Code::Igvm
    }

    fn finding(&self) -> Option<Finding> {
        match self {
            Self::Checksum { got, wanted } => {
                Some(Finding::new("checksum", format!("{got:#010x}"), format!("{wanted:#010x}")))
            }
            Self::IdBlock { got, wanted } => Some(Finding::new("measurement", got, wanted)),
            _ => None,
        }
    }
}

/// What an IGVM file leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Igvm {
    /// The launch digest.
    pub measurement: LaunchDigest,
    /// The guest policy that the file asks for.
    pub policy: Option<u64>,
    /// How many pages are loaded, and how many of these with their contents measured.
    pub pages: (u64, u64),
    /// Virtual CPUs whose start is in the file.
    pub vcpus: u64,
    /// Whether the file holds an ID block for this digest.
    pub id_block: bool,
    vmsa_addresses_are_kvms: bool,
    vmsa_is_last: bool,
}

impl Igvm {
    /// Why a loader on KVM would report another number.
    pub fn loader_notes(&self) -> Vec<&'static str> {
        let notes = [
            (self.vcpus <= 1, "the file sets several virtual CPUs; QEMU on KVM takes the first only"),
            (self.vmsa_is_last, "a page comes behind the virtual CPUs; QEMU on KVM loads these last"),
            (self.vmsa_addresses_are_kvms, "a virtual CPU's save area is not at 0xfffffffff000, where KVM puts it"),
        ];
        notes.into_iter().filter(|(kept, _)| !kept).map(|(_, note)| note).collect()
    }
}

/// Reads and measures. Never panics: this is the function for fuzzing.
pub fn measure(bytes: &[u8]) -> Result<Igvm, IgvmError> {
    let headers = headers(bytes)?;
    let mask = snp_mask(&headers)?;
    let mut state = State::new(bytes, mask);
    for header in &headers {
        state.take(header)?;
    }
    state.finish()
}

/// A variable header.
struct Header<'a> {
    kind: u32,
    data: &'a [u8],
    at: usize,
}

impl Header<'_> {
    fn malformed(&self) -> IgvmError {
        IgvmError::Malformed { at: self.at }
    }

    fn word(&self, at: usize) -> Result<u32, IgvmError> {
        word(self.data, at).ok_or_else(|| self.malformed())
    }

    fn long(&self, at: usize) -> Result<u64, IgvmError> {
        let bytes = self.data.get(at..).and_then(|rest| rest.first_chunk());
        bytes.copied().map(u64::from_le_bytes).ok_or_else(|| self.malformed())
    }

    fn of_length(&self, length: usize) -> Result<(), IgvmError> {
        if self.data.len() == length { Ok(()) } else { Err(self.malformed()) }
    }

    /// A page of the file; nothing at offset 0.
    fn page<'a>(&self, bytes: &'a [u8], offset: u32) -> Result<Option<&'a [u8; 4096]>, IgvmError> {
        if offset == 0 {
            return Ok(None);
        }
        let page = bytes.get(offset as usize..).and_then(|rest| rest.first_chunk());
        page.map(Some).ok_or_else(|| self.malformed())
    }
}

fn headers(bytes: &[u8]) -> Result<Vec<Header<'_>>, IgvmError> {
    let field = |at| word(bytes, at).ok_or(IgvmError::Header);
    let version = field(4)?;
    let fixed = HEADER_LENGTHS.iter().find(|(known, _)| *known == version).map(|(_, length)| *length);
    let fixed = fixed.ok_or(IgvmError::Header)?;
    let for_us = version == 1 || (field(24)? == 0 && field(28)? == PAGE as u32);
    let sound = field(0)? == MAGIC && for_us && bytes.len() <= MAX_LENGTH && field(TOTAL)? as usize == bytes.len();
    let start = field(VARIABLE_OFFSET)? as usize;
    let end = start.checked_add(field(VARIABLE_SIZE)? as usize).filter(|end| *end <= bytes.len());
    let section = end.and_then(|end| bytes.get(start..end)).filter(|_| sound && start >= fixed);
    let section = section.ok_or(IgvmError::Header)?;
    checksum(bytes, fixed, section)?;
    let mut headers = Vec::new();
    let (mut rest, mut at) = (section, start);
    while !rest.is_empty() {
        let malformed = || IgvmError::Malformed { at };
        let (kind, length) = word(rest, 0).zip(word(rest, 4)).ok_or_else(malformed)?;
        let padded = (length as usize).checked_next_multiple_of(8).ok_or_else(malformed)?;
        let body = rest.get(8..).ok_or_else(malformed)?;
        let (data, behind) = body.split_at_checked(padded).ok_or_else(malformed)?;
        headers.push(Header { kind, data: data.get(..length as usize).ok_or_else(malformed)?, at });
        (rest, at) = (behind, at.saturating_add(padded).saturating_add(8));
    }
    Ok(headers)
}

/// CRC-32 over the fixed header with the checksum taken as zero, and the variable headers.
fn checksum(bytes: &[u8], fixed: usize, section: &[u8]) -> Result<(), IgvmError> {
    let wanted = word(bytes, CHECKSUM.start).ok_or(IgvmError::Header)?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(bytes.get(..CHECKSUM.start).unwrap_or_default());
    hasher.update(&[0; 4]);
    hasher.update(bytes.get(CHECKSUM.end..fixed).unwrap_or_default());
    hasher.update(section);
    let got = hasher.finalize();
    if got == wanted { Ok(()) } else { Err(IgvmError::Checksum { got, wanted }) }
}

/// Which headers are for SNP.
fn snp_mask(headers: &[Header<'_>]) -> Result<u32, IgvmError> {
    let mut masks = Vec::new();
    for header in headers.iter().filter(|header| header.kind == SUPPORTED_PLATFORM) {
        header.of_length(16)?;
        if header.data.get(5) == Some(&PLATFORM_SNP) {
            masks.push(header.word(0)?);
        }
    }
    match masks.as_slice() {
        [mask] if mask.is_power_of_two() => Ok(*mask),
        _ => Err(IgvmError::Platform { count: masks.len() }),
    }
}

/// What was loaded so far.
struct State<'a> {
    bytes: &'a [u8],
    mask: u32,
    context: Context,
    areas: BTreeMap<u32, u64>,
    parameter_pages: u64,
    id_block: Option<LaunchDigest>,
    igvm: Igvm,
}

impl<'a> State<'a> {
    fn new(bytes: &'a [u8], mask: u32) -> Self {
        let igvm = Igvm {
            measurement: LaunchDigest([0; 48]),
            policy: None,
            pages: (0, 0),
            vcpus: 0,
            id_block: false,
            vmsa_addresses_are_kvms: true,
            vmsa_is_last: true,
        };
        Self {
            bytes,
            mask,
            context: Context::empty(),
            areas: BTreeMap::new(),
            parameter_pages: 0,
            id_block: None,
            igvm,
        }
    }

    fn take(&mut self, header: &Header<'_>) -> Result<(), IgvmError> {
        match header.kind {
            SUPPORTED_PLATFORM => Ok(()),
            GUEST_POLICY => {
                header.of_length(16)?;
                if self.is_for_us(header.word(8)?) {
                    self.igvm.policy = Some(header.long(0)?);
                }
                Ok(())
            }
            PARAMETER_AREA => {
                header.of_length(16)?;
                let (size, index) = (header.long(0)?, header.word(8)?);
                if !size.is_multiple_of(PAGE) || self.areas.insert(index, size).is_some() {
                    return Err(header.malformed());
                }
                Ok(())
            }
            PAGE_DATA => self.page_data(header),
            PARAMETER_INSERT => self.parameters(header),
            VP_CONTEXT => self.virtual_cpu(header),
            SNP_ID_BLOCK => {
                let digest =
                    header.data.get(8..).and_then(|rest| rest.first_chunk()).ok_or_else(|| header.malformed())?;
                if self.is_for_us(header.word(0)?) {
                    self.id_block = Some(LaunchDigest(*digest));
                }
                Ok(())
            }
            kind if NOT_MEASURED.iter().any(|range| range.contains(&kind)) => Ok(()),
            kind => Err(IgvmError::Unknown { at: header.at, kind }),
        }
    }

    fn is_for_us(&self, mask: u32) -> bool {
        mask & self.mask != 0
    }

    fn page_data(&mut self, header: &Header<'_>) -> Result<(), IgvmError> {
        header.of_length(24)?;
        if !self.is_for_us(header.word(8)?) {
            return Ok(());
        }
        let (address, offset, flags) = (self.address(header)?, header.word(12)?, header.word(16)?);
        let contents = header.page(self.bytes, offset)?;
        let unsettled = |why| Err(IgvmError::Unsettled { at: header.at, why });
        if flags & FLAG_2MB != 0 {
            return unsettled("a page of 2 MiB; tools disagree on its contents");
        }
        if flags & !FLAG_UNMEASURED != 0 {
            return unsettled("a flag that is not settled, such as a page shared with the host");
        }
        // Type, then a reserved field.
        match header.word(20)? {
            0 if flags & FLAG_UNMEASURED != 0 => self.load(PageType::Unmeasured, None, address),
            0 => self.load(PageType::Normal, Some(contents.unwrap_or(&[0; 4096])), address),
            1 => self.load(PageType::Secrets, None, address),
            2 | 3 => self.load(PageType::Cpuid, None, address),
            _ => return unsettled("an unknown type of page"),
        }
        Ok(())
    }

    fn parameters(&mut self, header: &Header<'_>) -> Result<(), IgvmError> {
        header.of_length(16)?;
        if !self.is_for_us(header.word(8)?) {
            return Ok(());
        }
        let start = self.address(header)?;
        let size = *self.areas.get(&header.word(12)?).ok_or_else(|| header.malformed())?;
        self.parameter_pages = self.parameter_pages.saturating_add(size.div_ceil(PAGE));
        let end = start.checked_add(size).filter(|_| self.parameter_pages <= MAX_PARAMETER_PAGES);
        for address in (start..end.ok_or_else(|| header.malformed())?).step_by(PAGE as usize) {
            self.load(PageType::Unmeasured, None, address);
        }
        Ok(())
    }

    fn virtual_cpu(&mut self, header: &Header<'_>) -> Result<(), IgvmError> {
        header.of_length(20)?;
        if !self.is_for_us(header.word(8)?) {
            return Ok(());
        }
        let address = self.address(header)?;
        let page = header.page(self.bytes, header.word(12)?)?.ok_or_else(|| header.malformed())?;
        self.context.page(PageType::Vmsa, &sha384(page), address);
        self.igvm.vcpus = self.igvm.vcpus.saturating_add(1);
        self.igvm.vmsa_addresses_are_kvms &= address == KVM_VMSA;
        Ok(())
    }

    fn address(&self, header: &Header<'_>) -> Result<u64, IgvmError> {
        let address = header.long(0)?;
        if address.is_multiple_of(PAGE) { Ok(address) } else { Err(header.malformed()) }
    }

    fn load(&mut self, page_type: PageType, contents: Option<&[u8; 4096]>, address: u64) {
        let digest = contents.map_or([0; 48], |page| sha384(page));
        self.context.page(page_type, &digest, address);
        let (all, measured) = self.igvm.pages;
        self.igvm.pages = (all.saturating_add(1), measured.saturating_add(u64::from(contents.is_some())));
        self.igvm.vmsa_is_last &= self.igvm.vcpus == 0;
    }

    fn finish(mut self) -> Result<Igvm, IgvmError> {
        let got = self.context.digest();
        match self.id_block {
            Some(wanted) if wanted != got => return Err(IgvmError::IdBlock { got, wanted }),
            block => self.igvm.id_block = block.is_some(),
        }
        self.igvm.measurement = got;
        Ok(self.igvm)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}
