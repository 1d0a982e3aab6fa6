//! Collateral whose signatures hold: checked once, kept, and used for any number of quotes.
//!
//! *Takes* a heap and an anchor. *Guarantees* of every piece in here that Intel's root, directly or through one
//! authority, signed its exact bytes, and that no list of the root names a signer or an authority. *Does not check* any
//! date: what is kept must be dated at each use, and [`VerifiedCollateral::items`] says by when to renew it.

use super::certificate::{Certificate, ROOT_NAME};
use super::collateral::{Collateral, SignedText};
use super::crl::{Crl, SignedCrl};
use super::crypto::{self, POINT};
use super::error::{DcapError, Role};
use super::json::{QE_IDENTITY, QeIdentity, TCB_INFO, TcbInfo};
use super::roots::{self, Anchor, UnanchoredRoot};
use claims::UnixTime;
use claims::dcap::{CollateralItem, DcapRoot, DcapTee};

/// Collateral that Intel signed. The only way here is [`Collateral::verify`].
#[derive(Debug, Clone)]
pub struct VerifiedCollateral {
    pub(crate) checked: Checked,
}

/// Collateral that holds against a root which the caller brought. There is no way from it to [`VerifiedCollateral`].
#[derive(Debug, Clone)]
pub struct UnanchoredCollateral {
    pub(crate) checked: Checked,
}

impl Collateral {
    /// Checks every signature, against Intel's pinned root. One piece that does not hold refuses the whole heap.
    pub fn verify(&self) -> Result<VerifiedCollateral, DcapError> {
        Checked::attested(self, &Anchor::Production).map(|checked| VerifiedCollateral { checked })
    }

    /// Checks every signature, against a root that the caller brings.
    pub fn check_unanchored(&self, root: &UnanchoredRoot) -> Result<UnanchoredCollateral, DcapError> {
        Checked::attested(self, &Anchor::Unanchored(root)).map(|checked| UnanchoredCollateral { checked })
    }
}

impl VerifiedCollateral {
    /// Every dated piece, so that a store can renew each before it ends.
    pub fn items(&self) -> Vec<CollateralItem> {
        self.checked.items()
    }

    /// When all of it is valid: from the latest start to the earliest end, seconds since 1970.
    pub fn valid(&self) -> (u64, u64) {
        window(&self.items())
    }

    /// The TEEs, platform models (FMSPC) and evaluation numbers that TCB info is there for.
    pub fn platforms(&self) -> Vec<(DcapTee, String, u32)> {
        let infos = self.checked.infos.iter();
        infos.map(|info| (info.value.tee, hex::encode(info.value.fmspc), info.value.evaluation_number)).collect()
    }
}

/// From the latest start to the earliest end.
pub(crate) fn window(items: &[CollateralItem]) -> (u64, u64) {
    let from = items.iter().map(|item| item.from).max().unwrap_or(0);
    (from, items.iter().map(|item| item.until).min().unwrap_or(0))
}

/// Most signing certificates in one heap; each text is tried with each.
const MAX_SIGNERS: usize = 16;

/// Pieces whose signatures hold.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    pub(crate) root: DcapRoot,
    pub(crate) anchor: [u8; POINT],
    /// Root certificates that hold, with their validity.
    pub(crate) roots: Vec<(Vec<u8>, (u64, u64))>,
    pub(crate) authorities: Vec<Authority>,
    /// PCK certificates, not checked yet.
    pub(crate) leaves: Vec<Vec<u8>>,
    lists: Vec<SignedCrl>,
    infos: Vec<Document<TcbInfo>>,
    identities: Vec<Document<QeIdentity>>,
}

/// An authority that issues PCK certificates.
#[derive(Debug, Clone)]
pub(crate) struct Authority {
    pub(crate) der: Vec<u8>,
    pub(crate) name: String,
    pub(crate) point: [u8; POINT],
    pub(crate) serial: Vec<u8>,
    pub(crate) valid: (u64, u64),
}

