//! The anti-forensic splitter of LUKS: a key spread over many stripes, all of which are needed.

use super::STRIPES;
use aws_lc_rs::digest;
use zeroize::{Zeroize, Zeroizing};

/// Splits `key`; `stripes` holds random bytes and ends as the split key. Its last 64 bytes are overwritten.
pub(super) fn split(key: &[u8; 64], stripes: &mut [u8]) {
    let (free, last) = stripes.split_at_mut((STRIPES - 1) * 64);
    let mut state = Zeroizing::new([0u8; 64]);
    for stripe in free.chunks_exact(64) {
        xor(&mut *state, stripe);
        diffuse(&mut state);
    }
    xor(&mut *state, key);
    last.copy_from_slice(&*state);
}

fn xor(state: &mut [u8], other: &[u8]) {
    for (byte, other) in state.iter_mut().zip(other) {
        *byte ^= other;
    }
}

/// Replaces each 32 bytes by the hash of their number and themselves.
fn diffuse(state: &mut [u8; 64]) {
    for (number, part) in (0u32..).zip(state.chunks_exact_mut(32)) {
        let mut input = [0; 36];
        input[..4].copy_from_slice(&number.to_be_bytes());
        input[4..].copy_from_slice(part);
        part.copy_from_slice(digest::digest(&digest::SHA256, &input).as_ref());
        input.zeroize();
    }
}
