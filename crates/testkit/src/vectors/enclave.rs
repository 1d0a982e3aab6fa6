//! Enclave measurements: streams and SIGSTRUCTs with the values that the manifest gives, and the variants that it
//! describes in words, made here.

use super::{Case, Run, Verdict};
use claims::{Code, Refusal, UnixTime};
use measure::sgx::sgxs::{self, CHUNK};
use measure::sgx::sigstruct;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

const SGXS: &str = "sgxs";
const SIGSTRUCT: &str = "sigstruct";
/// The manifest's own folder, or the one below it where measurements are kept.
const FOLDERS: [&str; 2] = ["measurement", "."];

pub(super) fn run(folder: &Path, manifest: &Value, _now: UnixTime, run: &mut Run<'_>) {
    let manifest = &manifest["measurement"];
    let mut files = Vec::new();
    for (name, wanted) in manifest["expected"].as_object().into_iter().flatten() {
        let Some(bytes) = FOLDERS.iter().find_map(|inner| fs::read(folder.join(inner).join(name)).ok()) else {
            run.error("enclave", name, "the file cannot be read".to_owned());
            continue;
        };
        let kind = if wanted.get("enclavehash").is_some() { SIGSTRUCT } else { SGXS };
        let sound = ["signature_ok", "q1_ok", "q2_ok"].iter().all(|check| wanted[*check] != json!(false));
        let expected = if sound && wanted.get("error").is_none() { Verdict::Accept } else { Verdict::Refuse };
        let result = claims_of(kind, &bytes);
        let detail = result.as_ref().ok().and_then(|got| difference(wanted, got));
        tell(run, kind, name.clone(), expected, result.map(|_| ()), detail);
        if expected == Verdict::Accept {
            files.push((kind, name, bytes));
        }
    }
    for words in manifest["tampered"].as_array().into_iter().flatten() {
        let Some(words) = words.as_str().or(words["id"].as_str()) else { continue };
        let mutations: Vec<Mutation> = MUTATIONS.iter().filter(|one| words.contains(one.words)).copied().collect();
        if mutations.is_empty() {
            run.skip(&format!("enclave: no such mutation is known: {words}"));
        }
        for mutation in mutations {
            for (kind, name, bytes) in files.iter().filter(|(kind, ..)| *kind == mutation.kind) {
                let Some(changed) = (mutation.change)(bytes) else { continue };
                let result = claims_of(kind, &changed).map(|_| ());
                tell(run, kind, format!("{name}: {}", mutation.name), Verdict::Refuse, result, None);
            }
        }
    }
}

/// What is claimed, with the manifest's names.
fn claims_of(kind: &str, bytes: &[u8]) -> Result<Value, Code> {
    if kind == SGXS {
        let enclave = sgxs::measure(bytes).map_err(|error| error.code())?;
        let records = enclave.records;
        return Ok(json!({
            "mrenclave": enclave.mrenclave,
            "records": {
                "ecreate": records.ecreate, "eadd": records.eadd, "eext": records.eextend, "unmeas": records.unmeasured,
            },
            "enclave_size": enclave.size,
            "ssa_frame_pages": enclave.ssa_frame_pages,
        }));
    }
    let verified = sigstruct::verify(bytes).map_err(|error| error.code())?;
    let (claims, raw) = (verified.claims(), verified.bytes());
    let part = |start: usize, length: usize| hex::encode(raw.get(start..start + length).unwrap_or_default());
    Ok(json!({
        "header": part(0, 16), "vendor": format!("{:#x}", claims.vendor), "date": claims.date.replace('-', ""),
        "header2": part(24, 16), "swdefined": claims.swdefined, "miscselect": hex::encode(claims.miscselect.to_le_bytes()),
        "miscmask": hex::encode(claims.miscmask.to_le_bytes()), "isvfamilyid": claims.isvfamilyid,
        "attributes": attributes(&claims.attributes), "attributemask": attributes(&claims.attribute_mask),
        "enclavehash": claims.mrenclave, "isvextprodid": claims.isvextprodid, "isvprodid": claims.isvprodid,
        "isvsvn": claims.isvsvn, "exponent": 3, "modulus_bits": 3072, "mrsigner": claims.mrsigner,
        "signature_ok": true, "q1_ok": true, "q2_ok": true,
    }))
}

fn attributes(attributes: &claims::enclave::EnclaveAttributes) -> String {
    hex::encode([attributes.flags.to_le_bytes(), attributes.xfrm.to_le_bytes()].concat())
}

/// The first member of the manifest that is not what was found.
fn difference(wanted: &Value, got: &Value) -> Option<String> {
    wanted
        .as_object()?
        .iter()
        .find(|(name, value)| got.get(*name) != Some(*value))
        .map(|(name, value)| format!("{name} is {}, the manifest says {value}", got.get(name).unwrap_or(&Value::Null)))
}

