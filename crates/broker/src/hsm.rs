//! The master key under a key in a hardware security module (PKCS #11): AES-GCM, made and undone inside of the module.
//!
//! *Takes* the module's library, a token, a key's label and a file with the PIN.
//! *Guarantees* that the module's key is never asked for, only used; that the master key is bound to its purpose; and that
//! no error holds the PIN.
//! *Does not check* the library: it runs inside of the broker's process, so it is trusted as the broker is.

use crate::settings::MasterSource;
use aws_lc_rs::rand;
use claims::Secret;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const MECHANISM: &str = "CKM_AES_GCM";
/// What the wrapped key is bound to.
const PURPOSE: &[u8] = b"confide/broker/master/v1";
const NONCE: usize = 12;
const TAG_BITS: u64 = 128;

/// Why a hardware security module did not help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HsmError {
    /// The library cannot be loaded, or does not start.
    #[error("the PKCS #11 library {} cannot be used", path.display())]
    Library {
        /// File.
        path: PathBuf,
        /// Why.
        #[source]
        source: Error,
    },
    /// There is no such token.
    #[error("there is no token `{wanted}`; there are: {found}")]
    Token {
        /// Label in the settings.
        wanted: String,
        /// Labels found.
        found: String,
    },
    /// The PIN file cannot be read.
    #[error("cannot read {}", path.display())]
    PinFile {
        /// File.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The PIN is wrong, or locked.
    #[error(
        "the token `{token}` does not take the PIN ({why}): check the file that `pin_file` names; tokens lock after a few tries"
    )]
    Pin {
        /// Label.
        token: String,
        /// What the token says.
        why: &'static str,
    },
    /// There is no such key.
    #[error("the token `{token}` has no AES key `{key}`")]
    NoKey {
        /// Label of the token.
        token: String,
        /// Label of the key.
        key: String,
    },
    /// There are several such keys.
    #[error("the token `{token}` has several AES keys `{key}`: labels must tell them apart")]
    SeveralKeys {
        /// Label of the token.
        token: String,
        /// Label of the key.
        key: String,
    },
    /// The module refuses.
    #[error("the token refuses to {what}")]
    Refused {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: Error,
    },
    /// The wrapped key is not one, or is of another key.
    #[error("the wrapped master key is damaged, or is not under this key of the token")]
    Wrapped,
}

/// A key in a token, logged in to.
pub(crate) struct Hsm {
    session: Session,
    context: Pkcs11,
    key: ObjectHandle,
}

/// The wrapped key, as it lies in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped {
    version: u32,
    mechanism: String,
    nonce: String,
    sealed: String,
}

/// Where a key is.
pub(crate) struct Place<'a> {
    module: &'a Path,
    token: &'a str,
    key: &'a str,
    pin_file: &'a Path,
}

impl<'a> Place<'a> {
    pub(crate) fn of(source: &'a MasterSource) -> Option<Self> {
        match source {
            MasterSource::Pkcs11 { module, token, key, pin_file } => Some(Self { module, token, key, pin_file }),
            _ => None,
        }
    }
}

