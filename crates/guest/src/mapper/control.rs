//! The ioctls of `/dev/mapper/control` (include/uapi/linux/dm-ioctl.h, interface 4).

use super::Table;
use claims::Code;
use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, opcode};
use std::ffi::c_void;
use std::fs::File;
use std::path::PathBuf;
use zeroize::{Zeroize, Zeroizing};

/// The kernel's device-mapper.
#[derive(Debug)]
pub struct Mapper {
    control: File,
}

/// A mapped device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    /// Name in the device-mapper.
    pub name: &'static str,
    /// Its node.
    pub node: PathBuf,
}

/// Why a device could not be mapped.
#[derive(Debug, thiserror::Error)]
pub enum MapperError {
    /// The kernel has no device-mapper.
    #[error("the kernel has no device-mapper")]
    Absent(#[source] std::io::Error),
    /// A call failed.
    #[error("device-mapper call `{call}` for `{name}` failed")]
    Call {
        /// Which call.
        call: &'static str,
        /// For which device.
        name: &'static str,
        /// What the kernel said.
        source: Errno,
    },
    /// A table or name is too long for the kernel's structure.
    #[error("the table of `{name}` is too long")]
    TooLong {
        /// For which device.
        name: &'static str,
    },
}

impl MapperError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Absent(_) => Code::Kernel,
            Self::Call { .. } | Self::TooLong { .. } => Code::Drive,
        }
    }
}

impl Mapper {
    /// Opens the control device.
    pub fn open() -> Result<Self, MapperError> {
        let options = std::fs::OpenOptions::new().read(true).write(true).open("/dev/mapper/control");
        options.map(|control| Self { control }).map_err(MapperError::Absent)
    }

    /// Creates a device with this table, and activates it.
    pub fn create(&self, name: &'static str, table: &Table) -> Result<Mapped, MapperError> {
        let created = self.call(Command::Create, name, 0, None)?;
        let node = PathBuf::from(format!("/dev/dm-{}", created.minor()));
        let read_only = if table.read_only { READ_ONLY } else { 0 };
        let activate = self
            .call(Command::LoadTable, name, read_only | SECURE_DATA, Some(table))
            .and_then(|_| self.call(Command::Resume, name, read_only, None));
        if let Err(error) = activate {
            // WHY: the first error is the one to tell.
            let _ = self.call(Command::Remove, name, 0, None);
            return Err(error);
        }
        Ok(Mapped { name, node })
    }

    /// Removes a device; the kernel wipes the key of a dm-crypt table with it.
    pub fn remove(&self, name: &'static str) -> Result<(), MapperError> {
        self.call(Command::Remove, name, 0, None).map(|_| ())
    }

    /// Whether a dm-verity device has met a block that does not match its root hash.
    pub fn is_corrupted(&self, name: &'static str) -> Result<bool, MapperError> {
        let answer = self.call(Command::Status, name, 0, None)?;
        Ok(answer.status().first() != Some(&b'V'))
    }

    fn call(
        &self,
        command: Command,
        name: &'static str,
        flags: u32,
        table: Option<&Table>,
    ) -> Result<Buffer, MapperError> {
        let mut buffer = Buffer::request(name, flags, table)?;
        let request = Request { command, buffer: &mut buffer };
        // SAFETY: `Request` hands the kernel a buffer of `data_size` bytes that starts with a `struct dm_ioctl`, as
        // every command of this device wants it; it outlives the call, and the kernel stays within `data_size`.
        // WHY: there is no safe interface to device-mapper without libdevmapper.
        #[expect(unsafe_code, reason = "device-mapper is reached by ioctl only")]
        let result = unsafe { rustix::ioctl::ioctl(&self.control, request) };
        match result {
            Ok(()) => Ok(buffer),
            Err(source) => Err(MapperError::Call { call: command.word(), name, source }),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Command {
    Create,
    Remove,
    Resume,
    LoadTable,
    Status,
}

impl Command {
    fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Remove => "remove",
            Self::Resume => "resume",
            Self::LoadTable => "load table",
            Self::Status => "status",
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::Create => 3,
            Self::Remove => 4,
            Self::Resume => 6,
            Self::LoadTable => 9,
            Self::Status => 12,
        }
    }
}

// Offsets in `struct dm_ioctl`.
const VERSION: usize = 0; // [u32; 3]
const DATA_SIZE: usize = 12; // u32
const DATA_START: usize = 16; // u32
const TARGET_COUNT: usize = 20; // u32
const FLAGS: usize = 28; // u32
const DEV: usize = 40; // u64
const NAME: usize = 48; // [u8; 128]
const HEAD: usize = 312;
const NAME_ROOM: usize = 128;

// Offsets in `struct dm_target_spec`, from its start.
const SPEC_LENGTH: usize = 8; // u64, after the u64 first sector
const SPEC_NEXT: usize = 20; // u32, after the i32 status
const SPEC_TYPE: usize = 24; // [u8; 16]
const SPEC: usize = 40;

const READ_ONLY: u32 = 1; // DM_READONLY_FLAG
const SECURE_DATA: u32 = 1 << 15; // DM_SECURE_DATA_FLAG: the kernel wipes its copy
const DATA_ROOM: usize = 1024;

/// A request and its answer. Wiped when dropped: a table can hold a key.
struct Buffer(Zeroizing<Vec<u64>>);

impl Buffer {
    fn request(name: &'static str, flags: u32, table: Option<&Table>) -> Result<Self, MapperError> {
        let too_long = || MapperError::TooLong { name };
        let text_length = table.map_or(0, |table| table.parameters.len());
        let size = HEAD
            .checked_add(SPEC)
            .and_then(|size| size.checked_add(text_length))
            .map(|size| size.saturating_add(1).max(HEAD.saturating_add(DATA_ROOM)).next_multiple_of(8))
            .ok_or_else(too_long)?;
        if name.len() >= NAME_ROOM {
            return Err(too_long());
        }
        let size_field = u32::try_from(size).map_err(|_| too_long())?;
        let mut buffer = Self(Zeroizing::new(vec![0; size / 8]));
        buffer.put(VERSION, &4u32.to_ne_bytes());
        buffer.put(DATA_SIZE, &size_field.to_ne_bytes());
        buffer.put(DATA_START, &(HEAD as u32).to_ne_bytes());
        buffer.put(FLAGS, &flags.to_ne_bytes());
        buffer.put(NAME, name.as_bytes());
        if let Some(table) = table {
            buffer.put(TARGET_COUNT, &1u32.to_ne_bytes());
            buffer.put(HEAD + SPEC_LENGTH, &table.sectors.to_ne_bytes());
            buffer.put(HEAD + SPEC_NEXT, &0u32.to_ne_bytes());
            buffer.put(HEAD + SPEC_TYPE, table.target.as_bytes());
            buffer.put(HEAD + SPEC, table.parameters.as_bytes());
        }
        Ok(buffer)
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) {
        for (index, byte) in bytes.iter().enumerate() {
            let at = offset.saturating_add(index);
            if let Some(word) = self.0.get_mut(at / 8) {
                let mut parts = word.to_ne_bytes();
                if let Some(place) = parts.get_mut(at % 8) {
                    *place = *byte;
                }
                *word = u64::from_ne_bytes(parts);
                parts.zeroize();
            }
        }
    }