fn tell(
    run: &mut Run<'_>,
    kind: &'static str,
    name: String,
    expected: Verdict,
    result: Result<(), Code>,
    detail: Option<String>,
) {
    let (got, code) = match result {
        Ok(()) => (Verdict::Accept, None),
        Err(code) => (Verdict::Refuse, Some(code.to_string())),
    };
    run.tell(&Case { kind, name, expected, got, code, detail });
}

/// A change that the manifest describes: found by words of the description, made on any file of its kind.
#[derive(Clone, Copy)]
struct Mutation {
    words: &'static str,
    kind: &'static str,
    name: &'static str,
    change: fn(&[u8]) -> Option<Vec<u8>>,
}

const fn flip(words: &'static str, name: &'static str, change: fn(&[u8]) -> Option<Vec<u8>>) -> Mutation {
    Mutation { words, kind: SIGSTRUCT, name, change }
}

const fn stream(words: &'static str, name: &'static str, change: fn(&[u8]) -> Option<Vec<u8>>) -> Mutation {
    Mutation { words, kind: SGXS, name, change }
}

/// Offsets as in the SDM, volume 3D, table 35-19; records as in `measure::sgx::sgxs`.
const MUTATIONS: [Mutation; 16] = [
    flip("modulus", "a bit of the modulus", |bytes| flipped(bytes, 200)),
    flip("signature", "a bit of the signature", |bytes| flipped(bytes, 600)),
    flip("enclavehash", "a bit of the enclave's hash", |bytes| flipped(bytes, 970)),
    flip("date", "a bit of the date", |bytes| flipped(bytes, 20)),
    flip("q1", "Q1 one more", |bytes| one_more(bytes, 1040)),
    flip("q1", "Q1 one less", |bytes| one_less(bytes, 1040)),
    flip("q2", "Q2 one more", |bytes| one_more(bytes, 1424)),
    flip("q2", "Q2 one less", |bytes| one_less(bytes, 1424)),
    flip("exponent", "exponent 65537", |bytes| replaced(bytes, 512, &65537_u32.to_le_bytes())),
    flip("exponent", "exponent 1", |bytes| replaced(bytes, 512, &1_u32.to_le_bytes())),
    flip("header", "the header", |bytes| flipped(bytes, 4)),
    flip("header", "the second header", |bytes| flipped(bytes, 24)),
    stream("not page aligned", "a page that is not aligned", |bytes| {
        moved(bytes, b"EADD\0\0\0\0", |offset, _| offset + 8)
    }),
    stream("beyond size", "a page behind the end", |bytes| moved(bytes, b"EADD\0\0\0\0", |_, size| size)),
    stream("duplicate", "a page twice", twice),
    stream("256-aligned", "a chunk that is not aligned", |bytes| moved(bytes, b"EEXTEND\0", |offset, _| offset + 16)),
];

fn flipped(bytes: &[u8], at: usize) -> Option<Vec<u8>> {
    let mut changed = bytes.to_vec();
    *changed.get_mut(at)? ^= 1;
    Some(changed)
}

fn replaced(bytes: &[u8], at: usize, with: &[u8]) -> Option<Vec<u8>> {
    let mut changed = bytes.to_vec();
    changed.get_mut(at..at.checked_add(with.len())?)?.copy_from_slice(with);
    Some(changed)
}

fn one_more(bytes: &[u8], at: usize) -> Option<Vec<u8>> {
    let number = u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?);
    replaced(bytes, at, &number.wrapping_add(1).to_le_bytes())
}

fn one_less(bytes: &[u8], at: usize) -> Option<Vec<u8>> {
    let number = u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?);
    replaced(bytes, at, &number.wrapping_sub(1).to_le_bytes())
}

/// The last record of a kind, at another offset in the enclave.
fn moved(bytes: &[u8], tag: &[u8; 8], offset: fn(u64, u64) -> u64) -> Option<Vec<u8>> {
    let size = u64::from_le_bytes(bytes.get(12..20)?.try_into().ok()?);
    let at = records(bytes).filter(|at| bytes.get(*at..at + 8) == Some(tag)).last()?;
    let old = u64::from_le_bytes(bytes.get(at + 8..at + 16)?.try_into().ok()?);
    replaced(bytes, at + 8, &offset(old, size).to_le_bytes())
}

/// The last page, added a second time behind its chunks.
fn twice(bytes: &[u8]) -> Option<Vec<u8>> {
    let at = records(bytes).filter(|at| bytes.get(*at..at + 8) == Some(b"EADD\0\0\0\0")).last()?;
    Some([bytes, bytes.get(at..)?].concat())
}

/// Where each record begins.
fn records(bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let tag = bytes.get(at..at + 8)?;
        let found = at;
        at += if tag == b"EEXTEND\0" || tag == b"UNMEASRD" { 64 + CHUNK } else { 64 };
        Some(found)
    })
}
