//! What chains may end at: two roots of NVIDIA's, by the SHA-384 of their SubjectPublicKeyInfo.
//!
//! Roots are a type parameter of everything verified: what was checked against other roots has another type, and never
//! meets what was checked against NVIDIA's. A root called "CoRIM L1 Root CA Debug Only" exists in the wild; it is not
//! listed here, so nothing under it is ever trusted.

use claims::bytes::Digest384;
use std::fmt::Debug;

/// A pair of roots: of device certificates, and of signers of RIMs. Implemented here only.
pub trait Roots: Clone + Debug + PartialEq + sealed::Sealed {
    /// Root of device certificates.
    fn device(&self) -> Digest384;
    /// Root of signers of RIMs.
    fn rim(&self) -> Digest384;
}

/// NVIDIA's roots. There is nothing to construct and nothing to configure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NvidiaRoots;

/// Roots that the caller brings, for a forged chain in a test. What is checked against them says nothing about
/// hardware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnanchoredRoots {
    /// SHA-384 of the device root's SubjectPublicKeyInfo.
    pub device: Digest384,
    /// SHA-384 of the RIM root's SubjectPublicKeyInfo.
    pub rim: Digest384,
}

impl Roots for NvidiaRoots {
    fn device(&self) -> Digest384 {
        DEVICE_IDENTITY_CA
    }

    fn rim(&self) -> Digest384 {
        CORIM_SIGNING_ROOT_CA
    }
}

impl Roots for UnanchoredRoots {
    fn device(&self) -> Digest384 {
        self.device
    }

    fn rim(&self) -> Digest384 {
        self.rim
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::NvidiaRoots {}
    impl Sealed for super::UnanchoredRoots {}
}

/// `NVIDIA Device Identity CA`; SHA-256 of the certificate starts 102bf659.
const DEVICE_IDENTITY_CA: Digest384 = Digest384([
    0xe1, 0x08, 0xf6, 0x1d, 0xe3, 0xfc, 0xe5, 0x26, 0x11, 0x51, 0xf8, 0xa0, 0xeb, 0x56, 0x2a, 0x92, 0x06, 0x39, 0xef,
    0x1b, 0x0f, 0xce, 0xbb, 0xa7, 0x85, 0xee, 0x52, 0xf5, 0x44, 0x20, 0xe4, 0x24, 0x8b, 0xe3, 0x40, 0x03, 0x66, 0xd4,
    0x5c, 0x28, 0x80, 0xbd, 0xf1, 0x30, 0x44, 0x32, 0x53, 0x93,
]);
/// `NVIDIA CoRIM signing Root CA`; SHA-256 of the certificate starts 12977b51.
const CORIM_SIGNING_ROOT_CA: Digest384 = Digest384([
    0x62, 0xd5, 0xdc, 0x52, 0x61, 0x12, 0x22, 0x69, 0x4c, 0x68, 0x9e, 0xba, 0x23, 0x53, 0x31, 0xcf, 0x73, 0xcd, 0x69,
    0x30, 0x8e, 0xa7, 0x63, 0x72, 0x0a, 0x49, 0x87, 0xee, 0xde, 0x99, 0x65, 0x7c, 0x17, 0x6e, 0x94, 0x27, 0x41, 0x69,
    0xa8, 0x06, 0x3a, 0xf5, 0xb1, 0x1f, 0x8e, 0xba, 0x79, 0x90,
]);
