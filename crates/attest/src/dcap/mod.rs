//! Intel SGX and TDX quotes (DCAP): quotes, their collateral, and what is wanted of them.
