//! AES-256-XTS by the cryptographic library in use. The only unsafe code of this crate.
//!
//! *Takes* a 512-bit key and whole sectors.
//! *Guarantees* what dm-crypt's `aes-xts-plain64` gives, with the tweak counted in 512-byte units.
//! *Does not check* integrity: XTS has none, the hash tree does that.
//!
//! WHY unsafe: `aws-lc-rs` offers no XTS. Its C core does, through `aws-lc-sys`: 2811 MB/s on one core, where the
//! pure-Rust `xts-mode` with `aes` reaches 470 MB/s. A build that must keep up with a copy of the archive, and a
//! second site at 30 % of the first, need the former. benches/seal.rs prints both.
#![expect(unsafe_code, reason = "FFI to AES-XTS, see WHY above")]

use aws_lc_sys::{
    EVP_CIPHER_CTX, EVP_CIPHER_CTX_free, EVP_CIPHER_CTX_new, EVP_CipherInit_ex, EVP_CipherUpdate, EVP_aes_256_xts,
};
use std::ffi::c_int;
use std::ptr::{self, NonNull};

/// What to do with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Decrypt.
    Open,
    /// Encrypt.
    Seal,
}

/// The library refused: the two halves of the key are equal, the bytes are no whole sectors, or memory ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("AES-XTS: {what}")]
pub struct XtsError {
    what: &'static str,
}

/// A key made ready for one direction; one for each thread. Wiped on drop.
pub struct Xts(NonNull<EVP_CIPHER_CTX>);

// SAFETY: the context is heap memory without ties to a thread, and is used through `&mut self` only. (WHY: a reader
// that is shared by threads keeps idle contexts instead of expanding the key for each block.)
unsafe impl Send for Xts {}

impl Xts {
    /// Expands the key once; all sectors use the same context.
    pub fn new(key: &[u8; 64], direction: Direction) -> Result<Self, XtsError> {
        // SAFETY: takes nothing; null means that there is no memory.
        let context = NonNull::new(unsafe { EVP_CIPHER_CTX_new() }).ok_or(XtsError { what: "no memory" })?;
        // From here on Drop frees the context.
        let xts = Self(context);
        let seal = c_int::from(direction == Direction::Seal);
        // SAFETY: the context is live and ours alone; the cipher is a static; the key has the 64 bytes that
        // AES-256-XTS reads; no engine and no IV are allowed to be null.
        let done = unsafe {
            EVP_CipherInit_ex(context.as_ptr(), EVP_aes_256_xts(), ptr::null_mut(), key.as_ptr(), ptr::null(), seal)
        };
        if done == 1 { Ok(xts) } else { Err(XtsError { what: "the key is not usable" }) }
    }

    /// Transforms sectors of `sector` bytes in place. The first has tweak `tweak`, which counts 512-byte units.
    pub fn apply(&mut self, tweak: u64, sector: usize, data: &mut [u8]) -> Result<(), XtsError> {
        let length = c_int::try_from(sector).map_err(|_| XtsError { what: "sector too large" })?;
        if sector < 16 || !data.len().is_multiple_of(sector) {
            return Err(XtsError { what: "not whole sectors" });
        }
        for (index, unit) in (0u64..).zip(data.chunks_exact_mut(sector)) {
            let number = tweak.wrapping_add(index.wrapping_mul((sector / 512) as u64));
            let mut iv = [0u8; 16];
            iv[..8].copy_from_slice(&number.to_le_bytes());
            let mut written: c_int = 0;
            // SAFETY: the context is live and ours alone, and has a key; the IV has the 16 bytes that XTS reads; null
            // for cipher, engine and key, and -1 for the direction, keep what is set.
            let set = unsafe {
                EVP_CipherInit_ex(self.0.as_ptr(), ptr::null(), ptr::null_mut(), ptr::null(), iv.as_ptr(), -1)
            };
            // SAFETY: input and output are the same `length` bytes of `unit`, which the library allows (equal
            // pointers); XTS has no padding, so no more than `length` bytes are written.
            let done =
                unsafe { EVP_CipherUpdate(self.0.as_ptr(), unit.as_mut_ptr(), &mut written, unit.as_ptr(), length) };
            if set != 1 || done != 1 || written != length {
                return Err(XtsError { what: "the library refused" });
            }
        }
        Ok(())
    }
}

impl Drop for Xts {
    fn drop(&mut self) {
        // SAFETY: the context came from EVP_CIPHER_CTX_new and is freed once; freeing wipes the key.
        unsafe { EVP_CIPHER_CTX_free(self.0.as_ptr()) }
    }
}
