//! Explains a refusal that reached a person: `policyDecision< BASE64 >policyDecision` inside an error of Azure.

use super::diff::name_of;
use super::enforce::{Enforcer, FieldDifference, Platform};
use super::error::{CceError, bounded};
use super::rego::Document;
use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Value, json};

/// A refusal of the guest.
#[derive(Debug, Clone, PartialEq)]
pub struct Denial {
    /// The request that was refused, as far as its input tells.
    pub rule: &'static str,
    /// The guest's reasons.
    pub errors: Vec<String>,
    /// What was asked for; absent where the guest cut it off.
    pub input: Option<Value>,
    /// What the guest cut off to keep the message short.
    pub truncated: Vec<String>,
    /// An error inside the policy, which is none of a rule.
    pub policy_error: Option<String>,
}

/// What one reason means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// The guest's words.
    pub error: String,
    /// What they mean.
    pub means: &'static str,
    /// What to do.
    pub fix: &'static str,
}

/// The container of a policy that a request comes nearest to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nearest {
    /// Its name.
    pub container: String,
    /// What differs; empty where the request's own members all match (then the layers, or an earlier call, differ).
    pub differences: Vec<FieldDifference>,
}

impl Denial {
    /// Finds the decision in an error message, or takes its base64 or its JSON alone.
    pub fn parse(text: &str) -> Result<Self, CceError> {
        bounded("the error message", text.len())?;
        let trouble = |why: &str| CceError::Decision { why: why.to_owned() };
        let plain =
            text.replace("\\u003c", "<").replace("\\u003e", ">").replace("\\u003C", "<").replace("\\u003E", ">");
        let marked = plain.split_once("policyDecision<").map(|(_, rest)| rest.split_once(">policyDecision"));
        let encoded = match marked {
            Some(Some((inside, _))) => inside,
            Some(None) => {
                return Err(trouble("it begins with `policyDecision<` and has no end: the message was cut off"));
            }
            None => &plain,
        };
        let bytes = match encoded.trim_start().starts_with('{') {
            true => encoded.as_bytes().to_vec(),
            false => {
                let letters: String = encoded.split_whitespace().collect();
                let decoded = BASE64.decode(letters);
                decoded
                    .map_err(|_| trouble("there is no `policyDecision<…>policyDecision` in it, and it is not base64"))?
            }
        };
        let decision: Value =
            serde_json::from_slice(&bytes).map_err(|_| trouble("what is behind base64 is not JSON"))?;
        if decision.get("decision").and_then(Value::as_str) != Some("deny") {
            return Err(trouble("the JSON in it has no `\"decision\":\"deny\"`"));
        }
        Ok(Self::read(&decision))
    }

    fn read(decision: &Value) -> Self {
        let texts = |value: Option<&Value>| -> Vec<String> {
            value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let reason = decision.get("reason");
        let mut errors = texts(reason.and_then(|reason| reason.get("errors")));
        errors.extend(reason.and_then(Value::as_str).map(str::to_owned));
        let input = decision.get("input").filter(|input| input.is_object()).cloned();
        Self {
            rule: rule_of(input.as_ref(), &errors),
            errors,
            input: input.map(expanded),
            truncated: texts(decision.get("truncated")),
            policy_error: decision.get("policyError").and_then(Value::as_str).map(str::to_owned),
        }
    }

    /// What each reason means; a reason that is not known is passed on as it is.
    pub fn advice(&self) -> Vec<Advice> {
        let advise = |error: &String| {
            let known = ADVICE.iter().find(|(start, ..)| error.starts_with(start));
            let (means, fix) = known.map_or(UNKNOWN, |(_, means, fix)| (*means, *fix));
            Advice { error: error.clone(), means, fix }
        };
        self.errors.iter().map(advise).collect()
    }

    /// The container of a policy that the request comes nearest to, and what differs. For requests about layers there
    /// is none: they name no container.
    pub fn nearest(&self, policy: &Document) -> Option<Nearest> {
        let input = self.input.as_ref().filter(|_| matches!(self.rule, "create_container" | "exec_in_container"))?;
        let guest = Enforcer::new(policy, Platform::azure());
        let mut all: Vec<Nearest> = Vec::new();
        for container in guest.candidates() {
            let differences = guest.differences(self.rule, container, input);
            all.push(Nearest { container: name_of(container), differences });
        }
        all.into_iter().min_by_key(|one| one.differences.len())
    }

    /// For a layer that was refused: its hash, and whether a container of the policy has it.
    pub fn layer(&self, policy: &Document) -> Option<(String, Vec<String>)> {
        let hash = self.input.as_ref()?.get("deviceHash")?.as_str()?;
        let holds = |container: &&Value| {
            let layers = container.get("layers").and_then(Value::as_array);
            layers.is_some_and(|layers| layers.iter().any(|layer| layer.as_str() == Some(hash)))
        };
        Some((hash.to_owned(), policy.containers().filter(holds).map(name_of).collect()))
    }
}

/// Which call it was, by the members that only its input has. The guest does not always say.
fn rule_of(input: Option<&Value>, errors: &[String]) -> &'static str {
    let has = |member: &str| input.is_some_and(|input| input.get(member).is_some());
    let named = input.and_then(|input| input.get("rule")).and_then(Value::as_str);
    let said = |words: &str| errors.iter().any(|error| error.starts_with(words));
    match named {
        Some(named) if CALLS.contains(&named) => CALLS.iter().copied().find(|call| *call == named).unwrap_or("unknown"),
        _ if has("deviceHash") || said("deviceHash not found") => "mount_device",
        _ if has("ensureFilesystem") => "rw_mount_device",
        _ if has("layerPaths") || said("no matching containers for overlay") => "mount_overlay",
        _ if has("mounts") && has("argList") || said("invalid mount list") => "create_container",
        _ if has("isInitProcess") => "signal_container_process",
        _ if has("argList") && has("containerID") => "exec_in_container",
        _ if has("argList") => "exec_external",
        _ if has("issuer") => "load_fragment",
        _ if has("unmountTarget") => "unmount",
        _ => "unknown",
    }
}

