//! Collateral from files, from this machine's store, and (for `fetch-collateral` alone) from the vendors.
//!
//! Reading opens no socket, and neither does anything that it calls: only [`fetch`] does.

pub(crate) mod bundle;
pub(crate) mod fetch;
pub(crate) mod sources;
pub(crate) mod store;

use crate::outcome::{self, Failure, Result};
use attest::snp::Collateral;
use base64::Engine;
use base64::prelude::BASE64_STANDARD as STANDARD;
use claims::Code;
use serde_json::Value;
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// Largest collateral file.
const MAX_LENGTH: u64 = 16 << 20;
/// Files in a folder that are collateral by their name.
const EXTENSIONS: [&str; 15] = [
    "der", "pem", "crt", "cer", "crl", "json", "xml", "swidtag", "jwks", "ocsp", "tcb", "id", "rego", "base64", "cose",
];
/// Files of the security context folder of a container group, which have no extension (`reference/aci.md` 6.1).
const SECURITY_CONTEXT: [&str; 3] = ["host-amd-cert-base64", "security-policy-base64", "reference-info-base64"];

/// Collateral as it came: names and bytes, not believed yet.
#[derive(Debug, Default)]
pub(crate) struct Pieces(Vec<Piece>);

/// One file, or one item of a bundle or of the store.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    /// Where it comes from, for messages.
    pub(crate) name: String,
    /// Contents.
    pub(crate) bytes: Vec<u8>,
    /// Whether it only lay in a folder that was named: it may be about something else.
    pub(crate) beside: bool,
}

/// What a piece is, by how it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// DER, or PEM.
    Certificate,
    /// A JSON object or array.
    Json,
    /// XML.
    Xml,
    /// Something else.
    Other,
}

impl Piece {
    /// What it looks like.
    pub(crate) fn form(&self) -> Form {
        let start = self.bytes.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(0);
        match self.bytes.get(start..).unwrap_or_default() {
            [0x30, ..] => Form::Certificate,
            rest if rest.starts_with(b"-----BEGIN ") => Form::Certificate,
            [b'{' | b'[', ..] => Form::Json,
            [b'<', ..] | [0xEF, 0xBB, 0xBF, b'<', ..] => Form::Xml,
            _ => Form::Other,
        }
    }

    /// What is in it, without base64 around it.
    fn content(&self) -> Cow<'_, [u8]> {
        let text = self.bytes.trim_ascii();
        match text.first() {
            Some(first) if first.is_ascii_alphanumeric() || *first == b'+' || *first == b'/' => {
                STANDARD.decode(text).map_or(Cow::Borrowed(self.bytes.as_slice()), Cow::Owned)
            }
            _ => Cow::Borrowed(&self.bytes),
        }
    }

    /// Azure's certificates of a host (THIM's answer, `host-amd-cert-base64`), as JSON.
    fn host_certificates(&self) -> Option<Value> {
        let value: Value = serde_json::from_slice(&self.content()).ok()?;
        value.get("vcekCert").and_then(Value::as_str).is_some().then_some(value)
    }

    /// Whether it is one of Intel's signed texts, or a bundle with them.
    fn is_intels(&self) -> bool {
        serde_json::from_slice::<Value>(&self.bytes)
            .is_ok_and(|value| INTELS_MEMBERS.iter().any(|member| value.get(member).is_some()))
    }
}

/// Members that only collateral for Intel's quotes has.
const INTELS_MEMBERS: [&str; 10] = [
    "tcbInfo",
    "enclaveIdentity",
    "raw_tcb_info",
    "raw_enclave_identity",
    "tcb_info",
    "qe_identity",
    "root_ca_crl",
    "pck_crl",
    "pck_certificate_chain",
    "crl",
];

impl Pieces {
    /// Reads files, folders of them (one level), and bundles, whose signature is compared with `bundle_key`.
    pub(crate) fn read(paths: &[PathBuf], bundle_key: Option<&Path>) -> Result<Self> {
        let mut pieces = Self::default();
        for path in paths {
            if path.is_dir() {
                let entries = std::fs::read_dir(path).map_err(|error| outcome::cannot("read", path, error))?;
                let mut files: Vec<PathBuf> = entries
                    .flatten()
                    .map(|entry| entry.path())
                    .filter(|path| path.is_file() && is_collateral(path))
                    .collect();
                files.sort();
                files.iter().try_for_each(|file| pieces.add(file, bundle_key, true))?;
            } else {
                pieces.add(path, bundle_key, false)?;
            }
        }
        Ok(pieces)
    }

