//! Attestation tokens as a relying party reads them: MAA, EAR and NRAS JWTs, with keys as collateral.

pub(crate) mod strict;
