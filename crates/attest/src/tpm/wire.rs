//! Big-endian fields of TPM structures, read in order.

use super::error::TpmError;

/// The rest of a structure, and where it starts.
pub(super) struct Wire<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Wire<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, offset: 0 }
    }

    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], TpmError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(TpmError::Truncated { offset: self.offset })?;
        self.rest = rest;
        self.offset = self.offset.saturating_add(length);
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], TpmError> {
        let offset = self.offset;
        self.take(N)?.try_into().map_err(|_| TpmError::Truncated { offset })
    }

    pub(super) fn u8(&mut self) -> Result<u8, TpmError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, TpmError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, TpmError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, TpmError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// A `TPM2B`: a 16-bit size and so many bytes, at most `most`.
    pub(super) fn sized(&mut self, what: &'static str, most: usize) -> Result<&'a [u8], TpmError> {
        let offset = self.offset;
        let length = usize::from(self.u16()?);
        if length > most {
            return Err(TpmError::Field { what, offset });
        }
        self.take(length)
    }

    pub(super) fn finish(self) -> Result<(), TpmError> {
        match self.rest.len() {
            0 => Ok(()),
            more => Err(TpmError::Trailing { offset: self.offset, more }),
        }
    }
}
