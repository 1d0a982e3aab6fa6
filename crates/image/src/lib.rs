//! From a container archive to a bundle: what a confidential VM is started from.
//!
//! *Takes* a workload file, a container archive, a kernel with its modules, a firmware and the guest program.
//! *Guarantees* that the same inputs and the same volume key give the same bytes, whoever builds, where and when; that
//! a build needs neither root nor a daemon; and that a failed build leaves nothing behind.
//! *Does not check* that the image is what its author meant, or that the kernel is free of faults: the launch
//! measurement in `reference.json` names exactly these inputs, and deciding whom to trust is the release rule's work.
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing)]

pub mod archive;
pub mod build;
pub mod bundle;
pub mod cce;
pub mod cpio;
pub mod data_drive;
pub mod firmware;
pub mod initrd;
pub mod inspect;
pub mod layers;
pub mod modules;
pub mod oci;
pub mod overlay;
pub mod qcow2;
pub mod root_volume;
pub mod workload;

mod volume_cache;
