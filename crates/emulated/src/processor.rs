//! The processor: one per workspace; and its guests, each with its own launch.

use crate::issue::{Authority, spki};
use crate::state::{EmulatorError, Hardware, State};
use crate::verifier::EmulatedVerifier;
use attest::snp::{CertificateTable, EMULATED_CHIP_PREFIX, Endorsements, Entry, Fields, SIGNED, encode_tcb};
use aws_lc_rs::agreement::{ECDH_P384, PrivateKey};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use aws_lc_rs::{digest, hkdf};
use claims::bytes::Digest384;
use claims::snp::{GuestPolicy, PlatformInfo, Product, TcbVersion};
use claims::{ChipId, HostData, LaunchDigest, ReportData, UnixTime};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Which processor is emulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Product.
    pub product: Product,
    /// Report version: 2, 3 or 5.
    pub report_version: u32,
    /// Patch levels, all four TCBs.
    pub tcb: TcbVersion,
}

/// An emulated processor with its keys.
pub struct Processor {
    state: State,
    /// Certificate tables by patch levels, and whether the intermediate is revoked: four RSA-4096 signatures each, which
    /// a host too has made long before a guest asks.
    tables: Mutex<BTreeMap<([u8; 8], bool), CertificateTable>>,
    /// The chip's keys by patch levels.
    keys: Mutex<BTreeMap<[u8; 8], Arc<ChipKey>>>,
}

/// The key for a chip and its patch levels.
struct ChipKey {
    private: EcdsaKeyPair,
    /// Its public point.
    point: Vec<u8>,
}

/// What a guest was launched with. Whoever starts QEMU says it; the guest cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// Launch measurement, computed from the files that QEMU gets.
    pub measurement: LaunchDigest,
    /// HOST_DATA of the launch option.
    pub host_data: HostData,
    /// Guest policy of the launch option.
    pub policy: GuestPolicy,
    /// Random per instance.
    report_id: [u8; 32],
    faults: Vec<Fault>,
}

/// Something that goes wrong, for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Requests are answered with this status.
    Status(u32),
    /// The report is one byte short.
    Short,
    /// No certificates come along.
    NoCertificates,
    /// The signature has a flipped bit.
    WrongSignature,
    /// The host masked the chip id.
    MaskedChipId,
    /// The host masked the chip key: the report is not signed.
    MaskedChipKey,
    /// The reported TCB has a microcode level lower by one, with the key that belongs to it.
    OldMicrocode,
    /// The report names a newer microcode than its key has.
    ForgedMicrocode,
    /// The intermediate is on the revocation list.
    Revoked,
}

/// A report and the host's certificate table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The report's bytes.
    pub report: Vec<u8>,
    /// Chain and revocation list.
    pub certificates: CertificateTable,
}

impl Model {
    /// EPYC 9004 with report version 3: the most common one.
    pub const GENOA: Self = Self {
        product: Product::Genoa,
        report_version: 3,
        tcb: TcbVersion { fmc: None, bootloader: 10, tee: 0, snp: 23, microcode: 0x54 },
    };
    /// EPYC 7003.
    pub const MILAN: Self = Self {
        product: Product::Milan,
        report_version: 3,
        tcb: TcbVersion { fmc: None, bootloader: 4, tee: 0, snp: 0x18, microcode: 0xDB },
    };
    /// EPYC 9005 with report version 5.
    pub const TURIN: Self = Self {
        product: Product::Turin,
        report_version: 5,
        tcb: TcbVersion { fmc: Some(1), bootloader: 1, tee: 1, snp: 4, microcode: 0x51 },
    };

    fn cpuid(&self) -> (u8, u8, u8) {
        match self.product {
            Product::Milan => (0x19, 0x01, 1),
            Product::Genoa => (0x19, 0x11, 1),
            Product::Turin => (0x1A, 0x02, 1),
        }
    }
}

impl Processor {
    /// The processor of a workspace; its development roots are made when there are none. A workspace keeps its model.
    pub fn open(workspace: &Path, now: UnixTime, model: Model, hardware: &Hardware) -> Result<Self, EmulatorError> {
        State::open(workspace, now, model, hardware).map(|state| Self {
            state,
            tables: Mutex::default(),
            keys: Mutex::default(),
        })
    }

    /// Which processor it is.
    pub fn model(&self) -> Model {
        self.state.model
    }

