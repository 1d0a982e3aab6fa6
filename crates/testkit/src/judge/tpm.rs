//! Vectors of TPM quotes.

use super::{NOT_ASKED, Verdict, array, needed, refused};
use crate::text::TextVector;
use attest::tpm::{EnrolledKey, Expected, PcrValues, Quote, Selection, Signature, TpmError};
use claims::Allowed;
use claims::bytes::Digest256;
use std::collections::BTreeMap;

pub(super) fn judge(vector: &TextVector) -> Verdict {
    let expected = expected(vector)?;
    let key = needed(vector.bytes("key"), "key")?;
    let checked = || -> Result<(), TpmError> {
        let key = EnrolledKey::from_spki(key)?;
        let (quote, values) = (quote(vector)?, values(vector)?);
        quote.verify(&key)?.appraise(&expected, &values).map(drop)
    };
    Ok(checked().map_err(|error| refused(&error, error.code())))
}

pub(super) fn quote(vector: &TextVector) -> Result<Quote, TpmError> {
    let field = |name| vector.bytes(name).unwrap_or_default();
    Quote::parse(field("quote"), Signature::raw_rsa(field("signature"))?)
}

/// PCR values from 0 on.
pub(super) fn values(vector: &TextVector) -> Result<PcrValues, TpmError> {
    let values: Vec<Digest256> = vector.all("pcr").filter_map(Digest256::from_slice).collect();
    PcrValues::from_zero(&values)
}

pub(super) fn expected(vector: &TextVector) -> Result<Expected, String> {
    let pcrs = array(vector, "want.pcr4")?.map(|value| (4, Allowed::only(Digest256(value))));
    Ok(Expected {
        nonce: Allowed::only(needed(vector.bytes("want.nonce"), "want.nonce")?.to_vec()),
        selection: array(vector, "want.selection")?.map_or(Selection::ALL, Selection::from_bitmap),
        pcrs: BTreeMap::from_iter(pcrs),
        others: NOT_ASKED.to_owned(),
    })
}
