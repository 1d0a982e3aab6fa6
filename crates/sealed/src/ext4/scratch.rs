//! An empty file system for a device full of noise.

use super::format::BLOCK;
use super::{Layout, LayoutError, NoSources, Options, Size};
use crate::tree::{Meta, Tree};

/// The pieces, each an offset in bytes and its content, that make an empty writable ext4 of a device of `bytes`
/// bytes, whatever the device held before: what they leave out is never read before it is written. No journal, for
/// nothing in it outlives a boot. A few hundred kilobytes, even for 100 GB.
pub fn scratch(bytes: u64, uuid: [u8; 16], time: u32) -> Result<Vec<(u64, Vec<u8>)>, LayoutError> {
    let tree = Tree::new(Meta { mtime: time.into(), ..Meta::plain(0o755) });
    let options = Options { size: Size::Bytes(bytes), label: "scratch".into(), uuid, journal: false, time };
    let layout = Layout::plan(&tree, &options)?;
    let mut pieces = Vec::new();
    for range in layout.allocated() {
        let mut piece = vec![0; (range.end - range.start) as usize * BLOCK];
        // No file, so no source to fail.
        if layout.fill(range.start, &mut piece, &NoSources).is_ok() {
            pieces.push((range.start * BLOCK as u64, piece));
        }
    }
    Ok(pieces)
}
