//! Intel's signed JSON: TCB info (PCS API v3 as version 2, v4 as version 3) and identities of quoting enclaves.
//!
//! *Takes* the exact bytes that are signed. *Guarantees* typed values in range. *Does not check* the signature: that is
//! done over the bytes, before anybody uses what is read here. Members that are not known are passed over, since Intel
//! adds some over time and signs them; members that are known must be there once and in their form.

use super::error::DcapError;
use claims::dcap::{DcapTee, TcbStatus};
use serde::Deserialize;
use std::cmp::Reverse;
use x509_cert::der::DateTime;

/// Longest text that is read.
pub const MAX_JSON: usize = 256 * 1024;

pub(crate) const TCB_INFO: &str = "TCB info";
pub(crate) const QE_IDENTITY: &str = "QE identity";

/// Patch levels of a platform model, and Intel's verdict about each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcbInfo {
    /// SGX or TDX.
    pub tee: DcapTee,
    /// Platform model.
    pub fmspc: [u8; 6],
    /// Provisioning enclave's id.
    pub pce_id: [u8; 2],
    /// Which evaluation of Intel's this is.
    pub evaluation_number: u32,
    /// Issued and next update, seconds since 1970.
    pub valid: (u64, u64),
    /// Levels, highest first, as Intel's library sorts them.
    pub levels: Vec<PlatformLevel>,
    /// The TDX module that is always there.
    pub module: Option<Module>,
    /// TDX modules by version.
    pub modules: Vec<(u8, Module, Vec<Level>)>,
}

/// A level of a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformLevel {
    /// Least SGX components.
    pub sgx: [u8; 16],
    /// Least version of the provisioning enclave.
    pub pce_svn: u16,
    /// Least TDX components.
    pub tdx: Option<[u8; 16]>,
    /// The verdict.
    pub level: Verdict,
}

/// A level of an enclave or a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    /// Least security version.
    pub isv_svn: u16,
    /// The verdict.
    pub level: Verdict,
}

/// What Intel says of a level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Status.
    pub status: TcbStatus,
    /// The date that stands for the level, seconds since 1970.
    pub date: u64,
    /// Advisories that apply.
    pub advisories: Vec<String>,
}

/// Who made a TDX module, and how it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Signer.
    pub mr_signer: [u8; 48],
    /// Attributes.
    pub attributes: [u8; 8],
    /// Which of their bits count.
    pub attributes_mask: [u8; 8],
}

/// Which quoting enclave is Intel's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QeIdentity {
    /// Of SGX quotes (`QE`) or TDX quotes (`TD_QE`).
    pub tee: DcapTee,
    /// Which evaluation of Intel's this is.
    pub evaluation_number: u32,
    /// Issued and next update, seconds since 1970.
    pub valid: (u64, u64),
    /// `MISCSELECT` and its mask, as they lie in a report.
    pub misc_select: ([u8; 4], [u8; 4]),
    /// `ATTRIBUTES` and their mask, as they lie in a report.
    pub attributes: ([u8; 16], [u8; 16]),
    /// Signer.
    pub mr_signer: [u8; 32],
    /// Product.
    pub isv_prod_id: u16,
    /// Levels, highest first.
    pub levels: Vec<Level>,
}

impl TcbInfo {
    /// Reads the text that Intel signs.
    pub fn parse(text: &[u8]) -> Result<Self, DcapError> {
        let wire: WireTcbInfo = read(TCB_INFO, text)?;
        wire.check().map_err(|why| DcapError::Json { what: TCB_INFO, why })
    }
}

impl QeIdentity {
    /// Reads the text that Intel signs.
    pub fn parse(text: &[u8]) -> Result<Self, DcapError> {
        let wire: WireIdentity = read(QE_IDENTITY, text)?;
        wire.check().map_err(|why| DcapError::Json { what: QE_IDENTITY, why })
    }
}

