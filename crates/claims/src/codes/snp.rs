//! Codes of SEV-SNP reports and what a release rule wants of them.

macro_rules! snp_codes {
    ([$next:ident $($rest:ident)*] $($before:tt)*) => {
        $next! {
            [$($rest)*]
            $($before)*
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
            Emulated = "E-EMULATED", "The evidence comes from an emulated processor",
                "The report is signed by development roots, or marked as emulated.",
                "An emulated processor protects nothing.",
                "Use it with confide-dev only; in production start the guest on SNP hardware.";
        }
    };
}
