//! NVIDIA GPUs and switches: the JSON of `nvattest` and NRAS, Trustee's JSON, or a raw SPDM report whose certificates
//! come as collateral.

use super::{Accepted, Question, Refused, Verdict, waived};
use crate::args::EvidenceKind as Kind;
use crate::collateral::{Form, Piece, unusable};
use crate::outcome::{Failure, Result};
use attest::nvgpu::json::SentDevice;
use attest::nvgpu::{
    DeviceChain, Evidence, Expected, GpuError, HoldPolicy, NvidiaRoots, OcspQuestion, References, RevocationInput,
    RevocationPolicy, Rim, VersionRule, json as sent,
};
use claims::nvgpu::GoldenMeasurements;
use claims::wanted::GpuWanted;
use claims::{Allowed, Code, Nonce, UnixTime};
use serde_json::{Value, json};

/// Start of an SPDM 1.1 `GET_MEASUREMENTS` request.
const SPDM: [u8; 2] = [0x11, 0xE0];

/// Whether it is a list of devices, or a raw report.
pub(super) fn looks_like(bytes: &[u8]) -> bool {
    bytes.starts_with(&SPDM)
        || serde_json::from_slice::<Value>(bytes).is_ok_and(|value| {
            let list = value.get("device_evidence_list").unwrap_or(&value);
            list.get(0).is_some_and(|device| device.get("arch").is_some() && device.get("evidence").is_some())
        })
}

/// Verifies and appraises every device.
pub(super) fn verify(question: &Question<'_>) -> Result<Verdict> {
    let wanted: GpuWanted = question.wanted.values(Kind::Nvgpu)?;
    let devices = match devices(question) {
        Ok(devices) => devices,
        Err(refused) => return Ok(Err(refused)),
    };
    if let Some(count) = wanted.count.filter(|count| *count != devices.len()) {
        let finding = claims::Finding::new("devices", devices.len(), count);
        let reason = format!("there are {} devices, wanted are {count}", devices.len());
        let refused = Refused::malformed(Code::CompositeDevices, reason);
        return Ok(Err(Box::new(Refused { finding: Some(finding), genuine: true, ..refused })));
    }
    let revocation = revocation(question);
    let golden = match golden(question, &revocation)? {
        Ok(golden) => golden,
        Err(refused) => return Ok(Err(refused)),
    };
    let (mut claims, mut not_compared) = (Vec::new(), Vec::new());
    for (index, device) in devices.iter().enumerate() {
        let expected = expected(question, &wanted, device, &golden)?;
        let refused = |error: GpuError, genuine| Box::new(refusal(&error, question, index, device, genuine));
        let verified = device.evidence.verify(&device.chain, &NvidiaRoots, &revocation, question.at);
        let verified = match verified {
            Ok(verified) => verified,
            Err(error) => return Ok(Err(refused(error, false))),
        };
        let named = question.bytes.starts_with(&SPDM) || verified.check_sent_as(device.architecture).is_ok();
        if !named {
            return Ok(Err(Box::new(Refused::malformed(
                Code::GpuArchitecture,
                format!("device {index} is sent as a {}, its certificates say otherwise", device.architecture),
            ))));
        }
        match verified.appraise(&expected) {
            Ok(appraised) => {
                claims.push(json!(appraised.claims()));
                not_compared
                    .extend(waived(appraised.waivers()).into_iter().map(|what| format!("device {index}: {what}")));
            }
            Err(error) => return Ok(Err(refused(error, true))),
        }
    }
    let repeated = repeated(&claims);
    if let Some(device) = repeated {
        let reason = format!("device {device} is there twice");
        let refused = Refused::malformed(Code::CompositeDevices, reason);
        return Ok(Err(Box::new(Refused { genuine: true, ..refused })));
    }
    Ok(Ok(Accepted { claims: json!({ "devices": claims }), not_compared, facts: json!({}), warnings: Vec::new() }))
}

/// Unverified claims.
pub(super) fn claimed_of(bytes: &[u8]) -> std::result::Result<Value, Box<Refused>> {
    let of = |error: GpuError| Box::new(Refused::of(&error));
    if bytes.starts_with(&SPDM) {
        return Evidence::parse(bytes).map(|evidence| json!({ "devices": [stated(&evidence)] })).map_err(of);
    }
    let devices = sent::parse(bytes).map_err(of)?;
    Ok(json!({ "devices": devices.iter().map(|device| stated(&device.evidence)).collect::<Vec<_>>() }))
}

/// What the JSON holds; for the vendor's services.
pub(crate) fn rim_ids(bytes: &[u8]) -> Vec<String> {
    let devices = sent::parse(bytes).unwrap_or_default();
    let ids = devices.iter().map(|device| device.evidence.rim_ids(device.architecture));
    let mut ids: Vec<String> = ids.flat_map(|ids| [ids.driver, ids.vbios]).flatten().collect();
    ids.sort();
    ids.dedup();
    ids
}

/// What to ask NVIDIA's responder about the devices' certificates.
pub(crate) fn device_questions(bytes: &[u8]) -> Vec<OcspQuestion> {
    sent::parse(bytes).unwrap_or_default().iter().flat_map(|device| device.chain.ocsp_questions()).collect()
}

fn stated(evidence: &Evidence) -> Value {
    json!({
        "eat_nonce": evidence.nonce(), "driver-version": evidence.driver_version(),
        "vbios-version": evidence.vbios_version(), "blocks": evidence.blocks().len(),
    })
}

