//! Codes of SGX and TDX quotes and their collateral.

macro_rules! dcap_codes {
    ([$next:ident $($rest:ident)*] $($before:tt)*) => {
        $next! {
            [$($rest)*]
            $($before)*
            DcapFormat = "E-DCAP-FORMAT", "The quote is malformed",
                "A length does not fit, a reserved field is set, or bytes that are not zero follow the quote.",
                "A parser that guesses can be led to read one field as another.",
                "Send the quote exactly as the quoting enclave gave it; only zero bytes may follow it.";
            DcapVersion = "E-DCAP-VERSION", "The quote has an unknown version, kind or key type",
                "Known are version 3 (SGX), 4 and 5 (SGX, TDX) with ECDSA P-256 keys of Intel's quoting enclave.",
                "Fields of an unknown version may mean something else.",
                "Update Confide if the format is new; EPID quotes (version 2) and other vendors' quoting enclaves are not supported.";
            DcapSignature = "E-DCAP-SIGNATURE", "The signature of the quote is wrong",
                "The quote was changed, or was signed by another attestation key.",
                "The claims are made up.",
                "Ask for the quote again and send it unchanged.";
            DcapQe = "E-DCAP-QE", "The quoting enclave is not the one Intel vouches for",
                "Its report is not signed by the platform's key, does not name the attestation key, or differs from Intel's identity of the quoting enclave.",
                "Anybody can make an attestation key; only Intel's quoting enclave makes an honest one.",
                "Update the quoting enclave on the host; give the identity for this kind (QE for SGX, TD_QE for TDX).";
            DcapRoot = "E-DCAP-ROOT", "The certificate chain does not end at Intel's pinned SGX root",
                "The root's public key is another one. Names do not count.",
                "Anybody can make a chain with Intel's names in it.",
                "Use collateral of Intel's service; quotes of pre-production machines are signed by a test root and are refused.";
            DcapChain = "E-DCAP-CHAIN", "The PCK certificate chain is broken or missing",
                "A certificate is missing, in the wrong place, of the wrong kind, or its signature is wrong.",
                "A broken chain proves nothing about the platform.",
                "Let the host put the PCK chain into the quote (certification data 5), or give it with --collateral.";
            DcapCertificate = "E-DCAP-CERTIFICATE", "A certificate of the quote is malformed",
                "It is not X.509 in DER, or Intel's SGX extension is missing, doubled or not in its one form.",
                "A lenient reader could take another value for the patch level.",
                "Fetch the certificate again from Intel's provisioning service.";
            DcapRevoked = "E-DCAP-REVOKED", "A certificate of the platform or of the collateral is revoked",
                "Intel's revocation list names it, or the platform's TCB level is `Revoked`.",
                "The key is known to be bad.",
                "Do not use this platform.";
            DcapCrl = "E-DCAP-CRL", "A revocation list is missing, malformed or not Intel's",
                "The lists of the root and of the authority that issued the PCK certificate are both needed, each signed by its authority.",
                "A revoked platform would pass unseen.",
                "Give both lists with --collateral; `confide evidence fetch-collateral` gets them.";
            DcapCollateral = "E-DCAP-COLLATERAL", "TCB info or quoting enclave identity is missing, malformed, or not Intel's",
                "The JSON is not in its form, its signature does not hold over its exact bytes, or it is for another platform model or kind of TEE.",
                "A forged or foreign table of patch levels makes every platform look good.",
                "Fetch the collateral for this quote again and do not reformat its JSON.";
            DcapExpired = "E-DCAP-EXPIRED", "Collateral or a certificate is not valid at the verification time",
                "Something of certificates, revocation lists, TCB info and identity has expired, or is not valid yet. The quote itself may be genuine.",
                "Weaknesses and revocations found since then are not known.",
                "Fetch the collateral again; to appraise old evidence give the time with --at.";
            DcapTcbLevel = "E-DCAP-TCB-LEVEL", "The platform is below every patch level that Intel lists",
                "No level of the TCB info, of the TDX module or of the quoting enclave's identity is met.",
                "Intel says nothing about such a platform.",
                "Update BIOS, microcode, TDX module and quoting enclave; check that the collateral is for this platform.";
            DcapTcb = "E-DCAP-TCB", "The platform's TCB status is not allowed",
                "Intel's verdict about platform, quoting enclave and TDX module is not among those the rule allows.",
                "Known weaknesses of this patch level apply.",
                "Update the host; or allow the status by name, after reading its advisories.";
            DcapAdvisory = "E-DCAP-ADVISORY", "A security advisory applies that the rule does not accept",
                "Intel lists an advisory for the platform's patch level that is denied, or not among those allowed.",
                "The weakness that the advisory describes applies.",
                "Update the host; or allow the advisory by name, after reading it.";
            DcapEvaluation = "E-DCAP-EVALUATION", "The collateral is of an older evaluation than the rule asks for",
                "`tcbEvaluationDataNumber` is below the floor.",
                "Old collateral does not know the latest weaknesses, although it is validly signed.",
                "Fetch collateral with update=early or of the wanted evaluation; or lower the floor.";
            DcapModule = "E-DCAP-MODULE", "The TDX module is not the one Intel vouches for",
                "The module's signer or attributes differ from the TCB info, or it names no module of this version.",
                "A module that Intel did not make could read every trust domain.",
                "Install Intel's TDX module on the host; fetch the collateral again.";
            DcapDebug = "E-DCAP-DEBUG", "The enclave or trust domain may be debugged",
                "The DEBUG attribute (SGX) or a bit of the TD-under-debug group (TDX) is set.",
                "The host reads every secret that is released.",
                "Sign and start the enclave, or start the trust domain, without debugging.";
            DcapAttributes = "E-DCAP-ATTRIBUTES", "Attributes of the enclave or trust domain are not as the rule asks",
                "For example: SEPT_VE_DISABLE is off, migration or performance monitoring is on, or service TDs are bound.",
                "A protection that the rule relies on is not there.",
                "Start it with the wanted attributes; or allow what it needs by name, with a reason.";
            DcapIdentity = "E-DCAP-IDENTITY", "The enclave or trust domain is not among the reference values",
                "MRENCLAVE, MRSIGNER, product, version, MRTD, an RTMR or another measured value differs, or it is the other kind of TEE.",
                "Other code than the one you know is running.",
                "Compare with confide measure diff; add the new reference value if the change is wanted.";
            DcapPlatform = "E-DCAP-PLATFORM", "The platform is not among the allowed ones",
                "PPID, platform instance or model (FMSPC) is not on the rule's list.",
                "Keys that were taken out of another machine could answer.",
                "Add the platform to the rule's list, or use a listed machine.";
        }
    };
}
