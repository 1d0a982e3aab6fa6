//! CoRIM (draft-ietf-rats-corim): reference triples of concise module identifiers, signed with COSE_Sign1 or not.
//!
//! A value's name is made as upstream's reference value service makes it: vendor, model, measured element, name and
//! serial number, then what it is (`digests`, `raw_bytes`, `svn`, `version`), joined by slashes.
//!
//! What narrows a triple to certain instances, or compares otherwise than for equality, is not taken without that: the
//! values would say more than their author did. It is named in the notes.

use super::signer::{self, Key, Signer};
use super::{IntakeError, Reading};
use ciborium::Value as Cbor;
use coset::iana::Algorithm as Iana;
use coset::{Algorithm, CoseSign1, TaggedCborSerializable};
use serde_json::{Value, json};

const SIGNED: u64 = 18;
/// Tags around a CoRIM: the choice of before, unsigned, and signed of before.
const CHOICE: u64 = 500;
const UNSIGNED: u64 = 501;
const OLD_SIGNED: u64 = 502;
const COMID: u64 = 506;
/// Bytes that are compared as they are.
const RAW: u64 = 560;
const SVN: u64 = 552;
const UUID: u64 = 37;
const OID: u64 = 111;
/// Names of members of a measurement's values (section 5.1.4.5) that are not taken, by their numbers.
const OTHERS: [(i64, &str); 11] = [
    (3, "flags"),
    (5, "raw-value-mask"),
    (6, "mac-addr"),
    (7, "ip-addr"),
    (9, "ueid"),
    (10, "uuid"),
    (12, "min-svn"),
    (13, "cryptokeys"),
    (14, "integrity-registers"),
    (15, "int-range"),
    (16, "raw-int"),
];
/// Parts of triples (section 5.1.4) that are not reference values.
const TRIPLES: [(i64, &str); 9] = [
    (1, "endorsed triples"),
    (2, "identity triples"),
    (3, "attestation key triples"),
    (4, "dependency triples"),
    (5, "membership triples"),
    (6, "CoSWID triples"),
    (8, "conditional endorsement series"),
    (9, "conditional endorsement series"),
    (10, "conditional endorsements"),
];

type Map = [(Cbor, Cbor)];

/// Reads a CoRIM; its signature first.
pub(super) fn read(reading: &mut Reading<'_>, name: Option<&str>, signers: &[Signer]) -> Result<(), IntakeError> {
    reading.intake.format = "corim";
    let mut outer = decode(reading.bytes)?;
    while let Cbor::Tag(CHOICE | OLD_SIGNED, inner) = outer {
        outer = *inner;
    }
    let map = match outer {
        Cbor::Tag(SIGNED, _) => {
            let (payload, signed_by) = verify(&outer, signers)?;
            reading.intake.signed_by = Some(signed_by);
            decode(&payload)?
        }
        other if signers.is_empty() => other,
        _ => return Err(IntakeError::Unsigned { pinned: signer::names(signers) }),
    };
    let Cbor::Tag(UNSIGNED, map) = map else { return Err(IntakeError::form("it is not tagged as a CoRIM (501)")) };
    let map = as_map(&map, "the CoRIM")?;
    let end = validity(reading, map)?;
    for tag in member(map, 1, "tags")?.map(as_list).transpose()?.unwrap_or_default() {
        match tag {
            Cbor::Tag(COMID, bytes) => {
                let bytes = bytes.as_bytes().ok_or_else(|| IntakeError::form("a CoMID is no byte string"))?;
                comid(reading, &decode(bytes)?, name, end)?;
            }
            Cbor::Tag(505, _) => reading.note("a CoSWID tag (505) is not read"),
            Cbor::Tag(number, _) => reading.note(format!("a tag of kind {number} is not read")),
            _ => return Err(IntakeError::form("a tag of it has no kind")),
        }
    }
    for (number, what) in [(2, "dependent RIMs"), (3, "profile")] {
        if member(map, number, what)?.is_some() {
            reading.note(format!("{what}: not followed"));
        }
    }
    Ok(())
}

