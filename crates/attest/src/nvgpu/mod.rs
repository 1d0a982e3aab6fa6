//! NVIDIA GPUs and switches: SPDM measurements, the device chain, and RIMs (signed XML).
