//! Images in archives, as several commands open them: by reference, with their layers' root hashes.

use crate::outcome::Failure;
use image::archive::{ArchiveError, Image, Opening};
use image::layers::{self, Layer, LayerError, Options};
use std::path::Path;

/// Most bytes that the compressed layers of an image may unpack to.
const UNPACKED: u64 = 512 << 30;

/// Opens the image of this name or digest; the only one where none is named.
pub(crate) fn open(path: &Path, reference: Option<&str>) -> Result<Image, ArchiveError> {
    let scratch = std::env::temp_dir();
    Image::open(path, &Opening { reference, scratch: &scratch, limit: UNPACKED, cancelled: &|| false })
}

/// Opens the image of the first of these names or digests that the archive knows, else its only image; also says which
/// of the two it was.
pub(crate) fn open_first(path: &Path, names: &[&str]) -> Result<(Image, bool), ArchiveError> {
    let scratch = std::env::temp_dir();
    let opening = Opening { reference: None, scratch: &scratch, limit: UNPACKED, cancelled: &|| false };
    Image::open_first(path, &opening, names)
}

/// The layers of an image, base first.
pub(crate) fn layers(path: &Path, image: &Image) -> Result<Vec<Layer>, Failure> {
    layers::image_layers(image, &options()).map_err(|error| no_hashes(path, error))
}

/// All cores.
pub(crate) fn options() -> Options {
    Options { threads: std::thread::available_parallelism().map_or(1, usize::from) }
}

/// The failure of layers that cannot be measured.
pub(crate) fn no_hashes(path: &Path, error: LayerError) -> Failure {
    match error {
        LayerError::Archive(error) => unusable(path, error),
        error => match error.refusal() {
            Some(code) => Failure::refused(format!("{} has no root hashes", path.display())).because(error).code(code),
            None => Failure::environment(format!("{} cannot be measured", path.display())).because(error),
        },
    }
}

/// The failure of an archive that cannot be read.
pub(crate) fn unusable(path: &Path, error: ArchiveError) -> Failure {
    match error.code() {
        Some(code) => Failure::refused(format!("{} cannot be used", path.display())).because(error).code(code),
        None => Failure::environment(format!("{} cannot be used", path.display())).because(error),
    }
}
