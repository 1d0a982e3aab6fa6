//! NVIDIA devices that come with a CPU.
//!
//! Their text is part of what the CPU signed, and each answers a nonce made of session and key: so they are of this
//! session, of this guest, and none is shown twice. RIMs of the collateral folder are compared with; a device for which
//! none is there is genuine and unmeasured, and its claims say so (`measres` is `not-run`).

use super::{VerifiedDevice, collateral};
use attest::composite::{Session, kbs};
use attest::nvgpu::json::SentDevice;
use attest::nvgpu::{
    Expected, HoldPolicy, NvidiaRoots, References, RevocationInput, RevocationPolicy, Rim, RimError, VersionRule,
};
use attest::snp::CrlPolicy;
use claims::kbs::RuntimeData;
use claims::nvgpu::GoldenMeasurements;
use claims::{Allowed, Code, Nonce, Refusal, UnixTime};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;

const POLICY: &str = "an appraisal policy decides";

pub(super) fn verify(
    text: &str,
    runtime: &RuntimeData,
    now: UnixTime,
    crl: &CrlPolicy,
    folder: Option<&Path>,
    imported: &[GoldenMeasurements],
) -> Result<Vec<VerifiedDevice>, Code> {
    let sent = kbs::devices(text).map_err(|error| error.code())?;
    if sent.is_empty() && !text.is_empty() {
        return Err(Code::CompositeDevices);
    }
    let revocation = revocation(folder, crl);
    let golden = if sent.is_empty() { Vec::new() } else { golden(folder, &revocation, now) };
    let golden = [golden.as_slice(), imported].concat();
    let upstream = kbs::device_nonce(runtime).map_err(|error| error.code())?;
    let session = Session::of(runtime).map_err(|error| error.code())?;
    each(&sent, |index| vec![upstream, session.device_nonce(index)], &golden, &revocation, now)
}

/// Verifies each device against the nonces that are good for its place.
pub(super) fn each(
    sent: &[SentDevice],
    nonces: impl Fn(u32) -> Vec<Nonce>,
    golden: &[GoldenMeasurements],
    revocation: &RevocationInput,
    now: UnixTime,
) -> Result<Vec<VerifiedDevice>, Code> {
    let (mut serials, mut verified) = (BTreeSet::new(), Vec::new());
    for (index, device) in (0_u32..).zip(sent) {
        let expected = expected(device, nonces(index), golden);
        let genuine = device
            .evidence
            .verify(&device.chain, &NvidiaRoots, revocation, now)
            .and_then(|genuine| genuine.check_sent_as(device.architecture).map(|()| genuine))
            .and_then(|genuine| genuine.appraise(&expected));
        let appraised = genuine.map_err(|error| {
            tracing::info!(index, %error, "a device is refused");
            error.code()
        })?;
        let claims = appraised.claims();
        if !serials.insert(claims.device_id.clone()) {
            return Err(Code::CompositeDevices);
        }
        let class = if claims.architecture.is_switch() { "switch" } else { "gpu" };
        verified.push(VerifiedDevice { name: "nvidia", class, claims: json!(claims) });
    }
    Ok(verified)
}

/// What is known of revocation: responses in the folder, and whether they must be there.
pub(super) fn revocation(folder: Option<&Path>, crl: &CrlPolicy) -> RevocationInput {
    RevocationInput {
        responses: collateral::with_ending(folder, &["ocsp"]).into_iter().map(|(_, bytes)| bytes).collect(),
        policy: match crl {
            CrlPolicy::Required => RevocationPolicy::Required,
            CrlPolicy::AbsentOk { reason } => RevocationPolicy::AbsentOk { reason: reason.clone() },
        },
        hold: HoldPolicy::Refused,
    }
}

/// The values of a RIM that NVIDIA signed and that is in date.
pub(super) fn verify_rim(
    bytes: &[u8],
    revocation: &RevocationInput,
    now: UnixTime,
) -> Result<GoldenMeasurements, RimError> {
    Rim::parse(bytes).and_then(|rim| rim.verify(&NvidiaRoots, revocation, now)).map(|rim| rim.golden())
}

/// Values of the RIMs in the folder that NVIDIA signed and that are in date.
pub(super) fn golden(folder: Option<&Path>, revocation: &RevocationInput, now: UnixTime) -> Vec<GoldenMeasurements> {
    let files = collateral::with_ending(folder, &["xml", "swidtag"]);
    let values = files.into_iter().filter_map(|(path, bytes)| match verify_rim(&bytes, revocation, now) {
        Ok(golden) => Some(golden),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "this RIM is not used");
            None
        }
    });
    values.collect()
}

fn expected(device: &SentDevice, nonces: Vec<Nonce>, golden: &[GoldenMeasurements]) -> Expected {
    let references = |version: Option<&str>| {
        let known = |golden: &GoldenMeasurements| {
            version.is_some_and(|version| golden.colloquial_version.eq_ignore_ascii_case(version))
        };
        match golden.iter().any(known) {
            true => References::Of(golden.to_vec()),
            false => References::Waived { reason: "no RIM for it is in the collateral folder".into() },
        }
    };
    Expected {
        nonce: Allowed::OneOf(nonces),
        architectures: Allowed::any(POLICY),
        devices: Allowed::any(POLICY),
        modes: Allowed::any(POLICY),
        driver: VersionRule::Any { reason: POLICY.into() },
        vbios: VersionRule::Any { reason: POLICY.into() },
        driver_golden: references(device.evidence.driver_version()),
        vbios_golden: references(Some(device.evidence.vbios_version())),
    }
}
