//! Remote data: a folder of an NFS server, named by one strict line of `ext_mount.conf` on the `user_data` drive.
//!
//! *Takes* that file, which the host can write.
//! *Guarantees* that it is honoured only where `site.json` opens the ports, that it holds nothing but a host name
//! and a path, and that the mount is nosuid, nodev, noexec and nosymfollow.
//! *Does not check* the server or its data: NFS here has no keys, so both are as untrusted as `user_data`.

use crate::console::Public;
use crate::dns::{DnsError, Resolver};
use crate::modules::{self, Module, ModulesError, Need};
use crate::mounts::{self, MountError};
use crate::public;
use claims::Code;
use claims::site::{Ports, is_host_name};
use claims::workload::UserData;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// Ports that must be open for it.
pub const PORTS: [u16; 2] = [111, 2049];
/// The file's name.
pub const FILE: &str = "ext_mount.conf";

/// What the file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Name or address of the server.
    pub host: String,
    /// Absolute path there.
    pub path: String,
}

/// Why remote data is not mounted.
#[derive(Debug, thiserror::Error)]
pub enum NfsError {
    /// The file is not one line `HOST:/PATH`.
    #[error("ext_mount.conf is not one line HOST:/PATH of plain letters")]
    Line,
    /// The file cannot be read.
    #[error("ext_mount.conf cannot be read")]
    Read(#[source] std::io::Error),
    /// The firewall is closed for it.
    #[error("ext_mount.conf is there, but ports 111 and 2049 are not both in allowed_out_ports")]
    Closed,
    /// The server's name has no address.
    #[error("the NFS server's name has no address")]
    Name(#[from] DnsError),
    /// The kernel has no NFS.
    #[error("the modules for NFS cannot be loaded")]
    Modules(#[from] ModulesError),
    /// The folder is not there, and a read-only drive takes none.
    #[error("ext_mount.conf is there, but the user_data drive has no folder `mnt` to mount on; add one to the drive")]
    Folder(#[from] MountError),
    /// Mounting failed with every version.
    #[error("the NFS server cannot be mounted")]
    Mount(#[source] Errno),
}

impl NfsError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Modules(_) => Code::Kernel,
            _ => Code::Drive,
        }
    }

    /// For the console. The file's own words stay inside: they are the host's.
    pub fn words(&self) -> Public {
        match self {
            Self::Read(source) => public!("ext_mount.conf cannot be read: ", source),
            other => Public::reviewed(other),
        }
    }
}

/// Reads the file's bytes: one line, with or without a line end.
pub fn parse(bytes: &[u8]) -> Result<Export, NfsError> {
    let line = std::str::from_utf8(bytes).map_err(|_| NfsError::Line)?;
    let line = line.strip_suffix('\n').unwrap_or(line);
    let (host, path) = line.split_once(':').ok_or(NfsError::Line)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    let sound_path = path.starts_with('/')
        && path.len() <= MAX_PATH
        && path.bytes().all(plain)
        && !path.split('/').any(|part| part == ".." || part == ".");
    if !sound_path || !(is_host_name(host) || host.parse::<Ipv4Addr>().is_ok()) {
        return Err(NfsError::Line);
    }
    Ok(Export { host: host.to_owned(), path: path.to_owned() })
}

/// What `ext_mount.conf` on the mounted `user_data` names; none if there is no such file.
pub fn wanted(ports: &Ports) -> Result<Option<Export>, NfsError> {
    wanted_in(Path::new(mounts::USER_DATA), ports)
}

/// Mounts the export.
pub fn mount(export: &Export, resolver: &Resolver, modules: &[Module], how: UserData) -> Result<(), NfsError> {
    let servers = resolver.lookup(&export.host)?;
    let Some(server) = servers.into_iter().find(IpAddr::is_ipv4) else { return Err(DnsError::Unknown.into()) };
    modules::load(modules, |need| need == Need::Nfs)?;
    prepare_place()?;
    let mut last = Errno::PROTONOSUPPORT;
    for version in VERSIONS {
        last = match try_version(export, server, how, version) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if matches!(last, Errno::TIMEDOUT | Errno::HOSTUNREACH | Errno::NETUNREACH) {
            break;
        }
    }
    Err(NfsError::Mount(last))
}

const MAX_PATH: usize = 1024;
const MAX_FILE: u64 = 2048;

/// NFS versions, in the order they are tried: the kernel does not choose by itself. 4.2 only for a server that has no
/// 4.1: a kernel that reads with its READ_PLUS (RFC 7862, 15.10) gets zeros instead of the file from some servers
/// (NFS-Ganesha 4.3), without an error.
const VERSIONS: [&str; 4] = ["4.1", "4.2", "4.0", "3"];

fn wanted_in(folder: &Path, ports: &Ports) -> Result<Option<Export>, NfsError> {
    let read = |error: Errno| NfsError::Read(error.into());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty()).map_err(read)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let file = match rustix::fs::openat2(&folder, FILE, flags, Mode::empty(), inside) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(read(error)),
    };
    if !file.metadata().map_err(NfsError::Read)?.is_file() {
        return Err(NfsError::Line);
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(NfsError::Read)?;
    let export = parse(&bytes)?;
    if PORTS.iter().all(|port| ports.outbound.contains(port)) { Ok(Some(export)) } else { Err(NfsError::Closed) }
}

/// Drives as they are built have the folder. One that the workload may write to can be given it; on any other it must
/// be there. A link in its place is neither: nothing on this drive is followed.
fn prepare_place() -> Result<(), NfsError> {
    if Path::new(mounts::REMOTE_DATA).is_dir() {
        return Ok(());
    }
    Ok(mounts::make_folder(Path::new(mounts::REMOTE_DATA), "the folder for remote data")?)
}

fn try_version(export: &Export, server: IpAddr, how: UserData, version: &str) -> Result<(), Errno> {
    let (kind, options) = options(server, version);
    let options = CString::new(options).map_err(|_| Errno::INVAL)?;
    let source = format!("{}:{}", server, export.path);
    rustix::mount::mount(source, mounts::REMOTE_DATA, kind, mounts::untrusted(how), options.as_c_str())
}

/// What `mount.nfs` would hand to the kernel. `soft` so that a server that is gone gives errors, not stuck processes.
fn options(server: IpAddr, version: &str) -> (&'static str, String) {
    let shared = format!("vers={version},addr={server},soft,softreval,timeo=100,retrans=3,nosharecache,resvport");
    if version == "3" {
        // Locks need a program that we don't have, and the port mapper is asked by the kernel.
        return ("nfs", format!("{shared},nolock,proto=tcp,mountproto=tcp,mountaddr={server}"));
    }
    ("nfs4", format!("{shared},clientaddr=0.0.0.0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_plain_line_is_taken() {
        let export = Export { host: "nfs-server.example.com".into(), path: "/training_data".into() };
        assert_eq!(parse(b"nfs-server.example.com:/training_data\n").unwrap(), export);
        assert_eq!(parse(b"nfs-server.example.com:/training_data").unwrap(), export);
        assert_eq!(parse(b"10.0.0.9:/").unwrap(), Export { host: "10.0.0.9".into(), path: "/".into() });
    }

    #[test]
    fn anything_else_is_refused() {
        let long = format!("a:/{}", "b".repeat(2000));
        let cases: [&[u8]; 18] = [
            b"",
            b"\n",
            b"host",
            b"host:",
            b"host:data",
            b":/data",
            b"host:/data\n\n",
            b"host:/data\nother:/x\n",
            b" host:/data",
            b"host:/da ta",
            b"host:/data,rw",
            b"host:/../etc",
            b"host:/a/./b",
            b"host:/data\0",
            b"ho\xffst:/data",
            b"-o:/data",
            b"host:/data\r\n",
            long.as_bytes(),
        ];
        for case in cases {
            assert!(matches!(parse(case), Err(NfsError::Line)), "{:?}", String::from_utf8_lossy(case));
        }
    }

    #[test]
    fn the_file_counts_only_where_its_ports_are_open() {
        let folder = tempfile::tempdir().unwrap();
        let ports = |outbound: &[u16]| Ports { inbound: Vec::new(), outbound: outbound.to_vec() };
        assert!(wanted_in(folder.path(), &ports(&[111, 2049])).unwrap().is_none());
        std::fs::write(folder.path().join(FILE), "nfs:/data\n").unwrap();
        assert!(wanted_in(folder.path(), &ports(&[111, 2049, 443])).unwrap().is_some());
        for closed in [&[][..], &[111], &[2049]] {
            assert!(matches!(wanted_in(folder.path(), &ports(closed)), Err(NfsError::Closed)));
        }
    }

    #[test]
    fn a_link_or_a_folder_is_not_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let ports = Ports { inbound: Vec::new(), outbound: PORTS.to_vec() };
        std::fs::write(folder.path().join("real"), "nfs:/data\n").unwrap();
        std::os::unix::fs::symlink("real", folder.path().join(FILE)).unwrap();
        assert!(matches!(wanted_in(folder.path(), &ports), Err(NfsError::Read(_))));
        std::fs::remove_file(folder.path().join(FILE)).unwrap();
        std::fs::create_dir(folder.path().join(FILE)).unwrap();
        assert!(matches!(wanted_in(folder.path(), &ports), Err(NfsError::Line)));
    }

    proptest::proptest! {
        #[test]
        fn no_file_panics(bytes in proptest::collection::vec(0u8.., 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