/// The payload, once a pinned key is found to have signed it.
fn verify(tagged: &Cbor, signers: &[Signer]) -> Result<(Vec<u8>, String), IntakeError> {
    let mut bytes = Vec::new();
    let wrong = |what: &str| IntakeError::form(format!("its signature: {what}"));
    ciborium::into_writer(tagged, &mut bytes).map_err(|_| wrong("it cannot be written again"))?;
    let signed = CoseSign1::from_tagged_slice(&bytes).map_err(|error| wrong(&error.to_string()))?;
    let header = &signed.protected.header;
    if !header.crit.is_empty() {
        return Err(wrong("it has a critical header"));
    }
    let fits = |key: &Key| {
        matches!(
            (&header.alg, key),
            (Some(Algorithm::Assigned(Iana::EdDSA)), Key::Ed25519(_))
                | (Some(Algorithm::Assigned(Iana::ES256)), Key::P256(_))
                | (Some(Algorithm::Assigned(Iana::ES384)), Key::P384(_))
        )
    };
    let checked = |key: &Key| {
        signed
            .verify_signature(&[], |signature, message| key.verify(message, signature).then_some(()).ok_or(()))
            .is_ok()
    };
    let name = signer::find(signers, |key| fits(key) && checked(key))?;
    let payload = signed.payload.clone().ok_or_else(|| wrong("the payload is detached"))?;
    Ok((payload, name))
}

/// When the values end. A CoRIM out of date is refused.
fn validity(reading: &Reading<'_>, map: &Map) -> Result<Option<u64>, IntakeError> {
    let Some(validity) = member(map, 4, "rim-validity")? else { return Ok(None) };
    let validity = as_map(validity, "rim-validity")?;
    let time = |number, what: &str| -> Result<Option<u64>, IntakeError> {
        let wrong = || IntakeError::form(format!("{what} of rim-validity is no time since 1970"));
        match member(validity, number, what)? {
            None => Ok(None),
            Some(Cbor::Tag(1, time)) => match time.as_ref() {
                Cbor::Integer(seconds) => u64::try_from(*seconds).map(Some).map_err(|_| wrong()),
                _ => Err(wrong()),
            },
            Some(_) => Err(wrong()),
        }
    };
    let end = time(1, "not-after")?;
    reading.in_date(time(0, "not-before")?, end)?;
    Ok(end)
}

fn comid(reading: &mut Reading<'_>, comid: &Cbor, name: Option<&str>, end: Option<u64>) -> Result<(), IntakeError> {
    let map = as_map(comid, "a CoMID")?;
    let triples = member(map, 4, "triples")?.ok_or_else(|| IntakeError::form("a CoMID has no triples"))?;
    let triples = as_map(triples, "triples")?;
    for (number, what) in TRIPLES {
        if member(triples, number, what)?.is_some() {
            reading.note(format!("{what} are not reference values"));
        }
    }
    if member(map, 3, "linked tags")?.is_some() {
        reading.note("linked tags: not followed");
    }
    for triple in member(triples, 0, "reference triples")?.map(as_list).transpose()?.unwrap_or_default() {
        let [environment, claims, rest @ ..] = as_list(triple)? else {
            return Err(IntakeError::form("a reference triple has not two parts"));
        };
        if !rest.is_empty() {
            reading.note("a reference triple with more than two parts is not read");
            continue;
        }
        let Some(prefix) = prefix(reading, environment)? else { continue };
        for measurement in as_list(claims)? {
            measured(reading, &prefix, measurement, name, end)?;
        }
    }
    Ok(())
}

