//! The kernel modules a guest needs, with what they depend on, in the order they are loaded.
//!
//! *Takes* a kernel's modules folder (`kernel/`, `modules.builtin`; no `modules.dep` is needed) and the kernel image.
//! *Guarantees* that every needed driver is there or built in, that each module comes after what it depends on, and that
//! the modules belong to this kernel.
//! *Does not check* the modules' code: they are measured with the initrd.
//!
//! The guest finds them in `/modules` with the file `/modules/list`: one line per module in load order,
//! `required|optional|nfs FILE`. A required module that does not load halts the guest, an optional one is passed over,
//! one for `nfs` is loaded when the data drive asks for an NFS mount. The files are not compressed.

mod elf;
mod kernel;
mod lean;

pub use elf::{ModuleInfo, ModuleInfoError};
pub use kernel::{KernelError, kernel_release};

use claims::Code;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

/// How much a guest needs a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Without it nothing works.
    Required,
    /// It makes something faster or possible; a kernel without it is fine.
    Optional,
    /// Only for NFS mounts.
    Nfs,
}

impl Need {
    /// The word in the list file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Optional => "optional",
            Self::Nfs => "nfs",
        }
    }
}

/// A driver the guest uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needed {
    /// Name, with underscores.
    pub name: &'static str,
    /// How much.
    pub need: Need,
    /// What for.
    pub purpose: &'static str,
}

macro_rules! needed {
    ($($need:ident $name:literal, $purpose:literal;)*) => {
        /// The drivers, in the order they are wanted.
        pub const NEEDED: &[Needed] = &[$(Needed { name: $name, need: Need::$need, purpose: $purpose },)*];
    };
}

needed! {
    Required "virtio_pci", "the bus of all drives and cards";
    Required "virtio_blk", "drives";
    Required "virtio_net", "the network card";
    Optional "virtio_console", "the channel to an emulated processor";
    Optional "button", "the host's power button asks for a clean stop";
    Optional "evdev", "the power button reaches the guest program";
    Optional "virtio_rng", "randomness from the host, mixed in and never relied on";
    Required "sev_guest", "attestation reports";
    Optional "tsm", "attestation reports through configfs";
    Optional "tsm_report", "attestation reports through configfs (newer kernels)";
    Required "ext4", "the file systems of the drives";
    Optional "aes_generic", "the cipher of sealed drives";
    Optional "aesni_intel", "the cipher of sealed drives, in hardware";
    Optional "sha256_generic", "the hash of verity trees";
    Optional "sha256_ssse3", "the hash of verity trees, in hardware";
    Optional "crc32c_generic", "checksums of ext4";
    Required "xts", "the cipher mode of sealed drives";
    Required "dm_mod", "device mapper";
    Required "dm_crypt", "sealed drives";
    Required "dm_verity", "authenticated drives";
    Required "overlay", "the container's writable layer";
    Required "nf_tables", "the firewall";
    Required "nf_conntrack", "the firewall's connections";
    Required "nft_ct", "the firewall's connections";
    Optional "nft_reject_inet", "firewall answers instead of silence";
    Nfs "nfs", "ext_mount.conf";
    Nfs "nfsv4", "ext_mount.conf";
    Nfs "nfsv3", "ext_mount.conf";
}

/// A module with its bytes, not compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Name, with underscores.
    pub name: String,
    /// How much the guest needs it.
    pub need: Need,
    /// The ELF file.
    pub bytes: Vec<u8>,
}

impl Module {
    /// Name of its file in `/modules`.
    pub fn file_name(&self) -> String {
        format!("{}.ko", self.name)
    }
}

/// Why a kernel cannot be used for a guest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModulesError {
    /// A needed driver is neither a module nor built in.
    #[error(
        "the kernel {release} lacks the driver `{name}` ({purpose}); use a kernel that has it, or its whole modules package"
    )]
    Missing {
        /// The driver.
        name: String,
        /// What it is needed for.
        purpose: String,
        /// The kernel.
        release: String,
    },
    /// A module that is for another kernel.
    #[error("module `{name}` is for kernel {got}, the kernel image is {wanted}; name the modules folder of {wanted}")]
    Vermagic {
        /// The module.
        name: String,
        /// Release it was built for.
        got: String,
        /// Release of the kernel image.
        wanted: String,
    },
    /// Modules that depend on each other in a circle.
    #[error("module `{name}` depends on itself")]
    Circle {
        /// One of them.
        name: String,
    },
    /// A file that is not a kernel module.
    #[error("{} is not a kernel module", path.display())]
    Module {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ModuleInfoError,
    },
    /// A file or folder that cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The kernel image is not one.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

impl ModulesError {
    /// The code of the refusal, where it is one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Missing { .. } | Self::Vermagic { .. } | Self::Kernel(_) => Some(Code::Kernel),
            Self::Circle { .. } | Self::Module { .. } => Some(Code::Kernel),
            Self::Read { .. } => None,
        }
    }
}

/// Finds the modules of [`NEEDED`] in `folder` for the kernel `kernel_image`, in load order.
pub fn resolve(folder: &Path, kernel_image: &[u8]) -> Result<Vec<Module>, ModulesError> {
    let release = kernel_release(kernel_image)?;
    let mut resolver = Resolver {
        files: module_files(folder)?,
        builtin: builtin(folder)?,
        loaded: BTreeMap::new(),
        order: Vec::new(),
        release,
    };
    for needed in NEEDED {
        resolver.need(needed)?;
    }
    Ok(resolver.finish())
}

/// Whether a kernel and its modules serve a guest; gives the kernel's release.
pub fn check(kernel: &Path, folder: &Path) -> Result<String, ModulesError> {
    let image = std::fs::read(kernel).map_err(|source| ModulesError::Read { path: kernel.to_owned(), source })?;
    resolve(folder, &image)?;
    Ok(kernel_release(&image)?)
}

