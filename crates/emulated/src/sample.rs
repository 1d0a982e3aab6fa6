//! Upstream's `sample` evidence: what its clients send from a machine without a TEE. **Nobody signs it, it proves
//! nothing**, and the claims are the same for everybody; it is here so that unmodified clients can be tried.
//!
//! *Takes* evidence as Trustee's `sample` and `sampledevice` attesters write it: `{"svn": "1", "report_data": "…"}`.
//! *Guarantees* the claims that Trustee's verifiers give for it (trustee `deps/verifier/src/sample`, `sample_device`).
//! *Does not check* what it is bound to: the broker does.

use claims::Code;
use serde_json::{Value, json};

/// Longest version number.
const MAX_SVN: usize = 64;

/// Claims of a CPU that is none.
pub fn cpu(evidence: &Value) -> Result<Value, Code> {
    Ok(json!({
        "svn": svn(evidence)?,
        "launch_digest": "abcde",
        "platform_version": {"major": 1, "minor": 4},
        "debug": false,
    }))
}

/// Claims of a device that is none.
pub fn device(evidence: &Value) -> Result<Value, Code> {
    Ok(json!({"svn": svn(evidence)?}))
}

fn svn(evidence: &Value) -> Result<&str, Code> {
    let svn = evidence.get("svn").and_then(Value::as_str);
    svn.filter(|svn| svn.len() <= MAX_SVN).ok_or(Code::Format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_upstreams() {
        let sent = json!({"svn": "1", "report_data": "AAAA"});
        assert_eq!(cpu(&sent).unwrap()["platform_version"], json!({"major": 1, "minor": 4}));
        assert_eq!(device(&sent), Ok(json!({"svn": "1"})));
        for wrong in [json!({}), json!({"svn": 1}), json!([]), json!({"svn": "1".repeat(65)})] {
            assert_eq!(cpu(&wrong), Err(Code::Format), "{wrong}");
        }
    }
}
