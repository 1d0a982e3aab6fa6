//! MRENCLAVE of an SGXS stream (Intel SDM volume 3D, ECREATE, EADD, EEXTEND; SGXS of `fortanix/rust-sgx`).

pub use super::record::{CHUNK, PAGE, PageFlags, Record};

use super::record::{RECORD_WITH_DATA, length};
use aws_lc_rs::digest::{Context, SHA256};
use claims::{Code, Digest256, Finding, Refusal};

/// What is wrong with a stream. `at` is the byte where the record begins.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SgxsError {
    /// A record that no processor knows.
    #[error("the record at byte {at:#x} has an unknown tag {tag}")]
    Tag {
        /// Where.
        at: u64,
        /// Its eight bytes.
        tag: String,
    },
    /// The stream ends within a record.
    #[error("the stream ends within the record at byte {at:#x}")]
    Truncated {
        /// Where.
        at: u64,
    },
    /// No ECREATE, or another record before it.
    #[error("the stream does not begin with ECREATE")]
    NoCreate,
    /// The size is to be filled in later.
    #[error("the stream is unsized: it has no MRENCLAVE until the enclave's size is filled in")]
    Unsized,
    /// A second ECREATE.
    #[error("a second ECREATE at byte {at:#x}")]
    SecondCreate {
        /// Where.
        at: u64,
    },
    /// SIZE that no enclave has.
    #[error("the enclave's size {size:#x} is not a power of two of at least two pages")]
    Size {
        /// SIZE.
        size: u64,
    },
    /// SSAFRAMESIZE of zero.
    #[error("the enclave's SSA frames have no page")]
    SsaFrame,
    /// Bytes that must be zero are not.
    #[error("a reserved byte of the record at byte {at:#x} is not zero")]
    Reserved {
        /// Where.
        at: u64,
    },
    /// A page or chunk that is not aligned.
    #[error("the record at byte {at:#x} is for offset {offset:#x}, which is not a multiple of {alignment}")]
    Alignment {
        /// Where.
        at: u64,
        /// Offset in the enclave.
        offset: u64,
        /// 4096 or 256.
        alignment: u64,
    },
    /// A page outside of the enclave.
    #[error("the page at byte {at:#x} is for offset {offset:#x}, outside of the enclave's {size:#x} bytes")]
    Range {
        /// Where.
        at: u64,
        /// Offset in the enclave.
        offset: u64,
        /// SIZE.
        size: u64,
    },
    /// The same page again.
    #[error("the page at byte {at:#x} is for offset {offset:#x} a second time")]
    Duplicate {
        /// Where.
        at: u64,
        /// Offset in the enclave.
        offset: u64,
    },
    /// Pages or chunks that do not ascend.
    #[error("the record at byte {at:#x} is for offset {offset:#x}, not behind the one before it")]
    Order {
        /// Where.
        at: u64,
        /// Offset in the enclave.
        offset: u64,
    },
    /// A chunk that does not belong to the page before it.
    #[error("the chunk at byte {at:#x} is for offset {offset:#x}, not within the page that was added last")]
    Stray {
        /// Where.
        at: u64,
        /// Offset in the enclave.
        offset: u64,
    },
    /// Page flags that no processor accepts, or that it would change.
    #[error("the page at byte {at:#x} has flags {flags:#x}, which no page of an enclave has")]
    Flags {
        /// Where.
        at: u64,
        /// SECINFO.FLAGS.
        flags: u64,
    },
}

impl Refusal for SgxsError {
    fn code(&self) -> Code {
        Code::SgxStream
    }

    fn finding(&self) -> Option<Finding> {
        match self {
            Self::Range { offset, size, .. } => {
                Some(Finding::new("offset", format!("{offset:#x}"), format!("below {size:#x}")))
            }
            _ => None,
        }
    }
}

/// An enclave that was measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enclave {
    /// MRENCLAVE.
    pub mrenclave: Digest256,
    /// SIZE, in bytes.
    pub size: u64,
    /// SSAFRAMESIZE, in pages.
    pub ssa_frame_pages: u32,
    /// How many records of each kind.
    pub records: Records,
    /// Pages that are thread control structures.
    pub threads: u64,
    /// Its pages, if they were asked for.
    pub pages: Vec<Page>,
}

/// How many records of each kind a stream holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Records {
    /// ECREATE: always one.
    pub ecreate: u64,
    /// EADD.
    pub eadd: u64,
    /// EEXTEND.
    pub eextend: u64,
    /// Chunks that are loaded and not measured.
    pub unmeasured: u64,
}

/// A page of an enclave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Offset in the enclave.
    pub offset: u64,
    /// SECINFO.FLAGS.
    pub flags: PageFlags,
    /// Which of its 16 chunks are measured, lowest first.
    pub measured: u16,
    /// SHA-256 over the measured chunks.
    pub digest: Digest256,
}

/// Measures a stream given in pieces of any size, in constant memory unless pages are kept.
///
/// It is handed on by value, so that a stream that was refused cannot be continued.
pub struct Meter {
    context: Context,
    pending: Vec<u8>,
    at: u64,
    created: Option<(u64, u32)>,
    last: Option<LastPage>,
    records: Records,
    threads: u64,
    pages: Option<Vec<Page>>,
}

struct LastPage {
    offset: u64,
    next_chunk: u64,
    page: Page,
    context: Option<Context>,
}

impl Meter {
    /// A meter that keeps nothing but the numbers.
    pub fn new() -> Self {
        Self {
            context: Context::new(&SHA256),
            pending: Vec::with_capacity(RECORD_WITH_DATA),
            at: 0,
            created: None,
            last: None,
            records: Records { ecreate: 0, eadd: 0, eextend: 0, unmeasured: 0 },
            threads: 0,
            pages: None,
        }
    }

