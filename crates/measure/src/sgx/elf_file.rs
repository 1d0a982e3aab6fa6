//! The parts of an ELF file that the layout of `x86_64-fortanix-unknown-sgx` reads.

use super::elf::{ElfError, Layout, Plan, Splice};
use super::sgxs::{PAGE, PageFlags};
use object::LittleEndian;
use object::elf::{FileHeader64, ProgramHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader, Rela, SectionHeader, SectionTable, Sym};
use std::collections::BTreeMap;

type Header = FileHeader64<LittleEndian>;
const ENDIAN: LittleEndian = LittleEndian;

const MAX_LENGTH: usize = 1 << 30;
/// Most memory that segments may ask for beyond what the file holds.
const MAX_ZEROS: u64 = 1 << 30;

// ELF-64 Object File Format 1.5 and the System V ABI's supplement for x86-64.
const MACHINE_X86_64: u16 = 62;
const TYPE_LOAD: u32 = 1;
const TYPE_DYNAMIC: u32 = 2;
const SECTION_NOTE: u32 = 7;
const RELOCATION_RELATIVE: u32 = 8;
const UNDEFINED: u16 = 0;
const TAG_RELA: i64 = 7;
const TAG_RELACOUNT: i64 = 0x6FFF_FFF9;
/// Tags of what an enclave's start code does not do.
const REFUSED_TAGS: [(&[i64], &str); 4] = [
    (&[2, 20, 23], "a procedure linkage table"),
    (&[12, 25, 27], "functions that run before main"),
    (&[13, 26, 28], "functions that run after main"),
    (&[17, 18, 19, 0x6FFF_FFFA], "relocations without addends"),
];

const NOTE: &str = ".note.x86_64-fortanix-unknown-sgx";
const LATEST_TOOLCHAIN: u32 = 1;
/// Symbols that the layout fills in, and their sizes.
const SYMBOLS: [(&str, u64); 9] = [
    ("HEAP_BASE", 8),
    ("HEAP_SIZE", 8),
    ("RELA", 8),
    ("RELACOUNT", 8),
    ("ENCLAVE_SIZE", 8),
    ("CFGDATA_BASE", 8),
    ("DEBUG", 1),
    ("TEXT_BASE", 8),
    ("TEXT_SIZE", 8),
];
/// Those of older tool chains, and those of newer ones.
const OLD_FRAME_SYMBOLS: [&str; 2] = ["EH_FRM_HDR_BASE", "EH_FRM_HDR_SIZE"];
const NEW_FRAME_SYMBOLS: [&str; 4] = ["EH_FRM_OFFSET", "EH_FRM_LEN", "EH_FRM_HDR_OFFSET", "EH_FRM_HDR_LEN"];
const ENTRY: &str = "sgx_entry";
/// Symbols for which no released tool has a layout yet.
const UNRELEASED: &str = "UNMAPPED_";

/// What of a file is laid out.
pub(super) struct Image<'a> {
    pub(super) segments: Vec<Segment<'a>>,
    /// Where the last segment ends.
    pub(super) end: u64,
    /// Where threads start.
    pub(super) entry: u64,
    symbols: BTreeMap<&'static str, u64>,
    relocations: (u64, u64),
    sections: [(u64, u64); 3],
    /// Code that is for other systems and is overwritten.
    no_sgx: Option<(u64, u64)>,
}

/// A segment that is loaded.
pub(super) struct Segment<'a> {
    pub(super) address: u64,
    pub(super) size: u64,
    pub(super) data: &'a [u8],
    pub(super) flags: PageFlags,
}

impl Segment<'_> {
    /// The page where it begins.
    pub(super) fn base(&self) -> u64 {
        self.address.saturating_sub(self.address.checked_rem(PAGE).unwrap_or(0))
    }

    /// Whether what the layout writes lies in it.
    pub(super) fn holds(&self, splice: &Splice) -> bool {
        let end = splice.address.saturating_add(splice.bytes.len() as u64);
        splice.address >= self.address && end <= self.address.saturating_add(self.size)
    }
}

