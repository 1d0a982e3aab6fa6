//! What the emulated processor keeps in its workspace: one file, readable by its owner only.

use crate::processor::Model;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::RsaKeyPair;
use claims::UnixTime;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Name of the file in the workspace.
const FILE: &str = "emulated-processor.json";
/// Where real processors show up.
const HARDWARE: [&str; 2] = ["/dev/sev-guest", "/dev/sev"];

/// What to do on a machine with real hardware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hardware {
    /// Refuse to emulate where `/dev/sev` or `/dev/sev-guest` is: somebody forgot which program to use.
    RefuseIfPresent,
    /// Emulate all the same, for the reason given.
    Ignore {
        /// Why.
        reason: String,
    },
}

/// Why there is no emulated processor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmulatorError {
    /// The machine has the real thing.
    #[error(
        "{device} is there: this machine has an SNP processor, which `confide` uses; nothing is emulated beside it"
    )]
    Hardware {
        /// What was found.
        device: &'static str,
    },
    /// The workspace cannot be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The state file is not one of this program's.
    #[error("{} is not the state of an emulated processor; remove it to make new development roots", path.display())]
    State {
        /// Which file.
        path: PathBuf,
    },
    /// The random source or a key failed.
    #[error("the crypto library failed")]
    Crypto,
    /// A certificate could not be encoded.
    #[error("a certificate cannot be encoded: {what}")]
    Encode {
        /// Why.
        what: String,
    },
    /// The launch cannot be measured.
    #[error("the launch cannot be measured")]
    Measure(#[from] measure::snp::MeasureError),
}

impl From<x509_cert::der::Error> for EmulatorError {
    fn from(error: x509_cert::der::Error) -> Self {
        Self::Encode { what: error.to_string() }
    }
}

/// The keys of a workspace.
pub(crate) struct State {
    pub(crate) seed: [u8; 32],
    pub(crate) root: RsaKeyPair,
    pub(crate) intermediate: RsaKeyPair,
    pub(crate) model: Model,
    /// When the certificates in use were issued.
    pub(crate) issued: UnixTime,
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// Says what this file is to whoever finds it.
    warning: String,
    version: u32,
    seed: String,
    root: String,
    intermediate: String,
    #[zeroize(skip)]
    model: Model,
    issued: u64,
}

const WARNING: &str = "development roots of an emulated processor: they protect nothing";

impl State {
    /// Reads the workspace's keys, or makes them. Two programs that come at once end up with the same ones.
    pub(crate) fn open(
        workspace: &Path,
        now: UnixTime,
        model: Model,
        hardware: &Hardware,
    ) -> Result<Self, EmulatorError> {
        if hardware == &Hardware::RefuseIfPresent
            && let Some(device) = HARDWARE.into_iter().find(|device| Path::new(device).exists())
        {
            return Err(EmulatorError::Hardware { device });
        }
        let path = workspace.join(FILE);
        if let Some(state) = Self::read(&path)? {
            return Ok(state.renewed(now));
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(workspace)
            .map_err(|source| EmulatorError::File { path: workspace.to_owned(), source })?;
        let state = Self::make(now, model)?;
        state.write_first(&path)?;
        Ok(Self::read(&path)?.ok_or(EmulatorError::State { path })?.renewed(now))
    }

    fn make(now: UnixTime, model: Model) -> Result<Self, EmulatorError> {
        let generate = || RsaKeyPair::generate(KeySize::Rsa4096).map_err(|_| EmulatorError::Crypto);
        let (root, intermediate) = std::thread::scope(|scope| {
            let other = scope.spawn(generate);
            (generate(), other.join().unwrap_or(Err(EmulatorError::Crypto)))
        });
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| EmulatorError::Crypto)?;
        Ok(Self { seed, root: root?, intermediate: intermediate?, model, issued: now })
    }

    /// Certificates are short-lived and made again from the kept keys when they run out.
    fn renewed(mut self, now: UnixTime) -> Self {
        let age = now.0.saturating_sub(self.issued.0);
        if age > crate::issue::VALID_SECONDS / 2 || now < self.issued {
            self.issued = now;
        }
        self
    }

    fn read(path: &Path) -> Result<Option<Self>, EmulatorError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(EmulatorError::File { path: path.to_owned(), source }),
        };
        let wrong = || EmulatorError::State { path: path.to_owned() };
        let stored: Stored = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
        if stored.version != 1 {
            return Err(wrong());
        }
        let key = |text: &str| {
            let mut der = hex::decode(text).map_err(|_| wrong())?;
            let key = RsaKeyPair::from_pkcs8(&der).map_err(|_| wrong());
            der.zeroize();
            key
        };
        let mut seed = [0; 32];
        hex::decode_to_slice(&stored.seed, &mut seed).map_err(|_| wrong())?;
        Ok(Some(Self {
            seed,
            root: key(&stored.root)?,
            intermediate: key(&stored.intermediate)?,
            model: stored.model,
            issued: UnixTime(stored.issued),
        }))
    }

    /// Writes the file whole, unless another program was first.
    fn write_first(&self, path: &Path) -> Result<(), EmulatorError> {
        let failed = |source| EmulatorError::File { path: path.to_owned(), source };
        let der =
            |key: &RsaKeyPair| key.as_der().map(|der| hex::encode(der.as_ref())).map_err(|_| EmulatorError::Crypto);
        let stored = Stored {
            warning: WARNING.to_owned(),
            version: 1,
            seed: hex::encode(self.seed),
            root: der(&self.root)?,
            intermediate: der(&self.intermediate)?,
            model: self.model,
            issued: self.issued.0,
        };
        let mut text = serde_json::to_vec_pretty(&stored).map_err(|error| failed(error.into()))?;
        let mut unique = [0; 8];
        SystemRandom::new().fill(&mut unique).map_err(|_| EmulatorError::Crypto)?;
        let draft = path.with_extension(hex::encode(unique));
        let written = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)
            .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
            .and_then(|()| match fs::hard_link(&draft, path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                linked => linked,
            });
        text.zeroize();
        let removed = fs::remove_file(&draft);
        written.and(removed).map_err(failed)
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.seed.zeroize();
    }
}
