//! AMD's extensions of an endorsement certificate (VCEK specification 57230, table 10): each exactly once, each in its
//! one DER form.
//!
//! `hwID` is raw bytes (64, Turin 8), as every certificate of AMD's has it; the OCTET STRING inside of the extension
//! value that some synthetic certificates carry is refused.

use super::certificate::Certificate;
use super::error::SnpError;
use claims::snp::{Product, SigningKey, TcbVersion};
use x509_cert::der::asn1::{Ia5StringRef, ObjectIdentifier, UintRef};
use x509_cert::der::{Decode, Encode};

/// What an endorsement certificate says about its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VekExtensions {
    pub(crate) kind: SigningKey,
    pub(crate) tcb: TcbVersion,
    /// Raw hardware id; none in a VLEK.
    pub(crate) hardware_id: Option<Vec<u8>>,
    /// Cloud provider; none in a VCEK.
    pub(crate) csp_id: Option<String>,
}

const ARC: &str = "1.3.6.1.4.1.3704.1.";
/// Below AMD's arc: number, name.
const NAMES: [(&str, &str); 14] = [
    ("1", "structVersion"),
    ("2", "productName"),
    ("3.1", "blSPL"),
    ("3.2", "teeSPL"),
    ("3.3", "snpSPL"),
    ("3.4", "spl4"),
    ("3.5", "spl5"),
    ("3.6", "spl6"),
    ("3.7", "spl7"),
    ("3.8", "ucodeSPL"),
    ("3.9", "fmcSPL"),
    ("4", "hwID"),
    ("5", "cspID"),
    ("6", "reserved6"),
];

/// Reads AMD's extensions of a certificate of this kind under a chain of this product (checks 17 to 22).
pub(crate) fn read(
    certificate: &Certificate<'_>,
    kind: SigningKey,
    product: Product,
) -> Result<VekExtensions, SnpError> {
    let found = collect(certificate)?;
    let needed = |name: &'static str| found.get(name).ok_or(SnpError::ExtensionMissing { name });
    let level = |name: &'static str| needed(name).and_then(|value| small_integer(name, value));

    let version = level("structVersion")?;
    if version > 1 {
        return Err(SnpError::StructVersion { got: version });
    }
    let name = text("productName", needed("productName")?)?;
    let family = name.split_once('-').map_or(name.as_str(), |(family, _)| family);
    if family != product.to_string() {
        return Err(SnpError::ProductName { got: name, wanted: product });
    }
    for spare in ["spl4", "spl5", "spl6", "spl7"] {
        // They belong to the reserved bytes of the TCB, which are zero.
        if found.get(spare).is_some_and(|value| small_integer(spare, value) != Ok(0)) {
            return Err(SnpError::ExtensionForm { name: spare });
        }
    }
    let fmc = match product {
        Product::Turin => Some(level("fmcSPL")?),
        Product::Milan | Product::Genoa => refuse(&found, "fmcSPL", kind).map(|()| None)?,
    };
    let tcb = TcbVersion {
        fmc,
        bootloader: level("blSPL")?,
        tee: level("teeSPL")?,
        snp: level("snpSPL")?,
        microcode: level("ucodeSPL")?,
    };
    let (hardware_id, csp_id) = match kind {
        SigningKey::Vcek => {
            refuse(&found, "cspID", kind)?;
            let id = needed("hwID")?;
            let wanted = if product == Product::Turin { 8 } else { 64 };
            if id.len() != wanted {
                return Err(SnpError::ExtensionForm { name: "hwID" });
            }
            (Some(id.to_vec()), None)
        }
        SigningKey::Vlek => {
            refuse(&found, "hwID", kind)?;
            (None, Some(text("cspID", needed("cspID")?)?))
        }
    };
    Ok(VekExtensions { kind, tcb, hardware_id, csp_id })
}

/// AMD's extensions by name.
struct Found<'a>(Vec<(&'static str, &'a [u8])>);

impl<'a> Found<'a> {
    fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.0.iter().find(|(other, _)| *other == name).map(|(_, value)| *value)
    }
}

fn collect<'a>(certificate: &'a Certificate<'_>) -> Result<Found<'a>, SnpError> {
    let mut found = Found(Vec::new());
    for extension in certificate.extensions() {
        let oid: ObjectIdentifier = extension.extn_id;
        let oid = oid.to_string();
        let Some((_, name)) = oid.strip_prefix(ARC).and_then(|rest| NAMES.iter().find(|(number, _)| *number == rest))
        else {
            continue;
        };
        if found.get(name).is_some() {
            return Err(SnpError::ExtensionDoubled { name });
        }
        found.0.push((name, extension.extn_value.as_bytes()));
    }
    Ok(found)
}

fn refuse(found: &Found<'_>, name: &'static str, kind: SigningKey) -> Result<(), SnpError> {
    match found.get(name) {
        Some(_) => Err(SnpError::ExtensionUnexpected { name, kind }),
        None => Ok(()),
    }
}

/// A DER INTEGER from 0 to 255 that fills the value, in its shortest form.
fn small_integer(name: &'static str, value: &[u8]) -> Result<u8, SnpError> {
    let form = SnpError::ExtensionForm { name };
    let integer = UintRef::from_der(value).map_err(|_| form.clone())?;
    if integer.to_der().as_deref() != Ok(value) {
        return Err(form);
    }
    match integer.as_bytes() {
        [level] => Ok(*level),
        _ => Err(form),
    }
}

/// A DER IA5String of 1 to 128 bytes that fills the value.
fn text(name: &'static str, value: &[u8]) -> Result<String, SnpError> {
    let form = SnpError::ExtensionForm { name };
    let text = Ia5StringRef::from_der(value).map_err(|_| form.clone())?;
    match text.as_str() {
        text if (1..=128).contains(&text.len()) => Ok(text.to_owned()),
        _ => Err(form),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_has_one_form() {
        assert_eq!(small_integer("x", &[2, 1, 0x17]), Ok(0x17));
        assert_eq!(small_integer("x", &[2, 2, 0, 0xDB]), Ok(0xDB));
        let form = Err(SnpError::ExtensionForm { name: "x" });
        for bad in [
            &[2, 1, 0xDB][..],   // negative
            &[2, 2, 0, 0x17],    // not the shortest
            &[2, 2, 1, 0],       // 256
            &[4, 1, 0x17],       // OCTET STRING
            &[2, 1, 0x17, 0],    // trailing byte
            &[2, 0x81, 1, 0x17], // long form of the length
            &[2, 0],             // empty
            &[],
        ] {
            assert_eq!(small_integer("x", bad), form, "{bad:02x?}");
        }
    }
}
