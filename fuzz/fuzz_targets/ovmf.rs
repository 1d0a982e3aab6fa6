//! Any bytes as firmware; what parses is measured in bounded time.
#![no_main]
use libfuzzer_sys::fuzz_target;
use measure::snp::{GuestFeatures, KernelHashes, Launch, Ovmf, Vmm, measure};

fuzz_target!(|bytes: &[u8]| {
    let Ok(ovmf) = Ovmf::parse(bytes) else { return };
    let pages: u64 = ovmf.sections().iter().map(|section| u64::from(section.size) / 4096).sum();
    if pages > 4096 {
        return;
    }
    let kernel = ovmf.needs_kernel_hashes().is_ok().then_some(KernelHashes {
        command_line: [1; 32],
        initrd: [2; 32],
        kernel: [3; 32],
    });
    let launch = Launch {
        ovmf: &ovmf,
        kernel,
        vcpus: 2,
        vcpu_type: "EPYC-v4".parse().unwrap(),
        guest_features: GuestFeatures::SNP,
        vmm: Vmm::Qemu,
    };
    let _ = measure(&launch);
});
