//! Appraisal: are the claims of a verified report the wanted ones (checks 26 to 46)?
//!
//! Every expectation is mandatory. What is not compared is said, with its reason, in the result.

use super::error::SnpError;
use claims::bytes::Digest384;
use claims::snp::{Product, SnpClaims, TcbVersion};
use claims::{Allowed, ChipId, HostData, LaunchDigest, ReportData};

/// What a report must state to be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// What the session binds: all 64 bytes.
    pub report_data: Allowed<ReportData>,
    /// Reference values of what was launched.
    pub measurement: Allowed<LaunchDigest>,
    /// Reference values of the site's settings.
    pub host_data: Allowed<HostData>,
    /// Privilege levels that may ask. A report that the host asked for is refused even with `Any`.
    pub vmpl: Allowed<u32>,
    /// Least patch levels of reported, committed, current and launch TCB.
    pub tcb_floor: TcbFloor,
    /// Least firmware, current and committed: major, minor, build.
    pub firmware_floor: (u8, u8, u8),
    /// Chips that may answer.
    pub chips: Allowed<ChipId>,
    /// Cloud providers whose VLEK may sign; a VCEK names a chip and no provider.
    pub providers: Allowed<String>,
    /// May the host debug the guest?
    pub debugging: Debugging,
    /// May a migration agent move the guest?
    pub migration: Migration,
    /// Which report versions are believed.
    pub versions: BelievedVersions,
    /// What the platform and the policy must have.
    pub platform: PlatformRules,
    /// Keys of ID blocks.
    pub id_key: Allowed<Digest384>,
    /// Keys that certified ID keys.
    pub author_key: Allowed<Digest384>,
    /// Least guest security version number; of meaning with a trusted `id_key` only.
    pub guest_svn_floor: u32,
    /// Mitigation bits that must be set at launch and now; other than zero refuses every version before 5.
    pub mitigations: u64,
}

/// Least patch levels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TcbFloor {
    /// None, for the reason given.
    None {
        /// Why.
        reason: String,
    },
    /// This one.
    AtLeast(TcbVersion),
    /// By processor, as microcode levels compare only within one model. A processor without a row is refused.
    ByModel(Vec<ModelFloor>),
}

/// A row of a table of floors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFloor {
    /// Product.
    pub product: Product,
    /// CPUID family, model, stepping; none is every one of the product.
    pub cpuid: Option<(u8, u8, u8)>,
    /// Least levels.
    pub floor: TcbVersion,
}

/// Policy bit 19.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Debugging {
    /// A guest that may be debugged is refused.
    Forbidden,
    /// It is accepted, for the reason given: its host can read it.
    Allowed {
        /// Why.
        reason: String,
    },
}

/// Policy bit 18 and the migration agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Migration {
    /// A guest that may be moved is refused.
    Forbidden,
    /// It is accepted, for the reason given: the agent sees its memory.
    Allowed {
        /// Why.
        reason: String,
    },
}

/// Which report versions are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BelievedVersions {
    /// 3 and later, where the product is signed.
    WithCpuid,
    /// Also 2, whose product follows from the certificate only, for the reason given.
    AlsoVersion2 {
        /// Why.
        reason: String,
    },
}

/// Whether a rule asks for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// It must be so.
    Required,
    /// It may be or not.
    NotAsked,
}

/// What the platform and the guest's policy must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlatformRules {
    /// Memory aliasing was checked (BadRAM).
    pub alias_check: Rule,
    /// SMT is off on the platform.
    pub no_smt: Rule,
    /// The guest runs on one socket only.
    pub single_socket: Rule,
    /// No CXL devices or memory.
    pub no_cxl: Rule,
    /// AES-256-XTS for memory.
    pub aes_256_xts: Rule,
    /// Power measurement (RAPL) is off, by policy and on the platform.
    pub no_rapl: Rule,
    /// Ciphertext hiding, by policy and on the platform.
    pub ciphertext_hiding: Rule,
    /// Guest pages cannot be swapped.
    pub no_page_swap: Rule,
    /// Transparent memory encryption.
    pub tsme: Rule,
    /// ECC memory.
    pub ecc: Rule,
}

/// Something that was not compared.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Waiver {
    /// The claim.
    pub claim: &'static str,
    /// Why.
    pub reason: String,
}

impl PlatformRules {
    /// What every rule should ask: the alias check, and no CXL.
    pub const STRICT: Self = Self { alias_check: Rule::Required, no_cxl: Rule::Required, ..Self::NONE };
    /// Nothing.
    pub const NONE: Self = Self {
        alias_check: Rule::NotAsked,
        no_smt: Rule::NotAsked,
        single_socket: Rule::NotAsked,
        no_cxl: Rule::NotAsked,
        aes_256_xts: Rule::NotAsked,
        no_rapl: Rule::NotAsked,
        ciphertext_hiding: Rule::NotAsked,
        no_page_swap: Rule::NotAsked,
        tsme: Rule::NotAsked,
        ecc: Rule::NotAsked,
    };
}

