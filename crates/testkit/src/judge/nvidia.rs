//! Vectors of NVIDIA's devices and reference integrity manifests.

use super::{NOT_ASKED, Verdict, array, needed, refused};
use crate::text::TextVector;
use attest::nvgpu::{
    DeviceChain, Evidence, Expected, GpuError, NvidiaRoots, References, RevocationInput, Rim, RimError, Roots,
    UnanchoredRoots, VersionRule,
};
use claims::bytes::Digest384;
use claims::nvgpu::{Architecture, GoldenMeasurements, Mode};
use claims::{Allowed, Nonce, Refusal, UnixTime};

pub(super) fn gpu(vector: &TextVector) -> Verdict {
    match anchor(vector)? {
        None => gpu_under(vector, &NvidiaRoots),
        Some(roots) => gpu_under(vector, &roots),
    }
}

pub(super) fn rim(vector: &TextVector) -> Verdict {
    let bytes = needed(vector.bytes("rim"), "rim")?;
    let input = revocation(vector)?;
    let checked = match anchor(vector)? {
        None => verified(bytes, &NvidiaRoots, &input, vector.now),
        Some(roots) => verified(bytes, &roots, &input, vector.now),
    };
    Ok(checked.map(drop).map_err(|error| refused(&error, error.code())))
}

fn gpu_under<R: Roots>(vector: &TextVector, roots: &R) -> Verdict {
    let mut golden = (Vec::new(), Vec::new());
    for (name, place) in [("rim-driver", &mut golden.0), ("rim-vbios", &mut golden.1)] {
        for bytes in vector.all(name) {
            // Manifests are collateral here: one that does not hold is a case of the kind `rim`.
            let input = RevocationInput::absent(NOT_ASKED);
            place.push(verified(bytes, roots, &input, vector.now).map_err(|error| format!("{name}: {error}"))?);
        }
    }
    let expected = expected(vector, golden)?;
    let input = revocation(vector)?;
    let chain = DeviceChain::from_der(vector.all("certificate").map(<[u8]>::to_vec).collect());
    let bytes = needed(vector.bytes("evidence"), "evidence")?;
    let sent_as = vector.text("sent-as")?.map(architecture).transpose()?;
    let checked = || -> Result<(), GpuError> {
        let device = Evidence::parse(bytes)?.verify(&chain, roots, &input, UnixTime(vector.now))?;
        sent_as.map_or(Ok(()), |sent| device.check_sent_as(sent))?;
        device.appraise(&expected).map(drop)
    };
    Ok(checked().map_err(|error| refused(&error, error.code())))
}

fn verified<R: Roots>(
    bytes: &[u8],
    roots: &R,
    input: &RevocationInput,
    now: u64,
) -> Result<GoldenMeasurements, RimError> {
    Ok(Rim::parse(bytes)?.verify(roots, input, UnixTime(now))?.golden())
}

fn anchor(vector: &TextVector) -> Result<Option<UnanchoredRoots>, String> {
    if vector.bytes("anchor") == Some(b"production") {
        return Ok(None);
    }
    let pin = |name| Ok::<_, String>(Digest384(needed(array(vector, name)?, name)?));
    Ok(Some(UnanchoredRoots { device: pin("anchor-device")?, rim: pin("anchor-rim")? }))
}

fn revocation(vector: &TextVector) -> Result<RevocationInput, String> {
    let responses = vector.all("ocsp").map(<[u8]>::to_vec).collect();
    match needed(vector.text("revocation")?, "revocation")? {
        "required" => Ok(RevocationInput::required(responses)),
        "absent-ok" => Ok(RevocationInput { responses, ..RevocationInput::absent(NOT_ASKED) }),
        other => Err(format!("the policy `{other}` is not known")),
    }
}

fn expected(
    vector: &TextVector,
    (driver, vbios): (Vec<GoldenMeasurements>, Vec<GoldenMeasurements>),
) -> Result<Expected, String> {
    let version = |name| -> Result<VersionRule, String> {
        Ok(match vector.text(name)? {
            Some(floor) => VersionRule::AtLeast(floor.to_owned()),
            None => VersionRule::Any { reason: NOT_ASKED.to_owned() },
        })
    };
    Ok(Expected {
        nonce: Allowed::only(Nonce(needed(array(vector, "want.nonce")?, "want.nonce")?)),
        architectures: match vector.text("want.architecture")? {
            Some(name) => Allowed::only(architecture(name)?),
            None => Allowed::any(NOT_ASKED),
        },
        devices: vector.text("want.device")?.map_or(Allowed::any(NOT_ASKED), |id| Allowed::only(id.to_owned())),
        modes: match vector.text("want.mode")? {
            None => Allowed::any(NOT_ASKED),
            Some("SPT") => Allowed::only(Some(Mode::Spt)),
            Some(other) => return Err(format!("the mode `{other}` is not known")),
        },
        driver: version("want.driver")?,
        vbios: version("want.vbios")?,
        driver_golden: References::Of(driver),
        vbios_golden: References::Of(vbios),
    })
}

fn architecture(name: &str) -> Result<Architecture, String> {
    match name {
        "HOPPER" => Ok(Architecture::Hopper),
        "BLACKWELL" => Ok(Architecture::Blackwell),
        other => Err(format!("the architecture `{other}` is not known")),
    }
}
