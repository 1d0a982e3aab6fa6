//! Canonical JSON (RFC 8785, JCS): one value, one byte sequence, so that its digest means something.

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The value has no canonical form (a float that is not finite, a map key that is not text).
#[derive(Debug, thiserror::Error)]
#[error("the value has no canonical JSON form: {0}")]
pub struct CanonicalError(String);

/// Writes `value` as RFC 8785 canonical JSON.
pub fn canonical<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    serde_json_canonicalizer::to_vec(value).map_err(|error| CanonicalError(error.to_string()))
}

/// The same for a value that is JSON already, several times as fast: evidence is thousands of numbers.
pub fn canonical_value(value: &Value) -> Result<Vec<u8>, CanonicalError> {
    let mut out = Vec::with_capacity(512);
    write(value, &mut out)?;
    Ok(out)
}

/// Deepest nesting of a text that is written without being parsed as a whole.
const MAX_DEPTH: usize = 64;
/// Digits that an integer below 2^53 can have at least.
const SHORT: usize = 15;

/// The same for a text that was not taken apart: lists of small numbers, which evidence is made of, are copied.
///
/// Of a member that stands there twice the last one counts, as everywhere in this crate; nesting beyond 64 has no form.
pub fn canonical_text(text: &RawValue) -> Result<Vec<u8>, CanonicalError> {
    let mut out = Vec::with_capacity(text.get().len());
    write_text(text, MAX_DEPTH, &mut out)?;
    Ok(out)
}

fn write_text(text: &RawValue, depth: usize, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    let depth = depth.checked_sub(1).ok_or_else(|| CanonicalError("nested too deep".into()))?;
    let json = text.get();
    match json.as_bytes().first() {
        Some(b'[') if are_short_numbers(json.as_bytes()) => {
            for part in json.split_ascii_whitespace() {
                out.extend_from_slice(part.as_bytes());
            }
        }
        Some(b'[') => {
            out.push(b'[');
            for (index, value) in parsed::<Vec<&RawValue>>(json)?.into_iter().enumerate() {
                comma(index, out);
                write_text(value, depth, out)?;
            }
            out.push(b']');
        }
        Some(b'{') => {
            let members = parsed::<BTreeMap<String, &RawValue>>(json)?;
            write_members(members.iter().collect(), out, |value, out| write_text(value, depth, out))?;
        }
        _ => write(&parsed::<Value>(json)?, out)?,
    }
    Ok(())
}

/// Whether a list, which is known to be JSON, holds nothing but integers that stand there as RFC 8785 writes them.
fn are_short_numbers(list: &[u8]) -> bool {
    let inner = list.get(1..list.len().saturating_sub(1)).unwrap_or_default();
    let mut digits = 0_usize;
    inner.iter().all(|byte| {
        digits = if byte.is_ascii_digit() { digits.saturating_add(1) } else { 0 };
        digits <= SHORT && (byte.is_ascii_digit() || *byte == b',' || byte.is_ascii_whitespace())
    })
}

fn parsed<'a, T: serde::Deserialize<'a>>(json: &'a str) -> Result<T, CanonicalError> {
    serde_json::from_str(json).map_err(|error| CanonicalError(error.to_string()))
}

/// Largest integer whose neighbours are numbers of their own in RFC 8785, which knows doubles only.
const EXACT: u64 = 1 << 53;

fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    match value {
        Value::Array(list) => {
            out.push(b'[');
            for (index, value) in list.iter().enumerate() {
                comma(index, out);
                write(value, out)?;
            }
            out.push(b']');
        }
        Value::Object(members) => {
            write_members(members.iter().collect(), out, write)?;
        }
        Value::Number(number) => {
            let exact = number.as_i64().is_some_and(|number| number.unsigned_abs() < EXACT);
            if exact {
                plain(number, out)?;
            } else {
                out.extend(canonical(number)?);
            }
        }
        // Its escapes are those of section 3.2.2.2.
        Value::String(_) | Value::Bool(_) | Value::Null => plain(value, out)?,
    }
    Ok(())
}

