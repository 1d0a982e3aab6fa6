//! Volumes: ext4, dm-verity, LUKS2, encryption, and the pipeline that makes a sealed drive of a file tree.
//!
//! *Takes* a [`tree::Tree`], the bytes of its files through [`ext4::Sources`], a volume key, and a place to write
//! ([`WriteAt`]) or read ([`ReadAt`]); the formats have no file system, clock or randomness of their own.
//! *Guarantees* that the same input gives the same bytes, that an authenticated read never returns a byte that the
//! root hash does not vouch for, and that hostile input gives errors, not panics.
//! *Does not check* whether a root hash is the one somebody wanted: the caller brings it.
#![deny(unsafe_code)]

pub mod ext4;
pub mod luks2;
pub mod open;
pub mod seal;
pub mod tree;
pub mod verity;
pub mod xts;

mod io;

pub use io::{FileDevice, ReadAt, WriteAt};
