//! Intel's SGX extension of a PCK certificate ("SGX PCK Certificate and CRL Profile Specification", section 1.3.5):
//! each member exactly once, each in its one DER form.

use super::error::DcapError;
use claims::dcap::DcapPlatform;
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef, UintRef};
use x509_cert::der::{Decode, Reader, SliceReader, Tag, Tagged};

/// Identifier of the extension; what is in it has longer ones below it.
pub(crate) const SGX_EXTENSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1");

/// What a PCK certificate says about its platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PckExtension {
    /// Names the processor package.
    pub ppid: [u8; 16],
    /// The sixteen components that TCB levels are matched with.
    pub components: [u8; 16],
    /// Provisioning enclave's version.
    pub pce_svn: u16,
    /// Raw microcode versions.
    pub cpu_svn: [u8; 16],
    /// Provisioning enclave's id.
    pub pce_id: [u8; 2],
    /// Model family with its configuration.
    pub fmspc: [u8; 6],
    /// How memory is protected: 0 standard, 1 scalable, 2 scalable with integrity.
    pub sgx_type: u8,
    /// Names the platform instance (platform CA only).
    pub platform_instance_id: Option<[u8; 16]>,
    /// Packages can be added.
    pub dynamic_platform: Option<bool>,
    /// Keys are kept by the registration service.
    pub cached_keys: Option<bool>,
    /// Hyper-threading is on.
    pub smt_enabled: Option<bool>,
}

impl PckExtension {
    /// Reads the value of the extension.
    pub fn parse(value: &[u8]) -> Result<Self, DcapError> {
        let members = Members::outer(value)?;
        let tcb = Members::of(members.sequence(&[2], "the TCB is missing")?, &[2])?;
        let mut components = [0; 16];
        for (number, component) in (1..=16).zip(&mut components) {
            let level = tcb.number(&[2, number])?;
            *component = u8::try_from(level).map_err(|_| wrong("a TCB component is above 255"))?;
        }
        let configuration = match members.optional(&[7]) {
            Some(_) => Some(Members::of(members.sequence(&[7], "the configuration is malformed")?, &[7])?),
            None => None,
        };
        let flag = |number: u8| configuration.as_ref().map_or(Ok(None), |inner| inner.flag(&[7, number]));
        Ok(Self {
            ppid: members.octets(&[1])?,
            components,
            pce_svn: tcb.number(&[2, 17])?,
            cpu_svn: tcb.octets(&[2, 18])?,
            pce_id: members.octets(&[3])?,
            fmspc: members.octets(&[4])?,
            sgx_type: members.sgx_type()?,
            platform_instance_id: members.optional(&[6]).map(|_| members.octets(&[6])).transpose()?,
            dynamic_platform: flag(1)?,
            cached_keys: flag(2)?,
            smt_enabled: flag(3)?,
        })
    }

    pub(crate) fn claims(&self, ca: &'static str, serial: &[u8]) -> DcapPlatform {
        DcapPlatform {
            ca,
            fmspc: hex::encode(self.fmspc),
            pce_id: hex::encode(self.pce_id),
            ppid: hex::encode(self.ppid),
            platform_instance_id: self.platform_instance_id.map(hex::encode),
            sgx_type: match self.sgx_type {
                0 => "standard",
                1 => "scalable",
                _ => "scalable with integrity",
            },
            cpu_svn: hex::encode(self.cpu_svn),
            pce_svn: self.pce_svn,
            dynamic_platform: self.dynamic_platform,
            cached_keys: self.cached_keys,
            smt_enabled: self.smt_enabled,
            pck_serial: hex::encode(serial),
        }
    }
}

/// Most members of one sequence: 16 components, two versions, and room.
const MAX_MEMBERS: usize = 32;

fn wrong(what: &'static str) -> DcapError {
    DcapError::Extension { what }
}

/// `SEQUENCE OF SEQUENCE { OBJECT IDENTIFIER, ANY }`, by what the identifiers add to the extension's own.
struct Members<'a>(Vec<(ObjectIdentifier, AnyRef<'a>)>);

