//! Container layers: root hash, image and tree equal to what the manifest says, or refused with the same words.

mod made;

use super::{Case, Run, Verdict};
use aws_lc_rs::digest;
use claims::{Digest256, UnixTime};
use image::archive::{Image, Opening};
use image::layers::{LayerError, Options, image_layers, write_image};
use sealed::verity::{FAN_OUT, HASH, hash_blocks_salted};
use sealed::{FileDevice, ReadAt};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Seek};
use std::path::Path;

const KIND: &str = "layers";
const BLOCK: usize = 4096;
/// Most bytes that the archives of vectors unpack to.
const UNPACKED: u64 = 16 << 30;

pub(super) fn run(base: &Path, manifest: &Value, _now: UnixTime, run: &mut Run<'_>) {
    for case in manifest["layers"].as_array().into_iter().flatten() {
        layer(base, case, run);
    }
    for case in manifest["images"].as_array().into_iter().flatten() {
        let name = case["image"].as_str().unwrap_or("");
        let wanted: Vec<&str> = case["layers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let got = hashes(&base.join(name));
        let detail = match &got {
            Ok(got) if *got != wanted => Some(format!("the layers are {got:?}")),
            _ => None,
        };
        tell(run, name, case["expect_error"].as_str(), got.map(drop), detail);
    }
}

fn layer(base: &Path, case: &Value, run: &mut Run<'_>) {
    let id = case["id"].as_str().unwrap_or("");
    let tar = match (case["tar"].as_str(), case["generate"].as_str()) {
        (Some(name), _) => File::open(base.join(name)),
        (None, Some(command)) => match made::tar(command) {
            Some(tar) => tar,
            None => return run.skip(&format!("{id}: `{command}` is not known here")),
        },
        (None, None) => Err(io::ErrorKind::NotFound.into()),
    };
    match tar.and_then(|tar| one(tar, case)) {
        Ok((result, detail)) => tell(run, id, case["expect_error"].as_str(), result, detail),
        Err(error) => run.error(KIND, id, format!("cannot be run: {error}")),
    }
}

/// The verdict, and the first member that differs.
fn one(tar: File, case: &Value) -> io::Result<(Result<(), LayerError>, Option<String>)> {
    let input = FileDevice::new(tar)?;
    let mut found = vec![("tar_size", json!(input.size())), ("tar_sha256", json!(sha256(&input)?))];
    let mut tar = input.file();
    tar.rewind()?;
    let out = FileDevice::new(tempfile::tempfile()?)?;
    let result = write_image(tar, &out, &options());
    if let Ok(layer) = &result {
        out.file().set_len(layer.ext4_size)?;
        let out = FileDevice::new(out.file().try_clone()?)?;
        let tree = tree(&out)?;
        found.extend([
            ("root_hash", json!(layer.root_hash.to_string())),
            ("ext4_size", json!(layer.ext4_size)),
            ("ext4_sha256", json!(sha256(&out)?)),
            ("merkle_tree_size", json!(tree.len())),
            ("merkle_tree_sha256", json!(Digest256::of(&tree).to_string())),
        ]);
    }
    let differs = |(member, got): &(&str, Value)| case.get(member).is_some_and(|wanted| wanted != got);
    let detail = found.iter().find(|found| differs(found));
    Ok((result.map(drop), detail.map(|(member, got)| format!("{member} is {got}"))))
}

fn tell(
    run: &mut Run<'_>,
    name: &str,
    error: Option<&str>,
    result: Result<(), LayerError>,
    mut detail: Option<String>,
) {
    let expected = if error.is_some() { Verdict::Refuse } else { Verdict::Accept };
    let (got, code) = match &result {
        Ok(()) => (Verdict::Accept, None),
        Err(refused) => (Verdict::Refuse, refused.refusal().map(|code| code.to_string())),
    };
    if let (Some(wanted), Err(refused)) = (error, &result)
        && !refused.class().is_some_and(|class| wanted.contains(class))
    {
        detail = Some(format!("refused with `{refused}`, the manifest says `{wanted}`"));
    }
    run.tell(&Case { kind: KIND, name: name.to_owned(), expected, got, code, detail });
}

fn hashes(archive: &Path) -> Result<Vec<String>, LayerError> {
    let opening = Opening { reference: None, scratch: &std::env::temp_dir(), limit: UNPACKED, cancelled: &|| false };
    let image = Image::open(archive, &opening)?;
    Ok(image_layers(&image, &options())?.iter().map(|layer| layer.root_hash.to_string()).collect())
}

fn options() -> Options {
    Options { threads: std::thread::available_parallelism().map_or(1, usize::from) }
}

fn sha256(from: &FileDevice) -> io::Result<String> {
    let mut context = digest::Context::new(&digest::SHA256);
    each(from, |bytes| context.update(bytes))?;
    Ok(hex::encode(context.finish()))
}

/// The whole Merkle tree, top level first, made one level after the other from the image alone.
fn tree(image: &FileDevice) -> io::Result<Vec<u8>> {
    let mut level = Vec::new();
    each(image, |bytes| level.extend(hashes_of(bytes)))?;
    let mut levels = Vec::new();
    loop {
        let mut bytes = level.concat();
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        level = hashes_of(&bytes);
        levels.push(bytes);
        if level.len() <= 1 {
            break;
        }
    }
    levels.reverse();
    Ok(levels.concat())
}

fn hashes_of(bytes: &[u8]) -> Vec<[u8; HASH]> {
    let mut hashes = vec![[0; HASH]; bytes.len() / BLOCK];
    hash_blocks_salted(&[0; 32], bytes, &mut hashes);
    hashes
}

fn each(from: &FileDevice, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; BLOCK * FAN_OUT as usize];
    let mut at = 0;
    while at < from.size() {
        let length = buffer.len().min(usize::try_from(from.size() - at).unwrap_or(usize::MAX));
        let part = &mut buffer[..length];
        from.read_exact_at(at, part)?;
        take(part);
        at += length as u64;
    }
    Ok(())
}
