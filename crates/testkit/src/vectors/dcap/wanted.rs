//! What a manifest says about a vector.

use super::{Verdict, text};
use attest::dcap::Quote;
use claims::dcap::{DcapBody, DcapClaims, DcapTee, TcbStatus, TdxClaims};
use serde_json::{Value, json};

/// What is to come of a vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The quote is genuine, with this status if the manifest names one.
    Genuine {
        status: Option<TcbStatus>,
        advisories: Option<Vec<String>>,
        /// The strict rule refuses it: for its status, its attributes, or its dates.
        tolerated: bool,
    },
    /// Its signatures hold; there is no collateral.
    SignaturesHold,
    /// It is genuine with the collateral of another vector.
    WithBorrowed,
    /// It is refused.
    Refused,
}

/// Words of `dcap-qvl`'s errors that are built-in policy.
const POLICY: [&str; 7] = [
    "SEPT_VE_DISABLE",
    "MR service TD",
    "Debug mode",
    "profiling",
    "TD migration",
    "SERVTD_EXT",
    "Reserved bits in TD attributes",
];

impl Wanted {
    pub(super) fn of(entry: &Value) -> Result<Self, String> {
        let expected = &entry["expected"];
        let peer = &expected["dcap_qvl_0_7_1"];
        let error = text(peer, "error");
        let independent = &expected["independent"];
        if entry["collateral"].is_null() {
            let negative = text(entry, "note").to_ascii_lowercase().starts_with("negative");
            let carried = matches!(expected["inner_cert_type"].as_u64(), None | Some(5));
            return Ok(match (negative || !carried, independent.is_object()) {
                (true, _) => Self::Refused,
                (_, true) => Self::WithBorrowed,
                _ => Self::SignaturesHold,
            });
        }
        if let Some(status) = peer["status"].as_str() {
            let status = status.parse::<TcbStatus>().map_err(|error| error.to_string())?;
            let tolerated = status != TcbStatus::UpToDate || weakened(expected);
            return Ok(Self::Genuine { status: Some(status), advisories: strings(&peer["advisories"]), tolerated });
        }
        if by_policy(error) {
            return Ok(Self::Genuine { status: None, advisories: None, tolerated: true });
        }
        let expired = error.to_ascii_lowercase().contains("expired");
        // TCB info of version 2, dates, a list that is missing: whatever the other tool stumbled over, the independent
        // check found the signatures good and the platform at this level.
        if expired || error.contains("sgxtcbcomponents") || independent["platform"].is_string() {
            return match Self::independent(independent)? {
                Self::Genuine { status, advisories, tolerated } => {
                    let tolerated = tolerated || expired || weakened(expected);
                    Ok(Self::Genuine { status, advisories, tolerated })
                }
                other => Ok(other),
            };
        }
        Ok(Self::Refused)
    }

    /// What the independent check found; it looks neither at dates nor at lists.
    pub(super) fn independent(found: &Value) -> Result<Self, String> {
        let Some(status) = found["platform"].as_str() else {
            return Ok(Self::Genuine { status: None, advisories: None, tolerated: false });
        };
        let status = status.parse::<TcbStatus>().map_err(|error| error.to_string())?;
        let tolerated = status != TcbStatus::UpToDate;
        Ok(Self::Genuine { status: Some(status), advisories: strings(&found["advisories"]), tolerated })
    }

    /// When nothing but a verdict is asked.
    pub(super) fn verdict(&self) -> Verdict {
        if *self == Self::Refused { Verdict::Refuse } else { Verdict::Accept }
    }
}

/// Whether an error of `dcap-qvl` is its built-in policy.
pub(super) fn by_policy(error: &str) -> bool {
    POLICY.iter().any(|word| error.contains(word))
}

/// Whether the manifest's own fields say that the strict rule refuses the quote for its attributes.
fn weakened(expected: &Value) -> bool {
    let attributes = hex::decode(text(expected, "td_attributes")).ok().and_then(|bytes| bytes.try_into().ok());
    let td = attributes.map(|bytes| claims::dcap::TdAttributes(u64::from_le_bytes(bytes)));
    let td = td.is_some_and(|td| td.under_debug() || !td.sept_ve_disable() || td.migratable() || td.perfmon());
    td || expected["debug"] == json!(true)
}