impl Expected {
    /// The strict rule: VMPL 0, no debugging, no migration, CPUID signed, aliasing checked. Loosen single fields.
    pub fn strict(
        report_data: Allowed<ReportData>,
        measurement: Allowed<LaunchDigest>,
        host_data: Allowed<HostData>,
        tcb_floor: TcbFloor,
        chips: Allowed<ChipId>,
    ) -> Self {
        Self {
            report_data,
            measurement,
            host_data,
            vmpl: Allowed::only(0),
            tcb_floor,
            firmware_floor: (0, 0, 0),
            chips,
            providers: Allowed::any("the launch measurement decides, not the cloud provider"),
            debugging: Debugging::Forbidden,
            migration: Migration::Forbidden,
            versions: BelievedVersions::WithCpuid,
            platform: PlatformRules::STRICT,
            id_key: Allowed::any("the launch measurement decides, not the signer of an ID block"),
            author_key: Allowed::any("the launch measurement decides, not the signer of an ID block"),
            guest_svn_floor: 0,
            mitigations: 0,
        }
    }

    /// Compares claims with this. Says what is *wanted*, not what is *true*: give it the claims of a verified report.
    pub fn admit(&self, claims: &SnpClaims) -> Result<Vec<Waiver>, SnpError> {
        let mut waivers = Vec::new();
        self.check_version(claims, &mut waivers)?;
        self.check_policy(claims, &mut waivers)?;
        self.check_platform(claims)?;
        self.check_tcb(claims, &mut waivers)?;
        self.check_identity(claims, &mut waivers)?;
        self.check_values(claims, &mut waivers)?;
        Ok(waivers)
    }

    fn check_version(&self, claims: &SnpClaims, waivers: &mut Vec<Waiver>) -> Result<(), SnpError> {
        match &self.versions {
            _ if claims.version >= 3 => Ok(()),
            BelievedVersions::WithCpuid => Err(SnpError::VersionRefused { got: claims.version }),
            BelievedVersions::AlsoVersion2 { reason } => waive(waivers, "version", reason),
        }
    }

    fn check_policy(&self, claims: &SnpClaims, waivers: &mut Vec<Waiver>) -> Result<(), SnpError> {
        let policy = claims.policy.0;
        match (&self.debugging, claims.policy.debug()) {
            (_, false) => {}
            (Debugging::Forbidden, true) => return Err(SnpError::Debug { policy }),
            (Debugging::Allowed { reason }, true) => waive(waivers, "policy.debug", reason)?,
        }
        let agent = claims.report_id_ma != "ff".repeat(32);
        match (&self.migration, claims.policy.migration(), agent) {
            (_, false, false) => {}
            (Migration::Forbidden, true, _) => return Err(SnpError::Migration { policy }),
            (Migration::Forbidden, false, true) => return Err(SnpError::MigrationAgent),
            (Migration::Allowed { reason }, _, _) => waive(waivers, "policy.migration", reason)?,
        }
        if claims.vmpl > 3 {
            return Err(SnpError::Vmpl { got: claims.vmpl });
        }
        let vmpl = SnpError::Vmpl { got: claims.vmpl };
        compare(waivers, "vmpl", &self.vmpl, &claims.vmpl, vmpl)?;
        let (major, minor) = claims.policy.abi();
        let (fw_major, fw_minor, _) = claims.firmware_current;
        if (major, minor) > (fw_major, fw_minor) {
            return Err(SnpError::Abi { wanted: (major, minor), got: (fw_major, fw_minor) });
        }
        Ok(())
    }

    fn check_platform(&self, claims: &SnpClaims) -> Result<(), SnpError> {
        let rules = &self.platform;
        let (policy, platform) = (claims.policy.0, claims.platform_info.0);
        let bit = |value: u64, number: u32| value >> number & 1 == 1;
        let of_policy = [
            (rules.single_socket, bit(policy, 20), "does not bind the guest to one socket"),
            (rules.no_cxl, !bit(policy, 21), "allows CXL"),
            (rules.aes_256_xts, bit(policy, 22), "does not ask for AES-256-XTS"),
            (rules.no_rapl, bit(policy, 23), "does not ask for RAPL to be off"),
            (rules.ciphertext_hiding, bit(policy, 24), "does not ask for ciphertext hiding"),
            (rules.no_page_swap, bit(policy, 25), "does not forbid swapping of guest pages"),
        ];
        if let Some((_, _, what)) = of_policy.into_iter().find(|(rule, met, _)| *rule == Rule::Required && !met) {
            return Err(SnpError::PolicyBit { what, policy });
        }
        let of_platform = [
            (rules.no_smt, !bit(platform, 0), "has SMT on"),
            (rules.tsme, bit(platform, 1), "has no transparent memory encryption"),
            (rules.ecc, bit(platform, 2), "has no ECC memory"),
            (rules.no_rapl, bit(platform, 3), "has RAPL on"),
            (rules.ciphertext_hiding, bit(platform, 4), "does not hide ciphertext"),
        ];
        if let Some((_, _, what)) = of_platform.into_iter().find(|(rule, met, _)| *rule == Rule::Required && !met) {
            return Err(SnpError::PlatformBit { what, platform });
        }
        // The bit has a meaning from version 3 on only.
        let aliases = claims.version >= 3 && claims.platform_info.alias_check_complete();
        match rules.alias_check {
            Rule::Required if !aliases => Err(SnpError::Alias),
            _ => Ok(()),
        }
    }

