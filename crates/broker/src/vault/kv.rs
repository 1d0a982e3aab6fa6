//! Values in a key-value engine: one member of the entry under the resource's path.
//!
//! Version 1 has `MOUNT/PATH` with the entry in `data`; version 2 has `MOUNT/data/PATH` with the entry in `data.data` and
//! its version in `data.metadata`. The member is `data`, a text or an array of bytes, where the settings say nothing else:
//! what upstream's Vault backend reads and writes.

use super::error::VaultError;
use super::settings::{KeptInVault, KvEncoding, KvVersion};
use super::{Body, Client, Reply};
use crate::clock::Clock;
use crate::path::ResourcePath;
use crate::store::secrets::ListedVersion;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use claims::Secret;
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use ureq::http::Method;
use zeroize::Zeroizing;

/// Largest value, as for those in the broker's own store.
const MAX_VALUE: usize = 1 << 20;
/// Most versions of one entry that are read.
const MAX_VERSIONS: usize = 10_000;

/// A value, and its version where the engine has them.
pub(crate) struct Found {
    pub(crate) value: Secret<Vec<u8>>,
    pub(crate) version: Option<u64>,
}

/// What an entry says.
#[derive(Default)]
struct Entry {
    value: Option<Member>,
    /// Whether there are members beside the wanted one.
    others: bool,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    version: u64,
    #[serde(default)]
    destroyed: bool,
}

/// Answer to a write, version 2.
#[derive(Deserialize)]
struct Written {
    data: WrittenVersion,
}

#[derive(Deserialize)]
struct WrittenVersion {
    version: u64,
}

/// Answer to a question for metadata, version 2.
#[derive(Deserialize)]
struct Versions {
    data: VersionList,
}

#[derive(Deserialize)]
struct VersionList {
    versions: BTreeMap<String, VersionFacts>,
}

#[derive(Deserialize)]
struct VersionFacts {
    created_time: String,
    #[serde(default)]
    deletion_time: String,
    #[serde(default)]
    destroyed: bool,
}

impl KeptInVault {
    /// Where the values of a path are; `part` is `data`, `metadata` or `destroy` and counts for version 2 only.
    fn address(&self, part: &str, path: &ResourcePath) -> String {
        let folder = if self.folder.is_empty() { String::new() } else { format!("{}/", self.folder) };
        match self.version {
            KvVersion::One => format!("{}/{folder}{path}", self.mount),
            KvVersion::Two => format!("{}/{part}/{folder}{path}", self.mount),
        }
    }
}

impl Client {
    /// A value: of one version, or the newest. None where there is none.
    pub(crate) fn read(
        &self,
        kept: &KeptInVault,
        path: &ResourcePath,
        version: Option<u64>,
    ) -> Result<Option<Found>, VaultError> {
        let mut address = kept.address("data", path);
        match (kept.version, version) {
            (KvVersion::One, Some(_)) => return Ok(None),
            (KvVersion::Two, Some(version)) => address.push_str(&format!("?version={version}")),
            (_, None) => {}
        }
        let Some((reply, entry)) = self.entry(kept, &address)? else { return Ok(None) };
        let got = match (kept.version, &entry.metadata) {
            (KvVersion::One, _) => None,
            (KvVersion::Two, None) => return Err(reply.malformed("without metadata")),
            (KvVersion::Two, Some(metadata)) if metadata.destroyed || reply.status == 404 => return Ok(None),
            (KvVersion::Two, Some(metadata)) => Some(metadata.version),
        };
        if version.is_some() && got != version {
            return Err(reply.malformed("of another version than the one asked for"));
        }
        let member =
            entry.value.ok_or_else(|| reply.malformed("an entry without the member that the settings name"))?;
        let value = member.decode(kept.encoding).ok_or_else(|| reply.malformed("not base64"))?;
        match value.expose(Vec::len) {
            1..=MAX_VALUE => Ok(Some(Found { value, version: got })),
            _ => Err(reply.malformed("a value that is empty or over 1 MiB")),
        }
    }

    /// Writes a value; its version where there are any. An entry with other members is left alone. With version 2 nothing
    /// that somebody else writes meanwhile is lost.
    pub(crate) fn write(
        &self,
        kept: &KeptInVault,
        path: &ResourcePath,
        value: &Secret<Vec<u8>>,
    ) -> Result<Option<u64>, VaultError> {
        let address = kept.address("data", path);
        let before = self.entry(kept, &address)?.map(|(_, entry)| entry).unwrap_or_default();
        if before.others {
            return Err(VaultError::OtherMembers { field: kept.field.clone() });
        }
        let current = before.metadata.map_or(0, |metadata| metadata.version);
        let body = value.expose(|value| body(kept, value, current)).map_err(|()| VaultError::Malformed {
            what: format!("POST {address}"),
            problem: "not asked for: the value cannot be written as JSON",
        })?;
        let (reply, token) = self.ask(&Method::POST, &address, &Body::Secret(&body))?;
        if reply.status == 400
            && reply.errors().is_some_and(|errors| errors.iter().any(|text| text.contains("check-and-set")))
        {
            return Err(VaultError::Conflict);
        }
        match (reply.is_success(), kept.version) {
            (false, _) => Err(reply.unexpected(&token.secret)),
            (true, KvVersion::One) => Ok(None),
            (true, KvVersion::Two) => reply.json::<Written>().map(|written| Some(written.data.version)),
        }
    }

