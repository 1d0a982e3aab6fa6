//! Finds the one image that is meant.

use super::ArchiveError;
use super::documents::{Descriptor, DockerImage, ImageDocument, Index, Manifest, Platform, docker_images, sha256};
use super::files::Files;
use super::require;
use super::store::Store;
use super::unpack::Encoding;
use aws_lc_rs::digest;
use claims::Digest256;
use std::path::Path;

/// Indexes within indexes.
const MAX_DEPTH: u32 = 4;

/// The image that is meant, and where its layers are.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) id: Digest256,
    pub(super) names: Vec<String>,
    pub(super) document: ImageDocument,
    pub(super) blobs: Vec<Blob>,
}

/// A layer as the archive keeps it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Blob {
    pub(super) name: String,
    pub(super) digest: Option<Digest256>,
    pub(super) size: Option<u64>,
    media_type: Option<String>,
}

impl Blob {
    /// Whether the layer's bytes are what its media type says.
    pub(super) fn allows(&self, what: &str, found: Encoding) -> Result<(), ArchiveError> {
        let Some(media_type) = &self.media_type else { return Ok(()) };
        if media_type.contains("encrypted") {
            return Err(ArchiveError::Encrypted { what: what.to_owned() });
        }
        let known = [
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.layer.nondistributable.v1.tar",
            "application/vnd.docker.image.rootfs.diff.tar",
            "application/vnd.docker.image.rootfs.foreign.diff.tar",
        ];
        let said = known.iter().find_map(|base| match media_type.strip_prefix(base)? {
            "" => Some(Encoding::Plain),
            "+gzip" | ".gzip" => Some(Encoding::Gzip),
            "+zstd" | ".zstd" => Some(Encoding::Zstd),
            _ => None,
        });
        match said {
            Some(said) if said == found => Ok(()),
            Some(_) => Err(ArchiveError::Confusion {
                what: what.to_owned(),
                found: found.name(),
                media_type: media_type.clone(),
            }),
            None => Err(ArchiveError::MediaType { what: what.to_owned(), media_type: media_type.clone() }),
        }
    }
}

pub(super) fn choose(
    path: &Path,
    store: &mut Store,
    files: &mut Files,
    reference: Option<&str>,
) -> Result<Chosen, ArchiveError> {
    let images = match store.document("manifest.json", files)? {
        Some(bytes) => Some(docker_images(&bytes)?),
        None => None,
    };
    if let Some(bytes) = store.document("index.json", files)? {
        let index = Index::parse(&bytes, "index.json", None)?;
        let mut found = Found::default();
        gather(&index, &[], 0, store, files, &mut found)?;
        let candidate = found.one(reference)?;
        let chosen = from_manifest(candidate, store, files)?;
        agree(&chosen, images.as_deref().unwrap_or_default())?;
        return Ok(chosen);
    }
    let images = images.ok_or_else(|| ArchiveError::NotAnArchive {
        path: path.to_owned(),
        why: "it has no manifest.json and no index.json",
    })?;
    from_docker(&images, reference, store, files)
}

/// An image manifest that an index names.
#[derive(Debug, Clone)]
struct Candidate {
    manifest: Descriptor,
    names: Vec<String>,
}

#[derive(Debug, Default)]
struct Found {
    candidates: Vec<Candidate>,
    other_platforms: Vec<String>,
    names: Vec<String>,
}

impl Found {
    fn add(&mut self, manifest: &Descriptor, names: Vec<String>) {
        match self.candidates.iter_mut().find(|known| known.manifest.digest == manifest.digest) {
            Some(known) => known.names.extend(names),
            None => self.candidates.push(Candidate { manifest: manifest.clone(), names }),
        }
    }

    fn one(mut self, reference: Option<&str>) -> Result<Candidate, ArchiveError> {
        for candidate in &mut self.candidates {
            candidate.names.sort();
            candidate.names.dedup();
        }
        if let Some(wanted) = reference {
            let matches = |candidate: &Candidate| {
                candidate.manifest.digest == wanted || candidate.names.iter().any(|name| same_name(name, wanted))
            };
            let empty = self.other_platforms.is_empty() && self.candidates.is_empty();
            if !empty && !self.candidates.iter().any(matches) {
                let mut names = self.names;
                names.sort();
                names.dedup();
                return Err(ArchiveError::NoSuchImage { wanted: wanted.to_owned(), names });
            }
            self.candidates.retain(matches);
        }
        match <[Candidate; 1]>::try_from(self.candidates) {
            Ok([one]) => Ok(one),
            Err(none) if none.is_empty() => {
                self.other_platforms.sort();
                self.other_platforms.dedup();
                if self.other_platforms.is_empty() {
                    self.other_platforms.push("no platform".to_owned());
                }
                Err(ArchiveError::Platform { platforms: self.other_platforms })
            }
            Err(several) => Err(ArchiveError::Ambiguous { names: several.iter().map(shown).collect() }),
        }
    }
}