    fn bytes(&self) -> impl Iterator<Item = u8> {
        self.0.iter().flat_map(|word| word.to_ne_bytes())
    }

    /// Minor number of the device (`huge_encode_dev` in `dev`).
    fn minor(&self) -> u64 {
        let device = self.0.get(DEV / 8).copied().unwrap_or(0);
        (device & 0xff) | ((device >> 12) & 0xfff_ff00)
    }

    /// Status text of the first target.
    fn status(&self) -> Vec<u8> {
        let start = self.0.get(DATA_START / 8).map_or(HEAD, |word| {
            let [a, b, c, d, ..] = word.to_ne_bytes();
            u32::from_ne_bytes([a, b, c, d]) as usize
        });
        self.bytes().skip(start.saturating_add(SPEC)).take_while(|byte| *byte != 0).collect()
    }
}

struct Request<'a> {
    command: Command,
    buffer: &'a mut Buffer,
}

// SAFETY: the opcode is that of `struct dm_ioctl`; `as_ptr` gives memory that is aligned for it, exclusively borrowed
// for the call, and as long as its `data_size` field says; nothing is taken out of the pointer afterwards.
// WHY: rustix wants this trait for an ioctl with a buffer longer than its structure.
#[expect(unsafe_code, reason = "device-mapper is reached by ioctl only")]
unsafe impl Ioctl for Request<'_> {
    type Output = ();
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        opcode::read_write::<[u8; HEAD]>(0xfd, self.command.number())
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.buffer.0.as_mut_ptr().cast()
    }

    // SAFETY: takes nothing out of the pointer.
    // WHY: the trait asks for it.
    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapper::{Crypt, Verity};
    use std::path::Path;

    #[test]
    fn a_request_has_the_kernels_layout() {
        let crypt = Crypt { device: Path::new("/dev/vda"), offset: 0, length: 4096, read_only: false };
        let table = crypt.table(&[7; 64]);
        let buffer = Buffer::request("root-crypt", SECURE_DATA, Some(&table)).unwrap();
        let bytes: Vec<u8> = buffer.bytes().collect();
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!((word(0), word(4), word(8)), (4, 0, 0));
        assert_eq!(word(DATA_SIZE) as usize, bytes.len());
        assert_eq!(word(DATA_START), 312);
        assert_eq!(word(TARGET_COUNT), 1);
        assert_eq!(word(FLAGS), 0x8000);
        assert_eq!(&bytes[NAME..NAME + 11], b"root-crypt\0");
        assert_eq!(u64::from_ne_bytes(bytes[HEAD + 8..HEAD + 16].try_into().unwrap()), 8);
        assert_eq!(&bytes[HEAD + 24..HEAD + 30], b"crypt\0");
        assert_eq!(&bytes[HEAD + SPEC..HEAD + SPEC + table.parameters.len()], table.parameters.as_bytes());
        assert_eq!(bytes[HEAD + SPEC + table.parameters.len()], 0);
    }

    #[test]
    fn minors_above_255_are_decoded() {
        let mut buffer = Buffer::request("x", 0, None).unwrap();
        buffer.put(DEV, &((253u64 << 8) | 0x44 | (1 << 20)).to_ne_bytes());
        assert_eq!(buffer.minor(), 0x144);
    }

    #[test]
    fn tables_of_a_verity_device_fit() {
        let root_hash = claims::VerityRoot([1; 32]);
        let geometry = claims::volume::Geometry { data_offset: 0, data_blocks: 1, tree_blocks: 0, root_hash };
        let table = Verity { device: "/dev/dm-0".into(), geometry }.table();
        assert!(Buffer::request("root", 0, Some(&table)).is_ok());
    }
}
