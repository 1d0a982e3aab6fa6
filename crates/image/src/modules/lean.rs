//! Takes out of a module what a measured guest does not need: the distributor's signature and the type data for tracing.
//!
//! The initrd is in the launch measurement, so a signature adds nothing there, and checking one costs the kernel more
//! time than loading the module does. The same bytes always become the same bytes.

use super::elf;

/// `include/linux/module_signature.h`.
const MARKER: &[u8] = b"~Module signature appended~\n";
const TRAILER: usize = 12;

/// The module without its appended signature, and with its type data (`.BTF`) out of the kernel's sight.
pub(super) fn lean(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(length) = unsigned_length(&bytes) {
        bytes.truncate(length);
    }
    if let Some(place) =
        elf::section_header(&bytes, b".BTF\0").and_then(|header| bytes.get_mut(header..header.checked_add(4)?))
    {
        // A section whose name is the empty text: nobody looks for it.
        place.fill(0);
    }
    bytes
}

fn unsigned_length(bytes: &[u8]) -> Option<usize> {
    let body = bytes.strip_suffix(MARKER)?;
    let start = body.len().checked_sub(TRAILER)?;
    let [_, _, _, signer, key, _, _, _, a, b, c, d] = *body.get(start..)?.first_chunk::<TRAILER>()?;
    let signature = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
    start.checked_sub(signature)?.checked_sub(usize::from(signer))?.checked_sub(usize::from(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_appended_signature_is_cut_off_and_nothing_else() {
        let trailer = [0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 3];
        let signed = [b"module".as_slice(), b"sig", &trailer, MARKER].concat();
        assert_eq!(lean(signed), b"module");
        assert_eq!(lean(b"module".to_vec()), b"module");
        let lying = [b"x".as_slice(), &[0, 0, 2, 0, 0, 0, 0, 0, 0xFF, 0, 0, 3], MARKER].concat();
        assert_eq!(lean(lying.clone()), lying);
    }
}
