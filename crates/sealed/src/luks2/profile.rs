//! Reads a header, strictly.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::write::{Parts, Which, at, checksum, checksum_name, digest_of, json, pieces};
use super::{BINARY, COPY, HEADER_BYTES};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use claims::Code;
use claims::volume::{BLOCK_SIZE, Drive, VolumeKey};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Range;

/// Why a header is refused. Nothing was derived from a key, except in [`ProfileError::Key`] and
/// [`ProfileError::Forged`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// Fewer than [`HEADER_BYTES`] bytes.
    #[error("a LUKS2 header has {HEADER_BYTES} bytes, here are {got}")]
    Truncated {
        /// How many there are.
        got: usize,
    },
    /// A field is not as Confide writes it.
    #[error("copy {copy} of the LUKS2 header: {field} is {got}, wanted {wanted}")]
    Field {
        /// 1 or 2.
        copy: u8,
        /// Name in the binary part, or path in the JSON.
        field: String,
        /// What is there.
        got: String,
        /// What should be.
        wanted: String,
    },
    /// The JSON part is no JSON.
    #[error("copy {copy} of the LUKS2 header holds no JSON")]
    Json {
        /// 1 or 2.
        copy: u8,
    },
    /// Both copies are in order, but say different things.
    #[error("the two copies of the LUKS2 header disagree about {field}")]
    CopiesDisagree {
        /// In what.
        field: &'static str,
    },
    /// The header is well-formed, and made by another key.
    #[error("the volume key does not open this volume")]
    Key,
    /// The header has this key's digest, but is not the one that this key makes.
    #[error("the LUKS2 header was changed by somebody")]
    Forged,
    /// The cipher could not be set up.
    #[error("cipher")]
    Cipher(#[source] crate::xts::XtsError),
}

impl ProfileError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Key => Code::Key,
            _ => Code::LuksProfile,
        }
    }
}

/// A header of the accepted form. Its key is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    bytes: Vec<u8>,
    parts: Parts,
    uuid: String,
}

impl Header {
    /// Judges the first [`HEADER_BYTES`] bytes of a drive; more are ignored. They are copied: what is judged is what
    /// is used.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProfileError> {
        let bytes = bytes.get(..HEADER_BYTES).ok_or(ProfileError::Truncated { got: bytes.len() })?.to_vec();
        let (first_uuid, first) = one_copy(&bytes, Which::First)?;
        let (second_uuid, second) = one_copy(&bytes, Which::Second)?;
        if first_uuid != second_uuid {
            return Err(ProfileError::CopiesDisagree { field: "uuid" });
        }
        if first != second {
            return Err(ProfileError::CopiesDisagree { field: "json" });
        }
        Ok(Self { bytes, parts: first, uuid: first_uuid })
    }

    /// Bytes of ext4 and tree together, as the header says.
    pub fn sealed_bytes(&self) -> u64 {
        self.parts.sealed_bytes
    }

    /// The volume's UUID.
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// Finds the drive for which `key` makes exactly this header.
    pub fn authenticate(&self, key: &VolumeKey) -> Result<Drive, ProfileError> {
        let mut error = ProfileError::Key;
        for drive in [Drive::Root, Drive::UserConfig] {
            let wanted = pieces(key, drive, self.parts.sealed_bytes).map_err(ProfileError::Cipher)?;
            let same = wanted.iter().all(|(offset, piece)| {
                let start = usize::try_from(*offset).unwrap_or(usize::MAX);
                self.bytes.get(start..start.saturating_add(piece.len())) == Some(piece.as_slice())
            });
            if same {
                return Ok(drive);
            }
            let salt = STANDARD.decode(&self.parts.digest_salt).unwrap_or_default();
            if self.parts.digest == STANDARD.encode(digest_of(&key.drive_key(drive), &salt)) {
                error = ProfileError::Forged;
            }
        }
        Err(error)
    }
}

