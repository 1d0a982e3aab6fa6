//! Revocation lists: signed by the chain's root, in date, whole.

use super::certificate::is_pss_sha384;
use super::crypto::{AwsLc, Provider};
use super::error::SnpError;
use super::role::Role;
use crate::signed::Signed;
use claims::UnixTime;
use x509_cert::crl::TbsCertList;
use x509_cert::der::{Decode, Encode};

/// Longest list that is read.
pub const MAX_CRL: usize = 1024 * 1024;

/// What to do when there is no revocation list. A list that is there is always checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CrlPolicy {
    /// Refuse.
    Required,
    /// Go on; the reason is copied into the result.
    AbsentOk {
        /// Why no list is needed.
        reason: String,
    },
}

/// What was known about revocation when a report was verified.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CrlStatus {
    /// A list, signed by the chain's root and in date, names none of the chain.
    Checked {
        /// `thisUpdate`, seconds since 1970.
        from: u64,
        /// `nextUpdate`, seconds since 1970.
        until: u64,
    },
    /// There was none, and the policy does without.
    Absent {
        /// Why none is needed.
        reason: String,
    },
}

/// A list whose signature is the root's. Its dates are to be checked at each use.
#[derive(Debug, Clone)]
pub(crate) struct SignedCrl {
    pub(crate) from: u64,
    pub(crate) until: u64,
    pub(crate) serials: Vec<Vec<u8>>,
}

impl SignedCrl {
    /// Checks form, issuer and signature; `root_name` is the root's subject in DER, `root_key` its PKCS #1 key.
    pub(crate) fn verify(der: &[u8], root_name: &[u8], root_key: &[u8]) -> Result<Self, SnpError> {
        let malformed = |what: String| SnpError::CrlMalformed { what };
        if der.len() > MAX_CRL {
            return Err(malformed(format!("{} bytes, at most {MAX_CRL} are read", der.len())));
        }
        let signed = Signed::take(der).map_err(|error| malformed(error.to_string()))?;
        let list = TbsCertList::from_der(signed.body).map_err(|error| malformed(error.to_string()))?;
        let inner = list.signature.to_der().unwrap_or_default();
        if list.issuer.to_der().as_deref() != Ok(root_name)
            || !is_pss_sha384(signed.algorithm)
            || inner != signed.algorithm
            || !AwsLc::rsa_pss_sha384(root_key, signed.body, signed.signature)
        {
            return Err(SnpError::CrlSignature);
        }
        // Critical extensions (issuing point, delta) make a list speak for a part only.
        if list.crl_extensions.iter().flatten().any(|extension| extension.critical) {
            return Err(malformed("it has a critical extension".to_owned()));
        }
        let until = list.next_update.ok_or(malformed("it has no next update".to_owned()))?;
        Ok(Self {
            from: list.this_update.to_unix_duration().as_secs(),
            until: until.to_unix_duration().as_secs(),
            serials: list
                .revoked_certificates
                .iter()
                .flatten()
                .map(|revoked| revoked.serial_number.as_bytes().to_vec())
                .collect(),
        })
    }

    /// Checks the dates, and that none of `serials` is listed.
    pub(crate) fn check(&self, serials: &[(Role, &[u8])], UnixTime(now): UnixTime) -> Result<CrlStatus, SnpError> {
        let (from, until) = (self.from, self.until);
        if now < from || now > until {
            return Err(SnpError::CrlStale { from, until, now });
        }
        match serials.iter().find(|(_, serial)| self.serials.iter().any(|listed| listed == serial)) {
            Some((role, _)) => Err(SnpError::Revoked { role: *role }),
            None => Ok(CrlStatus::Checked { from, until }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_counts_between_its_dates_and_for_the_serials_it_names() {
        let list = SignedCrl { from: 100, until: 200, serials: vec![vec![2]] };
        let check = |serial: &[u8], now| list.check(&[(Role::Intermediate, serial)], UnixTime(now));
        let stale = |now| Err(SnpError::CrlStale { from: 100, until: 200, now });
        assert_eq!(check(&[1], 100), Ok(CrlStatus::Checked { from: 100, until: 200 }));
        assert_eq!(check(&[1], 200), Ok(CrlStatus::Checked { from: 100, until: 200 }));
        assert_eq!(check(&[1], 99), stale(99));
        assert_eq!(check(&[1], 201), stale(201));
        assert_eq!(check(&[2], 150), Err(SnpError::Revoked { role: Role::Intermediate }));
        // Dates come first: a stale list says nothing about anybody.
        assert_eq!(check(&[2], 201), stale(201));
    }
}
