//! A policy as values, in the names of the policy's own language (section 3.2).

use serde::Serialize;

/// A whole policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// Which calls of the guest the policy answers.
    pub api_version: ApiVersion,
    /// The framework that the containers were written for.
    pub framework_version: String,
    /// Signed parts that may be loaded into the policy.
    pub fragments: Vec<Fragment>,
    /// What may run; the pause container is the last.
    pub containers: Vec<Container>,
    /// Switches for the whole group.
    pub allow: Allow,
}

/// Versions of the guest's interface that a policy can be written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum ApiVersion {
    /// Before writable devices had a rule of their own.
    #[serde(rename = "0.10.0")]
    V0_10,
    /// With `rw_mount_device`.
    #[serde(rename = "0.11.0")]
    V0_11,
}

impl ApiVersion {
    /// As written in a policy.
    pub fn text(self) -> &'static str {
        match self {
            Self::V0_10 => "0.10.0",
            Self::V0_11 => "0.11.0",
        }
    }
}

/// Switches for the whole group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Allow {
    /// The host may read properties (statistics, process lists).
    pub properties_access: bool,
    /// The host may dump stacks of the guest agent.
    pub dump_stacks: bool,
    /// The host may switch the guest agent's log on.
    pub runtime_logging: bool,
    /// Variables without a rule are dropped; otherwise they deny the start.
    pub environment_variable_dropping: bool,
    /// Scratch space may be on an unencrypted disk.
    pub unencrypted_scratch: bool,
    /// Capabilities without a rule are dropped; otherwise they deny the start.
    pub capability_dropping: bool,
}

/// A signed part that may be loaded (section 3.6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fragment {
    /// Where it is published.
    pub feed: String,
    /// What it may add: `containers`, `fragments`, …
    pub includes: Vec<String>,
    /// Who signed it, as did:x509.
    pub issuer: String,
    /// Lowest version accepted.
    pub minimum_svn: String,
}

/// One container that may run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Container {
    /// Whether it may be privileged.
    pub allow_elevated: bool,
    /// Whether the host may see its output and attach to it.
    pub allow_stdio_access: bool,
    /// Linux capabilities.
    pub capabilities: Capabilities,
    /// The exact command line; `null` can never be started.
    pub command: Option<Vec<String>>,
    /// Environment variables that may or must be there.
    pub env_rules: Vec<EnvRule>,
    /// Other processes that may be started in it.
    pub exec_processes: Vec<ExecProcess>,
    /// The image, as it was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// dm-verity root hashes, lowest layer first.
    pub layers: Vec<String>,
    /// What may be mounted.
    pub mounts: Vec<Mount>,
    /// The container's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether privileges may never grow.
    pub no_new_privileges: bool,
    /// SHA-256 of the normalised seccomp profile, or empty.
    pub seccomp_profile_sha256: String,
    /// Signals that the host may send to its first process.
    pub signals: Vec<i64>,
    /// As whom it runs.
    pub user: User,
    /// The folder it starts in.
    pub working_dir: String,
}

/// The five capability sets of Linux.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "capabilities(7) explains the five sets")]
pub struct Capabilities {
    pub ambient: Vec<String>,
    pub bounding: Vec<String>,
    pub effective: Vec<String>,
    pub inheritable: Vec<String>,
    pub permitted: Vec<String>,
}

/// One environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EnvRule {
    /// `NAME=value`, or a regular expression for that.
    pub pattern: String,
    /// Whether the variable must be there.
    pub required: bool,
    /// How the pattern is compared.
    pub strategy: Strategy,
}

impl EnvRule {
    /// The variable's name, as far as the pattern tells.
    pub fn name(&self) -> &str {
        self.pattern.split('=').next().unwrap_or_default()
    }
}

/// How a pattern is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// Equal.
    String,
    /// As a regular expression of RE2; newer guests anchor it at both ends, older ones do not.
    Re2,
    /// By numeric id.
    Id,
    /// By name.
    Name,
    /// Anything.
    Any,
}

/// A process that may be started in a running container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExecProcess {
    /// Its exact command line.
    pub command: Vec<String>,
    /// Signals that the host may send to it.
    pub signals: Vec<i64>,
}

/// Something that may be mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// Where in the container.
    pub destination: String,
    /// Options, compared as a set.
    pub options: Vec<String>,
    /// From where; a regular expression below `sandbox://`.
    pub source: String,
    /// The kind of mount.
    #[serde(rename = "type")]
    pub kind: String,
}

/// As whom a container runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    /// Its groups: each group of the request must match one of these.
    pub group_idnames: Vec<IdName>,
    /// Its umask, octal.
    pub umask: String,
    /// Its user.
    pub user_idname: IdName,
}

/// A user or a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IdName {
    /// The id or name, or empty.
    pub pattern: String,
    /// How it is compared.
    pub strategy: Strategy,
}

impl IdName {
    /// Anyone.
    pub fn any() -> Self {
        Self { pattern: String::new(), strategy: Strategy::Any }
    }

    /// Digits are an id, other text is a name.
    pub fn of(text: &str) -> Self {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        Self { pattern: text.to_owned(), strategy: if digits { Strategy::Id } else { Strategy::Name } }
    }
}
