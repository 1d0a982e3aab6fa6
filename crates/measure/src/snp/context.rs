//! The running digest (SNP ABI 1.58, section 8.17.2, `PAGE_INFO`).

use super::{Launch, MeasureError, Ovmf, Section, SectionKind, Vmm};
use aws_lc_rs::digest::{SHA384, digest};
use claims::LaunchDigest;

const PAGE: usize = 4096;
const PAGE_INFO_LENGTH: u16 = 0x70;
/// All save areas are measured at this address (SNP ABI, section 8.17.2).
const VMSA_ADDRESS: u64 = 0x0000_FFFF_FFFF_F000;
const FOUR_GIB: u64 = 1 << 32;

/// How a page is loaded (SNP ABI, table 58).
#[derive(Debug, Clone, Copy)]
pub(super) enum PageType {
    Normal = 1,
    Vmsa = 2,
    Zero = 3,
    Unmeasured = 4,
    Secrets = 5,
    Cpuid = 6,
}

/// The launch digest so far.
#[derive(Clone)]
pub(crate) struct Context([u8; 48]);

impl Context {
    /// The digest before anything is loaded.
    pub(super) fn empty() -> Self {
        Self([0; 48])
    }

    /// The digest after the firmware's own pages.
    pub(crate) fn after_firmware(ovmf: &Ovmf<'_>) -> Self {
        let mut context = Self([0; 48]);
        context.firmware(ovmf);
        context
    }

    pub(crate) fn digest(self) -> LaunchDigest {
        LaunchDigest(self.0)
    }

    /// The firmware lies directly below 4 GiB.
    fn firmware(&mut self, ovmf: &Ovmf<'_>) {
        let bytes = ovmf.bytes();
        let mut address = FOUR_GIB.saturating_sub(bytes.len() as u64);
        for page in bytes.chunks(PAGE) {
            self.page(PageType::Normal, &sha384(page), address);
            address = address.saturating_add(PAGE as u64);
        }
    }

    /// A section of the firmware's metadata.
    pub(super) fn section(&mut self, section: &Section, launch: &Launch<'_>) -> Result<(), MeasureError> {
        let zero = [0; 48];
        let pages =
            (0..u64::from(section.size)).step_by(PAGE).map(|offset| u64::from(section.address).saturating_add(offset));
        match section.kind {
            SectionKind::SecMem if launch.vmm == Vmm::Gce => {
                pages.for_each(|address| self.page(PageType::Unmeasured, &zero, address))
            }
            SectionKind::SecMem | SectionKind::SvsmCaa => {
                pages.for_each(|address| self.page(PageType::Zero, &zero, address))
            }
            SectionKind::Secrets => self.page(PageType::Secrets, &zero, u64::from(section.address)),
            SectionKind::Cpuid => self.page(PageType::Cpuid, &zero, u64::from(section.address)),
            SectionKind::KernelHashes => match &launch.kernel {
                Some(hashes) => {
                    let page = hashes.page(launch.ovmf.hash_table_offset()?);
                    self.page(PageType::Normal, &sha384(&page), u64::from(section.address));
                }
                None => pages.for_each(|address| self.page(PageType::Zero, &zero, address)),
            },
        }
        Ok(())
    }

    pub(crate) fn save_area(&mut self, page: &[u8; PAGE]) {
        self.page(PageType::Vmsa, &sha384(page), VMSA_ADDRESS);
    }

    pub(super) fn page(&mut self, page_type: PageType, contents: &[u8; 48], address: u64) {
        let info = [
            self.0.as_slice(),
            contents,
            &PAGE_INFO_LENGTH.to_le_bytes(),
            // Page type; not an IMI page; no permissions for VMPL 3, 2 and 1; reserved.
            &[page_type as u8, 0, 0, 0, 0, 0],
            &address.to_le_bytes(),
        ]
        .concat();
        self.0 = sha384(&info);
    }
}

pub(super) fn sha384(bytes: &[u8]) -> [u8; 48] {
    let hash = digest(&SHA384, bytes);
    let mut out = [0; 48];
    out.copy_from_slice(hash.as_ref());
    out
}
