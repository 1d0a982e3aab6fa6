//! Azure confidential VMs: the HCL report, and the vTPM quote that its attestation key signs.