impl Hsm {
    /// Logs in to the token and finds the key; makes one that never leaves the token where there is none and `make` says so.
    pub(crate) fn open(place: &Place<'_>, make: bool) -> Result<Self, HsmError> {
        let library = |source| HsmError::Library { path: place.module.to_owned(), source };
        let pin = pin(place.pin_file)?;
        let context = Pkcs11::new(place.module).map_err(library)?;
        match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // Somebody in this process uses the library already.
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(library(error)),
        }
        let slot = slot(&context, place.token)?;
        let opened = if make { context.open_rw_session(slot) } else { context.open_ro_session(slot) };
        let session = opened.map_err(|source| HsmError::Refused { what: "open a session", source })?;
        log_in(&session, &pin, place.token)?;
        let key = find(&session, place, make)?;
        Ok(Self { session, context, key })
    }

    /// Wraps 32 bytes; the text of the file.
    pub(crate) fn wrap(&self, key: &[u8]) -> Result<String, HsmError> {
        let refused = |what| move |source| HsmError::Refused { what, source };
        let mut nonce = [0; NONCE];
        rand::fill(&mut nonce).map_err(|_| HsmError::Wrapped)?;
        let sealed = {
            let parameters =
                GcmParams::new(&mut nonce, PURPOSE, TAG_BITS.into()).map_err(refused("take the parameters"))?;
            self.session
                .encrypt(&Mechanism::AesGcm(parameters), self.key, key)
                .map_err(refused("encrypt (CKM_AES_GCM)"))?
        };
        // A token that chooses nonces itself has put its own there.
        let wrapped =
            Wrapped { version: 1, mechanism: MECHANISM.into(), nonce: hex::encode(nonce), sealed: hex::encode(sealed) };
        serde_json::to_string(&wrapped).map(|text| text + "\n").map_err(|_| HsmError::Wrapped)
    }

    /// Opens what [`Hsm::wrap`] made.
    pub(crate) fn unwrap(&self, text: &[u8]) -> Result<Secret<[u8; 32]>, HsmError> {
        let wrapped: Wrapped = serde_json::from_slice(text).map_err(|_| HsmError::Wrapped)?;
        if wrapped.version != 1 || wrapped.mechanism != MECHANISM {
            return Err(HsmError::Wrapped);
        }
        let mut nonce = [0; NONCE];
        hex::decode_to_slice(&wrapped.nonce, &mut nonce).map_err(|_| HsmError::Wrapped)?;
        let sealed = hex::decode(&wrapped.sealed).map_err(|_| HsmError::Wrapped)?;
        let parameters = GcmParams::new(&mut nonce, PURPOSE, TAG_BITS.into()).map_err(|_| HsmError::Wrapped)?;
        let plain =
            self.session.decrypt(&Mechanism::AesGcm(parameters), self.key, &sealed).map_err(|error| match error {
                // What tokens say of a tag that does not fit differs.
                Error::Pkcs11(
                    RvError::EncryptedDataInvalid | RvError::EncryptedDataLenRange | RvError::GeneralError,
                    _,
                ) => HsmError::Wrapped,
                source => HsmError::Refused { what: "decrypt (CKM_AES_GCM)", source },
            })?;
        let plain = Zeroizing::new(plain);
        <[u8; 32]>::try_from(plain.as_slice()).map(Secret::new).map_err(|_| HsmError::Wrapped)
    }

    /// Logs out and lets the library go.
    pub(crate) fn close(self) {
        let Self { session, context, .. } = self;
        let _ = session.logout();
        drop(session);
        let _ = context.finalize();
    }
}

fn pin(path: &Path) -> Result<AuthPin, HsmError> {
    let failed = |source| HsmError::PinFile { path: path.to_owned(), source };
    let bytes = Zeroizing::new(std::fs::read(path).map_err(failed)?);
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| failed(std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not UTF-8")))?;
    Ok(AuthPin::new(text.trim_end_matches(['\r', '\n']).into()))
}

fn slot(context: &Pkcs11, wanted: &str) -> Result<Slot, HsmError> {
    let refused = |source| HsmError::Refused { what: "list its slots", source };
    let mut found = Vec::new();
    for slot in context.get_slots_with_initialized_token().map_err(refused)? {
        let info = context.get_token_info(slot).map_err(refused)?;
        let label = info.label().trim_end().to_owned();
        if label == wanted {
            return Ok(slot);
        }
        found.push(format!("`{label}`"));
    }
    let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
    Err(HsmError::Token { wanted: wanted.to_owned(), found })
}

fn log_in(session: &Session, pin: &AuthPin, token: &str) -> Result<(), HsmError> {
    let wrong = |why| Err(HsmError::Pin { token: token.to_owned(), why });
    match session.login(UserType::User, Some(pin)) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(Error::Pkcs11(RvError::PinLocked, _)) => wrong("it is locked"),
        Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => {
            wrong("it is wrong")
        }
        Err(Error::Pkcs11(RvError::PinExpired, _)) => wrong("it has expired"),
        Err(Error::Pkcs11(RvError::UserPinNotInitialized, _)) => wrong("none is set"),
        Err(source) => Err(HsmError::Refused { what: "log the broker in", source }),
    }
}

fn find(session: &Session, place: &Place<'_>, make: bool) -> Result<ObjectHandle, HsmError> {
    let (token, key) = (place.token.to_owned(), place.key.to_owned());
    let wanted = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Label(place.key.as_bytes().to_vec()),
    ];
    let found = session.find_objects(&wanted).map_err(|source| HsmError::Refused { what: "list its keys", source })?;
    match (found.as_slice(), make) {
        ([one], _) => Ok(*one),
        ([], false) => Err(HsmError::NoKey { token, key }),
        ([], true) => {
            let template = [
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Encrypt(true),
                Attribute::Decrypt(true),
                Attribute::ValueLen(32.into()),
                Attribute::Label(place.key.as_bytes().to_vec()),
            ];
            let made = session.generate_key(&Mechanism::AesKeyGen, &template);
            made.map_err(|source| HsmError::Refused { what: "make an AES key", source })
        }
        _ => Err(HsmError::SeveralKeys { token, key }),
    }
}
