//! Local storage of a Trustee, as files: the layouts of several years.
//!
//! | since 0.19 | before |
//! |---|---|
//! | `repository/REPO\x2FTYPE\x2FTAG` | `repository/REPO/TYPE/TAG` |
//! | `kbs/resource-policy.rego` | `kbs/policy.rego`, `opa/policy.rego` |
//! | `attestation_service_policy/NAME.rego` | `…/opa/NAME.rego` |
//! | `reference_value/NAME` | `reference_values.json` |
//!
//! With LocalJson each of the folders of the left column is one file, `{KEY: BASE64URL}`.
//!
//! *Takes* a folder. *Guarantees* that every file below it is either read or named as skipped, with the reason; links are
//! not followed. *Does not check* whether anything may be stored.

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use claims::Secret;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// Most files, deepest folder, largest file.
const MAX_FILES: usize = 20_000;
const MAX_DEPTH: usize = 12;
const MAX_FILE: u64 = 2 << 20;
/// Namespaces of the storage.
const SECRETS: &str = "repository";
const KBS: &str = "kbs";
const POLICIES: &str = "attestation_service_policy";
const VALUES: &str = "reference_value";
const OLD_VALUES: &str = "reference_values.json";
const SESSIONS: &str = "kbs_protocol_session";

/// What a folder holds.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) secrets: Vec<FoundSecret>,
    pub(super) policies: Vec<FoundPolicy>,
    pub(super) values: Vec<FoundValue>,
    pub(super) skipped: Vec<Skipped>,
}

#[derive(Debug)]
pub(super) struct FoundSecret {
    pub(super) place: String,
    pub(super) path: String,
    pub(super) value: Secret<Vec<u8>>,
}

#[derive(Debug)]
pub(super) struct FoundPolicy {
    pub(super) place: String,
    /// None is the release policy.
    pub(super) appraisal: Option<String>,
    pub(super) text: String,
}

#[derive(Debug)]
pub(super) struct FoundValue {
    pub(super) place: String,
    pub(super) name: String,
    pub(super) value: Value,
    /// RFC 3339.
    pub(super) expiration: Option<String>,
}

#[derive(Debug)]
pub(super) struct Skipped {
    pub(super) place: String,
    pub(super) why: String,
}

/// Reads a folder; fails where it cannot be read at all.
pub(super) fn read(folder: &Path) -> Result<Found, std::io::Error> {
    let mut found = Found::default();
    let (mut waiting, mut files) = (vec![(PathBuf::new(), 0)], Vec::new());
    while let Some((place, depth)) = waiting.pop() {
        let entries = std::fs::read_dir(folder.join(&place))?;
        for entry in entries {
            let entry = entry?;
            let (place, kind) = (place.join(entry.file_name()), entry.file_type()?);
            if kind.is_dir() && depth < MAX_DEPTH {
                waiting.push((place, depth + 1));
            } else if kind.is_file() && files.len() < MAX_FILES {
                files.push(place);
            } else {
                found.skip(&place, "neither a file nor a folder, too deep, or one too many");
            }
        }
    }
    files.sort();
    for place in files {
        found.file(folder, &place);
    }
    Ok(found)
}

impl Found {
    fn skip(&mut self, place: &Path, why: impl Into<String>) {
        self.skipped.push(Skipped { place: place.display().to_string(), why: why.into() });
    }

    fn file(&mut self, folder: &Path, place: &Path) {
        let parts: Vec<String> = place.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let Some((last, folders)) = parts.split_last() else { return };
        if folders.iter().chain([last]).any(|part| part == SESSIONS) {
            return self.skip(place, "sessions end; guests attest again");
        }
        let size = std::fs::metadata(folder.join(place)).map(|facts| facts.len());
        if size.is_ok_and(|size| size > MAX_FILE) {
            return self.skip(place, "it has more than 2097152 bytes");
        }
        let bytes = match std::fs::read(folder.join(place)) {
            Ok(bytes) => bytes,
            Err(error) => return self.skip(place, format!("it cannot be read: {error}")),
        };
        if let Some(root) = folders.iter().position(|part| part == SECRETS) {
            let path = parts.get(root + 1..).unwrap_or_default().join("/").replace("\\x2F", "/");
            return self.secret(place, path, bytes);
        }
        let parent = folders.last().map(String::as_str).unwrap_or_default();
        match (parent, last.as_str()) {
            (_, SECRETS | KBS | POLICIES | VALUES) => self.one_file(place, last, &bytes),
            (_, OLD_VALUES) => self.old_values(place, &bytes),
            (VALUES, name) => self.value(place, &name.replace("\\x2F", "/"), &bytes),
            (KBS | "opa" | POLICIES, name) if name.ends_with(".rego") => self.policy(place, parent, name, bytes),
            (POLICIES, name) => self.policy(place, parent, name, bytes),
            _ => self.skip(place, "not a part of the storage that is read"),
        }
    }