fn strings(value: &Value) -> Option<Vec<String>> {
    value.as_array().map(|values| values.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// What of status and advisories is not as the manifest says.
pub(super) fn differing_verdict(
    claims: &DcapClaims,
    status: Option<TcbStatus>,
    advisories: Option<&[String]>,
) -> Option<String> {
    if let Some(wanted) = status.filter(|wanted| *wanted != claims.tcb.status) {
        return Some(format!("the status is {}, the manifest says {wanted}", claims.tcb.status));
    }
    let sorted = |ids: &[String]| {
        let mut ids = ids.to_vec();
        ids.sort();
        ids
    };
    let (got, wanted) = (sorted(&claims.tcb.advisories), sorted(advisories?));
    (got != wanted).then(|| format!("the advisories are {got:?}, the manifest says {wanted:?}"))
}

/// The first field that is not what the manifest says.
pub(super) fn differing_field(expected: &Value, quote: &Quote, length: usize) -> Option<String> {
    let tee_type = match quote.tee() {
        DcapTee::Sgx => 0,
        DcapTee::Tdx => 0x81,
    };
    let mut found = vec![
        ("quote_version", json!(quote.version())),
        ("tee_type", json!(tee_type)),
        ("quote_len", json!(length)),
        ("inner_cert_type", json!(quote.certification_type())),
        ("report_data", json!(quote.claimed().report_data().to_string())),
    ];
    match quote.claimed() {
        DcapBody::Sgx(claims) => found.extend([
            ("cpu_svn", json!(claims.cpu_svn)),
            ("attributes", json!(hex::encode([claims.flags.0.to_le_bytes(), claims.xfrm.to_le_bytes()].concat()))),
            ("mr_enclave", json!(claims.mrenclave.to_string())),
            ("mr_signer", json!(claims.mrsigner.to_string())),
            ("isv_prod_id", json!(claims.isv_prod_id)),
            ("isv_svn", json!(claims.isv_svn)),
            ("debug", json!(claims.flags.debug())),
        ]),
        DcapBody::Tdx(claims) => {
            let (name, report) = (text(expected, "td_report"), claims.report);
            if !name.is_empty() && !is_report(name, report) {
                return Some(format!("td_report is {report}, the manifest says {name}"));
            }
            found.extend(of_domain(claims));
        }
    }
    let platform = quote.claimed_platform().ok();
    if let Some(platform) = &platform {
        found.extend([("pck_fmspc", json!(platform.fmspc)), ("pck_ca", json!(platform.ca))]);
    }
    // A quote without a chain has no platform either way; the manifest then holds the other tool's error.
    let skip = |name: &str| platform.is_none() && name.starts_with("pck_");
    found.into_iter().find_map(|(name, got)| {
        let wanted = expected.get(name).filter(|wanted| **wanted != got && !skip(name))?;
        Some(format!("{name} is {got}, the manifest says {wanted}"))
    })
}

/// Whether a manifest's name of a report (`TD10`, `TD15`, `TD15Ex`) is that of a version, however it is written. An
/// extended report of 1.5 is one of 1.5, too.
fn is_report(name: &str, version: &str) -> bool {
    let plain = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase();
    let version = format!("TD{}", plain(version));
    plain(name) == version || (version == "TD15EX" && plain(name) == "TD15")
}

fn of_domain(claims: &TdxClaims) -> Vec<(&'static str, Value)> {
    let [rtmr0, rtmr1, rtmr2, rtmr3] = claims.rtmr;
    vec![
        ("tee_tcb_svn", json!(claims.tee_tcb_svn)),
        ("mr_seam", json!(claims.mr_seam.to_string())),
        ("td_attributes", json!(hex::encode(claims.attributes.0.to_le_bytes()))),
        ("xfam", json!(hex::encode(claims.xfam.to_le_bytes()))),
        ("mr_td", json!(claims.mrtd.to_string())),
        ("mr_config_id", json!(claims.mr_config_id.to_string())),
        ("rt_mr0", json!(rtmr0.to_string())),
        ("rt_mr1", json!(rtmr1.to_string())),
        ("rt_mr2", json!(rtmr2.to_string())),
        ("rt_mr3", json!(rtmr3.to_string())),
    ]
}
