//! Names in folders. Hashed folders are read like others: their index blocks look like empty ones.

use super::super::format::MODE_FOLDER;
use super::volume::{Fields, Inode};
use super::{ReadError, Reader};
use crate::ReadAt;

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The name.
    pub name: Vec<u8>,
    /// What it leads to.
    pub inode: u32,
}

impl<D: ReadAt> Reader<D> {
    /// Gives every name but `.` and `..` to `each`, until that says false.
    pub(super) fn each_name(
        &self,
        folder: &Inode,
        each: &mut dyn FnMut(Found) -> Result<bool, ReadError>,
    ) -> Result<(), ReadError> {
        let damaged = |what| ReadError::Damaged { inode: folder.number, what };
        if !folder.is(MODE_FOLDER) {
            return Err(damaged("not a folder"));
        }
        self.folder_blocks(folder, &mut |block| {
            let mut rest = block;
            while rest.len() >= 8 {
                let fields = Fields(rest);
                let inode = fields.u32(0);
                let name_length = usize::from(fields.u8(6));
                let length = match usize::from(fields.u16(4)) {
                    // A whole block of 64 KiB.
                    0 | 0xffff if block.len() == 1 << 16 => 1 << 16,
                    length => length,
                };
                if length < 8 || !length.is_multiple_of(4) || length > rest.len() {
                    return Err(damaged("length of an entry"));
                }
                if inode != 0 {
                    let end = name_length.saturating_add(8);
                    let name = rest.get(8..end).filter(|_| end <= length).ok_or(damaged("length of a name"))?;
                    if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
                        return Err(damaged("a name that is none"));
                    }
                    if !matches!(name, b"." | b"..") && !each(Found { name: name.to_vec(), inode })? {
                        return Ok(false);
                    }
                }
                rest = rest.get(length..).unwrap_or_default();
            }
            Ok(true)
        })
    }

    /// Inode of one name.
    pub(super) fn find(&self, folder: &Inode, wanted: &[u8]) -> Result<Option<u32>, ReadError> {
        let mut found = None;
        self.each_name(folder, &mut |one| {
            if one.name == wanted {
                found = Some(one.inode);
            }
            Ok(found.is_none())
        })?;
        Ok(found)
    }
}
