//! Codes of Azure: HCL reports, TPM quotes, UVM endorsements.

macro_rules! azure_codes {
    ([$next:ident $($rest:ident)*] $($before:tt)*) => {
        $next! {
            [$($rest)*]
            $($before)*
            TpmFormat = "E-TPM-FORMAT", "The TPM quote is malformed",
                "The message is not exactly one TPMS_ATTEST of a quote: wrong magic or type, cut short, or bytes left over.",
                "A message that the TPM did not make itself could pass for a quote.",
                "Send message and signature exactly as the TPM gave them.";
            TpmKey = "E-TPM-KEY", "The attestation key is not usable",
                "The key is neither RSA of 2048 to 4096 bits with exponent 65537 nor P-256.",
                "A weak or malformed key can be made to match any signature.",
                "Enrol the attestation key of the TPM again.";
            TpmSignature = "E-TPM-SIGNATURE", "The enrolled key did not sign the TPM quote",
                "The signature is wrong, of another kind than the key, or made by another TPM.",
                "A key that comes with the evidence proves nothing: anybody can make one.",
                "Check which machine sent the quote; enrol its attestation key if it is a new one.";
            TpmNonce = "E-TPM-NONCE", "The TPM quote is not of this session",
                "The quote's extra data is not the nonce that was sent, in full.",
                "An old quote would hide what was booted since.",
                "Quote again with the nonce of this session.";
            TpmSelection = "E-TPM-SELECTION", "The TPM quote is over other PCRs than asked for",
                "The quote must be over one bank, SHA-256, and exactly the PCRs that the rule names.",
                "PCRs that anybody can reset could be listed under the numbers of others.",
                "Quote exactly the PCRs of the rule, in the SHA-256 bank.";
            TpmPcr = "E-TPM-PCR", "The PCR values are not the wanted ones",
                "They do not hash to the signed digest, one is missing or too much, or one is no reference value.",
                "Other software was booted than the one that was approved.",
                "Compare the PCRs with those of a machine that is known to be good; `got` and `wanted` name the first that differs.";
            AzureFormat = "E-AZ-FORMAT", "The HCL report is malformed",
                "Header, sizes, padding or the JSON of the runtime claims are not in their one form.",
                "A lenient reader could take other bytes for the signed ones.",
                "Read NV index 0x01400001 of the vTPM again and send all of it.";
            AzureBinding = "E-AZ-BINDING", "The hardware did not sign these runtime claims",
                "SHA-256 of the runtime claims is not the first half of the report data, or the second half is not zero.",
                "The attestation key in the claims would be anybody's.",
                "Read the HCL report again; report and claims must come from one reading.";
            AzureKey = "E-AZ-AK", "The runtime claims hold no usable attestation key",
                "There must be exactly one key `HCLAkPub`, RSA 2048 with exponent 65537, and no key name twice.",
                "A quote could be signed by a key that the hardware does not vouch for.",
                "Read the HCL report again; older images without this key cannot be attested.";
            AzureVm = "E-AZ-VM", "The VM's settings are not the wanted ones",
                "Secure Boot or the vTPM is off, a console is attached, or another setting is not as the rule asks.",
                "With a console or without Secure Boot, other software can run than the PCRs suggest.",
                "Change the VM's settings, or the rule; Azure's images say that a console is enabled.";
            AzureTd = "E-AZ-TD", "The TD report is not the one that was quoted",
                "A field of the TD report in the HCL report differs from the verified quote.",
                "The runtime claims of one VM would be combined with the quote of another.",
                "Quote the TD report of this HCL report.";
            AciFormat = "E-ACI-FORMAT", "A file of the confidential container group is malformed",
                "The UVM endorsement, the host's certificates, the policy or the combined JSON is not in its form.",
                "A lenient reader could take other values than those that were signed.",
                "Send the files of the security context folder as they are.";
            AciChain = "E-ACI-CHAIN", "The UVM endorsement's certificates do not lead to the wanted signer",
                "The chain is broken, was not valid at signing time, lacks the usage, or ends at another root than the DID names.",
                "Anybody could endorse a utility VM.",
                "Fetch the endorsement again; compare the DID in the rule with Microsoft's published one.";
            AciSignature = "E-ACI-SIGNATURE", "The signature of the UVM endorsement is wrong",
                "The leaf certificate's key did not sign it, or not with the algorithm that it names.",
                "The endorsed measurement is made up.",
                "Fetch the endorsement again from the container group.";
            AciIssuer = "E-ACI-ISSUER", "The UVM endorsement is of another issuer or feed",
                "Issuer (a DID) and feed must be the wanted ones.",
                "An endorsement of other software by the same company would count for the utility VM.",
                "Use the endorsement of `ContainerPlat-AMD-UVM`, or name the feed in the rule.";
            AciSvn = "E-ACI-SVN", "The utility VM is below the security version floor",
                "Its endorsement has a lower security version number than the rule asks for.",
                "Known holes of older utility VMs are open.",
                "Redeploy the container group; the platform then starts a current utility VM.";
            AciMeasurement = "E-ACI-MEASUREMENT", "The UVM endorsement is for another launch measurement",
                "The endorsed measurement is not the one in the report.",
                "An endorsed utility VM would stand for one that is not.",
                "Send report and endorsement of the same container group.";
            AciPolicy = "E-ACI-POLICY", "The container policy is not the one in HOST_DATA",
                "SHA-256 of the policy's bytes is not HOST_DATA, or is not on the rule's list.",
                "Other containers run than those that were approved.",
                "Deploy with the approved policy; compare exact bytes, not the same policy printed in another way.";
            AciTcb = "E-ACI-TCB", "The host's certificate is for another patch level",
                "The TCB that comes with the host's certificates is not the report's reported TCB.",
                "The certificates would be of an older firmware than the report.",
                "Fetch the certificates again (THIM); after a firmware update the host's copy may be stale.";
        }
    };
}