/// The parts of a name that the environment gives; none where it names certain instances only.
fn prefix(reading: &mut Reading<'_>, environment: &Cbor) -> Result<Option<Vec<String>>, IntakeError> {
    let environment = as_map(environment, "an environment")?;
    for (number, what) in [(1, "instance"), (2, "group")] {
        if member(environment, number, what)?.is_some() {
            reading.note(format!("a reference triple for one {what} only is not read"));
            return Ok(None);
        }
    }
    let mut parts = Vec::new();
    let Some(class) = member(environment, 0, "class")? else { return Ok(Some(parts)) };
    let class = as_map(class, "a class")?;
    for (number, what) in [(1, "vendor"), (2, "model")] {
        if let Some(text) = member(class, number, what)? {
            parts.push(text.as_text().ok_or_else(|| IntakeError::form(format!("{what} is no text")))?.to_owned());
        }
    }
    if let Some(id) = member(class, 0, "class id")? {
        match identifier(id) {
            Some(text) if parts.is_empty() => parts.push(text),
            Some(_) => {}
            None => reading.note("a class id of a kind that is not known stands in no name"),
        }
    }
    for (number, what) in [(3, "layer"), (4, "index")] {
        if let Some(value) = member(class, number, what)? {
            let value = identifier(value).ok_or_else(|| IntakeError::form(format!("{what} is no number")))?;
            parts.push(format!("{what}-{value}"));
        }
    }
    Ok(Some(parts))
}

/// The values of one measured element.
fn measured(
    reading: &mut Reading<'_>,
    prefix: &[String],
    measurement: &Cbor,
    own_name: Option<&str>,
    end: Option<u64>,
) -> Result<(), IntakeError> {
    let measurement = as_map(measurement, "a measurement")?;
    let mut parts = prefix.to_vec();
    if let Some(key) = member(measurement, 0, "measured element")? {
        parts
            .push(identifier(key).ok_or_else(|| IntakeError::form("a measured element has a key of an unknown kind"))?);
    }
    let values = member(measurement, 1, "values")?.ok_or_else(|| IntakeError::form("a measurement has no values"))?;
    let values = as_map(values, "values of a measurement")?;
    for (number, what) in [(11, "name"), (8, "serial number")] {
        if let Some(text) = member(values, number, what)? {
            parts.push(text.as_text().ok_or_else(|| IntakeError::form(format!("{what} is no text")))?.to_owned());
        }
    }
    let place = parts.join("/");
    let named = |last: &str| own_name.map_or_else(|| [place.as_str(), last].join("/"), str::to_owned);
    for (number, what) in OTHERS {
        if member(values, number, what)?.is_some() {
            reading.note(format!("{place}: {what} is not taken"));
        }
    }
    for (key, _) in values {
        let number = key.as_integer().and_then(|number| i64::try_from(number).ok());
        let known = number.is_some_and(|number| {
            [0, 1, 2, 4, 8, 11].contains(&number) || OTHERS.iter().any(|(other, _)| *other == number)
        });
        if !known {
            reading.note(format!("{place}: a value of kind {key:?} is not taken"));
        }
    }
    for digest in member(values, 2, "digests")?.map(as_list).transpose()?.unwrap_or_default() {
        match digest_of(digest)? {
            Some(digest) => reading.add(&named("digests"), digest, false, end)?,
            None => reading.note(format!("{place}: a digest of an algorithm that is not known")),
        }
    }
    let masked = member(values, 5, "raw-value-mask")?.is_some();
    match member(values, 4, "raw-value")? {
        Some(_) if masked => reading.note(format!("{place}: a raw value with a mask is not taken")),
        Some(Cbor::Tag(RAW, bytes)) if bytes.is_bytes() => {
            let hex = hex::encode(bytes.as_bytes().map(Vec::as_slice).unwrap_or_default());
            reading.add(&named("raw_bytes"), hex.into(), false, end)?;
        }
        Some(_) => reading.note(format!("{place}: a raw value of another kind than bytes is not taken")),
        None => {}
    }
    match member(values, 1, "svn")? {
        Some(Cbor::Integer(svn)) => number(reading, &named("svn"), *svn, end)?,
        Some(Cbor::Tag(SVN, svn)) if svn.is_integer() => {
            number(reading, &named("svn"), svn.as_integer().unwrap_or_else(|| 0.into()), end)?;
        }
        Some(_) => reading.note(format!("{place}: a least svn is not taken; values are compared for equality")),
        None => {}
    }
    if let Some(version) = member(values, 0, "version")? {
        let version = as_map(version, "version")?;
        let text = member(version, 0, "version")?.and_then(Cbor::as_text);
        let text = text.ok_or_else(|| IntakeError::form("a version is no text"))?;
        reading.add(&named("version"), text.into(), false, end)?;
    }
    Ok(())
}

