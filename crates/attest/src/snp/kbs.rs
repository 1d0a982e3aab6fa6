//! Evidence in the JSON form of KBS clients: the serde form of virtee's `sev` types.
//!
//! *Takes* JSON of at most 1 MiB. *Guarantees* that the report's bytes are rebuilt exactly, as the signature is over
//! bytes and the JSON has fields only. *Does not check* anything about who signed: see [`super::Report::verify`].
//!
//! Reserved bytes have no place in this form. A report with such bytes set is not readable by [`Report::parse`] in the
//! first place, so nothing is lost on the way.

use super::error::SnpError;
use super::layout::{self, REPORT_LENGTH, field};
use super::report::{Fields, Report};
use super::table::{CertificateTable, Entry};
use claims::bytes::Digest384;
use claims::snp::{GuestPolicy, PlatformInfo, TcbVersion};
use claims::{ChipId, Code, HostData, LaunchDigest, ReportData};
use serde::{Deserialize, Serialize};

/// Longest evidence that is read.
pub const MAX_EVIDENCE: usize = 1024 * 1024;

/// Why evidence is refused before anything is verified.
#[derive(Debug, thiserror::Error)]
pub enum KbsError {
    /// Too long.
    #[error("the evidence has {got} bytes, at most {MAX_EVIDENCE} are read")]
    TooLarge {
        /// Bytes found.
        got: usize,
    },
    /// Not the JSON wanted.
    #[error("the evidence is not the JSON of an SNP report")]
    Json(#[from] serde_json::Error),
    /// A field does not go with the version or product.
    #[error("field `{field}` does not go with the report's version or product")]
    Field {
        /// Which.
        field: &'static str,
    },
    /// The rebuilt report is malformed.
    #[error("the report in the evidence is malformed")]
    Report(#[from] SnpError),
    /// A certificate is of a kind that is not a name or a GUID, or there twice.
    #[error("certificate {index} of the evidence has an unknown or repeated kind")]
    Certificate {
        /// Which.
        index: usize,
    },
}

impl claims::Refusal for KbsError {
    fn code(&self) -> Code {
        Self::code(self)
    }

    fn finding(&self) -> Option<claims::Finding> {
        match self {
            Self::Report(error) => error.finding(),
            _ => None,
        }
    }
}

impl KbsError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::TooLarge { .. } => Code::TooLarge,
            Self::Json(_) | Self::Field { .. } | Self::Certificate { .. } => Code::Format,
            Self::Report(error) => error.code(),
        }
    }
}

/// Writes evidence: the report and what the host's table holds.
pub fn to_json(report: &Report, table: &CertificateTable) -> serde_json::Value {
    let wire = Evidence {
        attestation_report: WireReport::of(report),
        cert_chain: (table.entries().next().is_some()).then(|| {
            table
                .entries()
                .map(|(kind, data)| WireCertificate { cert_type: name_of(kind), data: data.to_vec() })
                .collect()
        }),
    };
    serde_json::to_value(wire).unwrap_or_default()
}

/// Reads evidence from text.
pub fn from_slice(json: &[u8]) -> Result<(Report, CertificateTable), KbsError> {
    if json.len() > MAX_EVIDENCE {
        return Err(KbsError::TooLarge { got: json.len() });
    }
    convert(serde_json::from_slice(json)?)
}

