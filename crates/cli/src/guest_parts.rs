//! Where the kernel, its modules, the firmware and the guest come from: the command line, the workload file, or what
//! the set-up fetched.

use crate::args::GuestParts;
use crate::outcome::{Failure, Result};
use std::path::{Path, PathBuf};

/// Every part, each there.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) kernel: PathBuf,
    pub(crate) modules: PathBuf,
    pub(crate) firmware: PathBuf,
    pub(crate) guest: PathBuf,
}

/// Resolves each part: flag, then `named` (the workload file's), then the set-up's folder.
pub(crate) fn resolve(flags: &GuestParts, named: &GuestParts) -> Result<Parts> {
    let pick = |flag: &Option<PathBuf>, named: &Option<PathBuf>, default: Option<PathBuf>, what: &str, option: &str| {
        let path = flag.clone().or_else(|| named.clone()).or(default);
        match path {
            Some(path) if path.exists() => Ok(path),
            Some(path) => Err(Failure::environment(format!("the {what} {} is not there", path.display()))
                .hint(format!("run `make setup` in Confide's folder, or name one with --{option}"))),
            None => Err(Failure::environment(format!("there is no {what}")).hint(format!("name one with --{option}"))),
        }
    };
    let set_up = set_up_folder();
    let default = |name: &str| set_up.as_ref().map(|folder| folder.join(name));
    Ok(Parts {
        kernel: pick(&flags.kernel, &named.kernel, default("vmlinuz"), "kernel", "kernel")?,
        modules: pick(&flags.modules, &named.modules, default("modules"), "folder of kernel modules", "modules")?,
        firmware: pick(&flags.firmware, &named.firmware, default("OVMF.amdsev.fd"), "firmware", "firmware")?,
        guest: pick(&flags.guest, &named.guest, beside_this_program("confide-guest"), "guest binary", "guest")?,
    })
}

/// The folder that `scripts/setup.sh` fills.
pub(crate) fn set_up_folder() -> Option<PathBuf> {
    std::env::var_os("CONFIDE_GUEST_PARTS").map(PathBuf::from).or_else(|| Some(cache_folder()?.join("guest-parts")))
}

/// Confide's folder for things that can be made again.
pub(crate) fn cache_folder() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))?;
    Some(base.join("confide"))
}

fn beside_this_program(name: &str) -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.parent()?.join(name))
}
