//! SGX and TDX quotes.

use super::{Accepted, Question, Refused, Verdict, Wanted, waived};
use crate::args::EvidenceKind as Kind;
use crate::collateral::{Pieces, unusable};
use crate::outcome::{Failure, Result};
use attest::dcap::{
    Collateral, DcapError, Expected, ExpectedBody, PlatformRules, Quote, SgxExpected, TcbRules, TdxExpected, Tolerance,
    VerifiedQuote,
};
use claims::dcap::{CollateralState, DcapBody, DcapClaims, TcbStatus};
use claims::wanted::{IntelTcbWanted, SgxWanted, TdxWanted};
use claims::{Allowed, Code, ReportData, UnixTime};
use serde_json::{Value, json};

/// How long after a TCB recovery event collateral of before it is still taken without a word.
const GRACE_DAYS: u64 = 30;

/// The kind of a quote, by its header (version, attestation key type, TEE type).
pub(super) fn looks_like(bytes: &[u8]) -> Option<Kind> {
    match bytes {
        [3, 0, 2 | 3, 0, ..] | [4 | 5, 0, 2 | 3, 0, 0, 0, 0, 0, ..] => Some(Kind::Sgx),
        [4 | 5, 0, 2 | 3, 0, 0x81, 0, 0, 0, ..] => Some(Kind::Tdx),
        _ => None,
    }
}

/// Verifies and appraises.
pub(super) fn verify(kind: Kind, question: &Question<'_>) -> Result<Verdict> {
    let expected = expected(kind, question)?;
    let verified = match genuine(question.bytes, question)? {
        Ok(verified) => verified,
        Err(refused) => return Ok(Err(refused)),
    };
    let claims = json!(verified.claims());
    Ok(match verified.appraise(&expected) {
        Ok(appraised) => Ok(Accepted {
            claims: json!(appraised.claims()),
            not_compared: waived(appraised.waivers()),
            facts: facts(appraised.claims()),
            warnings: warnings(appraised.claims(), question.at),
        }),
        Err(error) => Err(Box::new(refusal(&error, question, claims, true))),
    })
}

/// Whether a platform of Intel's signed a quote; what it says is not compared yet.
pub(super) fn genuine(
    bytes: &[u8],
    question: &Question<'_>,
) -> Result<std::result::Result<VerifiedQuote, Box<Refused>>> {
    let quote = match Quote::parse(bytes) {
        Ok(quote) => quote,
        Err(error) => return Ok(Err(Box::new(refusal(&error, question, Value::Null, false)))),
    };
    let mut collateral = collateral(question.pieces)?;
    let verified = collateral
        .add_chain_of(&quote)
        .and_then(|()| collateral.verify())
        .and_then(|collateral| quote.verify(&collateral, question.at));
    Ok(verified.map_err(|error| Box::new(refusal(&error, question, json!(quote.claimed()), false))))
}

/// State of platform and collateral.
pub(super) fn facts(claims: &DcapClaims) -> Value {
    json!({
        "tcb_status": claims.tcb.status,
        "advisories": claims.tcb.advisories,
        "collateral_until": claims.collateral.until,
    })
}

/// Unverified claims.
pub(super) fn claimed_of(bytes: &[u8]) -> std::result::Result<Value, Box<Refused>> {
    Quote::parse(bytes).map(|quote| json!(quote.claimed())).map_err(|error| Box::new(Refused::of(&error)))
}

/// What a platform is called at Intel's service: FMSPC and the authority of its certificate. The chain is checked first.
pub(crate) fn platform(bytes: &[u8]) -> Option<(String, &'static str)> {
    let quote = Quote::parse(bytes).ok()?;
    let signed = quote.check_signatures().ok()?;
    Some((signed.platform().fmspc.clone(), signed.platform().ca))
}

/// Every piece that can be about Intel platforms.
fn collateral(pieces: &Pieces) -> Result<Collateral> {
    let mut collateral = Collateral::new();
    for piece in pieces.intels() {
        collateral.add(&piece.bytes).map_err(|error| {
            let code = error.code();
            unusable(piece, error).code(code)
        })?;
    }
    Ok(collateral)
}

fn expected(kind: Kind, question: &Question<'_>) -> Result<Expected> {
    let wanted = &question.wanted;
    let report_data = match question.report_data {
        Some(data) => Allowed::only(data),
        None => Allowed::any("no --report-data was given"),
    };
    if kind == Kind::Tdx {
        return td_expected(wanted.values(kind)?, report_data, question);
    }
    let values: SgxWanted = wanted.values(kind)?;
    let (mrenclave, mrsigner) = (wanted.allowed(values.mrenclave), wanted.allowed(values.mrsigner));
    let product = wanted.allowed(values.isv_prod_id);
    let mut expected = SgxExpected::strict(mrenclave, mrsigner, product, values.isv_svn.unwrap_or(0));
    expected.debugging = debugging(question);
    let (tcb, platform) = (rules(&values.tcb, question)?, PlatformRules::any(&wanted.reason()));
    Ok(Expected { report_data, tcb, platform, body: ExpectedBody::Sgx(Box::new(expected)) })
}

