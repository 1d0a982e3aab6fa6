//! A processor made for these tests: reports in the real format, signed with a key of its own. Its verifier checks the
//! signature over the bytes, and nothing stands in for a chain: crate `emulated` has that.

use attest::snp::kbs::to_json;
use attest::snp::{CertificateTable, EMULATED_CHIP_PREFIX, Endorsements, Fields, Report, SIGNED};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use broker::ExtraVerifier;
use claims::bytes::Digest384;
use claims::snp::{GuestPolicy, PlatformInfo, Product, SigningKey, SnpClaims, TcbVersion, Tee};
use claims::{ChipId, Code, HostData, LaunchDigest, ReportData, UnixTime};
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

pub const TCB: TcbVersion = TcbVersion { fmc: None, bootloader: 4, tee: 1, snp: 22, microcode: 213 };

static KEY: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap());

/// A guest's launch, as this processor saw it.
#[derive(Clone)]
pub struct Launch {
    pub measurement: LaunchDigest,
    pub host_data: HostData,
    pub policy: GuestPolicy,
    pub vmpl: u32,
    pub tcb: TcbVersion,
    pub committed_tcb: TcbVersion,
    pub report_id: [u8; 32],
    pub chip: u8,
    pub version: u32,
    /// Whether chip ids say EMUL, as the emulated processor's do.
    pub marked: bool,
}

impl Default for Launch {
    fn default() -> Self {
        Self {
            measurement: LaunchDigest([0x11; 48]),
            host_data: HostData([0x22; 32]),
            policy: GuestPolicy::PLAIN,
            vmpl: 0,
            tcb: TCB,
            committed_tcb: TCB,
            report_id: [1; 32],
            chip: 1,
            version: 3,
            marked: true,
        }
    }
}

impl Launch {
    pub fn chip_id(&self) -> ChipId {
        let mut chip = [self.chip; 64];
        if self.marked {
            chip[..4].copy_from_slice(&EMULATED_CHIP_PREFIX);
        }
        ChipId(chip)
    }

    /// A report over `report_data`, as JSON of KBS clients.
    pub fn evidence(&self, report_data: [u8; 64]) -> Value {
        let fields = Fields {
            version: self.version,
            guest_svn: 0,
            policy: self.policy,
            family_id: [0; 16],
            image_id: [0; 16],
            vmpl: self.vmpl,
            current_tcb: self.tcb,
            platform_info: PlatformInfo(0x25),
            key_info: 0,
            report_data: ReportData(report_data),
            measurement: self.measurement,
            host_data: self.host_data,
            id_key_digest: Digest384([0; 48]),
            author_key_digest: Digest384([0; 48]),
            report_id: self.report_id,
            report_id_ma: [0xff; 32],
            reported_tcb: self.tcb,
            cpuid: Some((0x19, 0x01, 1)),
            chip_id: self.chip_id(),
            committed_tcb: self.committed_tcb,
            firmware_current: (1, 55, 40),
            firmware_committed: (1, 55, 40),
            launch_tcb: self.tcb,
            mitigations: None,
        };
        let unsigned = fields.encode(&[0; 144]);
        let signature = KEY.sign(&SystemRandom::new(), &unsigned[SIGNED]).unwrap();
        let mut little = [0; 144];
        for (place, number) in [(0, &signature.as_ref()[..48]), (72, &signature.as_ref()[48..])] {
            for (offset, byte) in number.iter().rev().enumerate() {
                little[place + offset] = *byte;
            }
        }
        let report = Report::parse(&fields.encode(&little)).unwrap();
        to_json(&report, &CertificateTable::default())
    }

    /// A `reference.json` that admits this launch.
    pub fn reference(&self, resources: &[&str]) -> Value {
        json!({
            "version": 1, "name": "hello", "site": "site-1", "substrate": "cvm",
            "launch_measurements": [{"vcpu_type": "EPYC-v4", "vcpus": 1, "guest_features": 1,
                "launch_measurement": self.measurement}],
            "host_data": self.host_data, "root_hash": "00".repeat(32), "resources": resources,
            "tcb_floor": null, "chips": "any", "lease": "shared", "inputs": [], "command_line": "quiet",
        })
    }
}

/// The verifier that belongs to this processor.
pub fn verifier() -> Option<Arc<dyn ExtraVerifier>> {
    Some(Arc::new(Double))
}

struct Double;

impl ExtraVerifier for Double {
    fn verify(&self, report: &[u8], _: &Endorsements, _: UnixTime) -> Result<SnpClaims, Code> {
        let parsed = Report::parse(report).map_err(|error| error.code())?;
        let mut signature = Vec::new();
        for place in [0x2a0, 0x2a0 + 72] {
            signature.extend(report[place..place + 48].iter().rev());
        }
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, KEY.public_key().as_ref())
            .verify(&report[SIGNED], &signature)
            .map_err(|_| Code::SnpSignature)?;
        let fields = parsed.claimed().clone();
        Ok(SnpClaims {
            // The broker must not believe this.
            tee: Tee::Snp,
            version: fields.version,
            product: Product::Milan,
            cpuid: fields.cpuid,
            guest_svn: fields.guest_svn,
            policy: fields.policy,
            family_id: hex::encode(fields.family_id),
            image_id: hex::encode(fields.image_id),
            vmpl: fields.vmpl,
            current_tcb: fields.current_tcb,
            platform_info: fields.platform_info,
            signing_key: SigningKey::Vcek,
            author_key_enabled: false,
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
            mitigations: None,
            csp_id: None,
        })
    }
}