fn shown(candidate: &Candidate) -> String {
    candidate.names.first().unwrap_or(&candidate.manifest.digest).clone()
}

/// Flattens an index into the manifests for linux/amd64 or for no stated platform.
fn gather(
    index: &Index,
    inherited: &[String],
    depth: u32,
    store: &mut Store,
    files: &mut Files,
    found: &mut Found,
) -> Result<(), ArchiveError> {
    if depth >= MAX_DEPTH {
        return Err(ArchiveError::Depth { limit: MAX_DEPTH });
    }
    for descriptor in &index.manifests {
        if descriptor.annotation("vnd.docker.reference.type").is_some() {
            continue;
        }
        let mut names = inherited.to_vec();
        for annotation in ["io.containerd.image.name", "org.opencontainers.image.ref.name"] {
            names.extend(descriptor.annotation(annotation).map(str::to_owned));
        }
        found.names.extend(names.iter().cloned());
        if let Some(Platform { os, architecture }) = &descriptor.platform
            && (os.as_str(), architecture.as_str()) != ("linux", "amd64")
        {
            found.other_platforms.push(format!("{os}/{architecture}"));
            continue;
        }
        match descriptor.media_type.as_str() {
            "application/vnd.oci.image.index.v1+json" | "application/vnd.docker.distribution.manifest.list.v2+json" => {
                let (bytes, name) = blob_document(descriptor, "the index", store, files)?;
                let inner = Index::parse(&bytes, &name, Some(&descriptor.media_type))?;
                gather(&inner, &names, depth.saturating_add(1), store, files, found)?;
            }
            "application/vnd.oci.image.manifest.v1+json" | "application/vnd.docker.distribution.manifest.v2+json" => {
                found.add(descriptor, names);
            }
            other => {
                return Err(ArchiveError::MediaType {
                    what: format!("manifest {}", descriptor.digest),
                    media_type: other.to_owned(),
                });
            }
        }
    }
    Ok(())
}

fn from_manifest(candidate: Candidate, store: &mut Store, files: &mut Files) -> Result<Chosen, ArchiveError> {
    let (bytes, name) = blob_document(&candidate.manifest, "the image's manifest", store, files)?;
    let manifest = Manifest::parse(&bytes, &name, Some(&candidate.manifest.media_type))?;
    let (bytes, name) = blob_document(&manifest.config, "the image's configuration", store, files)?;
    let document = ImageDocument::parse(&bytes, &name)?;
    let blobs = manifest.layers.iter().map(|layer| {
        let digest = layer.sha256()?;
        Ok(Blob {
            name: blob_name(digest),
            digest: Some(digest),
            size: Some(layer.size),
            media_type: Some(layer.media_type.clone()),
        })
    });
    let blobs = blobs.collect::<Result<Vec<_>, _>>()?;
    finish(manifest.config.sha256()?, candidate.names, document, blobs)
}

