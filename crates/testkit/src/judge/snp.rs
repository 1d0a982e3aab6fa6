//! Vectors of SNP reports.

use super::{NOT_ASKED, Verdict, array, needed, number, refused};
use crate::text::TextVector;
use attest::snp::{
    BelievedVersions, CrlPolicy, Endorsements, Expected, ModelFloor, Report, Rule, SnpError, TcbFloor, UnanchoredRoot,
};
use claims::bytes::Digest384;
use claims::snp::{Product, SnpClaims, TcbVersion};
use claims::{Allowed, ChipId, HostData, LaunchDigest, ReportData, UnixTime};

pub(super) fn judge(vector: &TextVector) -> Verdict {
    let expected = expected(vector)?;
    Ok(claims(vector)?.and_then(|claims| expected.admit(&claims)).map(drop).map_err(|error| {
        let code = error.code();
        refused(&error, code)
    }))
}

fn claims(vector: &TextVector) -> Result<Result<SnpClaims, SnpError>, String> {
    let piece = |name: &str| vector.bytes(name).unwrap_or_default().to_vec();
    let with = Endorsements {
        vek: piece("vek"),
        intermediate: piece("intermediate"),
        root: piece("root"),
        crl: vector.bytes("crl").map(<[u8]>::to_vec),
    };
    let policy = crl_policy(vector)?;
    let now = UnixTime(vector.now);
    let report = match Report::parse(needed(vector.bytes("report"), "report")?) {
        Ok(report) => report,
        Err(error) => return Ok(Err(error)),
    };
    Ok(match anchor(vector)? {
        None => report.verify(&with, &policy, now).map(|verified| verified.claims().clone()),
        Some(root) => report.check_unanchored(&with, &root, &policy, now).map(|verified| verified.claims().clone()),
    })
}

/// The root that the vector brings; none is production's.
pub(super) fn anchor(vector: &TextVector) -> Result<Option<UnanchoredRoot>, String> {
    if vector.bytes("anchor") == Some(b"production") {
        return Ok(None);
    }
    Ok(Some(UnanchoredRoot {
        spki: Digest384(needed(array(vector, "anchor")?, "anchor")?),
        product: product(needed(vector.text("anchor-product")?, "anchor-product")?)?,
        organization: "Advanced Micro Devices".to_owned(),
        prefix: String::new(),
        vek_prefix: String::new(),
        marker: None,
    }))
}

pub(super) fn crl_policy(vector: &TextVector) -> Result<CrlPolicy, String> {
    match needed(vector.text("crl-policy")?, "crl-policy")? {
        "required" => Ok(CrlPolicy::Required),
        "absent-ok" => Ok(CrlPolicy::AbsentOk { reason: NOT_ASKED.to_owned() }),
        other => Err(format!("the policy `{other}` is not known")),
    }
}

/// The strict rule; the other kinds compare these values themselves.
pub(super) fn any_guest() -> Expected {
    Expected::strict(
        Allowed::any(NOT_ASKED),
        Allowed::any(NOT_ASKED),
        Allowed::any(NOT_ASKED),
        TcbFloor::None { reason: NOT_ASKED.to_owned() },
        Allowed::any(NOT_ASKED),
    )
}

/// The strict rule, with what the vector names.
fn expected(vector: &TextVector) -> Result<Expected, String> {
    let floor = match vector.text("want.tcb-floor")? {
        None => TcbFloor::None { reason: NOT_ASKED.to_owned() },
        Some(levels) => match vector.text("want.tcb-floor-product")? {
            None => TcbFloor::AtLeast(tcb(levels)?),
            Some(name) => {
                TcbFloor::ByModel(vec![ModelFloor { product: product(name)?, cpuid: None, floor: tcb(levels)? }])
            }
        },
    };
    let only = |value: Option<[u8; 48]>| match value {
        Some(value) => Allowed::only(Digest384(value)),
        None => Allowed::any(NOT_ASKED),
    };
    let mut expected = Expected::strict(
        Allowed::only(ReportData(needed(array(vector, "want.report-data")?, "want.report-data")?)),
        Allowed::only(LaunchDigest(needed(array(vector, "want.measurement")?, "want.measurement")?)),
        Allowed::only(HostData(needed(array(vector, "want.host-data")?, "want.host-data")?)),
        floor,
        array(vector, "want.chip")?.map_or(Allowed::any(NOT_ASKED), |chip| Allowed::only(ChipId(chip))),
    );
    expected.id_key = only(array(vector, "want.id-key")?);
    expected.author_key = only(array(vector, "want.author-key")?);
    expected.guest_svn_floor = number(vector, "want.guest-svn")?.unwrap_or(0);
    expected.mitigations = number(vector, "want.mitigations")?.unwrap_or(0);
    if let Some(provider) = vector.text("want.provider")? {
        expected.providers = Allowed::only(provider.to_owned());
    }
    if let Some(text) = vector.text("want.firmware")? {
        let [major, minor, build] = levels(text)?;
        expected.firmware_floor = (major, minor, build);
    }
    if vector.text("want.version-2")? == Some("accepted") {
        expected.versions = BelievedVersions::AlsoVersion2 { reason: NOT_ASKED.to_owned() };
        expected.platform.alias_check = Rule::NotAsked;
    }
    for rule in vector.text("want.platform")?.unwrap_or_default().split(' ').filter(|rule| !rule.is_empty()) {
        let place = match rule {
            "no-smt" => &mut expected.platform.no_smt,
            "single-socket" => &mut expected.platform.single_socket,
            other => return Err(format!("the platform rule `{other}` is not known")),
        };
        *place = Rule::Required;
    }
    Ok(expected)
}

fn product(name: &str) -> Result<Product, String> {
    [Product::Milan, Product::Genoa, Product::Turin]
        .into_iter()
        .find(|product| product.to_string() == name)
        .ok_or_else(|| format!("the product `{name}` is not known"))
}

/// Boot loader, TEE, SNP, microcode.
fn tcb(text: &str) -> Result<TcbVersion, String> {
    let [bootloader, tee, snp, microcode] = levels(text)?;
    Ok(TcbVersion { fmc: None, bootloader, tee, snp, microcode })
}

fn levels<const N: usize>(text: &str) -> Result<[u8; N], String> {
    let levels: Option<Vec<u8>> = text.split('.').map(|level| level.parse().ok()).collect();
    levels.and_then(|levels| levels.try_into().ok()).ok_or_else(|| format!("`{text}` is not {N} levels"))
}
