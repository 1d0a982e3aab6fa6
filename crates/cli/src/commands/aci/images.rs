//! What images say about themselves, from archives. Each archive is read once.

use crate::Context;
use crate::args::AciPolicyArgs;
use crate::images;
use crate::outcome::{self, Failure, Result};
use image::archive::{ArchiveError, Image};
use image::cce::{ImageFacts, Images, Spec};
use image::layers;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where archives are looked for.
pub(super) struct Archives {
    named: BTreeMap<String, PathBuf>,
    searched: Vec<PathBuf>,
}

impl Archives {
    /// From `--image REF=ARCHIVE` and `--tar`.
    pub(super) fn of(args: &AciPolicyArgs) -> Result<Self> {
        let mut archives = Self { named: BTreeMap::new(), searched: Vec::new() };
        for option in &args.tar {
            match option.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
                true => archives.add_map(option)?,
                false => archives.searched.push(option.clone()),
            }
        }
        for (reference, archive) in args.image.iter().filter_map(|option| option.split_once('=')) {
            archives.named.insert(reference.to_owned(), archive.into());
        }
        Ok(archives)
    }

    fn add_map(&mut self, path: &Path) -> Result<()> {
        let map: BTreeMap<String, PathBuf> = serde_json::from_slice(&outcome::read(path)?).map_err(|error| {
            Failure::usage(format!("{} does not map images to archives", path.display())).because(error)
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        self.named.extend(map.into_iter().map(|(reference, archive)| (reference, folder.join(archive))));
        Ok(())
    }

    /// Facts about every image that has an archive; making the policy names one that has none.
    pub(super) fn facts(&self, specs: &[&Spec], context: &Context) -> Result<Images> {
        let mut images = Images::new();
        for spec in specs {
            if images.contains_key(&spec.image) {
                continue;
            }
            if let Some((path, image)) = self.open(&spec.image, context)? {
                images.insert(spec.image.clone(), facts(&path, &image, context)?);
            }
        }
        Ok(images)
    }

    fn open(&self, reference: &str, context: &Context) -> Result<Option<(PathBuf, Image)>> {
        let without_tag = reference.strip_suffix(":latest");
        let named = self.named.get(reference).or_else(|| self.named.get(without_tag?));
        if let Some(path) = named {
            return Ok(Some((path.clone(), only(path, reference, context)?)));
        }
        for path in &self.searched {
            match images::open(path, Some(reference)) {
                Ok(image) => return Ok(Some((path.clone(), image))),
                Err(ArchiveError::NoSuchImage { .. }) => {}
                Err(error) => return Err(images::unusable(path, error)),
            }
        }
        Ok(None)
    }
}

/// The image that an archive was named for: by digest or name where the archive tells, else the only one.
fn only(path: &Path, reference: &str, context: &Context) -> Result<Image> {
    let digest = reference.split_once('@').map(|(_, digest)| digest);
    let wanted: Vec<&str> = digest.into_iter().chain([reference]).collect();
    let (image, known) = images::open_first(path, &wanted).map_err(|error| images::unusable(path, error))?;
    if known {
        return Ok(image);
    }
    let names =
        if image.names.is_empty() { "has no name".to_owned() } else { format!("is named {}", image.names.join(", ")) };
    let unchecked = if digest.is_some() { ", and its digest cannot be compared" } else { "" };
    context.printer.warn(format!("the image in {} {names}; it is taken for {reference}{unchecked}", path.display()));
    Ok(image)
}

fn facts(path: &Path, image: &Image, context: &Context) -> Result<ImageFacts> {
    let layers = images::layers(path, image)?;
    context.printer.step("layers", format!("{} of {}", layers.len(), path.display()));
    let finding = |(number, layer): (usize, &layers::Layer)| {
        layer.findings.iter().map(move |finding| format!("layer {number}: {finding}")).collect::<Vec<_>>()
    };
    Ok(ImageFacts {
        layer_findings: (1..).zip(&layers).flat_map(finding).collect(),
        layers: layers.iter().map(|layer| layer.root_hash.to_string()).collect(),
        entrypoint: image.config.entrypoint.clone(),
        command: image.config.command.clone(),
        environment: image.config.environment.clone(),
        folder: image.config.folder.clone(),
        user: image.config.user.clone(),
        stop_signal: image.config.stop_signal.clone(),
    })
}