    fn add(&mut self, path: &Path, bundle_key: Option<&Path>, beside: bool) -> Result<()> {
        let length = std::fs::metadata(path).map_err(|error| outcome::cannot("read", path, error))?.len();
        if length > MAX_LENGTH {
            return Err(Failure::usage(format!("{} is too large for collateral", path.display()))
                .hint(format!("at most {} MiB are read", MAX_LENGTH >> 20)));
        }
        let bytes = outcome::read(path)?;
        if bundle::is_one(&bytes) {
            self.0.extend(bundle::open(&bytes, path, bundle_key)?);
        } else {
            self.push(Piece { name: path.display().to_string(), bytes, beside });
        }
        Ok(())
    }

    /// Adds one piece.
    pub(crate) fn push(&mut self, piece: Piece) {
        self.0.push(piece);
    }

    /// Pieces of one form.
    pub(crate) fn of(&self, form: Form) -> impl Iterator<Item = &Piece> {
        self.0.iter().filter(move |piece| piece.form() == form)
    }

    /// OCSP responses, which only their names tell from certificates.
    pub(crate) fn ocsp(&self) -> impl Iterator<Item = &Piece> {
        self.0.iter().filter(|piece| is_ocsp(&piece.name))
    }

    /// A container policy's exact bytes: a `.rego` file, or base64 of one.
    pub(crate) fn policy(&self) -> Option<Vec<u8>> {
        let named = self.0.iter().find(|piece| piece.name.ends_with(".rego")).map(|piece| piece.bytes.clone());
        named.or_else(|| {
            self.0.iter().map(Piece::content).find(|bytes| bytes.starts_with(b"package ")).map(Cow::into_owned)
        })
    }

    /// Azure's certificates of a host, as JSON.
    pub(crate) fn host_certificates(&self) -> Option<Vec<u8>> {
        let piece = self.0.iter().find(|piece| piece.host_certificates().is_some())?;
        Some(piece.content().into_owned())
    }

    /// Microsoft's endorsement of a utility VM: a COSE_Sign1, by how it begins (CBOR tag 18, or an array of four).
    pub(crate) fn reference_info(&self) -> Option<Vec<u8>> {
        let cose = |bytes: &Cow<'_, [u8]>| matches!(bytes.as_ref(), [0xD2, 0x84, ..] | [0x84, ..]);
        self.0.iter().map(Piece::content).find(cose).map(Cow::into_owned)
    }

    /// What an SNP report is verified with: certificates and revocation lists.
    pub(crate) fn snp(&self) -> Result<Collateral> {
        let mut collateral = Collateral::new();
        for piece in &self.0 {
            let texts = match (piece.host_certificates(), piece.form()) {
                (Some(host), _) => ["vcekCert", "certificateChain"]
                    .iter()
                    .filter_map(|member| host.get(member)?.as_str().map(|text| text.as_bytes().to_vec()))
                    .collect(),
                (None, Form::Certificate) if !is_ocsp(&piece.name) => vec![piece.bytes.clone()],
                (None, Form::Other) if !piece.beside => vec![piece.bytes.clone()],
                _ => Vec::new(),
            };
            for text in texts {
                collateral.add(&text).map_err(|error| unusable(piece, error).code(Code::SnpChain))?;
            }
        }
        Ok(collateral)
    }

    /// Every piece that can be about Intel's platforms. What only lay in a named folder counts when it says that it is.
    pub(crate) fn intels(&self) -> impl Iterator<Item = &Piece> {
        let hex = |piece: &Piece| piece.bytes.trim_ascii().iter().all(u8::is_ascii_hexdigit);
        self.0.iter().filter(move |piece| match piece.form() {
            Form::Certificate => !is_ocsp(&piece.name),
            Form::Json => !piece.beside || piece.is_intels(),
            Form::Xml => false,
            Form::Other => !piece.beside || hex(piece),
        })
    }
}

/// The failure of a piece that was given and cannot be used.
pub(crate) fn unusable(piece: &Piece, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
    Failure::usage(format!("{} cannot be used as collateral", piece.name)).because(error)
}

fn is_ocsp(name: &str) -> bool {
    name.ends_with(".ocsp") || name.contains("nvidia/ocsp/")
}

fn is_collateral(path: &Path) -> bool {
    path.file_name().is_some_and(|name| SECURITY_CONTEXT.iter().any(|known| name == *known))
        || path
            .extension()
            .and_then(|extension| extension.to_str())
            .is_some_and(|extension| EXTENSIONS.contains(&extension))
}
