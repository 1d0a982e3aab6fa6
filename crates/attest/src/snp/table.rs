//! The certificate table of an extended report (GHCB 2.x, section 4.1.8.1; `auxblob` of configfs-tsm).
//!
//! *Takes* bytes that the host supplied. *Guarantees* bounds: at most 64 KiB, 16 entries, no overlap, no entry twice.
//! *Does not check* the certificates: they are hints until a chain is verified.

/// Most bytes of a table.
pub const MAX_TABLE: usize = 64 * 1024;
/// Most entries of a table.
pub const MAX_ENTRIES: usize = 16;
/// GUID (16 bytes), offset, length.
const ENTRY_LENGTH: usize = 24;

/// A kind of entry. Its GUID is in RFC 4122 byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Entry {
    /// Versioned chip endorsement key.
    Vcek,
    /// Versioned loaded endorsement key.
    Vlek,
    /// AMD SEV key (or the ASVK, which has no GUID of its own).
    Ask,
    /// AMD root key.
    Ark,
    /// Revocation list.
    Crl,
    /// Anything else, by GUID.
    Other([u8; 16]),
}

/// A table, as the host gave it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CertificateTable {
    entries: Vec<(Entry, Vec<u8>)>,
}

/// Why a table is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Larger than 64 KiB.
    #[error("the certificate table has {got} bytes, at most 65536 are read")]
    TooLarge {
        /// Bytes found.
        got: usize,
    },
    /// No terminating entry, or too many entries.
    #[error("the certificate table does not end within 16 entries")]
    Unterminated,
    /// An entry reaches out of the table or into its head.
    #[error("entry {index} of the certificate table reaches out of it")]
    Bounds {
        /// Which entry.
        index: usize,
    },
    /// Two entries share bytes.
    #[error("entry {index} of the certificate table overlaps another")]
    Overlap {
        /// Which entry.
        index: usize,
    },
    /// A kind is there twice, so that a reader would have to choose.
    #[error("entry {index} of the certificate table is of a kind that was there before")]
    Doubled {
        /// Which entry.
        index: usize,
    },
}

impl CertificateTable {
    /// Parses a table; no bytes are an empty table. Bytes behind the last entry are ignored, as pages are padded.
    pub fn parse(bytes: &[u8]) -> Result<Self, TableError> {
        if bytes.len() > MAX_TABLE {
            return Err(TableError::TooLarge { got: bytes.len() });
        }
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let heads = heads(bytes)?;
        let head_length = heads.len().saturating_add(1).saturating_mul(ENTRY_LENGTH);
        let mut taken: Vec<(usize, usize)> = Vec::new();
        let mut entries: Vec<(Entry, Vec<u8>)> = Vec::new();
        for (index, (kind, offset, length)) in heads.into_iter().enumerate() {
            let end = offset.checked_add(length).ok_or(TableError::Bounds { index })?;
            let data = bytes.get(offset..end).filter(|_| offset >= head_length).ok_or(TableError::Bounds { index })?;
            if taken.iter().any(|(start, stop)| offset < *stop && *start < end) {
                return Err(TableError::Overlap { index });
            }
            if entries.iter().any(|(other, _)| *other == kind) {
                return Err(TableError::Doubled { index });
            }
            taken.push((offset, end));
            entries.push((kind, data.to_vec()));
        }
        Ok(Self { entries })
    }

    /// A table of these entries.
    pub fn of(entries: Vec<(Entry, Vec<u8>)>) -> Self {
        Self { entries }
    }

    /// The table's bytes, entries in the order given.
    pub fn encode(&self) -> Vec<u8> {
        let mut offset = self.entries.len().saturating_add(1).saturating_mul(ENTRY_LENGTH);
        let mut head = Vec::new();
        let mut body: Vec<u8> = Vec::new();
        for (kind, data) in &self.entries {
            head.extend(kind.guid());
            head.extend(u32::try_from(offset).unwrap_or(u32::MAX).to_le_bytes());
            head.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes());
            body.extend(data);
            offset = offset.saturating_add(data.len());
        }
        head.extend([0; ENTRY_LENGTH]);
        head.extend(body);
        head
    }

    /// The data of an entry.
    pub fn entry(&self, kind: Entry) -> Option<&[u8]> {
        self.entries.iter().find(|(other, _)| *other == kind).map(|(_, data)| data.as_slice())
    }

    /// All entries, in the order of the table.
    pub fn entries(&self) -> impl Iterator<Item = (Entry, &[u8])> {
        self.entries.iter().map(|(kind, data)| (*kind, data.as_slice()))
    }
}

