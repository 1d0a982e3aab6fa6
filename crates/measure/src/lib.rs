//! Predictors: which number will the hardware report?
//!
//! *Takes* the bytes a TEE will be started with.
//! *Guarantees* the digest that the hardware computes over them, or an error that names what is wrong with an input.
//! *Does not check* whether anything was really started that way: that is what evidence is for.
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod diff;
pub mod sgx;
pub mod snp;
pub mod tdx;

use claims::Digest256;
use std::io::{self, Read};

/// SHA-256 of everything that a reader gives, in constant memory: an initrd of 30 MB need not be held.
pub fn hash_reader(mut reader: impl Read) -> io::Result<Digest256> {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let length = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        context.update(buffer.get(..length).unwrap_or(&[]));
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Ok(Digest256(digest))
}