    fn check_tcb(&self, claims: &SnpClaims, waivers: &mut Vec<Waiver>) -> Result<(), SnpError> {
        let named = [
            ("reported", claims.reported_tcb),
            ("committed", claims.committed_tcb),
            ("current", claims.current_tcb),
            ("launch", claims.launch_tcb),
        ];
        let [reported, committed, current, launch] = named;
        for ((lower, lower_value), (upper, upper_value)) in
            [(reported, committed), (committed, current), (launch, current)]
        {
            if !upper_value.at_least(&lower_value) {
                return Err(SnpError::TcbOrder { lower, lower_value, upper, upper_value });
            }
        }
        let floor = match &self.tcb_floor {
            TcbFloor::None { reason } => {
                waive(waivers, "tcb", reason)?;
                None
            }
            TcbFloor::AtLeast(floor) => Some(*floor),
            TcbFloor::ByModel(rows) => Some(
                rows.iter()
                    .filter(|row| row.product == claims.product)
                    .find(|row| row.cpuid.is_none() || row.cpuid == claims.cpuid)
                    .map(|row| row.floor)
                    .ok_or(SnpError::TcbFloorUnknown { product: claims.product, cpuid: claims.cpuid })?,
            ),
        };
        if let Some(floor) = floor {
            for (which, tcb) in named {
                if let Some((component, got, wanted)) = tcb.first_below(&floor) {
                    return Err(SnpError::TcbFloor { which, component, got, wanted });
                }
            }
        }
        for (which, got) in [("current", claims.firmware_current), ("committed", claims.firmware_committed)] {
            if got < self.firmware_floor {
                return Err(SnpError::FirmwareFloor { which, got, wanted: self.firmware_floor });
            }
        }
        let got = claims.mitigations.map_or(0, |(launch, current)| launch & current);
        if got & self.mitigations != self.mitigations {
            return Err(SnpError::Mitigations { got, wanted: self.mitigations });
        }
        Ok(())
    }

    fn check_identity(&self, claims: &SnpClaims, waivers: &mut Vec<Waiver>) -> Result<(), SnpError> {
        let author = claims.author_key_digest;
        if !claims.author_key_enabled && !author.is_zero() {
            return Err(SnpError::IdentityKey { which: "author", got: author });
        }
        let key = |which, got| SnpError::IdentityKey { which, got };
        let id = claims.id_key_digest;
        compare(waivers, "id_key_digest", &self.id_key, &id, key("identity", id))?;
        compare(waivers, "author_key_digest", &self.author_key, &author, key("author", author))?;
        if claims.guest_svn < self.guest_svn_floor {
            return Err(SnpError::GuestSvn { got: claims.guest_svn, wanted: self.guest_svn_floor });
        }
        let got = claims.chip_id;
        let chip = SnpError::Chip { got, allowed: listed(&self.chips) };
        compare(waivers, "chip_id", &self.chips, &got, chip)?;
        let provider = claims.csp_id.clone().unwrap_or_default();
        let refused = SnpError::Provider { got: provider.clone() };
        compare(waivers, "csp_id", &self.providers, &provider, refused)
    }

    fn check_values(&self, claims: &SnpClaims, waivers: &mut Vec<Waiver>) -> Result<(), SnpError> {
        let got = claims.measurement;
        let refused = SnpError::Measurement { got, allowed: listed(&self.measurement) };
        compare(waivers, "measurement", &self.measurement, &got, refused)?;
        let got = claims.host_data;
        let refused = SnpError::HostData { got, allowed: listed(&self.host_data) };
        compare(waivers, "host_data", &self.host_data, &got, refused)?;
        let got = claims.report_data;
        let bound = match &self.report_data {
            Allowed::OneOf(values) => values.iter().any(|value| {
                aws_lc_rs::constant_time::verify_slices_are_equal(value.as_bytes(), got.as_bytes()).is_ok()
            }),
            Allowed::Any { reason } => waive(waivers, "report_data", reason).is_ok(),
        };
        if bound { Ok(()) } else { Err(SnpError::ReportData { got }) }
    }
}

fn compare<T: PartialEq>(
    waivers: &mut Vec<Waiver>,
    claim: &'static str,
    allowed: &Allowed<T>,
    got: &T,
    refused: SnpError,
) -> Result<(), SnpError> {
    match allowed {
        Allowed::OneOf(values) if values.contains(got) => Ok(()),
        Allowed::OneOf(_) => Err(refused),
        Allowed::Any { reason } => waive(waivers, claim, reason),
    }
}

fn waive(waivers: &mut Vec<Waiver>, claim: &'static str, reason: &str) -> Result<(), SnpError> {
    waivers.push(Waiver { claim, reason: reason.to_owned() });
    Ok(())
}

fn listed<T: Clone>(allowed: &Allowed<T>) -> Vec<T> {
    match allowed {
        Allowed::OneOf(values) => values.clone(),
        Allowed::Any { .. } => Vec::new(),
    }
}