    /// A namespace in one file.
    fn one_file(&mut self, place: &Path, namespace: &str, bytes: &[u8]) {
        let Ok(Value::Object(items)) = serde_json::from_slice(bytes) else {
            return self.skip(place, "it is no JSON object of keys and values");
        };
        for (key, value) in items {
            let place = place.join(key.replace('/', "\\x2F"));
            let decoded =
                value.as_str().and_then(|text| URL_SAFE.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text)).ok());
            match (decoded, namespace) {
                (None, _) => self.skip(&place, "its value is not base64url"),
                (Some(bytes), SECRETS) => self.secret(&place, key, bytes),
                (Some(bytes), VALUES) => self.value(&place, &key, &bytes),
                (Some(bytes), namespace) => self.policy(&place, namespace, &key, bytes),
            }
        }
    }

    fn secret(&mut self, place: &Path, path: String, value: Vec<u8>) {
        let place = place.display().to_string();
        self.secrets.push(FoundSecret { place, path, value: Secret::new(value) });
    }

    fn policy(&mut self, place: &Path, namespace: &str, name: &str, bytes: Vec<u8>) {
        let Ok(text) = String::from_utf8(bytes) else { return self.skip(place, "it is not text") };
        let stem = name.strip_suffix(".rego").unwrap_or(name);
        let appraisal = match (namespace, stem) {
            (KBS, "resource-policy" | "policy") | ("opa", "resource-policy" | "policy") => None,
            (KBS, _) => {
                return self.skip(place, "a policy of another name than resource-policy is not asked for resources");
            }
            // Older servers asked `default` for every class that there was: the CPU.
            (_, "default") => Some("default_cpu".to_owned()),
            (_, stem) => Some(stem.to_owned()),
        };
        self.policies.push(FoundPolicy { place: place.display().to_string(), appraisal, text });
    }

    fn value(&mut self, place: &Path, key: &str, bytes: &[u8]) {
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(record)) => self.record(place, Some(key), &record),
            _ => self.skip(place, "it is no JSON object"),
        }
    }

    /// Every record in one file, as a list or by name.
    fn old_values(&mut self, place: &Path, bytes: &[u8]) {
        match serde_json::from_slice(bytes) {
            Ok(Value::Array(records)) => {
                for record in records {
                    match record.as_object() {
                        Some(record) => self.record(place, None, record),
                        None => self.skip(place, "a record in it is no JSON object"),
                    }
                }
            }
            Ok(Value::Object(records)) => {
                for (name, record) in records {
                    match record.as_object() {
                        Some(record) => self.record(place, Some(&name), record),
                        None => self.skip(place, "a record in it is no JSON object"),
                    }
                }
            }
            _ => self.skip(place, "it is no JSON"),
        }
    }

    /// `{name, expiration, value}`, or `{name, expired, hash-value: [{alg, value}]}` of before.
    fn record(&mut self, place: &Path, key: Option<&str>, record: &Map<String, Value>) {
        let text = |name: &str| record.get(name).and_then(Value::as_str);
        let Some(name) = text("name").or(key) else { return self.skip(place, "a record in it has no name") };
        let value = match (record.get("value"), record.get("hash-value").and_then(Value::as_array)) {
            (Some(value), _) => value.clone(),
            (None, Some(hashes)) => hashes.iter().filter_map(|hash| hash.get("value").cloned()).collect(),
            (None, None) => return self.skip(place, format!("`{name}` has no value")),
        };
        let expiration = text("expiration").or(text("expired")).map(str::to_owned);
        let (place, name) = (place.display().to_string(), name.to_owned());
        self.values.push(FoundValue { place, name, value, expiration });
    }
}
