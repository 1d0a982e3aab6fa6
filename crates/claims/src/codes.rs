//! The stable codes of refusals. The remote caller gets the code only; `confide explain CODE` prints the page.
//!
//! One table for the whole project: `docs/errors.md` is generated from it, and a test finds codes without a page.

use std::fmt;

macro_rules! codes {
    ($($variant:ident = $text:literal, $title:literal, $cause:literal, $risk:literal, $fix:literal;)*) => {
        /// A reason for refusing, with a stable name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $(#[doc = $title] $variant,)* }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name, as `E-SNP-DEBUG`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// What it means, why, what would happen otherwise, what to do.
            pub fn page(self) -> Page {
                match self {
                    $(Self::$variant => Page { title: $title, cause: $cause, risk: $risk, fix: $fix },)*
                }
            }
        }
    };
}

/// The explanation of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// One line.
    pub title: &'static str,
    /// What leads to it.
    pub cause: &'static str,
    /// What could happen if it were ignored.
    pub risk: &'static str,
    /// What to do.
    pub fix: &'static str,
}

codes! {
    SnpFormat = "E-SNP-FORMAT", "The SNP report is malformed",
        "The report has the wrong length, or a field that must be zero or in range is not.",
        "A parser that guesses can be led to read one field as another.",
        "Send the report exactly as the processor gave it: 1184 bytes.";
    SnpVersion = "E-SNP-VERSION", "The SNP report has an unknown version",
        "The report says it has another format than versions 2, 3 and 5.",
        "Fields of an unknown version may mean something else.",
        "Update Confide if the version is new; versions 2 and older come from outdated firmware.";
    SnpReserved = "E-SNP-RESERVED", "A reserved field of the SNP report is not zero",
        "Bytes that must be zero in this version are not.",
        "Unsigned or unknown bytes could carry what a later reader believes.",
        "Read the report again from the processor; a report that was edited or re-serialised cannot be used.";
    SnpAlgorithm = "E-SNP-ALGORITHM", "The SNP report names another signature algorithm",
        "Only ECDSA P-384 with SHA-384 (value 1) is defined.",
        "An attacker could choose a weaker algorithm.",
        "Read the report again from the processor.";
    SnpSigningKey = "E-SNP-SIGNING-KEY", "The SNP report is signed by no key or by an unexpected kind of key",
        "The report says NONE or a reserved kind, or the certificate is of the other kind (VCEK, VLEK).",
        "An unsigned report says whatever its sender likes.",
        "Send the certificate of the key that signed the report.";
    SnpSignature = "E-SNP-SIGNATURE", "The signature of the SNP report is wrong",
        "The report was changed, or was signed by another key.",
        "The claims are made up.",
        "Read the report again; check that certificate and report come from the same machine.";
    SnpRoot = "E-SNP-ROOT", "The certificate chain does not end at a pinned AMD root",
        "The root's public key is not one of AMD's three. Names do not count.",
        "Anybody can make a chain with AMD's names in it.",
        "Use the chain of AMD's key distribution service; for an emulated processor use confide-dev.";
    SnpChain = "E-SNP-CHAIN", "The SNP certificate chain is broken",
        "A certificate is missing, in the wrong order, of the wrong kind, or its signature or parameters are wrong.",
        "A broken chain proves nothing about the processor.",
        "Fetch the chain again and send root, intermediate and leaf of one product.";
    SnpCertificate = "E-SNP-CERTIFICATE", "The SNP endorsement certificate is malformed",
        "An extension is missing, doubled, or not in its one DER form.",
        "A lenient reader could take another value for the patch level.",
        "Fetch the certificate again from AMD's key distribution service.";
    SnpExpired = "E-SNP-EXPIRED", "An SNP certificate is not valid at the verification time",
        "The certificate is expired or not yet valid.",
        "Keys of old certificates may be known to others.",
        "Fetch a current certificate; to appraise old evidence give the time with --at.";
    SnpRevoked = "E-SNP-REVOKED", "An SNP certificate is revoked",
        "The vendor's revocation list names it.",
        "The key is known to be bad.",
        "Do not use this platform until its vendor has issued a new certificate.";
    SnpCrl = "E-SNP-CRL", "The revocation list is missing, stale or not AMD's",
        "Policy asks for a revocation list that is signed by the pinned root and in date.",
        "A revoked certificate would pass unseen.",
        "Give AMD's list with --collateral (a broker: in its collateral folder), or say in its settings why none is needed.";
    SnpTcb = "E-SNP-TCB", "The certificate is for another patch level than the report says",
        "Reported TCB and the certificate's patch levels differ.",
        "A report could claim a patch level that it was not signed under.",
        "Send the certificate for the reported TCB of this chip.";
    SnpTcbFloor = "E-SNP-TCB-FLOOR", "The platform's patch level is below the floor",
        "Reported, committed, current or launch TCB is below what the rule asks for.",
        "Known weaknesses of older firmware apply.",
        "Update the host's firmware, commit it, restart the guest; or lower the floor knowingly.";
    SnpChip = "E-SNP-CHIP", "The chip is not the one the certificate or the rule names",
        "The hardware id differs, is masked, or is not on the rule's list.",
        "Keys that were taken out of another chip could answer.",
        "Add the chip to the rule's chips, or start the guest on a listed machine.";
    SnpProduct = "E-SNP-PRODUCT", "The product in report and certificates differs",
        "CPUID, product name and chain do not name one product, or the product is not known.",
        "Patch levels of different products mean different things.",
        "Send the chain of the processor that made the report.";
    SnpDebug = "E-SNP-DEBUG", "The guest was started with debugging allowed",
        "Bit 19 of the guest policy is set, so the host may read and write the guest's memory.",
        "The host sees every secret that is released.",
        "Start the guest with policy 0x30000.";
    SnpMigration = "E-SNP-MIGRATION", "The guest was started with migration allowed",
        "Bit 18 of the guest policy is set, or a migration agent is associated.",
        "The agent can move the guest's memory elsewhere.",
        "Start the guest with policy 0x30000.";
    SnpVmpl = "E-SNP-VMPL", "The report comes from another privilege level",
        "Rules ask for VMPL 0; the report says another level, or was asked for by the host.",
        "Less privileged code, or the host, speaks for the guest.",
        "Ask for the report from VMPL 0.";
    SnpPolicy = "E-SNP-POLICY", "The guest policy or platform lacks what the rule asks for",
        "A policy or platform bit (SMT, single socket, ABI version, reserved bit) is not as wanted.",
        "A protection that the rule relies on is not there.",
        "Start the guest with the wanted policy, on a platform that has it.";
    SnpAlias = "E-SNP-ALIAS", "Memory aliasing was not checked",
        "ALIAS_CHECK_COMPLETE is not set.",
        "Manipulated memory modules (BadRAM) could read the guest.",
        "Update the host's firmware.";
    Measurement = "E-MEASUREMENT", "The launch measurement is not among the reference values",
        "Firmware, kernel, initrd, command line, or number or type of vCPUs differ from what was built.",
        "Other code than the one you know is running.",
        "Compare with confide measure diff; start the bundle as it was built, or add its reference.json to the broker.";
    HostData = "E-HOST-DATA", "HOST_DATA is not among the reference values",
        "The guest was started with another site.json than the one that was built.",
        "The guest could talk to another broker, open other ports, or run for somebody else.",
        "Start the bundle with its own site.json; after a change rebuild and add the new reference.json.";
    ReportData = "E-REPORT-DATA", "The evidence is not bound to this session and key",
        "Report data is not the hash of the nonce and the guest's key.",
        "Evidence of somebody else, or of another time, is replayed.",
        "Attest again in one session; workload evidence is never accepted here.";
    Nonce = "E-NONCE", "The nonce is unknown, expired or used",
        "The challenge was not made by this broker, is older than its lifetime, or was taken before.",
        "An old message is replayed.",
        "Ask for a new challenge and attest again.";
    Binding = "E-BINDING", "The request's key or session is not the attested one",
        "A token or cookie was used without the key it was made for.",
        "A stolen session could be used.",
        "Attest again.";
    Session = "E-SESSION", "There is no attested session",
        "The request carries neither the cookie of an attested session nor a token, or the session has ended.",
        "A secret would go to a guest that proved nothing.",
        "Attest, then ask again.";
    Token = "E-TOKEN", "The attestation token is not valid here",
        "It is expired, is for another audience, or was not signed by this broker's token key.",
        "Anybody could write a token.",
        "Attest again at this broker.";
    Route = "E-ROUTE", "There is no such endpoint",
        "The path or the method is not one that the broker serves.",
        "None.",
        "Look into the broker's API reference; check URL and program version.";
    Unsupported = "E-UNSUPPORTED", "The broker does not do that",
        "The endpoint belongs to the protocol, but this broker takes release rules instead.",
        "A policy that was accepted and then ignored would be believed to protect.",
        "Use confide reference add to make release rules.";
    Format = "E-FORMAT", "The message is malformed",
        "Not the JSON, base64 or length wanted.",
        "A lenient reader can be led astray.",
        "Send what the protocol describes; the answer says which part is wrong.";
    Version = "E-VERSION", "The protocol version is not spoken here",
        "The client asked for another version.",
        "An older version could lack protections.",
        "Update the client.";
    Emulated = "E-EMULATED", "The evidence comes from an emulated processor",
        "The report is signed by development roots, or marked as emulated.",
        "An emulated processor protects nothing.",
        "Use it with confide-dev only; in production start the guest on SNP hardware.";
    TeeUnsupported = "E-TEE", "This kind of evidence is not appraised here",
        "No verifier for the TEE that the client names is present.",
        "Evidence that nobody checks would be believed.",
        "Use a TEE that this broker knows.";
    NoRule = "E-NO-RULE", "No release rule names this resource",
        "Nothing is released without a rule.",
        "A secret would go to whoever asks.",
        "Add a rule: confide reference add reference.json.";
    Denied = "E-DENIED", "No release rule admits this evidence",
        "Rules for the resource are there, but the evidence meets none.",
        "The secret would go to a guest that you do not know.",
        "Run confide explain DECISION on the broker; it names claim, got and wanted.";
    Lease = "E-LEASE", "Another guest holds the keys",
        "The rule gives an exclusive lease, and another guest with another report id has it.",
        "A copy of the disk is started a second time.",
        "Stop the other guest and wait for its lease to end.";
    Absent = "E-ABSENT", "The resource does not exist",
        "The rule permits it, but nothing is stored under this path.",
        "None.",
        "Store it: confide secret put REPO/TYPE/TAG --file F.";
    Path = "E-PATH", "The resource path is not valid",
        "Three segments of letters, digits, dash, underscore and dot; none starts with a dot.",
        "A path could reach what it should not.",
        "Use REPOSITORY/TYPE/TAG.";
    Admin = "E-ADMIN", "The caller is not an administrator",
        "The token is missing, expired, or signed by an unknown key.",
        "Anybody could change rules and secrets.",
        "Use the admin key that confide broker init made.";
    TooLarge = "E-TOO-LARGE", "The message is too large",
        "It is over the limit.",
        "Memory could be used up.",
        "Send less; limits are in the broker's settings.";
    Busy = "E-BUSY", "The broker is busy",
        "Too many requests at once.",
        "None.",
        "Try again later.";
    Store = "E-STORE", "The broker's store does not answer",
        "Disk full, locked or damaged.",
        "None is released while that lasts.",
        "Look at the broker's log; run confide broker status.";
    SiteMismatch = "E-SITE", "site.json does not match HOST_DATA",
        "The digest of the drive's bytes differs from the host data in the guest's own report.",
        "Another broker or other ports could be slipped in.",
        "Start the bundle with the site.json it was built with.";
    Root = "E-ROOT", "The root volume does not open or is damaged",
        "Wrong key, or blocks that do not match the measured root hash.",
        "Changed code would run.",
        "Copy the bundle again; check that the broker holds this bundle's key.";
    Broker = "E-BROKER", "The broker cannot be reached or is not the pinned one",
        "No route, no answer, or a TLS identity that site.json does not name.",
        "A false broker could hand out false keys.",
        "Check the broker's address in the workload file, and that it runs; the identity is in its broker.toml.";
    Network = "E-NETWORK", "The guest has no network",
        "No address by DHCP, or a static address that cannot be set.",
        "None.",
        "Check the launch script's network settings.";
    Drive = "E-DRIVE", "A drive is missing or cannot be used",
        "A drive that the workload needs is not attached, is malformed, or is not what it should be.",
        "A hostile file system could attack the kernel.",
        "Attach the bundle's own drives; rebuild user_data with confide data add.";
    Workload = "E-WORKLOAD", "The workload cannot be started",
        "Command, user or limits do not fit the image.",
        "None.",
        "Look at boot.log on the applog drive.";
    Hardware = "E-HARDWARE", "The hardware has no TEE that can be used",
        "No SNP device, or no emulated processor, answers.",
        "The guest would run unprotected.",
        "Run confide doctor; use confide-dev where there is no hardware.";
    Guest = "E-GUEST", "The guest has a fault",
        "A part of the guest stopped where it never should; the message says where, and nothing else leaves.",
        "A guest in an unknown state could go on with secrets.",
        "Report the place with the version of Confide; start the bundle again.";
    Image = "E-IMAGE", "The image archive cannot be used",
        "Truncated, a layer is missing, a digest differs, another architecture, or an entry that escapes.",
        "Other contents than the ones named would run.",
        "Save the image again with docker save, or pull it again.";
    Layer = "E-LAYER", "A layer holds an entry that is not allowed",
        "A path that is absolute or climbs out, a link that leads out, a name that is too long.",
        "Files outside of the container could be written.",
        "Rebuild the image without that entry.";
    Digest = "E-DIGEST", "A digest in the archive differs",
        "A blob's bytes are not those that its manifest names.",
        "The image was changed on its way.",
        "Save or pull the image again.";
    Pin = "E-PIN", "The image is not named unambiguously",
        "The archive holds several images, none for this architecture, or an index that points elsewhere.",
        "Another image than the intended one would run.",
        "Save exactly one image for linux/amd64.";
    Disk = "E-DISK", "A disk image has a form that is not allowed",
        "A qcow2 with a backing file, a data file, overlapping or compressed clusters, or unknown features.",
        "Files of the host could be read through it.",
        "Convert it with qemu-img convert to a plain qcow2.";
    LuksProfile = "E-LUKS-PROFILE", "A LUKS2 header is not of the one accepted form",
        "Another cipher, key slot, segment, size or requirement than Confide writes.",
        "A null cipher or a forged offset would make a guest write plain text.",
        "Use volumes that confide build or confide volume create made.";
    Key = "E-KEY", "The key does not open the volume",
        "Another volume's key, or an older one.",
        "None.",
        "Give the key of this bundle.";
    Firmware = "E-FIRMWARE", "The firmware cannot be measured with a kernel",
        "Its metadata lacks the kernel-hash section (type 0x10), or is malformed.",
        "Kernel, initrd and command line would not be in the launch measurement.",
        "Use an AMD SEV build of OVMF: ovmf-amdsev of Debian sid, or ovmf of Ubuntu 25.04 and later.";
    Kernel = "E-KERNEL", "The kernel lacks a driver the guest needs",
        "A module is neither built in nor in the modules folder; the message names it.",
        "None.",
        "Use linux-image-cloud-amd64 of Debian 13, or add the module.";
    CommandLine = "E-CMDLINE", "The kernel command line is not allowed",
        "A forbidden token, a line that is too long, or a NUL byte.",
        "The kernel or the guest could be told to run something else.",
        "Remove the token.";
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl std::str::FromStr for Code {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownCode { text: text.chars().take(80).collect() })
    }
}

/// A text that is no code's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no code `{text}`; `confide explain --list` prints them all")]
pub struct UnknownCode {
    /// The text given.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_parse_back() {
        for code in Code::ALL {
            assert_eq!(code.name().parse::<Code>(), Ok(*code));
            assert!(code.name().starts_with("E-"), "{code}");
        }
    }
}
