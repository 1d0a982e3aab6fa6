//! Collateral from files, from this machine's store, and (for `fetch-collateral` alone) from the vendors.
//!
//! Reading opens no socket, and neither does anything that it calls: only [`fetch`] does.

pub(crate) mod bundle;
pub(crate) mod fetch;
pub(crate) mod sources;
pub(crate) mod store;

use crate::outcome::{self, Failure, Result};
use attest::snp::Collateral;
use claims::Code;
use std::path::{Path, PathBuf};

/// Largest collateral file.
const MAX_LENGTH: u64 = 16 << 20;
/// Files in a folder that are collateral by their name.
const EXTENSIONS: [&str; 12] =
    ["der", "pem", "crt", "cer", "crl", "json", "xml", "swidtag", "jwks", "ocsp", "tcb", "rego"];

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
}

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
                files.iter().try_for_each(|file| pieces.add(file, bundle_key))?;
            } else {
                pieces.add(path, bundle_key)?;
            }
        }
        Ok(pieces)
    }

    fn add(&mut self, path: &Path, bundle_key: Option<&Path>) -> Result<()> {
        let length = std::fs::metadata(path).map_err(|error| outcome::cannot("read", path, error))?.len();
        if length > MAX_LENGTH {
            return Err(Failure::usage(format!("{} is too large for collateral", path.display()))
                .hint(format!("at most {} MiB are read", MAX_LENGTH >> 20)));
        }
        let bytes = outcome::read(path)?;
        if bundle::is_one(&bytes) {
            self.0.extend(bundle::open(&bytes, path, bundle_key)?);
        } else {
            self.push(Piece { name: path.display().to_string(), bytes });
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

    /// A container policy.
    pub(crate) fn policy(&self) -> Option<&Piece> {
        self.0.iter().find(|piece| piece.name.ends_with(".rego"))
    }

    /// What an SNP report is verified with: certificates and revocation lists.
    pub(crate) fn snp(&self) -> Result<Collateral> {
        let mut collateral = Collateral::new();
        let certificates = self.of(Form::Certificate).filter(|piece| !is_ocsp(&piece.name));
        for piece in certificates.chain(self.of(Form::Other)) {
            collateral.add(&piece.bytes).map_err(|error| unusable(piece, error).code(Code::SnpChain))?;
        }
        Ok(collateral)
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
    path.extension().and_then(|extension| extension.to_str()).is_some_and(|extension| EXTENSIONS.contains(&extension))
}
