//! Why Vault did not do something. Nothing here holds a token, a secret id, or a value.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

/// Why Vault did not do something.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// A file of the settings cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// File.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// A file does not hold what it should.
    #[error("{} does not hold {wanted}", path.display())]
    Content {
        /// File.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
    /// No answer, or none over TLS as it should be.
    #[error("Vault at {address} does not answer")]
    Unreachable {
        /// Address.
        address: String,
        /// Why.
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
    /// It answers that it cannot serve.
    #[error("Vault at {address} is sealed, or not ready")]
    Sealed {
        /// Address.
        address: String,
    },
    /// The login, or the token from a file, is refused.
    #[error("Vault refuses the broker's login (status {status}): check role, secret id or token")]
    Login {
        /// HTTP status.
        status: u16,
    },
    /// The token is good, but its policies do not allow this.
    #[error("Vault does not let the broker do this: {what} (status 403); its policy must allow it")]
    Forbidden {
        /// Method and path.
        what: String,
    },
    /// Another answer than any that fits.
    #[error("Vault answers {what} with status {status}{words}")]
    Status {
        /// Method and path.
        what: String,
        /// HTTP status.
        status: u16,
        /// What it says, with a colon before it; empty where it must not be shown.
        words: String,
    },
    /// An answer that is not what the API promises.
    #[error("Vault's answer to {what} is {problem}")]
    Malformed {
        /// Method and path.
        what: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// Somebody else changed the entry meanwhile.
    #[error("the entry in Vault was changed by somebody else meanwhile")]
    Conflict,
    /// The entry has other members, which a write would lose.
    #[error(
        "the entry in Vault has other members than `{field}`, which would be lost: change it with Vault's own tools"
    )]
    OtherMembers {
        /// The member that the broker uses.
        field: String,
    },
    /// Something that KV version 1 does not have.
    #[error("the KV engine is of version 1, which keeps no versions")]
    NoVersions,
    /// Too many requests wait.
    #[error("too many requests to Vault wait")]
    Busy,
}

impl VaultError {
    /// A fixed word for the audit log and for `/readyz`.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::File { .. } | Self::Content { .. } => "a file that the settings name for Vault cannot be used",
            Self::Unreachable { .. } => "Vault does not answer",
            Self::Sealed { .. } => "Vault is sealed, or not ready",
            Self::Login { .. } => "Vault refuses the broker's login",
            Self::Forbidden { .. } => "Vault does not let the broker do this",
            Self::Status { .. } | Self::Malformed { .. } => "Vault gives an answer that cannot be used",
            Self::Conflict => "the entry in Vault was changed meanwhile",
            Self::OtherMembers { .. } => "the entry in Vault has other members",
            Self::NoVersions => "the KV engine keeps no versions",
            Self::Busy => "too many requests to Vault wait",
        }
    }
}
