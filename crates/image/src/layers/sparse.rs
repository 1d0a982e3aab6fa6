//! Maps of GNU sparse files.

use super::pax::{integer, numeric};

/// (offset, length) of each piece of data.
pub(super) type Map = Vec<(i64, i64)>;

/// A run of a sparse file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    Data(u64),
    Hole(u64),
}

/// The whole file as runs; none where the map does not fit the size, or is out of order.
pub(super) fn pieces(map: &Map, size: i64) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut at: i64 = 0;
    u64::try_from(size).ok()?;
    for (offset, length) in map {
        let end = offset.checked_add(*length).filter(|end| *length >= 0 && *end <= size)?;
        let hole = offset.checked_sub(at).and_then(|hole| u64::try_from(hole).ok())?;
        if *length > 0 {
            if hole > 0 {
                pieces.push(Piece::Hole(hole));
            }
            pieces.push(Piece::Data(u64::try_from(*length).ok()?));
            at = end;
        } else {
            // An empty piece does not split a hole, but those after it must not lie before it.
            at_least(&mut at, end, &mut pieces);
        }
    }
    let rest = u64::try_from(size.checked_sub(at)?).ok()?;
    if rest > 0 {
        pieces.push(Piece::Hole(rest));
    }
    Some(pieces)
}

fn at_least(at: &mut i64, end: i64, pieces: &mut Vec<Piece>) {
    if let Some(hole) = end.checked_sub(*at).and_then(|hole| u64::try_from(hole).ok()).filter(|hole| *hole > 0) {
        pieces.push(Piece::Hole(hole));
        *at = end;
    }
}

/// The entries of a GNU header or of a block after it; whether another block follows.
pub(super) fn gnu_entries(array: &[u8], map: &mut Map) -> Option<bool> {
    let (entries, rest) = array.as_chunks::<24>();
    for entry in entries {
        let (offset, length) = entry.split_at_checked(12)?;
        if offset.first() == Some(&0) {
            break;
        }
        map.push((numeric(offset)?, numeric(length)?));
    }
    rest.first().map(|more| *more > 0)
}

/// Formats 0.0 and 0.1: `OFFSET,LENGTH,…`
pub(super) fn map_of_records(count: &[u8], text: &[u8]) -> Option<Map> {
    let count = usize::try_from(integer(count)?).ok()?;
    let words: Vec<&[u8]> = if text.is_empty() { Vec::new() } else { text.split(|byte| *byte == b',').collect() };
    let (pairs, odd) = words.as_chunks::<2>();
    if pairs.len() != count || !odd.is_empty() {
        return None;
    }
    pairs.iter().map(|[offset, length]| Some((integer(offset)?, integer(length)?))).collect()
}

/// Format 1.0: a count, then offset and length of each piece, a line each.
#[derive(Debug, Default)]
pub(super) struct Lines {
    text: Vec<u8>,
    lines: usize,
}

impl Lines {
    pub(super) fn push(&mut self, block: &[u8]) {
        self.lines = self.lines.saturating_add(block.iter().filter(|byte| **byte == b'\n').count());
        self.text.extend_from_slice(block);
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// The map, once all its lines are there; the outer none is a line that is no number.
    pub(super) fn map(&self) -> Option<Option<Map>> {
        if self.lines == 0 {
            return Some(None);
        }
        let mut lines = self.text.split(|byte| *byte == b'\n');
        let count = usize::try_from(integer(lines.next()?)?).ok()?;
        let needed = count.checked_mul(2).filter(|double| isize::try_from(*double).is_ok())?;
        if self.lines.saturating_sub(1) < needed {
            return Some(None);
        }
        let mut map = Map::new();
        for _ in 0..count {
            map.push((integer(lines.next()?)?, integer(lines.next()?)?));
        }
        Some(Some(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_become_runs() {
        use Piece::{Data, Hole};
        assert_eq!(pieces(&vec![(2, 5), (18, 3)], 25), Some(vec![Hole(2), Data(5), Hole(11), Data(3), Hole(4)]));
        assert_eq!(pieces(&vec![], 0), Some(vec![]));
        assert_eq!(pieces(&vec![(0, 3), (2, 1)], 5), None, "overlap");
        assert_eq!(pieces(&vec![(0, 6)], 5), None, "beyond the end");
        assert_eq!(pieces(&vec![(4, 0), (3, 1)], 5), None, "out of order");
        assert_eq!(pieces(&vec![(-1, 1)], 5), None);
    }
}