    /// Destroys one version, or all of them; whether there was anything.
    pub(crate) fn destroy(
        &self,
        kept: &KeptInVault,
        path: &ResourcePath,
        version: Option<u64>,
    ) -> Result<bool, VaultError> {
        if kept.version == KvVersion::One {
            if version.is_some() {
                return Err(VaultError::NoVersions);
            }
            let address = kept.address("data", path);
            if self.entry(kept, &address)?.is_none() {
                return Ok(false);
            }
            let (reply, token) = self.ask(&Method::DELETE, &address, &Body::None)?;
            return if reply.is_success() { Ok(true) } else { Err(reply.unexpected(&token.secret)) };
        }
        let there = self.facts(kept, path)?.unwrap_or_default().into_iter().filter(|(_, facts)| !facts.destroyed);
        let there = there.map(|(number, _)| number);
        let doomed: Vec<u64> = there.filter(|one| version.is_none_or(|version| version == *one)).collect();
        if doomed.is_empty() {
            return Ok(false);
        }
        let body = serde_json::json!({ "versions": doomed }).to_string();
        let (reply, token) = self.ask(&Method::POST, &kept.address("destroy", path), &Body::Plain(body.as_bytes()))?;
        if reply.is_success() { Ok(true) } else { Err(reply.unexpected(&token.secret)) }
    }

    /// The versions of a path, also those that are deleted; none where there is no entry.
    pub(crate) fn versions(
        &self,
        kept: &KeptInVault,
        path: &ResourcePath,
    ) -> Result<Option<Vec<ListedVersion>>, VaultError> {
        let now = Clock::start().now().0;
        let listed = |(version, facts): (u64, VersionFacts)| {
            let added = seconds(&facts.created_time).unwrap_or_default();
            // A time in the future is when Vault will delete it.
            let deleted = seconds(&facts.deletion_time).filter(|time| *time <= now);
            ListedVersion { version, added, deleted: deleted.or(facts.destroyed.then_some(added)) }
        };
        Ok(self.facts(kept, path)?.map(|facts| facts.into_iter().map(listed).collect()))
    }

    fn facts(&self, kept: &KeptInVault, path: &ResourcePath) -> Result<Option<Vec<(u64, VersionFacts)>>, VaultError> {
        if kept.version == KvVersion::One {
            return Err(VaultError::NoVersions);
        }
        let (reply, token) = self.ask(&Method::GET, &kept.address("metadata", path), &Body::None)?;
        if is_absent(&reply) {
            return Ok(None);
        }
        if !reply.is_success() {
            return Err(reply.unexpected(&token.secret));
        }
        let list = reply.json::<Versions>()?.data.versions;
        if list.len() > MAX_VERSIONS {
            return Err(reply.malformed("a list of too many versions"));
        }
        let numbered = list.into_iter().map(|(number, facts)| {
            let number = number.parse().map_err(|_| reply.malformed("with a version that is no number"))?;
            Ok((number, facts))
        });
        let mut numbered = numbered.collect::<Result<Vec<_>, _>>()?;
        numbered.sort_by_key(|(number, _)| *number);
        Ok(Some(numbered))
    }

    /// Whether there is an entry with the member at all.
    pub(crate) fn exists(&self, kept: &KeptInVault, path: &ResourcePath) -> Result<bool, VaultError> {
        let entry = self.entry(kept, &kept.address("data", path))?;
        Ok(entry.is_some_and(|(_, entry)| entry.value.is_some()))
    }

    fn entry(&self, kept: &KeptInVault, address: &str) -> Result<Option<(Reply, Entry)>, VaultError> {
        let (reply, token) = self.ask(&Method::GET, address, &Body::None)?;
        // Version 2 answers 404 with the metadata for a version that is deleted.
        let levels = if kept.version == KvVersion::One { 1 } else { 2 };
        if reply.status == 404 {
            let gone = Level { field: &kept.field, levels }.read(&reply.body).filter(|entry| entry.metadata.is_some());
            return match gone {
                Some(entry) => Ok(Some((reply, entry))),
                None if is_absent(&reply) => Ok(None),
                None => Err(reply.unexpected(&token.secret)),
            };
        }
        if !reply.is_success() {
            return Err(reply.unexpected(&token.secret));
        }
        let entry = Level { field: &kept.field, levels }.read(&reply.body);
        let entry = entry.ok_or_else(|| reply.malformed("not a KV entry with a text or bytes in its member"))?;
        Ok(Some((reply, entry)))
    }
}