impl<'a> Image<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, ElfError> {
        let malformed = |what| move |_| ElfError::Malformed { what };
        if bytes.len() > MAX_LENGTH {
            return Err(ElfError::Malformed { what: "length (more than 1 GiB)" });
        }
        let header = Header::parse(bytes).map_err(|_| ElfError::Architecture)?;
        let little = header.e_ident.data.0 == 1 && header.e_ident.class.0 == 2;
        if !little || header.e_machine.get(ENDIAN).0 != MACHINE_X86_64 {
            return Err(ElfError::Architecture);
        }
        let sections = header.sections(ENDIAN, bytes).map_err(malformed("section headers"))?;
        toolchain(&sections, bytes)?;
        let (symbols, entry) = symbols(&sections, bytes)?;
        let headers = header.program_headers(ENDIAN, bytes).map_err(malformed("program headers"))?;
        let relocations = dynamic(headers, bytes)?;
        let segments = segments(headers, bytes)?;
        check_relocations(&sections, bytes, &segments, relocations.map_or(0, |(_, count)| count))?;
        let section = |name: &str| {
            let found = sections.section_by_name(ENDIAN, name.as_bytes());
            found.map(|(_, section)| (section.sh_addr.get(ENDIAN), section.sh_size.get(ENDIAN)))
        };
        let wanted = |name: &str| section(name).ok_or_else(|| ElfError::Target { what: format!("section {name}") });
        let end = segments.iter().map(|segment| segment.address.saturating_add(segment.size)).max();
        Ok(Self {
            end: end.ok_or(ElfError::Malformed { what: "segments (none is loaded)" })?,
            segments,
            entry,
            symbols,
            relocations: relocations.unwrap_or((0, 0)),
            sections: [wanted(".text")?, wanted(".eh_frame")?, wanted(".eh_frame_hdr")?],
            no_sgx: section(".text_no_sgx"),
        })
    }

    /// What the layout writes, by address.
    pub(super) fn splices(&self, plan: &Plan, layout: &Layout) -> Result<Vec<Splice>, ElfError> {
        let [text, frame, frame_header] = self.sections;
        let values = [
            ("HEAP_BASE", plan.heap),
            ("HEAP_SIZE", layout.heap),
            ("RELA", self.relocations.0),
            ("RELACOUNT", self.relocations.1),
            ("ENCLAVE_SIZE", plan.size),
            ("CFGDATA_BASE", plan.end),
            ("TEXT_BASE", text.0),
            ("TEXT_SIZE", text.1),
            ("EH_FRM_HDR_BASE", frame_header.0),
            ("EH_FRM_HDR_SIZE", frame_header.1),
            ("EH_FRM_OFFSET", frame.0),
            ("EH_FRM_LEN", frame.1),
            ("EH_FRM_HDR_OFFSET", frame_header.0),
            ("EH_FRM_HDR_LEN", frame_header.1),
        ];
        let mut splices = Vec::new();
        let mut put = |name: &str, bytes: Vec<u8>| {
            if let Some(address) = self.symbols.get(name) {
                splices.push(Splice { address: *address, bytes, droppable: false });
            }
        };
        for (name, value) in values {
            // A file with the old symbols may have some of the new ones; then only the old ones are filled in.
            let old = OLD_FRAME_SYMBOLS.iter().all(|name| self.symbols.contains_key(name));
            let skipped = if old { NEW_FRAME_SYMBOLS.contains(&name) } else { OLD_FRAME_SYMBOLS.contains(&name) };
            if !skipped {
                put(name, value.to_le_bytes().to_vec());
            }
        }
        put("DEBUG", vec![u8::from(layout.debug)]);
        for splice in &splices {
            let name = || self.symbols.iter().find(|(_, address)| **address == splice.address);
            if !self.segments.iter().any(|segment| segment.holds(splice)) {
                let name = name().map_or_else(String::new, |(name, _)| (*name).to_owned());
                return Err(ElfError::Symbol { name, wrong: "in no part of the file that is loaded" });
            }
        }
        if let Some((address, size)) = self.no_sgx {
            let held = self.segments.iter().any(|segment| {
                address >= segment.address
                    && address.checked_add(size).is_some_and(|end| end <= segment.address.saturating_add(segment.size))
            });
            let size = usize::try_from(size).ok().filter(|size| held && *size <= MAX_LENGTH);
            let size = size.ok_or(ElfError::Malformed { what: "section .text_no_sgx" })?;
            splices.push(Splice { address, bytes: vec![0x90; size], droppable: true });
        }
        splices.sort_by_key(|splice| splice.address);
        Ok(splices)
    }
}

