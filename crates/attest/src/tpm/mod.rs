//! TPM 2.0 quotes signed by an attestation key that was enrolled before, never by one that the evidence brings.
