//! Vectors of attestation tokens.

use super::{NOT_ASKED, Verdict, array, needed, refused};
use crate::text::TextVector;
use attest::token::{Audience, KeySet, Rules, Token, TokenError, ear, maa};
use claims::{Allowed, HostData, LaunchDigest, ReportData, UnixTime};
use std::collections::BTreeSet;

pub(super) fn judge(vector: &TextVector) -> Verdict {
    let profile = profile(vector)?;
    let rules = Rules {
        issuer: Allowed::only(needed(vector.text("want.issuer")?, "want.issuer")?.to_owned()),
        audience: Audience::OneOf(vec![needed(vector.text("want.audience")?, "want.audience")?.to_owned()]),
        leeway_seconds: 0,
    };
    let text = needed(vector.text("token")?, "token")?;
    let keys = needed(vector.bytes("keys"), "keys")?;
    let roots: Vec<&[u8]> = vector.all("root").collect();
    let now = UnixTime(vector.now);
    let checked = || -> Result<(), TokenError> {
        let keys = if roots.is_empty() { KeySet::parse(keys)? } else { KeySet::certified(keys, &roots, now)? };
        let token = Token::parse(text)?.verify(&keys, &rules, now)?;
        match &profile {
            Profile::Ear(expected) => ear::appraise(&token, expected).map(drop),
            Profile::Maa(expected) => maa::appraise(&token, expected).map(drop),
        }
    };
    Ok(checked().map_err(|error| refused(&error, error.code())))
}

enum Profile {
    Ear(Box<ear::Expected>),
    Maa(Box<maa::Expected>),
}

fn profile(vector: &TextVector) -> Result<Profile, String> {
    match needed(vector.text("profile")?, "profile")? {
        "ear" => Ok(Profile::Ear(Box::new(ear::Expected {
            profile: Allowed::only(ear::TRUSTEE_PROFILE.to_owned()),
            submods: BTreeSet::from([needed(vector.text("want.submod")?, "want.submod")?.to_owned()]),
            tiers: ear::affirming(),
            nonce: Allowed::only(needed(vector.text("want.nonce")?, "want.nonce")?.to_owned()),
            policies: Allowed::any(NOT_ASKED),
        }))),
        "maa-snp" => Ok(Profile::Maa(Box::new(maa::Expected {
            compliance: Allowed::only(maa::COMPLIANT_CONTAINER.to_owned()),
            policy_hash: Allowed::any(NOT_ASKED),
            nonce: Allowed::any(NOT_ASKED),
            tee: maa::ExpectedTee::Snp {
                measurement: Allowed::only(LaunchDigest(needed(
                    array(vector, "want.measurement")?,
                    "want.measurement",
                )?)),
                host_data: Allowed::only(HostData(needed(array(vector, "want.host-data")?, "want.host-data")?)),
                report_data: Allowed::only(ReportData(needed(array(vector, "want.report-data")?, "want.report-data")?)),
            },
        }))),
        other => Err(format!("the profile `{other}` is not known")),
    }
}