    /// The verifier that trusts this workspace's root and nothing else.
    pub fn verifier(&self) -> Result<EmulatedVerifier, EmulatorError> {
        let spki = digest::digest(&digest::SHA384, &spki(&self.state.root)?);
        let spki = Digest384::from_slice(spki.as_ref()).ok_or(EmulatorError::Crypto)?;
        Ok(EmulatedVerifier::new(spki, self.state.model.product))
    }

    /// The chip's id: `EMUL`, then what the workspace's seed gives.
    pub fn chip_id(&self) -> Result<ChipId, EmulatorError> {
        let length = if self.state.model.product == Product::Turin { 8 } else { 64 };
        let mut id = [0; 64];
        self.derive(&[b"chip id"], id.get_mut(..length).unwrap_or_default())?;
        for (place, byte) in id.iter_mut().zip(EMULATED_CHIP_PREFIX) {
            *place = byte;
        }
        Ok(ChipId(id))
    }

    /// The report that a guest asks for, with the host's certificates.
    pub fn evidence(&self, guest: &Guest, report_data: ReportData, vmpl: u32) -> Result<Evidence, EmulatorError> {
        let model = self.state.model;
        let chip_id = self.chip_id()?;
        let mut key_tcb = model.tcb;
        let mut reported_tcb = model.tcb;
        if guest.has(Fault::OldMicrocode) {
            key_tcb.microcode = key_tcb.microcode.saturating_sub(1);
            reported_tcb = key_tcb;
        }
        if guest.has(Fault::ForgedMicrocode) {
            key_tcb.microcode = key_tcb.microcode.saturating_sub(1);
        }
        let key = self.vcek(&chip_id, &key_tcb)?;
        let fields = Fields {
            version: model.report_version,
            guest_svn: 0,
            policy: guest.policy,
            family_id: [0; 16],
            image_id: [0; 16],
            vmpl,
            current_tcb: model.tcb,
            // SMT, ECC, and aliases checked: what real machines report.
            platform_info: PlatformInfo(if model.report_version >= 3 { 0x25 } else { 0x1 }),
            key_info: if guest.has(Fault::MaskedChipKey) { 2 } else { 0 },
            report_data,
            measurement: guest.measurement,
            host_data: guest.host_data,
            id_key_digest: Digest384([0; 48]),
            author_key_digest: Digest384([0; 48]),
            report_id: guest.report_id,
            report_id_ma: [0xFF; 32],
            reported_tcb,
            cpuid: (model.report_version >= 3).then(|| model.cpuid()),
            chip_id: if guest.has(Fault::MaskedChipId) { ChipId([0; 64]) } else { chip_id },
            committed_tcb: model.tcb,
            firmware_current: (1, 55, 49),
            firmware_committed: (1, 55, 49),
            launch_tcb: model.tcb,
            mitigations: (model.report_version >= 5).then_some((0x3F, 0x3F)),
        };
        let mut report = fields.encode(&[0; 144]).to_vec();
        if !guest.has(Fault::MaskedChipKey) {
            let mut signature = sign(&key.private, report.get(SIGNED).unwrap_or_default())?;
            if guest.has(Fault::WrongSignature)
                && let Some(first) = signature.first_mut()
            {
                *first ^= 1;
            }
            report = fields.encode(&signature).to_vec();
        }
        if guest.has(Fault::Short) {
            report.pop();
        }
        let certificates = match guest.has(Fault::NoCertificates) {
            true => CertificateTable::of(Vec::new()),
            false => self.table(&key.point, &key_tcb, &chip_id, guest.has(Fault::Revoked))?,
        };
        Ok(Evidence { report, certificates })
    }

