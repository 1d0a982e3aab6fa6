//! PAX records (POSIX.1-2017, pax, "Extended Header") and the number formats of headers, as Go's archive/tar reads them.

use std::collections::BTreeMap;

/// Keys and values of one extended header.
pub(super) type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// `LENGTH KEY=VALUE\n`, where LENGTH counts all of the record. Offsets and sizes of the oldest sparse format are
/// gathered under `GNU.sparse.map`, as the later formats have them.
pub(super) fn records(mut rest: &[u8]) -> Option<Records> {
    let mut records = Records::new();
    let mut map: Vec<&[u8]> = Vec::new();
    while !rest.is_empty() {
        let (key, value, after) = record(rest)?;
        rest = after;
        let expected: &[u8] = if map.len().is_multiple_of(2) { b"GNU.sparse.offset" } else { b"GNU.sparse.numbytes" };
        if matches!(key, b"GNU.sparse.offset" | b"GNU.sparse.numbytes") {
            if key != expected || value.contains(&b',') {
                return None;
            }
            map.push(value);
        } else {
            records.insert(key.to_vec(), value.to_vec());
        }
    }
    if !map.is_empty() {
        records.insert(b"GNU.sparse.map".to_vec(), map.join(&b','));
    }
    Some(records)
}

fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let length = usize::try_from(integer(bytes.get(..space)?)?).ok().filter(|length| *length >= 5)?;
    let record = bytes.get(space.checked_add(1)?..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (record.get(..equals)?, record.get(equals.checked_add(1)?..)?);
    let text = matches!(key, b"path" | b"linkpath" | b"uname" | b"gname");
    let valid = !key.is_empty() && !if text { value } else { key }.contains(&0);
    valid.then_some((key, value, bytes.get(length..)?))
}

/// A record with its length in front.
pub(super) fn encode(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let body = key.len().saturating_add(value.len()).saturating_add(3);
    let mut length = body;
    while length != body.saturating_add(length.to_string().len()) {
        length = body.saturating_add(length.to_string().len());
    }
    out.extend_from_slice(length.to_string().as_bytes());
    for part in [b" ", key, b"=", value, b"\n"] {
        out.extend_from_slice(part);
    }
}

/// A decimal number as Go's `strconv.ParseInt` reads it.
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A numeric field of a header: octal, or two's complement with the first bit set.
pub(super) fn numeric(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => binary(field, first & 0x40 != 0),
        _ => octal(field),
    }
}

/// An octal number between blanks and NULs; nothing at all is zero.
pub(super) fn octal(field: &[u8]) -> Option<i64> {
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !blank(byte));
    let Some(field) = start.and_then(|start| field.get(start..)) else { return Some(0) };
    let end = field.iter().rposition(|byte| !blank(byte)).and_then(|last| last.checked_add(1))?;
    let digits = string(field.get(..end)?);
    let digits = digits.iter().all(|digit| (b'0'..=b'7').contains(digit)).then_some(digits)?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok().map(u64::cast_signed)
}

fn binary(field: &[u8], negative: bool) -> Option<i64> {
    let mut value: u64 = 0;
    for (index, byte) in field.iter().enumerate() {
        let byte = if negative { !byte } else { *byte };
        let byte = if index == 0 { byte & 0x7f } else { byte };
        if value >> 56 != 0 {
            return None;
        }
        value = value << 8 | u64::from(byte);
    }
    let value = i64::try_from(value).ok()?;
    Some(if negative { !value } else { value })
}

/// Up to the first NUL.
pub(super) fn string(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back() {
        for length in [0, 1, 85, 86, 87, 88, 89, 90, 91, 92, 985, 990, 995] {
            let mut bytes = Vec::new();
            let value = vec![b'\n'; length];
            encode(&mut bytes, b"SCHILY.xattr.user.x", &value);
            encode(&mut bytes, b"path", b"a=b");
            let records = records(&bytes).unwrap();
            assert_eq!(records.get(b"SCHILY.xattr.user.x".as_slice()), Some(&value));
            assert_eq!(records.get(b"path".as_slice()).map(Vec::as_slice), Some(b"a=b".as_slice()));
        }
        assert_eq!(records(b"9 path=a\n0"), None);
        assert_eq!(records(b"11 path=a\0b\n"), None);
    }

    #[test]
    fn numbers_as_go_reads_them() {
        assert_eq!(numeric(b"0000644\0"), Some(0o644));
        assert_eq!(numeric(b"   644 \0"), Some(0o644));
        assert_eq!(numeric(b"\0\0\0\0"), Some(0));
        assert_eq!(numeric(b"12\x0034"), Some(0o12));
        assert_eq!(numeric(b"8"), None);
        assert_eq!(numeric(b"+1"), None);
        assert_eq!(numeric(&[0x80, 0, 1, 0]), Some(256));
        assert_eq!(numeric(&[0xff, 0xff, 0xff, 0xff]), Some(-1));
        assert_eq!(numeric(&[0x80, 0xff, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