fn write_members<T>(
    mut members: Vec<(&String, T)>,
    out: &mut Vec<u8>,
    mut write: impl FnMut(T, &mut Vec<u8>) -> Result<(), CanonicalError>,
) -> Result<(), CanonicalError> {
    // Section 3.2.3: by UTF-16 code units. Where they are in this order already, this costs one walk.
    members.sort_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
    out.push(b'{');
    for (index, (name, value)) in members.into_iter().enumerate() {
        comma(index, out);
        plain(name, out)?;
        out.push(b':');
        write(value, out)?;
    }
    out.push(b'}');
    Ok(())
}

fn comma(index: usize, out: &mut Vec<u8>) {
    if index > 0 {
        out.push(b',');
    }
}

fn plain<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    serde_json::to_writer(out, value).map_err(|error| CanonicalError(error.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn members_are_sorted_and_blanks_are_gone() {
        let value = serde_json::json!({"b": 1, "a": {"y": "é", "x": null}});
        assert_eq!(super::canonical(&value).unwrap(), "{\"a\":{\"x\":null,\"y\":\"é\"},\"b\":1}".as_bytes());
    }

    fn number() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            (-1000_i64..1000).prop_map(Value::from),
            Just(Value::from(1_u64 << 53)),
            Just(Value::from((1_u64 << 53) - 1)),
        ]
    }

    fn text() -> impl Strategy<Value = String> {
        proptest::collection::vec(any::<char>(), 0..6).prop_map(|letters| letters.into_iter().collect())
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![number(), text().prop_map(Value::from), any::<bool>().prop_map(Value::from), Just(Value::Null)];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                proptest::collection::btree_map(text(), inner, 0..8)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn both_ways_write_the_same(value in value()) {
            let written = super::canonical_value(&value).unwrap();
            prop_assert_eq!(&written, &super::canonical(&value).unwrap());
            for text in [serde_json::to_string(&value).unwrap(), serde_json::to_string_pretty(&value).unwrap()] {
                let text = serde_json::value::RawValue::from_string(text).unwrap();
                prop_assert_eq!(super::canonical_text(&text).unwrap(), written.clone());
            }
        }
    }

    #[test]
    fn a_text_is_written_as_its_value_is() {
        let cases = [
            ("[ 1,\n2 , 255 ]", "[1,2,255]"),
            ("[]", "[]"),
            ("[ ]", "[]"),
            ("[999999999999999]", "[999999999999999]"),
            ("[10000000000000000000000]", "[1e+22]"),
            ("[-0]", "[0]"),
            ("[1.0, 1e2]", "[1,100]"),
            ("[1,[2 ,3],{\"b\":[ 4 ],\"a\":\"\\u0041\"}]", "[1,[2,3],{\"a\":\"A\",\"b\":[4]}]"),
            ("{\"a\":1,\"\\u0061\":2}", "{\"a\":2}"),
        ];
        for (text, wanted) in cases {
            let text = serde_json::value::RawValue::from_string(text.into()).unwrap();
            assert_eq!(String::from_utf8(super::canonical_text(&text).unwrap()).unwrap(), wanted);
        }
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let written = |depth| super::canonical_text(&serde_json::value::RawValue::from_string(nested(depth)).unwrap());
        assert!(written(64).is_ok());
        assert_eq!(written(66).unwrap_err().to_string(), "the value has no canonical JSON form: nested too deep");
    }

    #[test]
    fn names_beyond_the_basic_plane_come_before_private_ones() {
        let value = serde_json::json!({"\u{e000}": 1, "\u{1f600}": 2, "\n": "\u{1}\u{7f}\u{8}"});
        let written = super::canonical_value(&value).unwrap();
        assert_eq!(written, super::canonical(&value).unwrap());
        assert!(written.ends_with("\"\u{1f600}\":2,\"\u{e000}\":1}".as_bytes()));
    }
}
