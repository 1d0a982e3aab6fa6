//! The mount table: the kernel's own file systems, the drives, and a root that a container can pivot away from.
//!
//! *Takes* devices that were opened by their measured or attested root hash, and the host's `user_data`.
//! *Guarantees* that what the host controls is mounted nosuid, nodev, noexec and nosymfollow.
//! *Does not check* file contents.

mod superblock;

pub use superblock::{Implausible, plausible_ext4};

use crate::console::Public;
use crate::modules;
use crate::public;
use claims::Code;
use claims::workload::UserData;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use std::ffi::CStr;
use std::path::Path;

/// The opened root volume.
pub const ROOT_VOLUME: &str = "/volumes/root";
/// The scratch area.
pub const SCRATCH: &str = "/volumes/scratch";
/// The container's root: the root volume with the scratch area above it.
pub const CONTAINER_ROOT: &str = "/volumes/container";
/// The site's configuration.
pub const USER_CONFIG: &str = "/user_config";
/// The host's data.
pub const USER_DATA: &str = "/user_data";
/// Remote data, inside of the host's data.
pub const REMOTE_DATA: &str = "/user_data/mnt";
/// The folder that the workload may fill for people outside.
pub const APPLOG: &str = "/volumes/scratch/applog";

/// Why something could not be mounted.
#[derive(Debug, thiserror::Error)]
#[error("{what} cannot be mounted")]
pub struct MountError {
    /// What was to be mounted.
    pub what: &'static str,
    /// The code for this case.
    code: Code,
    /// Why.
    source: Errno,
}

impl MountError {
    /// The stable code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// For the console: a constant and the kernel's reason.
    pub fn words(&self) -> Public {
        public!(self.what, " cannot be mounted: ", self.source)
    }
}

/// The kernel's own file systems, on the initramfs.
pub fn kernel_file_systems() -> Result<(), MountError> {
    let hard = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let on = |what, kind, place, flags, options: &'static CStr| {
        make_folder(Path::new(place), what)?;
        match rustix::mount::mount(kind, place, kind, flags, options) {
            // A kernel can mount devtmpfs by itself.
            Ok(()) | Err(Errno::BUSY) => Ok(()),
            Err(source) => Err(MountError { what, code: Code::Kernel, source }),
        }
    };
    on("/proc", "proc", "/proc", hard, c"")?;
    on("/sys", "sysfs", "/sys", hard, c"")?;
    on("/dev", "devtmpfs", "/dev", MountFlags::NOSUID | MountFlags::NOEXEC, c"mode=0755")?;
    on(
        "/dev/pts",
        "devpts",
        "/dev/pts",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        c"newinstance,ptmxmode=0666,mode=0620",
    )?;
    on("/run", "tmpfs", "/run", hard, c"mode=0755")?;
    on("cgroups", "cgroup2", "/sys/fs/cgroup", hard, c"")
}

/// configfs, through which a confidential VM reads evidence; absent where the module is.
pub fn configfs() {
    let hard = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // WHY: the evidence module looks for other ways when this one is not there, and says so if there is none.
    let _ = rustix::mount::mount("configfs", "/sys/kernel/config", "configfs", hard, c"");
}

/// Moves from the initramfs, which nothing can pivot away from, to a small file system in memory.
pub fn leave_initramfs() -> Result<(), MountError> {
    let what = "the guest's root";
    let failed = |source| MountError { what, code: Code::Kernel, source };
    make_folder(Path::new("/new"), what)?;
    let options = c"mode=0755,size=16m,nr_inodes=4096";
    rustix::mount::mount("tmpfs", "/new", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options).map_err(failed)?;
    for place in ["/proc", "/sys", "/dev", "/run"] {
        let inside = format!("/new{place}");
        make_folder(Path::new(&inside), what)?;
        rustix::mount::mount_move(place, inside.as_str()).map_err(failed)?;
    }
    let modules_inside = format!("/new{}", modules::FOLDER);
    make_folder(Path::new(&modules_inside), what)?;
    rustix::mount::mount_bind(modules::FOLDER, modules_inside.as_str()).map_err(failed)?;
    for place in ["/tmp", "/volumes", ROOT_VOLUME, SCRATCH, CONTAINER_ROOT, USER_CONFIG, USER_DATA] {
        make_folder(Path::new(&format!("/new{place}")), what)?;
    }
    rustix::process::chdir("/new").map_err(failed)?;
    rustix::mount::mount_move(".", "/").map_err(failed)?;
    rustix::process::chroot(".").map_err(failed)?;
    rustix::process::chdir("/").map_err(failed)
}

