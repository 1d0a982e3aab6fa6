//! Why SNP evidence is refused: one variant per check, in the order in which the checks are made.

use super::role::Role;
use claims::bytes::Digest384;
use claims::snp::{Product, SigningKey, TcbVersion};
use claims::{ChipId, HostData, LaunchDigest, ReportData};

/// Why evidence of an SNP guest was refused. The remote caller gets [`SnpError::code`] only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnpError {
    /// SNP ABI table 23: a report has one length.
    #[error("the report has {got} bytes, a report has 1184")]
    Length {
        /// Bytes found.
        got: usize,
    },
    /// SNP ABI table 23, `VERSION`.
    #[error("the report is version {got}, read are 2, 3 and 5")]
    Version {
        /// Version found.
        got: u32,
    },
    /// SNP ABI table 23, `SIGNATURE_ALGO`.
    #[error("the report names signature algorithm {got}, only 1 (ECDSA P-384 with SHA-384) is defined")]
    SignatureAlgorithm {
        /// Value found.
        got: u32,
    },
    /// A byte that must be zero in this version is not.
    #[error("reserved byte {offset:#05x} of the report is not zero")]
    Reserved {
        /// Where.
        offset: usize,
    },
    /// A byte behind the signed range is not zero; nobody vouches for it.
    #[error("byte {offset:#05x} behind the signature is not zero, and nothing signs it")]
    UnsignedTail {
        /// Where.
        offset: usize,
    },
    /// The upper 24 bytes of R or S are not zero.
    #[error("byte {offset:#05x} of the signature is not zero, a P-384 value ends before it")]
    SignaturePadding {
        /// Where.
        offset: usize,
    },
    /// R or S is zero or not below the order of the curve.
    #[error("the signature's {component} is out of range")]
    SignatureRange {
        /// `r` or `s`.
        component: &'static str,
    },
    /// Reserved bits of `KEY_INFO`.
    #[error("reserved bits of key info {key_info:#010x} are set")]
    KeyInfoReserved {
        /// Value found.
        key_info: u32,
    },
    /// `SIGNING_KEY` names no key that is known.
    #[error("the report says that key kind {got} signed it, known are 0 (VCEK) and 1 (VLEK)")]
    SigningKeyKind {
        /// Value found; 7 is NONE.
        got: u32,
    },
    /// `MASK_CHIP_KEY` is set: firmware then writes no signature.
    #[error("the host masked the chip key, so the report is not signed")]
    MaskedChipKey,
    /// Policy bit 17 must be one, bits 63:26 zero (SNP ABI table 9).
    #[error("reserved bits of guest policy {policy:#x} are wrong")]
    PolicyReserved {
        /// Value found.
        policy: u64,
    },
    /// CPUID names a processor without published roots.
    #[error("no roots are known for processor family {family:#x} model {model:#x}")]
    UnknownProduct {
        /// Extended family.
        family: u8,
        /// Extended model.
        model: u8,
    },
    /// Marked as emulated: critical extension, organisation, or chip id.
    #[error("the evidence is marked as emulated: {mark}")]
    Emulated {
        /// What marks it.
        mark: &'static str,
    },
    /// A certificate of the chain is not there.
    #[error("the {role} certificate is missing: {hint}")]
    Missing {
        /// Which.
        role: Role,
        /// Where to get it.
        hint: &'static str,
    },
    /// Not X.509 in DER, or too large.
    #[error("the {role} certificate is malformed: {what}")]
    Certificate {
        /// Which.
        role: Role,
        /// What is wrong.
        what: String,
    },
    /// The root's key is not pinned, whatever its name.
    #[error("the root's public key (SHA-384 {spki}) is not pinned")]
    RootNotPinned {
        /// SHA-384 of its SubjectPublicKeyInfo.
        spki: Digest384,
    },
    /// Signature algorithm or parameters are not RSASSA-PSS, SHA-384, MGF1 with SHA-384, salt 48.
    #[error("the {role} certificate is not signed with RSASSA-PSS, SHA-384, salt 48")]
    SignatureParameters {
        /// Which.
        role: Role,
    },
    /// The parent's key did not sign it.
    #[error("the signature of the {role} certificate is wrong")]
    ChainSignature {
        /// Which.
        role: Role,
    },
    /// Subject or issuer is not what this place in this product's chain has.
    #[error("the {role} certificate has {part} `{got}`, wanted `{wanted}`")]
    Name {
        /// Which.
        role: Role,
        /// `subject` or `issuer`.
        part: &'static str,
        /// Common name and organisation found.
        got: String,
        /// Wanted.
        wanted: String,
    },
    /// Not RSA 4096 with exponent 65537, or (endorsement key) not a valid P-384 point.
    #[error("the {role} certificate holds another kind of key than {wanted}")]
    Key {
        /// Which.
        role: Role,
        /// Wanted.
        wanted: &'static str,
    },
    /// Basic constraints or key usage do not fit the place in the chain.
    #[error("the {role} certificate {what}")]
    Constraints {
        /// Which.
        role: Role,
        /// What is wrong.
        what: &'static str,
    },
    /// An extension that nobody here understands is marked critical.
    #[error("the {role} certificate has the unknown critical extension {oid}")]
    CriticalExtension {
        /// Which.
        role: Role,
        /// Its object identifier.
        oid: String,
    },
    /// Before `notBefore`.
    #[error("the {role} certificate is valid from {from} (seconds since 1970), the time given is {now}")]
    NotYetValid {
        /// Which.
        role: Role,
        /// Start of validity.
        from: u64,
        /// Verification time.
        now: u64,
    },
    /// After `notAfter`.
    #[error("the {role} certificate was valid until {until} (seconds since 1970), the time given is {now}")]
    Expired {
        /// Which.
        role: Role,
        /// End of validity.
        until: u64,
        /// Verification time.
        now: u64,
    },
    /// Policy asks for a revocation list and there is none.
    #[error("no revocation list is there, and the policy asks for one")]
    CrlMissing,
    /// Not a CRL in DER, or too large, or with an extension that changes its scope.
    #[error("the revocation list is malformed: {what}")]
    CrlMalformed {
        /// What is wrong.
        what: String,
    },
    /// Not issued, or not signed, by the chain's root.
    #[error("the revocation list is not signed by the chain's root")]
    CrlSignature,
    /// Not in date.
    #[error("the revocation list is for {from} to {until} (seconds since 1970), the time given is {now}")]
    CrlStale {
        /// `thisUpdate`.
        from: u64,
        /// `nextUpdate`; zero when it has none.
        until: u64,
        /// Verification time.
        now: u64,
    },
    /// The list names it.
    #[error("the {role} certificate is revoked")]
    Revoked {
        /// Which.
        role: Role,
    },
    /// The certificate is of another kind than the report says.
    #[error("the report says that a {report:?} signed it, the certificate is for a {certificate:?}")]
    VekKind {
        /// Kind in the report.
        report: SigningKey,
        /// Kind of the certificate.
        certificate: SigningKey,
    },
    /// An extension of AMD's that must be there is not.
    #[error("the endorsement certificate lacks the extension {name}")]
    ExtensionMissing {
        /// Its name.
        name: &'static str,
    },
    /// An extension is there twice.
    #[error("the endorsement certificate has the extension {name} twice")]
    ExtensionDoubled {
        /// Its name.
        name: &'static str,
    },
    /// An extension is there that this kind of key must not have.
    #[error("the endorsement certificate has the extension {name}, which a {kind:?} does not have")]
    ExtensionUnexpected {
        /// Its name.
        name: &'static str,
        /// Kind of the certificate.
        kind: SigningKey,
    },
    /// An extension's value is not in its one form.
    #[error("the extension {name} of the endorsement certificate is not in its one form")]
    ExtensionForm {
        /// Its name.
        name: &'static str,
    },
    /// Extension `structVersion`.
    #[error("the endorsement certificate has structure version {got}")]
    StructVersion {
        /// Value found.
        got: u8,
    },
    /// Extension `productName` does not belong to the root's product.
    #[error("the endorsement certificate is for product `{got}`, its chain is for {wanted}")]
    ProductName {
        /// Name found.
        got: String,
        /// Product of the chain.
        wanted: Product,
    },
    /// CPUID in the report names another product than the chain.
    #[error("the report's CPUID is of a {report}, the chain is for {chain}")]
    ProductMismatch {
        /// By CPUID.
        report: Product,
        /// By root.
        chain: Product,
    },
    /// A patch level of the certificate differs from the report's reported TCB.
    #[error("the certificate has {component} level {certificate}, the report says {report}")]
    TcbMismatch {
        /// Which component.
        component: &'static str,
        /// Level in the certificate.
        certificate: u8,
        /// Level in the report.
        report: u8,
    },
    /// The certificate's hardware id differs from the report's chip id.
    #[error("the certificate is for chip {certificate}, the report is from {report}")]
    ChipMismatch {
        /// Hardware id of the certificate, hex.
        certificate: String,
        /// Chip id of the report.
        report: ChipId,
    },
    /// The chip id is masked, so a chip key cannot be bound to it.
    #[error("the chip id is masked, so that the certificate of a chip cannot be bound to the report")]
    ChipMasked,
    /// ECDSA P-384 over bytes 0 to 0x2A0.
    #[error("the signature of the report is wrong")]
    Signature,
    /// Version 2 has no CPUID, so the product is not signed.
    #[error("the report is version {got}, which the rule does not accept")]
    VersionRefused {
        /// Version found.
        got: u32,
    },
    /// Policy bit 19.
    #[error("debugging is allowed in guest policy {policy:#x}")]
    Debug {
        /// Guest policy.
        policy: u64,
    },
    /// Policy bit 18.
    #[error("migration is allowed in guest policy {policy:#x}")]
    Migration {
        /// Guest policy.
        policy: u64,
    },
    /// `REPORT_ID_MA` is not all ones.
    #[error("a migration agent is associated with the guest")]
    MigrationAgent,
    /// Not the privilege level that the rule names, or the host asked for the report.
    #[error("the report was asked for at VMPL {got}")]
    Vmpl {
        /// Level found; `0xFFFFFFFF` is the host.
        got: u32,
    },
    /// A bit of the guest policy is not as the rule asks.
    #[error("guest policy {policy:#x} {what}")]
    PolicyBit {
        /// What is missing or too much.
        what: &'static str,
        /// Guest policy.
        policy: u64,
    },
    /// A bit of the platform information is not as the rule asks.
    #[error("the platform (information {platform:#x}) {what}")]
    PlatformBit {
        /// What is missing or too much.
        what: &'static str,
        /// Platform information.
        platform: u64,
    },
    /// `ALIAS_CHECK_COMPLETE` is not set, or the version has no such bit.
    #[error("the platform did not check for aliased memory")]
    Alias,
    /// The guest asks for a newer ABI than the firmware has.
    #[error("guest policy asks for ABI {wanted:?}, the firmware is {got:?}")]
    Abi {
        /// Major and minor in the policy.
        wanted: (u8, u8),
        /// Major and minor of the firmware.
        got: (u8, u8),
    },
    /// Reported, committed, current, launch: their order is not possible on honest firmware.
    #[error("the {lower} TCB ({lower_value}) is above the {upper} TCB ({upper_value})")]
    TcbOrder {
        /// Name of the one that should be lower.
        lower: &'static str,
        /// Its value.
        lower_value: TcbVersion,
        /// Name of the other.
        upper: &'static str,
        /// Its value.
        upper_value: TcbVersion,
    },
    /// A patch level is below the floor.
    #[error("the {which} TCB has {component} {got}, the floor is {wanted}")]
    TcbFloor {
        /// `reported`, `committed`, `current` or `launch`.
        which: &'static str,
        /// Component.
        component: &'static str,
        /// Level found.
        got: u8,
        /// Least level.
        wanted: u8,
    },
    /// The rule's table of floors has no row for this processor.
    #[error("the rule has no TCB floor for {product}, CPUID {cpuid:?}")]
    TcbFloorUnknown {
        /// Product.
        product: Product,
        /// Family, model, stepping.
        cpuid: Option<(u8, u8, u8)>,
    },
    /// Firmware build below the floor.
    #[error("the {which} firmware is {got:?}, the floor is {wanted:?}")]
    FirmwareFloor {
        /// `current` or `committed`.
        which: &'static str,
        /// Major, minor, build found.
        got: (u8, u8, u8),
        /// Least version.
        wanted: (u8, u8, u8),
    },
    /// Not among the reference values.
    #[error("launch measurement {got} is not among {} allowed values", allowed.len())]
    Measurement {
        /// Value found.
        got: LaunchDigest,
        /// Values wanted.
        allowed: Vec<LaunchDigest>,
    },
    /// Not what this session binds.
    #[error("report data {got} is not what this session binds")]
    ReportData {
        /// Value found.
        got: ReportData,
    },
    /// Not among the reference values.
    #[error("host data {got} is not among {} allowed values", allowed.len())]
    HostData {
        /// Value found.
        got: HostData,
        /// Values wanted.
        allowed: Vec<HostData>,
    },
    /// ID key, or author key, not on the rule's list, or an author digest without an author key.
    #[error("the {which} key digest {got} is not allowed")]
    IdentityKey {
        /// `identity` or `author`.
        which: &'static str,
        /// Digest found.
        got: Digest384,
    },
    /// Guest security version number below the floor.
    #[error("the guest security version is {got}, the floor is {wanted}")]
    GuestSvn {
        /// Found.
        got: u32,
        /// Least.
        wanted: u32,
    },
    /// Not on the rule's list.
    #[error("chip {got} is not among {} allowed ones", allowed.len())]
    Chip {
        /// Chip found.
        got: ChipId,
        /// Chips wanted.
        allowed: Vec<ChipId>,
    },
    /// The VLEK's cloud provider is not on the rule's list.
    #[error("cloud provider `{got}` is not allowed")]
    Provider {
        /// Provider found; empty when the report is not signed by a VLEK.
        got: String,
    },
    /// A mitigation bit is not set at launch or now (version 5).
    #[error("mitigation bits {wanted:#x} are asked for, the platform has {got:#x}")]
    Mitigations {
        /// Bits set both at launch and now.
        got: u64,
        /// Bits wanted.
        wanted: u64,
    },
}
