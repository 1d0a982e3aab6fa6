//! What the processor will report, and what a broker is to expect.

use super::BuildError;
use super::parts::Parts;
use super::root::Root;
use crate::firmware;
use crate::workload::Workload;
use claims::reference::{Input, LaunchMeasurement, Reference};
use claims::{Digest256, HostData};
use measure::snp::{GuestFeatures, KernelHashes, Launch, UnknownVcpu, VcpuType, Vmm, measure};

/// Everything a bundle's measurement is made of.
pub(super) struct Measured<'a> {
    pub(super) parts: &'a Parts,
    pub(super) initrd: Digest256,
    pub(super) root: &'a Root,
    pub(super) command_line: String,
    pub(super) host_data: HostData,
}

impl Measured<'_> {
    /// One entry per virtual CPU type that measures differently, and one for the workload's own.
    pub(super) fn launch_measurements(&self, workload: &Workload) -> Result<Vec<LaunchMeasurement>, BuildError> {
        let ovmf = firmware::read(&self.parts.firmware)?;
        let kernel = KernelHashes {
            command_line: KernelHashes::command_line(&self.command_line),
            initrd: self.initrd.0,
            kernel: self.parts.kernel_digest.0,
        };
        let mut names = VcpuType::DISTINCT.to_vec();
        if !names.contains(&workload.vcpu_type.as_str()) {
            names.push(&workload.vcpu_type);
        }
        let one = |name: &str| {
            let vcpu_type =
                name.parse().map_err(|error: UnknownVcpu| BuildError::Internal { what: error.to_string() })?;
            let guest_features = GuestFeatures::SNP;
            let (vcpus, kernel, vmm) = (workload.vcpus, Some(kernel), Vmm::Qemu);
            let launch = Launch { ovmf: &ovmf, kernel, vcpus, vcpu_type, guest_features, vmm };
            Ok(LaunchMeasurement {
                vcpu_type: name.to_owned(),
                vcpus,
                guest_features: guest_features.0,
                launch_measurement: measure(&launch)?,
            })
        };
        names.into_iter().map(one).collect()
    }

    /// `reference.json`.
    pub(super) fn reference(&self, workload: &Workload, launch_measurements: Vec<LaunchMeasurement>) -> Reference {
        let input = |name: &str, sha256| Input { name: name.to_owned(), sha256 };
        let mut resources = vec![workload.volume_key_path()];
        resources.extend(workload.resources.iter().filter(|path| **path != workload.volume_key_path()).cloned());
        Reference {
            version: 1,
            name: workload.name.clone(),
            site: workload.site.clone(),
            substrate: "cvm".to_owned(),
            launch_measurements,
            host_data: self.host_data,
            root_hash: self.root.geometry.root_hash,
            resources,
            tcb_floor: workload.tcb_floor,
            chips: workload.chips.clone(),
            lease: workload.lease,
            inputs: vec![
                input("firmware", self.parts.firmware_digest),
                input("kernel", self.parts.kernel_digest),
                input("initrd", self.initrd),
                input("guest", self.parts.guest_digest),
                input("image", self.root.image),
            ],
            command_line: self.command_line.clone(),
        }
    }
}
