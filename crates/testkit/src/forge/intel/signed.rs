//! What Intel signs about platforms: the SGX extension of a PCK certificate, TCB info, identity of the quoting enclave.

use crate::forge::Result;
use crate::forge::keys::Keys;
use serde_json::{Value, json};
use x509_cert::der::asn1::{Any, ObjectIdentifier, OctetString};
use x509_cert::der::{Encode, Tag};

/// Identifier of the extension; what is in it has longer ones.
pub(super) const SGX_EXTENSION: &str = "1.2.840.113741.1.13.1";

/// What a PCK certificate says of its platform ("SGX PCK Certificate and CRL Profile Specification", section 1.3.5).
#[derive(Debug, Clone)]
pub(in crate::forge) struct Platform {
    pub(in crate::forge) ppid: [u8; 16],
    pub(in crate::forge) component: u8,
    pub(in crate::forge) pce_svn: u16,
    pub(in crate::forge) fmspc: [u8; 6],
    pub(in crate::forge) instance: [u8; 16],
    /// Whether the extension is there.
    pub(in crate::forge) stated: bool,
}

impl Platform {
    pub(super) fn of(keys: &Keys) -> Result<Self> {
        Ok(Self {
            ppid: keys.bytes("intel ppid")?,
            component: 11,
            pce_svn: 13,
            fmspc: [0x00, 0x80, 0x6F, 0x05, 0x00, 0x00],
            instance: keys.bytes("intel platform instance")?,
            stated: true,
        })
    }

    /// The value of the extension.
    pub(super) fn encode(&self) -> Result<Option<Vec<u8>>> {
        if !self.stated {
            return Ok(None);
        }
        let octets = |value: &[u8]| -> Result<Vec<u8>> { Ok(OctetString::new(value)?.to_der()?) };
        let mut tcb = Vec::new();
        for number in 1..=16u8 {
            tcb.push(pair(&format!("2.{number}"), &self.component.to_der()?)?);
        }
        tcb.push(pair("2.17", &self.pce_svn.to_der()?)?);
        tcb.push(pair("2.18", &octets(&[self.component; 16])?)?);
        let flags = [("7.1", true), ("7.2", true), ("7.3", true)].map(|(number, flag)| pair(number, &flag.to_der()?));
        let flags = flags.into_iter().collect::<Result<Vec<_>>>()?;
        let members = [
            pair("1", &octets(&self.ppid)?)?,
            pair("2", &sequence(&tcb.concat())?)?,
            pair("3", &octets(&[0, 0])?)?,
            pair("4", &octets(&self.fmspc)?)?,
            pair("5", &Any::new(Tag::Enumerated, [1])?.to_der()?)?,
            pair("6", &octets(&self.instance)?)?,
            pair("7", &sequence(&flags.concat())?)?,
        ];
        sequence(&members.concat()).map(Some)
    }
}

/// TCB info, version 3: one level that the platform meets, one that an older one would.
pub(super) fn tcb_info(platform: &Platform, tdx: bool) -> Value {
    let level = |component: u8, pce_svn: u16, status: &str, advisories: &[&str]| {
        let components: Vec<Value> = (0..16).map(|_| json!({ "svn": component })).collect();
        let of_tdx: Vec<Value> = (0..16).map(|_| json!({ "svn": if component > 9 { 3 } else { 2 } })).collect();
        let tcb = match tdx {
            false => json!({ "pcesvn": pce_svn, "sgxtcbcomponents": components }),
            true => json!({ "pcesvn": pce_svn, "sgxtcbcomponents": components, "tdxtcbcomponents": of_tdx }),
        };
        json!({ "advisoryIDs": advisories, "tcb": tcb, "tcbDate": "2026-02-11T00:00:00Z", "tcbStatus": status })
    };
    let levels = [
        level(11, 13, "UpToDate", &["INTEL-SA-00001"]),
        level(9, 11, "OutOfDate", &["INTEL-SA-00001", "INTEL-SA-00002"]),
    ];
    let mut info = json!({
        "fmspc": hex::encode_upper(platform.fmspc),
        "id": if tdx { "TDX" } else { "SGX" },
        "issueDate": "2026-08-25T00:00:00Z",
        "nextUpdate": "2026-09-24T00:00:00Z",
        "pceId": "0000",
        "tcbEvaluationDataNumber": 20,
        "tcbLevels": levels,
        "tcbType": 0,
    });
    if tdx {
        let zeros = "00".repeat(48);
        let (attributes, mask) = ("00".repeat(8), "FF".repeat(8));
        let module = |isv_svn: u16, status: &str| json!({ "tcb": { "isvsvn": isv_svn }, "tcbDate": "2026-02-11T00:00:00Z", "tcbStatus": status });
        info["tdxModule"] = json!({ "attributes": attributes, "attributesMask": mask, "mrsigner": zeros });
        info["tdxModuleIdentities"] = json!([{
            "attributes": attributes,
            "attributesMask": mask,
            "id": "TDX_01",
            "mrsigner": zeros,
            "tcbLevels": [module(5, "UpToDate"), module(3, "OutOfDate")],
        }]);
    }
    info["version"] = json!(3);
    info
}

/// The identity of the quoting enclave, version 2.
pub(super) fn qe_identity(keys: &Keys, tdx: bool) -> Result<Value> {
    Ok(json!({
        "attributes": "05000000000000000000000000000000",
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "id": if tdx { "TD_QE" } else { "QE" },
        "issueDate": "2026-08-25T00:00:00Z",
        "isvprodid": 1,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "mrsigner": hex::encode_upper(keys.bytes::<32>("intel qe signer")?),
        "nextUpdate": "2026-09-24T00:00:00Z",
        "tcbEvaluationDataNumber": 20,
        "tcbLevels": [{ "tcb": { "isvsvn": 8 }, "tcbDate": "2026-02-11T00:00:00Z", "tcbStatus": "UpToDate" }],
        "version": 2,
    }))
}

/// `SEQUENCE { OBJECT IDENTIFIER, ANY }`.
fn pair(number: &str, value: &[u8]) -> Result<Vec<u8>> {
    let oid = ObjectIdentifier::new(&format!("{SGX_EXTENSION}.{number}"))?;
    sequence(&[oid.to_der()?.as_slice(), value].concat())
}

fn sequence(content: &[u8]) -> Result<Vec<u8>> {
    Ok(Any::new(Tag::Sequence, content)?.to_der()?)
}
