//! A real NFS server in user space: NFS-Ganesha, from a Debian or Ubuntu package that `scripts/setup.sh --tests` unpacks
//! and never installs. It serves a folder of the test on a port of its own.

use crate::place::{Place, free_port, wait_until};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A server that runs until this is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
}

impl Server {
    /// Serves a file, a link and a program as `/training_data`; or says why there is no server.
    pub(crate) fn start(place: &Place) -> Result<Self, String> {
        let root = unpacked().ok_or("there is no NFS-Ganesha (scripts/setup.sh --tests fetches it)")?;
        if !rustix::process::geteuid().is_root() {
            return Err("NFS-Ganesha serves a folder only as root".into());
        }
        let share = place.path("share");
        std::fs::create_dir(&share).unwrap();
        std::fs::create_dir(place.path("recovery")).unwrap();
        std::fs::write(share.join("greeting"), "from the server\n").unwrap();
        std::os::unix::fs::symlink("greeting", share.join("link")).unwrap();
        std::fs::write(share.join("program"), "#!/bin/sh\necho ran\n").unwrap();
        std::fs::set_permissions(share.join("program"), PermissionsExt::from_mode(0o755)).unwrap();
        let port = free_port();
        let libraries = root.join("usr/lib/x86_64-linux-gnu");
        let settings = place.write(
            "ganesha.conf",
            &format!(
                "NFS_CORE_PARAM {{ NFS_Port = {port}; Protocols = 4; Bind_addr = 127.0.0.1; Enable_NLM = false;\n\
                 Enable_RQUOTA = false; Enable_UDP = false; Plugins_Dir = \"{}\"; }}\n\
                 NFSV4 {{ Graceless = true; RecoveryRoot = \"{}\"; UseGetpwnam = true; Only_Numeric_Owners = true; }}\n\
                 EXPORT {{ Export_Id = 1; Path = \"{}\"; Pseudo = \"/training_data\"; Access_Type = RW;\n\
                 Squash = No_Root_Squash; SecType = sys; Protocols = 4; FSAL {{ Name = VFS; }} }}\n",
                libraries.join("ganesha").display(),
                place.path("recovery").display(),
                share.display()
            ),
        );
        let mut child = Command::new(root.join("usr/bin/ganesha.nfsd"))
            .arg("-F")
            .arg("-L")
            .arg(place.path("ganesha.log"))
            .arg("-f")
            .arg(settings)
            .arg("-p")
            .arg(place.path("ganesha.pid"))
            .env("LD_LIBRARY_PATH", format!("{}:{}", root.join("usr/lib/ganesha").display(), libraries.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut ended = false;
        wait_until("the NFS server", || {
            ended = child.try_wait().unwrap().is_some();
            ended || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
        if ended {
            let log = std::fs::read(place.path("ganesha.log")).unwrap_or_default();
            panic!("NFS-Ganesha does not run:\n{}", String::from_utf8_lossy(&log));
        }
        Ok(Self { child, port })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The folder that the packages are unpacked in; `/` where they are installed.
fn unpacked() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let plugin = "usr/lib/x86_64-linux-gnu/ganesha/libfsalvfs.so";
    [cache.join("confide/nfs-server"), Path::new("/").to_owned()].into_iter().find(|root| root.join(plugin).exists())
}