/// Checks one copy and gives its UUID and what is free to differ.
fn one_copy(headers: &[u8], which: Which) -> Result<(String, Parts), ProfileError> {
    let number = if which == Which::First { 1 } else { 2 };
    let start = which.offset();
    let copy = headers.get(start..start.saturating_add(COPY)).ok_or(ProfileError::Truncated { got: headers.len() })?;
    let field = |range: Range<usize>| copy.get(range).unwrap_or_default();
    let exact = |name: &str, range: Range<usize>, wanted: &[u8]| {
        let got = field(range);
        if got == wanted { Ok(()) } else { Err(wrong(number, name, &brief(got), &brief(wanted))) }
    };
    exact("magic", at::MAGIC, &which.magic())?;
    exact("version", at::VERSION, &2u16.to_be_bytes())?;
    exact("size", at::SIZE, &(COPY as u64).to_be_bytes())?;
    exact("sequence number", at::SEQUENCE, &1u64.to_be_bytes())?;
    exact("label", at::LABEL, &[0; 48])?;
    exact("checksum algorithm", at::CHECKSUM_NAME, &checksum_name())?;
    exact("subsystem", at::SUBSYSTEM, &[0; 48])?;
    exact("offset", at::OFFSET, &(start as u64).to_be_bytes())?;
    exact("padding", at::PADDING, &[0; 184])?;
    exact("padding", at::REST, &[0; BINARY - 512])?;
    let uuid = field(at::UUID);
    let well_formed = uuid.iter().enumerate().all(|(index, byte)| match index {
        8 | 13 | 18 | 23 => *byte == b'-',
        0..36 => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        _ => *byte == 0,
    });
    if !well_formed {
        return Err(wrong(number, "uuid", &brief(uuid), "a lower-case UUID"));
    }
    exact("checksum", at::CHECKSUM, &checksum(copy))?;
    let parts = one_json(field(BINARY..COPY), number)?;
    Ok((String::from_utf8_lossy(uuid.get(..36).unwrap_or_default()).into_owned(), parts))
}

/// Accepts one text only: the one that [`json`] writes for the parts found in it. If it is another, names the first
/// place that differs.
fn one_json(area: &[u8], copy: u8) -> Result<Parts, ProfileError> {
    let end = area.iter().position(|byte| *byte == 0).unwrap_or(area.len());
    let (text, rest) = area.split_at_checked(end).unwrap_or_default();
    if rest.iter().any(|byte| *byte != 0) {
        return Err(wrong(copy, "what follows the JSON", "not zero", "zero"));
    }
    let value: Value = serde_json::from_slice(text).map_err(|_| ProfileError::Json { copy })?;
    let text_at = |path: &str| value.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let size = text_at("/segments/0/size");
    let parts = Parts {
        // A size that is none of ours gives another text, and is named below.
        sealed_bytes: size.parse().ok().filter(|size: &u64| *size > 0 && size.is_multiple_of(BLOCK_SIZE)).unwrap_or(0),
        slot_salt: salt(&text_at("/keyslots/0/kdf/salt")),
        digest_salt: salt(&text_at("/digests/0/salt")),
        digest: salt(&text_at("/digests/0/digest")),
    };
    let wanted = json(&parts);
    if wanted.as_bytes() == text && parts.sealed_bytes > 0 && parts.sealed_bytes < 1 << 50 {
        return Ok(parts);
    }
    let wanted: Value = serde_json::from_str(&wanted).map_err(|_| ProfileError::Json { copy })?;
    let (field, got, wanted) = first_difference(&value, &wanted, String::new())
        .unwrap_or_else(|| ("spelling of the JSON".into(), "another".into(), "the one that Confide writes".into()));
    Err(wrong(copy, &field, &got, &wanted))
}

/// A salt or digest of 32 bytes in its one base64 spelling, or nothing.
fn salt(text: &str) -> String {
    let sound = STANDARD.decode(text).is_ok_and(|bytes| bytes.len() == 32);
    if sound { text.to_owned() } else { String::new() }
}

/// Path, value found and value wanted. Depth is bounded by the parser's own limit.
fn first_difference(got: &Value, wanted: &Value, path: String) -> Option<(String, String, String)> {
    let (Value::Object(got_fields), Value::Object(wanted_fields)) = (got, wanted) else {
        return (got != wanted).then(|| (path, show(got), show(wanted)));
    };
    // By name, so that the same difference is named whatever order the parser keeps.
    for (name, wanted) in wanted_fields.iter().collect::<BTreeMap<_, _>>() {
        let path = format!("{path}/{name}");
        match got_fields.get(name) {
            None => return Some((path, "absent".into(), show(wanted))),
            Some(got) => match first_difference(got, wanted, path) {
                None => {}
                difference => return difference,
            },
        }
    }
    let extra = got_fields.iter().find(|(name, _)| !wanted_fields.contains_key(*name));
    extra.map(|(name, got)| (format!("{path}/{}", name.escape_debug()), show(got), "absent".into()))
}

fn show(value: &Value) -> String {
    value.to_string().chars().take(100).collect()
}

fn brief(bytes: &[u8]) -> String {
    let trimmed = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
    let bytes = bytes.get(..trimmed.min(64)).unwrap_or_default();
    format!("`{}`", bytes.escape_ascii())
}

fn wrong(copy: u8, field: &str, got: &str, wanted: &str) -> ProfileError {
    ProfileError::Field { copy, field: field.to_owned(), got: got.to_owned(), wanted: wanted.to_owned() }
}
