//! The certificate chain: root, intermediate, endorsement key (checks 8 to 22).
//!
//! *Guarantees* of a [`Vek`]: its certificate chains, over exactly one intermediate of the right kind, to the root of
//! the anchors given, and says what the fields say. *Does not check* time and revocation: they are asked for at each
//! use, because a [`Vek`] may be kept.

use super::certificate::{Certificate, check_time};
use super::crl::{CrlPolicy, CrlStatus, SignedCrl};
use super::crypto::{AwsLc, Provider};
use super::endorsements::Endorsements;
use super::error::SnpError;
use super::extensions::{self, VekExtensions};
use super::role::Role;
use super::roots::Anchors;
use claims::UnixTime;
use claims::bytes::Digest384;
use claims::snp::{Product, SigningKey};
use x509_cert::der::Encode;

/// Critical extension in certificates of emulated processors.
pub const EMULATED_MARKER: &str = "1.3.6.1.4.1.59999.7.1";
/// First bytes of the chip id of an emulated processor: `EMUL`.
pub const EMULATED_CHIP_PREFIX: [u8; 4] = *b"EMUL";

/// An endorsement key that chains to the anchors.
pub(crate) struct Vek {
    pub(crate) product: Product,
    pub(crate) extensions: VekExtensions,
    pub(crate) key: <AwsLc as Provider>::EcKey,
    validity: [(Role, (u64, u64)); 3],
    serials: [(Role, Vec<u8>); 2],
    root_name: Vec<u8>,
    root_key: Vec<u8>,
}

impl Vek {
    /// Verifies the chain of `with` up to `anchors`; `kind` is what the report says signed it.
    pub(crate) fn verify(
        with: &Endorsements,
        kind: SigningKey,
        anchors: &Anchors<'_>,
        now: UnixTime,
    ) -> Result<Self, SnpError> {
        let root = Certificate::parse(present(&with.root, Role::Root)?, Role::Root)?;
        let intermediate = Certificate::parse(present(&with.intermediate, Role::Intermediate)?, Role::Intermediate)?;
        let vek = Certificate::parse(present(&with.vek, Role::Vek)?, Role::Vek)?;
        let chain = [&root, &intermediate, &vek];
        refuse_emulated(&chain, anchors)?;

        // 8: the pin comes first, nothing else about an unknown root matters.
        let spki = Digest384(AwsLc::sha384(&root.spki));
        let product = anchors.product_of(&spki).ok_or(SnpError::RootNotPinned { spki })?;
        // 9, 10, 12, 13: keys, parameters, signatures.
        let root_key = root.rsa_key()?;
        let intermediate_key = intermediate.rsa_key()?;
        let point = vek.p384_point()?;
        for (certificate, key) in [(&root, root_key), (&intermediate, root_key), (&vek, intermediate_key)] {
            certificate.check_algorithm()?;
            if certificate.role != Role::Vek && anchors.knows(certificate.der, product) {
                continue;
            }
            let signed = &certificate.signed;
            if !AwsLc::rsa_pss_sha384(key, signed.body, signed.signature) {
                return Err(SnpError::ChainSignature { role: certificate.role });
            }
        }
        let key = AwsLc::p384_key(point).ok_or(SnpError::Key { role: Role::Vek, wanted: "P-384" })?;
        // 11, 16, 17: names, places, constraints.
        let certified = check_names(&root, &intermediate, &vek, product, anchors)?;
        for certificate in chain {
            certificate.check_constraints(anchors)?;
        }
        // 14: validity.
        for certificate in chain {
            certificate.check_time(now)?;
        }
        if certified != kind {
            return Err(SnpError::VekKind { report: kind, certificate: certified });
        }
        // 18 to 22: what the certificate says about its key.
        let extensions = extensions::read(&vek, certified, product)?;
        Ok(Self {
            product,
            extensions,
            key,
            validity: chain.map(|certificate| (certificate.role, certificate.valid)),
            serials: [(Role::Intermediate, &intermediate), (Role::Vek, &vek)]
                .map(|(role, certificate)| (role, certificate.parsed.serial_number.as_bytes().to_vec())),
            root_name: root.parsed.subject.to_der().unwrap_or_default(),
            root_key: root_key.to_vec(),
        })
    }