    fn table(
        &self,
        point: &[u8],
        tcb: &TcbVersion,
        chip_id: &ChipId,
        revoked: bool,
    ) -> Result<CertificateTable, EmulatorError> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = tables.get(&(encode_tcb(tcb), revoked)) {
            return Ok(table.clone());
        }
        let authority = Authority {
            root: &self.state.root,
            intermediate: &self.state.intermediate,
            product: self.state.model.product,
            issued: self.state.issued,
        };
        let length = if self.state.model.product == Product::Turin { 8 } else { 64 };
        let hardware_id = chip_id.as_bytes().get(..length).unwrap_or_default();
        let table = CertificateTable::of(vec![
            (Entry::Vcek, authority.vcek(point, tcb, hardware_id)?),
            (Entry::Ask, authority.intermediate()?),
            (Entry::Ark, authority.root()?),
            (Entry::Crl, authority.revocation_list(if revoked { &[2] } else { &[] })?),
        ]);
        tables.insert((encode_tcb(tcb), revoked), table.clone());
        Ok(table)
    }

    /// The key for a chip and its patch levels: another level, another key, as in silicon.
    fn vcek(&self, chip_id: &ChipId, tcb: &TcbVersion) -> Result<Arc<ChipKey>, EmulatorError> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = keys.get(&encode_tcb(tcb)) {
            return Ok(Arc::clone(key));
        }
        // A random scalar is out of range about once in 2^190 times; then the next one is taken.
        for attempt in 0..4u8 {
            let mut scalar = [0; 48];
            self.derive(&[b"vcek", chip_id.as_bytes(), &encode_tcb(tcb), &[attempt]], &mut scalar)?;
            let Ok(agreement) = PrivateKey::from_private_key(&ECDH_P384, &scalar) else { continue };
            let point = agreement.compute_public_key().map_err(|_| EmulatorError::Crypto)?.as_ref().to_vec();
            let private =
                EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P384_SHA384_FIXED_SIGNING, &scalar, &point)
                    .map_err(|_| EmulatorError::Crypto)?;
            let key = Arc::new(ChipKey { private, point });
            keys.insert(encode_tcb(tcb), Arc::clone(&key));
            return Ok(key);
        }
        Err(EmulatorError::Crypto)
    }

    fn derive(&self, info: &[&[u8]], out: &mut [u8]) -> Result<(), EmulatorError> {
        struct Length(usize);
        impl hkdf::KeyType for Length {
            fn len(&self) -> usize {
                self.0
            }
        }
        hkdf::Salt::new(hkdf::HKDF_SHA384, b"confide/emulated/v1")
            .extract(&self.state.seed)
            .expand(info, Length(out.len()))
            .and_then(|key| key.fill(out))
            .map_err(|_| EmulatorError::Crypto)
    }
}

impl Guest {
    /// A guest with this measurement and HOST_DATA, and the policy that QEMU's callers use.
    pub fn new(measurement: LaunchDigest, host_data: HostData) -> Result<Self, EmulatorError> {
        let mut report_id = [0; 32];
        SystemRandom::new().fill(&mut report_id).map_err(|_| EmulatorError::Crypto)?;
        Ok(Self { measurement, host_data, policy: GuestPolicy::PLAIN, report_id, faults: Vec::new() })
    }

    /// A guest that is launched with the very files that QEMU gets.
    pub fn launch(launch: &measure::snp::Launch<'_>, host_data: HostData) -> Result<Self, EmulatorError> {
        Self::new(measure::snp::measure(launch)?, host_data)
    }

    /// With another guest policy.
    pub fn with_policy(self, policy: GuestPolicy) -> Self {
        Self { policy, ..self }
    }

    /// With something that goes wrong, for tests.
    pub fn with_fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// The status that requests are answered with; 0 is success.
    pub(crate) fn status(&self) -> u32 {
        let status = |fault: &Fault| if let Fault::Status(status) = fault { Some(*status) } else { None };
        self.faults.iter().find_map(status).unwrap_or(0)
    }

    fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }
}

impl Evidence {
    /// The chain and the list, as a verifier takes them.
    pub fn endorsements(&self) -> Endorsements {
        let part = |kind| self.certificates.entry(kind).map(<[u8]>::to_vec);
        Endorsements {
            vek: part(Entry::Vcek).unwrap_or_default(),
            intermediate: part(Entry::Ask).unwrap_or_default(),
            root: part(Entry::Ark).unwrap_or_default(),
            crl: part(Entry::Crl),
        }
    }
}

/// R then S, 72 little-endian bytes each, as a report has them.
fn sign(key: &EcdsaKeyPair, message: &[u8]) -> Result<[u8; 144], EmulatorError> {
    let signature = key.sign(&SystemRandom::new(), message).map_err(|_| EmulatorError::Crypto)?;
    let (r, s) = signature.as_ref().split_at_checked(48).ok_or(EmulatorError::Crypto)?;
    let mut bytes = [0; 144];
    for (start, part) in [(0, r), (72, s)] {
        for (place, byte) in bytes.iter_mut().skip(start).zip(part.iter().rev()) {
            *place = *byte;
        }
    }
    Ok(bytes)
}