fn number(
    reading: &mut Reading<'_>,
    name: &str,
    value: ciborium::value::Integer,
    end: Option<u64>,
) -> Result<(), IntakeError> {
    let value = u64::try_from(value).map_err(|_| IntakeError::form(format!("{name} is negative")))?;
    reading.add(name, json!(value), false, end)
}

/// Hex of a digest whose algorithm (IANA's named information registry, or COSE's) fits its length.
fn digest_of(digest: &Cbor) -> Result<Option<Value>, IntakeError> {
    let wrong = || IntakeError::form("a digest is not [algorithm, bytes]");
    let [algorithm, bytes] = as_list(digest)? else { return Err(wrong()) };
    let bytes = bytes.as_bytes().ok_or_else(wrong)?;
    let number = algorithm.as_integer().and_then(|number| i64::try_from(number).ok());
    let length = match (number, algorithm.as_text()) {
        (Some(1 | -16), _) | (_, Some("sha-256")) => 32,
        (Some(7 | -43), _) | (_, Some("sha-384")) => 48,
        (Some(8 | -44), _) | (_, Some("sha-512")) => 64,
        _ => return Ok(None),
    };
    if bytes.len() != length {
        return Err(IntakeError::form(format!("a digest has {} bytes, its algorithm makes {length}", bytes.len())));
    }
    Ok(Some(hex::encode(bytes).into()))
}

/// A text, a number, a UUID, an OID or bytes, as a part of a name.
fn identifier(value: &Cbor) -> Option<String> {
    match value {
        Cbor::Text(text) => Some(text.clone()),
        Cbor::Integer(number) => u64::try_from(*number).ok().map(|number| number.to_string()),
        Cbor::Tag(UUID, bytes) => {
            let text = hex::encode(bytes.as_bytes().filter(|bytes| bytes.len() == 16)?);
            let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| text.get(range).unwrap_or_default());
            Some(parts.join("-"))
        }
        Cbor::Tag(OID | RAW, bytes) => bytes.as_bytes().map(hex::encode),
        _ => None,
    }
}

/// One item, and nothing behind it.
fn decode(mut bytes: &[u8]) -> Result<Cbor, IntakeError> {
    let value =
        ciborium::from_reader(&mut bytes).map_err(|_| IntakeError::form("it is no CBOR, or nested too deep"))?;
    if bytes.is_empty() { Ok(value) } else { Err(IntakeError::form("something stands behind the CBOR")) }
}

/// A member by its number; twice is an error.
fn member<'a>(map: &'a Map, number: i64, what: &str) -> Result<Option<&'a Cbor>, IntakeError> {
    let mut found = map.iter().filter(|(key, _)| key.as_integer().is_some_and(|key| key == number.into()));
    let first = found.next().map(|(_, value)| value);
    match found.next() {
        None => Ok(first),
        Some(_) => Err(IntakeError::form(format!("{what} stands there twice"))),
    }
}

fn as_map<'a>(value: &'a Cbor, what: &str) -> Result<&'a Map, IntakeError> {
    value.as_map().map(Vec::as_slice).ok_or_else(|| IntakeError::form(format!("{what} is no map")))
}

fn as_list(value: &Cbor) -> Result<&[Cbor], IntakeError> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| IntakeError::form("something that should be a list is none"))
}
