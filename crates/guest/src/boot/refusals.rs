//! How each module's error becomes the VM's last words. What is not listed here cannot halt with its own text.

use super::lockdown::LockdownError;
use super::volumes::VolumeError;
use crate::broker_client::ClientError;
use crate::console::{Halt, Public};
use crate::container::ContainerError;
use crate::devices::DeviceError;
use crate::evidence::EvidenceError;
use crate::mapper::MapperError;
use crate::modules::ModulesError;
use crate::mounts::MountError;
use crate::network::NetworkError;
use crate::nfs::NfsError;
use crate::public;
use crate::reattest;
use crate::scratch::ScratchError;
use claims::Code;
use claims::site::SiteError;

macro_rules! halts {
    ($($error:ty => |$name:ident| $words:expr;)*) => { $(
        impl From<$error> for Halt {
            fn from($name: $error) -> Self {
                Self::new($name.code(), $words)
            }
        }
    )* };
}

// `Public::reviewed` is used where all texts of an error are constants, numbers, addresses, names of our own modules,
// or reasons of the kernel and of the TLS library; secrets are not in these types.
halts! {
    DeviceError => |error| error.words();
    LockdownError => |error| error.words();
    VolumeError => |error| error.words();
    ScratchError => |error| error.words();
    NfsError => |error| error.words();
    MountError => |error| error.words();
    ModulesError => |error| Public::reviewed(&error);
    MapperError => |error| Public::reviewed(&error);
    NetworkError => |error| Public::reviewed(&error);
    EvidenceError => |error| Public::reviewed(&error);
    ClientError => |error| Public::reviewed(&error);
    ContainerError => |error| Public::reviewed(&error);
    reattest::Stop => |error| Public::reviewed(&error);
}

/// The JSON library quotes what it read, but `site.json` holds no secret and is the host's to read.
impl From<SiteError> for Halt {
    fn from(error: SiteError) -> Self {
        Self::new(Code::SiteMismatch, public!("site.json cannot be used: ", Public::reviewed(&error)))
    }
}
