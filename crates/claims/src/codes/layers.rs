//! Codes of container layers, CCE policies and enclave measurements.

macro_rules! layers_codes {
    ([$next:ident $($rest:ident)*] $($before:tt)*) => {
        $next! {
            [$($rest)*]
            $($before)*
            // Root hashes of container layers.
            LayerTar = "E-LAYER-TAR", "A layer's tar file cannot be read",
                "It is truncated, or a header, PAX record or sparse map is malformed.",
                "Readers that guess give the layer different contents and hashes.",
                "Save or pull the image again; if it stays, rebuild the layer with another tool.";
            LayerConflict = "E-LAYER-CONFLICT", "Two entries of a layer contradict each other",
                "A path is written twice with contents, a file stands in for a folder, or a folder for a file.",
                "The host refuses the layer, too: the container would never start.",
                "Rebuild the layer so that it names each path once.";
            LayerLink = "E-LAYER-LINK", "A hard link of a layer leads nowhere",
                "Its target is a folder, or is not in the same layer before the link.",
                "The host refuses the layer, too: the container would never start.",
                "Rebuild the layer with the link's target in it, before the link.";
            LayerXattr = "E-LAYER-XATTR", "Extended attributes do not fit into a layer",
                "A file's attributes take more than an inode and one block have room for, or a name is too long.",
                "The host refuses the layer, too: the container would never start.",
                "Remove attributes from the file that is named.";
            LayerSize = "E-LAYER-SIZE", "A layer is too large",
                "A file or the image has more than 128 GiB, a file or folder more than 65000 links, or there are too many files.",
                "The host refuses the layer, too: the container would never start.",
                "Split the layer.";
            SgxStream = "E-SGX-STREAM", "The enclave stream (SGXS) is malformed or not canonical",
                "A record is cut off or unknown, a page lies outside of the enclave, twice or out of order, or a chunk is not aligned.",
                "The same enclave could be written in two ways, or the number would belong to no enclave that can be loaded.",
                "Make the stream again with the tool chain's own converter.";
            SgxElf = "E-SGX-ELF", "The ELF file is not an enclave whose layout is known",
                "Only files for the target x86_64-fortanix-unknown-sgx have a layout that is computed exactly; this one lacks a part of it, or breaks its rules.",
                "A guessed layout gives a number that no processor reports.",
                "Measure the signed SGXS or the SIGSTRUCT that the LibOS's own tool made (Gramine, Occlum, EGo).";
            SgxSigstruct = "E-SGX-SIGSTRUCT", "The SIGSTRUCT is malformed",
                "Wrong length, another header, an exponent other than 3, a modulus that is not of 3072 bits, or a reserved field that is not zero.",
                "The processor refuses it, or a field is read as another.",
                "Sign the enclave again; a SIGSTRUCT has 1808 bytes.";
            SgxSigstructSignature = "E-SGX-SIGSTRUCT-SIGNATURE", "The signature in the SIGSTRUCT is wrong",
                "A field was changed after it was signed, or the modulus is another signer's.",
                "MRSIGNER and security version would be made up.",
                "Sign the enclave again; with an HSM, sign exactly the 256 bytes that were written out.";
            SgxSigstructQuotient = "E-SGX-SIGSTRUCT-QUOTIENT", "Q1 or Q2 in the SIGSTRUCT is wrong",
                "These two numbers follow from signature and modulus; the processor checks them instead of dividing.",
                "The processor refuses the enclave at its start.",
                "Assemble the SIGSTRUCT again from the same signature.";
            SgxSigstructEnclave = "E-SGX-SIGSTRUCT-ENCLAVE", "The SIGSTRUCT is for another enclave",
                "ENCLAVEHASH is not the measurement of the enclave beside it.",
                "The processor refuses the enclave, or another one than the signed one would be trusted.",
                "Measure and sign the enclave that is shipped.";
            SgxSampleKey = "E-SGX-SAMPLE-KEY", "The signing key is public",
                "The key is the sample of Intel's SDK, which everybody has.",
                "Everybody can sign enclaves with this MRSIGNER.",
                "Make a key of your own: openssl genrsa -3 -out signer.pem 3072.";
            SgxSigningKey = "E-SGX-SIGNING-KEY", "The signing key cannot sign enclaves",
                "Not an RSA key of 3072 bits with exponent 3, or not PKCS#8 or PKCS#1 in DER.",
                "None: the processor knows no other kind.",
                "Make one: openssl genrsa -3 -out signer.pem 3072.";
            TdxFirmware = "E-TDX-FIRMWARE", "The firmware has no usable TDX metadata",
                "The image has no TDX metadata in its footer table, or its metadata is malformed.",
                "A number without metadata would belong to no guest that can be started.",
                "Use a build of OVMF with TDX support: OvmfPkgX64 or IntelTdxX64.";
            Igvm = "E-IGVM", "The IGVM file cannot be measured",
                "Malformed, without the SNP platform, or with a directive whose measurement the format does not settle.",
                "A guessed order gives a number that no processor reports.",
                "Use a file for SEV-SNP; the message names the directive.";
            CceTemplate = "E-CCE-TEMPLATE", "The template or input of a policy cannot be read",
                "It is not JSON, has no container group, or a member is missing or of another type; the message names it.",
                "A policy made from a guess would not match what is deployed.",
                "Correct the member that is named.";
            CceExpression = "E-CCE-EXPRESSION", "A template expression has no value here",
                "A parameter without a value, or a function that only a deployment can evaluate.",
                "A policy made from a guess would not match what is deployed.",
                "Give the value with --parameters, or write it into the template.";
            CceImage = "E-CCE-IMAGE", "No archive was given for an image of the template",
                "The layers of the image must be hashed, and nothing is pulled.",
                "A policy without the layers would let nothing start.",
                "Save the image with docker save, skopeo or crane and name it: --image REF=ARCHIVE.tar.";
            CcePolicy = "E-CCE-POLICY", "A policy cannot be read",
                "It is not base64 of Rego as tools write it, or has rules of its own.",
                "None: nothing is decided from it.",
                "Give the policy's text or the base64 of ccePolicy, unchanged.";
            CceDiff = "E-CCE-DIFF", "The policy in the template does not cover its containers",
                "The template or an image changed after the policy was made; each difference is listed.",
                "The containers would be refused when they start.",
                "Make the policy again: confide aci policy --in-place.";
            CceFindings = "E-CCE-FINDINGS", "There are findings, and --strict refuses them",
                "The findings are listed before this message, each with its own code.",
                "As the pages of their codes say.",
                "Resolve the findings, or decide without --strict.";
            CceNullCommand = "E-CCE-NULL-COMMAND", "A container has no command and can never start",
                "The template has no command, and the image has neither entrypoint nor command.",
                "None for secrecy: the guest refuses every start with 'invalid command'.",
                "Set command in the template to what shall run.";
            CceLayer = "E-CCE-LAYER", "The hash of a layer depends on the version of the tool that computes it",
                "The layer has folders without entries of their own, or other forms that tools read differently.",
                "The guest may refuse the image with 'deviceHash not found'.",
                "Rebuild the image so that each folder has an entry, or flatten it into one layer.";
            CceNoLayers = "E-CCE-NO-LAYERS", "A container has no layers",
                "The image is empty, or its layers were not read.",
                "None for secrecy: nothing can be started.",
                "Make the policy from the image's archive.";
            CceEnvDropped = "E-CCE-ENV-DROPPED", "Variables that ACI sets are dropped without a word",
                "Since September 2026 ACI sets addresses of identity services, and the policy has no rules for them.",
                "None for secrecy: managed identities do not work in the container.",
                "Add --identity-endpoints, if the container needs a managed identity.";
            CceEnvStrict = "E-CCE-ENV-STRICT", "Variables that ACI sets will deny the start",
                "The policy has no rules for them, and dropping of variables is off.",
                "None for secrecy: the guest refuses the start with 'invalid env list'.",
                "Add --identity-endpoints, or allow dropping.";
            CceAllowAll = "E-CCE-ALLOW-ALL", "The policy in the template allows everything",
                "ccePolicy is empty or answers each request with yes.",
                "The host can run any image with any command, and attestation looks the same as ever but for HOST_DATA.",
                "Put a policy in: confide aci policy --in-place.";
            CceDebug = "E-CCE-DEBUG", "The policy is in debug mode",
                "It was made with --debug-mode.",
                "The host can start a shell in each container and read everything in it.",
                "Make it without --debug-mode before data comes in.";
            CceSecret = "E-CCE-SECRET", "A secret value stands in the policy",
                "secureValue of a variable has a rule with its text, and the policy is no secret.",
                "Everyone who can read the deployment reads the value.",
                "Take the secret from a key broker or by secure key release instead.";
            CceWildcard = "E-CCE-WILDCARD", "A variable may have any value",
                "Its value is a parameter that only the deployment knows, or a pattern that fits everything.",
                "The host chooses the value; a program that trusts it does what the host wants.",
                "Give the value with --parameters; --approve-wildcards accepts the risk.";
            CceUnpinned = "E-CCE-UNPINNED", "An image is named by a tag",
                "The reference has no @sha256: digest.",
                "None for secrecy: when the tag moves, the guest refuses with 'deviceHash not found'.",
                "Name the image by digest in the template.";
            CceAmbiguous = "E-CCE-AMBIGUOUS", "Two containers differ only in their access to output",
                "Image, command and all else are the same, allow_stdio_access is not.",
                "None for secrecy: the guest refuses both.",
                "Give both the same access, or another command.";
            CceDenied = "E-CCE-DENIED", "The policy denies a request",
                "The guest compares each request of the host with the policy; the reasons say what does not match.",
                "Something else than the policy's containers would run.",
                "confide aci explain --policy FILE says which container comes nearest, and what differs.";
            AciDecision = "E-ACI-DECISION", "The text holds no policy decision",
                "There is no policyDecision<...>policyDecision in it, or it was cut off.",
                "None.",
                "Give the whole error message of the deployment or of the container's events.";
        }
    };
}