/// The guest shortens the two usual sets of capabilities.
fn expanded(mut input: Value) -> Value {
    let usual = match input.get("capabilities").and_then(Value::as_str) {
        Some("[privileged]") => true,
        Some("[unprivileged]") => false,
        _ => return input,
    };
    let platform = Platform::azure();
    let sets = platform.capabilities(usual);
    if let Some(members) = input.as_object_mut() {
        let inheritable = if usual { json!(sets) } else { json!([]) };
        let value = json!({ "bounding": sets, "effective": sets, "permitted": sets, "inheritable": inheritable, "ambient": [] });
        members.insert("capabilities".to_owned(), value);
    }
    input
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const CALLS: [&str; 12] = [
    "mount_device",
    "rw_mount_device",
    "unmount_device",
    "mount_overlay",
    "unmount_overlay",
    "create_container",
    "exec_in_container",
    "exec_external",
    "shutdown_container",
    "signal_container_process",
    "load_fragment",
    "scratch_mount",
];

const UNKNOWN: (&str, &str) =
    ("a reason that this version does not know", "search for the text in hcsshim's pkg/securitypolicy");

/// How a reason begins, what it means, what to do.
const ADVICE: &[(&str, &str, &str)] = &[
    (
        "deviceHash not found",
        "a layer of the image that was pulled is in no container of the policy",
        "pin the image by digest and make the policy from that very image; where the digest is right, a layer has folders without entries (`confide aci policy` reports them)",
    ),
    (
        "no matching containers for overlay",
        "the layers are known, but not together in this order as one container's",
        "make the policy again from the image that is deployed",
    ),
    (
        "invalid command",
        "the command line is not exactly the one of the policy",
        "set `command` in the template to what shall run, and make the policy again; `\"command\":null` can never start",
    ),
    (
        "invalid env list",
        "a variable has no rule, or another value, and dropping is off or no container allows the combination",
        "add the variable to the template, or allow dropping; for ACI's own variables: --identity-endpoints",
    ),
    (
        "missing required environment variable",
        "a variable that the policy requires is not set",
        "set it in the template, or make its rule optional",
    ),
    (
        "invalid working directory",
        "the working folder is not the policy's",
        "make the policy again from the image that is deployed",
    ),
    (
        "invalid mount list",
        "the named paths are mounted, and no rule of the policy allows that mount",
        "declare the volume in the template and make the policy again; compare readOnly",
    ),
    (
        "privileged escalation not allowed",
        "a privileged container was asked for, and the policy has none",
        "set securityContext.privileged in the template before the policy is made",
    ),
    (
        "invalid noNewPrivileges",
        "the policy wants privileges never to grow (for a process in a running container, the guest always says this beside the true reason)",
        "set allowPrivilegeEscalation in the template as it is deployed",
    ),
    (
        "invalid user",
        "user, groups or umask are not the policy's (for a process in a running container, the guest always says this beside the true reason)",
        "compare runAsUser, runAsGroup and the image's User with the policy",
    ),
    (
        "capabilities don't match",
        "a capability that the policy has was not asked for, or one was asked for that it has not while dropping is off",
        "compare securityContext.capabilities with the policy",
    ),
    ("invalid seccomp", "the seccomp profile has another digest", "use the profile that the policy was made from"),
    ("devices not supported", "device nodes are never allowed", "use securityContext.privileged for a device"),
    (
        "container already started",
        "a container with this id was started before",
        "nothing in the policy: the host repeated a request",
    ),
    ("container not started", "the container was never allowed to start", "look for the refusal before this one"),
    (
        "target isn't allowed to receive the signal",
        "the signal is not in the policy's list",
        "nothing for SIGTERM and SIGKILL; else give the image a STOPSIGNAL",
    ),
    (
        "unencrypted scratch not allowed",
        "the host offered an unencrypted disk for temporary files",
        "nothing in the policy: it must be refused",
    ),
    (
        "framework_version is ahead",
        "the policy is for a newer guest than the one that Azure runs",
        "make the policy for an older framework",
    ),
    ("framework_version is missing", "the policy does not say which framework it is for", "make the policy again"),
    (
        "containers only distinguishable by allow_stdio_access",
        "two containers are the same but for access to output",
        "give both the same access, or another command",
    ),
    (
        "containers only distinguishable by capabilties",
        "two containers are the same but for capabilities",
        "give both the same capabilities, or another command",
    ),
    ("invalid fragment issuer", "a fragment of an unknown signer was offered", "add its issuer with --fragments-json"),
    (
        "invalid fragment feed",
        "a fragment of this signer from another feed was offered",
        "add its feed with --fragments-json",
    ),
    (
        "fragment svn is below the specified minimum",
        "the fragment is older than the policy wants",
        "lower --infrastructure-svn only if the older fragment is fit for you",
    ),
    (
        "mountpoint invalid",
        "a device was mounted at another path than the guest's own",
        "nothing in the policy: it must be refused",
    ),
    (
        "device already mounted at path",
        "something is mounted there already",
        "nothing in the policy: the host repeated a request",
    ),
    (
        "overlay has already been mounted",
        "the container's file system exists already",
        "nothing in the policy: the host repeated a request",
    ),
    ("no device at path to unmount", "nothing is mounted there", "nothing in the policy"),
    ("no overlay at path to unmount", "nothing is mounted there", "nothing in the policy"),
];