/// The text of `/modules/list`.
pub fn list_file(modules: &[Module]) -> String {
    modules.iter().map(|module| format!("{} {}\n", module.need.name(), module.file_name())).collect()
}

struct Resolver {
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
    loaded: BTreeMap<String, Loaded>,
    order: Vec<String>,
    release: String,
}

struct Loaded {
    info: ModuleInfo,
    bytes: Vec<u8>,
    need: Need,
}

impl Resolver {
    fn need(&mut self, needed: &Needed) -> Result<(), ModulesError> {
        match self.visit(needed.name, needed.need, &mut Vec::new()) {
            // What is not required may be missing, with whatever it would have needed.
            Err(ModulesError::Missing { .. }) if needed.need != Need::Required => Ok(()),
            Err(ModulesError::Missing { name, release, .. }) => {
                let purpose = if name == needed.name {
                    needed.purpose.to_owned()
                } else {
                    format!("`{}` needs it: {}", needed.name, needed.purpose)
                };
                Err(ModulesError::Missing { name, purpose, release })
            }
            other => other,
        }
    }

    fn visit(&mut self, name: &str, need: Need, above: &mut Vec<String>) -> Result<(), ModulesError> {
        if self.builtin.contains(name) {
            return Ok(());
        }
        if above.iter().any(|other| other == name) || above.len() > MAX_DEPTH {
            return Err(ModulesError::Circle { name: name.to_owned() });
        }
        let info = self.load(name, need)?;
        above.push(name.to_owned());
        for dependency in &info.softdeps {
            // A soft dependency may be an alias or missing: then the kernel goes on without, and so do we.
            if self.files.contains_key(dependency) && !above.contains(dependency) {
                self.visit(dependency, need, above)?;
            }
        }
        for dependency in &info.depends {
            self.visit(dependency, need, above)?;
        }
        above.pop();
        if !self.order.iter().any(|done| done == name) {
            self.order.push(name.to_owned());
        }
        Ok(())
    }

    fn load(&mut self, name: &str, need: Need) -> Result<ModuleInfo, ModulesError> {
        if let Some(loaded) = self.loaded.get_mut(name) {
            loaded.need = loaded.need.min(need);
            return Ok(loaded.info.clone());
        }
        let path = self.files.get(name).ok_or_else(|| ModulesError::Missing {
            name: name.to_owned(),
            purpose: String::new(),
            release: self.release.clone(),
        })?;
        let bytes = read_module(path).map_err(|source| ModulesError::Read { path: path.clone(), source })?;
        let info = ModuleInfo::parse(&bytes).map_err(|source| ModulesError::Module { path: path.clone(), source })?;
        let got = info.vermagic.split(' ').next().unwrap_or("").to_owned();
        if got != self.release {
            return Err(ModulesError::Vermagic { name: name.to_owned(), got, wanted: self.release.clone() });
        }
        self.loaded.insert(name.to_owned(), Loaded { info: info.clone(), bytes: lean::lean(bytes), need });
        Ok(info)
    }

    fn finish(mut self) -> Vec<Module> {
        let order = std::mem::take(&mut self.order);
        let take = |name: String| {
            let Loaded { bytes, need, .. } = self.loaded.remove(&name)?;
            Some(Module { name, need, bytes })
        };
        order.into_iter().filter_map(take).collect()
    }
}

/// Every module file below `folder`, by name.
fn module_files(folder: &Path) -> Result<BTreeMap<String, PathBuf>, ModulesError> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(path) = waiting.pop() {
        let read = |source| ModulesError::Read { path: path.clone(), source };
        for entry in std::fs::read_dir(&path).map_err(read)? {
            let entry = entry.map_err(read)?;
            // Links (`build`, `source`) lead out of the folder and are not followed.
            let kind = entry.file_type().map_err(read)?;
            let (path, name) = (entry.path(), entry.file_name());
            if kind.is_dir() {
                waiting.push(path);
            } else if let Some(stem) = name.to_str().and_then(module_stem).filter(|_| kind.is_file()) {
                // Of two files with one name the one with the smaller path wins: the order of a folder is not fixed.
                let place = found.entry(stem.replace('-', "_")).or_insert_with(|| path.clone());
                if path < *place {
                    *place = path;
                }
            }
        }
    }
    Ok(found)
}

fn module_stem(name: &str) -> Option<&str> {
    [".ko", ".ko.xz", ".ko.zst", ".ko.gz"].into_iter().find_map(|ending| name.strip_suffix(ending))
}

fn builtin(folder: &Path) -> Result<BTreeSet<String>, ModulesError> {
    let path = folder.join("modules.builtin");
    let text = std::fs::read_to_string(&path).map_err(|source| ModulesError::Read { path, source })?;
    let name = |line: &str| Some(module_stem(line.rsplit('/').next()?)?.replace('-', "_"));
    Ok(text.lines().filter_map(name).collect())
}

fn read_module(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = std::io::BufReader::new(std::fs::File::open(path)?);
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or("");
    let reader: Box<dyn Read> = match ending {
        "xz" => Box::new(lzma_rust2::XzReader::new(file, false)),
        "zst" => Box::new(zstd::Decoder::new(file)?),
        "gz" => Box::new(flate2::read::GzDecoder::new(file)),
        _ => Box::new(file),
    };
    let mut bytes = Vec::new();
    reader.take(MAX_MODULE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_MODULE {
        return Err(std::io::Error::other("the module is larger than 64 MB"));
    }
    Ok(bytes)
}

/// Larger than any module of a distribution's kernel.
const MAX_MODULE: u64 = 64 << 20;
const MAX_DEPTH: usize = 32;
