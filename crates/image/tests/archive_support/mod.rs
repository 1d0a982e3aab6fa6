//! Tar files and image archives, made in memory, right and wrong ones.
#![expect(dead_code, reason = "each test program uses another part")]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "part of tests only")]

use serde_json::{Value, json};
use std::path::PathBuf;

/// The shared vectors, where they are.
pub(crate) fn vectors() -> Option<PathBuf> {
    let path = std::env::var_os("CONFIDE_VECTORS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), PathBuf::from);
    if !path.is_dir() {
        println!("skipped: vectors are not here");
        return None;
    }
    Some(path)
}

/// A tar file, entry by entry; nothing is checked.
#[derive(Clone)]
pub(crate) struct Tar {
    entries: Vec<Vec<u8>>,
    end: bool,
}

impl Tar {
    pub(crate) fn new() -> Self {
        Self { entries: Vec::new(), end: true }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.entries.concat();
        if self.end {
            bytes.extend([0; 1024]);
        }
        bytes
    }

    pub(crate) fn file(self, path: &str, contents: &[u8]) -> Self {
        self.raw(b'0', path, contents)
    }

    pub(crate) fn folder(self, path: &str) -> Self {
        self.entry(b'5', path, "", 0o755, (0, 0), b"")
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(b'2', path, target, 0o777, (0, 0), b"")
    }

    pub(crate) fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(b'1', path, target, 0o644, (0, 0), b"")
    }

    pub(crate) fn device(self, path: &str, major: u32, minor: u32) -> Self {
        self.entry(b'3', path, "", 0o600, (major, minor), b"")
    }

    pub(crate) fn raw(self, kind: u8, path: &str, contents: &[u8]) -> Self {
        self.entry(kind, path, "", 0o644, (0, 0), contents)
    }

    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut body = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            body.extend(format!("{length} {key}=").into_bytes());
            body.extend(*value);
            body.push(b'\n');
        }
        self.raw(b'x', "pax", &body)
    }

    pub(crate) fn remove_last(mut self) -> Self {
        self.entries.pop();
        self
    }

    pub(crate) fn remove_end(mut self) -> Self {
        self.end = false;
        self
    }

    pub(crate) fn append(mut self, bytes: &[u8]) -> Self {
        self.entries.push(bytes.to_vec());
        self.end = true;
        self
    }

    fn entry(mut self, kind: u8, path: &str, link: &str, mode: u32, device: (u32, u32), contents: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        let block = header.as_mut_bytes();
        let put = |block: &mut [u8; 512], at: usize, room: usize, text: &[u8]| {
            let length = text.len().min(room);
            block[at..at + length].copy_from_slice(&text[..length]);
        };
        put(block, 0, 100, path.as_bytes());
        put(block, 157, 100, link.as_bytes());
        block[156] = kind;
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(contents.len() as u64);
        header.set_device_major(device.0).unwrap();
        header.set_device_minor(device.1).unwrap();
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend(contents);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        self.entries.push(bytes);
        self
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes))
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

/// How layers are stored in an OCI layout.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Stored {
    Plain,
    Gzip,
    Zstd,
}

/// An image's parts as named files, which a test may change before they become an archive.
#[derive(Clone)]
pub(crate) struct Parts(pub(crate) Vec<(String, Vec<u8>)>);

impl Parts {
    pub(crate) fn put(&mut self, name: &str, bytes: &[u8]) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, held)) => *held = bytes.to_vec(),
            None => self.0.push((name.to_owned(), bytes.to_vec())),
        }
    }

    pub(crate) fn blob(&mut self, bytes: &[u8]) -> String {
        let name = format!("blobs/sha256/{}", sha256(bytes));
        self.put(&name, bytes);
        name
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    pub(crate) fn tar(&self) -> Vec<u8> {
        self.0.iter().fold(Tar::new(), |tar, (name, bytes)| tar.file(name, bytes)).bytes()
    }

    pub(crate) fn write_folder(&self, folder: &std::path::Path) {
        for (name, bytes) in &self.0 {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
}

pub(crate) fn config(layers: &[Vec<u8>]) -> Value {
    let ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", sha256(layer))).collect();
    json!({
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ids},
        "config": {"Env": ["PATH=/bin"], "Entrypoint": ["/start"], "Cmd": null, "User": "1000:2000", "WorkingDir": "/w",
                   "StopSignal": "SIGINT", "Labels": {"a": "b"}, "ExposedPorts": {"80/tcp": {}}},
    })
}

/// What `docker save` wrote before version 25.
pub(crate) fn legacy(layers: &[Vec<u8>], config: &Value, tag: &str) -> Parts {
    let mut parts = Parts(Vec::new());
    let config = config.to_string().into_bytes();
    let config_name = format!("{}.json", sha256(&config));
    let mut names = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        names.push(format!("l{index}/layer.tar"));
        parts.put(&names[index], layer);
    }
    parts.put(&config_name, &config);
    parts.put(
        "manifest.json",
        json!([{"Config": config_name, "RepoTags": [tag], "Layers": names}]).to_string().as_bytes(),
    );
    parts
}

/// Adds an image to an OCI layout and gives its descriptor.
pub(crate) fn add_oci(parts: &mut Parts, layers: &[Vec<u8>], config: &Value, stored: Stored, tag: &str) -> Value {
    let descriptor = |media_type: &str, bytes: &[u8]| json!({"mediaType": media_type, "digest": format!("sha256:{}", sha256(bytes)), "size": bytes.len()});
    let config = config.to_string().into_bytes();
    parts.blob(&config);
    let mut blobs = Vec::new();
    for layer in layers {
        let (suffix, bytes) = match stored {
            Stored::Plain => ("", layer.clone()),
            Stored::Gzip => ("+gzip", gzip(layer)),
            Stored::Zstd => ("+zstd", zstd(layer)),
        };
        parts.blob(&bytes);
        blobs.push(descriptor(&format!("application/vnd.oci.image.layer.v1.tar{suffix}"), &bytes));
    }
    let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config), "layers": blobs});
    let manifest = manifest.to_string().into_bytes();
    parts.blob(&manifest);
    let mut found = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    found["annotations"] = json!({"io.containerd.image.name": format!("docker.io/library/{tag}")});
    found
}

pub(crate) fn index(manifests: &[Value]) -> Vec<u8> {
    json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests})
        .to_string()
        .into_bytes()
}

/// A complete OCI layout with one image.
pub(crate) fn oci(layers: &[Vec<u8>], config: &Value, stored: Stored, tag: &str) -> Parts {
    let mut parts = Parts(Vec::new());
    let descriptor = add_oci(&mut parts, layers, config, stored, tag);
    parts.put("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    parts.put("index.json", &index(&[descriptor]));
    parts
}
