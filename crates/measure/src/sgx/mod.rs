//! What an SGX processor will report of an enclave: MRENCLAVE, MRSIGNER and what the signer says.
//!
//! *Takes* SGXS streams, SIGSTRUCTs, signing keys, from anywhere.
//! *Guarantees* the MRENCLAVE of exactly the pages in a canonical stream, or the first thing that is wrong with it; of
//! a SIGSTRUCT, that its signature, Q1 and Q2 hold, as the processor checks them at EINIT.
//! *Does not check* whether a signer is one to be trusted, nor what an enclave does. Of the layouts in which files
//! become pages it knows one, that of Rust's own SGX target ([`elf`]): Gramine's depends on offsets within each of its
//! releases, and Occlum, EGo and Open Enclave use Intel's and their own loaders, whose tools print the number.

pub mod elf;
mod elf_file;
mod record;
pub mod sgxs;
pub mod signing;
pub mod sigstruct;
mod tree;

pub use tree::{enclave_tree, sigstruct_tree};
