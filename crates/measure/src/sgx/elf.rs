//! MRENCLAVE of an ELF file: the layout of the Rust target `x86_64-fortanix-unknown-sgx`, as `ftxsgx-elf2sgxs` of
//! `fortanix-sgx-tools` 0.6 makes it. Its files are static, carry their own relocations, and name by symbols what the
//! layout has to fill in; so the layout is a function of the file and of five
//! settings.
//!
//! *Does not know* other layouts. Gramine and the SDK's loader (Occlum, EGo, Open Enclave) place more than the file
//! says: such files lack these symbols and are refused.

use super::elf_file::{Image, Segment};
use super::sgxs::{CHUNK, Enclave, Meter, PAGE, PageFlags, Record, SgxsError};
use claims::{Code, Finding, Refusal};

/// Below each thread's stack, so that an overflow is noticed.
const GUARD: u64 = 0x1_0000;
/// SSA frames of a thread.
const NSSA: u32 = 1;
/// Largest enclave that is laid out, so that the work is bounded.
const MAX_SIZE: u64 = 1 << 36;
const MAX_THREADS: u64 = 1 << 16;

/// What the layout depends on beside the file; the names are those of `ftxsgx-elf2sgxs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// `--heap-size`, in bytes.
    pub heap: u64,
    /// `--stack-size` of each thread, in bytes.
    pub stack: u64,
    /// `--threads`.
    pub threads: u64,
    /// `--ssaframesize`, in pages.
    pub ssa_frame_pages: u32,
    /// `--debug`: a byte in the enclave that its start code reads.
    pub debug: bool,
}

/// Why a file has no layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// Not an ELF file that can be read.
    #[error("the ELF file's {what} cannot be read")]
    Malformed {
        /// Which part.
        what: &'static str,
    },
    /// Another architecture.
    #[error("the file is not a little-endian ELF file of 64 bits for x86-64")]
    Architecture,
    /// Not made for this target.
    #[error("the file is not made for x86_64-fortanix-unknown-sgx: it has no {what}")]
    Target {
        /// What it lacks.
        what: String,
    },
    /// Made by a tool chain that is newer than this program.
    #[error("the file is of tool chain version {got}; the layout is known up to version 1")]
    ToolchainVersion {
        /// Version found.
        got: u32,
    },
    /// A symbol that is undefined, twice there, of another size or in no part of the file.
    #[error("the symbol {name} is {wrong}")]
    Symbol {
        /// Its name.
        name: String,
        /// What is wrong with it.
        wrong: &'static str,
    },
    /// Something that the enclave's start code does not do.
    #[error("the file needs {what}, which an enclave's start code does not do")]
    Dynamic {
        /// What it needs.
        what: &'static str,
    },
    /// A relocation of another kind, at another place, or another number of them.
    #[error("the relocations cannot be applied in an enclave: {wrong}")]
    Relocation {
        /// What is wrong with them.
        wrong: &'static str,
    },
    /// The first page would be executable.
    #[error("the first page is executable, which leaves the enclave open to load value injection")]
    FirstPage,
    /// Segments that overlap or do not ascend.
    #[error("the segment at {address:#x} overlaps the one before it")]
    Overlap {
        /// Its address.
        address: u64,
    },
    /// A number that the layout cannot have.
    #[error("{what} cannot be {got:#x}; {wanted}")]
    Layout {
        /// Which.
        what: &'static str,
        /// Number given.
        got: u64,
        /// What it must be.
        wanted: &'static str,
    },
    /// The pages make no enclave.
    #[error("the layout makes no enclave")]
    Stream(#[from] SgxsError),
}

impl Refusal for ElfError {
    fn code(&self) -> Code {
        Code::SgxElf
    }

    fn finding(&self) -> Option<Finding> {
        match self {
            Self::ToolchainVersion { got } => Some(Finding::new("toolchain-version", got, "0 or 1")),
            Self::Layout { what, got, wanted } => Some(Finding::new(*what, format!("{got:#x}"), wanted)),
            _ => None,
        }
    }
}

/// Measures a file in a layout. Never panics: this is the function for fuzzing.
pub fn measure(bytes: &[u8], layout: &Layout) -> Result<Enclave, ElfError> {
    lay_out(bytes, layout, Meter::new())
}

/// As [`measure`], with a digest of each page.
pub fn outline(bytes: &[u8], layout: &Layout) -> Result<Enclave, ElfError> {
    lay_out(bytes, layout, Meter::with_pages())
}

fn lay_out(bytes: &[u8], layout: &Layout, meter: Meter) -> Result<Enclave, ElfError> {
    let image = Image::parse(bytes)?;
    let plan = Plan::of(&image, layout)?;
    let mut pages = Pages { meter, next: 0 };
    pages.record(&Record::Create { ssa_frame_pages: layout.ssa_frame_pages, size: plan.size })?;
    let splices = image.splices(&plan, layout)?;
    for segment in &image.segments {
        let (contents, length) = contents(segment, &splices)?;
        pages.add(segment.base(), length.div_ceil(PAGE), segment.flags, Some(&contents))?;
    }
    pages.add(plan.heap, layout.heap / PAGE, PageFlags::READ_WRITE, None)?;
    for thread in 0..layout.threads {
        let stack = plan.threads.saturating_add(thread.saturating_mul(plan.thread_size)).saturating_add(GUARD);
        let storage = stack.saturating_add(layout.stack);
        let control = storage.saturating_add(PAGE);
        pages.add(stack, layout.stack / PAGE, PageFlags::READ_WRITE, None)?;
        // Where the stack begins, and whether this is a further thread.
        let first_words = [storage.to_le_bytes(), u64::from(thread != 0).to_le_bytes()].concat();
        pages.add(storage, 1, PageFlags::READ_WRITE, Some(&first_words))?;
        pages.add(control, 1, PageFlags::TCS, Some(&tcs(control, storage, image.entry)))?;
        pages.add(control.saturating_add(PAGE), u64::from(layout.ssa_frame_pages), PageFlags::READ_WRITE, None)?;
    }
    Ok(pages.meter.finish()?)
}

