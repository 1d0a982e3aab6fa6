//! A report as it came: strictly parsed, nothing in it true yet.
//!
//! *Takes* the 1184 raw bytes. *Guarantees* that every field is in range for the version it says, and that every byte
//! that must be zero is. *Does not check* who signed it: [`Report::verify`] does.

use super::error::SnpError;
use super::layout::{self, REPORT_LENGTH, field, first_set, set};
use claims::bytes::Digest384;
use claims::snp::{GuestPolicy, PlatformInfo, Product, SigningKey, SnpClaims, TcbVersion, Tee};
use claims::{ChipId, HostData, LaunchDigest, ReportData};

/// Which report versions are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// 2, 3 and 5: what released firmware writes.
    Released,
    /// Also 4, whose definition is not published; it is read with the layout of version 3.
    WithVersion4,
}

/// A report whose form is right. Its claims are not true before [`Report::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    raw: Box<[u8; REPORT_LENGTH]>,
    fields: Fields,
    signing_key: SigningKey,
    product: Option<Product>,
}

/// What a report states, field by field, not yet verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    /// Format version.
    pub version: u32,
    /// Guest security version number.
    pub guest_svn: u32,
    /// Guest policy.
    pub policy: GuestPolicy,
    /// Family id of the ID block.
    pub family_id: [u8; 16],
    /// Image id of the ID block.
    pub image_id: [u8; 16],
    /// Privilege level that asked.
    pub vmpl: u32,
    /// TCB running now.
    pub current_tcb: TcbVersion,
    /// Platform bits.
    pub platform_info: PlatformInfo,
    /// `KEY_INFO`: bit 0 author key, bit 1 masked chip key, bits 4:2 kind of the signing key.
    pub key_info: u32,
    /// What the guest asked to be signed.
    pub report_data: ReportData,
    /// Launch measurement.
    pub measurement: LaunchDigest,
    /// Set by the host at launch.
    pub host_data: HostData,
    /// Digest of the ID key.
    pub id_key_digest: Digest384,
    /// Digest of the author key.
    pub author_key_digest: Digest384,
    /// Random per guest instance.
    pub report_id: [u8; 32],
    /// Migration agent's report id.
    pub report_id_ma: [u8; 32],
    /// TCB that the signing key was derived from.
    pub reported_tcb: TcbVersion,
    /// CPUID family, model, stepping (version 3 and later).
    pub cpuid: Option<(u8, u8, u8)>,
    /// Chip.
    pub chip_id: ChipId,
    /// TCB below which the platform cannot go back.
    pub committed_tcb: TcbVersion,
    /// Firmware running: major, minor, build.
    pub firmware_current: (u8, u8, u8),
    /// Firmware committed: major, minor, build.
    pub firmware_committed: (u8, u8, u8),
    /// TCB when the guest was launched.
    pub launch_tcb: TcbVersion,
    /// Mitigation vectors at launch and now (version 5).
    pub mitigations: Option<(u64, u64)>,
}

impl Report {
    /// Parses the 1184 bytes of a released version.
    pub fn parse(bytes: &[u8]) -> Result<Self, SnpError> {
        Self::parse_with(bytes, Versions::Released)
    }

    /// Parses the 1184 bytes; checks 1 to 7 of the list, in order.
    pub fn parse_with(bytes: &[u8], versions: Versions) -> Result<Self, SnpError> {
        let raw: Box<[u8; REPORT_LENGTH]> =
            Box::new(bytes.try_into().map_err(|_| SnpError::Length { got: bytes.len() })?);
        let version = u32::from_le_bytes(field(&raw, layout::VERSION));
        match (version, versions) {
            (2 | 3 | 5, _) | (4, Versions::WithVersion4) => {}
            _ => return Err(SnpError::Version { got: version }),
        }
        let algorithm = u32::from_le_bytes(field(&raw, layout::SIGNATURE_ALGORITHM));
        if algorithm != 1 {
            return Err(SnpError::SignatureAlgorithm { got: algorithm });
        }
        check_reserved(&raw, version)?;
        check_signature_form(&raw)?;
        let signing_key = check_key_info(u32::from_le_bytes(field(&raw, layout::KEY_INFO)))?;
        let policy = u64::from_le_bytes(field(&raw, layout::POLICY));
        if policy >> 17 & 1 != 1 || policy >> 26 != 0 {
            return Err(SnpError::PolicyReserved { policy });
        }
        let product = match version {
            2 => None,
            _ => {
                let [family, model, _] = field(&raw, layout::CPUID);
                Some(product_of(family, model).ok_or(SnpError::UnknownProduct { family, model })?)
            }
        };
        let fields = Fields::read(&raw, version, product)?;
        Ok(Self { raw, fields, signing_key, product })
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; REPORT_LENGTH] {
        &self.raw
    }