/// What is wanted of a TD.
pub(super) fn td_expected(
    values: TdxWanted,
    report_data: Allowed<ReportData>,
    question: &Question<'_>,
) -> Result<Expected> {
    let wanted = &question.wanted;
    let rtmr = [values.rtmr0, values.rtmr1, values.rtmr2, values.rtmr3].map(|values| wanted.allowed(values));
    let mut expected = TdxExpected::strict(wanted.allowed(values.mr_td), rtmr);
    expected.debugging = debugging(question);
    expected.mr_config_id = wanted.allowed(values.mr_config_id);
    expected.mr_owner = wanted.allowed(values.mr_owner);
    expected.mr_owner_config = wanted.allowed(values.mr_owner_config);
    if let Wanted::Any { reason } = wanted {
        // Debugging, migration and service domains stay refused: they are no matter of reference values.
        expected.sept_ve = Tolerance::Tolerated { reason: reason.clone() };
    }
    let (tcb, platform) = (rules(&values.tcb, question)?, PlatformRules::any(&wanted.reason()));
    Ok(Expected { report_data, tcb, platform, body: ExpectedBody::Tdx(Box::new(expected)) })
}

fn debugging(question: &Question<'_>) -> Tolerance {
    match &question.allow_debug {
        Some(reason) => Tolerance::Tolerated { reason: reason.clone() },
        None => Tolerance::Refused,
    }
}

/// `UpToDate` and what the file names; with `--accept-any` everything but `Revoked`.
fn rules(wanted: &IntelTcbWanted, question: &Question<'_>) -> Result<TcbRules> {
    let why = question.wanted.reason();
    let mut rules = TcbRules::strict(wanted.evaluation_data_number.unwrap_or(0));
    if let Some(floor) = question.floors.as_ref().and_then(|floors| floors.intel_floor(question.at, GRACE_DAYS)) {
        rules.evaluation_floor = rules.evaluation_floor.max(floor);
    }
    if !wanted.advisories.is_empty() {
        rules.advisories = Allowed::OneOf(wanted.advisories.clone());
    }
    if let Wanted::Any { reason } = &question.wanted {
        rules.also = TcbStatus::ALL.iter().map(|status| (*status, reason.clone())).collect();
    }
    for text in &wanted.statuses {
        let status: TcbStatus = text.parse().map_err(|error| {
            Failure::usage(format!("`{text}` in the reference file is no TCB status")).because(error)
        })?;
        rules.also.push((status, format!("{} names it", question.wanted.source().unwrap_or(why.clone()))));
    }
    Ok(rules)
}

pub(super) fn refusal(error: &DcapError, question: &Question<'_>, claims: Value, genuine: bool) -> Refused {
    let refused = Refused { claims, genuine, ..Refused::of(error) };
    let fetch = format!("fetch it: confide evidence fetch-collateral {}", question.file.display());
    match error.code() {
        Code::DcapCollateral | Code::DcapCrl | Code::DcapExpired => refused.next(fetch),
        Code::ReportData => Refused { wanted_from: Some("--report-data".to_owned()), ..refused },
        _ if genuine => Refused { wanted_from: question.wanted.source(), ..refused },
        _ => refused,
    }
}

pub(super) fn warnings(claims: &DcapClaims, UnixTime(at): UnixTime) -> Vec<String> {
    let mut warnings = Vec::new();
    if claims.tcb.status != TcbStatus::UpToDate {
        let advisories = match claims.tcb.advisories.as_slice() {
            [] => String::new(),
            some => format!(" ({})", some.join(", ")),
        };
        warnings.push(format!("the platform's patch level is {}{advisories}", claims.tcb.status));
    }
    if claims.collateral.state != CollateralState::Current {
        warnings.push(format!("the collateral is {:?} at the time of verification", claims.collateral.state));
    } else if claims.collateral.until.saturating_sub(at) < 3 * 86_400 {
        warnings.push("the collateral expires within three days: fetch it again".to_owned());
    }
    if let DcapBody::Tdx(td) = &claims.body
        && !td.attributes.sept_ve_disable()
    {
        warnings.push("SEPT_VE_DISABLE is off: the host can make the guest handle a missing page".to_owned());
    }
    warnings
}
