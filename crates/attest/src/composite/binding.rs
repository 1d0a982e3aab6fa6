//! How CPU and devices are bound to a session and to each other.
//!
//! Nonce of device `index` (from 0): SHA-256 of `gpu` (3 bytes), index (4 bytes, big-endian), session nonce (32), hash of
//! the CPU's key (32). So a device's evidence is of one session, one key and one place, and evidence of one device
//! cannot be shown twice.
//!
//! Report data of our own form: SHA-384 of `confide composite 1` (19 bytes), session nonce (32), hash of the CPU's key
//! (32), number of devices (4, big-endian), SHA-256 of each device's evidence (32 each, request to signature); then 16
//! zero bytes. Report data of a key broker: see [`super::kbs`].

use super::error::CompositeError;
use super::kbs::{self, DeviceNonces};
use crate::snp::Waiver;
use crate::{dcap, snp};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use claims::bytes::Digest256;
use claims::kbs::RuntimeData;
use claims::nvgpu::DeviceClaims;
use claims::{Nonce, ReportData};

/// A CPU's report that was verified: implement it for verified types only.
pub trait BoundReport {
    /// What the guest had signed: 64 bytes in SNP and TDX.
    fn bound(&self) -> ReportData;
}

impl BoundReport for snp::AppraisedReport {
    fn bound(&self) -> ReportData {
        self.claims().report_data
    }
}

impl BoundReport for snp::VerifiedReport {
    fn bound(&self) -> ReportData {
        self.claims().report_data
    }
}

impl BoundReport for dcap::AppraisedQuote {
    fn bound(&self) -> ReportData {
        self.claims().body.report_data()
    }
}

impl BoundReport for dcap::VerifiedQuote {
    fn bound(&self) -> ReportData {
        self.claims().body.report_data()
    }
}

/// The verifier's nonce and the key that the guest proves to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// Made by the verifier, used once.
    pub nonce: Nonce,
    /// SHA-256 of the CPU's key: of its SubjectPublicKeyInfo, or, with a key broker, of its canonical JWK.
    pub key: Digest256,
}

/// What the CPU's report data is made of.
#[derive(Debug, Clone)]
pub enum Binding<'a> {
    /// Our own form.
    Own,
    /// The form of the KBS protocol: canonical JSON of nonce, key and the text of all device evidence.
    Kbs {
        /// Nonce and key as they were sent.
        runtime: &'a RuntimeData,
        /// The text as it was sent.
        additional_evidence: &'a str,
        /// Which nonces the devices have.
        nonces: DeviceNonces,
    },
}

impl Session {
    /// The nonce for one device.
    pub fn device_nonce(&self, index: u32) -> Nonce {
        let mut hash = digest::Context::new(&digest::SHA256);
        for part in [&b"gpu"[..], &index.to_be_bytes(), self.nonce.as_bytes(), self.key.as_bytes()] {
            hash.update(part);
        }
        let mut nonce = [0; 32];
        nonce.copy_from_slice(hash.finish().as_ref());
        Nonce(nonce)
    }

    /// The report data that the CPU must have signed, for these devices in this order.
    pub fn report_data(&self, devices: &[Digest256]) -> ReportData {
        let count = u32::try_from(devices.len()).unwrap_or(u32::MAX).to_be_bytes();
        let mut hash = digest::Context::new(&digest::SHA384);
        for part in [&b"confide composite 1"[..], self.nonce.as_bytes(), self.key.as_bytes(), &count] {
            hash.update(part);
        }
        for device in devices {
            hash.update(device.as_bytes());
        }
        padded(hash.finish().as_ref())
    }
}

impl Binding<'_> {
    /// Every device answered its own nonce.
    pub(super) fn check_nonces(
        &self,
        session: &Session,
        devices: &[&DeviceClaims],
    ) -> Result<Vec<Waiver>, CompositeError> {
        let upstream = match self {
            Self::Kbs { runtime, nonces: DeviceNonces::Upstream { reason }, .. } => {
                Some((kbs::device_nonce(runtime)?, reason))
            }
            _ => None,
        };
        for (index, device) in (0_u32..).zip(devices) {
            let wanted = upstream.map_or_else(|| session.device_nonce(index), |(nonce, _)| nonce);
            if device.nonce != wanted {
                return Err(CompositeError::Nonce { index, got: device.nonce, wanted });
            }
        }
        let waiver = |(_, reason): (Nonce, &String)| Waiver { claim: "nonce per device", reason: reason.clone() };
        Ok(upstream.map(waiver).into_iter().collect())
    }

    /// The CPU's report data holds this session and exactly these devices.
    pub(super) fn check_report_data(
        &self,
        session: &Session,
        devices: &[&DeviceClaims],
        got: &ReportData,
    ) -> Result<(), CompositeError> {
        let evidence: Vec<Digest256> = devices.iter().map(|device| device.evidence).collect();
        let wanted = match self {
            Self::Own => session.report_data(&evidence),
            Self::Kbs { runtime, additional_evidence, .. } => {
                if Session::of(runtime)? != *session {
                    return Err(CompositeError::OtherSession);
                }
                let sent = kbs::devices(additional_evidence)?;
                let sent: Vec<Digest256> = sent.iter().map(|device| device.evidence.digest()).collect();
                if sent != evidence {
                    return Err(CompositeError::OtherDevices);
                }
                padded(&claims::kbs::runtime_binding(runtime, additional_evidence)?)
            }
        };
        match verify_slices_are_equal(wanted.as_bytes(), got.as_bytes()) {
            Ok(()) => Ok(()),
            Err(_) => Err(CompositeError::ReportData { got: Box::new(*got), wanted: Box::new(wanted) }),
        }
    }
}

/// Followed by zeros.
fn padded(hash: &[u8]) -> ReportData {
    let mut value = [0; 64];
    for (to, from) in value.iter_mut().zip(hash) {
        *to = *from;
    }
    ReportData(value)
}