    /// A meter that keeps a digest of each page, to compare two enclaves.
    pub fn with_pages() -> Self {
        Self { pages: Some(Vec::new()), ..Self::new() }
    }

    /// Takes the next bytes of the stream.
    pub fn update(mut self, mut bytes: &[u8]) -> Result<Self, SgxsError> {
        while !bytes.is_empty() {
            let missing = length(&self.pending).saturating_sub(self.pending.len());
            let (now, rest) = bytes.split_at_checked(missing).unwrap_or((bytes, &[]));
            self.pending.extend_from_slice(now);
            bytes = rest;
            if self.pending.len() == length(&self.pending) {
                let record = Record::decode(&self.pending, self.at)?;
                self.pending.clear();
                self = self.record(&record)?;
            }
        }
        Ok(self)
    }

    /// Takes the next record.
    pub fn record(mut self, record: &Record) -> Result<Self, SgxsError> {
        let at = self.at;
        match record {
            Record::Create { ssa_frame_pages, size } => {
                if self.created.is_some() {
                    return Err(SgxsError::SecondCreate { at });
                }
                if !size.is_power_of_two() || *size < PAGE.saturating_mul(2) {
                    return Err(SgxsError::Size { size: *size });
                }
                if *ssa_frame_pages == 0 {
                    return Err(SgxsError::SsaFrame);
                }
                self.created = Some((*size, *ssa_frame_pages));
                self.records.ecreate = 1;
            }
            Record::Add { offset, flags } => self.add(*offset, *flags)?,
            Record::Extend { offset, data } => {
                self.chunk(*offset, Some(data))?;
                self.records.eextend = self.records.eextend.saturating_add(1);
            }
            Record::Unmeasured { offset, .. } => {
                self.chunk(*offset, None)?;
                self.records.unmeasured = self.records.unmeasured.saturating_add(1);
            }
        }
        let bytes = record.encode();
        if !matches!(record, Record::Unmeasured { .. }) {
            self.context.update(&bytes);
        }
        self.at = self.at.saturating_add(bytes.len() as u64);
        Ok(self)
    }

    /// The number, if the stream is complete.
    pub fn finish(mut self) -> Result<Enclave, SgxsError> {
        if !self.pending.is_empty() {
            return Err(SgxsError::Truncated { at: self.at });
        }
        let (size, ssa_frame_pages) = self.created.ok_or(SgxsError::NoCreate)?;
        self.close_page();
        Ok(Enclave {
            mrenclave: digest(self.context),
            size,
            ssa_frame_pages,
            records: self.records,
            threads: self.threads,
            pages: self.pages.unwrap_or_default(),
        })
    }

    fn add(&mut self, offset: u64, flags: PageFlags) -> Result<(), SgxsError> {
        let at = self.at;
        let (size, _) = self.created.ok_or(SgxsError::NoCreate)?;
        if !offset.is_multiple_of(PAGE) {
            return Err(SgxsError::Alignment { at, offset, alignment: PAGE });
        }
        if offset >= size {
            return Err(SgxsError::Range { at, offset, size });
        }
        match &self.last {
            Some(last) if last.offset == offset => return Err(SgxsError::Duplicate { at, offset }),
            Some(last) if last.offset > offset => return Err(SgxsError::Order { at, offset }),
            _ => {}
        }
        if !flags.valid() {
            return Err(SgxsError::Flags { at, flags: flags.0 });
        }
        self.close_page();
        self.records.eadd = self.records.eadd.saturating_add(1);
        self.threads = self.threads.saturating_add(u64::from(flags == PageFlags::TCS));
        let page = Page { offset, flags, measured: 0, digest: Digest256([0; 32]) };
        let context = self.pages.is_some().then(|| Context::new(&SHA256));
        self.last = Some(LastPage { offset, next_chunk: offset, page, context });
        Ok(())
    }

    fn chunk(&mut self, offset: u64, measured: Option<&[u8; CHUNK]>) -> Result<(), SgxsError> {
        let at = self.at;
        self.created.ok_or(SgxsError::NoCreate)?;
        if !offset.is_multiple_of(CHUNK as u64) {
            return Err(SgxsError::Alignment { at, offset, alignment: CHUNK as u64 });
        }
        let last = self.last.as_mut().ok_or(SgxsError::Stray { at, offset })?;
        let within = offset.checked_sub(last.offset).filter(|within| *within < PAGE);
        let within = within.ok_or(SgxsError::Stray { at, offset })?;
        if offset < last.next_chunk {
            return Err(SgxsError::Order { at, offset });
        }
        last.next_chunk = offset.saturating_add(CHUNK as u64);
        if let Some(data) = measured {
            last.page.measured |= 1_u16.checked_shl((within >> 8) as u32).unwrap_or(0);
            if let Some(context) = &mut last.context {
                context.update(data);
            }
        }
        Ok(())
    }

    fn close_page(&mut self) {
        if let (Some(pages), Some(LastPage { mut page, context: Some(context), .. })) =
            (&mut self.pages, self.last.take())
        {
            page.digest = digest(context);
            pages.push(page);
        }
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}

/// Measures a stream that is in memory. Never panics: this is the function for fuzzing.
pub fn measure(bytes: &[u8]) -> Result<Enclave, SgxsError> {
    Meter::new().update(bytes)?.finish()
}

/// As [`measure`], with a digest of each page.
pub fn outline(bytes: &[u8]) -> Result<Enclave, SgxsError> {
    Meter::with_pages().update(bytes)?.finish()
}

fn digest(context: Context) -> Digest256 {
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Digest256(digest)
}
