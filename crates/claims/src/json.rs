//! Canonical JSON (RFC 8785, JCS): one value, one byte sequence, so that its digest means something.

use serde::Serialize;
use serde_json::Value;

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
            let mut members: Vec<_> = members.iter().collect();
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
            prop_assert_eq!(super::canonical_value(&value).unwrap(), super::canonical(&value).unwrap());
        }
    }

    #[test]
    fn names_beyond_the_basic_plane_come_before_private_ones() {
        let value = serde_json::json!({"\u{e000}": 1, "\u{1f600}": 2, "\n": "\u{1}\u{7f}\u{8}"});
        let written = super::canonical_value(&value).unwrap();
        assert_eq!(written, super::canonical(&value).unwrap());
        assert!(written.ends_with("\"\u{1f600}\":2,\"\u{e000}\":1}".as_bytes()));
    }
}