/// A sealed volume, whose blocks dm-verity checks.
pub fn sealed_volume(node: &Path, place: &str, what: &'static str) -> Result<(), MountError> {
    let flags = MountFlags::RDONLY | MountFlags::NODEV;
    // The volume is written once and never has a journal to replay.
    rustix::mount::mount(node, place, "ext4", flags, c"noload,errors=continue").map_err(|source| MountError {
        what,
        code: Code::Root,
        source,
    })
}

/// The scratch area.
pub fn scratch_volume(node: &Path) -> Result<(), MountError> {
    rustix::mount::mount(node, SCRATCH, "ext4", MountFlags::NODEV | MountFlags::NOATIME, c"errors=remount-ro")
        .map_err(|source| MountError { what: "the scratch area", code: Code::Drive, source })
}

/// A scratch area in memory, where the drive has no tail.
pub fn scratch_in_memory() -> Result<(), MountError> {
    rustix::mount::mount("tmpfs", SCRATCH, "tmpfs", MountFlags::NODEV, c"mode=0755,size=50%")
        .map_err(|source| MountError { what: "the scratch area", code: Code::Drive, source })
}

/// The host's data: nothing there is trusted, followed or run.
pub fn user_data(node: &Path, how: UserData) -> Result<(), MountError> {
    let options = match how {
        // Without replaying the journal, and without the reaction to errors that the drive's superblock asks for.
        UserData::ReadOnly => c"noload,errors=continue",
        UserData::ReadWrite => c"errors=remount-ro",
    };
    rustix::mount::mount(node, USER_DATA, "ext4", untrusted(how), options).map_err(|source| MountError {
        what: "the user_data drive",
        code: Code::Drive,
        source,
    })
}

/// Mount flags of everything that somebody outside can write.
pub fn untrusted(how: UserData) -> MountFlags {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOSYMFOLLOW;
    match how {
        UserData::ReadOnly => flags | MountFlags::RDONLY,
        UserData::ReadWrite => flags | MountFlags::NOATIME,
    }
}

/// The container's root: what the workload writes goes to the scratch area. Confide's own folder is hidden.
pub fn container_root() -> Result<(), MountError> {
    let what = "the container's root";
    let failed = |source| MountError { what, code: Code::Workload, source };
    let [upper, work] = ["upper", "work"].map(|name| format!("{SCRATCH}/{name}"));
    for folder in [&upper, &work] {
        make_folder(Path::new(folder), what)?;
    }
    let meta = rustix::fs::stat(ROOT_VOLUME).map_err(failed)?;
    let mode = rustix::fs::Mode::from_raw_mode(meta.st_mode);
    rustix::fs::chmod(upper.as_str(), mode).map_err(failed)?;
    let owner = (rustix::fs::Uid::from_raw(meta.st_uid), rustix::fs::Gid::from_raw(meta.st_gid));
    rustix::fs::chown(upper.as_str(), Some(owner.0), Some(owner.1)).map_err(failed)?;
    // A character device 0:0 in the upper layer is a whiteout: the name is gone.
    let hidden = format!("{upper}/{}", claims::workload::RESERVED_FOLDER);
    let kind = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, hidden, kind, rustix::fs::Mode::empty(), 0).map_err(failed)?;
    let options = format!("lowerdir={ROOT_VOLUME},upperdir={upper},workdir={work}\0");
    let options = CStr::from_bytes_with_nul(options.as_bytes()).map_err(|_| failed(Errno::INVAL))?;
    rustix::mount::mount("overlay", CONTAINER_ROOT, "overlay", MountFlags::NODEV, options).map_err(failed)
}

/// Detaches everything that lies on a drive, deepest first.
pub fn unmount_all() {
    for place in [CONTAINER_ROOT, REMOTE_DATA, USER_DATA, USER_CONFIG, SCRATCH, ROOT_VOLUME] {
        // WHY: this is the way out; what is still in use is detached and written by sync.
        let _ = rustix::mount::unmount(place, UnmountFlags::DETACH);
    }
}

/// Makes a folder and those above it.
pub fn make_folder(place: &Path, what: &'static str) -> Result<(), MountError> {
    std::fs::create_dir_all(place).map_err(|error| {
        let source = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        MountError { what, code: Code::Kernel, source }
    })
}