/// A signed text as a value.
#[derive(Debug, Clone)]
pub(crate) struct Document<T> {
    pub(crate) value: T,
    /// Validity of the signer's certificate.
    pub(crate) signer: (u64, u64),
}

impl Checked {
    /// Nothing but the anchor: enough for signatures, not for a verdict.
    pub(crate) fn bare(anchor: &Anchor<'_>) -> Self {
        Self {
            root: anchor.root(),
            anchor: *anchor.point(),
            roots: Vec::new(),
            authorities: Vec::new(),
            leaves: Vec::new(),
            lists: Vec::new(),
            infos: Vec::new(),
            identities: Vec::new(),
        }
    }

    /// The whole check. `grep attested` finds every place where trust begins.
    fn attested(heap: &Collateral, anchor: &Anchor<'_>) -> Result<Self, DcapError> {
        let mut checked = Self::bare(anchor);
        let certificates = heap.certificates.iter().map(|der| Certificate::parse_any(der));
        let certificates = certificates.collect::<Result<Vec<_>, _>>()?;
        // The pin comes first, nothing else about a chain to an unknown root matters.
        for root in certificates.iter().filter(|certificate| certificate.role == Role::Root) {
            root.check_pinned(&checked.anchor)?;
            checked.check_signed_by_root(root)?;
            checked.roots.push((root.der.to_vec(), root.valid));
        }
        let mut signers = Vec::new();
        for certificate in certificates {
            match certificate.role {
                Role::Root => {}
                Role::PckCa => {
                    checked.check_signed_by_root(&certificate)?;
                    checked.authorities.push(Authority::of(&certificate));
                }
                Role::Pck => checked.leaves.push(certificate.der.to_vec()),
                Role::Signer if signers.len() == MAX_SIGNERS => {
                    return Err(DcapError::Collateral { what: "more than 16 signers".to_owned() });
                }
                Role::Signer => {
                    checked.check_signed_by_root(&certificate)?;
                    signers.push(certificate);
                }
            }
        }
        for der in &heap.lists {
            let list = Crl::parse(der)?;
            let key = match list.issuer == ROOT_NAME {
                true => Some(&checked.anchor),
                false => checked.authorities.iter().find(|known| known.name == list.issuer).map(|known| &known.point),
            };
            let list = list.signed_by(key)?;
            checked.lists.push(list);
        }
        for signer in &signers {
            checked.check_revocation(Role::Signer, ROOT_NAME, signer.serial())?;
        }
        for authority in &checked.authorities {
            checked.check_revocation(Role::PckCa, ROOT_NAME, &authority.serial)?;
        }
        for text in &heap.infos {
            let signer = signer_of(TCB_INFO, text, &signers)?;
            checked.infos.push(Document { value: TcbInfo::parse(&text.text)?, signer });
        }
        for text in &heap.identities {
            let signer = signer_of(QE_IDENTITY, text, &signers)?;
            checked.identities.push(Document { value: QeIdentity::parse(&text.text)?, signer });
        }
        Ok(checked)
    }

    /// Whether the anchor's key signed it. Under Intel's root its published certificates are known by digest.
    pub(crate) fn check_signed_by_root(&self, certificate: &Certificate<'_>) -> Result<(), DcapError> {
        match self.root == DcapRoot::Intel && roots::is_published(certificate.der) {
            true => Ok(()),
            false => certificate.check_signed_by(&self.anchor),
        }
    }

    /// Whether a list of this authority is there, and none of them names the serial number.
    pub(crate) fn check_revocation(&self, role: Role, issuer: &str, serial: &[u8]) -> Result<(), DcapError> {
        let mut lists = self.lists.iter().filter(|list| list.issuer == issuer).peekable();
        if lists.peek().is_none() {
            return Err(DcapError::CrlMissing { issuer: issuer.to_owned() });
        }
        match lists.any(|list| list.names(serial)) {
            true => Err(DcapError::Revoked { role }),
            false => Ok(()),
        }
    }

