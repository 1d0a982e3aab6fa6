//! Revocation lists of Intel's SGX PKI: signed by the authority they name, whole. Their dates are collateral's axis.

use super::certificate::{common_name, is_ecdsa_sha256};
use super::crypto::{self, POINT};
use super::error::DcapError;
use crate::signed::Signed;
use x509_cert::crl::TbsCertList;
use x509_cert::der::{Decode, Encode};

/// Longest list that is read.
pub const MAX_CRL: usize = 1024 * 1024;

/// A list that is well-formed. Nothing is known about who signed it.
#[derive(Debug)]
pub(crate) struct Crl<'a> {
    body: &'a [u8],
    signature: &'a [u8],
    pub(crate) issuer: String,
    from: u64,
    until: u64,
    serials: Vec<Vec<u8>>,
}

/// A list that the authority it names has signed.
#[derive(Debug, Clone)]
pub(crate) struct SignedCrl {
    pub(crate) issuer: String,
    /// Seconds since 1970.
    pub(crate) valid: (u64, u64),
    serials: Vec<Vec<u8>>,
}

impl<'a> Crl<'a> {
    pub(crate) fn parse(der: &'a [u8]) -> Result<Self, DcapError> {
        let malformed = |what: String| DcapError::CrlMalformed { what };
        if der.len() > MAX_CRL {
            return Err(malformed(format!("{} bytes, at most {MAX_CRL} are read", der.len())));
        }
        let Signed { body, algorithm, signature, .. } =
            Signed::take(der).map_err(|error| malformed(error.to_string()))?;
        let list = TbsCertList::from_der(body).map_err(|error| malformed(error.to_string()))?;
        if !is_ecdsa_sha256(algorithm) || list.signature.to_der().as_deref() != Ok(algorithm) {
            return Err(malformed("not signed with ECDSA and SHA-256".to_owned()));
        }
        // Critical extensions (issuing point, delta) make a list speak for a part only.
        let entries = list.revoked_certificates.iter().flatten();
        let of_entries = entries.clone().flat_map(|entry| entry.crl_entry_extensions.iter().flatten());
        if list.crl_extensions.iter().flatten().chain(of_entries).any(|extension| extension.critical) {
            return Err(malformed("it has a critical extension".to_owned()));
        }
        let until = list.next_update.ok_or_else(|| malformed("it has no next update".to_owned()))?;
        Ok(Self {
            body,
            signature,
            issuer: common_name(&list.issuer).unwrap_or_default(),
            from: list.this_update.to_unix_duration().as_secs(),
            until: until.to_unix_duration().as_secs(),
            serials: entries.map(|entry| entry.serial_number.as_bytes().to_vec()).collect(),
        })
    }

    /// Whether the authority behind `point` signed it; none is an authority that is not there.
    pub(crate) fn signed_by(self, point: Option<&[u8; POINT]>) -> Result<SignedCrl, DcapError> {
        let Self { body, signature, issuer, from, until, serials } = self;
        match point.is_some_and(|point| crypto::verify_der(point, body, signature)) {
            true => Ok(SignedCrl { issuer, valid: (from, until), serials }),
            false => Err(DcapError::CrlSignature { issuer }),
        }
    }
}

impl SignedCrl {
    pub(crate) fn names(&self, serial: &[u8]) -> bool {
        self.serials.iter().any(|listed| listed == serial)
    }
}
