//! The JSON documents of an archive, each read strictly once and bounded in size.

use super::ArchiveError;
use claims::Digest256;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Longest JSON document in an archive.
pub(super) const DOCUMENT_LIMIT: u64 = 8 << 20;
/// Most layers of one image (engines allow 127).
const MAX_LAYERS: usize = 1024;
/// Most images and platforms in one index.
const MAX_MANIFESTS: usize = 1024;

/// What an image says about how it is started.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageConfig {
    /// Start of the command line.
    pub entrypoint: Vec<String>,
    /// Rest of the command line, which a workload file may replace.
    pub command: Vec<String>,
    /// `NAME=value`.
    pub environment: Vec<String>,
    /// Working folder; empty is `/`.
    pub folder: String,
    /// `user`, `uid`, `user:group` and so on; empty is root.
    pub user: String,
    /// `SIGTERM`, `15`; empty is `SIGTERM`.
    pub stop_signal: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Ports, as `80/tcp`.
    pub ports: Vec<String>,
}

/// The image's own document: platform, layers, configuration.
#[derive(Debug)]
pub(super) struct ImageDocument {
    pub(super) os: String,
    pub(super) architecture: String,
    pub(super) layers: Vec<Digest256>,
    pub(super) config: ImageConfig,
}

/// What names a blob.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
    pub(super) platform: Option<Platform>,
    pub(super) annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub(super) struct Platform {
    pub(super) os: String,
    pub(super) architecture: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Index {
    media_type: Option<String>,
    pub(super) manifests: Vec<Descriptor>,
    layers: Option<IgnoredAny>,
    config: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    media_type: Option<String>,
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
    manifests: Option<IgnoredAny>,
}

/// One image of `manifest.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DockerImage {
    pub(super) config: String,
    pub(super) repo_tags: Option<Vec<String>>,
    pub(super) layers: Vec<String>,
}

impl Descriptor {
    /// The digest, which must be a SHA-256.
    pub(super) fn sha256(&self) -> Result<Digest256, ArchiveError> {
        sha256(&self.digest)
    }

    pub(super) fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(name).map(String::as_str)
    }
}

impl Index {
    pub(super) fn parse(bytes: &[u8], name: &str, media_type: Option<&str>) -> Result<Self, ArchiveError> {
        let index: Self = json(bytes, name)?;
        same_type(name, media_type, index.media_type.as_deref())?;
        // One document must not be both an index and a manifest (CVE-2021-41190).
        if index.layers.is_some() || index.config.is_some() {
            return Err(ArchiveError::Contradiction { what: name.to_owned(), why: "it is an index and a manifest" });
        }
        if index.manifests.len() > MAX_MANIFESTS {
            return Err(ArchiveError::TooMany { what: "manifests", limit: MAX_MANIFESTS });
        }
        Ok(index)
    }
}

impl Manifest {
    pub(super) fn parse(bytes: &[u8], name: &str, media_type: Option<&str>) -> Result<Self, ArchiveError> {
        let manifest: Self = json(bytes, name)?;
        same_type(name, media_type, manifest.media_type.as_deref())?;
        if manifest.manifests.is_some() {
            return Err(ArchiveError::Contradiction { what: name.to_owned(), why: "it is an index and a manifest" });
        }
        if manifest.layers.len() > MAX_LAYERS {
            return Err(ArchiveError::TooMany { what: "layers", limit: MAX_LAYERS });
        }
        Ok(manifest)
    }
}

/// Reads `manifest.json` as `docker save` writes it.
pub(super) fn docker_images(bytes: &[u8]) -> Result<Vec<DockerImage>, ArchiveError> {
    let images: Vec<DockerImage> = json(bytes, "manifest.json")?;
    if images.len() > MAX_MANIFESTS {
        return Err(ArchiveError::TooMany { what: "images", limit: MAX_MANIFESTS });
    }
    match images.iter().any(|image| image.layers.len() > MAX_LAYERS) {
        true => Err(ArchiveError::TooMany { what: "layers", limit: MAX_LAYERS }),
        false => Ok(images),
    }
}

impl ImageDocument {
    pub(super) fn parse(bytes: &[u8], name: &str) -> Result<Self, ArchiveError> {
        let wire: WireImage = json(bytes, name)?;
        if wire.rootfs.diff_ids.len() > MAX_LAYERS {
            return Err(ArchiveError::TooMany { what: "layers", limit: MAX_LAYERS });
        }
        let config = wire.config.unwrap_or_default();
        let config = ImageConfig {
            entrypoint: config.entrypoint.unwrap_or_default(),
            command: config.cmd.unwrap_or_default(),
            environment: config.env.unwrap_or_default(),
            folder: config.working_dir.unwrap_or_default(),
            user: config.user.unwrap_or_default(),
            stop_signal: config.stop_signal.unwrap_or_default(),
            labels: config.labels.unwrap_or_default(),
            ports: config.exposed_ports.unwrap_or_default().into_keys().collect(),
        };
        let mut texts = config.entrypoint.iter().chain(&config.command).chain(&config.environment).chain([
            &config.folder,
            &config.user,
            &config.stop_signal,
        ]);
        let nul = texts.any(|text| text.contains('\0'));
        drop(texts);
        if nul {
            return Err(ArchiveError::Contradiction { what: name.to_owned(), why: "a text in it holds a NUL" });
        }
        let layers = wire.rootfs.diff_ids.iter().map(|text| sha256(text)).collect::<Result<_, _>>()?;
        Ok(Self { os: wire.os, architecture: wire.architecture, layers, config })
    }
}

#[derive(Deserialize)]
struct WireImage {
    os: String,
    architecture: String,
    rootfs: WireRoot,
    config: Option<WireConfig>,
}

#[derive(Deserialize)]
struct WireRoot {
    #[serde(default)]
    diff_ids: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct WireConfig {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
    stop_signal: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    exposed_ports: Option<BTreeMap<String, IgnoredAny>>,
}

/// `sha256:` and 64 lower-case hex digits, nothing else.
pub(super) fn sha256(text: &str) -> Result<Digest256, ArchiveError> {
    let digest = text.strip_prefix("sha256:").and_then(|hex| hex.parse::<Digest256>().ok());
    let digest = digest.filter(|digest| text.ends_with(&digest.to_string()));
    digest.ok_or_else(|| ArchiveError::Algorithm { digest: text.chars().take(150).collect() })
}

fn json<T: DeserializeOwned>(bytes: &[u8], name: &str) -> Result<T, ArchiveError> {
    if bytes.len() as u64 > DOCUMENT_LIMIT {
        return Err(ArchiveError::DocumentSize { what: name.to_owned(), limit: DOCUMENT_LIMIT });
    }
    serde_json::from_slice(bytes).map_err(|source| ArchiveError::Document { what: name.to_owned(), source })
}

fn same_type(name: &str, wanted: Option<&str>, got: Option<&str>) -> Result<(), ArchiveError> {
    match (wanted, got) {
        (Some(wanted), Some(got)) if wanted != got => Err(ArchiveError::Contradiction {
            what: name.to_owned(),
            why: "its media type is not the one that its descriptor names",
        }),
        _ => Ok(()),
    }
}

/// Reads any of the documents; for fuzzing.
pub fn any_document(bytes: &[u8]) -> bool {
    docker_images(bytes).is_ok()
        || Index::parse(bytes, "index", None).is_ok()
        || Manifest::parse(bytes, "manifest", None).is_ok()
        || ImageDocument::parse(bytes, "config").is_ok()
}