    /// Validity of the whole chain at `now` (check 14), for a key that was kept.
    pub(crate) fn check_time(&self, now: UnixTime) -> Result<(), SnpError> {
        self.validity.iter().try_for_each(|(role, valid)| check_time(*role, *valid, now))
    }

    /// End of the endorsement certificate's validity.
    pub(crate) fn not_after(&self) -> u64 {
        self.validity.iter().find(|(role, _)| *role == Role::Vek).map_or(0, |(_, (_, until))| *until)
    }

    /// Verifies a list against this chain's root.
    pub(crate) fn signed_crl(&self, der: &[u8]) -> Result<SignedCrl, SnpError> {
        SignedCrl::verify(der, &self.root_name, &self.root_key)
    }

    /// Checks revocation at `now` (check 15).
    pub(crate) fn check_revocation(
        &self,
        list: Option<&SignedCrl>,
        policy: &CrlPolicy,
        now: UnixTime,
    ) -> Result<CrlStatus, SnpError> {
        match (list, policy) {
            (Some(list), _) => {
                // AMD gives every VCEK the serial number zero, so a list can never name one of them.
                let serials: Vec<(Role, &[u8])> = self
                    .serials
                    .iter()
                    .map(|(role, serial)| (*role, serial.as_slice()))
                    .filter(|(_, serial)| serial.iter().any(|byte| *byte != 0))
                    .collect();
                list.check(&serials, now)
            }
            (None, CrlPolicy::AbsentOk { reason }) => Ok(CrlStatus::Absent { reason: reason.clone() }),
            (None, CrlPolicy::Required) => Err(SnpError::CrlMissing),
        }
    }

    /// The root's key and name, by digest: a list verified under it may be kept under this.
    pub(crate) fn root_id(&self) -> [u8; 48] {
        AwsLc::sha384(&self.root_key)
    }
}

fn present(der: &[u8], role: Role) -> Result<&[u8], SnpError> {
    let hint = match role {
        Role::Vek => "the host did not hand it over; fetch it for this chip and TCB",
        Role::Intermediate | Role::Root => "give AMD's certificate chain of this product as collateral",
    };
    if der.is_empty() { Err(SnpError::Missing { role, hint }) } else { Ok(der) }
}

/// In production, anything that is marked as emulated is refused whatever its signatures say.
fn refuse_emulated(chain: &[&Certificate<'_>], anchors: &Anchors<'_>) -> Result<(), SnpError> {
    if !matches!(anchors, Anchors::Production) {
        return Ok(());
    }
    if chain.iter().any(|certificate| certificate.has_critical(EMULATED_MARKER)) {
        return Err(SnpError::Emulated { mark: "a certificate has the critical extension of development roots" });
    }
    let test = |certificate: &&Certificate<'_>| {
        certificate.organization().is_some_and(|name| name.to_ascii_uppercase().starts_with("TEST"))
    };
    if chain.iter().any(test) {
        return Err(SnpError::Emulated { mark: "a certificate names a test organisation" });
    }
    Ok(())
}

/// Subjects and issuers; the result is the kind that the endorsement certificate's name says.
fn check_names(
    root: &Certificate<'_>,
    intermediate: &Certificate<'_>,
    vek: &Certificate<'_>,
    product: Product,
    anchors: &Anchors<'_>,
) -> Result<SigningKey, SnpError> {
    let organization = anchors.organization();
    let prefix = anchors.prefix();
    let root_name = format!("{prefix}ARK-{product}");
    for part in ["subject", "issuer"] {
        root.check_name(part, &root_name, organization)?;
    }
    let vlek = format!("{}SEV-VLEK", anchors.vek_prefix());
    let vcek = format!("{}SEV-VCEK", anchors.vek_prefix());
    let (kind, name, over) = match vek.check_name("subject", &vlek, organization) {
        Ok(()) => (SigningKey::Vlek, vlek, format!("{prefix}SEV-VLEK-{product}")),
        Err(_) => (SigningKey::Vcek, vcek, format!("{prefix}SEV-{product}")),
    };
    vek.check_name("subject", &name, organization)?;
    vek.check_name("issuer", &over, organization)?;
    intermediate.check_name("subject", &over, organization)?;
    intermediate.check_name("issuer", &root_name, organization)?;
    Ok(kind)
}