impl Entry {
    /// The GUID, in RFC 4122 byte order.
    pub fn guid(self) -> [u8; 16] {
        match self {
            Self::Other(guid) => guid,
            known => KNOWN.iter().find(|(kind, _)| *kind == known).map_or([0; 16], |(_, guid)| *guid),
        }
    }

    /// The kind with this GUID.
    pub fn from_guid(guid: [u8; 16]) -> Self {
        KNOWN.iter().find(|(_, known)| *known == guid).map_or(Self::Other(guid), |(kind, _)| *kind)
    }
}

const KNOWN: [(Entry, [u8; 16]); 5] = [
    (Entry::Vcek, 0x63da758d_e664_4564_adc5_f4b93be8accd_u128.to_be_bytes()),
    (Entry::Vlek, 0xa8074bc2_a25a_483e_aae6_39c045a0b8a1_u128.to_be_bytes()),
    (Entry::Ask, 0x4ab7b379_bbac_4fe4_a02f_05aef327c782_u128.to_be_bytes()),
    (Entry::Ark, 0xc0b406a4_a803_4952_9743_3fb6014cd0ae_u128.to_be_bytes()),
    (Entry::Crl, 0x92f81bc3_5811_4d3d_97ff_d19f88dc67ea_u128.to_be_bytes()),
];

/// Reads the heads up to the terminating zero entry.
fn heads(bytes: &[u8]) -> Result<Vec<(Entry, usize, usize)>, TableError> {
    let mut heads = Vec::new();
    for chunk in bytes.chunks_exact(ENTRY_LENGTH).take(MAX_ENTRIES.saturating_add(1)) {
        let (guid, rest) = chunk.split_first_chunk::<16>().ok_or(TableError::Unterminated)?;
        let (offset, rest) = rest.split_first_chunk::<4>().ok_or(TableError::Unterminated)?;
        let (length, _) = rest.split_first_chunk::<4>().ok_or(TableError::Unterminated)?;
        if guid == &[0; 16] {
            return Ok(heads);
        }
        let number = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes) as usize;
        heads.push((Entry::from_guid(*guid), number(offset), number(length)));
    }
    Err(TableError::Unterminated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bounds_overlaps_and_doubles_are_refused() {
        let table = CertificateTable::of(vec![(Entry::Vcek, vec![1, 2, 3]), (Entry::Ark, vec![4])]);
        let good = table.encode();
        assert_eq!(CertificateTable::parse(&good), Ok(table));
        let change = |offset: usize, value: u32| {
            let mut bad = good.clone();
            bad[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
            CertificateTable::parse(&bad)
        };
        assert_eq!(change(16, 0), Err(TableError::Bounds { index: 0 }));
        assert_eq!(change(20, u32::MAX), Err(TableError::Bounds { index: 0 }));
        assert_eq!(change(24 + 16, 73), Err(TableError::Overlap { index: 1 }));
        let doubled = CertificateTable::of(vec![(Entry::Vcek, vec![1]), (Entry::Vcek, vec![2])]).encode();
        assert_eq!(CertificateTable::parse(&doubled), Err(TableError::Doubled { index: 1 }));
        assert_eq!(CertificateTable::parse(&good[..30]), Err(TableError::Unterminated));
        assert_eq!(CertificateTable::parse(&vec![0; MAX_TABLE + 1]), Err(TableError::TooLarge { got: MAX_TABLE + 1 }));
        let many = CertificateTable::of((0..17).map(|n| (Entry::Other([n + 1; 16]), vec![])).collect()).encode();
        assert_eq!(CertificateTable::parse(&many), Err(TableError::Unterminated));
    }

    proptest! {
        #[test]
        fn encode_and_parse_are_inverse(entries in proptest::collection::btree_map(any::<[u8; 16]>(), any::<Vec<u8>>(), 0..10)) {
            let entries: Vec<_> = entries.into_iter().filter(|(guid, _)| guid != &[0; 16])
                .map(|(guid, data)| (Entry::from_guid(guid), data)).collect();
            let table = CertificateTable::of(entries);
            prop_assert_eq!(CertificateTable::parse(&table.encode()), Ok(table));
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = CertificateTable::parse(&bytes);
        }
    }
}