fn from_docker(
    images: &[DockerImage],
    reference: Option<&str>,
    store: &mut Store,
    files: &mut Files,
) -> Result<Chosen, ArchiveError> {
    let tags = |image: &DockerImage| image.repo_tags.clone().unwrap_or_default();
    let shown = |image: &DockerImage| tags(image).first().unwrap_or(&image.config).clone();
    let matches = |image: &&DockerImage| {
        reference.is_none_or(|wanted| {
            let digest = wanted.strip_prefix("sha256:").unwrap_or(wanted);
            config_digest(&image.config).is_some_and(|config| config.to_string() == digest)
                || tags(image).iter().any(|tag| same_name(tag, wanted))
        })
    };
    let chosen: Vec<&DockerImage> = images.iter().filter(matches).collect();
    let image = match chosen.as_slice() {
        [image] => *image,
        [] => {
            let wanted = reference.unwrap_or("of any name").to_owned();
            return Err(ArchiveError::NoSuchImage { wanted, names: images.iter().map(shown).collect() });
        }
        several => return Err(ArchiveError::Ambiguous { names: several.iter().map(|image| shown(image)).collect() }),
    };
    let missing = || ArchiveError::Missing { what: "the image's configuration".to_owned(), name: image.config.clone() };
    let bytes = store.document(&image.config, files)?.ok_or_else(missing)?;
    let id = sha256_of(&bytes);
    if let Some(wanted) = config_digest(&image.config) {
        require("the image's configuration", id, wanted)?;
    }
    let document = ImageDocument::parse(&bytes, &image.config)?;
    let blobs = image.layers.iter().map(|name| Blob {
        name: name.clone(),
        digest: name.strip_prefix("blobs/sha256/").and_then(|hex| hex.parse().ok()),
        size: None,
        media_type: None,
    });
    finish(id, tags(image), document, blobs.collect())
}

fn finish(
    id: Digest256,
    names: Vec<String>,
    document: ImageDocument,
    blobs: Vec<Blob>,
) -> Result<Chosen, ArchiveError> {
    if (document.os.as_str(), document.architecture.as_str()) != ("linux", "amd64") {
        let platforms = vec![format!("{}/{}", document.os, document.architecture)];
        return Err(ArchiveError::Platform { platforms });
    }
    if document.layers.len() != blobs.len() {
        return Err(ArchiveError::Contradiction {
            what: "the image's manifest".to_owned(),
            why: "it lists another number of layers than the image's configuration",
        });
    }
    Ok(Chosen { id, names, document, blobs })
}

/// `manifest.json` and `index.json` must not give the same image different layers.
fn agree(chosen: &Chosen, images: &[DockerImage]) -> Result<(), ArchiveError> {
    let config = blob_name(chosen.id);
    let names: Vec<&str> = chosen.blobs.iter().map(|blob| blob.name.as_str()).collect();
    match images.iter().find(|image| image.config == config) {
        Some(image) if image.layers != names => Err(ArchiveError::Contradiction {
            what: "manifest.json".to_owned(),
            why: "it lists other layers for the image than index.json",
        }),
        _ => Ok(()),
    }
}

fn blob_document(
    descriptor: &Descriptor,
    what: &str,
    store: &mut Store,
    files: &mut Files,
) -> Result<(Vec<u8>, String), ArchiveError> {
    let wanted = descriptor.sha256()?;
    let name = blob_name(wanted);
    let bytes = store.document(&name, files)?;
    let bytes = bytes.ok_or_else(|| ArchiveError::Missing { what: what.to_owned(), name: name.clone() })?;
    let got = bytes.len() as u64;
    if got != descriptor.size {
        return Err(ArchiveError::Length { what: what.to_owned(), got, wanted: descriptor.size });
    }
    require(what, sha256_of(&bytes), wanted)?;
    Ok((bytes, name))
}

fn blob_name(digest: Digest256) -> String {
    format!("blobs/sha256/{digest}")
}

/// The digest that a configuration's file name states.
fn config_digest(name: &str) -> Option<Digest256> {
    let name = name.strip_prefix("blobs/sha256/").unwrap_or(name.strip_suffix(".json").unwrap_or(name));
    sha256(&format!("sha256:{name}")).ok()
}

fn sha256_of(bytes: &[u8]) -> Digest256 {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    Digest256(out)
}

/// Whether two image names mean one image: `hello`, `hello:latest` and `docker.io/library/hello:latest` do. A bare
/// tag, as OCI layouts name images, matches itself only.
fn same_name(name: &str, wanted: &str) -> bool {
    name == wanted || full_name(name) == full_name(wanted)
}

fn full_name(name: &str) -> String {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    let name = name.strip_prefix("library/").unwrap_or(name);
    let tagged = name.rsplit('/').next().is_some_and(|last| last.contains(':'));
    if tagged { name.to_owned() } else { format!("{name}:latest") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_image() {
        assert!(same_name("docker.io/library/hello:latest", "hello"));
        assert!(same_name("host:5000/a", "host:5000/a:latest"));
        assert!(same_name("1", "1"));
        assert!(!same_name("hello:1", "hello"));
        assert!(!same_name("evil/hello:latest", "hello"));
    }
}
