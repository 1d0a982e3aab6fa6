//! The root volume: the image with the workload's settings in it.

use super::staging::Staging;
use super::{BuildError, Progress, Request, Step, step};
use crate::bundle::names;
use crate::root_volume::{RootVolume, Sealing, Source};
use claims::Digest256;
use claims::volume::Geometry;
use claims::workload::SETTINGS_PATH;
use std::sync::atomic::{AtomicU64, Ordering};

/// The root volume, written.
pub(super) struct Root {
    pub(super) geometry: Geometry,
    /// The image's identity.
    pub(super) image: Digest256,
}

/// Opens the image, adds the settings, seals the drive.
pub(super) fn write(request: &Request<'_>, staging: &Staging) -> Result<Root, BuildError> {
    step(request, Step::Image);
    let workload = request.workload;
    let source = Source {
        archive: &workload.docker_archive,
        reference: None,
        scratch: staging.folder(),
        cache: request.cache,
        drive_bytes: workload.drives.root,
        cancelled: request.cancelled,
    };
    let mut volume = RootVolume::open(&source)?;
    let user = volume.user(workload.user.as_deref().unwrap_or(&volume.config().user))?;
    let settings = workload.settings(volume.config(), user)?;
    volume.add_file(SETTINGS_PATH, 0o600, &super::json(&settings)?)?;
    let image = volume.image_id();
    let done = AtomicU64::new(0);
    let progress = |bytes: u64| {
        let done = done.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        (request.progress)(Progress { step: Step::Root, done, total: None });
    };
    let out = staging.path(names::ROOT);
    let sealing = Sealing {
        out: &out,
        key: request.volume_key,
        threads: request.threads,
        progress: &progress,
        cancelled: request.cancelled,
    };
    let written = volume.write(&sealing)?;
    staging.fix_mode(names::ROOT)?;
    Ok(Root { geometry: written.geometry, image })
}
