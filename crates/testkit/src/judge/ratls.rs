//! Vectors of RA-TLS certificates: form, signature, validity and binding. The evidence inside is a vector of its own kind.

use super::{Verdict, needed, refused};
use crate::text::TextVector;
use attest::ratls::RaTlsCertificate;
use claims::{Allowed, UnixTime};

pub(super) fn judge(vector: &TextVector) -> Verdict {
    let certificate = needed(vector.bytes("certificate"), "certificate")?;
    let nonce = Allowed::only(needed(vector.bytes("want.nonce"), "want.nonce")?.to_vec());
    let checked = RaTlsCertificate::parse(certificate).and_then(|parsed| parsed.verify(&nonce, UnixTime(vector.now)));
    Ok(checked.map(drop).map_err(|error| refused(&error, error.code())))
}
