//! Evidence formats and their verifiers; collateral and time are inputs.
