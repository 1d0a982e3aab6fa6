//! The save area of a virtual CPU at its start (AMD APM volume 2, table B-4; values as KVM and QEMU set them).

use super::VcpuType;

const PAGE: usize = 4096;
/// Where the boot processor starts: the reset vector.
pub(super) const BOOT_EIP: u32 = 0xFFFF_FFF0;

/// SEV features of the save area (APM volume 2, `SEV_FEATURES`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GuestFeatures(pub u64);

impl GuestFeatures {
    /// SNP active and nothing else: mainline hosts since Linux 6.11 and QEMU 9.1.
    pub const SNP: Self = Self(1);
}

/// Who loads the guest; each sets registers its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Vmm {
    /// QEMU with KVM.
    Qemu,
    /// Amazon EC2. Experimental: published tools disagree, and no live report was at hand.
    Ec2,
    /// Google Compute Engine. Experimental, as above.
    Gce,
}

/// Which of a guest's CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The one that starts first.
    Boot,
    /// Any other.
    Application,
}

/// The page as it is measured.
pub fn vmsa_page(vmm: Vmm, vcpu: VcpuType, features: GuestFeatures, eip: u32, role: Role) -> [u8; PAGE] {
    let mut page = Page([0; PAGE]);
    let (code, stack, task) = match (vmm, role) {
        (Vmm::Qemu | Vmm::Gce, _) => (0x9B, 0x93, 0x8B),
        (Vmm::Ec2, Role::Boot) => (0x9A, 0x92, 0x83),
        (Vmm::Ec2, Role::Application) => (0x9B, 0x92, 0x83),
    };
    let (pat, rdx, mxcsr, control) = match vmm {
        Vmm::Qemu => (0x0007_0406_0007_0406_u64, u64::from(vcpu.signature()), 0x1F80_u32, 0x37F_u16),
        Vmm::Ec2 => (0x0007_0406_0007_0406, 0x600, 0, 0),
        Vmm::Gce => (0x0000_0000_0007_0106, 0x600, 0, 0),
    };
    let data = 0x93;
    page.segment(0x00, 0, data, 0xFFFF, 0); // ES
    page.segment(0x10, 0xF000, code, 0xFFFF, u64::from(eip & 0xFFFF_0000)); // CS
    page.segment(0x20, 0, stack, 0xFFFF, 0); // SS
    page.segment(0x30, 0, data, 0xFFFF, 0); // DS
    page.segment(0x40, 0, data, 0xFFFF, 0); // FS
    page.segment(0x50, 0, data, 0xFFFF, 0); // GS
    page.segment(0x60, 0, 0, 0xFFFF, 0); // GDTR
    page.segment(0x70, 0, 0x82, 0xFFFF, 0); // LDTR
    page.segment(0x80, 0, 0, 0xFFFF, 0); // IDTR
    page.segment(0x90, 0, task, 0xFFFF, 0); // TR
    page.put(0xD0, &0x1000_u64.to_le_bytes()); // EFER: SVME
    page.put(0x148, &0x40_u64.to_le_bytes()); // CR4: MCE
    page.put(0x158, &0x10_u64.to_le_bytes()); // CR0: ET
    page.put(0x160, &0x400_u64.to_le_bytes()); // DR7
    page.put(0x168, &0xFFFF_0FF0_u64.to_le_bytes()); // DR6
    page.put(0x170, &2_u64.to_le_bytes()); // RFLAGS
    page.put(0x178, &u64::from(eip & 0xFFFF).to_le_bytes()); // RIP
    page.put(0x268, &pat.to_le_bytes()); // G_PAT
    page.put(0x310, &rdx.to_le_bytes()); // RDX
    page.put(0x3B0, &features.0.to_le_bytes()); // SEV_FEATURES
    page.put(0x3E8, &1_u64.to_le_bytes()); // XCR0
    page.put(0x408, &mxcsr.to_le_bytes()); // MXCSR
    page.put(0x410, &control.to_le_bytes()); // x87 FCW
    page.0
}

struct Page([u8; PAGE]);

impl Page {
    fn segment(&mut self, offset: usize, selector: u16, attributes: u16, limit: u32, base: u64) {
        let (selector, attributes) = (selector.to_le_bytes(), attributes.to_le_bytes());
        let (limit, base) = (limit.to_le_bytes(), base.to_le_bytes());
        self.put(offset, &[selector.as_slice(), &attributes, &limit, &base].concat());
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) {
        for (place, byte) in self.0.iter_mut().skip(offset).zip(bytes) {
            *place = *byte;
        }
    }
}
