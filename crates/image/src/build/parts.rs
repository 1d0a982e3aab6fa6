//! Kernel, firmware and guest program: read once, checked, and copied into the bundle.

use super::staging::Staging;
use super::{BuildError, Request, Step, step};
use crate::bundle::names;
use crate::{firmware, initrd, modules};
use claims::Digest256;
use std::io::Read;
use std::path::Path;

/// What a guest is started with beside its drives.
pub(super) struct Parts {
    pub(super) firmware_digest: Digest256,
    pub(super) kernel_digest: Digest256,
    pub(super) guest_digest: Digest256,
    pub(super) firmware: Vec<u8>,
    kernel: Vec<u8>,
    guest: Vec<u8>,
}

impl Parts {
    /// Reads and checks them.
    pub(super) fn read(request: &Request<'_>) -> Result<Self, BuildError> {
        step(request, Step::Parts);
        let firmware = read("the firmware", request.firmware)?;
        firmware::check(&firmware)?;
        let kernel = read("the kernel", request.kernel)?;
        let guest = read("the guest program", request.guest)?;
        let [firmware_digest, kernel_digest, guest_digest] =
            [&firmware, &kernel, &guest].map(|bytes| Digest256::of(bytes));
        Ok(Self { firmware_digest, kernel_digest, guest_digest, firmware, kernel, guest })
    }

    /// Writes kernel, firmware and initrd into the bundle; gives the initrd's digest.
    pub(super) fn write_initrd(&self, request: &Request<'_>, staging: &Staging) -> Result<Digest256, BuildError> {
        let modules = modules::resolve(request.modules, &self.kernel)?;
        let initrd = initrd::write(self.guest.clone(), modules)?;
        staging.write(names::KERNEL, 0o644, &self.kernel)?;
        staging.write(names::FIRMWARE, 0o644, &self.firmware)?;
        staging.write(names::INITRD, 0o644, &initrd)?;
        Ok(Digest256::of(&initrd))
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, BuildError> {
    let wrong = |source| BuildError::Read { what, path: path.to_owned(), source };
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(MAX_PART + 1).read_to_end(&mut bytes)).map_err(wrong)?;
    if bytes.len() as u64 > MAX_PART {
        return Err(wrong(std::io::Error::other("it is larger than 128 MB")));
    }
    Ok(bytes)
}

const MAX_PART: u64 = 128 << 20;
