//! What is said about one container: the members of `properties`, which ARM templates and the JSON input share.

use super::defaults::{THIM_MARK, volume_mount};
use super::enforce::Pattern;
use super::error::CceError;
use super::model::{ExecProcess, Mount, Strategy};
use super::node::Node;
use super::seccomp;
use serde_json::Value;

/// One container as its author describes it; what is absent comes from the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Its name.
    pub name: String,
    /// Its image, as named.
    pub image: String,
    /// Its command line, in place of the image's.
    pub command: Option<Vec<String>>,
    /// Its variables, in order.
    pub variables: Vec<Variable>,
    /// Processes that may be started in it, probes first.
    pub processes: Vec<ExecProcess>,
    /// Its mounts.
    pub mounts: Vec<Mount>,
    /// Its working folder, in place of the image's.
    pub working_dir: Option<String>,
    /// Whether it is privileged.
    pub privileged: bool,
    /// Whether privileges may never grow.
    pub no_new_privileges: bool,
    /// Its user.
    pub run_as_user: Option<u64>,
    /// Its group.
    pub run_as_group: Option<u64>,
    /// Capabilities added to the usual ones.
    pub add: Vec<String>,
    /// Capabilities taken away.
    pub drop: Vec<String>,
    /// Digest of its seccomp profile, or empty.
    pub seccomp_profile_sha256: String,
    /// Whether the host may see its output.
    pub stdio: bool,
    /// Signals that the host may send, in place of the image's.
    pub signals: Option<Vec<i64>>,
}

/// One variable of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value, or a regular expression.
    pub value: String,
    /// Which of the two.
    pub strategy: Strategy,
    /// Whether the template calls it secret.
    pub secret: bool,
}

impl Spec {
    /// A container about which only the image is known.
    pub fn of_image(image: &str) -> Self {
        Self {
            name: image.to_owned(),
            image: image.to_owned(),
            command: None,
            variables: Vec::new(),
            processes: Vec::new(),
            mounts: Vec::new(),
            working_dir: None,
            privileged: false,
            no_new_privileges: false,
            run_as_user: None,
            run_as_group: None,
            add: Vec::new(),
            drop: Vec::new(),
            seccomp_profile_sha256: String::new(),
            stdio: true,
            signals: None,
        }
    }

    /// Reads `name` and `properties` of a container. `volume` says what type of volume a mount is of; `wildcards`
    /// whether a variable without a value may have any.
    pub(super) fn read(
        container: &Node<'_>,
        volume: impl Fn(&Node<'_>) -> Result<String, CceError>,
        wildcards: bool,
    ) -> Result<Self, CceError> {
        let properties = container.needed("properties", "an object")?;
        let image = properties.needed("image", "a text")?.text()?;
        let name = container.member_text("name")?.unwrap_or_else(|| image.clone());
        let mut spec = Self { name, ..Self::of_image(&image) };
        spec.command = Some(properties.member_texts("command")?).filter(|words| !words.is_empty());
        spec.working_dir = properties.member_text("workingDir")?;
        spec.stdio = properties.member_bool("allowStdioAccess")?.unwrap_or(true);
        for variable in properties.list("environmentVariables")? {
            spec.variables.push(Variable::read(&variable, &spec.name, wildcards)?);
        }
        spec.read_processes(&properties)?;
        for mount in properties.list("volumeMounts")? {
            let destination = mount.needed("mountPath", "a text")?.text()?;
            let read_only = mount.member_bool("readOnly")?.unwrap_or(false);
            let kind = volume(&mount)?;
            let found = volume_mount(&kind, &destination, read_only);
            spec.mounts.push(found.ok_or(CceError::Volume { place: mount.place.clone(), name: kind })?);
        }
        if let Some(context) = properties.member("securityContext")? {
            spec.read_security(&context)?;
        }
        Ok(spec)
    }

    fn read_processes(&mut self, properties: &Node<'_>) -> Result<(), CceError> {
        let mut found = Vec::new();
        for probe in ["livenessProbe", "readinessProbe"] {
            let exec = properties.member(probe)?.map(|probe| probe.member("exec")).transpose()?.flatten();
            if let Some(exec) = exec {
                let command = exec.needed("command", "a list of texts")?.texts()?;
                found.push(ExecProcess { command, signals: Vec::new() });
            }
        }
        for process in properties.list("execProcesses")? {
            let command = process.needed("command", "a list of texts")?.texts()?;
            let signals = process.list("signals")?.iter().map(signal).collect::<Result<_, _>>()?;
            found.push(ExecProcess { command, signals });
        }
        for process in found {
            if !self.processes.contains(&process) {
                self.processes.push(process);
            }
        }
        Ok(())
    }

    fn read_security(&mut self, context: &Node<'_>) -> Result<(), CceError> {
        self.privileged = context.member_bool("privileged")?.unwrap_or(false);
        self.no_new_privileges = context.member_bool("allowPrivilegeEscalation")? == Some(false);
        self.run_as_user = context.member_number("runAsUser")?;
        self.run_as_group = context.member_number("runAsGroup")?;
        if let Some(capabilities) = context.member("capabilities")? {
            self.add = capabilities.member_texts("add")?;
            self.drop = capabilities.member_texts("drop")?;
        }
        if let Some(profile) = context.member_text("seccompProfile")? {
            self.seccomp_profile_sha256 = seccomp::digest(&profile, &format!("{}.seccompProfile", context.place))?;
        }
        Ok(())
    }
}

impl Variable {
    fn read(node: &Node<'_>, container: &str, wildcards: bool) -> Result<Self, CceError> {
        let name = node.needed("name", "a text")?.text()?;
        let wildcard = |secret| match wildcards {
            true => Ok(Self { name: name.clone(), value: ".*".to_owned(), strategy: Strategy::Re2, secret }),
            false => Err(CceError::Wildcard { container: container.to_owned(), variable: name.clone() }),
        };
        if node.member("secureValueReference")?.is_some() {
            return wildcard(true);
        }
        for (member, secret) in [("value", false), ("secureValue", true)] {
            let value = match node.member(member) {
                Err(CceError::NoValue { .. }) => return wildcard(secret),
                other => other?,
            };
            let Some(value) = value else { continue };
            let value = value.text()?;
            let regex = node.member_bool("regex")?.unwrap_or(false)
                || node.member_text("strategy")?.is_some_and(|strategy| strategy == "re2");
            let (value, strategy) = match regex {
                true if !Pattern::is_valid(&value) => return Err(node.wrong("a regular expression")),
                true => (value, Strategy::Re2),
                false if value == THIM_MARK => (".+".to_owned(), Strategy::Re2),
                false => (value, Strategy::String),
            };
            return Ok(Self { name, value, strategy, secret });
        }
        Err(CceError::Field { place: format!("{}.value", node.place), wanted: "a text: it is missing".to_owned() })
    }
}

fn signal(node: &Node<'_>) -> Result<i64, CceError> {
    match &node.value {
        Value::Number(number) => number.as_i64().ok_or_else(|| node.wrong("a signal's number")),
        _ => Err(node.wrong("a signal's number")),
    }
}