/// 404 with an empty list of errors is what an absent entry looks like; anything else is a wrong mount or version.
fn is_absent(reply: &Reply) -> bool {
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        errors: Vec<IgnoredAny>,
        #[serde(default)]
        warnings: Option<Vec<IgnoredAny>>,
    }
    let body = serde_json::from_slice::<Body>(&reply.body);
    reply.status == 404
        && body.is_ok_and(|body| body.errors.is_empty() && body.warnings.is_none_or(|list| list.is_empty()))
}

/// The body of a write.
fn body(kept: &KeptInVault, value: &[u8], current: u64) -> Result<Zeroizing<Vec<u8>>, ()> {
    // A text grows at most six times by escapes, an array of bytes four times; no copy is left behind by growing.
    let mut out = Zeroizing::new(Vec::with_capacity(value.len().saturating_mul(6).saturating_add(512)));
    let mut member = Zeroizing::new(Vec::with_capacity(value.len().saturating_mul(6).saturating_add(64)));
    let written = match (kept.encoding, std::str::from_utf8(value)) {
        (KvEncoding::Base64, _) => serde_json::to_writer(&mut *member, &*Zeroizing::new(STANDARD.encode(value))),
        (KvEncoding::Text, Ok(text)) => serde_json::to_writer(&mut *member, text),
        (KvEncoding::Text, Err(_)) => serde_json::to_writer(&mut *member, value),
    };
    written.map_err(drop)?;
    let field = serde_json::to_string(&kept.field).map_err(drop)?;
    let (head, tail) = match kept.version {
        KvVersion::One => (format!("{{{field}:"), "}".to_owned()),
        KvVersion::Two => (format!("{{\"options\":{{\"cas\":{current}}},\"data\":{{{field}:"), "}}".to_owned()),
    };
    for part in [head.as_bytes(), &member, tail.as_bytes()] {
        out.extend_from_slice(part);
    }
    Ok(out)
}

/// RFC 3339 as seconds since 1970.
fn seconds(text: &str) -> Option<u64> {
    let time = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp()).ok()
}

/// A member's value, as bytes.
struct Member(Zeroizing<Vec<u8>>);

impl Member {
    fn decode(mut self, encoding: KvEncoding) -> Option<Secret<Vec<u8>>> {
        match encoding {
            KvEncoding::Text => Some(Secret::new(std::mem::take(&mut *self.0))),
            KvEncoding::Base64 => {
                let text = self.0.trim_ascii();
                let mut out = Zeroizing::new(vec![0; text.len()]);
                let length = STANDARD.decode_slice(text, &mut out).ok()?;
                out.truncate(length);
                Some(Secret::new(std::mem::take(&mut *out)))
            }
        }
    }
}

/// Finds one member of an entry, `levels` objects named `data` below, and copies nothing else. Depth does not matter:
/// what is ignored is skipped without recursion.
#[derive(Clone, Copy)]
struct Level<'a> {
    field: &'a str,
    levels: u8,
}

impl Level<'_> {
    fn read(self, body: &[u8]) -> Option<Entry> {
        let mut reader = serde_json::Deserializer::from_slice(body);
        let entry = self.deserialize(&mut reader).ok()?;
        reader.end().ok()?;
        Some(entry)
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = Entry;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<Entry, D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = Entry;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    /// The entry of a deleted version.
    fn visit_unit<E: de::Error>(self) -> Result<Entry, E> {
        match self.levels {
            0 => Ok(Entry::default()),
            _ => Err(E::custom("null")),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry, A::Error> {
        let mut entry = Entry::default();
        let (mut found, mut metadata) = (false, None);
        while let Some(name) = map.next_key::<String>()? {
            let wanted = if self.levels == 0 { self.field } else { "data" };
            if name == wanted {
                if found {
                    return Err(de::Error::custom("a member stands twice"));
                }
                found = true;
                if self.levels == 0 {
                    entry.value = Some(map.next_value()?);
                } else {
                    let inner = map.next_value_seed(Level { levels: self.levels.saturating_sub(1), ..self })?;
                    (entry.value, entry.others) = (inner.value, inner.others);
                    metadata = metadata.or(inner.metadata);
                }
            } else if self.levels == 1 && name == "metadata" {
                if metadata.is_some() {
                    return Err(de::Error::custom("a member stands twice"));
                }
                metadata = Some(map.next_value()?);
            } else {
                entry.others |= self.levels == 0;
                map.next_value::<IgnoredAny>()?;
            }
        }
        if self.levels > 0 && !found {
            return Err(de::Error::custom("no data"));
        }
        entry.metadata = metadata;
        Ok(entry)
    }
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Member;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a text or an array of bytes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Member, E> {
                Ok(Member(Zeroizing::new(text.as_bytes().to_vec())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Member, A::Error> {
                let mut bytes = Zeroizing::new(Vec::new());
                while let Some(byte) = list.next_element::<u8>()? {
                    if bytes.len() > MAX_VALUE {
                        return Err(de::Error::custom("too long"));
                    }
                    bytes.push(byte);
                }
                Ok(Member(bytes))
            }
        }
        value.deserialize_any(Bytes)
    }
}

#[cfg(test)]
#[path = "kv_tests.rs"]
mod tests;
