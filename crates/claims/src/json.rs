//! Canonical JSON (RFC 8785, JCS): one value, one byte sequence, so that its digest means something.

use serde::Serialize;

/// The value has no canonical form (a float that is not finite, a map key that is not text).
#[derive(Debug, thiserror::Error)]
#[error("the value has no canonical JSON form: {0}")]
pub struct CanonicalError(String);

/// Writes `value` as RFC 8785 canonical JSON.
pub fn canonical<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    serde_json_canonicalizer::to_vec(value).map_err(|error| CanonicalError(error.to_string()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn members_are_sorted_and_blanks_are_gone() {
        let value = serde_json::json!({"b": 1, "a": {"y": "é", "x": null}});
        assert_eq!(super::canonical(&value).unwrap(), "{\"a\":{\"x\":null,\"y\":\"é\"},\"b\":1}".as_bytes());
    }
}