impl<'a> Members<'a> {
    /// Reads the extension's own sequence.
    fn outer(value: &'a [u8]) -> Result<Self, DcapError> {
        match AnyRef::from_der(value) {
            Ok(outer) if outer.tag() == Tag::Sequence => Self::of(outer.value(), &[]),
            _ => Err(wrong("it is not a sequence")),
        }
    }

    /// Reads the content of a sequence whose members' identifiers are one longer than `below` says.
    fn of(content: &'a [u8], below: &[u8]) -> Result<Self, DcapError> {
        let read = || -> Result<Vec<(ObjectIdentifier, AnyRef<'a>)>, x509_cert::der::Error> {
            let mut reader = SliceReader::new(content)?;
            let mut members = Vec::new();
            while !reader.is_finished() && members.len() < MAX_MEMBERS {
                members.push(reader.sequence(|pair| Ok((ObjectIdentifier::decode(pair)?, AnyRef::decode(pair)?)))?);
            }
            reader.finish(members)
        };
        let members = read().map_err(|_| wrong("it is not a sequence of identifiers and values"))?;
        let arc = below.iter().try_fold(SGX_EXTENSION, |oid, part| oid.push_arc(u32::from(*part)));
        for (index, (oid, _)) in members.iter().enumerate() {
            if members.iter().take(index).any(|(other, _)| other == oid) {
                return Err(wrong("a member is there twice"));
            }
            if oid.parent() != arc.as_ref().ok().copied() {
                return Err(wrong("a member does not belong there"));
            }
        }
        Ok(Self(members))
    }

    fn optional(&self, path: &[u8]) -> Option<&AnyRef<'a>> {
        let oid = path.iter().try_fold(SGX_EXTENSION, |oid, part| oid.push_arc(u32::from(*part))).ok()?;
        self.0.iter().find(|(other, _)| *other == oid).map(|(_, value)| value)
    }

    fn needed(&self, path: &[u8]) -> Result<&AnyRef<'a>, DcapError> {
        self.optional(path).ok_or_else(|| wrong("a member is missing"))
    }

    /// The content of a sequence.
    fn sequence(&self, path: &[u8], missing: &'static str) -> Result<&'a [u8], DcapError> {
        let value = self.optional(path).ok_or_else(|| wrong(missing))?;
        match value.tag() {
            Tag::Sequence => Ok(value.value()),
            _ => Err(wrong("a member is not a sequence")),
        }
    }

    fn octets<const N: usize>(&self, path: &[u8]) -> Result<[u8; N], DcapError> {
        let value = self.needed(path)?.decode_as::<OctetStringRef<'_>>();
        value
            .ok()
            .and_then(|octets| octets.as_bytes().try_into().ok())
            .ok_or_else(|| wrong("a member is not an octet string of its length"))
    }

    fn number(&self, path: &[u8]) -> Result<u16, DcapError> {
        let value = self.needed(path)?.decode_as::<UintRef<'_>>().map_err(|_| wrong("a member is not a number"))?;
        match value.as_bytes() {
            [] => Ok(0),
            [low] => Ok(u16::from(*low)),
            [high, low] => Ok(u16::from_be_bytes([*high, *low])),
            _ => Err(wrong("a number is too large")),
        }
    }

    fn flag(&self, path: &[u8]) -> Result<Option<bool>, DcapError> {
        let value = self.optional(path).map(|value| value.decode_as::<bool>());
        value.transpose().map_err(|_| wrong("a flag is not a boolean"))
    }

    /// `ENUMERATED`, 0 to 2.
    fn sgx_type(&self) -> Result<u8, DcapError> {
        let value = self.needed(&[5])?;
        match (value.tag(), value.value()) {
            (Tag::Enumerated, [kind @ 0..=2]) => Ok(*kind),
            _ => Err(wrong("the SGX type is unknown")),
        }
    }
}
