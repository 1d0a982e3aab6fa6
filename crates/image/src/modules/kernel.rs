//! The setup header of a Linux kernel image (`Documentation/arch/x86/boot.rst`).

/// Bytes that are not a kernel image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// No setup header.
    #[error("the kernel is not a bzImage (no `HdrS` at byte 0x202)")]
    NotBzImage,
    /// The header does not say which kernel it is.
    #[error("the kernel image does not say its version")]
    NoVersion,
}

/// The release of a kernel image, as `uname -r` prints it.
pub fn kernel_release(image: &[u8]) -> Result<String, KernelError> {
    if image.get(0x1FE..0x200) != Some(&[0x55, 0xAA]) || image.get(0x202..0x206) != Some(b"HdrS") {
        return Err(KernelError::NotBzImage);
    }
    let pointer = image.get(0x20E..0x210).and_then(|field| field.try_into().ok()).map(u16::from_le_bytes);
    let start = usize::from(pointer.filter(|pointer| *pointer != 0).ok_or(KernelError::NoVersion)?) + 0x200;
    let text = image.get(start..).unwrap_or_default();
    let release: &[u8] = text
        .iter()
        .take(128)
        .position(|byte| b" \0".contains(byte))
        .and_then(|end| text.get(..end))
        .unwrap_or_default();
    match std::str::from_utf8(release) {
        Ok(release) if !release.is_empty() && release.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(release.to_owned())
        }
        _ => Err(KernelError::NoVersion),
    }
}
