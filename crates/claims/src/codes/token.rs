//! Codes of attestation tokens, RA-TLS and collateral.

macro_rules! token_codes {
    ([$next:ident $($rest:ident)*] $($before:tt)*) => {
        $next! {
            [$($rest)*]
            $($before)*
            JwtFormat = "E-JWT-FORMAT", "The attestation token is malformed",
                "It is not three base64url parts, a member is there twice, or a claim has the wrong form.",
                "Signer and reader could see different values.",
                "Fetch a new token from the attestation service.";
            JwtAlgorithm = "E-JWT-ALGORITHM", "The attestation token names another signature algorithm than its key has",
                "The key decides the algorithm: `none`, HMAC and mixed-up kinds are refused, and so are unknown critical headers.",
                "A public key could be taken for a shared secret, or no signature for a good one.",
                "Check that the token comes from the service whose keys you gave.";
            JwtKey = "E-JWT-KEY", "The key of the attestation token is not known",
                "No key of the given set has the token's key id, more than one has, or its certificate does not lead to the given root.",
                "Keys named or embedded by the token itself prove nothing; they are never fetched nor used.",
                "Give the service's current key set as collateral; services change their keys.";
            JwtSignature = "E-JWT-SIGNATURE", "The signature of the attestation token is wrong",
                "The token was changed, or signed by another key under the same name.",
                "Its claims are made up.",
                "Fetch a new token.";
            JwtTime = "E-JWT-TIME", "The attestation token is not valid at the verification time",
                "It has expired, is not valid yet, or does not say until when it is valid.",
                "Old results hide what changed since.",
                "Fetch a new token; to look at an old one give the time with --at.";
            JwtIssuer = "E-JWT-ISSUER", "The attestation token is by another issuer",
                "Its `iss` is not among the issuers that the rule names.",
                "Anybody's attestation service could vouch for the workload.",
                "Compare `iss` with the service that you trust; regions have issuers of their own.";
            JwtAudience = "E-JWT-AUDIENCE", "The attestation token is for another audience",
                "Its `aud` is missing or not among the audiences that the rule names.",
                "A token that was given to somebody else could be used here.",
                "Ask the service for a token with this audience.";
            JwtClaim = "E-JWT-CLAIM", "A claim of the attestation token is not the wanted one",
                "A value differs from the rule: kind of evidence, compliance, product, signer, version or profile.",
                "The token is genuine, and about another workload.",
                "`got` and `wanted` name the claim; change the workload or the rule.";
            JwtStatus = "E-JWT-STATUS", "The attestation result is not affirming",
                "The service itself says so, or its status does not fit its own trust vector.",
                "Evidence that was refused would be treated as good.",
                "Look at the trust vector or the failed checks in the token, and fix what they name.";
            JwtSubmod = "E-JWT-SUBMOD", "The parts of the attestation result are not the wanted ones",
                "A submodule is missing, too much, or does not hash to the digest in the signed token.",
                "A device that was not attested could hide behind one that was.",
                "Attest again; name as many devices in the rule as there are.";
            JwtBinding = "E-JWT-BINDING", "The attestation token is not bound to this session",
                "Nonce, report data or enclave held data in it is not what this session binds.",
                "A genuine token of another session could be replayed.",
                "Attest again with this session's nonce and key.";
            JwtDebug = "E-JWT-DEBUG", "The attestation token is about a TEE that can be debugged or moved",
                "Debugging or migration is allowed there.",
                "The host can read it.",
                "Launch without debugging and migration.";
            RaTlsFormat = "E-RATLS-FORMAT", "The RA-TLS certificate is malformed",
                "It is no X.509 certificate, holds no evidence or more than one kind, or its CBOR is not in its form.",
                "Two readers could take different evidence out of it.",
                "Make the certificate again with a current RA-TLS library.";
            RaTlsSignature = "E-RATLS-SIGNATURE", "The RA-TLS certificate is not signed by its own key",
                "Its self-signature is wrong, or of a kind that is not taken.",
                "Its sender need not hold the private key.",
                "Make the certificate again.";
            RaTlsBinding = "E-RATLS-BINDING", "The evidence does not bind the certificate's key",
                "The key's hash in the claims, the claims' hash in the evidence, or the nonce is another one.",
                "Genuine evidence of another TEE could be put into anybody's certificate.",
                "Make certificate and evidence together; check for a peer in the middle.";
            RaTlsTime = "E-RATLS-TIME", "The RA-TLS certificate is not valid at the verification time",
                "It has expired or is not valid yet.",
                "Its key may have been used for longer than was meant.",
                "Make a new certificate; many libraries write fixed dates.";
            EvidenceKind = "E-EVIDENCE", "The kind of evidence cannot be told",
                "The bytes are of no form that is known.",
                "A guess could read one kind of evidence as another.",
                "Name the kind with --type; see confide evidence verify --help.";
            CollateralFetch = "E-COLLATERAL-FETCH", "Collateral cannot be fetched",
                "The vendor's service does not answer, answers with an error, or has no such item.",
                "None: what was fetched before is used within its validity.",
                "Try again later, name a mirror, or take a signed bundle that another machine fetched.";
            CollateralBundle = "E-COLLATERAL-BUNDLE", "A collateral bundle cannot be used",
                "It is malformed, damaged, not signed, or signed by another key than the one given.",
                "Somebody on the way could leave a revocation list out.",
                "Copy the bundle again; check the key of whoever made it.";
        }
    };
}
