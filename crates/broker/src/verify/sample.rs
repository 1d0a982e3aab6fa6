//! Upstream's `sample` evidence, which nobody signs: only at a development broker, and only where the program that runs
//! it brings the reader. It shows that a client speaks the protocol, and nothing else.

use super::{Appraiser, Init, Kind, Session, Verified, VerifiedDevice, base64_member};
use aws_lc_rs::digest::{SHA384, digest};
use claims::Code;
use claims::kbs::RuntimeData;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Reads evidence of upstream's sample attesters: claims, or what is wrong. The broker compares what it is bound to.
#[derive(Debug, Clone, Copy)]
pub struct Samples {
    /// Of `sample`, a primary evidence.
    pub cpu: fn(&Value) -> Result<Value, Code>,
    /// Of `sampledevice`.
    pub device: fn(&Value) -> Result<Value, Code>,
}

impl Appraiser {
    /// Whether evidence of this kind is looked at here.
    pub(crate) fn takes(&self, kind: Kind) -> bool {
        kind != Kind::Sample || self.samples().is_some()
    }

    pub(super) fn samples(&self) -> Option<Samples> {
        self.extra.as_ref().and_then(|extra| extra.samples())
    }

    pub(super) fn verify_sample(&self, evidence: &Value, session: &Session<'_>) -> Result<Verified, Code> {
        let samples = self.samples().ok_or(Code::TeeUnsupported)?;
        let claims = (samples.cpu)(evidence)?;
        check_bound(evidence, &session.binding)?;
        Ok(Verified {
            kind: Kind::Sample,
            snp: None,
            claims,
            report_data: hex::encode(session.binding),
            init: Init::Unsigned,
            instance: None,
            revocation: None,
        })
    }
}

/// The sample device in the text, and the text without it.
pub(super) fn devices<'a>(
    samples: Option<Samples>,
    text: &'a str,
    runtime: &RuntimeData,
) -> Result<(Cow<'a, str>, Option<VerifiedDevice>), Code> {
    let Some(samples) = samples.filter(|_| text.contains("sampledevice")) else { return Ok((text.into(), None)) };
    let mut sent: Map<String, Value> = serde_json::from_str(text).map_err(|_| Code::Format)?;
    let Some(evidence) = sent.remove(NAME) else { return Ok((text.into(), None)) };
    let claims = (samples.device)(&evidence)?;
    let bound = claims::json::canonical(runtime).map_err(|_| Code::Format)?;
    check_bound(&evidence, digest(&SHA384, &bound).as_ref())?;
    let rest = if sent.is_empty() { String::new() } else { Value::Object(sent).to_string() };
    Ok((rest.into(), Some(VerifiedDevice { name: NAME, class: "gpu", claims })))
}

const NAME: &str = "sampledevice";

fn check_bound(evidence: &Value, binding: &[u8]) -> Result<(), Code> {
    if base64_member(evidence, "report_data", Code::Format)? == binding { Ok(()) } else { Err(Code::Binding) }
}
