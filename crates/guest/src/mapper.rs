//! Device-mapper: dm-crypt and dm-verity through the kernel's own interface.
//!
//! *Takes* measured geometry and keys; sizes of drives are checked against it by the kernel.
//! *Guarantees* that key material is wiped from every buffer made here, also when a call fails, and that nothing
//! written on a drive decides on cipher, offset or tree.
//! *Does not check* contents: dm-verity does, block by block, and [`Mapper::is_corrupted`] tells.

mod control;
mod table;

pub use control::{Mapped, Mapper, MapperError};
pub use table::{Crypt, Table, Verity};
