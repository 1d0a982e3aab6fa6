//! The firmware id in a leaf certificate: what firmware the key was derived for (TCG DICE Attestation Architecture).
//!
//! Hopper and LS10 have a CompositeDeviceID (`2.23.133.5.4.1`), Blackwell a DiceTcbInfo (`2.23.133.5.4.1.1`); both hold
//! `FWID ::= SEQUENCE { hashAlg OBJECT IDENTIFIER, digest OCTET STRING }`, of which SHA-384 is the only one here.

use super::certificate::{Certificate, ChainError};
use claims::bytes::Digest384;
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use x509_cert::der::{Decode, Error, Reader, SliceReader, Tag, TagNumber, Tagged};

const COMPOSITE_DEVICE_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.5.4.1");
const TCB_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.5.4.1.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
/// `DiceTcbInfo`, `fwids [6] IMPLICIT FWIDLIST`.
const FWIDS: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber::N6 };

/// The leaf's firmware ids; empty when it has neither extension.
pub(super) fn read(leaf: &Certificate<'_>) -> Result<Vec<Digest384>, ChainError> {
    let read = match (leaf.extension(COMPOSITE_DEVICE_ID), leaf.extension(TCB_INFO)) {
        (None, None) => return Ok(Vec::new()),
        (Some(value), None) => composite(value),
        (None, Some(value)) => tcb_info(value),
        (Some(_), Some(_)) => {
            return Err(ChainError::Constraints { place: 0, what: "has two kinds of firmware ids" });
        }
    };
    read.ok().flatten().ok_or(ChainError::Constraints { place: 0, what: "has a malformed firmware id" })
}

/// `SEQUENCE { version INTEGER, deviceID SubjectPublicKeyInfo, fwid FWID }`.
fn composite(value: &[u8]) -> Result<Option<Vec<Digest384>>, Error> {
    let mut reader = SliceReader::new(value)?;
    let found = reader.sequence(|reader| {
        u8::decode(reader)?;
        reader.tlv_bytes()?;
        fwid(reader)
    })?;
    reader.finish(found.map(|digest| vec![digest]))
}

/// Of `DiceTcbInfo` only `fwids` is read.
fn tcb_info(value: &[u8]) -> Result<Option<Vec<Digest384>>, Error> {
    let mut reader = SliceReader::new(value)?;
    let found = reader.sequence(|reader| {
        let mut found = None;
        while !reader.is_finished() {
            let member = AnyRef::decode(reader)?;
            if member.tag() == FWIDS {
                let mut list = SliceReader::new(member.value())?;
                let mut digests = Some(Vec::new());
                while !list.is_finished() {
                    let next = fwid(&mut list)?;
                    digests = digests.zip(next).map(|(mut digests, next)| {
                        digests.push(next);
                        digests
                    });
                }
                found = digests;
            }
        }
        Ok(found)
    })?;
    reader.finish(found)
}

/// None when it is of another algorithm.
fn fwid<'a>(reader: &mut impl Reader<'a>) -> Result<Option<Digest384>, Error> {
    reader.sequence(|reader| {
        let algorithm = ObjectIdentifier::decode(reader)?;
        let digest = OctetStringRef::decode(reader)?;
        Ok(Digest384::from_slice(digest.as_bytes()).filter(|_| algorithm == SHA384))
    })
}