    /// What the report states. **Not verified**: good for finding collateral and for explaining, never for trust.
    pub fn claimed(&self) -> &Fields {
        &self.fields
    }

    /// Kind of key that the report says signed it. Not verified.
    pub fn signing_key(&self) -> SigningKey {
        self.signing_key
    }

    /// Product by CPUID; version 2 does not say. Not verified.
    pub fn product(&self) -> Option<Product> {
        self.product
    }

    /// The bytes that the signature covers.
    pub(crate) fn signed_bytes(&self) -> &[u8] {
        self.raw.get(layout::SIGNED).unwrap_or(&[])
    }

    /// R and S, big-endian, 48 bytes each.
    pub(crate) fn signature(&self) -> [u8; 96] {
        let mut r: [u8; 48] = field(&self.raw, layout::SIGNATURE_R);
        let mut s: [u8; 48] = field(&self.raw, layout::SIGNATURE_S);
        r.reverse();
        s.reverse();
        let mut both = [0; 96];
        for (place, byte) in both.iter_mut().zip(r.iter().chain(&s)) {
            *place = *byte;
        }
        both
    }

    /// The claims, for a verifier that has checked them.
    pub(crate) fn claims(&self, tee: Tee, product: Product, csp_id: Option<String>) -> SnpClaims {
        let fields = &self.fields;
        SnpClaims {
            tee,
            version: fields.version,
            product,
            cpuid: fields.cpuid,
            guest_svn: fields.guest_svn,
            policy: fields.policy,
            family_id: hex::encode(fields.family_id),
            image_id: hex::encode(fields.image_id),
            vmpl: fields.vmpl,
            current_tcb: fields.current_tcb,
            platform_info: fields.platform_info,
            signing_key: self.signing_key,
            author_key_enabled: fields.key_info & 1 == 1,
            report_data: fields.report_data,
            measurement: fields.measurement,
            host_data: fields.host_data,
            id_key_digest: fields.id_key_digest,
            author_key_digest: fields.author_key_digest,
            report_id: hex::encode(fields.report_id),
            report_id_ma: hex::encode(fields.report_id_ma),
            reported_tcb: fields.reported_tcb,
            chip_id: fields.chip_id,
            committed_tcb: fields.committed_tcb,
            firmware_current: fields.firmware_current,
            firmware_committed: fields.firmware_committed,
            launch_tcb: fields.launch_tcb,
            mitigations: fields.mitigations,
            csp_id,
        }
    }
}

