//! Vectors of SGX and TDX quotes.

use super::{NOT_ASKED, Verdict, array, needed, number, refused};
use crate::text::TextVector;
use attest::dcap::{
    Collateral, DcapError, Expected, ExpectedBody, PlatformRules, Quote, SgxExpected, TcbRules, TdxExpected,
    UnanchoredRoot,
};
use claims::bytes::{Digest256, Digest384};
use claims::dcap::{DcapClaims, TcbStatus};
use claims::{Allowed, ReportData, UnixTime};

pub(super) fn judge(vector: &TextVector) -> Verdict {
    let expected = expected(vector)?;
    let claims = claims(vector).and_then(|claims| expected.admit(&claims));
    Ok(claims.map(drop).map_err(|error| refused(&error, error.code())))
}

fn claims(vector: &TextVector) -> Result<DcapClaims, DcapError> {
    let quote = Quote::parse(vector.bytes("quote").unwrap_or_default())?;
    let mut heap = Collateral::new();
    vector.all("collateral").try_for_each(|file| heap.add(file))?;
    let now = UnixTime(vector.now);
    match vector.bytes("anchor") {
        Some(b"production") => quote.verify(&heap.verify()?, now).map(|verified| verified.claims().clone()),
        root => {
            let root = UnanchoredRoot::from_der(root.unwrap_or_default())?;
            let with = heap.check_unanchored(&root)?;
            quote.check_unanchored(&with, now).map(|verified| verified.claims().clone())
        }
    }
}

/// The strict rule, with what the vector names.
fn expected(vector: &TextVector) -> Result<Expected, String> {
    let of_256 = |name| {
        Ok::<_, String>(array(vector, name)?.map_or(Allowed::any(NOT_ASKED), |value| Allowed::only(Digest256(value))))
    };
    let of_384 = |name| {
        Ok::<_, String>(array(vector, name)?.map_or(Allowed::any(NOT_ASKED), |value| Allowed::only(Digest384(value))))
    };
    let body = match needed(vector.text("want.tee")?, "want.tee")? {
        "sgx" => ExpectedBody::Sgx(Box::new(SgxExpected::strict(
            of_256("want.mrenclave")?,
            of_256("want.mrsigner")?,
            Allowed::any(NOT_ASKED),
            number(vector, "want.isv-svn")?.unwrap_or(0),
        ))),
        "tdx" => ExpectedBody::Tdx(Box::new(TdxExpected::strict(
            of_384("want.mrtd")?,
            [of_384("want.rtmr0")?, of_384("want.rtmr1")?, of_384("want.rtmr2")?, of_384("want.rtmr3")?],
        ))),
        other => return Err(format!("the TEE `{other}` is not known")),
    };
    let mut tcb = TcbRules::strict(number(vector, "want.evaluation")?.unwrap_or(0));
    if let Some(name) = vector.text("want.also-status")? {
        let status: TcbStatus = name.parse().map_err(|_| format!("the status `{name}` is not known"))?;
        tcb.also.push((status, NOT_ASKED.to_owned()));
    }
    tcb.denied_advisories.extend(vector.text("want.not-advisory")?.map(str::to_owned));
    let mut platform = PlatformRules::any(NOT_ASKED);
    if let Some(model) = vector.text("want.fmspc")? {
        platform.models = Allowed::only(model.to_owned());
    }
    let report_data = ReportData(needed(array(vector, "want.report-data")?, "want.report-data")?);
    Ok(Expected { report_data: Allowed::only(report_data), tcb, platform, body })
}