/// The note that says which tool chain made the file.
fn toolchain(sections: &SectionTable<'_, Header>, bytes: &[u8]) -> Result<(), ElfError> {
    let missing = || ElfError::Target { what: format!("section {NOTE}") };
    let malformed = || ElfError::Malformed { what: "tool chain note" };
    let (_, section) = sections.section_by_name(ENDIAN, NOTE.as_bytes()).ok_or_else(missing)?;
    if section.sh_type.get(ENDIAN).0 != SECTION_NOTE {
        return Err(malformed());
    }
    let mut notes = section.notes(ENDIAN, bytes).map_err(|_| malformed())?.ok_or_else(malformed)?;
    let note = notes.next().map_err(|_| malformed())?.ok_or_else(malformed)?;
    let version = note.desc().try_into().map(u32::from_le_bytes).map_err(|_| malformed())?;
    if note.name() != b"toolchain-version" {
        return Err(malformed());
    }
    if version > LATEST_TOOLCHAIN {
        return Err(ElfError::ToolchainVersion { got: version });
    }
    Ok(())
}

/// The addresses of the symbols that count, and where threads start.
fn symbols(sections: &SectionTable<'_, Header>, bytes: &[u8]) -> Result<(BTreeMap<&'static str, u64>, u64), ElfError> {
    let malformed = |_| ElfError::Malformed { what: "dynamic symbols" };
    let known = SYMBOLS.iter().map(|(name, size)| (*name, Some(*size)));
    let known = known.chain(OLD_FRAME_SYMBOLS.into_iter().chain(NEW_FRAME_SYMBOLS).map(|name| (name, Some(8))));
    let known: BTreeMap<&'static str, Option<u64>> = known.chain([(ENTRY, None)]).collect();
    let table = sections.symbols(ENDIAN, bytes, object::elf::SHT_DYNSYM).map_err(malformed)?;
    let mut found = BTreeMap::new();
    for symbol in table.iter().skip(1) {
        let name = symbol.name(ENDIAN, table.strings()).map_err(malformed)?;
        let name = std::str::from_utf8(name).map_err(|_| ElfError::Malformed { what: "dynamic symbols" })?;
        let wrong = |wrong| ElfError::Symbol { name: name.chars().take(80).collect(), wrong };
        if symbol.st_shndx.get(ENDIAN).0 == UNDEFINED {
            return Err(wrong("not defined in the file"));
        }
        if name.starts_with(UNRELEASED) {
            return Err(wrong("of a tool chain whose layout is not in a released tool"));
        }
        let Some((name, size)) = known.get_key_value(name) else { continue };
        if size.is_some_and(|size| size != symbol.st_size(ENDIAN)) {
            return Err(wrong("of another size"));
        }
        if found.insert(*name, symbol.st_value(ENDIAN)).is_some() {
            return Err(wrong("defined twice"));
        }
    }
    let missing = |name: &str| ElfError::Target { what: format!("symbol {name}") };
    if let Some((name, _)) = SYMBOLS.iter().find(|(name, _)| !found.contains_key(name)) {
        return Err(missing(name));
    }
    let all = |names: &[&str]| names.iter().all(|name| found.contains_key(name));
    if !all(&OLD_FRAME_SYMBOLS) && !all(&NEW_FRAME_SYMBOLS) {
        return Err(missing(NEW_FRAME_SYMBOLS.first().unwrap_or(&"")));
    }
    if found.get("ENCLAVE_SIZE").is_some_and(|address| !address.is_multiple_of(8)) {
        return Err(ElfError::Symbol { name: "ENCLAVE_SIZE".to_owned(), wrong: "not aligned" });
    }
    let entry = found.remove(ENTRY).ok_or_else(|| missing(ENTRY))?;
    Ok((found, entry))
}

