//! The workload's settings: the same for every site, kept in the root volume, and so part of the launch measurement.

use serde::{Deserialize, Serialize};

/// Folder in the root volume that is Confide's own; the container does not see it.
pub const RESERVED_FOLDER: &str = ".confide";
/// The settings' path in the root volume.
pub const SETTINGS_PATH: &str = ".confide/workload.json";

/// What to start, as whom, with which limits. Everything is resolved at build time: the guest adds nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Always 1.
    pub version: u32,
    /// Name of the workload.
    pub name: String,
    /// Role in a federation, where there is one.
    pub role: Option<String>,
    /// The process and its arguments.
    pub command: Vec<String>,
    /// Environment, as `NAME=value`.
    pub environment: Vec<String>,
    /// Working folder.
    pub folder: String,
    /// User to run as.
    pub user: User,
    /// Signal that asks the process to end (a Linux signal number).
    pub stop_signal: u8,
    /// Limits.
    pub limits: Limits,
    /// Where the workload's output goes.
    pub log: WorkloadLog,
    /// How the `user_data` drive is mounted.
    pub user_data: UserData,
    /// Whether GPU devices are handed to the container.
    pub gpu: bool,
}

/// Numeric user and groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
}

/// Limits of the container's cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes of memory; none is all but what the guest itself needs.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub processes: u32,
}

/// Where the workload's output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkloadLog {
    /// Nowhere: it may hold what nobody outside is to see.
    None,
    /// To the unencrypted `applog` drive.
    Applog,
}

/// How the host's `user_data` drive is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserData {
    /// The workload reads it.
    ReadOnly,
    /// The workload may write to it; what it writes there the host can read.
    ReadWrite,
}

/// Settings that the guest cannot use.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Not the JSON wanted.
    #[error("the workload's settings are not valid")]
    Json(#[from] serde_json::Error),
    /// A version that this program does not know.
    #[error("the workload's settings are version {got}, this program reads version 1")]
    Version {
        /// Version found.
        got: u32,
    },
}

impl Settings {
    /// Parses the settings file of a root volume.
    pub fn parse(bytes: &[u8]) -> Result<Self, SettingsError> {
        let settings: Self = serde_json::from_slice(bytes)?;
        if settings.version != 1 {
            return Err(SettingsError::Version { got: settings.version });
        }
        Ok(settings)
    }
}