fn devices(question: &Question<'_>) -> std::result::Result<Vec<SentDevice>, Box<Refused>> {
    let of = |error: GpuError| Box::new(Refused::of(&error));
    if !question.bytes.starts_with(&SPDM) {
        return sent::parse(question.bytes).map_err(of);
    }
    let evidence = Evidence::parse(question.bytes).map_err(of)?;
    let pem: Vec<u8> = question.pieces.of(Form::Certificate).flat_map(|piece| piece.bytes.clone()).collect();
    let chain = DeviceChain::from_pem(&pem).map_err(|error| {
        Box::new(Refused::of(&error).next("give the device's certificate chain (PEM) with --collateral"))
    })?;
    // A raw report does not say what it is sent as.
    let architecture = claims::nvgpu::Architecture::Hopper;
    Ok(vec![SentDevice { architecture, nonce: None, uuid: None, evidence, chain }])
}

fn revocation(question: &Question<'_>) -> RevocationInput {
    let responses: Vec<Vec<u8>> = question.pieces.ocsp().map(|piece| piece.bytes.clone()).collect();
    let policy = match question.require_crl {
        true => RevocationPolicy::Required,
        false => RevocationPolicy::AbsentOk { reason: "no --require-crl was given".to_owned() },
    };
    RevocationInput { responses, policy, hold: HoldPolicy::Refused }
}

/// Reference values: RIMs, verified now, and values that were imported from RIMs before.
fn golden(
    question: &Question<'_>,
    revocation: &RevocationInput,
) -> Result<std::result::Result<Vec<GoldenMeasurements>, Box<Refused>>> {
    let mut golden = Vec::new();
    for piece in question.pieces.of(Form::Xml) {
        match rim(piece, revocation, question.at) {
            Ok(values) => golden.push(values),
            Err(refused) => return Ok(Err(refused)),
        }
    }
    for piece in question.pieces.of(Form::Json).filter(|piece| is_golden(piece)) {
        golden.push(GoldenMeasurements::parse(&piece.bytes).map_err(|error| unusable(piece, error))?);
    }
    Ok(Ok(golden))
}

fn rim(
    piece: &Piece,
    revocation: &RevocationInput,
    at: UnixTime,
) -> std::result::Result<GoldenMeasurements, Box<Refused>> {
    let verified = Rim::parse(&piece.bytes).and_then(|rim| rim.verify(&NvidiaRoots, revocation, at));
    verified.map(|rim| rim.golden()).map_err(|error| {
        let refused = Refused::of(&error);
        Box::new(Refused { reason: format!("{}: {}", piece.name, refused.reason), ..refused })
    })
}

fn is_golden(piece: &Piece) -> bool {
    serde_json::from_slice::<Value>(&piece.bytes).is_ok_and(|value| value.get("colloquial_version").is_some())
}

fn expected(
    question: &Question<'_>,
    wanted: &GpuWanted,
    device: &SentDevice,
    golden: &[GoldenMeasurements],
) -> Result<Expected> {
    let why = question.wanted.reason();
    let nonce = match &question.nonce {
        Some(nonce) => Allowed::only(
            Nonce::from_slice(nonce)
                .ok_or_else(|| Failure::usage(format!("--nonce has {} bytes, a GPU's nonce has 32", nonce.len())))?,
        ),
        None => Allowed::any("no --nonce was given"),
    };
    let rule = |versions: &[String], floor: &Option<String>| match (versions, floor) {
        (_, Some(floor)) => VersionRule::AtLeast(floor.clone()),
        ([], None) => VersionRule::Any { reason: why.clone() },
        (versions, None) => VersionRule::OneOf(versions.to_vec()),
    };
    // Values that were given are compared with; a device for which none were given is refused, unless anything will do.
    let references = |version: Option<&str>| {
        let given = golden
            .iter()
            .any(|golden| version.is_some_and(|version| golden.colloquial_version.eq_ignore_ascii_case(version)));
        match &question.wanted {
            super::Wanted::Any { reason } if !given => {
                References::Waived { reason: format!("{reason}; no RIM for it was given") }
            }
            _ => References::Of(golden.to_vec()),
        }
    };
    Ok(Expected {
        nonce,
        architectures: Allowed::any(&why),
        devices: question.wanted.allowed(wanted.devices.clone()),
        modes: Allowed::any(&why),
        driver: rule(&wanted.driver, &wanted.driver_at_least),
        vbios: rule(&wanted.vbios, &wanted.vbios_at_least),
        driver_golden: references(device.evidence.driver_version()),
        vbios_golden: references(Some(device.evidence.vbios_version())),
    })
}

fn refusal(error: &GpuError, question: &Question<'_>, index: usize, device: &SentDevice, genuine: bool) -> Refused {
    let refused = Refused::of(error);
    let reason = format!("device {index}: {}", refused.reason);
    let claims = stated(&device.evidence);
    let refused = Refused { reason, claims, genuine, wanted_from: question.wanted.source(), ..refused };
    match refused.code {
        Code::GpuGolden | Code::RimExpired => {
            refused.next(format!("fetch the RIMs: confide evidence fetch-collateral {}", question.file.display()))
        }
        Code::GpuNonce => Refused { wanted_from: Some("--nonce".to_owned()), ..refused },
        _ => refused,
    }
}

fn repeated(claims: &[Value]) -> Option<String> {
    let id = |device: &Value| {
        let members = device.as_object()?;
        let id = members.iter().find(|(name, _)| name.ends_with("-device-id"))?;
        id.1.as_str().map(str::to_owned)
    };
    let mut seen = std::collections::BTreeSet::new();
    claims.iter().filter_map(id).find(|id| !seen.insert(id.clone()))
}