fn read<'a, T: Deserialize<'a>>(what: &'static str, text: &'a [u8]) -> Result<T, DcapError> {
    if text.len() > MAX_JSON {
        return Err(DcapError::Json { what, why: format!("{} bytes, at most {MAX_JSON} are read", text.len()) });
    }
    serde_json::from_slice(text).map_err(|error| DcapError::Json { what, why: error.to_string() })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireTcbInfo {
    id: Option<String>,
    version: u32,
    issue_date: String,
    next_update: String,
    fmspc: String,
    pce_id: String,
    tcb_type: u32,
    tcb_evaluation_data_number: u32,
    tcb_levels: Vec<WirePlatformLevel>,
    tdx_module: Option<WireModule>,
    #[serde(default)]
    tdx_module_identities: Vec<WireModuleIdentity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WirePlatformLevel {
    tcb: WireTcb,
    tcb_date: String,
    tcb_status: String,
    #[serde(default, rename = "advisoryIDs")]
    advisories: Vec<String>,
}

/// Version 2 has sixteen members, version 3 has lists of sixteen.
#[derive(Deserialize)]
struct WireTcb {
    pcesvn: u16,
    sgxtcbcomponents: Option<Vec<WireComponent>>,
    tdxtcbcomponents: Option<Vec<WireComponent>>,
    sgxtcbcomp01svn: Option<u8>,
    sgxtcbcomp02svn: Option<u8>,
    sgxtcbcomp03svn: Option<u8>,
    sgxtcbcomp04svn: Option<u8>,
    sgxtcbcomp05svn: Option<u8>,
    sgxtcbcomp06svn: Option<u8>,
    sgxtcbcomp07svn: Option<u8>,
    sgxtcbcomp08svn: Option<u8>,
    sgxtcbcomp09svn: Option<u8>,
    sgxtcbcomp10svn: Option<u8>,
    sgxtcbcomp11svn: Option<u8>,
    sgxtcbcomp12svn: Option<u8>,
    sgxtcbcomp13svn: Option<u8>,
    sgxtcbcomp14svn: Option<u8>,
    sgxtcbcomp15svn: Option<u8>,
    sgxtcbcomp16svn: Option<u8>,
}

#[derive(Deserialize)]
struct WireComponent {
    svn: u8,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireModule {
    mrsigner: String,
    attributes: String,
    attributes_mask: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireModuleIdentity {
    id: String,
    mrsigner: String,
    attributes: String,
    attributes_mask: String,
    tcb_levels: Vec<WireLevel>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireLevel {
    tcb: WireSvn,
    tcb_date: String,
    tcb_status: String,
    #[serde(default, rename = "advisoryIDs")]
    advisories: Vec<String>,
}

#[derive(Deserialize)]
struct WireSvn {
    isvsvn: u16,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireIdentity {
    id: String,
    version: u32,
    issue_date: String,
    next_update: String,
    tcb_evaluation_data_number: u32,
    miscselect: String,
    miscselect_mask: String,
    attributes: String,
    attributes_mask: String,
    mrsigner: String,
    isvprodid: u16,
    tcb_levels: Vec<WireLevel>,
}

/// Statuses that Intel's library accepts in each place; the others are made by converging.
const OF_PLATFORM: &[TcbStatus] = &[
    TcbStatus::UpToDate,
    TcbStatus::SWHardeningNeeded,
    TcbStatus::ConfigurationNeeded,
    TcbStatus::ConfigurationAndSWHardeningNeeded,
    TcbStatus::OutOfDate,
    TcbStatus::OutOfDateConfigurationNeeded,
    TcbStatus::Revoked,
];
const OF_MODULE: &[TcbStatus] = &[TcbStatus::UpToDate, TcbStatus::OutOfDate, TcbStatus::Revoked];
const OF_ENCLAVE: &[TcbStatus] = &[
    TcbStatus::UpToDate,
    TcbStatus::ConfigurationNeeded,
    TcbStatus::OutOfDate,
    TcbStatus::OutOfDateConfigurationNeeded,
    TcbStatus::Revoked,
];

impl WireTcbInfo {
    fn check(self) -> Result<TcbInfo, String> {
        let tee = match (self.version, self.id.as_deref()) {
            (2, None) | (3, Some("SGX")) => DcapTee::Sgx,
            (3, Some("TDX")) => DcapTee::Tdx,
            (version, id) => return Err(format!("version {version} with id {id:?} is not known")),
        };
        if self.tcb_type != 0 {
            return Err(format!("TCB type {} is not known", self.tcb_type));
        }
        let version = self.version;
        let mut levels =
            self.tcb_levels.into_iter().map(|level| level.check(version, tee)).collect::<Result<Vec<_>, _>>()?;
        // Intel's library keeps them sorted, whatever the order in the text.
        levels.sort_by_key(|level| Reverse((level.sgx, level.pce_svn, level.tdx)));
        let module = self.tdx_module.map(WireModule::check).transpose()?;
        if (tee == DcapTee::Tdx) != module.is_some() {
            return Err("it must name a TDX module if and only if it is for TDX".to_owned());
        }
        let mut modules: Vec<(u8, Module, Vec<Level>)> = Vec::new();
        for identity in self.tdx_module_identities {
            let (version, module, levels) = identity.check()?;
            if modules.iter().any(|(other, ..)| *other == version) {
                return Err(format!("TDX module version {version} is there twice"));
            }
            modules.push((version, module, levels));
        }
        Ok(TcbInfo {
            tee,
            fmspc: bytes("fmspc", &self.fmspc)?,
            pce_id: bytes("pceId", &self.pce_id)?,
            evaluation_number: self.tcb_evaluation_data_number,
            valid: (time(&self.issue_date)?, time(&self.next_update)?),
            levels,
            module,
            modules,
        })
    }
}

impl WirePlatformLevel {
    fn check(self, version: u32, tee: DcapTee) -> Result<PlatformLevel, String> {
        let sgx = match (version, self.tcb.numbered(), &self.tcb.sgxtcbcomponents) {
            (2, Some(levels), None) => levels,
            (3, None, Some(components)) => sixteen("sgxtcbcomponents", components)?,
            _ => return Err("the SGX components are not in this version's form".to_owned()),
        };
        let tdx = match (tee, self.tcb.tdxtcbcomponents) {
            (DcapTee::Sgx, None) => None,
            (DcapTee::Tdx, Some(components)) => Some(sixteen("tdxtcbcomponents", &components)?),
            _ => return Err("TDX components must be there if and only if it is for TDX".to_owned()),
        };
        let level = verdict(OF_PLATFORM, &self.tcb_status, &self.tcb_date, self.advisories)?;
        Ok(PlatformLevel { sgx, pce_svn: self.tcb.pcesvn, tdx, level })
    }
}

impl WireTcb {
    /// The sixteen members of version 2; none when one is missing.
    fn numbered(&self) -> Option<[u8; 16]> {
        let members = [
            self.sgxtcbcomp01svn,
            self.sgxtcbcomp02svn,
            self.sgxtcbcomp03svn,
            self.sgxtcbcomp04svn,
            self.sgxtcbcomp05svn,
            self.sgxtcbcomp06svn,
            self.sgxtcbcomp07svn,
            self.sgxtcbcomp08svn,
            self.sgxtcbcomp09svn,
            self.sgxtcbcomp10svn,
            self.sgxtcbcomp11svn,
            self.sgxtcbcomp12svn,
            self.sgxtcbcomp13svn,
            self.sgxtcbcomp14svn,
            self.sgxtcbcomp15svn,
            self.sgxtcbcomp16svn,
        ];
        let levels: Vec<u8> = members.into_iter().collect::<Option<_>>()?;
        levels.try_into().ok()
    }
}

impl WireModule {
    fn check(self) -> Result<Module, String> {
        Ok(Module {
            mr_signer: bytes("mrsigner", &self.mrsigner)?,
            attributes: bytes("attributes", &self.attributes)?,
            attributes_mask: bytes("attributesMask", &self.attributes_mask)?,
        })
    }
}

impl WireModuleIdentity {
    fn check(self) -> Result<(u8, Module, Vec<Level>), String> {
        let Self { id, mrsigner, attributes, attributes_mask, tcb_levels } = self;
        let digits = id.strip_prefix("TDX_").filter(|digits| digits.len() == 2);
        let [version] =
            bytes("the number of a TDX module", digits.ok_or("a TDX module's id is not TDX_ and two digits")?)?;
        Ok((version, WireModule { mrsigner, attributes, attributes_mask }.check()?, enclave(OF_MODULE, tcb_levels)?))
    }
}

impl WireIdentity {
    fn check(self) -> Result<QeIdentity, String> {
        let tee = match (self.id.as_str(), self.version) {
            ("QE", 2) => DcapTee::Sgx,
            ("TD_QE", 2 | 3) => DcapTee::Tdx,
            (id, version) => return Err(format!("`{id}` of version {version} is no quoting enclave's identity")),
        };
        Ok(QeIdentity {
            tee,
            evaluation_number: self.tcb_evaluation_data_number,
            valid: (time(&self.issue_date)?, time(&self.next_update)?),
            misc_select: (bytes("miscselect", &self.miscselect)?, bytes("miscselectMask", &self.miscselect_mask)?),
            attributes: (bytes("attributes", &self.attributes)?, bytes("attributesMask", &self.attributes_mask)?),
            mr_signer: bytes("mrsigner", &self.mrsigner)?,
            isv_prod_id: self.isvprodid,
            levels: enclave(OF_ENCLAVE, self.tcb_levels)?,
        })
    }
}

fn enclave(known: &[TcbStatus], levels: Vec<WireLevel>) -> Result<Vec<Level>, String> {
    let mut levels = levels
        .into_iter()
        .map(|level| {
            let isv_svn = level.tcb.isvsvn;
            verdict(known, &level.tcb_status, &level.tcb_date, level.advisories).map(|level| Level { isv_svn, level })
        })
        .collect::<Result<Vec<_>, _>>()?;
    levels.sort_by_key(|level| Reverse(level.isv_svn));
    Ok(levels)
}

fn verdict(known: &[TcbStatus], status: &str, date: &str, advisories: Vec<String>) -> Result<Verdict, String> {
    let status = status.parse::<TcbStatus>().map_err(|error| error.to_string())?;
    match known.contains(&status) {
        true => Ok(Verdict { status, date: time(date)?, advisories }),
        false => Err(format!("a level cannot have the status {status}")),
    }
}

fn sixteen(what: &str, components: &[WireComponent]) -> Result<[u8; 16], String> {
    let levels: Vec<u8> = components.iter().map(|component| component.svn).collect();
    levels.try_into().map_err(|_| format!("{what} has {} members, not 16", components.len()))
}

fn bytes<const N: usize>(what: &str, text: &str) -> Result<[u8; N], String> {
    let mut value = [0; N];
    hex::decode_to_slice(text, &mut value).map_err(|_| format!("{what} is not {N} bytes in hex"))?;
    Ok(value)
}

fn time(text: &str) -> Result<u64, String> {
    let time =
        text.parse::<DateTime>().map_err(|_| format!("`{}` is no time", text.chars().take(40).collect::<String>()))?;
    Ok(time.unix_duration().as_secs())
}
