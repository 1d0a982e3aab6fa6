//! The table of kernel hashes that QEMU puts into the guest (`kernel-hashes=on`): QEMU `target/i386/sev.c`,
//! OVMF `OvmfPkg/AmdSev/BlobVerifierLibSevHashes`.

use aws_lc_rs::digest::{SHA256, digest};

const PAGE: usize = 4096;
/// 9438d606-4f22-4cc9-b479-a793d411fd21, bytes as in memory.
const TABLE_GUID: [u8; 16] = *b"\x06\xd6\x38\x94\x22\x4f\xc9\x4c\xb4\x79\xa7\x93\xd4\x11\xfd\x21";
/// 97d02dd8-bd20-4c94-aa78-e7714d36ab2a.
const COMMAND_LINE_GUID: [u8; 16] = *b"\xd8\x2d\xd0\x97\x20\xbd\x94\x4c\xaa\x78\xe7\x71\x4d\x36\xab\x2a";
/// 44baf731-3a2f-4bd7-9af1-41e29169781d.
const INITRD_GUID: [u8; 16] = *b"\x31\xf7\xba\x44\x2f\x3a\xd7\x4b\x9a\xf1\x41\xe2\x91\x69\x78\x1d";
/// 4de79437-abd2-427f-b835-d5b172d2045b.
const KERNEL_GUID: [u8; 16] = *b"\x37\x94\xe7\x4d\xd2\xab\x7f\x42\xb8\x35\xd5\xb1\x72\xd2\x04\x5b";
const ENTRY_LENGTH: u16 = 50;
const TABLE_LENGTH: u16 = 168;

/// Bytes that QEMU is given with `-kernel`, `-initrd` and `-append`.
#[derive(Debug, Clone, Copy)]
pub struct HashedFiles<'a> {
    /// The kernel's file.
    pub kernel: &'a [u8],
    /// The initrd's file; none and an empty one are the same.
    pub initrd: Option<&'a [u8]>,
    /// The command line, byte for byte; none and an empty one are the same. Blanks count.
    pub command_line: Option<&'a str>,
}

/// SHA-256 digests of what QEMU starts directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelHashes {
    /// Of the command line and one NUL byte.
    pub command_line: [u8; 32],
    /// Of the initrd.
    pub initrd: [u8; 32],
    /// Of the kernel.
    pub kernel: [u8; 32],
}

impl KernelHashes {
    /// Hashes the files.
    pub fn of(files: &HashedFiles<'_>) -> Self {
        Self {
            command_line: Self::command_line(files.command_line.unwrap_or_default()),
            initrd: sha256(files.initrd.unwrap_or_default()),
            kernel: sha256(files.kernel),
        }
    }

    /// The digest of a command line as QEMU computes it.
    pub fn command_line(text: &str) -> [u8; 32] {
        sha256(&[text.as_bytes(), b"\0"].concat())
    }

    /// The table alone, padded to a multiple of 16.
    pub fn table(&self) -> [u8; 176] {
        let mut table = [0; 176];
        let bytes = [
            TABLE_GUID.as_slice(),
            &TABLE_LENGTH.to_le_bytes(),
            &entry(&COMMAND_LINE_GUID, &self.command_line),
            &entry(&INITRD_GUID, &self.initrd),
            &entry(&KERNEL_GUID, &self.kernel),
        ]
        .concat();
        for (place, byte) in table.iter_mut().zip(bytes) {
            *place = byte;
        }
        table
    }

    /// The page that holds the table at `offset`.
    pub(super) fn page(&self, offset: usize) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        for (place, byte) in page.iter_mut().skip(offset).zip(self.table()) {
            *place = byte;
        }
        page
    }
}

fn entry(guid: &[u8; 16], hash: &[u8; 32]) -> Vec<u8> {
    [guid.as_slice(), &ENTRY_LENGTH.to_le_bytes(), hash].concat()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let hash = digest(&SHA256, bytes);
    let mut out = [0; 32];
    out.copy_from_slice(hash.as_ref());
    out
}
