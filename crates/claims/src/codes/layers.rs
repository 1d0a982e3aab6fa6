//! Codes of container layers, CCE policies and enclave measurements.

macro_rules! layers_codes {
    ([$next:ident $($rest:ident)*] $($before:tt)*) => {
        $next! {
            [$($rest)*]
            $($before)*
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
                "The image is not a TDX firmware (the AMD SEV build of OVMF has no TDX metadata), or its metadata is malformed.",
                "A number without metadata would belong to no guest that can be started.",
                "Use a build of OVMF with TDX support: OvmfPkgX64 or IntelTdxX64.";
            Igvm = "E-IGVM", "The IGVM file cannot be measured",
                "Malformed, without the SNP platform, or with a directive whose measurement the format does not settle.",
                "A guessed order gives a number that no processor reports.",
                "Use a file for SEV-SNP; the message names the directive.";
        }
    };
}