/// Address and number of the relocations, if there are any.
fn dynamic(headers: &[ProgramHeader64<LittleEndian>], bytes: &[u8]) -> Result<Option<(u64, u64)>, ElfError> {
    let header = headers.iter().find(|header| header.p_type.get(ENDIAN).0 == TYPE_DYNAMIC);
    let header = header.ok_or_else(|| ElfError::Target { what: "dynamic segment".to_owned() })?;
    let malformed = ElfError::Malformed { what: "dynamic segment" };
    let entries = header.dynamic(ENDIAN, bytes).map_err(|_| malformed.clone())?.ok_or(malformed)?;
    let (mut table, mut count) = (None, None);
    for entry in entries {
        let (tag, value) = (entry.d_tag(ENDIAN).0, entry.d_val(ENDIAN));
        if let Some((_, what)) = REFUSED_TAGS.iter().find(|(tags, _)| tags.contains(&tag)) {
            return Err(ElfError::Dynamic { what });
        }
        let place = match tag {
            TAG_RELA => &mut table,
            TAG_RELACOUNT => &mut count,
            _ => continue,
        };
        if place.replace(value).is_some() {
            return Err(ElfError::Relocation { wrong: "their table is named twice" });
        }
    }
    match (table, count) {
        (None, None) => Ok(None),
        (Some(table), Some(count)) => Ok(Some((table, count))),
        _ => Err(ElfError::Relocation { wrong: "table and number are not both given" }),
    }
}

fn segments<'a>(headers: &[ProgramHeader64<LittleEndian>], bytes: &'a [u8]) -> Result<Vec<Segment<'a>>, ElfError> {
    let mut segments = Vec::new();
    let mut zeros: u64 = 0;
    for header in headers.iter().filter(|header| header.p_type.get(ENDIAN).0 == TYPE_LOAD) {
        let data = header.data(ENDIAN, bytes).map_err(|()| ElfError::Malformed { what: "segments" })?;
        let (address, size) = (header.p_vaddr(ENDIAN), header.p_memsz(ENDIAN));
        let access = header.p_flags.get(ENDIAN).0;
        let flags = PageFlags::regular(access & 4 != 0, access & 2 != 0, access & 1 != 0);
        zeros = zeros.saturating_add(size.saturating_sub(data.len() as u64));
        if address.checked_add(size).is_none() || (data.len() as u64) > size || zeros > MAX_ZEROS {
            return Err(ElfError::Malformed { what: "segments" });
        }
        let segment = Segment { address, size, data, flags };
        if segment.base() == 0 && access & 1 != 0 {
            return Err(ElfError::FirstPage);
        }
        segments.push(segment);
    }
    Ok(segments)
}

/// Relocations that the start code applies: all relative, all in writable memory, as many as it is told.
fn check_relocations(
    sections: &SectionTable<'_, Header>,
    bytes: &[u8],
    segments: &[Segment<'_>],
    wanted: u64,
) -> Result<(), ElfError> {
    let refuse = |wrong| Err(ElfError::Relocation { wrong });
    let mut count: u64 = 0;
    for section in sections.iter() {
        let table = section.rela(ENDIAN, bytes).map_err(|_| ElfError::Malformed { what: "relocations" })?;
        let Some((relocations, _)) = table else { continue };
        count = count.saturating_add(relocations.len() as u64);
        for relocation in relocations {
            let kind = (relocation.r_sym(ENDIAN, false), relocation.r_type(ENDIAN, false).0);
            if kind != (0, RELOCATION_RELATIVE) {
                return refuse("one is not relative to the enclave");
            }
            let start = relocation.r_offset(ENDIAN);
            let writable = segments.iter().any(|segment| {
                segment.flags.0 & 2 != 0
                    && start >= segment.address
                    && start.checked_add(8).is_some_and(|end| end <= segment.address.saturating_add(segment.size))
            });
            if !writable {
                return refuse("one is outside of writable memory");
            }
        }
    }
    if count != wanted {
        return refuse("there are more or fewer than the file says");
    }
    Ok(())
}
