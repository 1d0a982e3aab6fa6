//! What runs in the TEE: PID 1 of a confidential VM.
//!
//! *Takes* a measured command line and initrd, and everything else from a host that may lie: drives, network, clock.
//! *Guarantees* that nothing is unlocked before `site.json` is the one in HOST_DATA and the broker has released the
//! key against this machine's evidence; that what cannot be checked is not used; that a failure ends the VM and says
//! why, in public words only.
//! *Does not check* its own evidence: the broker does.

pub mod agent;
pub mod broker_client;
pub mod container;
pub mod evidence;
pub mod oci;
pub mod reattest;
pub mod seccomp;

pub mod applog;
pub mod boot;
pub mod console;
pub mod devices;
pub mod dhcp;
pub mod dns;
pub mod firewall;
pub mod mapper;
pub mod modules;
pub mod mounts;
pub mod network;
pub mod nfs;
pub mod power;
pub mod scratch;