/// Where everything goes.
pub(super) struct Plan {
    pub(super) heap: u64,
    threads: u64,
    thread_size: u64,
    /// The end of the last thread: where a loader may put data that is not measured.
    pub(super) end: u64,
    pub(super) size: u64,
}

impl Plan {
    fn of(image: &Image<'_>, layout: &Layout) -> Result<Self, ElfError> {
        let wrong = |what, got, wanted| Err(ElfError::Layout { what, got, wanted });
        for (what, got) in [("heap size", layout.heap), ("stack size", layout.stack)] {
            if !got.is_multiple_of(PAGE) || got > MAX_SIZE {
                return wrong(what, got, "it is a multiple of 4096, at most 64 GiB");
            }
        }
        if !(1..=MAX_THREADS).contains(&layout.threads) {
            return wrong("number of threads", layout.threads, "it is between 1 and 65536");
        }
        if !(1..=256).contains(&layout.ssa_frame_pages) {
            return wrong("SSA frame size", u64::from(layout.ssa_frame_pages), "it is between 1 and 256 pages");
        }
        let heap = image.end.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX);
        let threads = heap.saturating_add(layout.heap);
        let frames = u64::from(NSSA).saturating_mul(u64::from(layout.ssa_frame_pages));
        let fixed = GUARD.saturating_add(PAGE).saturating_add(frames.saturating_add(1).saturating_mul(PAGE));
        let thread_size = fixed.saturating_add(layout.stack);
        let end = threads.saturating_add(layout.threads.saturating_mul(thread_size));
        if end > MAX_SIZE {
            return wrong("size of the enclave", end, "it is at most 64 GiB");
        }
        Ok(Self { heap, threads, thread_size, end, size: end.next_power_of_two() })
    }
}

/// Adds pages to the enclave.
struct Pages {
    meter: Meter,
    next: u64,
}

impl Pages {
    fn record(&mut self, record: &Record) -> Result<(), SgxsError> {
        let meter = std::mem::take(&mut self.meter);
        self.meter = meter.record(record)?;
        Ok(())
    }

    /// `count` pages from `start`; with contents they are measured, filled with zeros to their end.
    fn add(&mut self, start: u64, count: u64, flags: PageFlags, contents: Option<&[u8]>) -> Result<(), ElfError> {
        if count > 0 && start < self.next {
            return Err(ElfError::Overlap { address: start });
        }
        let mut rest = contents.unwrap_or_default();
        for index in 0..count {
            let page = start.saturating_add(index.saturating_mul(PAGE));
            self.record(&Record::Add { offset: page, flags })?;
            if contents.is_none() {
                continue;
            }
            for offset in (0..PAGE).step_by(CHUNK) {
                let (chunk, behind) = rest.split_at_checked(CHUNK).unwrap_or((rest, &[]));
                rest = behind;
                let mut data = [0; CHUNK];
                for (place, byte) in data.iter_mut().zip(chunk) {
                    *place = *byte;
                }
                self.record(&Record::Extend { offset: page.saturating_add(offset), data })?;
            }
        }
        self.next = self.next.max(start.saturating_add(count.saturating_mul(PAGE)));
        Ok(())
    }
}

/// Bytes that the layout writes into a segment.
pub(super) struct Splice {
    pub(super) address: u64,
    pub(super) bytes: Vec<u8>,
    /// Left out where the segment ends with it.
    pub(super) droppable: bool,
}

/// The segment's bytes from the start of its first page, with what the layout writes; and its length there.
fn contents(segment: &Segment<'_>, splices: &[Splice]) -> Result<(Vec<u8>, u64), ElfError> {
    let before = segment.address.saturating_sub(segment.base());
    let mut bytes = vec![0; usize::try_from(before).unwrap_or(0)];
    bytes.extend_from_slice(segment.data);
    let mut length = before.saturating_add(segment.size);
    for splice in splices.iter().filter(|splice| segment.holds(splice)) {
        let start = splice.address.saturating_sub(segment.base());
        let end = start.saturating_add(splice.bytes.len() as u64);
        if splice.droppable && end == length {
            length = start;
            bytes.truncate(usize::try_from(start).unwrap_or(0));
            continue;
        }
        let places = usize::try_from(start).ok().zip(usize::try_from(end).ok());
        let places = places.and_then(|(start, end)| bytes.get_mut(start..end));
        let wrong = "in no part of the file that is loaded";
        places
            .ok_or_else(|| ElfError::Symbol { name: format!("at {:#x}", splice.address), wrong })?
            .copy_from_slice(&splice.bytes);
    }
    Ok((bytes, length))
}

/// A thread's control structure (SDM volume 3D, table 35-3): one SSA frame behind it, FS at its storage, GS below.
fn tcs(control: u64, storage: u64, entry: u64) -> Vec<u8> {
    let mut page = Vec::with_capacity(72);
    for word in [0, 0, control.saturating_add(PAGE)] {
        page.extend(word.to_le_bytes());
    }
    page.extend(0_u32.to_le_bytes());
    page.extend(NSSA.to_le_bytes());
    for word in [entry, 0, storage, storage] {
        page.extend(word.to_le_bytes());
    }
    page.extend([0xFFF_u32.to_le_bytes(), 0xFFF_u32.to_le_bytes()].concat());
    page
}