    /// Validity of the list of this authority that serves best at `now`.
    pub(crate) fn list_valid(&self, issuer: &str, now: UnixTime) -> Option<(u64, u64)> {
        let lists = self.lists.iter().filter(|list| list.issuer == issuer).map(|list| list.valid);
        lists.max_by_key(|valid| (is_valid(*valid, now), valid.0))
    }

    /// TCB info for a platform: what is valid at `now` first, then the highest evaluation, then the latest.
    pub(crate) fn info(
        &self,
        tee: DcapTee,
        fmspc: &[u8; 6],
        pce_id: &[u8; 2],
        now: UnixTime,
    ) -> Result<&Document<TcbInfo>, DcapError> {
        let of_tee = || self.infos.iter().filter(|info| info.value.tee == tee);
        let fitting = of_tee().filter(|info| &info.value.fmspc == fmspc && &info.value.pce_id == pce_id);
        let best = fitting
            .max_by_key(|info| (is_valid(info.value.valid, now), info.value.evaluation_number, info.value.valid.0));
        let name = |fmspc: &[u8; 6], pce_id: &[u8; 2]| format!("{} PCE {}", hex::encode(fmspc), hex::encode(pce_id));
        best.ok_or_else(|| match of_tee().next() {
            None => DcapError::CollateralMissing { what: TCB_INFO, tee },
            Some(_) => DcapError::OtherPlatform {
                got: name(fmspc, pce_id),
                wanted: of_tee().map(|info| name(&info.value.fmspc, &info.value.pce_id)).collect(),
            },
        })
    }

    /// Identity of the quoting enclave of a TEE, chosen in the same way.
    pub(crate) fn identity(&self, tee: DcapTee, now: UnixTime) -> Result<&Document<QeIdentity>, DcapError> {
        let fitting = self.identities.iter().filter(|identity| identity.value.tee == tee);
        let best = fitting.max_by_key(|identity| {
            (is_valid(identity.value.valid, now), identity.value.evaluation_number, identity.value.valid.0)
        });
        best.ok_or(DcapError::CollateralMissing { what: QE_IDENTITY, tee })
    }

    fn items(&self) -> Vec<CollateralItem> {
        let mut items: Vec<CollateralItem> =
            self.roots.iter().map(|(_, valid)| item("root certificate", *valid)).collect();
        items.extend(self.authorities.iter().map(|authority| item("PCK authority's certificate", authority.valid)));
        items.extend(self.lists.iter().map(|list| item(list_name(&list.issuer), list.valid)));
        for info in &self.infos {
            items.extend([item("TCB info", info.value.valid), item("TCB info's signer", info.signer)]);
        }
        for identity in &self.identities {
            items.extend([item("QE identity", identity.value.valid), item("QE identity's signer", identity.signer)]);
        }
        items
    }
}

impl Authority {
    pub(crate) fn of(certificate: &Certificate<'_>) -> Self {
        Self {
            der: certificate.der.to_vec(),
            name: certificate.subject(),
            point: certificate.point,
            serial: certificate.serial().to_vec(),
            valid: certificate.valid,
        }
    }
}

pub(crate) fn item(what: &'static str, (from, until): (u64, u64)) -> CollateralItem {
    CollateralItem { what, from, until }
}

pub(crate) fn list_name(issuer: &str) -> &'static str {
    if issuer == ROOT_NAME { "root's revocation list" } else { "PCK revocation list" }
}

fn is_valid((from, until): (u64, u64), UnixTime(now): UnixTime) -> bool {
    (from..=until).contains(&now)
}

/// Validity of the certificate whose key signed exactly this text.
fn signer_of(what: &'static str, text: &SignedText, signers: &[Certificate<'_>]) -> Result<(u64, u64), DcapError> {
    let signed = |signer: &&Certificate<'_>| crypto::verify_fixed(&signer.point, &text.text, &text.signature);
    signers.iter().find(signed).map(|signer| signer.valid).ok_or(DcapError::JsonSignature { what })
}
