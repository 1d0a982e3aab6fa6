//! LUKS2 headers of exactly one form, for people's tools. The guest never reads them.
//!
//! *Takes* a volume key and a size, or the bytes in front of a drive's data.
//! *Guarantees* that what is written opens with `cryptsetup`, and that what is read has exactly that form: one key
//! slot, one segment, fixed cipher, sizes and work factors; everything else is refused before any key is derived.
//! *Does not check* the data behind the header.
//!
//! LUKS2 metadata are checksummed, not authenticated: whoever holds the disk can write others (CVE-2025-59054). So a
//! header is accepted only if it is, byte for byte, the one that this volume key makes.

mod profile;
mod split;
mod write;

pub use profile::{Header, ProfileError};
pub use write::pieces;

/// Bytes of one header copy, binary part and JSON.
const COPY: usize = 0x4000;
/// Bytes of the binary part.
const BINARY: usize = 4096;
/// Where the key slot's bytes lie: behind both copies.
const AREA_OFFSET: usize = 2 * COPY;
/// Pieces that the key is split into, so that wiping one of them wipes it.
const STRIPES: usize = 4000;
/// The key slot's bytes, rounded up to 4096.
const AREA: usize = (STRIPES * 64).next_multiple_of(4096);
/// What has to be read to judge a header.
pub const HEADER_BYTES: usize = AREA_OFFSET + AREA;
/// Work factor. The passphrase is a 256-bit key, which no dictionary holds.
const ITERATIONS: u32 = 1000;