impl Fields {
    /// The report's bytes with these fields and this signature (R then S, 72 little-endian bytes each).
    ///
    /// What a processor does, and what rebuilding from the JSON form needs; [`Report::parse`] checks the result.
    pub fn encode(&self, signature: &[u8; 144]) -> [u8; REPORT_LENGTH] {
        let mut raw = [0; REPORT_LENGTH];
        let firmware = |(major, minor, build): (u8, u8, u8)| [build, minor, major];
        set(&mut raw, layout::VERSION, &self.version.to_le_bytes());
        set(&mut raw, layout::GUEST_SVN, &self.guest_svn.to_le_bytes());
        set(&mut raw, layout::POLICY, &self.policy.0.to_le_bytes());
        set(&mut raw, layout::FAMILY_ID, &self.family_id);
        set(&mut raw, layout::IMAGE_ID, &self.image_id);
        set(&mut raw, layout::VMPL, &self.vmpl.to_le_bytes());
        set(&mut raw, layout::SIGNATURE_ALGORITHM, &1u32.to_le_bytes());
        set(&mut raw, layout::CURRENT_TCB, &encode_tcb(&self.current_tcb));
        set(&mut raw, layout::PLATFORM_INFO, &self.platform_info.0.to_le_bytes());
        set(&mut raw, layout::KEY_INFO, &self.key_info.to_le_bytes());
        set(&mut raw, layout::REPORT_DATA, self.report_data.as_bytes());
        set(&mut raw, layout::MEASUREMENT, self.measurement.as_bytes());
        set(&mut raw, layout::HOST_DATA, self.host_data.as_bytes());
        set(&mut raw, layout::ID_KEY_DIGEST, self.id_key_digest.as_bytes());
        set(&mut raw, layout::AUTHOR_KEY_DIGEST, self.author_key_digest.as_bytes());
        set(&mut raw, layout::REPORT_ID, &self.report_id);
        set(&mut raw, layout::REPORT_ID_MA, &self.report_id_ma);
        set(&mut raw, layout::REPORTED_TCB, &encode_tcb(&self.reported_tcb));
        if let Some((family, model, stepping)) = self.cpuid {
            set(&mut raw, layout::CPUID, &[family, model, stepping]);
        }
        set(&mut raw, layout::CHIP_ID, self.chip_id.as_bytes());
        set(&mut raw, layout::COMMITTED_TCB, &encode_tcb(&self.committed_tcb));
        set(&mut raw, layout::FIRMWARE_CURRENT, &firmware(self.firmware_current));
        set(&mut raw, layout::FIRMWARE_COMMITTED, &firmware(self.firmware_committed));
        set(&mut raw, layout::LAUNCH_TCB, &encode_tcb(&self.launch_tcb));
        if let Some((launch, current)) = self.mitigations {
            set(&mut raw, layout::LAUNCH_MITIGATIONS, &launch.to_le_bytes());
            set(&mut raw, layout::CURRENT_MITIGATIONS, &current.to_le_bytes());
        }
        set(&mut raw, layout::SIGNATURE_R.start..layout::PADDING_S.end, signature);
        raw
    }

    fn read(raw: &[u8; REPORT_LENGTH], version: u32, product: Option<Product>) -> Result<Self, SnpError> {
        // Version 2 is older than Turin, so its layout is the one of Milan and Genoa.
        let layout_of = product.unwrap_or(Product::Milan);
        let tcb = |range: std::ops::Range<usize>| {
            let start = range.start;
            decode_tcb(field(raw, range), layout_of)
                .map_err(|index| SnpError::Reserved { offset: start.saturating_add(index) })
        };
        let firmware = |range| {
            let [build, minor, major]: [u8; 3] = field(raw, range);
            (major, minor, build)
        };
        let [family, model, stepping] = field(raw, layout::CPUID);
        Ok(Self {
            version,
            guest_svn: u32::from_le_bytes(field(raw, layout::GUEST_SVN)),
            policy: GuestPolicy(u64::from_le_bytes(field(raw, layout::POLICY))),
            family_id: field(raw, layout::FAMILY_ID),
            image_id: field(raw, layout::IMAGE_ID),
            vmpl: u32::from_le_bytes(field(raw, layout::VMPL)),
            current_tcb: tcb(layout::CURRENT_TCB)?,
            platform_info: PlatformInfo(u64::from_le_bytes(field(raw, layout::PLATFORM_INFO))),
            key_info: u32::from_le_bytes(field(raw, layout::KEY_INFO)),
            report_data: ReportData(field(raw, layout::REPORT_DATA)),
            measurement: LaunchDigest(field(raw, layout::MEASUREMENT)),
            host_data: HostData(field(raw, layout::HOST_DATA)),
            id_key_digest: Digest384(field(raw, layout::ID_KEY_DIGEST)),
            author_key_digest: Digest384(field(raw, layout::AUTHOR_KEY_DIGEST)),
            report_id: field(raw, layout::REPORT_ID),
            report_id_ma: field(raw, layout::REPORT_ID_MA),
            reported_tcb: tcb(layout::REPORTED_TCB)?,
            cpuid: (version >= 3).then_some((family, model, stepping)),
            chip_id: ChipId(field(raw, layout::CHIP_ID)),
            committed_tcb: tcb(layout::COMMITTED_TCB)?,
            firmware_current: firmware(layout::FIRMWARE_CURRENT),
            firmware_committed: firmware(layout::FIRMWARE_COMMITTED),
            launch_tcb: tcb(layout::LAUNCH_TCB)?,
            mitigations: (version >= 5).then_some((
                u64::from_le_bytes(field(raw, layout::LAUNCH_MITIGATIONS)),
                u64::from_le_bytes(field(raw, layout::CURRENT_MITIGATIONS)),
            )),
        })
    }
}