/// Reads evidence from a parsed value.
pub fn from_json(json: &serde_json::Value) -> Result<(Report, CertificateTable), KbsError> {
    convert(Evidence::deserialize(json)?)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Evidence {
    attestation_report: WireReport,
    #[serde(default)]
    cert_chain: Option<Vec<WireCertificate>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireCertificate {
    cert_type: WireKind,
    data: Vec<u8>,
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
enum WireKind {
    #[serde(rename = "VCEK")]
    Vcek,
    #[serde(rename = "VLEK")]
    Vlek,
    #[serde(rename = "ASK")]
    Ask,
    #[serde(rename = "ARK")]
    Ark,
    #[serde(rename = "CRL")]
    Crl,
    Empty,
    #[serde(rename = "OTHER")]
    Other(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireTcb {
    fmc: Option<u8>,
    bootloader: u8,
    tee: u8,
    snp: u8,
    microcode: u8,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireVersion {
    major: u8,
    minor: u8,
    build: u8,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSignature {
    r: Vec<u8>,
    s: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireReport {
    version: u32,
    guest_svn: u32,
    policy: u64,
    family_id: [u8; 16],
    image_id: [u8; 16],
    vmpl: u32,
    sig_algo: u32,
    current_tcb: WireTcb,
    plat_info: u64,
    key_info: u32,
    report_data: Vec<u8>,
    measurement: Vec<u8>,
    host_data: [u8; 32],
    id_key_digest: Vec<u8>,
    author_key_digest: Vec<u8>,
    report_id: [u8; 32],
    report_id_ma: [u8; 32],
    reported_tcb: WireTcb,
    cpuid_fam_id: Option<u8>,
    cpuid_mod_id: Option<u8>,
    cpuid_step: Option<u8>,
    chip_id: Vec<u8>,
    committed_tcb: WireTcb,
    current: WireVersion,
    committed: WireVersion,
    launch_tcb: WireTcb,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    launch_mit_vector: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current_mit_vector: Option<u64>,
    signature: WireSignature,
}

impl WireReport {
    fn of(report: &Report) -> Self {
        let fields = report.claimed();
        let raw = report.as_bytes();
        let tcb = |tcb: TcbVersion| WireTcb {
            fmc: tcb.fmc,
            bootloader: tcb.bootloader,
            tee: tcb.tee,
            snp: tcb.snp,
            microcode: tcb.microcode,
        };
        let version = |(major, minor, build)| WireVersion { major, minor, build };
        Self {
            version: fields.version,
            guest_svn: fields.guest_svn,
            policy: fields.policy.0,
            family_id: fields.family_id,
            image_id: fields.image_id,
            vmpl: fields.vmpl,
            sig_algo: 1,
            current_tcb: tcb(fields.current_tcb),
            plat_info: fields.platform_info.0,
            key_info: fields.key_info,
            report_data: fields.report_data.0.to_vec(),
            measurement: fields.measurement.0.to_vec(),
            host_data: fields.host_data.0,
            id_key_digest: fields.id_key_digest.0.to_vec(),
            author_key_digest: fields.author_key_digest.0.to_vec(),
            report_id: fields.report_id,
            report_id_ma: fields.report_id_ma,
            reported_tcb: tcb(fields.reported_tcb),
            cpuid_fam_id: fields.cpuid.map(|(family, _, _)| family),
            cpuid_mod_id: fields.cpuid.map(|(_, model, _)| model),
            cpuid_step: fields.cpuid.map(|(_, _, stepping)| stepping),
            chip_id: fields.chip_id.0.to_vec(),
            committed_tcb: tcb(fields.committed_tcb),
            current: version(fields.firmware_current),
            committed: version(fields.firmware_committed),
            launch_tcb: tcb(fields.launch_tcb),
            launch_mit_vector: fields.mitigations.map(|(launch, _)| launch),
            current_mit_vector: fields.mitigations.map(|(_, current)| current),
            signature: WireSignature {
                r: field::<72>(raw, layout::SIGNATURE_R.start..layout::PADDING_R.end).to_vec(),
                s: field::<72>(raw, layout::SIGNATURE_S.start..layout::PADDING_S.end).to_vec(),
            },
        }
    }

    /// The bytes that the processor signed.
    fn rebuild(self) -> Result<[u8; REPORT_LENGTH], KbsError> {
        fn exact<const N: usize>(field: &'static str, bytes: &[u8]) -> Result<[u8; N], KbsError> {
            bytes.try_into().map_err(|_| KbsError::Field { field })
        }
        if self.sig_algo != 1 {
            return Err(SnpError::SignatureAlgorithm { got: self.sig_algo }.into());
        }
        let cpuid = match (self.version, self.cpuid_fam_id, self.cpuid_mod_id, self.cpuid_step) {
            // Version 2 has none; the serde form of older libraries writes zeros or null.
            (..=2, None | Some(0), None | Some(0), None | Some(0)) => None,
            (3.., Some(family), Some(model), Some(stepping)) => Some((family, model, stepping)),
            _ => return Err(KbsError::Field { field: "cpuid" }),
        };
        let turin = cpuid.is_some_and(|(family, _, _)| family >= 0x1A);
        let tcb = |field: &'static str, wire: &WireTcb| {
            let fmc = match (turin, wire.fmc) {
                (true, Some(fmc)) => Some(fmc),
                (false, None | Some(0)) => None,
                _ => return Err(KbsError::Field { field }),
            };
            Ok(TcbVersion { fmc, bootloader: wire.bootloader, tee: wire.tee, snp: wire.snp, microcode: wire.microcode })
        };
        let mitigations = match (self.version, self.launch_mit_vector, self.current_mit_vector) {
            (5.., Some(launch), Some(current)) => Some((launch, current)),
            (..=4, None | Some(0), None | Some(0)) => None,
            _ => return Err(KbsError::Field { field: "mit_vector" }),
        };
        let version = |wire: &WireVersion| (wire.major, wire.minor, wire.build);
        let fields = Fields {
            version: self.version,
            guest_svn: self.guest_svn,
            policy: GuestPolicy(self.policy),
            family_id: self.family_id,
            image_id: self.image_id,
            vmpl: self.vmpl,
            current_tcb: tcb("current_tcb", &self.current_tcb)?,
            platform_info: PlatformInfo(self.plat_info),
            key_info: self.key_info,
            report_data: ReportData(exact("report_data", &self.report_data)?),
            measurement: LaunchDigest(exact("measurement", &self.measurement)?),
            host_data: HostData(self.host_data),
            id_key_digest: Digest384(exact("id_key_digest", &self.id_key_digest)?),
            author_key_digest: Digest384(exact("author_key_digest", &self.author_key_digest)?),
            report_id: self.report_id,
            report_id_ma: self.report_id_ma,
            reported_tcb: tcb("reported_tcb", &self.reported_tcb)?,
            cpuid,
            chip_id: ChipId(exact("chip_id", &self.chip_id)?),
            committed_tcb: tcb("committed_tcb", &self.committed_tcb)?,
            firmware_current: version(&self.current),
            firmware_committed: version(&self.committed),
            launch_tcb: tcb("launch_tcb", &self.launch_tcb)?,
            mitigations,
        };
        let r: [u8; 72] = exact("signature.r", &self.signature.r)?;
        let s: [u8; 72] = exact("signature.s", &self.signature.s)?;
        let mut signature = [0; 144];
        for (place, byte) in signature.iter_mut().zip(r.iter().chain(&s)) {
            *place = *byte;
        }
        Ok(fields.encode(&signature))
    }
}

fn convert(wire: Evidence) -> Result<(Report, CertificateTable), KbsError> {
    let report = Report::parse(&wire.attestation_report.rebuild()?)?;
    let mut entries: Vec<(Entry, Vec<u8>)> = Vec::new();
    for (index, certificate) in wire.cert_chain.into_iter().flatten().enumerate() {
        let Some(kind) = kind_of(&certificate.cert_type).map_err(|()| KbsError::Certificate { index })? else {
            continue;
        };
        if entries.iter().any(|(other, _)| *other == kind) || entries.len() >= super::table::MAX_ENTRIES {
            return Err(KbsError::Certificate { index });
        }
        entries.push((kind, certificate.data));
    }
    Ok((report, CertificateTable::of(entries)))
}

fn name_of(kind: Entry) -> WireKind {
    match kind {
        Entry::Vcek => WireKind::Vcek,
        Entry::Vlek => WireKind::Vlek,
        Entry::Ask => WireKind::Ask,
        Entry::Ark => WireKind::Ark,
        Entry::Crl => WireKind::Crl,
        Entry::Other(guid) => {
            let hex = hex::encode(guid);
            let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or("").to_owned();
            WireKind::Other([part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-"))
        }
    }
}

/// The kind of an entry; none for `Empty`, which ends upstream's tables.
fn kind_of(name: &WireKind) -> Result<Option<Entry>, ()> {
    Ok(Some(match name {
        WireKind::Vcek => Entry::Vcek,
        WireKind::Vlek => Entry::Vlek,
        WireKind::Ask => Entry::Ask,
        WireKind::Ark => Entry::Ark,
        WireKind::Crl => Entry::Crl,
        WireKind::Empty => return Ok(None),
        WireKind::Other(text) => {
            let mut guid = [0; 16];
            hex::decode_to_slice(text.replace('-', ""), &mut guid).map_err(|_| ())?;
            Entry::from_guid(guid)
        }
    }))
}