/// The eight bytes of a TCB version: with `fmc` in Turin's layout, without in that of Milan and Genoa.
pub fn encode_tcb(tcb: &TcbVersion) -> [u8; 8] {
    match tcb.fmc {
        Some(fmc) => [fmc, tcb.bootloader, tcb.tee, tcb.snp, 0, 0, 0, tcb.microcode],
        None => [tcb.bootloader, tcb.tee, 0, 0, 0, 0, tcb.snp, tcb.microcode],
    }
}

/// Reads the eight bytes of a TCB version in `product`'s layout; the error is the index of a reserved byte that is set.
pub fn decode_tcb(bytes: [u8; 8], product: Product) -> Result<TcbVersion, usize> {
    let (tcb, reserved) = match (product, bytes) {
        (Product::Turin, [fmc, bootloader, tee, snp, a, b, c, microcode]) => {
            (TcbVersion { fmc: Some(fmc), bootloader, tee, snp, microcode }, [(4, a), (5, b), (6, c), (6, c)])
        }
        (Product::Milan | Product::Genoa, [bootloader, tee, a, b, c, d, snp, microcode]) => {
            (TcbVersion { fmc: None, bootloader, tee, snp, microcode }, [(2, a), (3, b), (4, c), (5, d)])
        }
    };
    match reserved.into_iter().find(|(_, byte)| *byte != 0) {
        Some((index, _)) => Err(index),
        None => Ok(tcb),
    }
}

/// The product of a CPUID family and model, as far as AMD has published roots for it.
pub fn product_of(family: u8, model: u8) -> Option<Product> {
    match (family, model) {
        (0x19, 0x00..=0x0F) => Some(Product::Milan),
        (0x19, 0x10..=0x1F | 0xA0..=0xAF) => Some(Product::Genoa),
        (0x1A, 0x00..=0x11) => Some(Product::Turin),
        _ => None,
    }
}

fn check_reserved(raw: &[u8; REPORT_LENGTH], version: u32) -> Result<(), SnpError> {
    let mut zero =
        vec![layout::RESERVED_KEY, layout::RESERVED_CPUID, layout::RESERVED_CURRENT, layout::RESERVED_COMMITTED];
    if version == 2 {
        zero.push(layout::CPUID);
    }
    if version < 5 {
        zero.push(layout::LAUNCH_MITIGATIONS);
        zero.push(layout::CURRENT_MITIGATIONS);
    }
    zero.push(layout::RESERVED_SIGNED);
    if let Some(offset) = zero.into_iter().find_map(|range| first_set(raw, range)) {
        return Err(SnpError::Reserved { offset });
    }
    match first_set(raw, layout::RESERVED_UNSIGNED) {
        Some(offset) => Err(SnpError::UnsignedTail { offset }),
        None => Ok(()),
    }
}

fn check_signature_form(raw: &[u8; REPORT_LENGTH]) -> Result<(), SnpError> {
    for padding in [layout::PADDING_R, layout::PADDING_S] {
        if let Some(offset) = first_set(raw, padding) {
            return Err(SnpError::SignaturePadding { offset });
        }
    }
    for (component, range) in [("r", layout::SIGNATURE_R), ("s", layout::SIGNATURE_S)] {
        let mut value: [u8; 48] = field(raw, range);
        value.reverse();
        if value == [0; 48] || value >= P384_ORDER {
            return Err(SnpError::SignatureRange { component });
        }
    }
    Ok(())
}

fn check_key_info(key_info: u32) -> Result<SigningKey, SnpError> {
    if key_info >> 5 != 0 {
        return Err(SnpError::KeyInfoReserved { key_info });
    }
    let signing_key = match key_info >> 2 & 7 {
        0 => SigningKey::Vcek,
        1 => SigningKey::Vlek,
        got => return Err(SnpError::SigningKeyKind { got }),
    };
    if key_info >> 1 & 1 == 1 {
        return Err(SnpError::MaskedChipKey);
    }
    Ok(signing_key)
}

/// Order of P-384's group, big-endian (FIPS 186-4, D.1.2.4).
const P384_ORDER: [u8; 48] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf, 0x58, 0x1a, 0x0d, 0xb2, 0x48, 0xb0,
    0xa7, 0x7a, 0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73,
];
